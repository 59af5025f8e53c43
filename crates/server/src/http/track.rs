//! Watches what a connection hands to the kernel, so that a transfer's end is told when its last byte was taken by
//! the kernel, and not when it went into a buffer of ours.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use rustix::net::{SendAncillaryBuffer, SendFlags};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::stand_in::{FilePart, is_stand_in};
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
    /// What the body stands for, where it is a [`StandIn`](super::stand_in::StandIn).
    part: Option<FilePart>,
}

impl Response {
    /// The kernel took so many bytes of the body.
    fn advance(&mut self, count: u64) {
        self.sent += count;
        if let Some(events) = &mut self.events {
            events.progress(self.sent);
        }
    }

    fn is_whole(&self) -> bool {
        self.head.done && self.sent >= self.length
    }
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
    /// A response with a body of `length` bytes comes next. Where its body only stands for a part of a file, that part.
    pub(super) fn expect(
        &self,
        length: u64,
        events: Option<TransferEvents>,
        part: Option<FilePart>,
    ) {
        self.lock().push_back(Response {
            head: Head::default(),
            length,
            sent: 0,
            events,
            part,
        });
    }

    /// Refuses bytes that would go where a file's belong: whoever made them read what stands for the file.
    fn check(&self, slices: &[IoSlice<'_>]) -> io::Result<()> {
        let responses = self.lock();
        if responses.iter().all(|response| response.part.is_none()) {
            return Ok(());
        }
        let mut bytes = slices.iter().flat_map(|slice| slice.iter()).copied();
        for response in &*responses {
            let mut head = response.head;
            while !head.done {
                match bytes.next() {
                    Some(byte) => _ = head.pass(&[byte]),
                    None => return Ok(()),
                }
            }
            let left = usize::try_from(response.length - response.sent).unwrap_or(usize::MAX);
            if response.part.is_some() && left > 0 {
                return match bytes.next() {
                    Some(_) => Err(io::Error::other("bytes in the place of a file's")),
                    None => Ok(()),
                };
            }
            if left > 0 && bytes.nth(left - 1).is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The kernel took these bytes.
    fn wrote(&self, mut bytes: &[u8]) {
        let mut responses = self.lock();
        while let Some(response) = responses.front_mut() {
            bytes = response.head.pass(bytes);
            let left = response.length - response.sent;
            let body = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
            response.advance(body as u64);
            bytes = &bytes[body..];
            if !response.is_whole() {
                return;
            }
            complete_first(&mut responses);
        }
    }

    /// Sends the file's bytes in the place of `len` bytes that stand for them; how many the kernel took.
    fn send_file(&self, socket: &TcpStream, len: usize) -> io::Result<usize> {
        let mut responses = self.lock();
        let response = responses.front_mut().filter(|response| response.head.done);
        let unknown = || io::Error::other("bytes that stand for no file");
        let response = response.ok_or_else(unknown)?;
        let part = response.part.as_ref().ok_or_else(unknown)?;
        let left = response.length - response.sent;
        let len = usize::try_from(left).map_or(len, |left| left.min(len));
        let offset = part.range.start + response.sent;
        let count = part.file.send(socket, offset, len)?;
        response.advance(count as u64);
        if response.is_whole() {
            complete_first(&mut responses);
        }
        Ok(count)
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

/// The first response was written whole.
fn complete_first(responses: &mut VecDeque<Response>) {
    if let Some(events) = responses.pop_front().and_then(|whole| whole.events) {
        events.completed();
    }
}

/// Bytes of files that a connection sends in one go. A client on a fast link takes them as fast as they come, and others
/// wait for the same thread.
const TURN: usize = 2 << 20;

/// A connection that tells what was written to it, and sends files in the place of what stands for them.
pub(super) struct TrackedStream {
    stream: TcpStream,
    written: Arc<Written>,
    /// Bytes of files sent since others had their turn.
    in_a_row: usize,
}

impl TrackedStream {
    pub(super) fn new(stream: TcpStream, written: Arc<Written>) -> Self {
        Self {
            stream,
            written,
            in_a_row: 0,
        }
    }

    /// Tries until the socket takes something.
    fn poll_socket(
        &self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(cx))?;
            let done = self
                .stream
                .try_io(Interest::WRITABLE, || attempt(&self.stream));
            match done {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// Sends the file's bytes in the place of `len` bytes that stand for them.
    fn poll_file(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        if self.in_a_row >= TURN {
            self.in_a_row = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let sent = self.poll_socket(cx, |socket| self.written.send_file(socket, len));
        self.in_a_row = match &sent {
            Poll::Ready(Ok(count)) => self.in_a_row + count,
            _ => 0,
        };
        sent
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let start = slices.iter().take_while(|slice| slice.is_empty()).count();
        let slices = &slices[start..];
        let Some(first) = slices.first() else {
            return Poll::Ready(Ok(0));
        };
        if is_stand_in(first) {
            return self.poll_file(cx, first.len());
        }
        let plain = slices.iter().take_while(|slice| !is_stand_in(slice));
        let (plain, rest) = slices.split_at(plain.count());
        if let Err(error) = self.written.check(plain) {
            return Poll::Ready(Err(error));
        }
        // A head shares a packet with the first bytes of its file.
        let more = match rest.is_empty() {
            true => SendFlags::empty(),
            false => SendFlags::MORE,
        };
        let flags = SendFlags::NOSIGNAL | more;
        let send = |socket: &TcpStream| {
            let nothing = &mut SendAncillaryBuffer::default();
            Ok(rustix::net::sendmsg(socket, plain, nothing, flags)?)
        };
        let wrote = ready!(self.poll_socket(cx, send))?;
        let mut left = wrote;
        for slice in plain {
            let part = left.min(slice.len());
            self.written.wrote(&slice[..part]);
            left -= part;
        }
        Poll::Ready(Ok(wrote))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crate::files::ServedFile;

    fn part(length: u64) -> FilePart {
        let made = bytes::Bytes::from_static(b"0123456789");
        FilePart {
            file: Arc::new(ServedFile::from_memory(made, false)),
            range: 0..length,
        }
    }

    #[test]
    fn no_other_bytes_go_where_a_file_belongs() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n".as_slice();
        let written = Written::default();
        written.expect(3, None, None);
        written.expect(10, None, Some(part(10)));
        let all = |parts: &[&[u8]]| parts.concat();
        let check = |bytes: &[u8]| written.check(&[IoSlice::new(bytes)]).is_ok();
        assert!(check(&all(&[head, b"abc", head])));
        assert!(check(&all(&[head, b"ab"])));
        assert!(!check(&all(&[head, b"abc", head, b"\0"])));
        written.wrote(&all(&[head, b"abc"]));
        assert!(check(head) && !check(&all(&[head, b"\0"])));
        written.wrote(head);
        assert!(check(b"") && !check(b"\0"));
    }

    #[test]
    fn files_without_bytes_are_followed_by_other_heads() {
        let head = b"HTTP/1.1 200 OK\r\n\r\n".as_slice();
        let written = Written::default();
        written.expect(0, None, Some(part(0)));
        written.expect(2, None, None);
        let all = [head, head, b"ab"].concat();
        written.check(&[IoSlice::new(&all)]).unwrap();
        written.wrote(&all);
        assert!(written.lock().is_empty());
    }

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
