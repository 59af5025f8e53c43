//! Watches what a connection hands to the kernel, so that a transfer's end is told when its last byte was taken by
//! the kernel, and not when it went into a buffer of ours.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::transfers::TransferEvents;

/// The responses of a connection that are not wholly written yet, in order.
#[derive(Default)]
pub(super) struct Written {
    responses: Mutex<VecDeque<Response>>,
}

struct Response {
    head: Head,
    length: u64,
    sent: u64,
    events: Option<TransferEvents>,
}

/// How much of a response's head was written: its head ends with the first empty line.
#[derive(Clone, Copy, Default)]
struct Head {
    /// Bytes of `\r\n\r\n` that were just written.
    matched: usize,
    done: bool,
}

impl Head {
    const END: &[u8; 4] = b"\r\n\r\n";

    /// Takes written bytes; gives those behind the head.
    fn pass<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.done {
            return bytes;
        }
        for (index, byte) in bytes.iter().enumerate() {
            self.matched = match (*byte == Self::END[self.matched], *byte) {
                (true, _) => self.matched + 1,
                (false, b'\r') => 1,
                (false, _) => 0,
            };
            if self.matched == Self::END.len() {
                self.done = true;
                return &bytes[index + 1..];
            }
        }
        &[]
    }
}

impl Written {
    /// A response with a body of `length` bytes comes next.
    pub(super) fn expect(&self, length: u64, events: Option<TransferEvents>) {
        self.lock().push_back(Response {
            head: Head::default(),
            length,
            sent: 0,
            events,
        });
    }

    /// The kernel took these bytes.
    fn wrote(&self, mut bytes: &[u8]) {
        let mut responses = self.lock();
        while let Some(response) = responses.front_mut() {
            bytes = response.head.pass(bytes);
            let left = response.length - response.sent;
            let body = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            response.sent += body as u64;
            bytes = &bytes[body..];
            if let Some(events) = &mut response.events {
                events.progress(response.sent);
            }
            if !response.head.done || response.sent < response.length {
                return;
            }
            if let Some(Response {
                events: Some(events),
                ..
            }) = responses.pop_front()
            {
                events.completed();
            }
        }
    }

    /// The connection is over: what is not written will not be.
    pub(super) fn end(&self, reason: &str) {
        let left = std::mem::take(&mut *self.lock());
        for events in left.into_iter().filter_map(|response| response.events) {
            events.aborted(reason, false);
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Response>> {
        self.responses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that tells what was written to it.
pub(super) struct TrackedStream {
    stream: TcpStream,
    written: Arc<Written>,
}

impl TrackedStream {
    pub(super) fn new(stream: TcpStream, written: Arc<Written>) -> Self {
        Self { stream, written }
    }
}

impl AsyncRead for TrackedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for TrackedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = wrote {
            self.written.wrote(&bytes[..count.min(bytes.len())]);
        }
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(mut count)) = wrote {
            for slice in slices {
                let part = count.min(slice.len());
                self.written.wrote(&slice[..part]);
                count -= part;
            }
        }
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::Head;

    #[test]
    fn a_head_ends_at_its_empty_line_however_it_is_cut() {
        let text = b"HTTP/1.1 200 OK\r\nA: \r\r\nB: b\r\n\r\nbody\r\n\r\n";
        for cut in 0..text.len() {
            let mut head = Head::default();
            let (first, second) = text.split_at(cut);
            let rest = [head.pass(first), head.pass(second)].concat();
            assert_eq!(rest, b"body\r\n\r\n", "cut at {cut}");
        }
    }
}
