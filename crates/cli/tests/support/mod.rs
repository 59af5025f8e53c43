//! Drives the bootgate program as a user would.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest time for one run of the program; the runner's own limit is longer.
const LIMIT: Duration = Duration::from_secs(240);

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .expect("the repository")
}

/// A shipped scenario.
pub fn scenario(name: &str) -> PathBuf {
    root().join("fixtures/scenarios").join(name)
}

/// Whether `ci/test` or `ci/gate` has made the live environment and the disk image.
pub fn media_is_built() -> bool {
    root().join("target/media/disk/disk.img").is_file()
        && root().join("target/media/live/initrd.img").is_file()
}

/// Skips where the media or QEMU are not there.
#[macro_export]
macro_rules! require_gate {
    () => {
        bootgate_testkit::require_commands!("qemu-system-x86_64");
        if !support::media_is_built() {
            bootgate_testkit::skip!("target/media is not built: run ./ci/gate once");
        }
    };
}

/// A finished run.
#[derive(Debug)]
pub struct Finished {
    /// Exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub folder: PathBuf,
    _temp: tempfile::TempDir,
}

impl Finished {
    /// `verdict.json` of the run folder.
    pub fn verdict(&self) -> Value {
        verdict_in(&self.folder).unwrap_or_else(|error| panic!("{error}\n{}", self.told()))
    }

    /// The events of the log.
    pub fn events(&self) -> Vec<Value> {
        events_in(&self.folder)
    }

    /// What the program said, for messages of failing tests.
    pub fn told(&self) -> String {
        format!(
            "exit {:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }

    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.code, Some(code), "{}", self.told());
    }
}

/// `verdict.json` of a run folder.
pub fn verdict_in(folder: &Path) -> Result<Value, String> {
    let path = folder.join("verdict.json");
    let text = std::fs::read(&path).map_err(|error| format!("read {}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{} is no JSON: {error}", path.display()))
}

/// The events of a run folder's log.
pub fn events_in(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("events.jsonl")).expect("events.jsonl");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("an event a line"))
        .collect()
}

/// Names of the stages that a target went through.
pub fn stages(target: &Value) -> Vec<String> {
    let list = target["stages"].as_array().expect("stages");
    list.iter()
        .map(|stage| stage["stage"].as_str().expect("stage").to_owned())
        .collect()
}

/// The target did all that a flash scenario asks, in order, and the host has compared its disk.
pub fn assert_flashed_and_booted(target: &Value) {
    assert_eq!(target["verdict"], "passed", "{target:#}");
    assert_eq!(target["disk_proof"], "host");
    assert!(
        target["image_sha256"]
            .as_str()
            .is_some_and(|digest| digest.len() == 64),
        "{target:#}"
    );
    assert_eq!(target["disk_sha256"], target["image_sha256"]);
    let stages = stages(target);
    for stage in [
        "firmware",
        "dhcp",
        "script",
        "kernel",
        "initrd",
        "live",
        "flash",
        "verify",
        "disk-boot",
        "done",
    ] {
        assert!(
            stages.iter().any(|name| name == stage),
            "no `{stage}` in {stages:?}"
        );
    }
    let times: Vec<u64> = target["stages"]
        .as_array()
        .expect("stages")
        .iter()
        .flat_map(|stage| {
            [
                stage["start_ms"].as_u64().expect("start_ms"),
                stage["end_ms"].as_u64().expect("end_ms"),
            ]
        })
        .collect();
    assert!(times.is_sorted(), "stages overlap: {times:?}");
}

/// A bootgate command line to be run.
pub struct Bootgate {
    pub command: Command,
    pub folder: PathBuf,
    temp: tempfile::TempDir,
}

/// `bootgate run SCENARIO --out FOLDER`.
pub fn run(scenario: &Path) -> Bootgate {
    let mut bootgate = program(Command::new(env!("CARGO_BIN_EXE_bootgate")));
    let folder = bootgate.folder.clone();
    bootgate
        .command
        .arg("run")
        .arg(scenario)
        .arg("--out")
        .arg(&folder);
    bootgate
}

/// A command with a folder of its own for the run.
pub fn program(mut command: Command) -> Bootgate {
    let temp = tempfile::tempdir().expect("a temporary folder");
    command.stdin(Stdio::null()).env_remove("BOOTGATE_SKIP_LOG");
    Bootgate {
        command,
        folder: temp.path().join("run"),
        temp,
    }
}

impl Bootgate {
    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Runs it to its end.
    pub fn finish(mut self) -> Finished {
        let output = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .expect("bootgate starts");
        self.finished(output)
    }

    /// Starts it; the caller ends it with [`Started::finish`].
    pub fn start(mut self) -> Started {
        let child = self
            .command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bootgate starts");
        Started {
            child: Some(child),
            bootgate: self,
        }
    }

    fn finished(self, output: Output) -> Finished {
        Finished {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            folder: self.folder,
            _temp: self.temp,
        }
    }
}

/// A run that goes on.
pub struct Started {
    child: Option<std::process::Child>,
    bootgate: Bootgate,
}

impl Started {
    pub fn pid(&self) -> u32 {
        self.child
            .as_ref()
            .map(std::process::Child::id)
            .expect("it runs")
    }

    pub fn folder(&self) -> &Path {
        &self.bootgate.folder
    }

    /// Waits until the log has an event that `wanted` accepts.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait_for_in(self.folder(), what, wanted)
    }

    /// Sends a signal by name, such as `INT`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub fn finish(mut self) -> Finished {
        let child = self.child.take().expect("it runs");
        let output = child.wait_with_output().expect("it ends");
        let temp = tempfile::tempdir().expect("a temporary folder");
        let bootgate = std::mem::replace(
            &mut self.bootgate,
            Bootgate {
                command: Command::new("true"),
                folder: temp.path().into(),
                temp,
            },
        );
        bootgate.finished(output)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Waits until the log in `folder` has an event that `wanted` accepts.
pub fn wait_for_in(folder: &Path, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let path = folder.join("events.jsonl");
    let deadline = Instant::now() + LIMIT;
    loop {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(event) = events.into_iter().find(&wanted) {
            return event;
        }
        assert!(
            Instant::now() < deadline,
            "{what} did not happen; the log so far:\n{text}"
        );
        poll_pause();
    }
}

/// A pause between two looks at something that cannot be waited for otherwise: another program's files or processes.
pub fn poll_pause() {
    std::thread::park_timeout(Duration::from_millis(20));
}

/// Sends a signal by name.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success(), "kill -s {name} {pid}");
}

/// Process ids whose command line contains `text`.
pub fn processes_with(text: &str) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("/proc").flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let Ok(cmdline) = std::fs::read(entry.path().join("cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        if line.contains(text) && pid != std::process::id() {
            found.push(pid);
        }
    }
    found
}

/// Asserts that no process with `text` in its command line is left, giving the kernel a moment to bury them.
pub fn assert_none_left(text: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let left = processes_with(text);
        if left.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "processes left on the host: {left:?}"
        );
        poll_pause();
    }
}

/// The names of the host's network interfaces and named namespaces.
pub fn host_network() -> String {
    let show = |args: &[&str]| {
        let output = Command::new("ip").args(args).output().expect("ip runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    format!("{}{}", show(&["-brief", "link"]), show(&["netns", "list"]))
}
