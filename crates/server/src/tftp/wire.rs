//! The way between a transfer and its client.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A wait may end so much late. It spares a system call for each wait, since most are as long as the one before.
const SLACK: Duration = Duration::from_millis(10);
/// Longest wait for room in the kernel's queue; then the packet counts as lost.
const ROOM: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// Packets that the kernel makes of one buffer at most (`UDP_MAX_SEGMENTS` before Linux 6.9).
pub(super) const SEGMENTS: usize = 64;
/// Largest buffer that it takes for that: what a UDP datagram can hold over IPv4.
pub(super) const SEGMENTS_BYTES: usize = 65507;

/// Every buffer longer than this is cut, an OACK or an ERROR too: none of these is as long.
const SMALLEST: usize = 512;

/// What was heard of the client.
pub(super) enum Heard {
    /// A packet of so many bytes.
    Packet(usize),
    /// Nothing in this time.
    Silence,
    /// The transfer is to end.
    Stop,
}

pub(super) enum Wire {
    Own(OwnSocket),
    Shared(SharedSocket),
}

/// A socket of the transfer's own (RFC 1350: a new transfer id), connected to the client, so that it hears nobody else.
pub(super) struct OwnSocket {
    socket: Arc<UdpSocket>,
    /// The receive time-out that the socket has.
    timeout: Duration,
    /// How the kernel cuts a buffer into packets (`UDP_SEGMENT`, in bytes), where it does.
    segment: Segment,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    NotYet,
    Of(usize),
    Never,
}

/// The server's own socket, for all transfers (single-port mode). Packets are lost where their readers are slow.
pub(super) struct SharedSocket {
    pub(super) socket: UdpSocket,
    pub(super) peer: SocketAddr,
    pub(super) inbox: Receiver<Vec<u8>>,
}

impl Wire {
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self {
            Wire::Own(own) => own.socket.send(packet).map(|_| ()),
            Wire::Shared(shared) => shared.send(packet),
        }
    }

    /// Sends `packets`, which stand one after the other, each `segment` bytes long but the last, which may be shorter.
    /// No more than [`SEGMENTS`] and [`SEGMENTS_BYTES`].
    pub(super) fn send_all(&mut self, packets: &[u8], segment: usize) -> io::Result<()> {
        if packets.len() <= segment {
            return self.send(packets);
        }
        if let Wire::Own(own) = self
            && own.cut_by_kernel(segment)
        {
            match own.socket.send(packets) {
                Err(error) if error.kind() != io::ErrorKind::ConnectionRefused => own.cut_here(),
                sent => return sent.map(|_| ()),
            }
        }
        let mut packets = packets.chunks(segment);
        packets.try_for_each(|packet| self.send(packet))
    }

    /// Waits for a packet of the client, `limit` at most or little longer.
    pub(super) fn receive(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<Heard> {
        match self {
            Wire::Own(own) => own.receive(buffer, limit),
            Wire::Shared(shared) => Ok(shared.receive(buffer, limit)),
        }
    }
}

impl OwnSocket {
    pub(super) fn new(socket: Arc<UdpSocket>) -> io::Result<Self> {
        socket.set_nonblocking(false)?;
        Ok(Self {
            socket,
            timeout: Duration::ZERO,
            segment: Segment::NotYet,
        })
    }

    fn cut_by_kernel(&mut self, segment: usize) -> bool {
        if self.segment == Segment::NotYet && segment < SMALLEST {
            self.segment = Segment::Never;
        }
        if self.segment == Segment::NotYet {
            let size = i32::try_from(segment).unwrap_or(i32::MAX);
            let set = setsockopt(&self.socket, sockopt::UdpGsoSegment, &size);
            self.segment = set.map_or(Segment::Never, |()| Segment::Of(segment));
        }
        self.segment == Segment::Of(segment)
    }

    /// The interface cannot do it, or the packets are larger than it takes: IP then makes fragments of them.
    fn cut_here(&mut self) {
        self.segment = Segment::Never;
        let _ = setsockopt(&self.socket, sockopt::UdpGsoSegment, &0);
    }

    fn receive(&mut self, buffer: &mut [u8], limit: Duration) -> io::Result<Heard> {
        if self.timeout < limit || self.timeout > limit + SLACK {
            // Zero would be no time-out at all.
            self.timeout = limit + SLACK / 2;
            self.socket.set_read_timeout(Some(self.timeout))?;
        }
        match self.socket.recv(buffer) {
            Ok(len) => Ok(Heard::Packet(len)),
            Err(error) if waited(&error) => Ok(Heard::Silence),
            Err(error) => Err(error),
        }
    }
}

impl SharedSocket {
    /// The socket does not block, since the server's loop reads from it.
    fn send(&self, packet: &[u8]) -> io::Result<()> {
        match self.socket.send_to(packet, self.peer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let fds = &mut [PollFd::new(&self.socket, PollFlags::OUT)];
                poll(fds, Some(&ROOM))?;
                self.socket.send_to(packet, self.peer).map(|_| ())
            }
            sent => sent.map(|_| ()),
        }
    }

    fn receive(&self, buffer: &mut [u8], limit: Duration) -> Heard {
        match self.inbox.recv_timeout(limit) {
            Ok(packet) => {
                let len = packet.len().min(buffer.len());
                buffer[..len].copy_from_slice(&packet[..len]);
                Heard::Packet(len)
            }
            Err(RecvTimeoutError::Timeout) => Heard::Silence,
            Err(RecvTimeoutError::Disconnected) => Heard::Stop,
        }
    }
}

fn waited(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}
