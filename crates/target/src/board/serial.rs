//! A console on a tty, kept open across power cycles.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bootgate_events::EventKind;
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_serial::{ClearBuffer, SerialPort, SerialPortBuilderExt, SerialStream};

use crate::console::drain;
use crate::{EventSender, TargetError, TargetEvent};

/// How often a tty that went away is looked for. A USB serial adapter that the board feeds goes and comes with the
/// board's power, and nothing tells when its node is back.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a tty that is taken is waited for.
const CLOSING_TIME: Duration = Duration::from_secs(1);

/// Longest time for the tty to take what is typed.
const TYPE_LIMIT: Duration = Duration::from_secs(5);

type Writer = Arc<Mutex<Option<WriteHalf<SerialStream>>>>;

/// An attached console. It is drained until it is dropped, whether the board has power or not.
pub(super) struct SerialConsole {
    tty: PathBuf,
    writer: Writer,
    task: JoinHandle<()>,
    // Never sends: a tty has no end of the machine.
    _machine_ended: watch::Sender<bool>,
}

impl SerialConsole {
    /// Opens the tty and begins to drain it. What came in before is dropped: it belongs to an earlier boot.
    pub(super) async fn open(
        tty: &Path,
        baud: u32,
        events: EventSender,
    ) -> Result<Self, TargetError> {
        let stream = open_once_free(tty, baud)
            .await
            .map_err(|source| TargetError::Console {
                action: "open",
                console: tty.display().to_string(),
                source,
            })?;
        // Not every tty can do it (a pty answers as it likes); then there is nothing to drop.
        let _ = stream.clear(ClearBuffer::Input);
        let (reader, writer) = tokio::io::split(stream);
        let writer: Writer = Arc::new(Mutex::new(Some(writer)));
        let (machine_ended, never) = watch::channel(false);
        let keeper = Keeper {
            tty: tty.to_owned(),
            baud,
            events,
            writer: Arc::clone(&writer),
            never,
        };
        keeper.tell_attached().await;
        Ok(Self {
            tty: tty.to_owned(),
            writer,
            task: tokio::spawn(keeper.run(reader)),
            _machine_ended: machine_ended,
        })
    }

    pub(super) async fn write(&self, bytes: &[u8]) -> Result<(), TargetError> {
        let write = async {
            match self.writer.lock().await.as_mut() {
                Some(writer) => writer.write_all(bytes).await,
                None => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        timeout(TYPE_LIMIT, write)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| TargetError::Console {
                action: "write to",
                console: self.tty.display().to_string(),
                source,
            })
    }
}

impl Drop for SerialConsole {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Keeper {
    tty: PathBuf,
    baud: u32,
    events: EventSender,
    writer: Writer,
    never: watch::Receiver<bool>,
}

impl Keeper {
    async fn run(self, mut reader: ReadHalf<SerialStream>) {
        loop {
            let reason = match drain(&mut reader, &self.events, self.never.clone()).await {
                Ok(()) => "end of file".to_owned(),
                Err(error) => error.to_string(),
            };
            *self.writer.lock().await = None;
            drop(reader);
            self.send(TargetEvent::ConsoleClosed(reason)).await;
            let stream = self.open_again().await;
            let (next, writer) = tokio::io::split(stream);
            reader = next;
            *self.writer.lock().await = Some(writer);
            self.tell_attached().await;
        }
    }

    /// Looks for the tty until it opens.
    async fn open_again(&self) -> SerialStream {
        let mut looks = interval(LOOK_AGAIN);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first look is immediate; a tty that only hung up would be opened and lost in a circle.
        looks.tick().await;
        loop {
            looks.tick().await;
            if let Ok(stream) = open_tty(&self.tty, self.baud) {
                return stream;
            }
        }
    }

    async fn tell_attached(&self) {
        let source = format!("{} at {} baud", self.tty.display(), self.baud);
        self.send(TargetEvent::Kind(EventKind::ConsoleAttached { source }))
            .await;
    }

    async fn send(&self, event: TargetEvent) {
        // Nobody may listen; the console is drained all the same.
        let _ = self.events.send(event).await;
    }
}

/// Opens the tty. Where it is taken it is tried again for a moment: its last user may just be closing it.
async fn open_once_free(tty: &Path, baud: u32) -> io::Result<SerialStream> {
    let mut tries = interval(LOOK_AGAIN);
    let until = Instant::now() + CLOSING_TIME;
    loop {
        tries.tick().await;
        match open_tty(tty, baud) {
            // A lock that is held comes as "not found" as well.
            Err(_) if tty.exists() && Instant::now() < until => {}
            result => return result,
        }
    }
}

/// 8 data bits, no parity, 1 stop bit, no flow control. Control lines are left alone: a pty has none (ENOTTY).
fn open_tty(tty: &Path, baud: u32) -> io::Result<SerialStream> {
    tokio_serial::new(tty.to_string_lossy(), baud)
        .open_native_async()
        .map_err(io::Error::from)
}
