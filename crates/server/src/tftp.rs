//! The TFTP server: one task for the port, one for each transfer.

mod transfer;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bootgate_events::{ArtifactRole, FaultAction, MacAddr, Protocol};
use bootgate_netboot::tftp::{BadRequest, ErrorCode, Limits, ReadRequest, Refusal};
use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, Id, JoinSet};

use crate::context::{Context, ERRORS_IN_A_ROW, Refused};
use crate::files::ServedFile;
use crate::{Artifact, SocketSource};

/// Longest request that is read. RFC 2347 says 512; some loaders exceed it.
const REQUEST_MAX: usize = 2048;

pub(crate) struct TftpServer {
    context: Arc<Context>,
    sockets: Arc<dyn SocketSource>,
    socket: UdpSocket,
    limits: Limits,
    running: JoinSet<()>,
    by_peer: HashMap<SocketAddr, Active>,
    peers: HashMap<Id, SocketAddr>,
}

/// What a client gets for the path that it asked for.
pub(crate) enum Source {
    /// A file on the disk.
    Artifact(Artifact),
    /// A file made for this client and this request.
    #[allow(dead_code, reason = "the seam for per-machine loader files")]
    Generated {
        /// Its content.
        bytes: Bytes,
        /// What it is for.
        role: ArtifactRole,
    },
}

impl Source {
    fn role(&self) -> ArtifactRole {
        match self {
            Source::Artifact(artifact) => artifact.role,
            Source::Generated { role, .. } => *role,
        }
    }

    /// Where its content lies, in words.
    fn place(&self) -> String {
        match self {
            Source::Artifact(artifact) => artifact.path.display().to_string(),
            Source::Generated { .. } => "memory".to_owned(),
        }
    }

    async fn open(&self, corrupt: bool) -> io::Result<ServedFile> {
        match self {
            Source::Artifact(artifact) => ServedFile::open(&artifact.path, corrupt).await,
            Source::Generated { bytes, .. } => Ok(ServedFile::from_memory(bytes.clone(), corrupt)),
        }
    }
}

/// A transfer under way.
struct Active {
    task: AbortHandle,
    path: String,
    /// The client has acknowledged something.
    moved: Arc<AtomicBool>,
}

impl TftpServer {
    pub(crate) fn new(
        context: Arc<Context>,
        sockets: Arc<dyn SocketSource>,
        socket: UdpSocket,
    ) -> Self {
        let limits = Limits {
            max_block: context.config.mtu.saturating_sub(32).clamp(512, 65464),
            max_window_bytes: context.config.limits.tftp_window_bytes,
            ..Limits::default()
        };
        Self {
            context,
            sockets,
            socket,
            limits,
            running: JoinSet::new(),
            by_peer: HashMap::new(),
            peers: HashMap::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut buffer = [0; REQUEST_MAX];
        let mut errors = 0;
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => match received {
                    Ok((len, peer)) => {
                        errors = 0;
                        self.request(&buffer[..len], peer).await;
                    }
                    Err(error) if errors < ERRORS_IN_A_ROW => {
                        errors += 1;
                        let reason = format!("receive a request: {error}");
                        self.context.dropped("tftp", None, &reason);
                    }
                    Err(error) => {
                        self.context.failed("tftp", format!("receive a request: {error}"));
                        return;
                    }
                },
                Some(ended) = self.running.join_next_with_id() => {
                    let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                    self.forget(id);
                }
            }
        }
    }

    fn forget(&mut self, id: Id) {
        if let Some(peer) = self.peers.remove(&id)
            && self
                .by_peer
                .get(&peer)
                .is_some_and(|active| active.task.id() == id)
        {
            self.by_peer.remove(&peer);
        }
    }

    async fn request(&mut self, datagram: &[u8], peer: SocketAddr) {
        let mac = self.context.mac_of(peer.ip());
        let request = match ReadRequest::parse(datagram) {
            Ok(request) => request,
            Err(bad) => return self.bad(bad, peer, mac).await,
        };
        let path = request.path.to_string();
        if !self.make_room(&path, peer) {
            return self.context.dropped("tftp", mac, "request repeated");
        }
        if self.is_full(peer) {
            let refusal = Refusal::new(ErrorCode::UNDEFINED, "too many transfers at once");
            return self
                .refuse(peer, mac, ArtifactRole::Other, &path, refusal)
                .await;
        }
        let Some(source) = self.source(&path) else {
            let refusal = Refusal::new(ErrorCode::NOT_FOUND, "file not found");
            return self
                .refuse(peer, mac, ArtifactRole::Other, &path, refusal)
                .await;
        };
        if self.context.fault(mac, source.role()) == Some(FaultAction::NotFound) {
            self.context.inject(mac, FaultAction::NotFound, &path);
            let refusal = Refusal::new(ErrorCode::NOT_FOUND, "file not found");
            return self.refuse(peer, mac, source.role(), &path, refusal).await;
        }
        self.spawn(request, source, peer, mac);
    }

    /// What `path` names: this is the one place where a path becomes content.
    fn source(&self, path: &str) -> Option<Source> {
        self.context.artifacts.get(path).map(Source::Artifact)
    }

    /// Whether a new transfer may begin for this port of this client. Where one is under way already, the request is
    /// either a repetition, since our first packet was lost or is late, or the client has given up the old one.
    fn make_room(&mut self, path: &str, peer: SocketAddr) -> bool {
        let Some(active) = self.by_peer.get(&peer) else {
            return true;
        };
        if active.path == path && !active.moved.load(Ordering::Relaxed) {
            return false;
        }
        active.task.abort();
        self.by_peer.remove(&peer);
        true
    }

    fn is_full(&self, peer: SocketAddr) -> bool {
        let limits = &self.context.config.limits;
        let same = self.by_peer.keys().filter(|other| other.ip() == peer.ip());
        self.by_peer.len() >= limits.tftp_transfers
            || same.count() >= limits.tftp_transfers_per_client
    }

    fn spawn(
        &mut self,
        request: ReadRequest,
        source: Source,
        peer: SocketAddr,
        mac: Option<MacAddr>,
    ) {
        let moved = Arc::new(AtomicBool::new(false));
        let path = request.path.to_string();
        let download = transfer::Download {
            context: Arc::clone(&self.context),
            sockets: Arc::clone(&self.sockets),
            limits: self.limits,
            request,
            source,
            peer,
            mac,
            moved: Arc::clone(&moved),
        };
        let task = self.running.spawn(download.run());
        self.peers.insert(task.id(), peer);
        self.by_peer.insert(peer, Active { task, path, moved });
    }

    async fn bad(&self, bad: BadRequest, peer: SocketAddr, mac: Option<MacAddr>) {
        match bad.refusal {
            Some(refusal) => {
                let role = self.context.artifacts.get(&bad.path);
                let role = role.map_or(ArtifactRole::Other, |artifact| artifact.role);
                self.refuse(peer, mac, role, &bad.path, refusal).await;
            }
            None => self.context.dropped("tftp", mac, &bad.reason),
        }
    }

    async fn refuse(
        &self,
        peer: SocketAddr,
        mac: Option<MacAddr>,
        role: ArtifactRole,
        path: &str,
        refusal: Refusal,
    ) {
        // Best effort, as every packet: a client that does not get it asks again.
        let _ = self.socket.send_to(&refusal.to_packet(), peer).await;
        let refused = Refused {
            protocol: Protocol::Tftp,
            role,
            path,
            peer: peer.ip(),
            code: refusal.code.0,
            reason: refusal.text,
        };
        self.context.refused(mac, refused);
    }
}
