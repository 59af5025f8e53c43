//! A real client: QEMU's network boot program on a wire, and captures of what it says.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use bootgate_hostnet::capture::{CaptureConfig, SocketCapture, Writer};
use bootgate_hostnet::wire::{Wire, WireConfig, WireEnd, client_pair};
use bootgate_hostnet::{Spawn, UdpOptions};

use crate::client::{BROADCAST, Client, PATIENCE};
use crate::{enter, lab, run};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// The next DHCP message of a type from our client.
fn dhcp(server: &UdpSocket, wanted: u8) -> Vec<u8> {
    loop {
        let mut buffer = [0; 2048];
        let (length, _) = server
            .recv_from(&mut buffer)
            .expect("a DHCP message in time");
        let message = &buffer[..length];
        if message[28..34] == MAC && message[240..243] == [53, 1, wanted] {
            return message.to_vec();
        }
    }
}

/// The network boot ROM of a QEMU in the sandbox asks for an address, understands the offer, and requests it.
pub fn boot() {
    let sandbox = enter();
    run(async {
        sandbox.create_segment(lab()).await.unwrap();
        let mut options = UdpOptions::new("0.0.0.0:67".parse().unwrap());
        options.broadcast = true;
        let server = sandbox.udp_socket("lab", options).await.unwrap();
        server.set_nonblocking(false).unwrap();
        server.set_read_timeout(Some(6 * PATIENCE)).unwrap();
        let port = sandbox.create_port("lab", "client").await.unwrap();
        let (client, end) = client_pair().unwrap();
        let wire = Wire::spawn(end, &port, WireConfig::default()).unwrap();
        let qemu = sandbox.spawn(qemu(client)).await.unwrap();

        let discover = dhcp(&server, 1);
        let mut offer = discover[..240].to_vec();
        offer[0] = 2;
        offer[16..20].copy_from_slice(&[10, 77, 0, 2]);
        // Offer, server, lease, netmask, and iPXE's "no proxy will answer".
        offer.extend_from_slice(&[53, 1, 2, 54, 4, 10, 77, 0, 1, 51, 4, 0, 0, 1, 0]);
        offer.extend_from_slice(&[1, 4, 255, 255, 255, 0, 175, 3, 176, 1, 1, 255]);
        offer.resize(300, 0);
        server.send_to(&offer, "255.255.255.255:68").unwrap();
        let request = dhcp(&server, 3);
        assert!(
            request
                .windows(6)
                .any(|option| option == [50, 4, 10, 77, 0, 2])
        );

        sandbox.kill(qemu.pid, 9).await.unwrap();
        assert_eq!(qemu.wait().await.unwrap().signal, Some(9));
        assert_eq!(wire.ended().await, WireEnd::ClientClosed);
        assert!(wire.stats().from_client.frames >= 2 && wire.stats().to_client.frames >= 1);
        // The port is free for the next power-on.
        drop(wire);
        let (_client, end) = client_pair().unwrap();
        Wire::spawn(end, &port, WireConfig::default()).unwrap();
    });
}

fn qemu(client: OwnedFd) -> Spawn {
    let line = "qemu-system-x86_64 -machine pc,accel=tcg -m 64 -nodefaults -display none -boot n \
                -netdev socket,id=lab,fd=3 -device virtio-net-pci,netdev=lab,mac=52:54:00:12:34:56";
    Spawn {
        argv: line.split_whitespace().map(Into::into).collect(),
        fds: vec![(client, 3)],
        ..Spawn::default()
    }
}

/// Frames of a wire and of a packet socket stand in one capture that tshark reads.
pub fn capture(folder: &str) {
    let sandbox = enter();
    let path = Path::new(folder).join("capture.pcapng");
    run(async {
        let segment = sandbox.create_segment(lab()).await.unwrap();
        let capture = Writer::create(&path, CaptureConfig::default()).unwrap();
        let socket = sandbox.packet_socket("lab", 3).await.unwrap();
        let bridge = capture.interface("bridge");
        let watched = SocketCapture::start(socket, capture.clone(), bridge).unwrap();
        let port = sandbox.create_port("lab", "client").await.unwrap();
        let wired = capture.interface("client");
        let config = WireConfig::default().capture(capture.clone(), wired);
        let (mut client, wire) = Client::connect(&port, 2, config);

        let options = UdpOptions::new("0.0.0.0:4000".parse().unwrap());
        let server = sandbox.udp_socket("lab", options).await.unwrap();
        server.set_nonblocking(false).unwrap();
        server.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(client.resolve("10.77.0.1".parse().unwrap()), segment.mac.0);
        client.udp(
            BROADCAST,
            5000,
            "255.255.255.255:4000".parse().unwrap(),
            b"ask",
        );
        let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
        server.send_to(b"answer", from).unwrap();
        assert_eq!(client.datagram(5000).1, b"answer");
        drop(watched);
        wire.stop().await;
    });
    let output = Command::new("tshark")
        .args(["-r", path.to_str().unwrap(), "-Y", "udp", "-T", "fields"])
        .args([
            "-e",
            "frame.interface_name",
            "-e",
            "frame.packet_flags_direction",
        ])
        .args(["-e", "udp.dstport", "-e", "data.data"])
        .output()
        .unwrap();
    let mut lines: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| line.replace('\t', " "))
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "bridge 0x00000001 4000 61736b",
            "bridge 0x00000002 5000 616e73776572",
            "client 0x00000001 4000 61736b",
            "client 0x00000002 5000 616e73776572",
        ],
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
