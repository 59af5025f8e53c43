//! A DHCPv6 lab for tests: one server, machines, and a clock that the test sets.
#![allow(dead_code, reason = "each test file uses its part")]

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use bootgate_events::MacAddr;
use bootgate_netboot::dhcp::InterfaceId;
use bootgate_netboot::dhcp6::{
    Datagram, DhcpConfig, InterfaceConfig, Outcome, Responder, SubnetConfig,
};
use bootgate_netboot::policy::{BootMachine, Bootfiles, MachineLookup};

pub const SERVER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
pub const DNS: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x53);
pub const HOUR: Duration = Duration::from_secs(3600);

/// An address of the lab's prefix.
pub fn ip6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 1, last)
}

pub fn mac(last: u8) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0, 0, last])
}

pub fn link_local(last: u8) -> Ipv6Addr {
    bootgate_netboot::ra::link_local(mac(last).0)
}

/// DUID-LL.
pub fn duid(last: u8) -> Vec<u8> {
    [&[0, 3, 0, 1][..], &mac(last).0].concat()
}

pub fn server_duid() -> Vec<u8> {
    config().duid
}

/// fd00:77::/64 on the link, fd00:88::/64 behind a relay; leases hold an hour.
pub fn config() -> DhcpConfig {
    let mut config = DhcpConfig::new(SERVER);
    config.interfaces.push(InterfaceConfig {
        id: InterfaceId(0),
        address: SERVER,
        http_port: 8080,
        tftp_port: 69,
    });
    let mut near = SubnetConfig::new(SERVER, 64, Some(ip6(0)..=ip6(0xffff)));
    near.interfaces.push(InterfaceId(0));
    near.dns.push(DNS);
    let far = Ipv6Addr::new(0xfd00, 0x88, 0, 0, 0, 0, 0, 0);
    let last = Ipv6Addr::new(0xfd00, 0x88, 0, 0, 0, 0, 0, 0xffff);
    config.subnets = vec![near, SubnetConfig::new(far, 64, Some(far..=last))];
    config
}

/// Machines 1 to 9 are known, and boot from the network.
struct Machines;

impl MachineLookup for Machines {
    fn machine(&self, mac: &MacAddr) -> Option<BootMachine> {
        (1..10).contains(&mac.0[5]).then(|| BootMachine {
            netboot: true,
            bootfiles: Bootfiles::pc(None, Some("snponly.efi".to_owned())),
            ..BootMachine::default()
        })
    }
}

/// A client's message, option by option.
#[derive(Clone)]
pub struct Packet {
    kind: u8,
    client: u8,
    options: Vec<(u16, Vec<u8>)>,
}

impl Packet {
    pub fn bare(kind: u8) -> Self {
        let (client, options) = (1, Vec::new());
        Self {
            kind,
            client,
            options,
        }
    }

    pub fn new(kind: u8, client: u8) -> Self {
        let packet = Self::bare(kind).with(1, duid(client));
        Self { client, ..packet }
    }

    pub fn with(mut self, code: u16, value: impl AsRef<[u8]>) -> Self {
        self.options.push((code, value.as_ref().to_vec()));
        self
    }

    pub fn ia(self, iaid: u32, addresses: &[Ipv6Addr]) -> Self {
        let mut value = [&iaid.to_be_bytes()[..], &[0; 8]].concat();
        for ip in addresses {
            value.extend([0, 5, 0, 24]);
            value.extend(ip.octets());
            value.extend([0; 8]);
        }
        self.with(3, value)
    }

    fn boot(self, class: &str, arch: u16) -> Self {
        let class = format!("{class}:Arch:{arch:05}:UNDI:003000");
        let length = u16::try_from(class.len()).unwrap().to_be_bytes();
        let value = [&343u32.to_be_bytes()[..], &length, class.as_bytes()].concat();
        self.with(16, value)
            .with(61, arch.to_be_bytes())
            .with(62, [1, 3, 0])
            .with(6, [0, 59, 0, 60, 0, 23])
    }

    pub fn pxe(self, arch: u16) -> Self {
        self.boot("PXEClient", arch)
    }

    pub fn http(self, arch: u16) -> Self {
        self.boot("HTTPClient", arch)
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.kind, 1, 2, 3];
        for (code, value) in &self.options {
            bytes.extend(code.to_be_bytes());
            bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            bytes.extend(value);
        }
        bytes
    }
}

pub fn solicit(client: u8) -> Packet {
    Packet::new(1, client).ia(1, &[])
}
fn to_server(kind: u8, client: u8, ip: Ipv6Addr) -> Packet {
    Packet::new(kind, client)
        .with(2, server_duid())
        .ia(1, &[ip])
}
pub fn request(client: u8, ip: Ipv6Addr) -> Packet {
    to_server(3, client, ip)
}
pub fn renew(client: u8, ip: Ipv6Addr) -> Packet {
    to_server(5, client, ip)
}
pub fn release(client: u8, ip: Ipv6Addr) -> Packet {
    to_server(8, client, ip)
}
pub fn decline(client: u8, ip: Ipv6Addr) -> Packet {
    to_server(9, client, ip)
}
pub fn confirm(client: u8, ip: Ipv6Addr) -> Packet {
    Packet::new(4, client).ia(1, &[ip])
}
pub fn rebind(client: u8, ip: Ipv6Addr) -> Packet {
    Packet::new(6, client).ia(1, &[ip])
}

/// A relay's envelope around a message.
pub fn relayed(
    message: &[u8],
    hops: u8,
    link: Ipv6Addr,
    peer: Ipv6Addr,
    options: &[(u16, Vec<u8>)],
) -> Vec<u8> {
    let mut bytes = vec![12, hops];
    bytes.extend(link.octets());
    bytes.extend(peer.octets());
    for (code, value) in options.iter().cloned().chain([(9, message.to_vec())]) {
        bytes.extend(code.to_be_bytes());
        bytes.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        bytes.extend(value);
    }
    bytes
}

/// One server and a clock.
pub struct Lab {
    pub server: Responder,
    pub now: Duration,
}

impl Lab {
    pub fn new(config: DhcpConfig) -> Self {
        let server = Responder::new(config);
        let now = Duration::from_secs(1_000_000);
        Self { server, now }
    }

    pub fn send(&mut self, packet: &Packet) -> Answer {
        self.send_from(packet, link_local(packet.client))
    }

    pub fn send_from(&mut self, packet: &Packet, from: Ipv6Addr) -> Answer {
        self.send_bytes(&packet.bytes(), from)
    }

    pub fn send_bytes(&mut self, bytes: &[u8], from: Ipv6Addr) -> Answer {
        let datagram = Datagram {
            bytes,
            interface: InterfaceId(0),
            from: SocketAddrV6::new(from, 546, 0, 3),
        };
        Answer(self.server.handle(self.now, &datagram, &Machines))
    }

    /// Why a client would get its reply now.
    pub fn explain(&self, asked: &bootgate_netboot::dhcp::Asked) -> bootgate_api::Explanation {
        self.server.explain(self.now, asked, &Machines)
    }

    /// SOLICIT, ADVERTISE, REQUEST, REPLY; gives the address.
    pub fn lease(&mut self, client: u8) -> Ipv6Addr {
        let offered = self.send(&solicit(client)).advertised().address(1);
        let ip = offered.expect("an address is offered");
        let reply = self.send(&request(client, ip)).replied();
        assert_eq!(reply.address(1), Some(ip));
        ip
    }
}

/// What came back, with expectations that read as a script.
#[derive(Debug)]
pub struct Answer(pub Outcome);

impl Answer {
    fn of_kind(&self, kind: u8) -> Fields {
        let Some(reply) = &self.0.reply else {
            panic!("no reply: {:?}", self.0.dropped)
        };
        assert_eq!((reply.to.port(), reply.to.scope_id()), (546, 3));
        Fields::message(&reply.bytes, kind)
    }

    pub fn advertised(&self) -> Fields {
        self.of_kind(2)
    }

    pub fn replied(&self) -> Fields {
        self.of_kind(7)
    }

    /// There is no reply, and the reason counts as `slug`.
    pub fn silent(&self, slug: &str) {
        assert_eq!(self.0.reply, None);
        assert!(self.0.grants.is_empty());
        let dropped = self.0.dropped.as_ref().expect("a reason");
        assert_eq!(dropped.reason.slug(), slug, "{dropped:?}");
    }
}

/// A reply as a client reads it.
#[derive(Debug)]
pub struct Fields(Vec<(u16, Vec<u8>)>);

impl Fields {
    pub fn message(bytes: &[u8], kind: u8) -> Self {
        assert_eq!(bytes[..4], [kind, 1, 2, 3], "kind and transaction id");
        Self::options(&bytes[4..])
    }

    pub fn relay(bytes: &[u8]) -> Self {
        Self::options(&bytes[34..])
    }

    fn options(mut bytes: &[u8]) -> Self {
        let mut options = Vec::new();
        while let [a, b, c, d, rest @ ..] = bytes {
            let length = usize::from(u16::from_be_bytes([*c, *d]));
            options.push((u16::from_be_bytes([*a, *b]), rest[..length].to_vec()));
            bytes = &rest[length..];
        }
        assert!(bytes.is_empty());
        Self(options)
    }

    pub fn option(&self, code: u16) -> Option<&[u8]> {
        let mut found = self.0.iter().filter(|(known, _)| *known == code);
        found.next().map(|(_, value)| value.as_slice())
    }

    pub fn text(&self, code: u16) -> String {
        let value = self.option(code).expect("the option is there");
        String::from_utf8(value.to_vec()).expect("text")
    }

    fn ia(&self, iaid: u32) -> Fields {
        let mut all = self.0.iter().filter(|(code, _)| *code == 3);
        let ia = all.find(|(_, value)| value[..4] == iaid.to_be_bytes());
        Self::options(&ia.expect("the association is there").1[12..])
    }

    /// The address that the association gets.
    pub fn address(&self, iaid: u32) -> Option<Ipv6Addr> {
        let ia = self.ia(iaid);
        let mut all = ia.0.iter().filter(|(code, _)| *code == 5);
        let usable = all.find(|(_, value)| value[20..24] != [0; 4])?;
        Some(Ipv6Addr::from(*usable.1.first_chunk::<16>().unwrap()))
    }

    /// The valid lifetime of an address of the association.
    pub fn lifetime(&self, iaid: u32, ip: Ipv6Addr) -> Option<u32> {
        let ia = self.ia(iaid);
        let mut all = ia.0.iter().filter(|(code, _)| *code == 5);
        let found = all.find(|(_, value)| value[..16] == ip.octets())?;
        Some(u32::from_be_bytes(*found.1.last_chunk::<4>().unwrap()))
    }

    fn status_of(value: &[u8]) -> u16 {
        u16::from_be_bytes([value[0], value[1]])
    }

    pub fn ia_status(&self, iaid: u32) -> Option<u16> {
        self.ia(iaid).option(13).map(Self::status_of)
    }

    pub fn status(&self) -> Option<u16> {
        self.option(13).map(Self::status_of)
    }
}
