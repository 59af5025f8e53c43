//! `bootgate run --attach` on a terminal: what a developer sees and types, and what the terminal is like afterwards.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, tcgetattr};

const LIMIT: Duration = Duration::from_secs(60);

/// A terminal with bootgate on it.
struct Terminal {
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    seen: String,
    /// The side bootgate has, kept open so that its settings can be looked at.
    tty: File,
    before: Termios,
    child: Child,
    folder: tempfile::TempDir,
}

fn pty() -> (OwnedFd, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = openpt(flags).expect("a pty");
    grantpt(&controller).expect("grantpt");
    unlockpt(&controller).expect("unlockpt");
    let path = ptsname(&controller, Vec::new()).expect("ptsname");
    let tty = File::options()
        .read(true)
        .write(true)
        .open(path.to_str().expect("a path"))
        .expect("a tty");
    (controller, tty)
}

/// A scenario whose only machine ends in iPXE's shell, and passes when somebody makes it say `typed keys arrive`.
fn shell(folder: &Path, extra: &str) -> std::path::PathBuf {
    let file = folder.join("shell.toml");
    std::fs::write(folder.join("shell.ipxe"), "#!ipxe\nshell\n").expect("a script");
    let text = format!(
        "allow = [\"ipxe-shell\"]\n{extra}\n[boot]\nscript = \"shell.ipxe\"\n\
         [[expect]]\npattern = 'typed keys arrive'\n[[target]]\nname = \"client\"\nfirmware = \"bios\"\n"
    );
    std::fs::write(&file, text).expect("a scenario");
    file
}

/// `bootgate run --attach` with a terminal of its own.
fn attach(extra: &str) -> Terminal {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let scenario = shell(folder.path(), extra);
    let (controller, tty) = pty();
    let before = tcgetattr(&tty).expect("tcgetattr");
    let side = || tty.try_clone().expect("a descriptor");
    let child = Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .arg("run")
        .arg(scenario)
        .arg("--attach")
        .arg("--out")
        .arg(folder.path().join("run"))
        .stdin(side())
        .stdout(side())
        .stderr(side())
        .spawn()
        .expect("bootgate starts");
    let keyboard = File::from(controller);
    let mut output = keyboard.try_clone().expect("a descriptor");
    let (send, screen) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            if send.send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    Terminal {
        keyboard,
        screen,
        seen: String::new(),
        tty,
        before,
        child,
        folder,
    }
}

impl Terminal {
    /// Waits until the screen shows `text` after what it has shown before.
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + LIMIT;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.screen.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("the terminal never showed {text:?}, but:\n{}", self.seen),
            }
        }
        self.seen = self
            .seen
            .split_off(self.seen.find(text).expect("it is there") + text.len());
    }

    /// Types a line, a word at a time: the keyboard buffer of a BIOS holds 15 keys.
    fn types(&mut self, words: &[&str]) {
        for word in words {
            self.keyboard.write_all(word.as_bytes()).expect("keys");
            self.shows(word.trim());
        }
        self.keyboard.write_all(b"\r").expect("keys");
    }

    fn is_raw(&self) -> bool {
        let now = tcgetattr(&self.tty).expect("tcgetattr");
        !now.local_modes
            .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Waits for the end; the exit code, and what the terminal showed after what was looked for.
    fn end(mut self) -> (Option<i32>, String, serde_json::Value) {
        let code = self.child.wait().expect("it ends").code();
        let now = tcgetattr(&self.tty).expect("tcgetattr");
        let settings = |t: &Termios| {
            (
                t.input_modes,
                t.output_modes,
                t.control_modes,
                t.local_modes,
            )
        };
        assert_eq!(
            settings(&now),
            settings(&self.before),
            "the terminal was left changed"
        );
        // What is still on its way to the screen: the tty hangs up once nobody has it open.
        drop(self.tty);
        let deadline = Instant::now() + LIMIT;
        loop {
            match self
                .screen
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("the terminal does not hang up"),
            }
        }
        let verdict =
            std::fs::read(self.folder.path().join("run/verdict.json")).expect("a verdict");
        let verdict = serde_json::from_slice(&verdict).expect("verdict.json is JSON");
        (code, self.seen, verdict)
    }
}

/// What stands on the screen after the console was left has whole lines, and none of the guest's bytes.
fn assert_clean(told: &str) {
    for line in told.split_inclusive('\n') {
        assert!(
            line.ends_with("\r\n") && !line.trim_end().contains(['\x1b', '\r']),
            "{line:?} in:\n{told}"
        );
    }
}

#[test]
fn keys_reach_the_guest_and_the_terminal_is_as_before() {
    bootgate_testkit::require_commands!("qemu-system-x86_64");
    let mut terminal = attach("");
    terminal.shows("leave it with Ctrl-]");
    terminal.shows("iPXE>");
    assert!(terminal.is_raw());
    // Ctrl-C is the guest's: iPXE gives up the line, and the run goes on.
    terminal.keyboard.write_all(b"nonsense").expect("keys");
    terminal.shows("nonsense");
    terminal.keyboard.write_all(b"\x03").expect("keys");
    terminal.shows("iPXE>");
    terminal.types(&["set verb ", "arrive"]);
    terminal.shows("iPXE>");
    terminal.types(&["echo typed ", "keys ", "${verb}"]);
    terminal.shows("typed keys arrive");
    terminal.shows("[the console is closed]\r\n");
    let (code, told, verdict) = terminal.end();
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(verdict["verdict"], "passed");
    assert_clean(&told);
    assert!(
        told.contains("Passed") && told.contains("reports in "),
        "{told}"
    );
}

#[test]
fn the_run_goes_on_after_the_console_is_left() {
    bootgate_testkit::require_commands!("qemu-system-x86_64");
    let mut terminal = attach("");
    terminal.shows("iPXE>");
    terminal.types(&["set verb ", "arrive"]);
    terminal.shows("iPXE>");
    // The last keys and the way out in one go: the keys still count, and the guest passes with nobody watching.
    terminal
        .keyboard
        .write_all(b"echo typed keys")
        .expect("keys");
    terminal.shows("keys");
    terminal
        .keyboard
        .write_all(b" ${verb}\r\x1d")
        .expect("keys");
    terminal.shows("[left the console; the run goes on]\r\n");
    assert!(!terminal.is_raw());
    let (code, told, verdict) = terminal.end();
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(verdict["verdict"], "passed");
    assert_clean(&told);
    assert!(told.contains("Passed") && !told.contains("iPXE>"), "{told}");
}

#[test]
fn a_failure_gives_the_terminal_back_and_says_why() {
    bootgate_testkit::require_commands!("qemu-system-x86_64");
    let mut terminal = attach("timeout = \"1s\"");
    terminal.shows("[the console is closed]\r\n");
    let (code, told, verdict) = terminal.end();
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(verdict["verdict"], "failed");
    assert_clean(&told);
    assert!(told.contains("Failed at "), "{told}");
}

#[test]
fn signals_from_outside_give_the_terminal_back() {
    bootgate_testkit::require_commands!("qemu-system-x86_64");
    for signal in ["INT", "TERM", "HUP"] {
        let mut terminal = attach("");
        terminal.shows("iPXE>");
        assert!(terminal.is_raw());
        support::signal(terminal.child.id(), signal);
        terminal.shows("[the console is closed]\r\n");
        let (code, told, verdict) = terminal.end();
        assert_eq!(code, Some(130), "{told}");
        assert_eq!(verdict["verdict"], "interrupted");
        assert_clean(&told);
        assert!(told.contains(&format!("SIG{signal}")), "{told}");
    }
}

#[test]
fn a_console_needs_a_terminal() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = support::run(&shell(folder.path(), ""))
        .arg("--attach")
        .finish();
    run.assert_code(2);
    assert!(run.stderr.contains("needs a terminal"), "{}", run.told());
    assert!(!run.folder.exists(), "something was started");
}
