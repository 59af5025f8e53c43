//! Frames between clients, segment and servers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec};

use bootgate_hostnet::wire::{
    Direction, FrameDecision, FrameHook, Wire, WireConfig, WireEnd, WireHandle, client_pair,
};
use bootgate_hostnet::{Child, PortKind, Sandbox, SegmentConfig, Spawn, UdpOptions};

use crate::client::{BROADCAST, Client, PATIENCE, ethernet, parse_udp, udp_frame};
use crate::{enter, lab, run};

pub fn address(text: &str) -> SocketAddrV4 {
    text.parse().unwrap()
}

/// A socket the scenario may wait on.
pub fn patient(socket: UdpSocket) -> UdpSocket {
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).expect("a datagram in time");
    (buffer[..length].to_vec(), from)
}

/// Two clients and a server reach each other by ARP, UDP, broadcast and raw frames, and no frame is on the segment
/// that nobody sent.
pub fn udp() {
    let sandbox = enter();
    run(async {
        let lab = sandbox.create_segment(lab()).await.unwrap();
        let mut options = UdpOptions::new(address("10.77.0.1:4000"));
        options.broadcast = true;
        options.packet_info = true;
        let server = patient(sandbox.udp_socket("lab", options).await.unwrap());
        let (port_a, port_b) = (
            sandbox.create_port("lab", "a").await.unwrap(),
            sandbox.create_port("lab", "b").await.unwrap(),
        );
        expect_kind(port_a.kind());
        let (mut a, wire_a) = Client::connect(&port_a, 2, WireConfig::default());
        let (mut b, wire_b) = Client::connect(&port_b, 3, WireConfig::default());

        assert_eq!(a.resolve("10.77.0.1".parse().unwrap()), lab.mac.0);
        a.udp(lab.mac.0, 5000, address("10.77.0.1:4000"), b"hello");
        let (said, from) = receive(&server);
        assert_eq!(
            (said.as_slice(), from),
            (&b"hello"[..], address("10.77.0.2:5000").into())
        );
        server.send_to(b"welcome", from).unwrap();
        assert_eq!(
            a.datagram(5000),
            (address("10.77.0.1:4000"), b"welcome".to_vec())
        );

        // Odd and full lengths, whose checksums go wrong first where the kernel leaves them to hardware.
        for length in [1, 17, 1471, 1472] {
            server.send_to(&vec![7; length], from).unwrap();
            assert_eq!(a.datagram(5000).1.len(), length);
        }

        server
            .send_to(b"all", address("255.255.255.255:5001"))
            .unwrap();
        assert_eq!(a.datagram(5001).1, b"all");
        assert_eq!(b.datagram(5001).1, b"all");

        assert_eq!(b.resolve("10.77.0.1".parse().unwrap()), lab.mac.0);
        a.udp(b.mac, 5000, address("10.77.0.3:6000"), b"peer");
        let peer =
            b.until(|frame| (frame[36..38] == 6000u16.to_be_bytes()).then(|| frame.to_vec()));
        assert_eq!(peer[42..46], *b"peer");

        raw(&sandbox, &mut a).await;
        for client in [&a, &b] {
            let noise: Vec<_> = client.seen.iter().filter(|kind| **kind == 0x86dd).collect();
            assert!(
                noise.len() <= 1,
                "IPv6 frames nobody sent: {:x?}",
                client.seen
            );
        }
        let stats = wire_a.stats();
        assert!(
            stats.from_client.frames >= 3 && stats.to_client.frames >= 8,
            "{stats:?}"
        );
        assert!(
            stats.from_client.bytes >= 180 && stats.idle.unwrap() < PATIENCE,
            "{stats:?}"
        );
        assert_eq!((stats.to_client.dropped, stats.from_client.dropped), (0, 0));
        drop(a);
        assert_eq!(wire_a.ended().await, WireEnd::ClientClosed);
        assert_eq!(wire_b.stop().await.0, WireEnd::Stopped);
        // A stopped wire closes the client's stream.
        while b.next_frame().is_some() {}
    });
}

/// A router solicitation comes out of a packet socket, and what is written to it reaches the client.
async fn raw(sandbox: &Sandbox, client: &mut Client) {
    let socket = sandbox.packet_socket("lab", 0x86dd).await.unwrap();
    let question = ethernet([0x33, 0x33, 0, 0, 0, 2], client.mac, 0x86dd, &[0x60; 48]);
    client.send(&question);
    let mut buffer = [0; 2048];
    let mut fds = [PollFd::new(&socket.fd, PollFlags::IN)];
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs() as i64,
        tv_nsec: 0,
    };
    assert_eq!(rustix::event::poll(&mut fds, Some(&patience)), Ok(1));
    let length = rustix::io::read(&socket.fd, &mut buffer).unwrap();
    assert_eq!(buffer[..length], question[..]);
    let answer = ethernet(client.mac, socket.mac.0, 0x86dd, &[0x61; 48]);
    assert_eq!(
        rustix::io::write(&socket.fd, &answer).unwrap(),
        answer.len()
    );
    let got = client.until(|frame| (frame[12..14] == [0x86, 0xdd]).then(|| frame.to_vec()));
    assert_eq!(got, answer);
}

fn expect_kind(kind: PortKind) {
    match std::env::var("PORTS").as_deref() {
        Ok("tap") => assert_eq!(kind, PortKind::Tap),
        Ok("packet") => assert_eq!(kind, PortKind::PacketVeth),
        _ => {}
    }
}

/// Two sandboxes with the same addresses never hear each other.
pub fn isolated() {
    let (left, right) = (enter(), enter());
    run(async {
        let mut servers = Vec::new();
        let mut clients = Vec::new();
        for sandbox in [&left, &right] {
            sandbox.create_segment(lab()).await.unwrap();
            let mut options = UdpOptions::new(address("0.0.0.0:4000"));
            options.broadcast = true;
            servers.push(patient(sandbox.udp_socket("lab", options).await.unwrap()));
            let port = sandbox.create_port("lab", "client").await.unwrap();
            clients.push(Client::connect(&port, 2, WireConfig::default()));
        }
        let all = address("255.255.255.255:4000");
        clients[0].0.udp(BROADCAST, 5000, all, b"left");
        assert_eq!(receive(&servers[0]).0, b"left");
        clients[1].0.udp(BROADCAST, 5000, all, b"right");
        assert_eq!(
            receive(&servers[1]).0,
            b"right",
            "the right one heard the left one"
        );
        servers[0].set_nonblocking(true).unwrap();
        let error = servers[0].recv_from(&mut [0; 16]).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::WouldBlock,
            "the left one heard the right one"
        );
    });
}

/// Two sandboxes whose clients' ends are one cable: a whole network stack is the client of the left one.
pub struct Cable {
    pub left: Sandbox,
    pub right: Sandbox,
    pub wires: [WireHandle; 2],
}

impl Cable {
    pub async fn join(left: Sandbox, right: Sandbox, configs: [WireConfig; 2]) -> Self {
        let (one, other) = client_pair().unwrap();
        let mut ends = [one, other].into_iter();
        let mut wires = Vec::new();
        for ((sandbox, host), config) in [(&left, 1), (&right, 2)].into_iter().zip(configs) {
            let segment = SegmentConfig {
                address: [10, 77, 0, host].into(),
                ..lab()
            };
            sandbox.create_segment(segment).await.unwrap();
            let port = sandbox.create_port("lab", "cable").await.unwrap();
            wires.push(Wire::spawn(ends.next().unwrap(), &port, config).unwrap());
        }
        let wires = wires.try_into().unwrap();
        Self { left, right, wires }
    }

    /// Has a program on the right fetch `length` bytes by TCP from the left; gives what it printed.
    pub async fn fetch(&self, length: usize) -> String {
        let listener = self
            .left
            .tcp_listener("lab", address("10.77.0.1:80"))
            .await
            .unwrap();
        listener.set_nonblocking(false).unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let chunk = [0xa5; 64 << 10];
            let mut left = length;
            while left > 0 {
                let part = left.min(chunk.len());
                stream.write_all(&chunk[..part]).unwrap();
                left -= part;
            }
        });
        let (output, stdout) = std::io::pipe().unwrap();
        let child = spawn_self(&self.right, &["fetch", "10.77.0.1:80"], stdout.into()).await;
        let status = tokio::time::timeout(6 * PATIENCE, child.wait())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(status.code, Some(0));
        server.join().unwrap();
        std::io::read_to_string(output).unwrap().trim().to_owned()
    }
}

/// Starts another scenario inside a sandbox.
pub async fn spawn_self(sandbox: &Sandbox, arguments: &[&str], stdout: OwnedFd) -> Child {
    // The holder's own program, which is ours; its path may be one that its user cannot walk.
    let this = "/proc/self/exe".into();
    let stderr = rustix::io::fcntl_dupfd_cloexec(std::io::stderr(), 3).unwrap();
    let spawn = Spawn {
        argv: std::iter::once(this)
            .chain(arguments.iter().map(Into::into))
            .collect(),
        stdout: Some(stdout),
        stderr: Some(stderr),
        ..Spawn::default()
    };
    sandbox.spawn(spawn).await.unwrap()
}

/// Runs inside a sandbox: counts the bytes a server sends.
pub fn fetch(server: &str) {
    let server: SocketAddr = server.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let (mut total, mut wrong) = (0, 0);
    loop {
        let read = stream.read(&mut buffer).unwrap();
        if read == 0 {
            break;
        }
        total += read;
        wrong += buffer[..read].iter().filter(|byte| **byte != 0xa5).count();
    }
    println!("{total} bytes, {wrong} wrong");
}

/// A TCP transfer crosses two wires whole, in frames no longer than the link allows.
pub fn tcp() {
    let (left, right) = (enter(), enter());
    run(async {
        let cable = Cable::join(left, right, Default::default()).await;
        let length = (8 << 20) + 13;
        assert_eq!(
            cable.fetch(length).await,
            format!("{length} bytes, 0 wrong")
        );
        let stats = cable.wires[0].stats();
        let [frames, bytes] = [stats.to_client.frames, stats.to_client.bytes];
        assert!(bytes > length as u64, "{stats:?}");
        assert!(
            bytes / frames <= 1514,
            "longer frames than the link's: {stats:?}"
        );
    });
}

/// Counts and changes frames.
struct Meddler;

impl FrameHook for Meddler {
    fn frame(&mut self, direction: Direction, frame: &[u8]) -> FrameDecision {
        match (direction, parse_udp_lax(frame).as_deref()) {
            (Direction::FromClient, Some(b"drop me")) => FrameDecision::Drop,
            (Direction::FromClient, Some(b"change me")) => FrameDecision::Replace(udp_frame(
                frame[6..12].try_into().unwrap(),
                BROADCAST,
                address("10.77.0.2:5000"),
                address("255.255.255.255:4000"),
                b"changed",
            )),
            _ => FrameDecision::Pass,
        }
    }
}

fn parse_udp_lax(frame: &[u8]) -> Option<Vec<u8>> {
    let is_udp = frame[12..14] == [8, 0] && frame[23] == 17;
    is_udp.then(|| {
        let length = usize::from(u16::from_be_bytes([frame[38], frame[39]]));
        frame[42..34 + length].to_vec()
    })
}

/// A hook loses and replaces frames, and the counters say so.
pub fn hook() {
    let sandbox = enter();
    run(async {
        sandbox.create_segment(lab()).await.unwrap();
        let server = patient(
            sandbox
                .udp_socket("lab", UdpOptions::new(address("0.0.0.0:4000")))
                .await
                .unwrap(),
        );
        let port = sandbox.create_port("lab", "client").await.unwrap();
        let config = WireConfig::default().hook(Box::new(Meddler));
        let (mut client, wire) = Client::connect(&port, 2, config);
        let all = address("255.255.255.255:4000");
        for text in [&b"drop me"[..], b"change me", b"pass"] {
            client.udp(BROADCAST, 5000, all, text);
        }
        assert_eq!(receive(&server).0, b"changed");
        assert_eq!(receive(&server).0, b"pass");
        let (_, stats) = wire.stop().await;
        assert_eq!(
            (stats.from_client.frames, stats.from_client.hook_dropped),
            (2, 1)
        );
    });
}

/// A client that does not read loses frames but can still send; garbage ends the wire; a port serves one wire at a
/// time, and the next one after it.
pub fn bad_clients() {
    let sandbox = enter();
    run(async {
        sandbox.create_segment(lab()).await.unwrap();
        let mut options = UdpOptions::new(address("10.77.0.1:4000"));
        options.broadcast = true;
        let server = patient(sandbox.udp_socket("lab", options).await.unwrap());
        let port = sandbox.create_port("lab", "client").await.unwrap();

        let mut config = WireConfig::default();
        config.max_pending_bytes = 64 << 10;
        let (mut deaf, wire) = Client::connect(&port, 2, config);
        let (_, unused) = client_pair().unwrap();
        let busy = Wire::spawn(unused, &port, WireConfig::default()).unwrap_err();
        assert_eq!(busy.kind(), ErrorKind::ResourceBusy);
        println!("{busy}");
        let deadline = std::time::Instant::now() + PATIENCE;
        while wire.stats().to_client.dropped == 0 {
            assert!(std::time::Instant::now() < deadline, "no frame was dropped");
            let _ = server.send_to(&[0; 1400], address("255.255.255.255:5001"));
        }
        deaf.udp(
            BROADCAST,
            5000,
            address("255.255.255.255:4000"),
            b"still here",
        );
        let broadcast = sandbox
            .udp_socket("lab", UdpOptions::new(address("0.0.0.0:4001")))
            .await;
        let broadcast = patient(broadcast.unwrap());
        deaf.udp(
            BROADCAST,
            5000,
            address("255.255.255.255:4001"),
            b"still here",
        );
        assert_eq!(receive(&broadcast).0, b"still here");
        wire.stop().await;

        let (mut garbage, wire) = Client::connect(&port, 2, WireConfig::default());
        garbage.stream.write_all(&[0xff; 8]).unwrap();
        println!("{:?}", wire.ended().await);
        wire.stop().await;

        // Frames for the clients before are not this one's.
        let (mut last, _wire) = Client::connect(&port, 2, WireConfig::default());
        server
            .send_to(b"fresh", address("255.255.255.255:5001"))
            .unwrap();
        let first = last.until(parse_udp);
        assert_eq!(first.2, b"fresh");
    });
}
