//! A DHCPv4 client (RFC 2131) for where the loader left no address: four messages, no renewal, since the live
//! environment ends long before a lease does.
#![allow(
    unsafe_code,
    reason = "SO_BINDTODEVICE, which rustix does not have; see the SAFETY comment"
)]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bootgate_events::MacAddr;

use crate::cmdline::Address;
use crate::nics::Nic;

const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::BROADCAST, 67);
/// Waits for an answer: the first, and the longest of the doubling ones.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(8);
/// How long to go on.
const LIMIT: Duration = Duration::from_secs(60);
/// RFC 951: relays and old servers drop shorter messages.
const SHORTEST: usize = 300;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    kind: u8,
    ip: Ipv4Addr,
    prefix_len: u8,
    gateway: Option<Ipv4Addr>,
    server: Ipv4Addr,
}

/// Asks for an address.
pub(super) fn acquire(nic: &Nic) -> Result<Address, String> {
    let socket = open(nic).map_err(|error| format!("open DHCP socket: {error}"))?;
    let mut client = Client {
        socket: &socket,
        mac: nic.mac,
        xid: u32::from_ne_bytes(random()),
        give_up: Instant::now() + LIMIT,
        wait: FIRST_WAIT,
    };
    let found = client.run();
    let found = found.map_err(|error| format!("ask DHCP on `{}`: {error}", nic.name))?;
    Ok(Address {
        ip: found.ip.into(),
        prefix_len: found.prefix_len,
        gateway: found.gateway,
    })
}

fn random() -> [u8; 4] {
    let [a, b, c, d, ..] = RandomState::new().build_hasher().finish().to_ne_bytes();
    [a, b, c, d]
}

fn open(nic: &Nic) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68))?;
    socket.set_broadcast(true)?;
    let name = nic.name.as_bytes();
    let length = libc::socklen_t::try_from(name.len()).map_err(io::Error::other)?;
    // SAFETY: the pointer and the length describe `name`, which lives across the call; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_BINDTODEVICE,
            name.as_ptr().cast(),
            length,
        )
    };
    match result {
        0 => Ok(socket),
        _ => Err(io::Error::last_os_error()),
    }
}

struct Client<'a> {
    socket: &'a UdpSocket,
    mac: MacAddr,
    xid: u32,
    give_up: Instant,
    wait: Duration,
}

impl Client<'_> {
    fn run(&mut self) -> io::Result<Answer> {
        loop {
            let Some(offer) = self.exchange(DISCOVER, None)? else {
                continue;
            };
            let answer = self.exchange(REQUEST, Some(offer))?;
            if let Some(ack) = answer.filter(|answer| answer.kind == ACK) {
                return Ok(ack);
            }
        }
    }

    /// Sends a message and waits for its answer; nothing when none came, and the next wait is longer.
    fn exchange(&mut self, kind: u8, offer: Option<Answer>) -> io::Result<Option<Answer>> {
        if Instant::now() >= self.give_up {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", LIMIT.as_secs()),
            ));
        }
        let message = message(kind, self.xid, &self.mac, offer);
        self.socket.send_to(&message, SERVER)?;
        let deadline = Instant::now() + self.wait;
        let mut buffer = [0; 1500];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.wait = (self.wait * 2).min(LONGEST_WAIT);
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let (count, from) = match self.socket.recv_from(&mut buffer) {
                Ok(received) => received,
                Err(error) if passes(&error) => continue,
                Err(error) => return Err(error),
            };
            let answer = parse(&buffer[..count], self.xid, &self.mac, from);
            let wanted = |answer: &Answer| match kind {
                DISCOVER => answer.kind == OFFER,
                _ => answer.kind == ACK || answer.kind == NAK,
            };
            if let Some(answer) = answer.filter(wanted) {
                return Ok(Some(answer));
            }
        }
    }
}

fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// RFC 2131, figure 1. The broadcast flag is set: an address that is not set yet receives nothing.
fn message(kind: u8, xid: u32, mac: &MacAddr, offer: Option<Answer>) -> Vec<u8> {
    let mut bytes = vec![0; 236];
    bytes[..4].copy_from_slice(&[1, 1, 6, 0]);
    bytes[4..8].copy_from_slice(&xid.to_be_bytes());
    bytes[10] = 0x80;
    bytes[28..34].copy_from_slice(&mac.0);
    bytes.extend(COOKIE);
    bytes.extend([53, 1, kind]);
    if let Some(offer) = offer {
        bytes.extend([50, 4]);
        bytes.extend(offer.ip.octets());
        bytes.extend([54, 4]);
        bytes.extend(offer.server.octets());
    }
    // Netmask, router, lease time, server.
    bytes.extend([55, 4, 1, 3, 51, 54]);
    bytes.extend([60, 14]);
    bytes.extend(b"bootgate-agent");
    bytes.push(255);
    bytes.resize(bytes.len().max(SHORTEST), 0);
    bytes
}

/// An answer to us, or nothing: another client's, a request, or bytes that make no sense.
fn parse(bytes: &[u8], xid: u32, mac: &MacAddr, from: SocketAddr) -> Option<Answer> {
    let ours = bytes.get(..3)? == [2, 1, 6]
        && bytes.get(4..8)? == xid.to_be_bytes()
        && bytes.get(28..34)? == mac.0
        && bytes.get(236..240)? == COOKIE;
    if !ours {
        return None;
    }
    let SocketAddr::V4(from) = from else {
        return None;
    };
    let mut answer = Answer {
        kind: 0,
        ip: four(bytes.get(16..20)?)?,
        prefix_len: 32,
        gateway: None,
        server: *from.ip(),
    };
    let mut rest = bytes.get(240..)?;
    while let [code, tail @ ..] = rest {
        match code {
            0 => rest = tail,
            255 => break,
            code => {
                let (&length, tail) = tail.split_first()?;
                let (value, after) = tail.split_at_checked(length.into())?;
                answer.take(*code, value);
                rest = after;
            }
        }
    }
    (answer.kind != 0).then_some(answer)
}

impl Answer {
    fn take(&mut self, code: u8, value: &[u8]) {
        let ip = value.get(..4).and_then(four);
        match (code, ip) {
            (1, Some(mask)) => {
                self.prefix_len = crate::cmdline::prefix_len(&mask.to_string()).unwrap_or(32);
            }
            (3, Some(gateway)) => self.gateway = Some(gateway),
            (54, Some(server)) => self.server = server,
            (53, _) => self.kind = value.first().copied().unwrap_or(0),
            _ => {}
        }
    }
}

fn four(bytes: &[u8]) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.try_into().ok()?;
    Some(octets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

    fn from() -> SocketAddr {
        "10.77.0.1:67".parse().unwrap()
    }

    fn answer(kind: u8) -> Vec<u8> {
        let mut bytes = message(kind, 7, &MAC, None);
        bytes[0] = 2;
        bytes[16..20].copy_from_slice(&[10, 77, 0, 10]);
        bytes.truncate(243);
        bytes.extend([1, 4, 255, 255, 240, 0, 0, 3, 4, 10, 77, 0, 1]);
        bytes.extend([54, 4, 10, 77, 0, 2, 255]);
        bytes
    }

    #[test]
    fn an_offer_is_read() {
        let offer = parse(&answer(OFFER), 7, &MAC, from()).unwrap();
        assert_eq!(
            offer,
            Answer {
                kind: OFFER,
                ip: Ipv4Addr::new(10, 77, 0, 10),
                prefix_len: 20,
                gateway: Some(Ipv4Addr::new(10, 77, 0, 1)),
                server: Ipv4Addr::new(10, 77, 0, 2),
            }
        );
    }

    #[test]
    fn others_answers_and_cut_ones_are_left() {
        let whole = answer(ACK);
        assert_eq!(parse(&whole, 8, &MAC, from()), None);
        assert_eq!(parse(&whole, 7, &MacAddr([1; 6]), from()), None);
        // Cut inside an option nothing is believed; cut between options what is there counts.
        for length in 0..whole.len() {
            if let Some(answer) = parse(&whole[..length], 7, &MAC, from()) {
                assert!(length >= 243, "{length}");
                assert_eq!(answer.kind, ACK);
            }
        }
        assert_eq!(
            parse(&whole[..250], 7, &MAC, from()).map(|a| a.kind),
            Some(ACK)
        );
        assert_eq!(parse(&whole[..252], 7, &MAC, from()), None);
    }

    #[test]
    fn a_request_names_the_offer() {
        let offer = parse(&answer(OFFER), 7, &MAC, from());
        let bytes = message(REQUEST, 7, &MAC, offer);
        assert_eq!(bytes.len(), SHORTEST);
        assert_eq!(
            bytes[240..255],
            [53, 1, 3, 50, 4, 10, 77, 0, 10, 54, 4, 10, 77, 0, 2]
        );
    }
}
