//! A client's side of a wire: what QEMU and the guest behind it would do, with frames made by hand.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bootgate_hostnet::Port;
use bootgate_hostnet::wire::{Wire, WireConfig, WireHandle, client_pair};

/// How long anything may take before a scenario fails.
pub const PATIENCE: Duration = Duration::from_secs(10);

pub const ARP: u16 = 0x0806;
pub const IPV4: u16 = 0x0800;
pub const BROADCAST: [u8; 6] = [0xff; 6];

pub struct Client {
    pub stream: UnixStream,
    pub mac: [u8; 6],
    pub ip: Ipv4Addr,
    /// EtherTypes of all frames that came in.
    pub seen: Vec<u16>,
}

impl Client {
    /// Connects a client with host number `host` to a port.
    pub fn connect(port: &Port, host: u8, config: WireConfig) -> (Self, WireHandle) {
        let (ours, theirs) = client_pair().unwrap();
        let wire = Wire::spawn(theirs, port, config).unwrap();
        (Self::new(ours, host), wire)
    }

    pub fn new(stream: OwnedFd, host: u8) -> Self {
        let stream = UnixStream::from(stream);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            stream,
            mac: [0x52, 0x54, 0, 0, 0, host],
            ip: Ipv4Addr::new(10, 77, 0, host),
            seen: Vec::new(),
        }
    }

    pub fn send(&mut self, frame: &[u8]) {
        let mut bytes = (frame.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(frame);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next frame, but `None` when the wire closes.
    pub fn next_frame(&mut self) -> Option<Vec<u8>> {
        let mut prefix = [0; 4];
        match self.stream.read_exact(&mut prefix) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return None,
            other => other.expect("a frame in time"),
        }
        let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
        self.stream.read_exact(&mut frame).unwrap();
        self.seen.push(u16::from_be_bytes([frame[12], frame[13]]));
        Some(frame)
    }

    /// The next frame that `wanted` takes; answers ARP requests for this client meanwhile.
    pub fn until<T>(&mut self, mut wanted: impl FnMut(&[u8]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let frame = self.next_frame().expect("the wire is open");
            if let Some(found) = wanted(&frame) {
                return found;
            }
            let asks = frame[12..14] == ARP.to_be_bytes() && frame[20..22] == [0, 1];
            if asks && frame[38..42] == self.ip.octets() {
                let asker: [u8; 6] = frame[6..12].try_into().unwrap();
                let asker_ip = Ipv4Addr::new(frame[28], frame[29], frame[30], frame[31]);
                self.arp(2, asker, asker_ip);
            }
        }
        panic!("the wanted frame did not come");
    }

    fn arp(&mut self, operation: u8, to: [u8; 6], target: Ipv4Addr) {
        let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
        body.extend_from_slice(&self.mac);
        body.extend_from_slice(&self.ip.octets());
        body.extend_from_slice(&if to == BROADCAST { [0; 6] } else { to });
        body.extend_from_slice(&target.octets());
        let frame = ethernet(to, self.mac, ARP, &body);
        self.send(&frame);
    }

    /// Asks who has `target`.
    pub fn resolve(&mut self, target: Ipv4Addr) -> [u8; 6] {
        self.arp(1, BROADCAST, target);
        self.until(|frame| {
            let answer = frame[12..14] == ARP.to_be_bytes()
                && frame[20..22] == [0, 2]
                && frame[28..32] == target.octets();
            answer.then(|| frame[22..28].try_into().unwrap())
        })
    }

    /// Sends a datagram from `port`.
    pub fn udp(&mut self, mac: [u8; 6], port: u16, to: SocketAddrV4, payload: &[u8]) {
        let frame = udp_frame(self.mac, mac, SocketAddrV4::new(self.ip, port), to, payload);
        self.send(&frame);
    }

    /// The next datagram to `port`, with its checksum proven.
    pub fn datagram(&mut self, port: u16) -> (SocketAddrV4, Vec<u8>) {
        self.until(|frame| parse_udp(frame).filter(|(_, to, _)| to.port() == port))
            .into_parts()
    }
}

trait IntoParts {
    fn into_parts(self) -> (SocketAddrV4, Vec<u8>);
}

impl IntoParts for (SocketAddrV4, SocketAddrV4, Vec<u8>) {
    fn into_parts(self) -> (SocketAddrV4, Vec<u8>) {
        (self.0, self.2)
    }
}

pub fn ethernet(to: [u8; 6], from: [u8; 6], ethertype: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend_from_slice(&to);
    frame.extend_from_slice(&from);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(body);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// A whole UDP frame; its UDP checksum is left out, as RFC 768 allows.
pub fn udp_frame(
    from_mac: [u8; 6],
    to_mac: [u8; 6],
    from: SocketAddrV4,
    to: SocketAddrV4,
    payload: &[u8],
) -> Vec<u8> {
    let mut ip = vec![0x45, 0];
    ip.extend_from_slice(&(28 + payload.len() as u16).to_be_bytes());
    ip.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    ip.extend_from_slice(&from.ip().octets());
    ip.extend_from_slice(&to.ip().octets());
    let sum = !sum(0, &ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    ip.extend_from_slice(&from.port().to_be_bytes());
    ip.extend_from_slice(&to.port().to_be_bytes());
    ip.extend_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    ip.extend_from_slice(&[0, 0]);
    ip.extend_from_slice(payload);
    ethernet(to_mac, from_mac, IPV4, &ip)
}

/// Source, destination and payload of a UDP frame. Panics where a checksum is wrong or missing.
pub fn parse_udp(frame: &[u8]) -> Option<(SocketAddrV4, SocketAddrV4, Vec<u8>)> {
    if frame[12..14] != IPV4.to_be_bytes() || frame[14] != 0x45 || frame[23] != 17 {
        return None;
    }
    assert_eq!(sum(0, &frame[14..34]), 0xffff, "the IP checksum");
    let udp = &frame[34..14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]))];
    let pseudo = sum(17 + udp.len() as u32, &frame[26..34]);
    assert_eq!(
        sum(u32::from(pseudo), udp),
        0xffff,
        "the UDP checksum is complete"
    );
    let address = |at: usize, port: usize| {
        SocketAddrV4::new(
            Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3]),
            u16::from_be_bytes([frame[port], frame[port + 1]]),
        )
    };
    Some((address(26, 34), address(30, 36), udp[8..].to_vec()))
}

/// Ones' complement sum of RFC 1071.
fn sum(start: u32, bytes: &[u8]) -> u16 {
    let mut total = start;
    for pair in bytes.chunks(2) {
        total += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}
