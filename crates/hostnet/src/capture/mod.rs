//! Captures in the pcapng format (draft-ietf-opsawg-pcapng).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use crate::PacketSocket;
use crate::wire::Direction;

/// Bounds of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureConfig {
    /// Bytes kept of each frame (1 to 262144); the original length is kept too.
    pub snap_len: u32,
    /// Size of the file in bytes at which capturing stops; `None` is without bound.
    pub max_bytes: Option<u64>,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            snap_len: 262_144,
            max_bytes: None,
        }
    }
}

/// An interface of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceId(pub(crate) u32);

/// What a capture holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CaptureStats {
    /// Frames written.
    pub frames: u64,
    /// Frames left out because the file had its full size or could not be written.
    pub skipped: u64,
    /// Size of the file in bytes, with what is not flushed yet.
    pub bytes: u64,
    /// The first error of writing the file; nothing is written after it.
    pub error: Option<String>,
}

/// A capture file being written; clones write to the same file. It is flushed a few times a second while frames
/// come, and when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct CaptureHandle {
    #[allow(dead_code)]
    shared: Arc<()>,
}

/// Creates capture files.
#[derive(Debug)]
pub struct Writer;

impl Writer {
    /// Creates (or replaces) a capture file.
    ///
    /// # Errors
    /// Where the file cannot be created or written.
    pub fn create(_path: &Path, _config: CaptureConfig) -> io::Result<CaptureHandle> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl CaptureHandle {
    /// Adds an interface, by the name it is shown with.
    #[must_use]
    pub fn interface(&self, _name: &str) -> InterfaceId {
        InterfaceId(0)
    }

    /// Adds a frame. Errors are kept for [`CaptureHandle::stats`]: a full disk must not stop a link.
    pub fn frame(
        &self,
        _interface: InterfaceId,
        _direction: Direction,
        _at: SystemTime,
        _frame: &[u8],
    ) {
    }

    /// Hands everything captured so far to the file.
    pub fn flush(&self) {}

    /// What it holds.
    #[must_use]
    pub fn stats(&self) -> CaptureStats {
        CaptureStats::default()
    }
}

/// Captures what a packet socket sees, on a thread of its own, until it is dropped. For real interfaces; make the
/// socket with EtherType 3 (`ETH_P_ALL`). Outgoing frames are recorded as [`Direction::ToClient`].
#[derive(Debug)]
pub struct SocketCapture {}

impl SocketCapture {
    /// Starts capturing.
    ///
    /// # Errors
    /// Where the kernel gives no thread.
    pub fn start(
        _socket: PacketSocket,
        _capture: CaptureHandle,
        _interface: InterfaceId,
    ) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
