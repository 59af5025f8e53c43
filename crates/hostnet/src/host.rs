//! Sockets on a real interface of the host, for boards. Nothing of the interface is changed.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};

use bootgate_events::MacAddr;

use crate::sys::ifaces::{self, Entry};
use crate::{PacketSocket, UdpOptions, sockets};

/// An existing interface of the caller's network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub ifindex: i32,
    /// Its hardware address.
    pub mac: MacAddr,
    /// Its IPv4 addresses with the lengths of their prefixes.
    pub addresses: Vec<(Ipv4Addr, u8)>,
    /// Whether it is set up.
    pub up: bool,
    /// Whether it has a carrier.
    pub running: bool,
}

impl HostInterface {
    /// Looks at an interface.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] where there is none of this name; `InvalidInput` where it is not Ethernet.
    pub fn open(name: &str) -> io::Result<Self> {
        let entries = ifaces::entries(name)?;
        let link = entries.iter().find_map(|entry| match entry {
            Entry::Link {
                ifindex,
                hardware_type,
                mac,
                flags,
            } => Some((*ifindex, *hardware_type, *mac, *flags)),
            Entry::Address { .. } => None,
        });
        let Some((ifindex, hardware_type, mac, flags)) = link else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no network interface `{name}`"),
            ));
        };
        if hardware_type != libc::ARPHRD_ETHER {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("network interface `{name}` is not Ethernet"),
            ));
        }
        let has = |flag: i32| flags & flag.cast_unsigned() != 0;
        Ok(Self {
            name: name.to_owned(),
            ifindex,
            mac: MacAddr(mac),
            addresses: entries
                .iter()
                .filter_map(|entry| match entry {
                    Entry::Address { address, netmask } => Some((*address, prefix_len(*netmask))),
                    Entry::Link { .. } => None,
                })
                .collect(),
            up: has(libc::IFF_UP),
            running: has(libc::IFF_RUNNING),
        })
    }

    /// Whether `address` is on it.
    #[must_use]
    pub fn has_address(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|(have, _)| *have == address)
    }

    /// Makes a UDP socket on it, nonblocking.
    ///
    /// # Errors
    /// `AddrInUse` where the port is taken, `PermissionDenied` for a low port without the right to it.
    pub fn udp_socket(&self, options: UdpOptions) -> io::Result<UdpSocket> {
        sockets::udp(&self.name, options)
    }

    /// Makes a listening TCP socket on it, nonblocking.
    ///
    /// # Errors
    /// As for [`HostInterface::udp_socket`].
    pub fn tcp_listener(&self, bind: SocketAddrV4) -> io::Result<TcpListener> {
        sockets::tcp(&self.name, bind)
    }

    /// Makes a raw packet socket on it, nonblocking. `ethertype` in host byte order; 3 takes every frame.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`.
    pub fn packet_socket(&self, ethertype: u16) -> io::Result<PacketSocket> {
        Ok(PacketSocket {
            fd: sockets::packet(self.ifindex, ethertype)?,
            mac: self.mac,
            ifindex: self.ifindex,
        })
    }
}

#[allow(clippy::cast_possible_truncation, reason = "at most 32")]
fn prefix_len(netmask: Ipv4Addr) -> u8 {
    netmask.to_bits().leading_ones() as u8
}
