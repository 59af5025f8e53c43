//! Capturing what a packet socket sees.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::SystemTime;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use super::{CaptureHandle, InterfaceId};
use crate::PacketSocket;
use crate::sys::socket::receive_frame;
use crate::wire::{Direction, MAX_FRAME};

/// Frames taken before a stop is looked for: more than a socket's buffer holds by default.
const BATCH: usize = 4096;

/// Captures what a packet socket sees, on a thread of its own, until it is dropped. For real interfaces; make the
/// socket with EtherType 3 (`ETH_P_ALL`). Outgoing frames are recorded as [`Direction::ToClient`].
#[derive(Debug)]
pub struct SocketCapture {
    stop: Arc<std::os::fd::OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl SocketCapture {
    /// Starts capturing.
    ///
    /// # Errors
    /// Where the kernel gives no thread.
    pub fn start(
        socket: PacketSocket,
        capture: CaptureHandle,
        interface: InterfaceId,
    ) -> io::Result<Self> {
        let stop = Arc::new(rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || run(&socket, &stopped, &capture, interface))?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for SocketCapture {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    socket: &PacketSocket,
    stop: &std::os::fd::OwnedFd,
    capture: &CaptureHandle,
    interface: InterfaceId,
) {
    let mut frame = vec![0; MAX_FRAME];
    loop {
        let mut fds = [
            PollFd::new(&socket.fd, PollFlags::IN),
            PollFd::new(stop, PollFlags::IN),
        ];
        // A pause of half a second brings what was captured to the file.
        let pause = Timespec {
            tv_sec: 0,
            tv_nsec: 500_000_000,
        };
        match rustix::event::poll(&mut fds, Some(&pause)) {
            Ok(0) => capture.flush(),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
        let stopped = fds[1].revents().intersects(PollFlags::IN);
        // Bounded, so that a busy network does not hold up the stop; what waited then is kept.
        for _ in 0..BATCH {
            match receive_frame(&socket.fd, &mut frame) {
                Ok((length, outgoing)) => {
                    let direction = if outgoing {
                        Direction::ToClient
                    } else {
                        Direction::FromClient
                    };
                    let bytes = frame.get(..length).unwrap_or_default();
                    capture.frame(interface, direction, SystemTime::now(), bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // The interface went down; it may come back.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => break,
                Err(_) => return,
            }
        }
        if stopped {
            return;
        }
    }
}
