//! A boot server on loopback, and its events.

#![allow(dead_code, reason = "each test file uses its part of it")]

pub mod tftp_client;

use std::io;
use std::net::{
    Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket,
};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bootgate_events::{ArtifactRole, EventKind, MacAddr};
use bootgate_server::{
    Artifact, ArtifactName, BootServer, BoxFuture, EventSink, Fact, PacketSocket, ServerConfig,
    Services, SocketSource,
};
use tokio::sync::Notify;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The machine that [`Bench::lease`] gives an address to.
pub const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 7]);
/// The address it gets. All of 127/8 is this host, so that a client can call from there.
pub const LEASED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 50);

/// Sockets on loopback.
pub struct Loopback;

impl SocketSource for Loopback {
    fn udp(&self, bind: SocketAddrV4, _: bool) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(bind)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
    }

    fn tcp_listener(&self, bind: SocketAddrV4) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(async move {
            let listener = TcpListener::bind(bind)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        })
    }

    fn packet(&self, _: u16) -> BoxFuture<'_, io::Result<PacketSocket>> {
        Box::pin(async { Err(io::Error::from(io::ErrorKind::Unsupported)) })
    }

    fn udp6(&self, bind: SocketAddrV6, _: &[Ipv6Addr]) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(bind)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
    }
}

/// Everything the server told.
#[derive(Default)]
pub struct Facts {
    all: Mutex<Vec<Fact>>,
    more: Notify,
}

impl Facts {
    pub fn sink(self: &Arc<Self>) -> EventSink {
        let facts = Arc::clone(self);
        Arc::new(move |fact| {
            facts.all.lock().unwrap().push(fact);
            facts.more.notify_waiters();
        })
    }

    pub fn all(&self) -> Vec<Fact> {
        self.all.lock().unwrap().clone()
    }

    pub fn kinds(&self) -> Vec<EventKind> {
        self.all().into_iter().map(|fact| fact.kind).collect()
    }

    pub fn count(&self, name: &str) -> usize {
        self.kinds().iter().filter(|k| k.name() == name).count()
    }

    /// Waits for the first event that `wanted` likes, past ones included.
    pub async fn wait<T>(&self, what: &str, wanted: impl Fn(&Fact) -> Option<T>) -> T {
        let waiting = async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if let Some(found) = self.all().iter().find_map(&wanted) {
                    return found;
                }
                more.await;
            }
        };
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => found,
            Err(_) => panic!("no {what} among {:#?}", self.all()),
        }
    }

    /// Waits for the `count`-th event of this kind.
    pub async fn wait_count(&self, name: &str, count: usize) {
        let waiting = async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if self.count(name) >= count {
                    return;
                }
                more.await;
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("fewer than {count} of `{name}` among {:#?}", self.all());
        }
    }

    /// Waits for the bytes of the first completed transfer whose path ends so.
    pub async fn completed(&self, path: &str) -> u64 {
        self.wait("completed transfer", |fact| match &fact.kind {
            EventKind::TransferCompleted { path: p, bytes, .. } if p.ends_with(path) => {
                Some(*bytes)
            }
            _ => None,
        })
        .await
    }

    /// Waits for the first aborted transfer whose path ends so: bytes, reason, benign.
    pub async fn aborted(&self, path: &str) -> (u64, String, bool) {
        self.wait("aborted transfer", |fact| match &fact.kind {
            EventKind::TransferAborted {
                path: p,
                bytes,
                reason,
                benign,
                ..
            } if p.ends_with(path) => Some((*bytes, reason.clone(), *benign)),
            _ => None,
        })
        .await
    }
}

/// A running server and a folder for its files.
pub struct Bench {
    pub server: BootServer,
    pub facts: Arc<Facts>,
    pub folder: tempfile::TempDir,
}

pub fn config() -> ServerConfig {
    let pool = LEASED..=Ipv4Addr::new(127, 0, 0, 60);
    ServerConfig {
        http_port: 0,
        tftp_port: 0,
        dhcp_port: 0,
        services: Services {
            ra: false,
            ..Services::default()
        },
        ..ServerConfig::new(Ipv4Addr::LOCALHOST, 8, pool)
    }
}

impl Bench {
    pub async fn start() -> Self {
        Self::with(config()).await
    }

    pub async fn with(config: ServerConfig) -> Self {
        let facts = Arc::<Facts>::default();
        let server = BootServer::start(config, Arc::new(Loopback), facts.sink()).await;
        Self {
            server: server.expect("the server starts on loopback"),
            facts,
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// Writes a file and gives it out.
    pub fn give(&self, name: &str, role: ArtifactRole, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name.replace('/', "_"));
        std::fs::write(&path, bytes).expect("write a file");
        self.give_path(name, role, &path);
        path
    }

    pub fn give_path(&self, name: &str, role: ArtifactRole, path: &Path) {
        let name = ArtifactName::new(name).expect("a name");
        self.server
            .artifacts()
            .insert(name, Artifact::new(path, role));
    }

    pub fn http(&self) -> SocketAddrV4 {
        self.server.addresses().http.expect("HTTP runs")
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http())
    }

    pub fn tftp(&self) -> SocketAddr {
        SocketAddr::V4(self.server.addresses().tftp.expect("TFTP runs"))
    }

    /// Lets [`MAC`] lease [`LEASED`].
    pub async fn lease(&self) {
        let port = self.server.addresses().dhcp.expect("DHCP runs").port();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let server = (Ipv4Addr::LOCALHOST, port);
        socket.send_to(&dhcp_message(1), server).expect("send");
        self.facts.wait_count("dhcp-received", 1).await;
        socket.send_to(&dhcp_message(3), server).expect("send");
        self.facts.wait_count("dhcp-received", 2).await;
    }
}

/// A DISCOVER (1) or a REQUEST (3) for [`LEASED`].
fn dhcp_message(kind: u8) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[28..34].copy_from_slice(&MAC.0);
    message.extend([99, 130, 83, 99, 53, 1, kind, 50, 4]);
    message.extend(LEASED.octets());
    if kind == 3 {
        message.extend([54, 4, 127, 0, 0, 1]);
    }
    message.push(255);
    message.resize(300, 0);
    message
}

/// Bytes that differ from place to place and from seed to seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Runs a client program to its end.
pub async fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).kill_on_drop(true);
    command.stdin(std::process::Stdio::null());
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    output
        .unwrap_or_else(|_| panic!("{program} {arguments:?} takes too long"))
        .unwrap_or_else(|error| panic!("run {program}: {error}"))
}

/// Runs curl, which must succeed, and gives what it printed.
pub async fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = run("curl", &[&["-sS", "--max-time", "50"], arguments].concat()).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {errors}");
    output.stdout
}

/// As [`curl`], as text.
pub async fn curl_text(arguments: &[&str]) -> String {
    String::from_utf8(curl(arguments).await).expect("text")
}
