//! A lab for tests: one server, machines, and a clock that the test sets.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use bootgate_api::LeaseState;
use bootgate_events::MacAddr;
use bootgate_netboot::dhcp::{
    Datagram, DhcpConfig, DhcpMode, DropReason, Ended, InterfaceId, Outcome, Port, Reply, Responder,
};
use bootgate_netboot::policy::{BootMachine, Bootfiles, MachineLookup};

pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
pub const OTHER_SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// The machine of the captured packets.
pub const CAPTURED: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// An address of the lab's network.
pub fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, last)
}

/// A machine's hardware address.
pub fn mac(last: u8) -> MacAddr {
    MacAddr([0x52, 0x54, 0, 0, 0, last])
}

/// The pool is 10.77.0.10 to 10.77.0.13; leases hold an hour, offers a minute, quarantine ten minutes.
pub fn config() -> DhcpConfig {
    DhcpConfig::new(SERVER, 24, ip(10)..=ip(13))
}

/// The same network with a DHCP server of its own, beside which this one only says what to boot.
pub fn proxy() -> DhcpConfig {
    let mut config = config();
    config.interfaces[0].mode = DhcpMode::Proxy;
    config
}

#[derive(Default)]
pub struct Machines(pub BTreeMap<MacAddr, BootMachine>);

impl MachineLookup for Machines {
    fn machine(&self, mac: &MacAddr) -> Option<BootMachine> {
        self.0.get(mac).cloned()
    }
}

pub fn netboot_machine() -> BootMachine {
    BootMachine {
        netboot: true,
        bootfiles: Bootfiles::pc(
            Some("undionly.kpxe".to_owned()),
            Some("snponly.efi".to_owned()),
        ),
        note: "armed".to_owned(),
        ..BootMachine::default()
    }
}

/// A client's message, option by option.
#[derive(Clone)]
pub struct Packet {
    pub fixed: Vec<u8>,
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Packet {
    pub fn new(mac: MacAddr, message_type: u8) -> Self {
        let mut fixed = vec![0; 236];
        fixed[..3].copy_from_slice(&[1, 1, 6]);
        fixed[4..8].copy_from_slice(&[0xca, 0xfe, 0, mac.0[5]]);
        fixed[28..34].copy_from_slice(&mac.0);
        fixed.extend([99, 130, 83, 99]);
        Self {
            fixed,
            options: vec![(53, vec![message_type])],
        }
    }

    pub fn with(mut self, code: u8, value: impl AsRef<[u8]>) -> Self {
        self.options.push((code, value.as_ref().to_vec()));
        self
    }

    pub fn byte(mut self, at: usize, value: u8) -> Self {
        self.fixed[at] = value;
        self
    }

    pub fn ciaddr(mut self, ip: Ipv4Addr) -> Self {
        self.fixed[12..16].copy_from_slice(&ip.octets());
        self
    }

    pub fn giaddr(mut self, ip: Ipv4Addr) -> Self {
        self.fixed[24..28].copy_from_slice(&ip.octets());
        self
    }

    pub fn wants_broadcast(self) -> Self {
        self.byte(10, 0x80)
    }

    pub fn asks_for(self, ip: Ipv4Addr) -> Self {
        self.with(50, ip.octets())
    }

    pub fn names_server(self, ip: Ipv4Addr) -> Self {
        self.with(54, ip.octets())
    }

    pub fn pxe(self, architecture: u16) -> Self {
        self.with(60, format!("PXEClient:Arch:{architecture:05}:UNDI:003000"))
            .with(93, architecture.to_be_bytes())
    }

    pub fn http(self, architecture: u16) -> Self {
        self.with(60, format!("HTTPClient:Arch:{architecture:05}:UNDI:003000"))
            .with(93, architecture.to_be_bytes())
    }

    pub fn ipxe(self, architecture: u16) -> Self {
        self.pxe(architecture)
            .with(77, "iPXE")
            .with(175, [19, 1, 1, 36, 1, 1])
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.fixed.clone();
        for (code, value) in &self.options {
            bytes.push(*code);
            bytes.push(u8::try_from(value.len()).expect("an option of up to 255 bytes"));
            bytes.extend(value);
        }
        bytes.push(255);
        bytes
    }
}

pub fn discover(mac: MacAddr) -> Packet {
    Packet::new(mac, 1)
}
pub fn request(mac: MacAddr) -> Packet {
    Packet::new(mac, 3)
}
/// SELECTING: takes this server's offer.
pub fn select(mac: MacAddr, ip: Ipv4Addr) -> Packet {
    request(mac).asks_for(ip).names_server(SERVER)
}
/// RENEWING or REBINDING.
pub fn renew(mac: MacAddr, ip: Ipv4Addr) -> Packet {
    request(mac).ciaddr(ip)
}
pub fn decline(mac: MacAddr, ip: Ipv4Addr) -> Packet {
    Packet::new(mac, 4).asks_for(ip).names_server(SERVER)
}
pub fn release(mac: MacAddr, ip: Ipv4Addr) -> Packet {
    Packet::new(mac, 7).ciaddr(ip).names_server(SERVER)
}
pub fn inform(mac: MacAddr, ip: Ipv4Addr) -> Packet {
    Packet::new(mac, 8).ciaddr(ip)
}

/// One server and a clock.
pub struct Lab {
    pub server: Responder,
    pub machines: Machines,
    now: Duration,
}

impl Lab {
    /// A lab in which machines 1 to 9 and the captured one may boot from the network.
    pub fn new(config: DhcpConfig) -> Self {
        let known = (1..10).map(mac).chain([CAPTURED]);
        let machines = Machines(known.map(|mac| (mac, netboot_machine())).collect());
        Self {
            server: Responder::new(config),
            machines,
            now: Duration::ZERO,
        }
    }

    /// Sets the clock to `seconds` since the start.
    pub fn at(&mut self, seconds: u64) -> &mut Self {
        let now = Duration::from_secs(seconds);
        assert!(now >= self.now, "the script goes back in time");
        self.now = now;
        self
    }

    pub fn now(&self) -> Duration {
        self.now
    }

    pub fn send(&mut self, packet: &Packet) -> Answer {
        self.send_bytes(&packet.bytes())
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> Answer {
        self.give(&Datagram::new(bytes))
    }

    pub fn give(&mut self, datagram: &Datagram<'_>) -> Answer {
        Answer(self.server.handle(self.now, datagram, &self.machines))
    }

    /// The packet comes to another interface than the first.
    pub fn send_on(&mut self, interface: usize, packet: &Packet) -> Answer {
        self.give(&Datagram {
            interface: InterfaceId(interface),
            ..Datagram::new(&packet.bytes())
        })
    }

    /// The packet comes to port 4011, from `from` and port 68.
    pub fn ask_4011(&mut self, from: Ipv4Addr, packet: &Packet) -> Answer {
        self.give(&Datagram {
            port: Port::Pxe,
            from: SocketAddrV4::new(from, 68),
            ..Datagram::new(&packet.bytes())
        })
    }

    /// DISCOVER, OFFER, REQUEST, ACK; gives the address.
    pub fn lease(&mut self, mac: MacAddr) -> Ipv4Addr {
        let ip = self.send(&discover(mac)).offered();
        self.send(&select(mac, ip)).acks(ip);
        ip
    }

    /// Who holds `ip` by the server's books.
    pub fn holder(&self, ip: Ipv4Addr) -> Option<MacAddr> {
        self.server.lease_of(self.now, ip)
    }
}

/// What came back, with expectations that read as a script.
#[derive(Debug)]
pub struct Answer(pub Outcome);

impl Answer {
    /// A reply by itself.
    pub fn of(reply: Reply) -> Self {
        Self(Outcome {
            reply: Some(reply),
            ..Outcome::default()
        })
    }

    pub fn reply(&self) -> &Reply {
        match &self.0.reply {
            Some(reply) => reply,
            None => panic!("no reply: {:?}", self.0.dropped),
        }
    }

    fn of_type(&self, message_type: u8) -> Fields {
        let fields = Fields::read(&self.reply().bytes);
        assert_eq!(fields.option(53), Some(&[message_type][..]), "{self:?}");
        assert_eq!(fields.option(54), Some(&SERVER.octets()[..]));
        fields
    }

    /// It is an OFFER; gives the address.
    pub fn offered(&self) -> Ipv4Addr {
        self.of_type(2).yiaddr
    }

    /// It is an ACK for `ip`.
    pub fn acks(&self, ip: Ipv4Addr) -> Fields {
        let fields = self.of_type(5);
        assert_eq!(fields.yiaddr, ip);
        fields
    }

    /// It is a NAK.
    pub fn naks(&self) -> Fields {
        let fields = self.of_type(6);
        assert!(fields.yiaddr.is_unspecified() && fields.siaddr.is_unspecified());
        fields
    }

    /// There is no reply and none is due: the lease ended, as `state`.
    pub fn ended(&self, state: LeaseState) -> &Ended {
        assert_eq!((&self.0.reply, &self.0.dropped), (&None, &None));
        let ended = self.0.ended.as_ref().expect("a lease that ended");
        assert_eq!(ended.state, state);
        ended
    }

    /// There is no reply, for a reason of this kind.
    pub fn dropped(&self, reason: DropReason) {
        assert_eq!(self.0.reply, None);
        let found = self.0.dropped.as_ref().map(|dropped| dropped.reason);
        assert_eq!(found, Some(reason), "{:?}", self.0.dropped);
    }

    /// The bootfile that the reply names.
    pub fn bootfile(&self) -> Option<&str> {
        self.reply().facts.bootfile.as_deref()
    }

    /// The option of the reply.
    pub fn option(&self, code: u8) -> Option<Vec<u8>> {
        Fields::read(&self.reply().bytes)
            .option(code)
            .map(<[u8]>::to_vec)
    }

    /// There is no reply, and the reason says `why`.
    pub fn silent(&self, why: &str) {
        assert_eq!(self.0.reply, None);
        let reason = match &self.0.dropped {
            Some(dropped) => dropped.to_string(),
            None => String::new(),
        };
        assert!(reason.contains(why), "`{reason}` does not say `{why}`");
    }
}

/// A reply as a client reads it.
#[derive(Debug)]
pub struct Fields {
    pub flags: u16,
    pub xid: [u8; 4],
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub file: Vec<u8>,
    /// In the order of the wire.
    pub options: Vec<(u8, Vec<u8>)>,
}

impl Fields {
    pub fn read(bytes: &[u8]) -> Self {
        assert_eq!(
            bytes[..4],
            [2, 1, 6, 0],
            "op, htype, hlen and hops of a reply"
        );
        assert_eq!(bytes[236..240], [99, 130, 83, 99]);
        let address =
            |at: usize| Ipv4Addr::from([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let file = &bytes[108..236];
        let end = file
            .iter()
            .position(|byte| *byte == 0)
            .expect("a NUL ends `file`");
        let mut options = Vec::new();
        let mut at = 240;
        while bytes[at] != 255 {
            let length = usize::from(bytes[at + 1]);
            options.push((bytes[at], bytes[at + 2..at + 2 + length].to_vec()));
            at += 2 + length;
        }
        assert!(
            bytes[at + 1..].iter().all(|byte| *byte == 0),
            "padding after the end"
        );
        Self {
            flags: u16::from_be_bytes([bytes[10], bytes[11]]),
            xid: [bytes[4], bytes[5], bytes[6], bytes[7]],
            ciaddr: address(12),
            yiaddr: address(16),
            siaddr: address(20),
            giaddr: address(24),
            file: file[..end].to_vec(),
            options,
        }
    }

    /// The whole value of an option that may come in parts (RFC 3396).
    pub fn whole(&self, code: u8) -> Vec<u8> {
        let parts = self.options.iter().filter(|(known, _)| *known == code);
        parts.flat_map(|(_, value)| value.clone()).collect()
    }

    pub fn option(&self, code: u8) -> Option<&[u8]> {
        let mut found = self.options.iter().filter(|(known, _)| *known == code);
        let value = found.next().map(|(_, value)| value.as_slice());
        assert!(found.next().is_none(), "option {code} twice");
        value
    }
}

/// A captured packet of `fixtures/packets/`.
pub fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/packets");
    let text = std::fs::read_to_string(format!("{folder}/{name}.hex")).expect("read fixture");
    let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
    (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect()
}
