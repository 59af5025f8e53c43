//! Captures in the pcapng format (draft-ietf-opsawg-pcapng).

mod format;
mod live;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use crate::wire::Direction;
use format::{InterfaceCounts, Stamp};
pub use live::SocketCapture;

/// Bytes kept in memory before they go to the file.
const BUFFER: usize = 256 << 10;
/// Longest time a frame stays in memory while others come.
const FLUSH_EVERY: Duration = Duration::from_millis(250);

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
            snap_len: format::MAX_SNAP_LEN,
            max_bytes: None,
        }
    }
}

/// An interface of a capture file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InterfaceId(u32);

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

/// A capture file being written; clones write to the same file. Whole blocks go to the file a few times a second
/// while frames come, and when the last clone is dropped, so that the file is readable at any time.
#[derive(Clone, Debug)]
pub struct CaptureHandle {
    shared: Arc<Shared>,
}

/// Creates capture files.
#[derive(Debug)]
pub struct Writer;

impl Writer {
    /// Creates (or replaces) a capture file.
    ///
    /// # Errors
    /// Where the file cannot be created or written.
    pub fn create(path: &Path, config: CaptureConfig) -> io::Result<CaptureHandle> {
        let mut buffer = Vec::with_capacity(BUFFER + (64 << 10));
        format::section_header(&mut buffer, concat!("bootgate ", env!("CARGO_PKG_VERSION")));
        let mut state = State {
            file: File::create(path)?,
            buffer,
            config: CaptureConfig {
                snap_len: config.snap_len.clamp(1, format::MAX_SNAP_LEN),
                ..config
            },
            interfaces: Vec::new(),
            stats: CaptureStats::default(),
            flushed: Instant::now(),
        };
        state.stats.bytes = len_u64(&state.buffer);
        state.flush();
        match state.stats.error.take() {
            Some(error) => Err(io::Error::other(error)),
            None => Ok(CaptureHandle {
                shared: Arc::new(Shared(Mutex::new(state))),
            }),
        }
    }
}

impl CaptureHandle {
    /// Adds an interface, by the name it is shown with.
    #[must_use]
    pub fn interface(&self, name: &str) -> InterfaceId {
        let mut state = self.shared.state();
        let id = u32::try_from(state.interfaces.len()).unwrap_or(u32::MAX);
        state.interfaces.push(InterfaceCounts::default());
        let before = state.buffer.len();
        let snap_len = state.config.snap_len;
        format::interface(&mut state.buffer, name, snap_len);
        let grown = state.buffer.len() - before;
        state.stats.bytes += grown as u64;
        InterfaceId(id)
    }

    /// Adds a frame. Errors are kept for [`CaptureHandle::stats`]: a full disk must not stop a link.
    pub fn frame(
        &self,
        interface: InterfaceId,
        direction: Direction,
        at: SystemTime,
        frame: &[u8],
    ) {
        self.shared
            .state()
            .frame(interface, direction, Stamp::of(at), frame);
    }

    /// Hands everything captured so far to the file.
    pub fn flush(&self) {
        self.shared.state().flush();
    }

    /// What it holds.
    #[must_use]
    pub fn stats(&self) -> CaptureStats {
        self.shared.state().stats.clone()
    }
}

#[derive(Debug)]
struct Shared(Mutex<State>);

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.state().finish();
    }
}

#[derive(Debug)]
struct State {
    file: File,
    buffer: Vec<u8>,
    config: CaptureConfig,
    interfaces: Vec<InterfaceCounts>,
    stats: CaptureStats,
    flushed: Instant,
}

impl State {
    fn frame(&mut self, interface: InterfaceId, direction: Direction, at: Stamp, frame: &[u8]) {
        let Some(counts) = usize::try_from(interface.0)
            .ok()
            .and_then(|index| self.interfaces.get_mut(index))
        else {
            return;
        };
        counts.received += 1;
        let kept = frame.get(..self.config.snap_len as usize).unwrap_or(frame);
        // Room for the statistics that close the file is kept free.
        let closing = format::STATISTICS_LEN * self.interfaces.len();
        let needed = (format::packet_len(kept.len()) + closing) as u64;
        let full = self
            .config
            .max_bytes
            .is_some_and(|limit| self.stats.bytes + needed > limit);
        if full || self.stats.error.is_some() {
            if let Some(counts) = self.interfaces.get_mut(interface.0 as usize) {
                counts.dropped += 1;
            }
            self.stats.skipped += 1;
            return;
        }
        format::packet(
            &mut self.buffer,
            interface.0,
            direction,
            at,
            kept,
            frame.len(),
        );
        self.stats.frames += 1;
        self.stats.bytes += format::packet_len(kept.len()) as u64;
        if self.buffer.len() >= BUFFER || self.flushed.elapsed() >= FLUSH_EVERY {
            self.flush();
        }
    }

    /// Writes the buffer: whole blocks only.
    fn flush(&mut self) {
        if self.stats.error.is_none()
            && let Err(error) = self.file.write_all(&self.buffer)
        {
            self.stats.error = Some(error.to_string());
        }
        self.buffer.clear();
        self.flushed = Instant::now();
    }

    fn finish(&mut self) {
        let now = Stamp::of(SystemTime::now());
        for (id, counts) in (0u32..).zip(&self.interfaces) {
            format::statistics(&mut self.buffer, id, now, *counts);
        }
        self.flush();
    }
}

fn len_u64(bytes: &[u8]) -> u64 {
    bytes.len() as u64
}
