//! The segment's side of a client's link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use crate::sys::ring::Ring;

/// How a port reaches the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortKind {
    /// A TAP interface in the bridge.
    Tap,
    /// A veth pair with one end in the bridge and an `AF_PACKET` socket on the other: needs no `/dev/net/tun`.
    PacketVeth,
}

/// A port of a segment: whole Ethernet frames go in and come out of it. Clones are the same port; one wire at a
/// time can use it. The port leaves the bridge when its last clone is dropped (TAP) or the sandbox ends (veth).
#[derive(Clone, Debug)]
pub struct Port {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    kind: PortKind,
    fd: OwnedFd,
    /// The receive ring, where there is one; locked by the wire that uses the port.
    receiver: Mutex<Option<Ring>>,
}

impl Port {
    pub(crate) fn new(name: String, kind: PortKind, fd: OwnedFd) -> io::Result<Self> {
        let ring = match kind {
            PortKind::Tap => None,
            PortKind::PacketVeth => Some(Ring::map(&fd)?),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                name,
                kind,
                fd,
                receiver: Mutex::new(ring),
            }),
        })
    }

    /// The name it was created with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// How it reaches the segment.
    #[must_use]
    pub fn kind(&self) -> PortKind {
        self.shared.kind
    }

    /// Takes the port for the caller alone; `ResourceBusy` where somebody else has it.
    pub(crate) fn open(&self) -> io::Result<OpenPort<'_>> {
        let receiver = match self.shared.receiver.try_lock() {
            Ok(receiver) => receiver,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    format!("another wire uses port `{}`", self.name()),
                ));
            }
        };
        Ok(OpenPort {
            shared: &self.shared,
            receiver,
        })
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }
}

/// A port in use.
pub(crate) struct OpenPort<'port> {
    shared: &'port Shared,
    receiver: MutexGuard<'port, Option<Ring>>,
}

impl OpenPort<'_> {
    /// Appends the next frame that the segment has for the client to `buffer` and gives its length; `None` where
    /// none waits. Reads through `scratch`, which is as long as the longest frame.
    pub(crate) fn receive(
        &mut self,
        scratch: &mut [u8],
        buffer: &mut Vec<u8>,
    ) -> io::Result<Option<usize>> {
        if let Some(ring) = self.receiver.as_mut() {
            return Ok(ring.next(|frame| {
                buffer.extend_from_slice(frame);
                frame.len()
            }));
        }
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.shared.fd, &mut *scratch)) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                buffer.extend_from_slice(scratch.get(..length).unwrap_or_default());
                Ok(Some(length))
            }
            Err(rustix::io::Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Hands a frame of the client to the segment.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::io::write(&self.shared.fd, frame))?;
        Ok(())
    }
}

impl AsFd for OpenPort<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.fd.as_fd()
    }
}
