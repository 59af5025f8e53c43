//! SIGKILL at any moment: no lease, armed flash or attempt that was acknowledged is lost, and none is invented.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bootgate_testkit::{in_namespaces, require_commands, require_root};
use lab::{IFACE, Lab, SERVER, serving, sh};

const KILLS: u32 = 50;
const FIRST_MACHINE: u32 = 0xff00_0000;
const RELAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 250);

/// A relay agent with clients behind it: it may use ordinary sockets.
struct Relay {
    socket: UdpSocket,
    /// Addresses that were acknowledged, and whose they are.
    acked: BTreeMap<Ipv4Addr, u32>,
    /// Every client that ever asked.
    asked: BTreeSet<u32>,
    /// Nonces that machines were given: whose, at which address, and the secret.
    nonces: BTreeMap<u32, (Ipv4Addr, String)>,
}

/// Options of an iPXE that a BIOS machine has in its ROM.
const IPXE: &[u8] =
    b"\x3c\x20PXEClient:Arch:00000:UNDI:002001\x5d\x02\x00\x00\x4d\x04iPXE\xaf\x03\x13\x01\x01";

fn mac_of(client: u32) -> String {
    let [a, b, c, d] = client.to_be_bytes();
    format!("02:00:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

impl Relay {
    fn message(client: u32, kind: u8, options: &[u8]) -> Vec<u8> {
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
    fn lease(&mut self, client: u32, class: &[u8]) -> Option<Ipv4Addr> {
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
    fn boot(&mut self, client: u32) -> Option<()> {
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
fn in_client(line: &str) -> String {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", "client", "sh", "-c", line]);
    let output = command.stdin(Stdio::null()).output().expect("run a client");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A row of numbers that follows from the seed (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn nothing_acknowledged_is_lost_when_the_server_is_killed_at_any_moment() {
    require_root!();
    require_commands!("ip", "curl");
    let ran = in_namespaces(|| {
        let seed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("a clock")
            .subsec_nanos();
        println!("seed {seed}");
        let mut dice = Dice(u64::from(seed) | 1);
        sh(&format!(
            "ip link set lo up; ip link add {IFACE} type veth peer name cli0; ip addr add {SERVER}/16 dev {IFACE}; ip link set {IFACE} up
             mount -t tmpfs none /run; mkdir -p /run/netns; ip netns add client; ip link set cli0 netns client
             ip -n client addr add {RELAY}/16 dev cli0; ip -n client link set cli0 up"
        ));
        let mut lab = lab();
        let mut relay = Relay {
            socket: socket_in_client(),
            acked: BTreeMap::new(),
            asked: BTreeSet::new(),
            nonces: BTreeMap::new(),
        };
        let mut armed: BTreeSet<u32> = BTreeSet::new();
        let mut client = 0;
        for round in 0..KILLS {
            lab.serve();
            // What was given before the server died is still good.
            if let Some((client, (ip, nonce))) = relay.nonces.last_key_value() {
                let path = format!("http://{SERVER}/api/v1/attempts/{nonce}/plan");
                let plan = in_client(&format!("curl -s --max-time 5 --interface {ip} {path}"));
                assert!(
                    plan.contains("flash"),
                    "round {round}: {} has {plan}",
                    mac_of(*client)
                );
            }
            let end = Instant::now() + Duration::from_micros(dice.below(400_000));
            // One order for a flash goes in beside the leases; whether it is acknowledged is seen by its exit code.
            let machine = FIRST_MACHINE + round;
            let mut order = Command::new(lab::BOOTGATE)
                .args([
                    "machine",
                    "arm",
                    &mac_of(machine),
                    "--image",
                    "small",
                    "--disk",
                    "path=/dev/vda",
                ])
                .env("BOOTGATE_STATE", lab.path("state"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("an operator");
            let killed = std::thread::scope(|scope| {
                let pid = lab.pid();
                let killer = scope.spawn(move || {
                    std::thread::park_timeout(end.saturating_duration_since(Instant::now()));
                    sh(&format!("kill -KILL {pid}"));
                });
                // A machine that was armed in the round before boots.
                if let Some(machine) = machine.checked_sub(1).filter(|m| armed.contains(m)) {
                    let _ = relay.boot(machine);
                }
                while !killer.is_finished() {
                    client += 1;
                    let _ = relay.lease(client, &[]);
                }
                killer.join()
            });
            killed.expect("killed");
            lab.kill();
            if order.wait().expect("the operator ends").success() {
                armed.insert(machine);
            }
            check(&lab, &relay, &armed, round);
        }
        assert!(
            relay.nonces.len() > 5,
            "{} machines booted",
            relay.nonces.len()
        );
        assert!(
            relay.acked.len() > 100,
            "{} leases were granted",
            relay.acked.len()
        );
        println!(
            "{} leases, {} orders acknowledged over {KILLS} kills",
            relay.acked.len(),
            armed.len()
        );
    });
    assert!(ran);
}

fn lab() -> Lab {
    let more = r#"
[limits]
leases = 60000

[live]
kernel = "@/none"
initrd = ["@/none"]

[[image]]
name = "small"
folder = "@/small"
"#;
    let lab = Lab::new(&serving(16, "10.77.1.0-10.77.250.255", more));
    std::fs::write(lab.path("none"), "x").expect("a file");
    let raw = lab.path("raw");
    std::fs::write(&raw, vec![7; 1 << 20]).expect("an image");
    let (raw, out) = (
        raw.display().to_string(),
        lab.path("small").display().to_string(),
    );
    lab.bootgate(&["media", "chunks", &raw, "--out", &out]);
    lab
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

/// What was acknowledged is there, and nothing else is.
fn check(lab: &Lab, relay: &Relay, armed: &BTreeSet<u32>, round: u32) {
    let leases = lab.list(&["lease", "list"]);
    let mut stored = BTreeMap::new();
    for lease in &leases {
        let ip: Ipv4Addr = lease["ip"]
            .as_str()
            .expect("an address")
            .parse()
            .expect("an address");
        stored.insert(ip, lease["mac"].as_str().expect("a machine").to_owned());
    }
    for (ip, client) in &relay.acked {
        assert_eq!(
            stored.get(ip),
            Some(&mac_of(*client)),
            "round {round}: {ip} was acknowledged"
        );
    }
    let asked: BTreeSet<String> = relay.asked.iter().map(|client| mac_of(*client)).collect();
    for (ip, mac) in &stored {
        assert!(
            asked.contains(mac),
            "round {round}: {ip} is {mac}'s, which never asked"
        );
    }
    let machines = lab.list(&["machine", "list"]);
    for mac in armed {
        let mac = mac_of(*mac);
        let machine = machines.iter().find(|machine| machine["mac"] == *mac);
        let mode = machine.map(|machine| machine["boot"]["mode"].clone());
        assert_eq!(
            mode,
            Some("flash-once".into()),
            "round {round}: {mac} was armed"
        );
    }
    assert!(
        machines.len() <= round as usize + 1,
        "round {round}: machines out of nowhere"
    );
    let attempts = lab.list(&["attempt", "list", "--limit", "1000"]);
    for client in relay.nonces.keys() {
        let attempt = attempts
            .iter()
            .find(|attempt| attempt["mac"] == *mac_of(*client));
        let nonces = attempt.and_then(|attempt| attempt["nonces"].as_u64());
        assert_eq!(
            nonces,
            Some(1),
            "round {round}: {} was given a nonce",
            mac_of(*client)
        );
    }
    for attempt in &attempts {
        let mac = attempt["mac"].as_str().expect("a machine");
        assert!(asked.contains(mac), "round {round}: {mac} never booted");
    }
}
