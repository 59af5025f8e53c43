//! Segments and ports: bridges, TAPs and veth pairs, made over netlink.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use bootgate_events::MacAddr;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{AfSpecInet6, AfSpecUnspec, BridgeStpState, In6AddrGenMode};
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::{AddressMessageBuilder, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};

use super::netlink::Netlink;
use super::setup::write_existing;
use crate::protocol::{During, Failure};
use crate::sys::{link, ring::Ring, socket};
use crate::{PortKind, PortMode, SegmentConfig, SegmentInfo};

/// Frames a TAP keeps for a wire that is not scheduled at once; the kernel's default is 1000.
const TAP_QUEUE: u32 = 4096;
/// How long a new link may take to pass frames; usually a millisecond, at worst the second that the kernel puts
/// between two looks at carriers.
pub(super) const UP_WITHIN: Duration = Duration::from_secs(5);
/// `ETH_P_ALL` of `linux/if_ether.h`.
const ALL_FRAMES: u16 = 3;

/// The links of the sandbox's network namespace.
pub(super) struct Links {
    netlink: Netlink,
    segments: HashMap<String, SegmentInfo>,
    ports: u32,
}

impl Links {
    pub(super) fn new() -> Result<Self, Failure> {
        let netlink = Netlink::open().during(|| "opening a netlink socket".to_owned())?;
        // No interface made from here on gets IPv6 of its own: no duplicate address detection, router solicitations or
        // multicast reports of ours disturb the segment. And no firewall rule sees bridged frames. All of these may be
        // absent or read-only (containers); the links' own settings below do without.
        for (file, value) in [
            ("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1"),
            ("/proc/sys/net/bridge/bridge-nf-call-iptables", "0"),
            ("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0"),
            ("/proc/sys/net/bridge/bridge-nf-call-arptables", "0"),
        ] {
            let _ = write_existing(file, value);
        }
        let mut links = Self {
            netlink,
            segments: HashMap::new(),
            ports: 0,
        };
        links
            .change(LinkUnspec::new_with_name("lo").up())
            .during(|| "setting up `lo`".to_owned())?;
        Ok(links)
    }

    pub(super) fn segment(&self, name: &str) -> Result<&SegmentInfo, Failure> {
        self.segments.get(name).ok_or_else(|| {
            Failure::invalid(
                format!("looking up segment `{name}`"),
                "there is no such segment in this sandbox",
            )
        })
    }

    pub(super) fn create_segment(&mut self, config: SegmentConfig) -> Result<SegmentInfo, Failure> {
        let action = format!("creating segment `{}`", config.name);
        if self.segments.contains_key(&config.name) {
            return Err(Failure::invalid(action, "there is one of this name"));
        }
        if !(1..=31).contains(&config.prefix_len) {
            return Err(Failure::invalid(
                action,
                format!("a prefix of {} bits is not 1 to 31", config.prefix_len),
            ));
        }
        let interface = format!("bg{}", self.segments.len());
        // Locally administered and made from the address: the same in every run, so that captures of two runs compare.
        let [a, b, c, d] = config.address.octets();
        let mac = MacAddr([0x02, 0x62, a, b, c, d]);
        let ifindex = self
            .create_bridge(&interface, mac, &config)
            .map_err(|error| Failure::new(action, &error))?;
        let info = SegmentInfo {
            name: config.name.clone(),
            interface,
            ifindex,
            mac,
            mode: "bridge".to_owned(),
        };
        self.segments.insert(config.name, info.clone());
        Ok(info)
    }

    fn create_bridge(
        &mut self,
        interface: &str,
        mac: MacAddr,
        config: &SegmentConfig,
    ) -> io::Result<i32> {
        let bridge = LinkMessageBuilder::<LinkBridge>::new(interface)
            .address(mac.0.to_vec())
            .stp_state(BridgeStpState::Disabled)
            .forward_delay(0)
            .mcast_snooping(false);
        self.add(bridge.build())?;
        let index = self.index(interface)?;
        // Separate from the creation: a kernel without bridge netfilter refuses these, and then there is nothing to
        // turn off.
        let _ = self.change(
            LinkMessageBuilder::<LinkBridge>::new(interface)
                .index(index)
                .nf_call_iptables(false)
                .nf_call_ip6tables(false)
                .nf_call_arptables(false),
        );
        self.change(quiet(LinkUnspec::new_with_index(index)).up())?;
        self.netlink.add_address(
            AddressMessageBuilder::<Ipv4Addr>::new()
                .index(index)
                .address(config.address, config.prefix_len)
                .build(),
        )?;
        if let Some((address, prefix_len)) = config.address6 {
            // The default of this namespace is off, see `new`.
            let switch = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
            write_existing(&switch, "0")?;
            for (address, prefix_len) in [(link_local(mac), 64), (address, prefix_len)] {
                self.add_address6(index, address, prefix_len)?;
            }
        }
        i32::try_from(index).map_err(io::Error::other)
    }

    /// Gives an interface an IPv6 address that is usable at once: nobody else can have it.
    fn add_address6(&mut self, index: u32, address: Ipv6Addr, prefix_len: u8) -> io::Result<()> {
        let mut message = AddressMessageBuilder::<Ipv6Addr>::new()
            .index(index)
            .address(address, prefix_len)
            .build();
        message.header.flags |= AddressHeaderFlags::Nodad;
        self.netlink.add_address(message)
    }

    /// Connects an interface in another network namespace, named `peer` there, to a segment by a cable. The interface
    /// is down and has no address.
    pub(super) fn create_cable(
        &mut self,
        segment: &str,
        peer: &str,
        namespace: BorrowedFd<'_>,
    ) -> Result<(), Failure> {
        let action = || format!("connecting `{peer}` to segment `{segment}`");
        let bridge = u32::try_from(self.segment(segment)?.ifindex)
            .map_err(|error| Failure::new(action(), &io::Error::other(error)))?;
        self.ports += 1;
        let interface = format!("port{}", self.ports);
        self.connect(&interface, peer, bridge, namespace)
            .during(action)
    }

    fn connect(
        &mut self,
        interface: &str,
        peer: &str,
        bridge: u32,
        namespace: BorrowedFd<'_>,
    ) -> io::Result<()> {
        self.add(LinkVeth::new(interface, peer).build())?;
        // A program's datagram must have its checksum when it reaches a client, which is no socket of this kernel.
        for name in [interface, peer] {
            link::disable_offloads(name)?;
        }
        let (inner, outer) = (self.index(interface)?, self.index(peer)?);
        self.change(quiet(LinkUnspec::new_with_index(outer)).setns_by_fd(namespace.as_raw_fd()))?;
        self.change(
            quiet(LinkUnspec::new_with_index(inner))
                .controller(bridge)
                .up(),
        )
    }

    pub(super) fn create_port(
        &mut self,
        segment: &str,
        name: &str,
        mode: PortMode,
    ) -> Result<(PortKind, OwnedFd), Failure> {
        let action = || format!("creating port `{name}` on segment `{segment}`");
        let bridge = u32::try_from(self.segment(segment)?.ifindex)
            .map_err(|error| Failure::new(action(), &io::Error::other(error)))?;
        self.ports += 1;
        let interface = format!("port{}", self.ports);
        let tun = match mode {
            PortMode::PacketVeth => None,
            PortMode::Tap => Some(open_tun().during(|| "opening /dev/net/tun".to_owned())?),
            PortMode::Auto => open_tun().ok(),
        };
        match tun {
            Some(tun) => self
                .enslave_tap(tun, &interface, bridge)
                .map(|fd| (PortKind::Tap, fd)),
            None => self
                .create_veth(&interface, bridge)
                .map(|fd| (PortKind::PacketVeth, fd)),
        }
        .map_err(|error| Failure::new(action(), &error))
    }

    fn enslave_tap(&mut self, tun: OwnedFd, interface: &str, bridge: u32) -> io::Result<OwnedFd> {
        link::create_tap(&tun, interface)?;
        let index = self.index(interface)?;
        let message = quiet(LinkUnspec::new_with_index(index)).txqueuelen(TAP_QUEUE);
        self.change(message.controller(bridge).up())?;
        self.netlink.await_passing(&[index, bridge], UP_WITHIN)?;
        Ok(tun)
    }

    fn create_veth(&mut self, interface: &str, bridge: u32) -> io::Result<OwnedFd> {
        let peer = format!("{interface}w");
        self.add(LinkVeth::new(interface, &peer).build())?;
        for name in [interface, peer.as_str()] {
            link::disable_offloads(name)?;
        }
        let (inner, outer) = (self.index(interface)?, self.index(&peer)?);
        let socket = socket::packet_socket()?;
        socket::ignore_outgoing(&socket)?;
        Ring::attach(&socket)?;
        self.change(quiet(LinkUnspec::new_with_index(outer)).up())?;
        self.change(
            quiet(LinkUnspec::new_with_index(inner))
                .controller(bridge)
                .up(),
        )?;
        socket::bind_packet(
            &socket,
            i32::try_from(outer).map_err(io::Error::other)?,
            ALL_FRAMES,
        )?;
        self.netlink
            .await_passing(&[outer, inner, bridge], UP_WITHIN)?;
        Ok(socket)
    }

    fn index(&self, interface: &str) -> io::Result<u32> {
        self.netlink.index(interface)
    }

    fn add(&mut self, message: LinkMessage) -> io::Result<()> {
        self.netlink.add_link(message)
    }

    fn change<T: std::fmt::Debug + Default>(
        &mut self,
        message: LinkMessageBuilder<T>,
    ) -> io::Result<()> {
        self.netlink.change_link(message.build())
    }
}

/// The link-local address that a hardware address makes (RFC 4291 appendix A).
fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let [high, low] = [[a ^ 2, b], [c, 0xff]].map(u16::from_be_bytes);
    let [next, last] = [[0xfe, d], [e, f]].map(u16::from_be_bytes);
    Ipv6Addr::new(0xfe80, 0, 0, 0, high, low, next, last)
}

/// Has an interface make no IPv6 address of its own, even where IPv6 could not be turned off.
pub(super) fn quiet(message: LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec> {
    message.append_extra_attribute(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(
        vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)],
    )]))
}

fn open_tun() -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags};
    Ok(rustix::fs::open(
        "/dev/net/tun",
        OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK,
        Mode::empty(),
    )?)
}
