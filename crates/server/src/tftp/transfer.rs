//! One file on its way to one client.

use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bootgate_events::{FaultAction, MacAddr, Protocol};
use bootgate_netboot::tftp::{
    End, ErrorCode, Handled, Limits, ReadRequest, Refusal, Transfer, Transmit,
};
use bytes::Bytes;
use tokio::net::UdpSocket;

use crate::SocketSource;
use crate::context::{Context, Refused};
use crate::files::ServedFile;
use crate::transfers::{Sending, TransferEvents};

use super::Source;

/// Bytes of the file read at once.
const READ_AHEAD: usize = 64 << 10;
/// Longest packet that a client sends in the course of a transfer: an ERROR with its text.
const PACKET_MAX: usize = 1024;

/// Everything a transfer needs; it runs on its own.
pub(super) struct Download {
    pub(super) context: Arc<Context>,
    pub(super) sockets: Arc<dyn SocketSource>,
    pub(super) limits: Limits,
    pub(super) request: ReadRequest,
    pub(super) source: Source,
    pub(super) peer: SocketAddr,
    pub(super) mac: Option<MacAddr>,
    pub(super) moved: Arc<AtomicBool>,
}

impl Download {
    pub(super) async fn run(self) {
        let corrupt =
            self.context.fault(self.mac, self.source.role()) == Some(FaultAction::Corrupt);
        let socket = match self.open_socket().await {
            Ok(socket) => socket,
            Err(error) => {
                let reason = format!("open a socket for `{}`: {error}", self.request.path);
                return self.context.dropped("tftp", self.mac, &reason);
            }
        };
        let file = match self.source.open(corrupt).await {
            Ok(file) => Arc::new(file),
            Err(error) => return self.unreadable(&socket, &error).await,
        };
        if corrupt {
            let path = self.request.path.as_str();
            self.context.inject(self.mac, FaultAction::Corrupt, path);
        }
        let now = self.context.now();
        let transfer = Transfer::start(now, &self.request, file.size(), &self.limits);
        let sending = Sending {
            mac: self.mac,
            protocol: Protocol::Tftp,
            role: self.source.role(),
            path: self.request.path.as_str(),
            peer: self.peer.ip(),
            size: file.size(),
            detail: describe(&transfer),
        };
        let events = TransferEvents::start(&self.context, sending);
        let mut running = Running {
            download: &self,
            socket,
            reader: Reader {
                file,
                at: 0,
                bytes: Bytes::new(),
            },
            transfer,
            packet: Vec::new(),
        };
        running.drive(events).await;
    }

    /// A socket of the transfer's own, on the address that the request came to (RFC 1350: a new transfer id), which
    /// hears this client alone.
    async fn open_socket(&self) -> io::Result<UdpSocket> {
        let bind = SocketAddrV4::new(self.context.config.server_ip, 0);
        let socket = self.sockets.udp(bind, false).await?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket)?;
        socket.connect(self.peer).await?;
        Ok(socket)
    }

    async fn unreadable(&self, socket: &UdpSocket, error: &io::Error) {
        let refusal = Refusal::new(ErrorCode::NOT_FOUND, "the file cannot be opened");
        let _ = socket.send(&refusal.to_packet()).await;
        let refused = Refused {
            protocol: Protocol::Tftp,
            role: self.source.role(),
            path: self.request.path.as_str(),
            peer: self.peer.ip(),
            code: refusal.code.0,
            reason: format!("open `{}`: {error}", self.source.place()),
        };
        self.context.refused(self.mac, refused);
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
    socket: UdpSocket,
    reader: Reader,
    transfer: Transfer,
    /// The DATA packet in the making.
    packet: Vec<u8>,
}

impl Running<'_> {
    async fn drive(&mut self, mut events: TransferEvents) {
        let context = &self.download.context;
        let mut buffer = [0; PACKET_MAX];
        loop {
            self.send_all().await;
            events.progress(self.transfer.acked_bytes());
            let Some(deadline) = self.transfer.poll_at() else {
                break;
            };
            let deadline = context.instant(deadline);
            let received = tokio::time::timeout_at(deadline, self.socket.recv(&mut buffer)).await;
            match received {
                Ok(Ok(len)) => self.take(&buffer[..len]),
                Ok(Err(error)) => self.unreachable(&error),
                Err(_) => self.transfer.poll(context.now()),
            }
        }
        match self.transfer.end() {
            Some(End::Completed) => events.completed(),
            Some(End::Aborted { reason, benign }) => events.aborted(reason, *benign),
            None => {}
        }
    }

    fn take(&mut self, packet: &[u8]) {
        let context = &self.download.context;
        match self.transfer.handle(context.now(), packet) {
            Handled::Progress => self.download.moved.store(true, Ordering::Relaxed),
            Handled::Repeated => {}
            Handled::Ignored(reason) => context.dropped("tftp", self.download.mac, reason),
        }
    }

    async fn send_all(&mut self) {
        while let Some(transmit) = self.transfer.next_packet(self.download.context.now()) {
            let sent = match transmit {
                Transmit::Packet(packet) => self.socket.send(&packet).await,
                Transmit::Data {
                    header,
                    offset,
                    len,
                } => {
                    let Some(block) = self.read(offset, len).await else {
                        continue;
                    };
                    self.packet.clear();
                    self.packet.extend(header);
                    self.packet.extend(block);
                    self.socket.send(&self.packet).await
                }
            };
            if let Err(error) = sent {
                self.unreachable(&error);
            }
        }
    }

    async fn read(&mut self, offset: u64, len: usize) -> Option<Bytes> {
        match self.reader.block(offset, len).await {
            Ok(block) => Some(block),
            Err(error) => {
                let refusal = Refusal::new(ErrorCode::UNDEFINED, "the file cannot be read");
                let reason = format!("read the file at byte {offset}: {error}");
                self.transfer.fail(&refusal, reason);
                None
            }
        }
    }

    /// A closed port ends the transfer: the client is gone. Any other error is a lost packet, mended or given up by
    /// retransmission.
    fn unreachable(&mut self, error: &io::Error) {
        if error.kind() == io::ErrorKind::ConnectionRefused {
            let refusal = Refusal::new(ErrorCode::UNDEFINED, "the port is closed");
            self.transfer.fail(&refusal, "client closed its port");
        }
    }
}

/// Reads a file in larger pieces than blocks. Holds one piece.
struct Reader {
    file: Arc<ServedFile>,
    at: u64,
    bytes: Bytes,
}

impl Reader {
    async fn block(&mut self, offset: u64, len: usize) -> io::Result<Bytes> {
        if let Some(block) = self.held(offset, len) {
            return Ok(block);
        }
        let left = self.file.size().saturating_sub(offset);
        let piece = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(READ_AHEAD.max(len));
        self.bytes = self.file.read(offset, piece).await?;
        self.at = offset;
        let block = self.held(offset, len);
        block.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }

    fn held(&self, offset: u64, len: usize) -> Option<Bytes> {
        let start = usize::try_from(offset.checked_sub(self.at)?).ok()?;
        let end = start.checked_add(len)?;
        (end <= self.bytes.len()).then(|| self.bytes.slice(start..end))
    }
}
