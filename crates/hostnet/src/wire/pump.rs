//! The wire's loop: one thread, both directions, nothing that blocks but the wait for the next event.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::SystemTime;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SendFlags;

use super::thread::{Counters, Shared};
use super::{Direction, FrameDecision, MAX_FRAME, WireConfig, WireEnd};
use crate::port::OpenPort;

/// Length of the number before each frame of the client's stream.
const PREFIX: usize = 4;
/// Frames taken from the port before the client is looked at again.
const BATCH: usize = 128;
/// Bytes read from the client at once.
const READ: usize = 256 << 10;
/// Most frames a port can have kept for a client that was not there.
const OLD_FRAMES: usize = 8192;
/// Reads from the client after a stop was asked for: more than its socket holds.
const LAST_READS: usize = 64;
/// Time without events after which captured frames are brought to the file.
const PAUSE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// One wire at work.
pub(super) struct Pump<'wire> {
    client: OwnedFd,
    port: OpenPort<'wire>,
    config: WireConfig,
    shared: &'wire Shared,
    /// Framed bytes for the client, from `sent` on.
    to_client: Vec<u8>,
    sent: usize,
    /// Space for what the client sends; the first `filled` bytes are not a whole frame yet.
    from_client: Vec<u8>,
    filled: usize,
    scratch: Vec<u8>,
    unflushed: bool,
}

/// What one look at a side found.
type Step = Result<(), WireEnd>;

impl<'wire> Pump<'wire> {
    pub(super) fn new(
        client: OwnedFd,
        port: OpenPort<'wire>,
        config: WireConfig,
        shared: &'wire Shared,
    ) -> Self {
        Self {
            client,
            port,
            config,
            shared,
            to_client: Vec::new(),
            sent: 0,
            from_client: vec![0; PREFIX + MAX_FRAME + READ],
            filled: 0,
            scratch: vec![0; MAX_FRAME],
            unflushed: false,
        }
    }

    /// Carries frames until a side closes or a stop is asked for.
    pub(super) fn run(mut self) -> WireEnd {
        let end = loop {
            if let Err(end) = self.turn() {
                break end;
            }
        };
        if let Some((capture, _)) = &self.config.capture {
            capture.flush();
        }
        end
    }

    fn turn(&mut self) -> Step {
        let mut client_events = PollFlags::IN;
        if self.pending() > 0 {
            client_events |= PollFlags::OUT;
        }
        let mut fds = [
            PollFd::from_borrowed_fd(self.client.as_fd(), client_events),
            PollFd::from_borrowed_fd(self.port.as_fd(), PollFlags::IN),
            PollFd::new(&self.shared.stop, PollFlags::IN),
        ];
        let timeout = self.unflushed.then_some(&PAUSE);
        let ready = rustix::event::poll(&mut fds, timeout);
        let [client, port, stop] = fds.map(|fd| fd.revents());
        match ready {
            Ok(0) => self.flush_capture(),
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(failed("waiting for frames", &error.into())),
        }
        if client.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            self.take_from_client()?;
        }
        if !port.is_empty() {
            self.take_from_port()?;
        }
        if self.pending() > 0 {
            self.give_to_client()?;
        }
        if stop.is_empty() {
            return Ok(());
        }
        for _ in 0..LAST_READS {
            if !self.take_from_client()? {
                break;
            }
        }
        Err(WireEnd::Stopped)
    }

    fn flush_capture(&mut self) {
        if let Some((capture, _)) = &self.config.capture {
            capture.flush();
        }
        self.unflushed = false;
    }

    /// Throws away the frames that waited in the port before the client was there: they are not for it.
    pub(super) fn discard_old(&mut self) -> io::Result<()> {
        let mut ignored = Vec::new();
        // Bounded, so that a busy segment does not hold up the start.
        for _ in 0..OLD_FRAMES {
            ignored.clear();
            if self
                .port
                .receive(&mut self.scratch, &mut ignored)?
                .is_none()
            {
                break;
            }
        }
        Ok(())
    }

    fn take_from_port(&mut self) -> Step {
        for _ in 0..BATCH {
            let start = self.to_client.len();
            self.to_client.extend_from_slice(&[0; PREFIX]);
            let received = self.port.receive(&mut self.scratch, &mut self.to_client);
            if !matches!(received, Ok(Some(_))) {
                self.to_client.truncate(start);
                return received.map(drop).map_err(|error| port_end(&error));
            }
            self.shared.touch();
            if let Some(vlan) = &mut self.config.vlan
                && !vlan.tag(&mut self.to_client, start + PREFIX)
            {
                self.to_client.truncate(start);
                self.shared.to_client.vlan_dropped();
                continue;
            }
            let frame = self.to_client.get(start + PREFIX..).unwrap_or_default();
            let length = frame.len();
            capture(
                &self.config,
                &mut self.unflushed,
                Direction::ToClient,
                frame,
            );
            let length = match decide(&mut self.config, Direction::ToClient, frame) {
                FrameDecision::Pass => length,
                FrameDecision::Replace(other) => {
                    self.to_client.truncate(start + PREFIX);
                    self.to_client.extend_from_slice(&other);
                    other.len()
                }
                FrameDecision::Drop => {
                    self.to_client.truncate(start);
                    self.shared.to_client.hook_dropped();
                    continue;
                }
            };
            if self.pending() > self.config.max_pending_bytes {
                self.to_client.truncate(start);
                self.shared.to_client.dropped();
                continue;
            }
            let prefix = u32::try_from(length).unwrap_or_default().to_be_bytes();
            if let Some(place) = self.to_client.get_mut(start..start + PREFIX) {
                place.copy_from_slice(&prefix);
            }
            self.shared.to_client.delivered(length);
        }
        Ok(())
    }

    /// Bytes that wait for the client.
    fn pending(&self) -> usize {
        self.to_client.len() - self.sent
    }

    fn give_to_client(&mut self) -> Step {
        while self.pending() > 0 {
            let bytes = self.to_client.get(self.sent..).unwrap_or_default();
            match rustix::net::send(&self.client, bytes, SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(WireEnd::ClientClosed),
                Err(error) => return Err(failed("sending to the client", &error.into())),
            }
        }
        if self.pending() == 0 {
            self.to_client.clear();
            self.sent = 0;
        } else if self.sent > self.config.max_pending_bytes / 2 {
            self.to_client.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Reads from the client once and carries what has come in whole. `true` where there was something.
    fn take_from_client(&mut self) -> Result<bool, WireEnd> {
        let space = self.from_client.get_mut(self.filled..).unwrap_or_default();
        match rustix::io::retry_on_intr(|| rustix::io::read(&self.client, &mut *space)) {
            Ok(0) | Err(Errno::CONNRESET) => return Err(WireEnd::ClientClosed),
            Ok(read) => self.filled += read,
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(failed("reading from the client", &error.into())),
        }
        let buffer = std::mem::take(&mut self.from_client);
        let carried = self.carry_frames(buffer.get(..self.filled).unwrap_or_default());
        self.from_client = buffer;
        let done = carried?;
        self.from_client.copy_within(done..self.filled, 0);
        self.filled -= done;
        Ok(true)
    }

    /// Hands every whole frame of `bytes` to the port; gives the number of bytes they took.
    fn carry_frames(&mut self, bytes: &[u8]) -> Result<usize, WireEnd> {
        let mut rest = bytes;
        while let Some((frame, after)) = split_frame(rest)? {
            if !frame.is_empty() {
                self.give_to_port(frame)?;
            }
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    fn give_to_port(&mut self, frame: &[u8]) -> Step {
        self.shared.touch();
        capture(
            &self.config,
            &mut self.unflushed,
            Direction::FromClient,
            frame,
        );
        let counters = &self.shared.from_client;
        let replaced;
        let frame = match decide(&mut self.config, Direction::FromClient, frame) {
            FrameDecision::Pass => frame,
            FrameDecision::Replace(other) => {
                replaced = other;
                &replaced
            }
            FrameDecision::Drop => {
                counters.hook_dropped();
                return Ok(());
            }
        };
        let Some(vlan) = &mut self.config.vlan else {
            return send_counted(&self.port, frame, counters);
        };
        match vlan.untag(frame) {
            Some(frame) => send_counted(&self.port, &frame, counters),
            None => {
                counters.vlan_dropped();
                Ok(())
            }
        }
    }
}

fn send_counted(port: &OpenPort<'_>, frame: &[u8], counters: &Counters) -> Step {
    match port.send(frame) {
        Ok(()) => counters.delivered(frame.len()),
        Err(error) if is_closed(&error) => return Err(port_end(&error)),
        // Too long or too short for the segment, or its queue is full: lost, as on any link.
        Err(_) => counters.dropped(),
    }
    Ok(())
}

fn capture(config: &WireConfig, unflushed: &mut bool, direction: Direction, frame: &[u8]) {
    if let Some((capture, interface)) = &config.capture {
        capture.frame(*interface, direction, SystemTime::now(), frame);
        *unflushed = true;
    }
}

fn decide(config: &mut WireConfig, direction: Direction, frame: &[u8]) -> FrameDecision {
    match &mut config.hook {
        Some(hook) => hook.frame(direction, frame),
        None => FrameDecision::Pass,
    }
}

/// A frame and the bytes after it.
type Split<'bytes> = (&'bytes [u8], &'bytes [u8]);

/// Splits the first whole frame off the client's stream; `None` where it has not come in whole.
fn split_frame(bytes: &[u8]) -> Result<Option<Split<'_>>, WireEnd> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*prefix) as usize;
    if length > MAX_FRAME {
        return Err(WireEnd::Failed(format!(
            "the client announced a frame of {length} bytes; {MAX_FRAME} is the most"
        )));
    }
    Ok(rest.split_at_checked(length))
}

/// Whether an error means that the port does not exist any more.
fn is_closed(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        || matches!(
            error.raw_os_error(),
            Some(libc::EBADFD | libc::EIO | libc::ENXIO | libc::ENODEV | libc::ENETDOWN)
        )
}

fn port_end(error: &io::Error) -> WireEnd {
    if is_closed(error) {
        WireEnd::PortClosed
    } else {
        WireEnd::Failed(format!("reading from the port: {error}"))
    }
}

fn failed(action: &str, error: &io::Error) -> WireEnd {
    WireEnd::Failed(format!("{action}: {error}"))
}
