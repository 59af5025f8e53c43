//! Whoever dies, and however: nothing of a sandbox outlives it, and nothing of it was ever on the host.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod common;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::time::Duration;

use common::{Held, PATIENCE, Runner, ends};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

fn supervisor(held: &Held) -> Pid {
    Pid::from_child(&held.supervisor)
}

/// Starts a sandbox as each user, ends it by `end`, and expects every process of it to go.
fn ended_by(end: impl Fn(&mut Held)) {
    for runner in Runner::users() {
        let mut held = Held::start(runner);
        let count = held.inside.len();
        assert!(
            count >= 4,
            "holder, orphans and program as {runner:?}: {count}"
        );
        for process in &held.inside {
            assert!(!ends(process, Duration::ZERO), "a process ended by itself");
        }
        end(&mut held);
        held.expect_all_gone();
    }
}

#[test]
fn sigkill_of_the_supervisor_takes_everything() {
    require_sandboxes!();
    ended_by(|held| kill_process(supervisor(held), Signal::KILL).unwrap());
}

#[test]
fn sigterm_of_the_supervisor_takes_everything() {
    require_sandboxes!();
    ended_by(|held| kill_process(supervisor(held), Signal::TERM).unwrap());
}

#[test]
fn control_c_reaches_the_supervisor_alone_and_takes_everything() {
    require_sandboxes!();
    ended_by(|held| {
        let group = rustix::process::getpgid(Some(held.holder)).unwrap();
        assert_ne!(
            group,
            supervisor(held),
            "the holder is in the terminal's group"
        );
        kill_process_group(supervisor(held), Signal::INT).unwrap();
    });
}

#[test]
fn a_panic_of_the_supervisor_takes_everything() {
    require_sandboxes!();
    ended_by(|held| held.tell("panic"));
}

#[test]
fn a_return_from_main_takes_everything() {
    require_sandboxes!();
    ended_by(|held| held.tell("return"));
}

#[test]
fn an_exit_without_destructors_takes_everything() {
    require_sandboxes!();
    ended_by(|held| held.tell("exit"));
}

#[test]
fn a_shutdown_takes_everything() {
    require_sandboxes!();
    ended_by(|held| held.tell("shutdown"));
}

#[test]
fn sigkill_of_the_holder_takes_everything_and_is_noticed() {
    require_sandboxes!();
    ended_by(|held| {
        kill_process(held.holder, Signal::KILL).unwrap();
        let mut line = String::new();
        held.stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "gone: signal 9\n");
        assert!(held.supervisor.wait().unwrap().success());
    });
}

#[test]
fn the_holder_ignores_what_a_terminal_or_an_operator_sends() {
    require_sandboxes!();
    ended_by(|held| {
        for signal in [
            Signal::INT,
            Signal::TERM,
            Signal::HUP,
            Signal::QUIT,
            Signal::PIPE,
        ] {
            kill_process(held.holder, signal).unwrap();
        }
        let patience = Duration::from_millis(200);
        assert!(
            !held
                .inside
                .iter()
                .any(|process| ends(process, patience / 8))
        );
        held.tell("shutdown");
        assert!(held.supervisor.wait().unwrap().success());
    });
}

/// Names of the interfaces, named network namespaces and addresses of the host.
fn host() -> BTreeSet<String> {
    let interfaces = std::fs::read_to_string("/proc/net/dev").unwrap();
    let interfaces = interfaces
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| format!("interface {}", name.trim()));
    let namespaces = std::fs::read_dir("/run/netns").into_iter().flatten();
    let namespaces = namespaces.map(|entry| format!("namespace {:?}", entry.unwrap().file_name()));
    let routes = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let addresses = routes
        .lines()
        .filter(|line| line.contains("10.77.0."))
        .map(|line| format!("route {line}"));
    interfaces.chain(namespaces).chain(addresses).collect()
}

#[test]
fn nothing_appears_on_the_host() {
    require_sandboxes!();
    let before = host();
    for runner in Runner::all() {
        let mut held = Held::start(runner);
        assert_eq!(host(), before, "as {runner:?}");
        held.tell("return");
        assert!(ends(&held.inside[0], PATIENCE));
        assert_eq!(host(), before, "after {runner:?}");
    }
}
