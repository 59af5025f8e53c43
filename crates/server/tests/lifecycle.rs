//! Starting and stopping.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;

use bootgate_events::EventKind;
use bootgate_server::{BootServer, Services, StartError};
use common::{Bench, Facts, Loopback};

#[tokio::test]
async fn every_server_is_ready_when_start_returns() {
    let bench = Bench::start().await;
    let ready: Vec<_> = bench
        .facts
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::ServerReady { service, address } => Some((service, address)),
            _ => None,
        })
        .collect();
    let addresses = bench.server.addresses();
    let expected = [
        ("dhcp".to_owned(), addresses.dhcp.unwrap().to_string()),
        ("tftp".to_owned(), addresses.tftp.unwrap().to_string()),
        ("http".to_owned(), addresses.http.unwrap().to_string()),
    ];
    assert_eq!(ready, expected);
    TcpStream::connect(bench.http()).expect("HTTP listens");
}

async fn start_error(config: bootgate_server::ServerConfig) -> StartError {
    let facts = Arc::<Facts>::default();
    let started = BootServer::start(config, Arc::new(Loopback), facts.sink()).await;
    assert_eq!(facts.count("server-ready"), 0, "nothing is told ready");
    started.err().expect("the start fails")
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let any = UdpSocket::bind("0.0.0.0:0").unwrap();
    let (http, tftp, dhcp) = (
        tcp.local_addr().unwrap().port(),
        udp.local_addr().unwrap().port(),
        any.local_addr().unwrap().port(),
    );
    let base = common::config();
    let taken = [
        ("http", Ipv4Addr::LOCALHOST, http),
        ("tftp", Ipv4Addr::LOCALHOST, tftp),
        ("dhcp", Ipv4Addr::UNSPECIFIED, dhcp),
    ];
    for (name, ip, port) in taken {
        let mut config = base.clone();
        match name {
            "http" => config.http_port = port,
            "tftp" => config.tftp_port = port,
            _ => config.dhcp_port = port,
        }
        let error = start_error(config).await;
        let wanted = SocketAddrV4::new(ip, port);
        assert!(
            matches!(&error, StartError::PortTaken { service, address } if *service == name && *address == wanted.into()),
            "{error}"
        );
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains(&wanted.to_string()),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_socket_that_cannot_be_had_is_named() {
    let mut config = common::config();
    config.services.ra = true;
    let error = start_error(config).await;
    assert!(
        matches!(error, StartError::Socket { service: "ra", .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_senseless_configuration_is_refused() {
    let mut config = common::config();
    config.prefix_len = 33;
    assert!(matches!(start_error(config).await, StartError::Config(text) if text.contains("33")));
}

#[tokio::test]
async fn dropping_the_server_stops_it() {
    let bench = Bench::start().await;
    let (http, tftp) = (bench.http(), bench.tftp());
    let mut open = TcpStream::connect(http).unwrap();
    drop(bench);
    // The tasks end at their next turn; the last sign of them is the end of the open connection.
    tokio::task::spawn_blocking(move || {
        open.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let end = std::io::Read::read(&mut open, &mut [0]);
        assert!(!matches!(end, Ok(1)), "{end:?}");
    })
    .await
    .unwrap();
    UdpSocket::bind(tftp).expect("the TFTP port is free");
    TcpListener::bind(http).expect("the HTTP port is free");
}

#[tokio::test]
async fn only_the_chosen_servers_run() {
    let mut config = common::config();
    config.services = Services {
        dhcp: false,
        ra: false,
        tftp: false,
        http: true,
    };
    let bench = Bench::with(config).await;
    let addresses = bench.server.addresses();
    assert!(addresses.http.is_some() && addresses.tftp.is_none() && addresses.dhcp.is_none());
    bench.server.stop().await;
}
