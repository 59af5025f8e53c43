//! The server's messages.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use bootgate_events::DhcpFacts;

use super::facts::{address_at, reply_parts};
use super::options::{code, encapsulated, message};
use super::scene::Scene;
use super::wire::{Header, REPLY, Writer};
use super::{ClientFacts, Destination, Port, Reply, SubnetConfig};
use crate::policy::{Boot, Firmware, Loader, arch};

/// iPXE's encapsulated option "no-pxedhcp", value 1: do not wait for proxyDHCP offers (two seconds a DHCP).
const IPXE_NO_PROXY: [u8; 3] = [176, 1, 1];
/// PXE 2.1 discovery control (option 43, sub-option 6), bit 3: boot the file named here, without menu, prompt or
/// discovery of boot servers.
const PXE_USE_BOOTFILE: [u8; 3] = [6, 1, 8];
/// Sub-option of option 43: the boot item a client asks a boot server for (PXE 2.1 section 2.2.5).
const PXE_BOOT_ITEM: u8 = 71;
/// What the Raspberry Pi's ROM looks for in option 43: a prompt (sub-option 10, no wait) and a menu (9) with one item
/// of this name. Without it the ROM takes no notice of an offer.
const RASPBERRY_PI_MENU: &[u8] =
    b"\x06\x01\x03\x0a\x04\x00PXE\x09\x14\x00\x00\x11Raspberry Pi Boot\xff";
/// Longest message that every client takes, in bytes, IP and UDP headers included (RFC 2131 section 2).
const MIN_MAX_SIZE: u16 = 576;
const IP_AND_UDP: usize = 28;

/// What kind of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offer(Ipv4Addr),
    /// An acknowledged lease.
    Ack(Ipv4Addr),
    /// The answer to INFORM: parameters, no address and no lease.
    AckInform,
    /// A proxy's offer: something to boot, and no address.
    ProxyOffer,
    /// A boot server's answer, on port 4011 or to INFORM.
    BootAck,
}

impl Kind {
    fn message(self) -> (u8, &'static str) {
        match self {
            Kind::Offer(_) | Kind::ProxyOffer => (message::OFFER, "offer"),
            Kind::Ack(_) | Kind::AckInform | Kind::BootAck => (message::ACK, "ack"),
        }
    }

    fn yiaddr(self) -> Ipv4Addr {
        match self {
            Kind::Offer(ip) | Kind::Ack(ip) => ip,
            _ => Ipv4Addr::UNSPECIFIED,
        }
    }

    fn is_boot_only(self) -> bool {
        matches!(self, Kind::ProxyOffer | Kind::BootAck)
    }
}

/// Builds an OFFER or ACK; `subnet` says what goes with an address.
pub(super) fn configure(scene: &Scene<'_>, subnet: Option<&SubnetConfig>, kind: Kind) -> Reply {
    let client = scene.client;
    let limit = usize::from(client.max_size.unwrap_or(0).max(MIN_MAX_SIZE)) - IP_AND_UDP;
    let mut bytes = write(scene, subnet, kind, true);
    if bytes.len() > limit {
        bytes = write(scene, subnet, kind, false);
    }
    let names_boot = !postponed(scene, kind);
    let address = match kind {
        Kind::Offer(ip) | Kind::Ack(ip) => Some(ip),
        _ => Some(client.ciaddr).filter(|ip| !ip.is_unspecified()),
    };
    let decision = scene.decision;
    let bootfile = decision.boot.name().filter(|_| names_boot);
    let facts = DhcpFacts {
        message: kind.message().1.to_owned(),
        xid: client.xid,
        address: address.map(IpAddr::V4),
        bootfile: bootfile.map(str::to_owned),
        loader: decision.loader.as_str().to_owned(),
        ..DhcpFacts::default()
    };
    let mut reason = decision.reason.clone();
    if !names_boot {
        reason = format!("{reason}, on port 4011").into();
    }
    if !client.oddities.is_empty() {
        reason = format!("{reason} (ignored: {})", client.oddities.join(", ")).into();
    }
    Reply {
        bytes,
        interface: scene.id,
        from: scene.interface.address,
        from_port: scene.port.number(),
        to: destination(scene, kind),
        mac: client.mac,
        facts,
        reason,
    }
}

fn write(scene: &Scene<'_>, subnet: Option<&SubnetConfig>, kind: Kind, extras: bool) -> Vec<u8> {
    let client = scene.client;
    let (message_type, _) = kind.message();
    let mut writer = Writer::new(&header(client), message_type);
    writer.yiaddr(kind.yiaddr());
    // RFC 2131 table 3: an ACK repeats the client's own address.
    if message_type == message::ACK {
        writer.ciaddr(client.ciaddr);
    }
    writer.address(code::SERVER_ID, scene.server_id());
    if let Some(subnet) = subnet.filter(|_| !kind.is_boot_only()) {
        add_network(&mut writer, subnet, kind, extras);
    }
    if let Some(id) = client.machine_id {
        writer.option(code::MACHINE_ID, &id);
    }
    add_boot(&mut writer, scene, kind);
    add_echoes(&mut writer, client, extras);
    writer.finish()
}

fn header(client: &ClientFacts) -> Header {
    Header {
        op: REPLY,
        xid: client.xid,
        flags: client.flags,
        giaddr: client.giaddr,
        mac: client.mac,
    }
}

fn add_network(writer: &mut Writer, subnet: &SubnetConfig, kind: Kind, extras: bool) {
    writer.address(code::NETMASK, subnet.netmask());
    writer.address(code::BROADCAST, subnet.broadcast());
    if let Some(router) = subnet.router {
        writer.address(code::ROUTERS, router);
    }
    if kind != Kind::AckInform {
        let lease = u32::try_from(subnet.lease.as_secs()).unwrap_or(u32::MAX);
        writer.number(code::LEASE_TIME, lease);
        writer.number(code::RENEWAL, lease / 2);
        writer.number(code::REBINDING, lease - lease / 8);
    }
    writer.addresses(code::DNS, &subnet.dns);
    if extras {
        if let Some(domain) = &subnet.domain {
            writer.option(code::DOMAIN, domain.as_bytes());
        }
        writer.addresses(code::NTP, &subnet.ntp);
    }
}

/// What comes back as it came: the client's identifier (option 61, RFC 6842), the subnet it asked for (option 118,
/// RFC 3011), and last of all the relay's information (option 82, RFC 3046 section 2.1).
fn add_echoes(writer: &mut Writer, client: &ClientFacts, extras: bool) {
    if let Some(id) = client.client_id.as_deref().filter(|_| extras) {
        writer.option(code::CLIENT_ID, id);
    }
    if let Some(subnet) = client.subnet {
        writer.address(code::SUBNET_SELECTION, subnet);
    }
    if let Some(relay) = &client.relay_info {
        writer.option(code::RELAY_INFO, relay);
    }
}

/// Whether the bootfile waits for the client to ask on port 4011. EDK2 of before 2017 drops a proxy's offer with PXE
/// discovery options (`PxeBcCacheDhcp4Offer` keeps the first such offer only where there was one before). One with
/// option 60 alone it keeps, of any age, and asks on port 4011 (`PxeBcRetryBinlOffer`).
pub(super) fn postponed(scene: &Scene<'_>, kind: Kind) -> bool {
    kind == Kind::ProxyOffer
        && matches!(scene.decision.boot, Boot::Tftp(_))
        && scene.decision.loader == Loader::Firmware
        && !is_bios(scene)
}

fn is_bios(scene: &Scene<'_>) -> bool {
    let code = scene.decision.architecture.unwrap_or(arch::BIOS);
    let row = scene.config.architectures.row(code);
    row.is_some_and(|row| row.firmware == Firmware::Bios)
}

/// Adds what there is to boot.
///
/// - With an address, option 60 "PXEClient" goes to BIOS PXE ROMs only, together with option 43 = {6: 8}, so that they
///   take the bootfile at once. EDK2 takes an offer with option 60 and without option 43 for a boot server
///   discovery and asks on port 4011; without option 60 it takes the bootfile as it is.
/// - Without an address, from a proxy or on port 4011, option 60 is what makes it a boot server's answer (PXE 2.1
///   section 2.2.3).
/// - UEFI HTTP Boot drops what has not option 60 "HTTPClient".
/// - Option 67 ends with a NUL for firmware: EDK2 writes one behind the value otherwise, over the next option's code.
/// - iPXE gets "no proxyDHCP" with its address, whether or not there is something to boot. It needs `siaddr` with a
///   bootfile.
fn add_boot(writer: &mut Writer, scene: &Scene<'_>, kind: Kind) {
    let decision = scene.decision;
    let server = scene.interface.address;
    if decision.loader.is_ipxe() && !kind.is_boot_only() {
        writer.option(code::IPXE, &IPXE_NO_PROXY);
    }
    if !decision.boot.is_some() {
        return;
    }
    writer.siaddr(server);
    add_class(writer, scene, kind);
    if postponed(scene, kind) {
        return;
    }
    writer.option(code::TFTP_SERVER_NAME, server.to_string().as_bytes());
    if scene.client.wanted.contains(&code::TFTP_SERVERS) {
        writer.address(code::TFTP_SERVERS, server);
    }
    let Some(name) = decision.boot.name() else {
        return;
    };
    writer.file(name.as_bytes());
    if decision.loader == Loader::Firmware {
        writer.option(code::BOOTFILE, &[name.as_bytes(), b"\0"].concat());
    } else {
        writer.option(code::BOOTFILE, name.as_bytes());
    }
}

/// Options 60 and 43.
fn add_class(writer: &mut Writer, scene: &Scene<'_>, kind: Kind) {
    let client = scene.client;
    let firmware = scene.decision.loader == Loader::Firmware;
    let pxe = client.vendor_class_is("PXEClient");
    match &scene.decision.boot {
        Boot::Http(_) => writer.option(code::VENDOR_CLASS, b"HTTPClient"),
        Boot::RaspberryPi => {
            writer.option(code::VENDOR_CLASS, b"PXEClient");
            writer.option(code::VENDOR_INFO, RASPBERRY_PI_MENU);
        }
        Boot::Tftp(_) if firmware && pxe && is_bios(scene) => {
            writer.option(code::VENDOR_CLASS, b"PXEClient");
            writer.option(
                code::VENDOR_INFO,
                &vendor_info(client, &PXE_USE_BOOTFILE, kind),
            );
        }
        _ if kind.is_boot_only() => {
            writer.option(code::VENDOR_CLASS, b"PXEClient");
            let item = vendor_info(client, &[], kind);
            if item.len() > 1 {
                writer.option(code::VENDOR_INFO, &item);
            }
        }
        _ => {}
    }
}

/// Option 43 with these sub-options, and with the boot item that a client asked a boot server for.
fn vendor_info(client: &ClientFacts, options: &[u8], kind: Kind) -> Vec<u8> {
    let mut value = options.to_vec();
    if kind == Kind::BootAck
        && let Some(asked) = &client.vendor_info
        && let Some((item, layer)) = encapsulated(asked)
            .into_iter()
            .find(|(code, value)| *code == PXE_BOOT_ITEM && value.len() == 4)
    {
        value.extend([item, 4]);
        value.extend(layer);
    }
    value.push(code::END);
    value
}

/// Where a reply that is not a NAK goes (RFC 2131 section 4.1). What came to port 4011 goes back to where it came
/// from: the client has its address by then.
fn destination(scene: &Scene<'_>, kind: Kind) -> Destination {
    let client = scene.client;
    if scene.port == Port::Pxe {
        let port = scene.from.port();
        return match (*scene.from.ip(), client.ciaddr) {
            (from, _) if !from.is_unspecified() => Destination::Back(scene.from),
            (_, own) if !own.is_unspecified() => Destination::Back(SocketAddrV4::new(own, port)),
            _ => Destination::Broadcast,
        };
    }
    let yiaddr = kind.yiaddr();
    if !client.giaddr.is_unspecified() {
        Destination::Relay(client.giaddr)
    } else if !client.ciaddr.is_unspecified() && kind.message().0 == message::ACK {
        Destination::Unicast { ip: client.ciaddr }
    } else if client.wants_broadcast() || yiaddr.is_unspecified() {
        Destination::Broadcast
    } else {
        Destination::UnicastTo {
            ip: yiaddr,
            mac: client.mac,
        }
    }
}

/// Builds a NAK. All that hear it must see it, since the client's address may be wrong for the segment; a relay is
/// told to broadcast it by the flag (RFC 2131 section 4.3.2).
pub(super) fn refuse(scene: &Scene<'_>, address: Ipv4Addr, reason: String) -> Reply {
    let client = scene.client;
    let header = Header {
        flags: client.flags | 0x8000,
        ..header(client)
    };
    let mut writer = Writer::new(&header, message::NAK);
    writer.address(code::SERVER_ID, scene.server_id());
    writer.option(code::MESSAGE, reason.as_bytes());
    add_echoes(&mut writer, client, true);
    Reply {
        bytes: writer.finish(),
        interface: scene.id,
        from: scene.interface.address,
        from_port: scene.port.number(),
        to: to_all(client.giaddr),
        mac: client.mac,
        facts: nak_facts(client.xid, address, scene.decision.loader.as_str()),
        reason: reason.into(),
    }
}

fn to_all(giaddr: Ipv4Addr) -> Destination {
    if giaddr.is_unspecified() {
        Destination::Broadcast
    } else {
        Destination::Relay(giaddr)
    }
}

fn nak_facts(xid: u32, address: Ipv4Addr, loader: &str) -> DhcpFacts {
    DhcpFacts {
        message: "nak".to_owned(),
        xid,
        address: Some(IpAddr::V4(address)),
        loader: loader.to_owned(),
        ..DhcpFacts::default()
    }
}

impl Reply {
    /// The NAK in place of this ACK, for a lease that the store says another has; `None` where this is no ACK with a
    /// lease. Send it as it says, and undo the grant.
    #[must_use]
    pub fn nak(&self, reason: impl Into<Cow<'static, str>>) -> Option<Reply> {
        let (fixed, mac, options) = reply_parts(&self.bytes).ok()?;
        let yiaddr = address_at(fixed, 16);
        let ack = options.fixed(code::MESSAGE_TYPE) == Some([message::ACK]);
        if !ack || yiaddr.is_unspecified() {
            return None;
        }
        let reason = reason.into();
        let header = Header {
            op: REPLY,
            xid: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            flags: u16::from_be_bytes([fixed[10], fixed[11]]) | 0x8000,
            giaddr: address_at(fixed, 24),
            mac,
        };
        let mut writer = Writer::new(&header, message::NAK);
        writer.option(code::SERVER_ID, &options.fixed::<4>(code::SERVER_ID)?);
        writer.option(code::MESSAGE, reason.as_bytes());
        for code in [code::CLIENT_ID, code::SUBNET_SELECTION, code::RELAY_INFO] {
            writer.option(code, &options.bytes(code).unwrap_or_default());
        }
        Some(Reply {
            bytes: writer.finish(),
            to: to_all(header.giaddr),
            facts: nak_facts(header.xid, yiaddr, &self.facts.loader),
            reason,
            ..self.clone()
        })
    }
}
