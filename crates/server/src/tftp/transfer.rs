//! One file on its way to one client.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;

use bootgate_events::{ArtifactRole, FaultAction, MacAddr, Protocol};
use bootgate_netboot::Time;
use bootgate_netboot::tftp::{End, ErrorCode, Handled, ReadRequest, Refusal, Transfer, Transmit};
use tokio::sync::oneshot;

use super::Port;
use super::leash::{Leash, Waker};
use super::reader::Reader;
use super::source::Source;
use super::wire::{Heard, OwnSocket, SEGMENTS, SEGMENTS_BYTES, SharedSocket, Wire};
use crate::Artifact;
use crate::context::ERRORS_IN_A_ROW;
use crate::desk::{FileAsk, Generated};
use crate::files::ServedFile;
use crate::transfers::{Sending, TransferEvents};

/// Longest packet that a client sends in the course of a transfer: an ERROR with its text.
const PACKET_MAX: usize = 1024;
/// Unread packets of one client in single-port mode; more are lost.
const INBOX: usize = 32;

/// Everything a transfer needs; it runs on its own.
pub(super) struct Download {
    pub(super) port: Arc<Port>,
    pub(super) request: ReadRequest,
    /// The file that the path names. Where it names none, there may be one in a folder, or one is made for this machine.
    pub(super) artifact: Option<Artifact>,
    pub(super) peer: SocketAddr,
    pub(super) mac: Option<MacAddr>,
    /// Set when the client has acknowledged something.
    pub(super) moved: Arc<AtomicBool>,
    pub(super) leash: Arc<Leash>,
}

impl Download {
    /// Finds the file, opens a socket, and lets the transfer run on a thread of its own: a transfer in lock-step is as
    /// fast as the way from a packet's arrival to its answer is short, and two system calls on a waiting thread are
    /// the shortest. Ends when the transfer ended.
    pub(super) async fn run(mut self) {
        let Some(source) = self.source().await else {
            return;
        };
        let (waker, wire) = match self.open_wire().await {
            Ok(opened) => opened,
            Err(error) => return self.no_socket(&error).await,
        };
        let (done, ended) = oneshot::channel::<()>();
        let (port, mac, leash) = (Arc::clone(&self.port), self.mac, Arc::clone(&self.leash));
        let launched = leash.launch(waker, move || {
            self.transfer(&source, wire);
            drop(done);
        });
        if let Err(error) = launched {
            let reason = format!("start a thread for a transfer: {error}");
            port.context.dropped_as("tftp", "no-thread", mac, &reason);
        }
        // Its sender is dropped, in a panic too.
        let _ = ended.await;
        leash.join();
    }

    /// The one place where a path becomes content. A request that gets none is answered here.
    async fn source(&mut self) -> Option<Source> {
        if let Some(artifact) = self.artifact.take() {
            return Some(Source::Artifact(artifact));
        }
        let context = &self.port.context;
        if let Some(artifact) = context.artifacts.find(self.request.path.as_str()).await {
            return Some(Source::Artifact(artifact));
        }
        let ask = FileAsk {
            name: self.request.path.to_string(),
            holder: self.mac,
            peer: self.peer.ip(),
            protocol: Protocol::Tftp,
            server_url: context.base_url(),
            give: true,
        };
        let missing = || Refusal::new(ErrorCode::NOT_FOUND, "file not found");
        match context.desk.generated(ask).await {
            Generated::File(served) => {
                self.mac = served.mac.or(self.mac);
                if let Some(told) = served.told {
                    context.emit(self.mac, told);
                }
                Some(Source::Generated(served.bytes))
            }
            Generated::NotOurs => {
                self.refuse(ArtifactRole::Other, missing()).await;
                None
            }
            Generated::Absent => {
                self.port.answer(self.peer, &missing()).await;
                None
            }
            Generated::Refused(refusal) => {
                self.mac = refusal.mac.or(self.mac);
                let answer = Refusal::new(ErrorCode::ACCESS, refusal.reason);
                match refusal.told {
                    Some(told) => {
                        self.port.answer(self.peer, &answer).await;
                        context.emit(self.mac, *told);
                    }
                    None => self.refuse(ArtifactRole::Script, answer).await,
                }
                None
            }
        }
    }

    async fn refuse(&self, role: ArtifactRole, refusal: Refusal) {
        let path = self.request.path.as_str();
        self.port
            .refuse(self.peer, self.mac, role, path, refusal)
            .await;
    }

    async fn no_socket(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::AddrInUse {
            // Each port of the range has its transfer.
            return self.refuse(ArtifactRole::Other, super::too_many()).await;
        }
        let reason = format!("open a socket for `{}`: {error}", self.request.path);
        let context = &self.port.context;
        context.dropped_as("tftp", "no-socket", self.mac, &reason);
    }

    async fn open_wire(&self) -> io::Result<(Waker, Wire)> {
        if self.port.context.config.tftp_single_port {
            let (sender, inbox) = sync_channel(INBOX);
            let socket = self.port.clone_socket()?;
            let peer = self.peer;
            let shared = SharedSocket {
                socket,
                peer,
                inbox,
            };
            return Ok((Waker::Inbox(sender), Wire::Shared(shared)));
        }
        let socket = self.open_socket().await?;
        socket.connect(self.peer)?;
        let socket = Arc::new(socket);
        let own = OwnSocket::new(Arc::clone(&socket))?;
        Ok((Waker::Socket(socket), Wire::Own(own)))
    }

    async fn open_socket(&self) -> io::Result<UdpSocket> {
        let Some(ports) = &self.port.context.config.tftp_ports else {
            return self.bind(0).await;
        };
        // Each begins with another one, so that a port rests before it is used again.
        let count = u32::from(ports.end().saturating_sub(*ports.start())) + 1;
        let first = self.port.next_port.fetch_add(1, Ordering::Relaxed);
        for step in 0..count {
            let place = first.wrapping_add(step) % count;
            let port = ports.start() + u16::try_from(place).unwrap_or(0);
            match self.bind(port).await {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound,
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }

    /// A socket on the address that the request came to.
    async fn bind(&self, port: u16) -> io::Result<UdpSocket> {
        let sockets = &self.port.sockets;
        match self.port.local {
            SocketAddr::V4(local) => {
                sockets
                    .udp(SocketAddrV4::new(*local.ip(), port), false)
                    .await
            }
            SocketAddr::V6(local) => {
                let bind = SocketAddrV6::new(*local.ip(), port, 0, local.scope_id());
                sockets.udp6(bind, &[]).await
            }
        }
    }

    /// The whole transfer, on this thread.
    fn transfer(self, source: &Source, wire: Wire) {
        let context = &self.port.context;
        let role = source.role();
        let path = self.request.path.as_str();
        let corrupt = context.fault(self.mac, role) == Some(FaultAction::Corrupt);
        let file = match source.open(corrupt) {
            Ok(file) => file,
            Err(error) => return self.unreadable(role, &wire, error),
        };
        if corrupt {
            context.inject(self.mac, FaultAction::Corrupt, path);
        }
        let (now, limits) = (context.now(), &self.port.limits);
        let transfer = Transfer::start(now, &self.request, file.size(), limits);
        let sending = Sending {
            mac: self.mac,
            protocol: Protocol::Tftp,
            role,
            path,
            peer: self.peer.ip(),
            size: file.size(),
            detail: describe(&transfer),
        };
        let events = TransferEvents::start(context, sending);
        Running::new(&self, wire, file, transfer).drive(events);
    }

    fn unreadable(&self, role: ArtifactRole, wire: &Wire, error: String) {
        let refusal = Refusal::new(ErrorCode::NOT_FOUND, "the file cannot be opened");
        // Best effort, as every packet: a client that does not get it asks again.
        let _ = wire.send(&refusal.to_packet());
        let path = self.request.path.as_str();
        let code = refusal.code.0;
        self.port
            .tell_refused(self.peer, self.mac, role, path, code, error);
    }
}

fn describe(transfer: &Transfer) -> String {
    let agreed = transfer.agreed();
    let mut text = format!("blksize {}", agreed.block);
    if agreed.window > 1 {
        text.push_str(&format!(", windowsize {}", agreed.window));
    }
    if agreed.tsize {
        text.push_str(", tsize");
    }
    text
}

struct Running<'a> {
    download: &'a Download,
    stopped: Arc<AtomicBool>,
    wire: Wire,
    reader: Reader,
    transfer: Transfer,
    /// DATA packets that are due, one after the other.
    batch: Vec<u8>,
    /// Length of a DATA packet that is full.
    segment: usize,
}

impl<'a> Running<'a> {
    fn new(download: &'a Download, wire: Wire, file: ServedFile, transfer: Transfer) -> Self {
        let agreed = transfer.agreed();
        let block = usize::from(agreed.block);
        Self {
            download,
            stopped: download.leash.flag(),
            wire,
            reader: Reader::new(file, block * usize::from(agreed.window)),
            batch: Vec::new(),
            segment: 4 + block,
            transfer,
        }
    }

    fn drive(&mut self, mut events: TransferEvents) {
        let context = &self.download.port.context;
        let mut buffer = [0; PACKET_MAX];
        let mut now = context.now();
        let mut errors = 0;
        loop {
            self.send_due(now);
            events.progress(self.transfer.acked_bytes());
            let Some(deadline) = self.transfer.poll_at() else {
                break;
            };
            let heard = self.wire.receive(&mut buffer, deadline.saturating_sub(now));
            // Then the events tell of the end.
            if self.stopped.load(Ordering::Relaxed) {
                return;
            }
            now = context.now();
            errors = if heard.is_err() { errors + 1 } else { 0 };
            match heard {
                Ok(Heard::Packet(len)) => self.take(now, &buffer[..len]),
                Ok(Heard::Silence) => {}
                Ok(Heard::Stop) => return,
                Err(error) => self.broken(&error, errors),
            }
            // Also after a packet: a client that only repeats itself must not hold up what is due.
            self.transfer.poll(now);
        }
        match self.transfer.end() {
            Some(End::Completed) => events.completed(),
            Some(End::Aborted { reason, benign }) => events.aborted(reason, *benign),
            None => {}
        }
    }

    fn take(&mut self, now: Time, packet: &[u8]) {
        match self.transfer.handle(now, packet) {
            Handled::Progress => {
                self.reader.taken();
                self.download.moved.store(true, Ordering::Relaxed);
            }
            Handled::Repeated => {}
            Handled::Ignored(stray) => {
                let (context, mac) = (&self.download.port.context, self.download.mac);
                context.dropped_as("tftp", stray.slug(), mac, &stray.to_string());
            }
        }
    }

    fn send_due(&mut self, now: Time) {
        while let Some(transmit) = self.transfer.next_packet(now) {
            match transmit {
                Transmit::Packet(packet) => {
                    let sent = self.wire.send(&packet);
                    self.sent(sent);
                }
                Transmit::Data {
                    header,
                    offset,
                    len,
                } => {
                    self.add(header, offset, len);
                    let full = self.batch.len() + self.segment > SEGMENTS_BYTES;
                    if full || self.batch.len() >= SEGMENTS * self.segment {
                        self.flush();
                    }
                }
            }
        }
        self.flush();
    }

    fn add(&mut self, header: [u8; 4], offset: u64, len: usize) {
        match self.reader.block(offset, len) {
            Ok(block) => {
                self.batch.extend(header);
                self.batch.extend(block);
            }
            Err(error) => {
                let refusal = Refusal::new(ErrorCode::UNDEFINED, "the file cannot be read");
                let reason = format!("read the file at byte {offset}: {error}");
                self.transfer.fail(&refusal, reason);
            }
        }
    }

    fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let sent = self.wire.send_all(&self.batch, self.segment);
        self.batch.clear();
        self.sent(sent);
    }

    fn sent(&mut self, sent: io::Result<()>) {
        if let Err(error) = sent {
            self.broken(&error, 0);
        }
    }

    /// A closed port ends the transfer: the client is gone. Any other error is a lost packet, mended or given up by
    /// retransmission, unless there is no end of them.
    fn broken(&mut self, error: &io::Error, in_a_row: u32) {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            let refusal = Refusal::new(ErrorCode::UNDEFINED, "the port is closed");
            self.transfer.fail(&refusal, "client closed its port");
        } else if in_a_row > ERRORS_IN_A_ROW {
            let refusal = Refusal::new(ErrorCode::UNDEFINED, "the server's socket is broken");
            self.transfer
                .fail(&refusal, format!("receive a packet: {error}"));
        }
    }
}
