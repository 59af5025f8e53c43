//! The DHCP server's socket.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use bootgate_events::{EventKind, MacAddr};
use bootgate_netboot::dhcp::{Datagram, Destination, Reply};
use bootgate_netboot::frame::udp4_frame;
use bootgate_netboot::policy::Loader;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use crate::context::{Context, ERRORS_IN_A_ROW};
use crate::ra::Packets;

/// Longest DHCP message that is read; option 57 of clients in use says 1500 at most.
const MESSAGE_MAX: usize = 2048;

pub(crate) struct DhcpServer {
    pub(crate) context: Arc<Context>,
    pub(crate) socket: UdpSocket,
    /// For replies to clients that do not answer ARP yet; without it they are sent by broadcast.
    pub(crate) packets: Option<Packets>,
}

impl DhcpServer {
    pub(crate) async fn run(self) {
        let mut buffer = [0; MESSAGE_MAX];
        let mut errors = 0;
        loop {
            let wake = self.context.responder().poll_at();
            let wake = wake.map(|at| self.context.instant(at));
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((len, _)) => {
                        errors = 0;
                        self.answer(&buffer[..len]).await;
                    }
                    Err(error) if errors < ERRORS_IN_A_ROW => {
                        errors += 1;
                        let reason = format!("receive a message: {error}");
                        self.context.dropped("dhcp", None, &reason);
                    }
                    Err(error) => {
                        self.context.failed("dhcp", format!("receive a message: {error}"));
                        return;
                    }
                },
                () = at(wake) => {
                    let now = self.context.now();
                    self.context.responder().poll(now);
                }
            }
        }
    }

    async fn answer(&self, message: &[u8]) {
        let context = &self.context;
        let now = context.now();
        let machines = &*context.lookup;
        let outcome = context
            .responder()
            .handle(now, &Datagram::new(message), machines);
        let mac = outcome.received.as_ref().map(|(mac, _)| *mac);
        let told = |loader: &str| context.plain_clients || loader != Loader::Os.as_str();
        if let Some((mac, facts)) = outcome.received
            && told(&facts.loader)
        {
            context.emit(Some(mac), EventKind::DhcpReceived { mac, facts });
        }
        if let Some(dropped) = outcome.dropped {
            context.dropped("dhcp", mac, &dropped.detail);
        }
        let Some(reply) = outcome.reply else {
            return;
        };
        let sent = self.send(&reply).await;
        let Reply {
            mac, facts, reason, ..
        } = reply;
        match sent {
            Ok(()) if told(&facts.loader) => {
                let reason = reason.into_owned();
                context.emit(Some(mac), EventKind::DhcpSent { mac, facts, reason });
            }
            Ok(()) => {}
            Err(error) => {
                let why = format!("send the {} to {mac}: {error}", facts.message);
                context.dropped("dhcp", Some(mac), &why);
            }
        }
    }

    async fn send(&self, reply: &Reply) -> io::Result<()> {
        let to = SocketAddrV4::new(reply.to.ip(), reply.to.port());
        match (reply.to, &self.packets) {
            (Destination::Broadcast, Some(packets)) => {
                let frame = self.frame(packets, MacAddr([0xff; 6]), to, reply)?;
                packets.send(&frame).await
            }
            (Destination::UnicastTo { mac, .. }, Some(packets)) => {
                let frame = self.frame(packets, mac, to, reply)?;
                packets.send(&frame).await
            }
            (Destination::Broadcast | Destination::UnicastTo { .. }, None) => {
                let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, to.port());
                self.datagram(everybody, reply).await
            }
            (Destination::Unicast { .. } | Destination::Relay(_) | Destination::Back(_), _) => {
                self.datagram(to, reply).await
            }
        }
    }

    fn frame(
        &self,
        packets: &Packets,
        mac: MacAddr,
        to: SocketAddrV4,
        reply: &Reply,
    ) -> io::Result<Vec<u8>> {
        let config = &self.context.config;
        let from = SocketAddrV4::new(config.server_ip, config.dhcp_port);
        udp4_frame(packets.mac(), from, mac, to, &reply.bytes).map_err(io::Error::other)
    }

    async fn datagram(&self, to: SocketAddrV4, reply: &Reply) -> io::Result<()> {
        let sent = self.socket.send_to(&reply.bytes, SocketAddr::V4(to)).await;
        sent.map(drop)
    }
}

/// Waits until then, or for ever.
async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
