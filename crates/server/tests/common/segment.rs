//! Two private network namespaces joined by a cable: the test and its server in one, a client program in the other.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddrV4, TcpListener, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use bootgate_hostnet::UdpOptions;
use bootgate_hostnet::host::HostInterface;
use bootgate_server::{BootServer, BoxFuture, PacketSocket, ServerConfig, SocketSource};

use crate::common::{Facts, PATIENCE, run};

/// Runs `test` in namespaces of its own ([`bootgate_testkit::in_namespaces`]). Gives `false` where it cannot run here.
pub fn in_namespaces<F: Future<Output = ()>>(test: impl FnOnce() -> F) -> bool {
    bootgate_testkit::in_namespaces(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let limited = async { tokio::time::timeout(PATIENCE * 2, test()).await };
        runtime
            .unwrap()
            .block_on(limited)
            .expect("the test ends in time");
    })
}

/// The client's end of the cable, as the client sees it.
pub const CLIENT: &str = "eth0";
const SERVER: &str = "srv0";

/// A cable with a server at one end.
pub struct Segment {
    pub server: BootServer,
    pub facts: Arc<Facts>,
    pub folder: tempfile::TempDir,
    holder: Child,
}

impl Segment {
    pub async fn start(config: ServerConfig) -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run unshare");
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut line).expect("the holder is ready");
        let pid = holder.id().to_string();
        let address = format!("{}/{}", config.server_ip, config.prefix_len);
        for command in [
            format!("link add {SERVER} type veth peer name {CLIENT} netns {pid}"),
            format!("addr add {address} dev {SERVER}"),
            format!("link set {SERVER} up"),
        ] {
            let arguments: Vec<&str> = command.split(' ').collect();
            success(run("ip", &arguments).await);
        }
        let facts = Arc::<Facts>::default();
        let cable = Cable::open(SERVER);
        let server = BootServer::start(config, Arc::new(cable), facts.sink()).await;
        let segment = Self {
            server: server.expect("the server starts"),
            facts,
            folder: tempfile::tempdir().unwrap(),
            holder,
        };
        let mac = crate::common::MAC.to_string();
        segment
            .client(&["ip", "link", "set", CLIENT, "address", &mac])
            .await;
        segment.client(&["ip", "link", "set", CLIENT, "up"]).await;
        segment
    }

    /// Runs a program at the client's end.
    pub async fn try_client(&self, command: &[&str]) -> Output {
        let pid = self.holder.id().to_string();
        run("nsenter", &[&["-t", &pid, "-n"], command].concat()).await
    }

    /// Runs a program at the client's end; it must succeed. Gives what it printed.
    pub async fn client(&self, command: &[&str]) -> String {
        success(self.try_client(command).await)
    }

    /// Starts a program at the client's end; the process is the program's own.
    pub fn start_client(&self, command: &[&str]) -> tokio::process::Child {
        let pid = self.holder.id().to_string();
        let mut nsenter = tokio::process::Command::new("nsenter");
        nsenter.args(["-t", &pid, "-n"]).args(command);
        nsenter.stdin(Stdio::null()).kill_on_drop(true);
        nsenter.spawn().expect("run nsenter")
    }

    /// Writes a shell script; its path.
    pub fn script(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

pub fn success(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text.into_owned()
}

/// Sockets on the server's end.
pub struct Cable(HostInterface);

impl Cable {
    pub fn open(interface: &str) -> Self {
        Self(HostInterface::open(interface).expect("the server's interface"))
    }
}

fn packets(socket: bootgate_hostnet::PacketSocket) -> PacketSocket {
    PacketSocket {
        fd: socket.fd,
        mac: socket.mac.0,
        ifindex: socket.ifindex,
    }
}

impl SocketSource for Cable {
    fn udp(&self, bind: SocketAddrV4, broadcast: bool) -> BoxFuture<'_, io::Result<UdpSocket>> {
        let options = UdpOptions {
            broadcast,
            ..UdpOptions::new(bind)
        };
        Box::pin(async move { self.0.udp_socket(options) })
    }

    fn tcp_listener(&self, bind: SocketAddrV4) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(async move { self.0.tcp_listener(bind) })
    }

    fn packet(&self, ethertype: u16) -> BoxFuture<'_, io::Result<PacketSocket>> {
        Box::pin(async move { self.0.packet_socket(ethertype).map(packets) })
    }

    fn dhcp_replies(&self) -> BoxFuture<'_, io::Result<PacketSocket>> {
        Box::pin(async move { self.0.dhcp_replies().map(packets) })
    }
}
