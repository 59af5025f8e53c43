//! A target's console on this terminal.

use std::io::{self, Read, Write};
use std::sync::Mutex;

use bootgate_events::{Event, EventKind, TargetName};
use bootgate_report::Reporter;
use rustix::termios::{self, OptionalActions, Termios};
use tokio::sync::mpsc;

/// Ctrl-]: leaves the console; the run goes on.
const DETACH: u8 = 0x1d;

/// The terminal's settings from before; put back when the console is left.
static SETTINGS: Mutex<Option<Termios>> = Mutex::new(None);

/// Shows console bytes as they come.
pub(crate) struct Console {
    target: TargetName,
}

impl Console {
    /// Puts the terminal into raw mode, and reads keys from it on a thread of its own until Ctrl-].
    pub(crate) fn open(target: TargetName) -> io::Result<(Self, mpsc::UnboundedReceiver<Vec<u8>>)> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        *SETTINGS.lock().unwrap_or_else(|broken| broken.into_inner()) = Some(before);
        let (send, keys) = mpsc::unbounded_channel();
        std::thread::spawn(move || read_keys(&send));
        note(&format!("console of {target}; leave it with Ctrl-]"));
        Ok((Self { target }, keys))
    }
}

fn read_keys(send: &mpsc::UnboundedSender<Vec<u8>>) {
    let mut buffer = [0; 256];
    let mut stdin = io::stdin().lock();
    while let Ok(count @ 1..) = stdin.read(&mut buffer) {
        let bytes = &buffer[..count];
        if bytes.contains(&DETACH) {
            restore();
            note("left the console; the run goes on");
            return;
        }
        if send.send(bytes.to_vec()).is_err() {
            return;
        }
    }
}

/// Puts the terminal back as it was. Does nothing where it was not changed.
pub(crate) fn restore() {
    let before = SETTINGS
        .lock()
        .unwrap_or_else(|broken| broken.into_inner())
        .take();
    if let Some(before) = before {
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Drain, &before);
    }
}

fn note(text: &str) {
    let _ = write!(io::stderr().lock(), "\r\n[{text}]\r\n");
}

impl Reporter for Console {
    fn event(&mut self, event: &Event, console: &[u8]) {
        if event.target.as_ref() != Some(&self.target) {
            return;
        }
        match event.kind() {
            Some(EventKind::ConsoleChunk { .. }) => {
                let mut out = io::stdout().lock();
                let _ = out.write_all(console).and_then(|()| out.flush());
            }
            Some(EventKind::VerdictReached { verdict }) => {
                note(&format!("verdict: {}", verdict.word()))
            }
            _ => {}
        }
    }

    fn finish(&mut self) {
        restore();
    }
}
