//! A relay agent in a namespace of its own, with any number of clients behind it.
#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::lab::{IFACE, SERVER, sh};

/// The relay's address, on the same network as the server.
pub const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 250);

/// Makes the interface that is served, and the relay's end of the cable in the namespace `client`.
pub fn cable() {
    sh(&format!(
        "ip link set lo up; ip link add {IFACE} type veth peer name cli0; ip addr add {SERVER}/16 dev {IFACE}; ip link set {IFACE} up
         mount -t tmpfs none /run; mkdir -p /run/netns; ip netns add client; ip link set cli0 netns client
         ip -n client addr add {RELAY}/16 dev cli0; ip -n client link set cli0 up"
    ));
}

/// A relay agent with clients behind it: it may use ordinary sockets.
pub struct Relay {
    socket: UdpSocket,
    /// Addresses that were acknowledged, and whose they are.
    pub acked: BTreeMap<Ipv4Addr, u32>,
    /// Every client that ever asked.
    pub asked: BTreeSet<u32>,
    /// Nonces that machines were given: whose, at which address, and the secret.
    pub nonces: BTreeMap<u32, (Ipv4Addr, String)>,
}

/// Options of an iPXE that a BIOS machine has in its ROM.
pub const IPXE: &[u8] =
    b"\x3c\x20PXEClient:Arch:00000:UNDI:002001\x5d\x02\x00\x00\x4d\x04iPXE\xaf\x03\x13\x01\x01";

pub fn mac_of(client: u32) -> String {
    let [a, b, c, d] = client.to_be_bytes();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

impl Relay {
    /// A relay at the client's end of the cable ([`cable`]).
    pub fn new() -> Self {
        Self {
            socket: socket_in_client(),
            acked: BTreeMap::new(),
            asked: BTreeSet::new(),
            nonces: BTreeMap::new(),
        }
    }

    /// Sends a message and does not wait for an answer.
    pub fn send(&self, packet: &[u8]) {
        let _ = self.socket.send_to(packet, (SERVER, 67));
    }

    pub fn message(client: u32, kind: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 236];
        packet[..4].copy_from_slice(&[1, 1, 6, 1]);
        packet[4..8].copy_from_slice(&client.to_be_bytes());
        packet[24..28].copy_from_slice(&RELAY.octets());
        packet[28..30].copy_from_slice(&[2, 0]);
        packet[30..34].copy_from_slice(&client.to_be_bytes());
        packet.extend([99, 130, 83, 99, 53, 1, kind]);
        packet.extend(options);
        packet.push(255);
        packet
    }

    /// Asks for a new client's address, and takes what is offered. Gives up where nobody answers: the server may be
    /// dead.
    pub fn lease(&mut self, client: u32, class: &[u8]) -> Option<Ipv4Addr> {
        self.asked.insert(client);
        let offer = self.exchange(client, &Self::message(client, 1, class))?;
        let ip = Ipv4Addr::new(offer[16], offer[17], offer[18], offer[19]);
        let mut options = vec![50, 4];
        options.extend(ip.octets());
        options.extend([54, 4, 10, 77, 0, 1]);
        options.extend(class);
        let reply = self.exchange(client, &Self::message(client, 3, &options))?;
        if kind_of(&reply) == 5 {
            self.acked.insert(ip, client);
            return Some(ip);
        }
        None
    }

    /// A machine boots as far as its script, if the server lives so long.
    pub fn boot(&mut self, client: u32) -> Option<()> {
        let ip = self.lease(client, IPXE)?;
        let mac = mac_of(client).replace(':', "-");
        let script = in_client(&format!(
            "ip addr add {ip}/16 dev cli0; curl -sf --max-time 2 --interface {ip} http://{SERVER}/boot/{mac}/boot.ipxe"
        ));
        let (_, rest) = script.split_once("bootgate.nonce=")?;
        let nonce = rest.split_whitespace().next()?.to_owned();
        self.nonces.insert(client, (ip, nonce));
        Some(())
    }

    fn exchange(&self, client: u32, packet: &[u8]) -> Option<Vec<u8>> {
        self.socket.send_to(packet, (SERVER, 67)).ok()?;
        let mut buffer = [0; 1500];
        loop {
            let (len, _) = self.socket.recv_from(&mut buffer).ok()?;
            // A reply to a client before this one came late.
            if len > 243 && buffer[4..8] == client.to_be_bytes() {
                return Some(buffer[..len].to_vec());
            }
        }
    }
}

/// Option 53, which the server puts first.
fn kind_of(reply: &[u8]) -> u8 {
    let options = &reply[240..];
    let at = options.windows(2).position(|pair| pair == [53, 1]);
    options[at.expect("a DHCP message type") + 2]
}

/// Runs a line in the client's namespace; what it printed.
pub fn in_client(line: &str) -> String {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "client", "sh", "-c", line]);
    let output = command.stdin(Stdio::null()).output().expect("run a client");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A socket of the client's namespace, made by a thread that moved there.
fn socket_in_client() -> UdpSocket {
    let made = std::thread::spawn(|| {
        let namespace = std::fs::File::open("/run/netns/client").expect("the namespace");
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&namespace),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .expect("enter the namespace");
        UdpSocket::bind((RELAY, 67)).expect("the relay's socket")
    });
    let socket = made.join().expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a time limit");
    socket
}
