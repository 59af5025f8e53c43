//! Runs scenarios as different users.
#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bootgate_testkit::is_root;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

pub const PATIENCE: Duration = Duration::from_secs(10);

/// Nobody's user and group id on every Linux.
const NOBODY: u32 = 65534;

/// As whom a scenario runs, and how its ports are made.
#[derive(Clone, Copy, Debug)]
pub enum Runner {
    /// The test's own user; TAP or `AF_PACKET`, whichever is there.
    Plain,
    /// The test's own user with `AF_PACKET` ports.
    Packet,
    /// Root in a user namespace: what an ordinary user gets where `/dev/net/tun` is open to all.
    RootInUserNamespace,
    /// An ordinary user.
    Nobody,
}

impl Runner {
    /// All that this test can be.
    pub fn all() -> Vec<Self> {
        if is_root() {
            vec![
                Self::Plain,
                Self::Packet,
                Self::RootInUserNamespace,
                Self::Nobody,
            ]
        } else {
            vec![Self::Plain, Self::Packet]
        }
    }

    /// Root and an ordinary user, as far as the test can be them.
    pub fn users() -> Vec<Self> {
        if is_root() {
            vec![Self::Plain, Self::Nobody]
        } else {
            vec![Self::Plain]
        }
    }
}

/// A scenario's program where every user can run it.
pub struct Program {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Program {
    pub fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let path = folder.path().join("hostnet-scenario");
        // By another process: a fork of a parallel test would keep a copy of our descriptor open for writing, and a file
        // open for writing cannot be executed.
        let copied = Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_hostnet-scenario"))
            .arg(&path)
            .status()
            .unwrap();
        assert!(copied.success());
        Self {
            _folder: folder,
            path,
        }
    }

    pub fn command(&self, runner: Runner, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .current_dir("/")
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/nonexistent")
            .env("RUST_BACKTRACE", "0");
        match runner {
            Runner::Plain => {}
            Runner::Packet => {
                command.env("PORTS", "packet");
            }
            Runner::RootInUserNamespace => {
                command.env("USERNS", "1");
            }
            Runner::Nobody => {
                command.uid(NOBODY).gid(NOBODY);
            }
        }
        command
    }

    /// Runs a scenario to its end and gives what it printed; it must succeed.
    pub fn run(&self, runner: Runner, arguments: &[&str]) -> String {
        let output = self.command(runner, arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{arguments:?} as {runner:?}: {}\n{stderr}",
            output.status
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Whether sandboxes can be entered here at all; a test skips where not.
pub fn sandboxes_work() -> Result<(), String> {
    let output = Program::new()
        .command(Runner::Plain, &["try"])
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// Ends the test as skipped where no sandbox can be entered.
#[macro_export]
macro_rules! require_sandboxes {
    () => {
        if let Err(reason) = common::sandboxes_work() {
            bootgate_testkit::skip!("no sandbox can be made here: {reason}");
        }
    };
}

/// A process that holds a sandbox with programs in it.
pub struct Held {
    pub supervisor: Child,
    pub holder: Pid,
    /// Descriptors of every process of the sandbox, the holder's included.
    pub inside: Vec<OwnedFd>,
    stdin: ChildStdin,
    pub stdout: BufReader<ChildStdout>,
    _program: Program,
}

impl Held {
    pub fn start(runner: Runner) -> Self {
        let program = Program::new();
        let mut supervisor = program
            .command(runner, &["hold"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let stdin = supervisor.stdin.take().unwrap();
        let mut stdout = BufReader::new(supervisor.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let pids: Vec<i32> = line
            .split_whitespace()
            .map(|pid| pid.parse().unwrap())
            .collect();
        let [_, holder, program_pid] = pids[..] else {
            panic!("`{line}` is not three process ids");
        };
        let inside = processes_beside(program_pid);
        Self {
            supervisor,
            holder: Pid::from_raw(holder).unwrap(),
            inside,
            stdin,
            stdout,
            _program: program,
        }
    }

    pub fn tell(&mut self, order: &str) {
        writeln!(self.stdin, "{order}").unwrap();
    }

    /// Waits until every process that was in the sandbox is gone.
    pub fn expect_all_gone(&self) {
        for process in &self.inside {
            assert!(ends(process, PATIENCE), "a process of the sandbox lives on");
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}

/// Whether a process ends within a time.
pub fn ends(process: &OwnedFd, within: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: within.as_secs().try_into().unwrap(),
        tv_nsec: within.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    rustix::event::poll(&mut fds, Some(&timeout)).unwrap() == 1
}

/// Descriptors of all processes in the PID namespace of one.
fn processes_beside(pid: i32) -> Vec<OwnedFd> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(&pid.to_string()).expect("the program's namespace");
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|name| namespace(name).as_ref() == Some(&wanted))
        .filter_map(|name| Pid::from_raw(name.parse().unwrap()))
        .filter_map(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok())
        .collect()
}
