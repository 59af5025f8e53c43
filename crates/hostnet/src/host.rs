//! Sockets on a real interface of the host, for boards. Nothing of the interface is changed.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket};

use bootgate_events::MacAddr;

use crate::sys::ifaces::{self, Entry};
use crate::{PacketSocket, Udp6Options, UdpOptions, neighbours, sockets};

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
    /// Its IPv6 addresses with the lengths of their prefixes; those still under duplicate address detection too.
    pub addresses6: Vec<(Ipv6Addr, u8)>,
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
            Entry::Address { .. } | Entry::Address6 { .. } => None,
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
                    Entry::Link { .. } | Entry::Address6 { .. } => None,
                })
                .collect(),
            addresses6: entries
                .iter()
                .filter_map(|entry| match entry {
                    Entry::Address6 { address, netmask } => Some((*address, prefix6_len(*netmask))),
                    Entry::Link { .. } | Entry::Address { .. } => None,
                })
                .collect(),
            up: has(libc::IFF_UP),
            running: has(libc::IFF_RUNNING),
        })
    }

    /// Largest IP packet that it takes now, in bytes (its MTU); 65535 where it takes larger ones.
    ///
    /// # Errors
    /// The interface is gone.
    pub fn mtu(&self) -> io::Result<u16> {
        Ok(u16::try_from(ifaces::mtu(&self.name)?).unwrap_or(u16::MAX))
    }

    /// Whether `address` is on it.
    #[must_use]
    pub fn has_address(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|(have, _)| *have == address)
    }

    /// The hardware address that answers for `ip` on it, as the kernel learned it; `None` where it has not.
    #[must_use]
    pub fn neighbour(&self, ip: Ipv4Addr) -> Option<MacAddr> {
        let table = std::fs::read_to_string("/proc/net/arp").ok()?;
        neighbours::find(&table, ip, Some(&self.name))
    }

    /// Its link-local address, where it has one.
    #[must_use]
    pub fn link_local(&self) -> Option<Ipv6Addr> {
        let mut addresses = self.addresses6.iter().map(|(address, _)| *address);
        addresses.find(Ipv6Addr::is_unicast_link_local)
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

    /// Makes an IPv6 UDP socket on it, nonblocking. Link-local addresses and groups mean those of this interface,
    /// whatever scope they come with.
    ///
    /// # Errors
    /// As for [`HostInterface::udp_socket`]; `AddrNotAvailable` for an address that is not on it, or not yet: a new
    /// address is tentative for a second or two.
    pub fn udp6_socket(&self, options: &Udp6Options) -> io::Result<UdpSocket> {
        sockets::udp6(&self.name, self.ifindex, options)
    }

    /// Makes a listening IPv6 TCP socket on it, nonblocking, without IPv4.
    ///
    /// # Errors
    /// As for [`HostInterface::udp6_socket`].
    pub fn tcp6_listener(&self, bind: SocketAddrV6) -> io::Result<TcpListener> {
        sockets::tcp6(&self.name, self.ifindex, bind)
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

    /// Makes a packet socket on it, nonblocking, that hears other hosts' DHCP replies (UDP over IPv4 from port 67 to
    /// port 68) and nothing else. It takes nothing away from a DHCP client of this host.
    ///
    /// # Errors
    /// `PermissionDenied` without `CAP_NET_RAW`.
    pub fn dhcp_replies(&self) -> io::Result<PacketSocket> {
        Ok(PacketSocket {
            fd: sockets::dhcp_replies(self.ifindex)?,
            mac: self.mac,
            ifindex: self.ifindex,
        })
    }
}

#[allow(clippy::cast_possible_truncation, reason = "at most 32")]
fn prefix_len(netmask: Ipv4Addr) -> u8 {
    netmask.to_bits().leading_ones() as u8
}

#[allow(clippy::cast_possible_truncation, reason = "at most 128")]
fn prefix6_len(netmask: Ipv6Addr) -> u8 {
    netmask.to_bits().leading_ones() as u8
}
