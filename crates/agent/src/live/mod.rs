//! What only PID 1 of the live environment does.

mod console;
mod dhcp;
mod disks;
mod modules;
mod mounts;
mod netlink;
mod nic;
mod power;
mod run;
mod vlan;

use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bootgate_api::Failure;
use bootgate_events::{AttemptId, Stage};

use crate::halt::Retry;
use crate::server::Server;

/// How to reach the server from wherever something goes wrong.
static REPORT_TO: OnceLock<(SocketAddr, AttemptId)> = OnceLock::new();
/// What the agent is at.
static STAGE: Mutex<Stage> = Mutex::new(Stage::Live);

/// Prints one short line with a single write, so that lines of the kernel come before or after it.
macro_rules! say {
    ($($text:tt)+) => {
        $crate::live::console::write_line(&format!("bootgate-agent: {}", format_args!($($text)+)))
    };
}
use say;

/// Runs the live environment. Ends by restarting the machine or switching it off. A process with another number than 1
/// loads a module where the kernel started it for that; any other is told that it is in the wrong place and ends.
pub fn main() -> i32 {
    let started = Instant::now();
    if std::process::id() != 1 {
        let arguments: Vec<String> = std::env::args().collect();
        if let [_, quiet, end, request] = arguments.as_slice()
            && (quiet.as_str(), end.as_str()) == ("-q", "--")
        {
            return modules::helper(request);
        }
        console::write_line("bootgate-agent: runs as PID 1 of a live environment only");
        return 2;
    }
    std::panic::set_hook(Box::new(|panic| fail(&format!("panic {panic}"))));
    let error = match run::run(started) {
        Ok(after) => power::end(after),
        Err(error) => error,
    };
    fail(&error)
}

fn enter(stage: Stage) {
    *STAGE.lock().unwrap_or_else(PoisonError::into_inner) = stage;
}

/// Says on the console and to the server what went wrong, and switches the machine off. PID 1 never returns: the
/// kernel would panic.
fn fail(error: &str) -> ! {
    say!("error: {}", error.replace('\n', " "));
    if let Some((address, nonce)) = REPORT_TO.get() {
        // A panic may have come while the stage was being set.
        let stage = STAGE.try_lock().map_or(Stage::Flash, |stage| *stage);
        let failure = Failure {
            stage,
            error: error.to_owned(),
        };
        let retry = Retry {
            attempts: 3,
            first: Duration::from_millis(200),
            ..Retry::default()
        };
        // A server of its own: a lock of the other may be held by the thread that panicked.
        let server = Server::new(*address, nonce.clone());
        if let Err(error) = server.failure(&failure, retry) {
            say!("warning: {error}");
        }
    }
    power::off()
}
