//! Wires as threads: start, stop, counters.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::EventfdFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::sync::watch;

use super::pump::Pump;
use super::{LinkCounters, WireConfig, WireEnd, WireStats};
use crate::Port;

/// Socket buffer asked for on both ends of a client's link; the kernel gives what `net.core.wmem_max` allows.
const LINK_BUFFER: usize = 4 << 20;

/// The two ends of a client's link: `(client, wire)`. The first goes to QEMU as `-netdev socket,fd=N`, the second
/// to [`Wire::spawn`].
///
/// # Errors
/// Where the kernel has no descriptors left.
pub fn client_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (client, wire) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    for end in [&client, &wire] {
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(end, LINK_BUFFER);
    }
    Ok((client, wire))
}

/// Carries frames between a client and a port.
#[derive(Debug)]
pub struct Wire;

impl Wire {
    /// Starts a wire on a thread of its own. Frames that waited in the port from before are thrown away.
    ///
    /// # Errors
    /// `ResourceBusy` where another wire uses the port; else where the kernel gives no thread.
    pub fn spawn(client: OwnedFd, port: &Port, config: WireConfig) -> io::Result<WireHandle> {
        rustix::io::ioctl_fionbio(&client, true)?;
        let shared = Arc::new(Shared {
            stop: rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            started: Instant::now(),
            to_client: Counters::default(),
            from_client: Counters::default(),
            last_frame: AtomicU64::new(0),
            end: watch::Sender::new(None),
        });
        let (opened, opening) = mpsc::sync_channel(1);
        let thread = {
            let (shared, port) = (Arc::clone(&shared), port.clone());
            std::thread::Builder::new()
                .name(format!("wire {}", port.name()))
                .spawn(move || {
                    let pump = port.open().and_then(|port| {
                        let mut pump = Pump::new(client, port, config, &shared);
                        pump.discard_old()?;
                        Ok(pump)
                    });
                    match pump {
                        Ok(pump) => {
                            let _ = opened.send(Ok(()));
                            let end = pump.run();
                            shared.end.send_replace(Some(end));
                        }
                        Err(error) => {
                            let _ = opened.send(Err(error));
                        }
                    }
                })?
        };
        opening
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the wire's thread ended at once")))?;
        Ok(WireHandle {
            shared,
            thread: Some(thread),
        })
    }
}

/// A running wire. It ends when either side closes, and when this is dropped.
#[derive(Debug)]
pub struct WireHandle {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl WireHandle {
    /// What it has done so far; cheap.
    #[must_use]
    pub fn stats(&self) -> WireStats {
        self.shared.stats()
    }

    /// Waits until the wire ends.
    pub async fn ended(&self) -> WireEnd {
        let mut end = self.shared.end.subscribe();
        match end.wait_for(Option::is_some).await {
            Ok(end) => end.clone().unwrap_or(WireEnd::Stopped),
            Err(_) => WireEnd::Stopped,
        }
    }

    /// Stops it and waits until its thread is gone, so that the port is free. Frames the client sent before are
    /// still carried.
    pub async fn stop(mut self) -> (WireEnd, WireStats) {
        self.shared.request_stop();
        let end = self.ended().await;
        self.join();
        (end, self.shared.stats())
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for WireHandle {
    fn drop(&mut self) {
        self.shared.request_stop();
        self.join();
    }
}

/// What a wire's thread and its handle share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Readable when the wire is to stop.
    pub(super) stop: OwnedFd,
    started: Instant,
    pub(super) to_client: Counters,
    pub(super) from_client: Counters,
    /// Microseconds from the start to the last frame, plus one; 0 before the first.
    last_frame: AtomicU64,
    end: watch::Sender<Option<WireEnd>>,
}

impl Shared {
    fn request_stop(&self) {
        let _ = rustix::io::write(&self.stop, &1u64.to_ne_bytes());
    }

    /// Notes that frames passed just now.
    pub(super) fn touch(&self) {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX - 1);
        self.last_frame.store(micros + 1, Ordering::Relaxed);
    }

    fn stats(&self) -> WireStats {
        let last = self.last_frame.load(Ordering::Relaxed);
        WireStats {
            to_client: self.to_client.read(),
            from_client: self.from_client.read(),
            idle: (last > 0).then(|| {
                self.started
                    .elapsed()
                    .saturating_sub(Duration::from_micros(last - 1))
            }),
        }
    }
}

/// Counters of one direction, written by the wire's thread only.
#[derive(Debug, Default)]
pub(super) struct Counters {
    frames: AtomicU64,
    bytes: AtomicU64,
    dropped: AtomicU64,
    hook_dropped: AtomicU64,
    vlan_dropped: AtomicU64,
}

impl Counters {
    pub(super) fn delivered(&self, bytes: usize) {
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn hook_dropped(&self) {
        self.hook_dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn vlan_dropped(&self) {
        self.vlan_dropped.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> LinkCounters {
        LinkCounters {
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            hook_dropped: self.hook_dropped.load(Ordering::Relaxed),
            vlan_dropped: self.vlan_dropped.load(Ordering::Relaxed),
        }
    }
}
