//! Other machines and IPv6 on a segment.

use std::net::{Ipv6Addr, SocketAddrV6};

use bootgate_hostnet::{HostConfig, SegmentConfig, Spawn, Udp6Options};
use tokio::io::AsyncReadExt;

use crate::client::PATIENCE;
use crate::{enter, lab, run};

const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);

fn host() -> HostConfig {
    HostConfig {
        name: "lan".to_owned(),
        segment: "lab".to_owned(),
        address: "10.77.0.2".parse().unwrap(),
        prefix_len: 24,
    }
}

/// A program on another machine has that machine's network, reaches the servers, and is known by its hardware address.
pub fn machine() {
    let sandbox = enter();
    run(async {
        sandbox.create_segment(lab()).await.unwrap();
        let info = sandbox.create_host(host()).await.unwrap();
        let twice = sandbox.create_host(host()).await.unwrap_err();
        assert!(twice.to_string().contains("`lan`"), "{twice}");
        let server = "10.77.0.1:80".parse().unwrap();
        let listener = sandbox.tcp_listener("lab", server).await.unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        assert_eq!(sandbox.neighbour("10.77.0.2".parse().unwrap()), None);
        let script = "exec 3<>/dev/tcp/10.77.0.1/80; cat /proc/net/dev >&3";
        let child = sandbox
            .spawn(Spawn {
                argv: ["bash", "-c", script].map(Into::into).to_vec(),
                host: Some("lan".to_owned()),
                ..Spawn::default()
            })
            .await
            .unwrap();
        let (mut stream, peer) = tokio::time::timeout(PATIENCE, listener.accept())
            .await
            .expect("a connection")
            .unwrap();
        assert_eq!(peer.ip().to_string(), "10.77.0.2");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.contains(&info.interface), "{text}");
        assert!(
            !text.contains("bg0"),
            "it sees the servers' network: {text}"
        );
        assert_eq!(child.wait().await.unwrap().code, Some(0));
        let mac = sandbox.neighbour("10.77.0.2".parse().unwrap());
        assert_eq!(mac, Some(info.mac));
        let nowhere = Spawn {
            argv: vec!["true".into()],
            host: Some("nobody".to_owned()),
            ..Spawn::default()
        };
        assert!(sandbox.spawn(nowhere).await.is_err());
    });
}

/// A segment with IPv6 has its address, and the link-local one, at once.
pub fn ipv6() {
    let sandbox = enter();
    run(async {
        let segment = SegmentConfig {
            address6: Some((ADDRESS6, 64)),
            ..lab()
        };
        let info = sandbox.create_segment(segment).await.unwrap();
        assert_eq!(info.mac.to_string(), "02:62:0a:4d:00:01");
        let link_local = "fe80::62:aff:fe4d:1".parse().unwrap();
        for address in [ADDRESS6, link_local] {
            let bind = SocketAddrV6::new(address, 80, 0, 0);
            sandbox.tcp6_listener("lab", bind).await.unwrap();
        }
        let options = Udp6Options {
            groups: vec!["ff02::1:2".parse().unwrap()],
            ..Udp6Options::new(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 547, 0, 0))
        };
        sandbox.udp6_socket("lab", options).await.unwrap();
    });
}
