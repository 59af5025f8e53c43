//! Draining a console.

use std::future::pending;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{EventSender, TargetEvent};

/// How long bytes may be held back to be joined with the next ones. Serial ports give one or two bytes a read, and
/// an event for each would fill the log.
const JOIN_TIME: Duration = Duration::from_millis(4);

/// The most bytes in one [`TargetEvent::Console`].
const CHUNK: usize = 16 * 1024;

/// Silence after which a console whose machine has ended counts as drained. The bytes are in the socket by then, so
/// this only bounds the wait where somebody else holds the far end open.
const LAST_SILENCE: Duration = Duration::from_millis(200);

/// Reads until the end of the console and sends what came. Every byte read is sent before this returns. Where nobody
/// listens any more it goes on reading, since a guest stalls when its console is not read. Once `machine_ended`
/// is true, silence is an end too.
pub(crate) async fn drain<R: AsyncRead + Unpin>(
    reader: &mut R,
    events: &EventSender,
    mut machine_ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut buffer = vec![0u8; CHUNK];
    loop {
        let mut filled = tokio::select! {
            biased;
            count = reader.read(&mut buffer) => count?,
            () = ended(&mut machine_ended) => {
                timeout(LAST_SILENCE, reader.read(&mut buffer)).await.unwrap_or(Ok(0))?
            }
        };
        if filled == 0 {
            return Ok(());
        }
        let due = Instant::now() + JOIN_TIME;
        let mut end = None;
        while filled < CHUNK && end.is_none() {
            // `read` is cancel-safe: bytes are either in the buffer or still in the kernel.
            match timeout_at(due, reader.read(&mut buffer[filled..])).await {
                Err(_) => break,
                Ok(Ok(0)) => end = Some(Ok(())),
                Ok(Ok(count)) => filled += count,
                Ok(Err(error)) => end = Some(Err(error)),
            }
        }
        let chunk = TargetEvent::Console(buffer[..filled].to_vec());
        // An error means that nobody listens: keep draining.
        let _ = events.send(chunk).await;
        if let Some(end) = end {
            return end;
        }
    }
}

async fn ended(machine_ended: &mut watch::Receiver<bool>) {
    if machine_ended.wait_for(|ended| *ended).await.is_err() {
        // Nobody will ever say so: only the end of the console ends the drain.
        pending::<()>().await;
    }
}
