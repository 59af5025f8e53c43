//! A target's console on this terminal.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};

use bootgate_events::{Event, EventKind, TargetName};
use bootgate_report::{Plain, Reporter};
use rustix::termios::{self, OptionalActions, QueueSelector, Termios};
use tokio::sync::mpsc;

/// Ctrl-]: leaves the console; the run goes on.
const DETACH: u8 = 0x1d;

/// Keeps the window's title and puts the way out there: firmware clears the screen when it starts.
const TITLE: &str = "\x1b[22;2t\x1b]2;";

/// Takes back the title, and what a guest may have set and a shell does not expect: colours, a hidden cursor, no
/// wrapping, a character set for drawing, keypad modes, bracketed paste, and a scroll region (which homes the cursor,
/// so its place is kept meanwhile).
const CLEAN: &[u8] =
    b"\x1b[23;2t\x1b[0m\x1b[?25h\x1b[?7h\x1b(B\x0f\x1b>\x1b[?1l\x1b[?2004l\x1b7\x1b[r\x1b8";

/// The terminal's settings from before it was raw.
static BEFORE: OnceLock<Termios> = OnceLock::new();

/// Whether the terminal is raw and not ours but the guest's.
static RAW: AtomicBool = AtomicBool::new(false);

/// Held while something is written to a terminal that may be raw, so that nothing of the guest comes after [`CLEAN`].
static SCREEN: Mutex<()> = Mutex::new(());

/// Shows console bytes as they come, and once the console is left, plain lines.
pub(crate) struct Console {
    target: TargetName,
    plain: Plain<OwnScreen>,
}

impl Console {
    /// Puts the terminal into raw mode, and reads keys from it on a thread of its own until Ctrl-].
    pub(crate) fn open(target: TargetName) -> io::Result<(Self, mpsc::UnboundedReceiver<Vec<u8>>)> {
        let before = termios::tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        let _ = BEFORE.set(before);
        restore_on_panic();
        let _ = write!(
            io::stdout().lock(),
            "{TITLE}{target}: leave with Ctrl-]\x07"
        );
        note(&format!(
            "console of {target}: all keys go there, Ctrl-C too; leave it with Ctrl-], the run goes on then"
        ));
        RAW.store(true, Ordering::SeqCst);
        // A failure leaves the settings as they are.
        termios::tcsetattr(io::stdin(), OptionalActions::Now, &raw)
            .inspect_err(|_| RAW.store(false, Ordering::SeqCst))?;
        let (send, keys) = mpsc::unbounded_channel();
        std::thread::spawn(move || read_keys(&send));
        let plain = Plain::new(OwnScreen);
        Ok((Self { target, plain }, keys))
    }
}

/// A panic's message, and the shell after it, need the terminal as it was.
fn restore_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore_at_once();
        tell(panic);
    }));
}

fn read_keys(send: &mpsc::UnboundedSender<Vec<u8>>) {
    let mut buffer = [0; 256];
    let mut stdin = io::stdin().lock();
    while let Ok(count @ 1..) = stdin.read(&mut buffer) {
        let bytes = &buffer[..count];
        let left = bytes.iter().position(|byte| *byte == DETACH);
        let keys = &bytes[..left.unwrap_or(count)];
        // An error: the run is over, and so is the console.
        let over = !keys.is_empty() && send.send(keys.to_vec()).is_err();
        if left.is_some() {
            leave("left the console; the run goes on");
        }
        if left.is_some() || over {
            return;
        }
    }
}

/// Gives the terminal back, with a word about why. Does nothing where it was given back before.
fn leave(why: &str) {
    if restore() {
        note(why);
    }
}

/// Puts the terminal back as it was, and says whether it was another before.
pub(crate) fn restore() -> bool {
    let _screen = SCREEN.lock().unwrap_or_else(|broken| broken.into_inner());
    let restored = restore_settings();
    if restored {
        clean();
    }
    restored
}

/// The same, without waiting for a terminal that takes no bytes at the moment.
pub(crate) fn restore_at_once() {
    if restore_settings() && SCREEN.try_lock().is_ok() {
        clean();
    }
}

fn restore_settings() -> bool {
    let Some(before) = BEFORE.get() else {
        return false;
    };
    if !RAW.swap(false, Ordering::SeqCst) {
        return false;
    }
    let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
    // What was typed for the guest and not read yet is not meant for a shell.
    let _ = termios::tcflush(io::stdin(), QueueSelector::IFlush);
    true
}

fn clean() {
    let mut out = io::stdout().lock();
    let _ = out
        .write_all(CLEAN)
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
}

fn note(text: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "[{text}]").and_then(|()| out.flush());
}

impl Reporter for Console {
    fn event(&mut self, event: &Event, console: &[u8]) {
        let ours = event.target.as_ref() == Some(&self.target);
        match event.kind() {
            Some(EventKind::ConsoleChunk { .. }) if ours => show(console),
            Some(EventKind::VerdictReached { .. }) if ours => leave("the console is closed"),
            Some(EventKind::InfraFailed { .. } | EventKind::RunFinished { .. }) => {
                leave("the console is closed");
            }
            _ => {}
        }
        self.plain.event(event, console);
    }

    fn finish(&mut self) {
        self.plain.finish();
        leave("the console is closed");
    }
}

/// The guest's bytes, as long as the terminal is the guest's.
fn show(console: &[u8]) {
    let _screen = SCREEN.lock().unwrap_or_else(|broken| broken.into_inner());
    if RAW.load(Ordering::SeqCst) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(console).and_then(|()| out.flush());
    }
}

/// Standard output, while it is not the guest's.
struct OwnScreen;

impl Write for OwnScreen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if RAW.load(Ordering::SeqCst) {
            return Ok(bytes.len());
        }
        io::stdout().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stdout().flush()
    }
}
