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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::sync::mpsc;

    fn noise(length: usize) -> Vec<u8> {
        (0..length)
            .map(|index| (index % 251).to_le_bytes()[0])
            .collect()
    }

    #[tokio::test]
    async fn a_listener_that_is_slow_loses_nothing() {
        let (mut machine, mut console) = tokio::io::duplex(64);
        let (events, mut receiver) = mpsc::channel(1);
        let (ended, never) = watch::channel(false);
        let said = noise(200_000);
        let expected = said.clone();
        let write = async move {
            machine.write_all(&said).await.unwrap();
        };
        let listen = async move {
            let mut heard = Vec::new();
            while let Some(TargetEvent::Console(bytes)) = receiver.recv().await {
                assert!(!bytes.is_empty());
                heard.extend(bytes);
                tokio::task::yield_now().await;
            }
            heard
        };
        let read = async move {
            let end = drain(&mut console, &events, never).await;
            drop(ended);
            end
        };
        let ((), end, heard) = tokio::join!(write, read, listen);
        assert!(end.is_ok());
        assert!(heard == expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_has_ended_is_drained_although_its_end_stays_open() {
        let (mut machine, mut console) = tokio::io::duplex(1 << 20);
        let (events, mut receiver) = mpsc::channel(64);
        let (_ended, already) = watch::channel(true);
        machine.write_all(&noise(100_000)).await.unwrap();
        drain(&mut console, &events, already).await.unwrap();
        drop(events);
        let mut heard = 0;
        while let Some(TargetEvent::Console(bytes)) = receiver.recv().await {
            heard += bytes.len();
        }
        assert_eq!(heard, 100_000);
        drop(machine);
    }

    #[tokio::test]
    async fn a_console_nobody_listens_to_is_still_drained() {
        let (mut machine, mut console) = tokio::io::duplex(64);
        let (events, receiver) = mpsc::channel(1);
        drop(receiver);
        let (_ended, never) = watch::channel(false);
        let write = async move { machine.write_all(&noise(10_000)).await };
        let (written, end) = tokio::join!(write, drain(&mut console, &events, never));
        assert!(written.is_ok() && end.is_ok());
    }
}
