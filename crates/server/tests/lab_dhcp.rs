//! A lab's DHCP server before real clients: leases are durable before their ACKs leave, several networks in one
//! server, relays, other DHCP servers, floods.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;
#[path = "common/lan.rs"]
mod lan;
#[path = "common/segment.rs"]
mod segment;
#[path = "common/store.rs"]
mod store;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bootgate_api::{LeaseState, UnixMicros};
use bootgate_events::{EventKind, MacAddr};
use bootgate_hostnet::host::HostInterface;
use bootgate_netboot::dhcp::probe::{discover, request_4011};
use bootgate_netboot::dhcp::{DhcpConfig, DhcpMode, InterfaceId, ServerMessage, SubnetConfig};
use bootgate_netboot::frame::udp4_frame;
use bootgate_server::{Bootfiles, MachineBoot, MachineConfig, ScriptBoot};
use bootgate_store::Store;
use bootgate_store::sqlite::Sqlite;
use bootgate_testkit::{require_commands, skip};
use common::PATIENCE;
use lan::{ETH, Host, Lab, Lan, interface, value};
use segment::in_namespaces;
use store::{FakeStore, Mood};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 50);
const LAST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 99);

const A: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0xa]);
const B: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0xb]);

fn config() -> DhcpConfig {
    let mut config = DhcpConfig::new(SERVER, 24, FIRST..=LAST);
    config.interfaces[0].name = "br0".to_owned();
    config
}

async fn lan() -> Lan {
    Lan::new("br0", "10.1.0.1/24").await
}

fn hardware_address(interface: &str) -> MacAddr {
    HostInterface::open(interface).expect("an interface").mac
}

/// Waits until this holds, looking again whenever the server told something.
async fn until(lab: &Lab, what: &str, holds: impl Fn() -> bool) {
    lab.facts.wait(what, |_| holds().then_some(())).await;
}

macro_rules! in_private_networks {
    ($test:expr) => {
        if !in_namespaces($test) {
            skip!("needs root for network namespaces");
        }
    };
}

#[test]
fn no_ack_leaves_before_the_store_has_the_lease() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    in_private_networks!(|| async {
        let lan = lan().await;
        let store = Arc::<FakeStore>::default();
        store.set(Mood::Waits);
        let lab = Lab::start(config(), Some(Arc::clone(&store) as _)).await;
        let capture = lan.capture();
        let host = lan.host(A).await;
        let bound = host.address(20);
        let watched = async {
            // It says its REQUEST again and again, and hears nothing but offers.
            until(&lab, "third request", || lab.received(A, "request") >= 3).await;
            assert!(store.waiting(), "the first grant is with the store");
            let replies = capture.replies();
            assert!(!replies.is_empty());
            for reply in replies {
                assert_eq!(reply.facts.message, ServerMessage::Offer);
            }
            store.set(Mood::Works);
        };
        let (address, ()) = tokio::join!(bound, watched);
        let address = address.expect("it is bound once the lease is durable");
        let lease = store
            .lease(IpAddr::V4(address))
            .expect("the lease is in the store");
        assert_eq!((lease.mac, lease.state), (A, LeaseState::Leased));
        lab.stop().await;
    });
}

#[test]
fn a_full_disk_stops_acks_and_nothing_else() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    in_private_networks!(|| async {
        let lan = lan().await;
        let store = Arc::<FakeStore>::default();
        store.set(Mood::Full);
        let lab = Lab::start(config(), Some(Arc::clone(&store) as _)).await;
        let capture = lan.capture();
        let host = lan.host(A).await;
        assert_eq!(host.address(2).await, None);
        let acks = |replies: &[lan::SeenReply]| {
            let acks = replies
                .iter()
                .filter(|r| r.facts.message == ServerMessage::Ack);
            acks.count()
        };
        let replies = capture.replies();
        assert!(!replies.is_empty() && acks(&replies) == 0, "{replies:?}");
        let dropped = lab.drops("store-full");
        assert!(dropped >= 2, "{:?}", lab.shared.drops());
        assert_eq!(
            lab.facts.count("server-failed"),
            1,
            "told once, not for each packet"
        );
        let now = lab.shared.now();
        assert_eq!(lab.shared.responder().leases(now), [], "nobody has a lease");
        store.set(Mood::Works);
        assert!(
            host.address(5).await.is_some(),
            "it goes on when there is room"
        );
        assert_eq!(acks(&capture.replies()), 1);
        lab.stop().await;
    });
}

#[test]
fn leases_outlive_the_server() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    in_private_networks!(|| async {
        let lan = lan().await;
        let store = Arc::<FakeStore>::default();
        let lab = Lab::start(config(), Some(Arc::clone(&store) as _)).await;
        let (a, b) = (lan.host(A).await, lan.host(B).await);
        let first = a.address(5).await.expect("A is bound");
        let before = store.lease(IpAddr::V4(first)).unwrap();
        lab.stop().await;

        let lab = Lab::start(config(), Some(Arc::clone(&store) as _)).await;
        let now = lab.shared.now();
        assert_eq!(lab.shared.responder().lease_of(now, first), Some(A));
        // B asks for A's address by name, and gets another one.
        let told = b
            .udhcpc(5, &["-r", &first.to_string()])
            .await
            .expect("B is bound");
        assert_ne!(value(&told, "ip"), first.to_string());
        assert_eq!(a.address(5).await, Some(first), "A gets its own again");
        let after = store.lease(IpAddr::V4(first)).unwrap();
        assert!(after.ends > before.ends, "{before:?} {after:?}");
        lab.stop().await;
    });
}

#[test]
fn an_address_that_another_holds_in_the_store_is_refused() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    in_private_networks!(|| async {
        let lan = lan().await;
        let store = Arc::<FakeStore>::default();
        let lab = Lab::start(config(), Some(Arc::clone(&store) as _)).await;
        let host = lan.host(A).await;
        // Another server of the same store granted it since this one read the leases.
        let taken = Ipv4Addr::new(10, 1, 0, 60);
        store.put(IpAddr::V4(taken), B, UnixMicros(u64::MAX / 2));
        let told = host.udhcpc(10, &["-r", &taken.to_string()]).await;
        let address = value(&told.expect("it is bound"), "ip");
        assert_ne!(address, taken.to_string());
        let naks = lab.facts.kinds();
        let naks = naks.iter().filter(
            |kind| matches!(kind, EventKind::DhcpSent { facts, .. } if facts.message == "nak"),
        );
        assert_eq!(naks.count(), 1, "the client is told so at once");
        assert_eq!(store.lease(IpAddr::V4(taken)).unwrap().mac, B);
        lab.stop().await;
    });
}

#[test]
fn a_release_is_written_through() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    in_private_networks!(|| async {
        let lan = lan().await;
        let store = Arc::<FakeStore>::default();
        let lab = Lab::start(config(), Some(Arc::clone(&store) as _)).await;
        let host = lan.host(A).await;
        let script = host.script(
            "udhcpc.sh",
            &format!("[ \"$1\" = bound ] && ip addr replace $ip/24 dev {ETH}"),
        );
        let mut client = host.start(&["udhcpc", "-i", ETH, "-f", "-R", "-s", &script]);
        let address = lab
            .facts
            .wait("ack", |fact| match &fact.kind {
                EventKind::DhcpSent { facts, .. } if facts.message == "ack" => facts.address,
                _ => None,
            })
            .await;
        assert_eq!(store.lease(address).unwrap().state, LeaseState::Leased);
        // It gives the address back from the address, so it must have it.
        let configured = Instant::now();
        while !host
            .run(&["ip", "addr", "show", ETH])
            .await
            .contains("10.1.0.")
        {
            assert!(configured.elapsed() < PATIENCE);
        }
        let pid = client.id().unwrap().to_string();
        assert!(common::run("kill", &[&pid]).await.status.success());
        client.wait().await.unwrap();
        until(&lab, "release", || lab.received(A, "release") == 1).await;
        lab.stop().await;
        assert_eq!(store.lease(address).unwrap().state, LeaseState::Ended);
    });
}

#[test]
fn two_interfaces_have_their_own_subnets_in_one_server() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    in_private_networks!(|| async {
        let lan = lan().await;
        let other = Lan::new("br1", "10.2.0.1/24").await;
        let mut config = config();
        let second = Ipv4Addr::new(10, 2, 0, 1);
        config.interfaces.push(interface("br1", second, 24));
        let range = Ipv4Addr::new(10, 2, 0, 50)..=Ipv4Addr::new(10, 2, 0, 99);
        let mut subnet = SubnetConfig::new(second, 24, range);
        subnet.interfaces.push(InterfaceId(1));
        config.subnets.push(subnet);
        let store = Arc::<FakeStore>::default();
        let lab = Lab::start(config, Some(Arc::clone(&store) as _)).await;
        let (a, b) = (lan.host(A).await, other.host(B).await);
        for (host, server, network) in [(&a, "10.1.0.1", "10.1.0."), (&b, "10.2.0.1", "10.2.0.")] {
            let told = host.udhcpc(5, &[]).await.expect("it is bound");
            assert!(value(&told, "ip").starts_with(network), "{told}");
            assert_eq!(value(&told, "serverid"), server);
        }
        // The same machine, carried to the other network, gets an address there.
        drop((a, b));
        let moved = other.host(A).await;
        let told = moved.udhcpc(5, &[]).await.expect("it is bound");
        assert!(value(&told, "ip").starts_with("10.2.0."), "{told}");
        lab.stop().await;
    });
}

#[test]
fn a_relays_clients_get_addresses_of_their_own_network() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "dhcrelay");
    in_private_networks!(|| async {
        let lan = lan().await;
        // The far network hangs on no interface of the server's: only the relay is on both.
        let far = Lan::new("br9", "192.0.2.1/32").await;
        let relay = Host::new();
        relay.plug(&lan, "near", MacAddr([2, 0, 0, 0, 0, 1])).await;
        relay.plug(&far, "far", MacAddr([2, 0, 0, 0, 0, 2])).await;
        relay
            .run(&["ip", "addr", "add", "10.1.0.2/24", "dev", "near"])
            .await;
        relay
            .run(&["ip", "addr", "add", "10.9.0.1/24", "dev", "far"])
            .await;
        lan::ip("route add 10.9.0.0/24 via 10.1.0.2").await;
        let mut config = config();
        let range = Ipv4Addr::new(10, 9, 0, 50)..=Ipv4Addr::new(10, 9, 0, 99);
        config
            .subnets
            .push(SubnetConfig::new(Ipv4Addr::new(10, 9, 0, 0), 24, range));
        let store = Arc::<FakeStore>::default();
        let lab = Lab::start(config, Some(Arc::clone(&store) as _)).await;
        // It adds option 82 and drops replies that do not bring it back (`-a -m discard`).
        let pid = relay.folder.path().join("dhcrelay.pid");
        let command = [
            "dhcrelay",
            "-4",
            "-d",
            "-a",
            "-D",
            "-m",
            "discard",
            "-pf",
            pid.to_str().unwrap(),
            "-i",
            "near",
            "-i",
            "far",
            "10.1.0.1",
        ];
        let mut running = relay.start(&command);
        let host = far.host(A).await;
        let told = host.udhcpc(10, &[]).await.expect("it is bound");
        assert!(value(&told, "ip").starts_with("10.9.0."), "{told}");
        assert_eq!(value(&told, "serverid"), "10.1.0.1");
        running.start_kill().unwrap();
        running.wait().await.unwrap();
        lab.stop().await;
    });
}

#[test]
fn another_dhcp_server_is_told_of_once() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "dnsmasq");
    in_private_networks!(|| async {
        let lan = lan().await;
        let store = Arc::<FakeStore>::default();
        let lab = Lab::start(config(), Some(Arc::clone(&store) as _)).await;
        let rogue_mac = MacAddr([2, 0, 0, 0, 0, 9]);
        let rogue = lan.host(rogue_mac).await;
        rogue
            .run(&["ip", "addr", "add", "10.1.0.77/24", "dev", ETH])
            .await;
        let leases = rogue.folder.path().join("leases");
        let leases = format!("--dhcp-leasefile={}", leases.display());
        let mut dnsmasq = rogue.start(&[
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            "--no-ping",
            "--user=root",
            "--pid-file=",
            "--interface=eth0",
            &leases,
            "--dhcp-range=10.1.0.200,10.1.0.220",
        ]);
        // With `-B` it asks for broadcasts: those are heard by everybody.
        for mac in [A, B] {
            let host = lan.host(mac).await;
            assert!(host.udhcpc(8, &["-B"]).await.is_some());
            let seen = lab
                .facts
                .wait("other server", |fact| match &fact.kind {
                    EventKind::DhcpServerSeen {
                        address,
                        mac,
                        interface,
                        by: _,
                    } => Some((*address, *mac, interface.clone())),
                    _ => None,
                })
                .await;
            let address = IpAddr::from([10, 1, 0, 77]);
            assert_eq!(seen, (address, Some(rogue_mac), "br0".to_owned()));
        }
        assert_eq!(lab.facts.count("dhcp-server-seen"), 1);
        dnsmasq.start_kill().unwrap();
        dnsmasq.wait().await.unwrap();
        lab.stop().await;
    });
}

/// A whole message that asks for a lease, to spoil.
fn message() -> Vec<u8> {
    discover(7, A, Some(7), Some("PXEClient:Arch:00007:UNDI:003016"))
}

/// Messages that no client means well with, and the reason that each is counted by.
fn hostile() -> Vec<(&'static str, Vec<u8>)> {
    let spoiled = |at: usize, byte: u8| {
        let mut message = message();
        message[at] = byte;
        message
    };
    vec![
        ("short", common::noise(99, 3)),
        ("not-request", spoiled(0, 2)),
        ("bad-mac", spoiled(2, 255)),
        ("bad-mac", spoiled(28, 0xff)),
        ("not-for-server", spoiled(236, 0)),
        ("not-for-server", spoiled(242, 99)),
    ]
}

/// A plug that hostile messages are sent from, from 256 hardware addresses in turn. They go to the server alone: the
/// network itself would drown in broadcasts, with every client on it.
struct Flood {
    wire: std::os::fd::OwnedFd,
    server: MacAddr,
    sent: u64,
}

impl Flood {
    /// Sends one of each to both ports.
    fn send(&mut self) {
        for (_, payload) in hostile() {
            for port in [67, 4011] {
                let [.., last] = self.sent.to_be_bytes();
                let mac = MacAddr([2, 0, 0, 0, 1, last]);
                let from = SocketAddrV4::new(Ipv4Addr::new(10, 1, 0, 200), 68);
                let to = SocketAddrV4::new(SERVER, port);
                let frame = udp4_frame(mac, from, self.server, to, &payload).unwrap();
                let _ = rustix::net::send(&self.wire, &frame, rustix::net::SendFlags::empty());
                self.sent += 1;
            }
        }
    }
}

#[test]
fn a_flood_of_garbage_is_counted_and_keeps_nobody_waiting() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc");
    in_private_networks!(|| async {
        let lan = lan().await;
        let store = Arc::<FakeStore>::default();
        let lab = Lab::start(config(), Some(Arc::clone(&store) as _)).await;
        let host = lan.host(A).await;
        let plug = lan.plug().await;
        let wire = plug.packet_socket(0).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let server = hardware_address("br0");
        let (shared, stopped) = (Arc::clone(&lab.shared), Arc::clone(&stop));
        let flood = std::thread::spawn(move || {
            let counted = || shared.drops().values().sum::<u64>();
            let mut flood = Flood {
                server,
                wire: wire.fd,
                sent: 0,
            };
            while !stopped.load(Ordering::Relaxed) {
                flood.send();
                // The server always has some waiting, and never more than its socket keeps: what the kernel throws
                // away would not be the server's doing.
                let since = Instant::now();
                while flood.sent > counted() + 500 && since.elapsed() < Duration::from_millis(50) {
                    std::thread::yield_now();
                }
            }
            flood.sent
        });
        for (reason, _) in hostile() {
            until(&lab, "garbage", || lab.drops(reason) > 100).await;
        }
        // One DISCOVER a second: it is bound before its third.
        assert!(host.address(3).await.is_some(), "{:?}", lab.shared.drops());
        stop.store(true, Ordering::Relaxed);
        let sent = flood.join().unwrap();
        let told = lab.facts.count("packet-dropped");
        assert!(told < 1000, "{told} events for {sent} packets");
        lab.stop().await;
    });
}

#[test]
fn a_boot_servers_answer_leaves_from_port_4011() {
    require_commands!("unshare", "nsenter", "ip");
    in_private_networks!(|| async {
        let lan = lan().await;
        let mut config = config();
        config.interfaces[0].mode = DhcpMode::Proxy;
        let lab = Lab::start(config, None).await;
        let boot = ScriptBoot {
            kernel: bootgate_server::ArtifactName::new("vmlinuz").unwrap(),
            initrds: Vec::new(),
            cmdline: String::new(),
            plan: bootgate_api::BootPlan::Stay,
            expected_chunks: None,
            expected_size: None,
            custom_script: None,
        };
        let machine = MachineConfig {
            mac: A,
            boot: MachineBoot::Script(Box::new(boot)),
            nbp: Bootfiles::pc(None, Some("snponly.efi".to_owned())),
            loader: None,
            faults: Vec::new(),
        };
        lab.machines.arm(machine, "nonce".into());
        let plug = lan.plug().await;
        let wire = plug.packet_socket(0).unwrap();
        let client = Ipv4Addr::new(10, 1, 0, 70);
        lan::ip(&format!("neigh add {client} lladdr {A} dev br0")).await;
        let capture = lan.capture();
        let payload = request_4011(9, A, 7, client, SERVER);
        let from = SocketAddrV4::new(client, 4011);
        let to = SocketAddrV4::new(SERVER, 4011);
        let server = hardware_address("br0");
        let frame = udp4_frame(A, from, server, to, &payload).unwrap();
        rustix::net::send(&wire.fd, &frame, rustix::net::SendFlags::empty()).unwrap();
        lab.facts
            .wait("answer", |fact| match &fact.kind {
                EventKind::DhcpSent { facts, .. } => Some(facts.message.clone()),
                _ => None,
            })
            .await;
        let replies = capture.replies();
        assert_eq!(replies.len(), 1, "{replies:?}");
        assert_eq!(replies[0].from_port, 4011);
        assert_eq!(replies[0].facts.bootfile.as_deref(), Some("snponly.efi"));
        lab.stop().await;
    });
}

#[test]
fn a_full_disk_under_the_database_stops_acks_until_there_is_room() {
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "mount");
    in_private_networks!(|| async {
        let lan = lan().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", path];
        assert!(common::run("mount", &mount).await.status.success());
        let state = folder.path().join("state");
        let store = Arc::new(Sqlite::open(&state).unwrap());
        let lab = Lab::start(config(), Some(Arc::clone(&store) as _)).await;
        let filler = folder.path().join("filler");
        let full = std::fs::write(&filler, vec![0; 2 << 20]).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        // What the database has room for within its files may still be granted.
        let mut granted = Vec::new();
        let mut refused = None;
        for last in 1..=40 {
            let mac = MacAddr([2, 0, 0, 1, 0, last]);
            let host = lan.host(mac).await;
            match host.address(2).await {
                Some(address) => granted.push((address, mac)),
                None => {
                    refused = Some(host);
                    break;
                }
            }
        }
        let host = refused.expect("the disk is full at last");
        assert!(lab.drops("store-full") > 0, "{:?}", lab.shared.drops());
        let kept = |store: &dyn Store| {
            let leases = store.leases().unwrap().into_iter();
            let mut kept: Vec<_> = leases.map(|lease| (lease.ip, lease.mac)).collect();
            kept.sort();
            kept
        };
        granted.sort();
        let told: Vec<_> = granted
            .iter()
            .map(|(ip, mac)| (IpAddr::V4(*ip), *mac))
            .collect();
        assert_eq!(
            kept(&*store),
            told,
            "the store has what was granted, and no more"
        );
        std::fs::remove_file(&filler).unwrap();
        assert!(
            host.address(5).await.is_some(),
            "it goes on when there is room"
        );
        lab.stop().await;
    });
}
