//! The TFTP server: one task for the port, one thread for each transfer.

mod leash;
mod reader;
mod source;
mod transfer;
mod wire;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bootgate_events::{ArtifactRole, FaultAction, MacAddr, Protocol};
use bootgate_netboot::tftp::{BadRequest, ErrorCode, Limits, ReadRequest, Refusal};
use tokio::net::UdpSocket;
use tokio::task::{Id, JoinSet};

use crate::context::{Context, ERRORS_IN_A_ROW, Refused, Taking};
use crate::{ServerConfig, SocketSource};
use leash::Leash;

/// Longest request that is read, less one. RFC 2347 says 512; some loaders exceed it.
const REQUEST_MAX: usize = 2048;
/// Age from which a transfer whose client has never answered makes room for another, where there are too many: a
/// client that is there answers sooner.
const HALF_OPEN: Duration = Duration::from_millis(250);
/// Refused requests that become events in one second; further ones are counted. A loader that looks for its
/// configuration asks for some twenty names that are not there.
const REFUSALS_PER_SECOND: u32 = 100;

pub(crate) struct TftpServer {
    port: Arc<Port>,
    running: JoinSet<()>,
    by_peer: HashMap<SocketAddr, Active>,
    /// Also those that were told to end and have not ended yet.
    leashes: HashMap<Id, (SocketAddr, Arc<Leash>)>,
}

/// What all transfers of a server share.
struct Port {
    context: Arc<Context>,
    sockets: Arc<dyn SocketSource>,
    socket: UdpSocket,
    /// Where the socket is bound: transfers are sent from the same address.
    local: SocketAddr,
    limits: Limits,
    /// The place in the port range where the next transfer looks first.
    next_port: AtomicU32,
    told: Mutex<Told>,
}

/// Refused requests that were told in one second.
#[derive(Default)]
struct Told {
    second: u64,
    count: u32,
}

/// A transfer under way.
struct Active {
    id: Id,
    leash: Arc<Leash>,
    path: String,
    since: Instant,
    /// The client's address was leased from here.
    known: bool,
    /// The client has acknowledged something.
    moved: Arc<AtomicBool>,
}

impl TftpServer {
    pub(crate) fn new(
        context: Arc<Context>,
        sockets: Arc<dyn SocketSource>,
        socket: UdpSocket,
    ) -> Self {
        let here = SocketAddr::from((context.config.server_ip, context.config.tftp_port));
        let local = socket.local_addr().unwrap_or(here);
        let port = Port {
            limits: limits(&context.config, local),
            context,
            sockets,
            socket,
            local,
            next_port: AtomicU32::new(0),
            told: Mutex::default(),
        };
        Self {
            port: Arc::new(port),
            running: JoinSet::new(),
            by_peer: HashMap::new(),
            leashes: HashMap::new(),
        }
    }

    pub(crate) async fn run(mut self, taking: Taking) {
        let port = Arc::clone(&self.port);
        let mut buffer = [0; REQUEST_MAX];
        let mut errors = 0;
        loop {
            tokio::select! {
                () = port.context.closing() => break,
                received = port.socket.recv_from(&mut buffer) => match received {
                    Ok((len, peer)) => {
                        errors = 0;
                        self.take(&buffer[..len], peer).await;
                    }
                    Err(error) if errors < ERRORS_IN_A_ROW => {
                        errors += 1;
                        let reason = format!("receive a request: {error}");
                        port.context.dropped_as("tftp", "receive-error", None, &reason);
                    }
                    Err(error) => {
                        port.context.failed("tftp", format!("receive a request: {error}"));
                        return;
                    }
                },
                Some(ended) = self.running.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    self.forget(id);
                }
            }
        }
        drop(taking);
        // Nobody reads for transfers that have no socket of their own: they end with this.
        while !port.context.config.tftp_single_port
            && let Some(ended) = self.running.join_next_with_id().await
        {
            let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
            self.forget(id);
        }
    }

    fn forget(&mut self, id: Id) {
        if let Some((peer, _)) = self.leashes.remove(&id)
            && self
                .by_peer
                .get(&peer)
                .is_some_and(|active| active.id == id)
        {
            self.by_peer.remove(&peer);
        }
    }

    async fn take(&mut self, datagram: &[u8], peer: SocketAddr) {
        if self.port.context.config.tftp_single_port && self.hand_over(datagram, peer) {
            return;
        }
        self.request(datagram, peer).await;
    }

    /// In single-port mode, gives a packet to the transfer that it belongs to. False where it belongs to none.
    fn hand_over(&mut self, datagram: &[u8], peer: SocketAddr) -> bool {
        let [0, operation, ..] = *datagram else {
            return false;
        };
        // Requests have the operation codes 1 and 2 (RFC 1350).
        if matches!(operation, 1 | 2) {
            return false;
        }
        let Some(active) = self.by_peer.get(&peer) else {
            return false;
        };
        if !active.leash.deliver(datagram) {
            let context = &self.port.context;
            context.dropped_as("tftp", "inbox-full", None, "too many packets at once");
        } else if operation == 5 {
            // The client is through with it: a request that follows at once is a new one.
            self.by_peer.remove(&peer);
        }
        true
    }

    async fn request(&mut self, datagram: &[u8], peer: SocketAddr) {
        let context = Arc::clone(&self.port.context);
        let mac = context.mac_of(peer.ip());
        if datagram.len() >= REQUEST_MAX {
            let why = "longer than any request";
            return context.dropped_as("tftp", "oversized", mac, why);
        }
        let request = match ReadRequest::parse(datagram) {
            Ok(request) => request,
            Err(bad) => return self.bad(bad, peer, mac).await,
        };
        if self.repeats(&request, peer) {
            return context.dropped_as("tftp", "repeated-request", mac, "request repeated");
        }
        let path = request.path.as_str();
        if !self.make_room(peer, mac.is_some()) {
            let role = ArtifactRole::Other;
            return self.port.refuse(peer, mac, role, path, too_many()).await;
        }
        let artifact = context.artifacts.get(path);
        if let Some(role) = artifact.as_ref().map(|artifact| artifact.role)
            && context.fault(mac, role) == Some(FaultAction::NotFound)
        {
            context.inject(mac, FaultAction::NotFound, path);
            let refusal = Refusal::new(ErrorCode::NOT_FOUND, "file not found");
            return self.port.refuse(peer, mac, role, path, refusal).await;
        }
        let leash = Arc::<Leash>::default();
        let moved = Arc::new(AtomicBool::new(false));
        self.spawn(transfer::Download {
            port: Arc::clone(&self.port),
            request,
            artifact,
            peer,
            mac,
            moved,
            leash,
        });
    }

    /// Whether this only repeats the request of a transfer under way, whose first packet was lost or is late. If not,
    /// a client that asks from the same port has given up the old transfer, which ends.
    fn repeats(&mut self, request: &ReadRequest, peer: SocketAddr) -> bool {
        let Some(active) = self.by_peer.get(&peer) else {
            return false;
        };
        if active.path == request.path.as_str() && !active.moved.load(Ordering::Relaxed) {
            return true;
        }
        active.leash.stop();
        self.by_peer.remove(&peer);
        false
    }

    /// Whether there is room for one more. Where others fill the server, the oldest of those whose clients have never
    /// answered goes, for a client with a lease even a young one without: requests with forged senders must not keep
    /// out a client that is there.
    fn make_room(&mut self, peer: SocketAddr, known: bool) -> bool {
        let limits = self.port.context.limits();
        let same = self.by_peer.keys().filter(|other| other.ip() == peer.ip());
        if same.count() >= limits.tftp_transfers_per_client {
            return false;
        }
        // Those that were told to end have threads still, for a moment.
        if !known && self.leashes.len() >= limits.tftp_transfers.saturating_mul(2) {
            return false;
        }
        if self.by_peer.len() < limits.tftp_transfers {
            return true;
        }
        let half_open = self.by_peer.iter().filter(|(_, active)| {
            let goes = active.since.elapsed() >= HALF_OPEN || (known && !active.known);
            goes && !active.moved.load(Ordering::Relaxed)
        });
        let oldest = half_open.min_by_key(|(_, active)| active.since);
        let Some(peer) = oldest.map(|(peer, _)| *peer) else {
            return false;
        };
        if let Some(active) = self.by_peer.remove(&peer) {
            active.leash.stop();
        }
        true
    }

    fn spawn(&mut self, download: transfer::Download) {
        let peer = download.peer;
        let leash = Arc::clone(&download.leash);
        let path = download.request.path.to_string();
        let moved = Arc::clone(&download.moved);
        let known = download.mac.is_some();
        let id = self.running.spawn(download.run()).id();
        self.leashes.insert(id, (peer, Arc::clone(&leash)));
        let active = Active {
            id,
            leash,
            path,
            since: Instant::now(),
            known,
            moved,
        };
        self.by_peer.insert(peer, active);
    }

    async fn bad(&self, bad: BadRequest, peer: SocketAddr, mac: Option<MacAddr>) {
        let context = &self.port.context;
        match bad.refusal {
            Some(refusal) => {
                let role = context.artifacts.get(&bad.path);
                let role = role.map_or(ArtifactRole::Other, |artifact| artifact.role);
                let path = &bad.path;
                self.port.refuse(peer, mac, role, path, refusal).await;
            }
            None => context.dropped_as("tftp", bad.slug, mac, &bad.reason),
        }
    }
}

/// Threads outlive a task that is aborted; no transfer outlives its server.
impl Drop for TftpServer {
    fn drop(&mut self) {
        for (_, leash) in self.leashes.values() {
            leash.stop();
        }
        for (_, leash) in self.leashes.values() {
            leash.join();
        }
    }
}

impl Port {
    /// The server's socket once more, for a transfer that has none of its own.
    fn clone_socket(&self) -> io::Result<std::net::UdpSocket> {
        Ok(self.socket.as_fd().try_clone_to_owned()?.into())
    }

    async fn answer(&self, peer: SocketAddr, refusal: &Refusal) {
        // Best effort, as every packet: a client that does not get it asks again.
        let _ = self.socket.send_to(&refusal.to_packet(), peer).await;
    }

    async fn refuse(
        &self,
        peer: SocketAddr,
        mac: Option<MacAddr>,
        role: ArtifactRole,
        path: &str,
        refusal: Refusal,
    ) {
        self.answer(peer, &refusal).await;
        self.tell_refused(peer, mac, role, path, refusal.code.0, refusal.text);
    }

    fn tell_refused(
        &self,
        peer: SocketAddr,
        mac: Option<MacAddr>,
        role: ArtifactRole,
        path: &str,
        code: u16,
        reason: String,
    ) {
        if !self.may_tell() {
            let context = &self.context;
            return context.dropped_as("tftp", "refused", mac, &reason);
        }
        let refused = Refused {
            protocol: Protocol::Tftp,
            role,
            path,
            peer: peer.ip(),
            code,
            reason,
        };
        self.context.refused(mac, refused);
    }

    fn may_tell(&self) -> bool {
        let second = self.context.now().as_secs();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.second != second {
            *told = Told { second, count: 0 };
        }
        told.count += 1;
        told.count <= REFUSALS_PER_SECOND
    }
}

fn too_many() -> Refusal {
    Refusal::new(ErrorCode::UNDEFINED, "too many transfers at once")
}

/// Blocks that fit a frame of the interface behind the headers of IP, UDP (8 bytes) and TFTP (4): many boot ROMs
/// cannot put fragments together.
fn limits(config: &ServerConfig, local: SocketAddr) -> Limits {
    let ip = if local.is_ipv4() { 20 } else { 40 };
    Limits {
        max_block: config.mtu.saturating_sub(ip + 12).clamp(512, 65464),
        max_window_bytes: config.limits.tftp_window_bytes,
        ..Limits::default()
    }
}
