//! Both ends of the TFTP bench, so that our server and its peer meet the same client.
//!
//! ```text
//! tftp_bench serve ADDRESS FOLDER             serves the folder's files until standard input ends
//! tftp_bench fetch ADDRESS FILE BLOCK WINDOW CLIENTS
//! ```
//!
//! `fetch` gets the file so many times at once, each on a thread of its own, compares each block with the file on the
//! disk, and prints one JSON line.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    reason = "a tool of the bench"
)]

use std::io::{self, Read};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use bootgate_events::ArtifactRole;
use bootgate_server::{
    Artifact, ArtifactName, BootServer, BoxFuture, PacketSocket, ServerConfig, Services,
    SocketSource,
};

/// A client that hears nothing for so long says its last word again.
const PATIENCE: Duration = Duration::from_secs(1);
/// So often in a row; then it gives up.
const TRIES: u32 = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["serve", address, folder] => serve(address.parse().unwrap(), Path::new(folder)),
        ["fetch", address, file, block, window, clients] => fetch(
            address.parse().unwrap(),
            Path::new(file),
            block.parse().unwrap(),
            window.parse().unwrap(),
            clients.parse().unwrap(),
        ),
        _ => {
            panic!(
                "usage: tftp_bench serve ADDRESS FOLDER | fetch ADDRESS FILE BLOCK WINDOW CLIENTS"
            )
        }
    }
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap().to_str().unwrap().to_owned()
}

struct Host;

impl SocketSource for Host {
    fn udp(&self, bind: SocketAddrV4, _: bool) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(async move {
            let socket = UdpSocket::bind(bind)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
    }

    fn tcp_listener(&self, _: SocketAddrV4) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn packet(&self, _: u16) -> BoxFuture<'_, io::Result<PacketSocket>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }
}

#[tokio::main]
async fn serve(address: SocketAddrV4, folder: &Path) {
    let mut config = ServerConfig::new(*address.ip(), 8, *address.ip()..=*address.ip());
    config.tftp_port = address.port();
    config.services = Services {
        dhcp: false,
        ra: false,
        tftp: true,
        http: false,
    };
    // All clients of the bench call from one address.
    config.limits.tftp_transfers_per_client = 128;
    let server = BootServer::start(config, Arc::new(Host), Arc::new(|_| {}));
    let server = server.await.expect("start the server");
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let name = ArtifactName::new(name_of(&file)).unwrap();
        let artifact = Artifact::new(file, ArtifactRole::Other);
        server.artifacts().insert(name, artifact);
    }
    println!("ready");
    let ended = tokio::task::spawn_blocking(|| io::stdin().read_to_end(&mut Vec::new()));
    ended.await.unwrap().unwrap();
    server.stop().await;
}

fn fetch(server: SocketAddr, file: &Path, block: usize, window: u16, clients: usize) {
    let content = std::fs::read(file).unwrap();
    let name = name_of(file);
    let barrier = Barrier::new(clients + 1);
    let (seconds, failures) = std::thread::scope(|scope| {
        let run = || {
            barrier.wait();
            Client::fetch(server, &name, &content, block, window)
        };
        let running: Vec<_> = (0..clients).map(|_| scope.spawn(run)).collect();
        barrier.wait();
        let began = Instant::now();
        let ended = running.into_iter().map(|client| client.join().unwrap());
        let failures: Vec<String> = ended.filter_map(Result::err).collect();
        (began.elapsed().as_secs_f64(), failures)
    });
    for failure in &failures {
        eprintln!("{failure}");
    }
    let rate = (content.len() * clients) as f64 / seconds / 1e6;
    println!(
        "{{\"megabytes_per_second\": {rate:.1}, \"seconds\": {seconds:.3}, \"failures\": {}}}",
        failures.len()
    );
}

struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    last: Vec<u8>,
}

impl Client {
    fn fetch(
        server: SocketAddr,
        name: &str,
        content: &[u8],
        block: usize,
        window: u16,
    ) -> Result<(), String> {
        let any = if server.is_ipv4() {
            "0.0.0.0:0"
        } else {
            "[::]:0"
        };
        let socket = UdpSocket::bind(any).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self {
            socket,
            server,
            last: Vec::new(),
        };
        client.say(request(name, block, window));
        client.take(content, block, window)
    }

    fn say(&mut self, packet: Vec<u8>) {
        self.last = packet;
        let _ = self.socket.send_to(&self.last, self.server);
    }

    fn take(&mut self, content: &[u8], block: usize, mut window: u16) -> Result<(), String> {
        let mut buffer = vec![0; block + 4];
        // Blocks in hand, and those of them not yet acknowledged. The window is 1 until an OACK grants more.
        let (mut have, mut unacked) = (0u64, 0u16);
        let asked = window;
        window = 1;
        // In a window that lost a block, one answer is enough.
        let mut told = false;
        loop {
            let length = self.receive(&mut buffer)?;
            let word = |at: usize| u16::from_be_bytes([buffer[at], buffer[at + 1]]);
            match word(0) {
                6 if have == 0 => {
                    if String::from_utf8_lossy(&buffer[2..length]).contains("windowsize") {
                        window = asked;
                    }
                    self.acknowledge(0);
                }
                3 if word(2) == (have + 1) as u16 => {
                    let at = have as usize * block;
                    let data = &buffer[4..length];
                    if content.get(at..at + data.len()) != Some(data) {
                        return Err(format!("block {} differs", have + 1));
                    }
                    have += 1;
                    unacked += 1;
                    told = false;
                    let last = data.len() < block;
                    if last || unacked >= window {
                        self.acknowledge(have as u16);
                        unacked = 0;
                    }
                    if last {
                        let all = at + data.len() == content.len();
                        return all.then_some(()).ok_or_else(|| "too short".to_owned());
                    }
                }
                3 if window > 1 && !told => {
                    told = true;
                    unacked = 0;
                    self.acknowledge(have as u16);
                }
                3 | 6 => {}
                _ => return Err(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            }
        }
    }

    fn acknowledge(&mut self, block: u16) {
        let [hi, lo] = block.to_be_bytes();
        self.say(vec![0, 4, hi, lo]);
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, String> {
        for _ in 0..TRIES {
            match self.socket.recv_from(buffer) {
                Ok((length, from)) => {
                    self.server = from;
                    return Ok(length);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    ) =>
                {
                    let _ = self.socket.send_to(&self.last, self.server);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err("the server is silent".to_owned())
    }
}

fn request(name: &str, block: usize, window: u16) -> Vec<u8> {
    let (block, window) = (block.to_string(), window.to_string());
    let mut fields = vec![name, "octet", "blksize", &block];
    if window != "1" {
        fields.extend(["windowsize", &window]);
    }
    let mut packet = vec![0, 1];
    for field in fields {
        packet.extend(field.as_bytes());
        packet.push(0);
    }
    packet
}
