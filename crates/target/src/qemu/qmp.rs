//! A client for QEMU's machine protocol (QMP): one JSON object a line in both directions.
//!
//! What it does not know it tolerates: unknown events are passed on by name, lines that are not JSON and replies
//! nobody waits for are skipped. Dropping a call's future at any point leaves the connection in order.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Longest line that is read; QEMU's longest replies stay far below.
const MAX_LINE: usize = 4 << 20;

/// Something QEMU told without being asked.
#[derive(Clone, Debug, PartialEq)]
pub struct QmpEvent {
    /// Its name, e.g. `SHUTDOWN`.
    pub name: String,
    /// Its data; `Null` where it has none.
    pub data: Value,
}

/// A command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QmpError {
    /// QEMU refused it.
    #[error("{class}: {description}")]
    Refused {
        /// QEMU's class, e.g. `GenericError`.
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// No answer came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// QEMU closed the connection.
    #[error("QEMU closed the connection")]
    Closed,
}

type Reply = Result<Value, QmpError>;

/// What both directions share: the calls that wait, and whether the connection is closed.
#[derive(Default)]
struct Waiting {
    calls: HashMap<u64, oneshot::Sender<Reply>>,
    closed: bool,
}

/// An open connection. Clones share it; it closes when the last one is dropped.
#[derive(Clone)]
pub struct Qmp {
    waiting: Arc<Mutex<Waiting>>,
    lines: mpsc::UnboundedSender<Vec<u8>>,
    next_id: Arc<AtomicU64>,
}

impl Qmp {
    /// Waits for QEMU's greeting and leaves negotiation mode. Events come out of the receiver, which ends with the
    /// connection.
    ///
    /// # Errors
    /// QEMU closes the connection, or does not answer within `limit`.
    pub async fn connect<S>(
        stream: S,
        limit: Duration,
    ) -> Result<(Self, mpsc::UnboundedReceiver<QmpEvent>), QmpError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (reader, mut writer) = tokio::io::split(stream);
        let (lines, mut to_write) = mpsc::unbounded_channel::<Vec<u8>>();
        let (events, event_receiver) = mpsc::unbounded_channel();
        let (greeted, greeting) = oneshot::channel();
        let waiting = Arc::new(Mutex::new(Waiting::default()));
        let dispatcher = Dispatcher {
            waiting: Arc::clone(&waiting),
            events,
            greeted: Some(greeted),
        };
        tokio::spawn(dispatcher.run(reader));
        tokio::spawn(async move {
            while let Some(line) = to_write.recv().await {
                if writer.write_all(&line).await.is_err() {
                    break;
                }
            }
            // The reader sees the end of the connection; nothing is lost by a failed farewell.
            let _ = writer.shutdown().await;
        });
        let qmp = Self {
            waiting,
            lines,
            next_id: Arc::default(),
        };
        timeout(limit, greeting)
            .await
            .map_err(|_| QmpError::TimedOut(limit))?
            .map_err(|_| QmpError::Closed)?;
        qmp.execute("qmp_capabilities", Value::Null, limit).await?;
        Ok((qmp, event_receiver))
    }

    /// Runs a command and gives its return value. `arguments` is an object, or `Null` for none.
    ///
    /// # Errors
    /// QEMU refuses the command, closes the connection, or does not answer within `limit`.
    pub async fn execute(&self, command: &str, arguments: Value, limit: Duration) -> Reply {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let mut call = json!({ "execute": command, "id": id });
        if !arguments.is_null() {
            call["arguments"] = arguments;
        }
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = lock(&self.waiting);
            if waiting.closed {
                return Err(QmpError::Closed);
            }
            waiting.calls.insert(id, answer);
        }
        // Forgets the call when this future is dropped or times out.
        let _call = Call {
            waiting: &self.waiting,
            id,
        };
        let mut line = call.to_string().into_bytes();
        line.push(b'\n');
        self.lines.send(line).map_err(|_| QmpError::Closed)?;
        match timeout(limit, answered).await {
            Err(_) => Err(QmpError::TimedOut(limit)),
            Ok(Err(_)) => Err(QmpError::Closed),
            Ok(Ok(reply)) => reply,
        }
    }
}

struct Call<'a> {
    waiting: &'a Mutex<Waiting>,
    id: u64,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        lock(self.waiting).calls.remove(&self.id);
    }
}

fn lock(waiting: &Mutex<Waiting>) -> std::sync::MutexGuard<'_, Waiting> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Dispatcher {
    waiting: Arc<Mutex<Waiting>>,
    events: mpsc::UnboundedSender<QmpEvent>,
    greeted: Option<oneshot::Sender<()>>,
}

impl Dispatcher {
    async fn run<R: AsyncRead + Unpin>(mut self, mut reader: R) {
        let mut pending = Vec::new();
        let mut buffer = [0u8; 4096];
        while let Ok(count) = reader.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            let searched = pending.len();
            pending.extend_from_slice(&buffer[..count]);
            let mut start = 0;
            while let Some(length) = pending[start.max(searched)..]
                .iter()
                .position(|byte| *byte == b'\n')
            {
                let end = start.max(searched) + length;
                self.take_line(&pending[start..end]);
                start = end + 1;
            }
            pending.drain(..start);
            if pending.len() > MAX_LINE {
                tracing::warn!("QMP line longer than {MAX_LINE} bytes: connection given up");
                break;
            }
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            if !line.iter().all(u8::is_ascii_whitespace) {
                let text = String::from_utf8_lossy(line);
                tracing::warn!("QMP line that is not JSON skipped: `{text}`");
            }
            return;
        };
        if message.get("QMP").is_some() {
            if let Some(greeted) = self.greeted.take() {
                // The connecting future may have been dropped.
                let _ = greeted.send(());
            }
        } else if let Some(name) = message.get("event").and_then(Value::as_str) {
            let event = QmpEvent {
                name: name.to_owned(),
                data: message.get("data").cloned().unwrap_or(Value::Null),
            };
            // Nobody may be interested in events.
            let _ = self.events.send(event);
        } else {
            self.take_reply(&message);
        }
    }

    fn take_reply(&mut self, message: &Value) {
        let reply = match (message.get("return"), message.get("error")) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(error)) => {
                let text = |key| error.get(key).and_then(Value::as_str).unwrap_or("unknown");
                Err(QmpError::Refused {
                    class: text("class").to_owned(),
                    description: text("desc").to_owned(),
                })
            }
            (None, None) => {
                tracing::warn!("QMP message of no known form skipped: `{message}`");
                return;
            }
        };
        let call = message
            .get("id")
            .and_then(Value::as_u64)
            .and_then(|id| lock(&self.waiting).calls.remove(&id));
        if let Some(call) = call {
            // The caller may have gone in between.
            let _ = call.send(reply);
        }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let mut waiting = lock(&self.waiting);
        waiting.closed = true;
        waiting.calls.clear();
    }
}
