//! The way out: which socket or frame carries a reply.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use bootgate_events::MacAddr;
use bootgate_netboot::dhcp::{Destination, PXE_PORT, Reply};
use bootgate_netboot::frame::udp4_frame;
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use rustix::net::{SendFlags, sendto, sockopt};
use tokio::net::UdpSocket;

use crate::ra::Packets;

/// Bytes of messages that may wait on a socket, so that a room full of machines that get power at once is heard. The
/// kernel counts its own overhead, some 800 bytes a message.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The sockets of one interface. Replies leave at once or not at all: a client that hears nothing asks again, and waits
/// less for that than all others would for a full queue.
pub(crate) struct Outlet {
    pub(crate) dhcp: UdpSocket,
    dhcp_port: u16,
    /// PXE's boot server discovery, where it is answered.
    pub(crate) pxe: Option<UdpSocket>,
    /// For replies to clients that do not answer ARP yet; without it they are sent by broadcast.
    packets: Option<Packets>,
}

impl Outlet {
    pub(crate) fn new(
        dhcp: UdpSocket,
        pxe: Option<UdpSocket>,
        packets: Option<Packets>,
    ) -> io::Result<Self> {
        let dhcp_port = dhcp.local_addr()?.port();
        for socket in [Some(&dhcp), pxe.as_ref()].into_iter().flatten() {
            make_room(socket);
        }
        Ok(Self {
            dhcp,
            dhcp_port,
            pxe,
            packets,
        })
    }

    /// Sends a reply from the port that its request came to.
    pub(crate) fn send(&self, reply: &Reply) -> io::Result<()> {
        let to = SocketAddrV4::new(reply.to.ip(), reply.to.port());
        match (reply.to, &self.packets) {
            (Destination::Broadcast, Some(packets)) => {
                self.frame(packets, MacAddr([0xff; 6]), to, reply)
            }
            (Destination::UnicastTo { mac, .. }, Some(packets)) => {
                self.frame(packets, mac, to, reply)
            }
            (Destination::Broadcast | Destination::UnicastTo { .. }, None) => {
                let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, to.port());
                self.datagram(everybody, reply)
            }
            (Destination::Unicast { .. } | Destination::Relay(_) | Destination::Back(_), _) => {
                self.datagram(to, reply)
            }
        }
    }

    fn frame(
        &self,
        packets: &Packets,
        mac: MacAddr,
        to: SocketAddrV4,
        reply: &Reply,
    ) -> io::Result<()> {
        let from = SocketAddrV4::new(reply.from, self.port(reply));
        let frame = udp4_frame(packets.mac(), from, mac, to, &reply.bytes);
        packets.try_send(&frame.map_err(io::Error::other)?)
    }

    fn datagram(&self, to: SocketAddrV4, reply: &Reply) -> io::Result<()> {
        let socket = match &self.pxe {
            Some(pxe) if reply.from_port == PXE_PORT => pxe,
            _ => &self.dhcp,
        };
        if reply.from.is_unspecified() {
            sendto(socket, &reply.bytes, SendFlags::DONTWAIT, &to)?;
            return Ok(());
        }
        send_from(socket, reply.from, to, &reply.bytes)
    }

    /// The port to send it from: tests have the server on other ports than 67.
    fn port(&self, reply: &Reply) -> u16 {
        match reply.from_port {
            PXE_PORT => PXE_PORT,
            _ => self.dhcp_port,
        }
    }
}

/// Sends a datagram from one of this host's addresses. The socket is bound to none of them, to hear broadcasts; left
/// alone, the kernel takes the interface's first, which need not be the one that the reply calls the server by (ip(7),
/// `IP_PKTINFO`).
fn send_from(socket: &UdpSocket, from: Ipv4Addr, to: SocketAddrV4, bytes: &[u8]) -> io::Result<()> {
    let info = libc::in_pktinfo {
        // 0: by the route to the client.
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: u32::from_ne_bytes(from.octets()),
        },
        ipi_addr: libc::in_addr { s_addr: 0 },
    };
    sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(bytes)],
        &[ControlMessage::Ipv4PacketInfo(&info)],
        MsgFlags::MSG_DONTWAIT,
        Some(&SockaddrIn::from(to)),
    )?;
    Ok(())
}

/// Past the system's limit where that is allowed, else up to it.
fn make_room(socket: &UdpSocket) {
    let forced = sockopt::set_socket_recv_buffer_size_force(socket, RECEIVE_BUFFER);
    if forced.is_err()
        && let Err(error) = sockopt::set_socket_recv_buffer_size(socket, RECEIVE_BUFFER)
    {
        tracing::debug!("set the receive buffer of a DHCP socket: {error}");
    }
}
