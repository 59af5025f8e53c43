//! Which ports and addresses TFTP transfers use.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};

use bootgate_events::ArtifactRole;
use bootgate_server::Ip6Config;
use common::tftp_client::{Client, blocking};
use common::{Bench, noise};

#[tokio::test]
async fn single_port_mode_serves_several_clients_from_the_servers_port() {
    let mut config = common::config();
    config.tftp_single_port = true;
    let bench = Bench::with(config).await;
    let content = noise(1_000_000, 20);
    bench.give("file", ArtifactRole::Other, &content);
    let server = bench.tftp();
    let fetch = |window| {
        blocking(move || {
            let mut client = Client::new(server);
            let mut count = 0;
            let mut lose = || {
                count += 1;
                window > 1 && count % 91 == 7
            };
            let got = client.fetch("file", 1428, window, &mut lose);
            assert_eq!(client.server, server, "the last packet's sender");
            got
        })
    };
    let (lockstep, window, wide) = tokio::join!(fetch(1), fetch(4), fetch(16));
    assert!(lockstep == content && window == content && wide == content);
    bench.facts.wait_count("transfer-completed", 3).await;
}

#[tokio::test]
async fn single_port_mode_ends_and_begins_again_as_clients_say() {
    let mut config = common::config();
    config.tftp_single_port = true;
    let bench = Bench::with(config).await;
    bench.give("snponly.efi", ArtifactRole::Nbp, &noise(5000, 21));
    let server = bench.tftp();
    let told = blocking(move || {
        let mut client = Client::new(server);
        client.ask(&["snponly.efi", "octet", "tsize", "0"]);
        assert_eq!(client.receive().0, 6);
        client.error(8, "User aborted the transfer");
        // The same port asks anew, as firmware does.
        client.ask(&["snponly.efi", "octet"]);
        let first = client.receive();
        client.ack(1);
        let second = client.receive();
        (first.1, second.1)
    });
    assert_eq!(told.await, (1, 2));
    let (_, reason, benign) = bench.facts.aborted("snponly.efi").await;
    assert!(benign, "{reason}");
}

#[tokio::test]
async fn single_port_mode_counts_what_belongs_to_no_transfer() {
    let mut config = common::config();
    config.tftp_single_port = true;
    let bench = Bench::with(config).await;
    let client = Client::new(bench.tftp());
    client.ack(7);
    bench.facts.wait_count("packet-dropped", 1).await;
    assert_eq!(bench.server.dropped().get("tftp"), Some(&1));
}

/// Two neighbouring ports that nobody uses.
fn free_ports() -> (u16, u16) {
    let mut held = Vec::new();
    loop {
        let first = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && UdpSocket::bind(("127.0.0.1", port + 1)).is_ok() {
            return (port, port + 1);
        }
        held.push(first);
    }
}

#[tokio::test]
async fn a_port_range_is_kept_and_its_end_is_told() {
    let mut config = common::config();
    let (first, last) = free_ports();
    config.tftp_ports = Some(first..=last);
    let bench = Bench::with(config).await;
    bench.give("file", ArtifactRole::Other, &noise(5000, 22));
    let server = bench.tftp();
    blocking(move || {
        let mut clients: Vec<Client> = (0..2).map(|_| Client::new(server)).collect();
        let mut ports: Vec<u16> = clients
            .iter_mut()
            .map(|client| {
                client.ask(&["file", "octet"]);
                assert_eq!(client.receive().0, 3);
                client.server.port()
            })
            .collect();
        ports.sort_unstable();
        assert_eq!(ports, [first, last]);
        let mut third = Client::new(server);
        third.ask(&["file", "octet"]);
        let (operation, _, text) = third.receive();
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(operation == 5 && text.contains("too many"), "{text}");
        // A port is free again when its transfer ended.
        clients[0].error(0, "enough");
        loop {
            let mut fourth = Client::new(server);
            fourth.ask(&["file", "octet"]);
            if fourth.receive().0 == 3 {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_over_ipv6_is_served_over_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        bootgate_testkit::skip!("no IPv6 on loopback");
    }
    for single_port in [false, true] {
        let mut config = common::config();
        config.services.http = false;
        config.tftp_single_port = single_port;
        config.ip6 = Some(Ip6Config {
            dhcp: false,
            subnet: None,
            advertise: None,
            ..Ip6Config::new(Ipv6Addr::LOCALHOST, 64, None)
        });
        let bench = Bench::with(config).await;
        let content = noise(300_000, 23);
        bench.give("file", ArtifactRole::Other, &content);
        let port = bench.tftp().port();
        let server = SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::LOCALHOST, port, 0, 0));
        for window in [1, 8] {
            let got =
                blocking(move || Client::new(server).fetch("file", 1400, window, &mut || false));
            assert!(got.await == content, "window {window}");
        }
        bench.facts.wait_count("transfer-completed", 2).await;
    }
}

#[tokio::test]
async fn blocks_are_clamped_to_the_interfaces_mtu() {
    let overhead = |server: &SocketAddr| if server.is_ipv4() { 32 } else { 52 };
    let mut config = common::config();
    config.mtu = 1400;
    config.services.http = false;
    let over6 = UdpSocket::bind("[::1]:0").is_ok();
    if over6 {
        config.ip6 = Some(Ip6Config {
            dhcp: false,
            subnet: None,
            advertise: None,
            ..Ip6Config::new(Ipv6Addr::LOCALHOST, 64, None)
        });
    }
    let bench = Bench::with(config).await;
    bench.give("file", ArtifactRole::Other, &noise(5000, 24));
    let mut servers = vec![bench.tftp()];
    if over6 {
        servers.push((Ipv6Addr::LOCALHOST, bench.tftp().port()).into());
    }
    for server in servers {
        let length = blocking(move || {
            let mut client = Client::new(server);
            client.ask(&["file", "octet", "blksize", "8192"]);
            assert_eq!(client.receive().0, 6);
            client.ack(0);
            client.receive().2.len()
        });
        assert_eq!(length.await, 1400 - overhead(&server), "{server}");
    }
}
