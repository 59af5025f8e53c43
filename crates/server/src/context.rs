//! What all servers of a segment share.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bootgate_events::{ArtifactRole, AttemptId, EventKind, FaultAction, MacAddr, Protocol};
use bootgate_netboot::dhcp::Responder;
use tokio::time::Instant;

use crate::{Artifacts, EventSink, Fact, Machines, ServerConfig};

/// Dropped packets of one server that become events in one second; the others are counted.
const DROPS_PER_SECOND: u32 = 5;

pub(crate) struct Context {
    pub(crate) config: ServerConfig,
    pub(crate) machines: Arc<Machines>,
    pub(crate) artifacts: Arc<Artifacts>,
    /// The HTTP server's address as clients are told it.
    pub(crate) http: SocketAddrV4,
    sink: EventSink,
    responder: Mutex<Responder>,
    started: Instant,
    transfers: AtomicU64,
    drops: Mutex<HashMap<&'static str, Drops>>,
}

/// Packets of one server that were dropped.
#[derive(Default)]
struct Drops {
    total: u64,
    second: u64,
    told: u32,
    untold: u64,
}

/// A request that is refused, for its event.
pub(crate) struct Refused<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) role: ArtifactRole,
    pub(crate) path: &'a str,
    pub(crate) peer: IpAddr,
    /// HTTP status or TFTP error code.
    pub(crate) code: u16,
    pub(crate) reason: String,
}

impl Context {
    pub(crate) fn new(
        config: ServerConfig,
        responder: Responder,
        http: SocketAddrV4,
        sink: EventSink,
    ) -> Self {
        Self {
            config,
            machines: Arc::default(),
            artifacts: Arc::default(),
            http,
            sink,
            responder: Mutex::new(responder),
            started: Instant::now(),
            transfers: AtomicU64::new(0),
            drops: Mutex::default(),
        }
    }

    /// Time since the server started.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// The clock's reading when that time has passed since the server started.
    pub(crate) fn instant(&self, time: Duration) -> Instant {
        self.started + time
    }

    pub(crate) fn responder(&self) -> MutexGuard<'_, Responder> {
        self.responder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine that leased this address.
    pub(crate) fn mac_of(&self, peer: IpAddr) -> Option<MacAddr> {
        let ip: Ipv4Addr = match peer {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(ip) => ip.to_ipv4_mapped()?,
        };
        self.responder().lease_of(self.now(), ip)
    }

    /// Tells what happened to a machine, for the attempt it is armed for.
    pub(crate) fn emit(&self, mac: Option<MacAddr>, kind: EventKind) {
        let attempt = mac.and_then(|mac| self.machines.attempt(&mac));
        self.emit_for(mac, attempt, kind);
    }

    pub(crate) fn emit_for(
        &self,
        mac: Option<MacAddr>,
        attempt: Option<AttemptId>,
        kind: EventKind,
    ) {
        (self.sink)(Fact { mac, attempt, kind });
    }

    pub(crate) fn next_transfer(&self) -> u64 {
        self.transfers.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a packet that is not answered, and tells of it unless too many were told of in this second.
    pub(crate) fn dropped(&self, service: &'static str, mac: Option<MacAddr>, reason: &str) {
        let second = self.now().as_secs();
        let more = {
            let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
            let drops = drops.entry(service).or_default();
            drops.total += 1;
            if drops.second != second {
                drops.second = second;
                drops.told = 0;
            }
            if drops.told >= DROPS_PER_SECOND {
                drops.untold += 1;
                return;
            }
            drops.told += 1;
            std::mem::take(&mut drops.untold)
        };
        let reason = match more {
            0 => reason.to_owned(),
            more => format!("{reason} (and {more} others before)"),
        };
        let service = service.to_owned();
        self.emit(mac, EventKind::PacketDropped { service, reason });
    }

    pub(crate) fn drop_counts(&self) -> HashMap<&'static str, u64> {
        let drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = drops.iter().map(|(service, drops)| (*service, drops.total));
        counts.collect()
    }

    /// Tells that a request is refused, and to whom.
    pub(crate) fn refused(&self, mac: Option<MacAddr>, refused: Refused<'_>) {
        let kind = EventKind::RequestRefused {
            protocol: refused.protocol,
            role: refused.role,
            path: refused.path.to_owned(),
            peer: refused.peer,
            code: refused.code,
            reason: refused.reason,
        };
        self.emit(mac, kind);
    }

    /// The fault to show this machine for a file of this role.
    pub(crate) fn fault(&self, mac: Option<MacAddr>, role: ArtifactRole) -> Option<FaultAction> {
        mac.and_then(|mac| self.machines.fault(&mac, role))
    }

    pub(crate) fn inject(&self, mac: Option<MacAddr>, action: FaultAction, what: &str) {
        let what = what.to_owned();
        self.emit(mac, EventKind::FaultInjected { action, what });
    }

    pub(crate) fn failed(&self, service: &str, error: String) {
        let service = service.to_owned();
        self.emit(None, EventKind::ServerFailed { service, error });
    }

    /// `http://ADDRESS`, with the port where it is not 80.
    pub(crate) fn base_url(&self) -> String {
        match self.http.port() {
            80 => format!("http://{}", self.http.ip()),
            port => format!("http://{}:{port}", self.http.ip()),
        }
    }
}

/// Receive errors in a row after which a socket is taken for broken. A UDP or packet socket reports each pending
/// error once (a closed peer port, an interface that went down), so a few are normal.
pub(crate) const ERRORS_IN_A_ROW: u32 = 16;
