//! A body that is sent without being read.
//!
//! Its data are pieces of a region that nobody looks into. The connection tells them by their address, and has the
//! kernel send the file's bytes in their place. A body like this may be given only to a connection that does so: see
//! [`mod@super::connection`].

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;

use crate::files::ServedFile;

/// Bytes handed on at once. More than what hyper buffers, so that it takes one piece at a time.
const PIECE: usize = 1 << 20;

/// The region. It is zeroed memory that was never touched, so it takes none.
static REGION: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![0; PIECE]));

/// Whether these bytes stand for those of a file.
pub(super) fn is_stand_in(bytes: &[u8]) -> bool {
    !bytes.is_empty() && REGION.as_ptr_range().contains(&bytes.as_ptr())
}

/// A part of a file that a connection may send by itself.
#[derive(Clone, Debug)]
pub(super) struct FilePart {
    pub(super) file: Arc<ServedFile>,
    pub(super) range: Range<u64>,
}

/// Stands for a part of a file, a piece at a time. A piece is handed on once it is in the page cache: the kernel would
/// otherwise read it while it sends, and hold up everybody whom the same thread serves.
pub(super) struct StandIn {
    file: Arc<ServedFile>,
    /// What was not handed on yet.
    left: Range<u64>,
    /// The next piece on its way from the disk.
    warming: Option<JoinHandle<io::Result<()>>>,
}

impl StandIn {
    pub(super) fn new(part: FilePart) -> Self {
        Self {
            file: part.file,
            left: part.range,
            warming: None,
        }
    }

    fn length(&self) -> u64 {
        self.left.end.saturating_sub(self.left.start)
    }

    /// Bytes of the next piece.
    fn next(&self) -> usize {
        usize::try_from(self.length()).map_or(PIECE, |length| length.min(PIECE))
    }

    fn warm(&mut self) {
        let (file, offset, length) = (Arc::clone(&self.file), self.left.start, self.next());
        self.warming = Some(tokio::task::spawn_blocking(move || {
            file.warm_now(offset, length)
        }));
    }

    fn hand_on(&mut self) -> Frame<Bytes> {
        let length = self.next();
        self.left.start += length as u64;
        Frame::data(REGION.slice(..length))
    }
}

impl Body for StandIn {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.length() == 0 {
            return Poll::Ready(None);
        }
        if self.warming.is_none() {
            if self.file.is_cached(self.left.start, self.next()) {
                return Poll::Ready(Some(Ok(self.hand_on())));
            }
            self.warm();
        }
        let Some(warming) = self.warming.as_mut() else {
            return Poll::Pending;
        };
        let Poll::Ready(warmed) = Pin::new(warming).poll(cx) else {
            return Poll::Pending;
        };
        self.warming = None;
        if let Err(error) = warmed.map_err(io::Error::other).and_then(|result| result) {
            let error = io::Error::new(error.kind(), format!("read the file: {error}"));
            return Poll::Ready(Some(Err(error)));
        }
        let piece = self.hand_on();
        // The disk works while this piece is sent.
        if self.length() > 0 && !self.file.is_cached(self.left.start, self.next()) {
            self.warm();
        }
        Poll::Ready(Some(Ok(piece)))
    }

    fn is_end_stream(&self) -> bool {
        self.length() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length())
    }
}
