//! A lab's state, and the program asked about it.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "each test binary uses a part; a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bootgate_api::{AfterFlash, DiskSelector, ExpectedFlash, FlashOrder, Sha256Hex, UnixMicros};
use bootgate_events::{StageSpan, TargetName, TargetVerdict, Verdict};
use bootgate_server::control::{Control, ControlServer};
use bootgate_store::sqlite::Sqlite;

/// A folder of state, gone when it is dropped.
pub struct State {
    folder: PathBuf,
    _temp: Option<tempfile::TempDir>,
}

/// A door to the state, as a server has it.
pub struct Served {
    runtime: tokio::runtime::Runtime,
    server: ControlServer,
}

impl Served {
    pub fn stop(self) {
        self.runtime.block_on(self.server.stop());
        // The store is closed when the last request has given it back.
        drop(self.runtime);
    }
}

impl State {
    pub fn new(fill: impl FnOnce(&Path)) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("state");
        fill(&folder);
        Self {
            folder,
            _temp: Some(temp),
        }
    }

    pub fn at(folder: PathBuf) -> Self {
        Self {
            folder,
            _temp: None,
        }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has it open, and answers on its socket.
    pub fn serve(&self, change: impl FnOnce(Control) -> Control) -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let store = Arc::new(Sqlite::open(&self.folder).unwrap());
        let router = change(Control::stored(store)).router();
        let server = runtime.block_on(async { ControlServer::start(&self.folder, router) });
        Served {
            runtime,
            server: server.unwrap(),
        }
    }

    /// The program, asked about this state.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bootgate"));
        command
            .args(arguments)
            .arg("--state")
            .arg(&self.folder)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    /// Exit code and all that it says.
    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().expect("bootgate runs");
        let text =
            String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().expect("an exit code"), text)
    }

    /// The command and what it says, without what is different each time.
    pub fn told(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments);
        let code = match code {
            0 => String::new(),
            code => format!("(exit code {code})\n"),
        };
        let text = text.replace(self.folder.to_str().unwrap(), "STATE");
        format!(
            "$ bootgate {}\n{}{code}",
            arguments.join(" "),
            redacted(&text)
        )
    }
}

/// The text with its clock times replaced.
pub fn redacted(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("Z").filter(|_| !rest.is_empty()) {
        let (before, after) = rest.split_at(at + 1);
        match before.get(before.len().saturating_sub(20)..) {
            Some(time) if is_time(time) => {
                out.push_str(&before[..before.len() - 20]);
                out.push_str("TIME");
            }
            _ => out.push_str(before),
        }
        rest = after;
    }
    out + rest
}

/// Whether it reads as `2026-01-01T00:00:00Z`.
fn is_time(text: &str) -> bool {
    text.len() == 20
        && text.bytes().enumerate().all(|(index, byte)| match index {
            4 | 7 => byte == b'-',
            10 => byte == b'T',
            13 | 16 => byte == b':',
            19 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        })
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_micros()).unwrap()
}

/// So many seconds before now.
pub fn ago(seconds: u64) -> UnixMicros {
    UnixMicros(now() - seconds * 1_000_000)
}

/// So many seconds after now.
pub fn in_future(seconds: u64) -> UnixMicros {
    UnixMicros(now()).plus_seconds(seconds)
}

pub fn flash() -> FlashOrder {
    FlashOrder {
        image: "debian-12".to_owned(),
        disk: DiskSelector {
            min_size: Some(100 << 30),
            max_size: Some(2 << 40),
            ..DiskSelector::default()
        },
        after: AfterFlash::Reboot,
    }
}

pub fn expected() -> ExpectedFlash {
    ExpectedFlash {
        image_sha256: Sha256Hex([0xaa; 32]),
        chunks_sha256: Sha256Hex([0xbb; 32]),
        size: 2 << 30,
    }
}

pub fn verdict(name: &str, verdict: Verdict, stages: Vec<StageSpan>) -> TargetVerdict {
    TargetVerdict {
        name: TargetName::from(name),
        verdict,
        stages,
        image_sha256: None,
        disk_sha256: None,
        disk_proof: None,
        disk_ranges: Vec::new(),
    }
}
