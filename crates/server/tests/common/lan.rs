//! Networks of bridges in the test's own namespace, hosts of their own namespaces on them, and a lab's servers.

#![allow(dead_code, reason = "each test file uses its part of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use bootgate_events::{EventKind, MacAddr};
use bootgate_hostnet::host::HostInterface;
use bootgate_netboot::dhcp::{DhcpConfig, DhcpMode, InterfaceConfig, ServerFacts};
use bootgate_netboot::frame::udp4_in;
use bootgate_server::{
    BootServer, EventSink, Machines, ServerConfig, Services, Shared, SharedParts, SocketSource,
};
use bootgate_store::Store;

use crate::common::{Facts, run};
use crate::segment::{Cable, success};

/// A host's own name for its interface.
pub const ETH: &str = "eth0";

/// Runs `ip` in the test's namespace.
pub async fn ip(command: &str) {
    let arguments: Vec<&str> = command.split(' ').collect();
    success(run("ip", &arguments).await);
}

/// A bridge; the server listens on it, hosts hang on it.
pub struct Lan {
    pub name: &'static str,
}

impl Lan {
    /// A bridge with an address such as `10.1.0.1/24`.
    pub async fn new(name: &'static str, address: &str) -> Self {
        ip(&format!("link add {name} type bridge")).await;
        ip(&format!("addr add {address} dev {name}")).await;
        ip(&format!("link set {name} up")).await;
        Self { name }
    }

    /// A host on this network, with an interface [`ETH`] of this hardware address.
    pub async fn host(&self, mac: MacAddr) -> Host {
        let host = Host::new();
        host.plug(self, ETH, mac).await;
        host
    }

    /// A plug without a host, to send frames from.
    pub async fn plug(&self) -> HostInterface {
        let (name, end) = (format!("{}x", self.name), format!("{}y", self.name));
        ip(&format!("link add {name} type veth peer name {end}")).await;
        ip(&format!("link set {end} master {} up", self.name)).await;
        ip(&format!("link set {name} up")).await;
        HostInterface::open(&name).expect("the plug")
    }

    /// Keeps every frame that the server sends or hears from now on.
    pub fn capture(&self) -> Capture {
        const EVERY_FRAME: u16 = 3;
        let interface = HostInterface::open(self.name).expect("the bridge");
        Capture(
            interface
                .packet_socket(EVERY_FRAME)
                .expect("a packet socket")
                .fd,
        )
    }
}

/// A network namespace.
pub struct Host {
    holder: Child,
    pub folder: tempfile::TempDir,
}

impl Host {
    pub fn new() -> Self {
        let mut holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("run unshare");
        let mut line = String::new();
        let mut output = BufReader::new(holder.stdout.take().unwrap());
        output.read_line(&mut line).expect("the holder is ready");
        Self {
            holder,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Gives it an interface on this network.
    pub async fn plug(&self, lan: &Lan, interface: &str, mac: MacAddr) {
        let pid = self.holder.id();
        let port = format!("p{pid}{}", &lan.name[lan.name.len() - 1..]);
        ip(&format!(
            "link add {port} type veth peer name {interface} netns {pid}"
        ))
        .await;
        ip(&format!("link set {port} master {} up", lan.name)).await;
        let address = mac.to_string();
        self.run(&["ip", "link", "set", interface, "address", &address])
            .await;
        self.run(&["ip", "link", "set", interface, "up"]).await;
        self.run(&["ip", "link", "set", "lo", "up"]).await;
    }

    pub async fn try_run(&self, command: &[&str]) -> Output {
        let pid = self.holder.id().to_string();
        run("nsenter", &[&["-t", &pid, "-n"], command].concat()).await
    }

    /// Runs a program, which must succeed. Gives what it printed.
    pub async fn run(&self, command: &[&str]) -> String {
        success(self.try_run(command).await)
    }

    /// Starts a program; it ends with its handle.
    pub fn start(&self, command: &[&str]) -> tokio::process::Child {
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
        let mut file = std::fs::File::create(&path).unwrap();
        writeln!(file, "#!/bin/sh\n{text}").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Runs udhcpc until it is bound or gives up after so many DISCOVERs, one a second; what its script was told.
    pub async fn udhcpc(&self, tries: u32, more: &[&str]) -> Option<String> {
        let told = self.folder.path().join("udhcpc.env");
        let _ = std::fs::remove_file(&told);
        let text = format!("if [ \"$1\" = bound ]; then env > {}; fi", told.display());
        let script = self.script("udhcpc.sh", &text);
        let tries = tries.to_string();
        let command = [
            "udhcpc", "-i", ETH, "-f", "-n", "-q", "-t", &tries, "-T", "1", "-s", &script,
        ];
        let output = self.try_run(&[&command, more].concat()).await;
        let told = std::fs::read_to_string(told).ok()?;
        assert!(output.status.success(), "{output:?}");
        Some(told)
    }

    /// As [`Host::udhcpc`]; the address it got.
    pub async fn address(&self, tries: u32) -> Option<Ipv4Addr> {
        let told = self.udhcpc(tries, &[]).await?;
        Some(value(&told, "ip").parse().expect("an address"))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// A value that a client's script wrote as a line `NAME=VALUE`.
pub fn value(text: &str, name: &str) -> String {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}=")));
    found
        .unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim_matches('\'')
        .to_owned()
}

/// Frames in the order in which they went over the wire.
pub struct Capture(std::os::fd::OwnedFd);

/// A reply of a DHCP server on the wire.
#[derive(Debug)]
pub struct SeenReply {
    pub from_ip: Ipv4Addr,
    pub from_port: u16,
    pub facts: ServerFacts,
}

impl Capture {
    /// The servers' replies since the last call.
    pub fn replies(&self) -> Vec<SeenReply> {
        let mut replies = Vec::new();
        let mut buffer = [0; 2048];
        while let Ok((len, _)) =
            rustix::net::recv(&self.0, &mut buffer, rustix::net::RecvFlags::DONTWAIT)
        {
            let Some(datagram) = udp4_in(&buffer[..len]) else {
                continue;
            };
            if let Ok(facts) = ServerFacts::parse(datagram.payload) {
                replies.push(SeenReply {
                    from_ip: *datagram.source.ip(),
                    from_port: datagram.source.port(),
                    facts,
                });
            }
        }
        replies
    }
}

/// A lab's DHCP servers, one for each interface.
pub struct Lab {
    pub servers: Vec<BootServer>,
    pub shared: Arc<Shared>,
    pub machines: Arc<Machines>,
    pub facts: Arc<Facts>,
}

/// An interface in mode `full`.
pub fn interface(name: &str, address: Ipv4Addr, prefix_len: u8) -> InterfaceConfig {
    InterfaceConfig {
        name: name.to_owned(),
        address,
        prefix_len,
        mode: DhcpMode::Full,
        http_port: 80,
    }
}

impl Lab {
    pub async fn start(dhcp: DhcpConfig, store: Option<Arc<dyn Store>>) -> Self {
        let facts = Arc::<Facts>::default();
        let sink: EventSink = facts.sink();
        let interfaces = dhcp.interfaces.clone();
        let responder = bootgate_netboot::dhcp::Responder::new(dhcp);
        let mut parts = SharedParts::new(responder, sink);
        if let Some(store) = store {
            parts.keep_leases(store).expect("the leases of before");
        }
        let machines = Arc::clone(&parts.machines);
        let shared = Shared::new(parts);
        let mut servers = Vec::new();
        for (number, interface) in interfaces.iter().enumerate() {
            let ip = interface.address;
            let mut config = ServerConfig::new(ip, interface.prefix_len, ip..=ip);
            config.services = Services {
                dhcp: true,
                ra: false,
                tftp: false,
                http: false,
            };
            config.interface = bootgate_netboot::dhcp::InterfaceId(number);
            config.pxe = interface.mode != DhcpMode::Off;
            let sockets: Arc<dyn SocketSource> = Arc::new(Cable::open(&interface.name));
            let server = BootServer::start_on(Arc::clone(&shared), config, sockets).await;
            servers.push(server.expect("the server starts"));
        }
        Self {
            servers,
            shared,
            machines,
            facts,
        }
    }

    /// How often messages were left without an answer for this reason.
    pub fn drops(&self, reason: &str) -> u64 {
        let drops = self.shared.drops();
        let found = drops.iter().find(|((_, slug), _)| *slug == reason);
        found.map_or(0, |(_, count)| *count)
    }

    /// How many messages of this kind came from this machine.
    pub fn received(&self, mac: MacAddr, message: &str) -> usize {
        let wanted = |kind: &EventKind| {
            matches!(kind, EventKind::DhcpReceived { mac: m, facts }
                if *m == mac && facts.message == message)
        };
        self.facts
            .kinds()
            .iter()
            .filter(|kind| wanted(kind))
            .count()
    }

    pub async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
        let shared = self.shared;
        let closed = tokio::task::spawn_blocking(move || shared.close());
        closed.await.expect("the lease writer ends");
    }
}
