//! Stopping a transfer from outside of its thread.

use std::io;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Stack of a transfer's thread in bytes. It needs a few KiB; the event sink, which is not ours, runs on it too.
const STACK: usize = 256 << 10;

/// Holds a transfer that is being prepared or runs on a thread of its own.
#[derive(Default)]
pub(super) struct Leash {
    stopped: Arc<AtomicBool>,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    waker: Option<Waker>,
    thread: Option<JoinHandle<()>>,
}

/// What the transfer waits on.
pub(super) enum Waker {
    /// A socket of its own.
    Socket(Arc<UdpSocket>),
    /// What the server's own socket heard for it.
    Inbox(SyncSender<Vec<u8>>),
}

impl Leash {
    /// Runs the transfer on a thread of its own, unless it was stopped already.
    pub(super) fn launch(
        &self,
        waker: Waker,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<()> {
        let mut held = self.held();
        if self.stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        let thread = std::thread::Builder::new()
            .name("tftp".to_owned())
            .stack_size(STACK);
        held.thread = Some(thread.spawn(work)?);
        held.waker = Some(waker);
        Ok(())
    }

    /// Set once the transfer is to end.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stopped)
    }

    /// Hands the transfer a packet that the server's socket heard. False where it has too many unread ones.
    pub(super) fn deliver(&self, packet: &[u8]) -> bool {
        match &self.held().waker {
            Some(Waker::Inbox(inbox)) => inbox.try_send(packet.to_vec()).is_ok(),
            _ => false,
        }
    }

    /// Tells the transfer to end; it does so at once.
    pub(super) fn stop(&self) {
        let mut held = self.held();
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(Waker::Socket(socket)) = held.waker.take() {
            // Wakes who waits for it to be readable or writable, with nothing read or written.
            let _ = rustix::net::shutdown(&*socket, rustix::net::Shutdown::Both);
        }
    }

    /// Waits until the transfer's thread is gone, for which it must have been stopped or ended.
    pub(super) fn join(&self) {
        let thread = self.held().thread.take();
        if let Some(thread) = thread {
            // A panic was told by the panic hook.
            let _ = thread.join();
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
