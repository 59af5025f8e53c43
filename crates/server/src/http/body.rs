//! A part of a file as a response's body.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::files::ServedFile;

/// Bytes read at once. At most two pieces of a response are in memory beside what the connection buffers.
const PIECE: usize = 128 << 10;

/// Reads the file as fast as the connection takes it, one piece ahead.
pub(super) struct FileBody {
    file: Arc<ServedFile>,
    /// What was not asked of the disk yet.
    unread: Range<u64>,
    /// What was not handed on yet.
    left: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    pub(super) fn new(file: Arc<ServedFile>, part: Range<u64>) -> Self {
        let left = part.end.saturating_sub(part.start);
        Self {
            file,
            unread: part,
            left,
            reading: None,
        }
    }

    fn read_on(&mut self) {
        let len = self.unread.end.saturating_sub(self.unread.start);
        if len == 0 {
            return;
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX).min(PIECE);
        let offset = self.unread.start;
        self.unread.start += len as u64;
        let file = Arc::clone(&self.file);
        self.reading = Some(tokio::task::spawn_blocking(move || {
            file.read_now(offset, len)
        }));
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.reading.is_none() {
            self.read_on();
        }
        let Some(reading) = self.reading.as_mut() else {
            return Poll::Ready(None);
        };
        let Poll::Ready(read) = Pin::new(reading).poll(cx) else {
            return Poll::Pending;
        };
        self.reading = None;
        match read.map_err(io::Error::other).and_then(|result| result) {
            Ok(bytes) => {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                self.read_on();
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Err(error) => {
                let error = io::Error::new(error.kind(), format!("read the file: {error}"));
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
