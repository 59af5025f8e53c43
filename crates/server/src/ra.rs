//! Packet sockets, and the answers to router solicitations.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use bootgate_events::{EventKind, MacAddr};
use bootgate_netboot::ra::{Advertisement, Sender};
use rustix::net::{RecvFlags, SendFlags};
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::PacketSocket;
use crate::context::{Context, ERRORS_IN_A_ROW};

/// Longest frame that is looked at; a router solicitation has 70 to 100 bytes.
const FRAME_MAX: usize = 2048;

/// A packet socket for tasks.
pub(crate) struct Packets {
    fd: AsyncFd<OwnedFd>,
    mac: [u8; 6],
}

impl Packets {
    pub(crate) fn new(socket: PacketSocket) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket.fd, true)?;
        // The function that replaces it is unsafe for types whose descriptor may change; an `OwnedFd`'s does not.
        #[allow(deprecated, reason = "sound for an OwnedFd")]
        let fd = AsyncFd::new(socket.fd)?;
        Ok(Self {
            fd,
            mac: socket.mac,
        })
    }

    /// Hardware address of the interface.
    pub(crate) fn mac(&self) -> MacAddr {
        MacAddr(self.mac)
    }

    pub(crate) async fn send(&self, frame: &[u8]) -> io::Result<()> {
        loop {
            let mut ready = self.fd.writable().await?;
            let sent = ready.try_io(|fd| Ok(rustix::net::send(fd, frame, SendFlags::empty())?));
            if let Ok(result) = sent {
                return result.map(drop);
            }
        }
    }

    /// Sends a frame now or not at all.
    pub(crate) fn try_send(&self, frame: &[u8]) -> io::Result<()> {
        rustix::net::send(self.fd.get_ref(), frame, SendFlags::DONTWAIT)?;
        Ok(())
    }

    pub(crate) async fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.fd.readable().await?;
            let received = ready.try_io(|fd| {
                let (len, _) = rustix::net::recv(fd, &mut *buffer, RecvFlags::empty())?;
                Ok(len)
            });
            if let Ok(result) = received {
                return result;
            }
        }
    }
}

/// Answers router solicitations until it is stopped, and advertises without being asked where there is something to
/// say.
pub(crate) async fn run(context: Arc<Context>, packets: Packets) {
    let ip6 = context.config.ip6.as_ref();
    let said = ip6.and_then(|ip6| ip6.advertise.clone());
    let mut sender = Sender::new(packets.mac);
    if let Some(address) = ip6.and_then(|ip6| ip6.link_local) {
        sender.address = address;
    }
    let mut next = said.as_ref().map(|_| Instant::now());
    let mut sent = 0;
    let said = said.unwrap_or_default();
    let mut buffer = [0; FRAME_MAX];
    let mut errors = 0;
    loop {
        let received = tokio::select! {
            received = packets.receive(&mut buffer) => received,
            () = at(next) => {
                unsolicited(&context, &packets, &sender.to_all(&said)).await;
                sent += 1;
                next = Some(Instant::now() + Advertisement::interval(sent));
                continue;
            }
        };
        let len = match received {
            Ok(len) => len,
            Err(error) if errors < ERRORS_IN_A_ROW => {
                errors += 1;
                context.dropped("ra", None, &format!("receive a frame: {error}"));
                continue;
            }
            Err(error) => {
                context.failed("ra", format!("receive a frame: {error}"));
                return;
            }
        };
        errors = 0;
        let frame = &buffer[..len.min(FRAME_MAX)];
        let Some((mac, answer)) = sender.answer(frame, &said) else {
            continue;
        };
        match packets.send(&answer).await {
            Ok(()) => context.emit(Some(mac), EventKind::RouterAdvertised { mac }),
            Err(error) => {
                let reason = format!("send the router advertisement: {error}");
                context.dropped("ra", Some(mac), &reason);
            }
        }
    }
}

async fn unsolicited(context: &Context, packets: &Packets, frame: &[u8]) {
    if let Err(error) = packets.send(frame).await {
        let reason = format!("send an unsolicited router advertisement: {error}");
        context.dropped("ra", None, &reason);
    }
}

/// Waits until then, or for ever.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
