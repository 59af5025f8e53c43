//! A TFTP server among clients that mean no good.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bootgate_events::{ArtifactRole, EventKind};
use bootgate_netboot::dhcp::{DhcpConfig, Responder};
use bootgate_server::{BootServer, Shared, SharedParts};
use common::tftp_client::{Client, blocking};
use common::{Bench, Facts, Loopback, noise};

/// Transfers at once.
const ROOM: usize = 64;

/// A server whose counters can be read.
async fn bench() -> (Bench, Arc<Shared>) {
    let mut config = common::config();
    config.services.http = false;
    config.limits.tftp_transfers = ROOM;
    let facts = Arc::<Facts>::default();
    let dhcp = DhcpConfig::new(config.server_ip, config.prefix_len, config.pool.clone());
    let shared = Shared::new(SharedParts::new(Responder::new(dhcp), facts.sink()));
    let bound = BootServer::bind(config, Arc::new(Loopback)).await;
    let server = bound.expect("it binds").start(Arc::clone(&shared));
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench {
        server,
        facts,
        folder,
    };
    (bench, shared)
}

/// What the server counted, by reason.
fn counts(shared: &Shared) -> BTreeMap<&'static str, u64> {
    let drops = shared.drops().into_iter();
    drops.map(|((_, slug), count)| (slug, count)).collect()
}

/// Waits until the server has counted this much for this reason. Each round asks for a file and gets it, so the
/// server has read everything that came before.
async fn counted(shared: &Shared, server: SocketAddr, slug: &'static str, count: u64) {
    let deadline = Instant::now() + common::PATIENCE;
    while counts(shared).get(slug) != Some(&count) {
        assert!(Instant::now() < deadline, "{slug}: {:?}", counts(shared));
        blocking(move || Client::new(server).fetch("small", 512, 1, &mut || false)).await;
    }
}

#[tokio::test]
async fn every_kind_of_junk_is_counted_by_its_reason() {
    let (bench, shared) = bench().await;
    bench.give("small", ArtifactRole::Other, b"content");
    let server = bench.tftp();
    let packets: [(&[u8], &str, u64); 6] = [
        (b"", "truncated", 2),
        (b"\0", "truncated", 2),
        (b"\0\x03\0\x01data", "not-a-request", 3),
        (b"\0\x04\0\x01", "not-a-request", 3),
        (b"\xff\xff\xff", "not-a-request", 3),
        (&[1; 9000], "oversized", 1),
    ];
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (packet, _, _) in packets {
        socket.send_to(packet, server).unwrap();
    }
    for (_, slug, count) in packets {
        counted(&shared, server, slug, count).await;
    }
    let told = bench.facts.count("packet-dropped");
    assert!((1..=6).contains(&told), "{told}");
}

#[tokio::test]
async fn junk_on_a_transfers_port_is_counted_and_the_transfer_goes_on() {
    let (bench, shared) = bench().await;
    bench.give("small", ArtifactRole::Other, b"content");
    bench.give("file", ArtifactRole::Other, &noise(3000, 30));
    let server = bench.tftp();
    blocking(move || {
        let mut client = Client::new(server);
        client.ask(&["file", "octet"]);
        assert_eq!(client.receive().1, 1);
        let port = client.server;
        for packet in [
            &b"\0"[..],
            b"\0\x03\0\x01x",
            b"\0\x06",
            b"\x09\x09\0\0",
            b"",
        ] {
            client.socket.send_to(packet, port).unwrap();
        }
        // Somebody else writes to this transfer's port: his acknowledgement and his error are nobody's.
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        stranger.send_to(&[0, 5, 0, 0, b'x', 0], port).unwrap();
        stranger.send_to(&[0, 4, 0, 1], port).unwrap();
        for block in 1..=5 {
            client.ack(block);
            assert_eq!(client.receive().1, block + 1);
        }
        client.ack(6);
    })
    .await;
    bench.facts.completed("file").await;
    for (slug, count) in [
        ("truncated", 3),
        ("stray-data", 1),
        ("unknown-operation", 1),
    ] {
        counted(&shared, server, slug, count).await;
    }
}

#[tokio::test]
async fn a_flood_of_repetitions_does_not_hold_up_what_is_due() {
    let (bench, _) = bench().await;
    bench.give("file", ArtifactRole::Other, &noise(30_000, 31));
    let server = bench.tftp();
    blocking(move || {
        let mut client = Client::new(server);
        client.ask(&["file", "octet", "windowsize", "4"]);
        assert_eq!(client.receive().0, 6);
        client.ack(0);
        for block in 1..=4 {
            assert_eq!(client.receive().1, block);
        }
        // The window counts as lost. The client says so without a pause, until it comes again.
        client.socket.set_nonblocking(true).unwrap();
        let deadline = Instant::now() + common::PATIENCE;
        let mut buffer = [0; 600];
        while client.socket.recv(&mut buffer).is_err() {
            assert!(Instant::now() < deadline, "the window does not come again");
            client.ack(0);
        }
        assert_eq!(buffer[..4], [0, 3, 0, 1]);
    })
    .await;
}

/// Requests that nobody follows up: one from each of so many addresses. They stay open as long as the sockets do.
fn half_open(server: SocketAddr, addresses: u8) -> Vec<UdpSocket> {
    let sockets: Vec<UdpSocket> = (0..addresses)
        .map(|n| UdpSocket::bind((Ipv4Addr::new(127, 9, 9, n), 0)).unwrap())
        .collect();
    for socket in &sockets {
        let packet = b"\0\x01big\0octet\0";
        socket.send_to(packet, server).unwrap();
    }
    sockets
}

/// All kinds of packets from many addresses and ports, until told to stop.
fn flood(server: SocketAddr, stop: &AtomicBool) {
    let sockets: Vec<UdpSocket> = (0..200)
        .map(|n| UdpSocket::bind((Ipv4Addr::new(127, 9, 8, n), 0)).unwrap())
        .collect();
    let packets: [&[u8]; 7] = [
        b"\0\x01big\x00octet\x00blksize\x001428\x00windowsize\x0065535\x00",
        b"\0\x01../../etc/shadow\x00octet\x00",
        b"\0\x02big\x00octet\x00",
        &[0xff; 1400],
        b"\0\x01missing\x00octet\x00",
        b"\0\x01big\x00octet\x00tsize\x0099999999999999999999\x00",
        b"\0\x01big\x00octet\x00",
    ];
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for socket in &sockets {
            let _ = socket.send_to(packets[number % packets.len()], server);
            number += 1;
        }
    }
}

/// The most transfers that were under way at once.
fn most_at_once(facts: &Facts) -> i64 {
    let mut now = 0;
    let steps = facts.kinds().into_iter().map(|kind| {
        now += match kind {
            EventKind::TransferStarted { .. } => 1,
            EventKind::TransferCompleted { .. } | EventKind::TransferAborted { .. } => -1,
            _ => 0,
        };
        now
    });
    steps.max().unwrap_or(0)
}

/// Fetches `big` from this address. `None`: there is no room. The request may be lost among all others, and is then
/// repeated, as every loader does; that time does not count.
fn fetch(server: SocketAddr, from: Ipv4Addr, size: usize) -> Option<(Vec<u8>, Duration)> {
    let mut client = Client::from(server, &format!("{from}:0"));
    let again = Duration::from_millis(100);
    client.socket.set_read_timeout(Some(again)).unwrap();
    let deadline = Instant::now() + common::PATIENCE;
    let began = loop {
        client.ask(&["big", "octet", "blksize", "1428", "windowsize", "16"]);
        let began = Instant::now();
        if client.socket.peek(&mut [0; 100]).is_ok() {
            break began;
        }
        assert!(Instant::now() < deadline, "no answer");
    };
    client
        .socket
        .set_read_timeout(Some(common::PATIENCE))
        .unwrap();
    let (operation, _, _) = client.receive();
    if operation != 6 {
        return None;
    }
    client.ack(0);
    let got = take(&mut client, size);
    Some((got, began.elapsed()))
}

fn take(client: &mut Client, size: usize) -> Vec<u8> {
    let mut got = Vec::with_capacity(size);
    let mut last = 0u16;
    loop {
        let (operation, number, data) = client.receive();
        assert_eq!(operation, 3);
        if number != last.wrapping_add(1) {
            client.ack(last);
            continue;
        }
        last = number;
        got.extend(&data);
        if data.len() < 1428 || number % 16 == 0 {
            client.ack(number);
        }
        if data.len() < 1428 {
            return got;
        }
    }
}

/// Waits until the server says that it is full.
async fn full(facts: &Facts) {
    let full = facts.wait("a refusal", |fact| match &fact.kind {
        EventKind::RequestRefused { reason, .. } if reason.contains("too many") => Some(()),
        _ => None,
    });
    full.await;
}

#[tokio::test]
async fn half_open_transfers_make_room_for_a_client_that_is_there() {
    let (bench, _) = bench().await;
    let content = noise(50_000, 33);
    bench.give("big", ArtifactRole::Other, &content);
    let server = bench.tftp();
    let open = half_open(server, 100);
    full(&bench.facts).await;
    // Nobody knows this client, so it waits until the others have shown that they are not there.
    let got = blocking(move || {
        let deadline = Instant::now() + common::PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "no room");
            if let Some((got, _)) = fetch(server, Ipv4Addr::LOCALHOST, 50_000) {
                return got;
            }
        }
    });
    assert!(got.await == content);
    assert!(most_at_once(&bench.facts) <= ROOM as i64 + 8);
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_client_is_served_at_near_normal_speed_in_a_flood() {
    const SIZE: usize = 12_000_000;
    let (bench, shared) = bench().await;
    bench.lease().await;
    let content = noise(SIZE, 32);
    bench.give("big", ArtifactRole::Other, &content);
    let server = bench.tftp();
    let leased = common::LEASED;
    let calm = blocking(move || fetch(server, leased, SIZE));
    let (got, calm) = calm.await.expect("room in an idle server");
    assert!(got == content);

    let open = half_open(server, 100);
    full(&bench.facts).await;
    let stop = Arc::new(AtomicBool::new(false));
    let flooding = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || flood(server, &stop))
    };
    let before = bench.facts.count("packet-dropped");
    bench.facts.wait_count("packet-dropped", before + 1).await;
    let flooded = blocking(move || fetch(server, leased, SIZE));
    let (got, flooded) = flooded.await.expect("room for a client with a lease");
    stop.store(true, Ordering::Relaxed);
    flooding.join().unwrap();
    drop(open);
    assert!(got == content);
    // The flood takes one of this machine's processors for itself.
    let bound = calm * 10 + Duration::from_secs(1);
    assert!(
        flooded < bound,
        "{flooded:?} in the flood, {calm:?} without"
    );

    let most = most_at_once(&bench.facts);
    // One that was told to end may end a moment after another has begun; the one with a lease is always let in.
    assert!(most <= 2 * ROOM as i64 + 1, "{most} transfers at once");
    let counts = counts(&shared);
    assert!(counts.contains_key("not-a-request"), "{counts:?}");
    let told = bench.facts.count("packet-dropped") + bench.facts.count("request-refused");
    assert!(told < 20_000, "events of a flood are bounded: {told}");
    bench.server.stop().await;
}
