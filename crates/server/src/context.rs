//! What the servers of one interface share: their configuration, and their view onto what all interfaces share.

use std::net::{IpAddr, SocketAddr};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use bootgate_events::{ArtifactRole, AttemptId, EventKind, FaultAction, MacAddr, Protocol};
use bootgate_netboot::dhcp::DhcpMode;
use tokio::sync::watch;

use crate::drops::Dropped;
use crate::{Limits, ServerConfig, Shared, SocketSource};

pub(crate) struct Context {
    /// How it was set up. Its limits may have changed since: see [`Context::limits`].
    pub(crate) config: ServerConfig,
    orders: Arc<Orders>,
    /// The HTTP server's address as clients are told it.
    pub(crate) http: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    /// Knows who is on the segment.
    sockets: Arc<dyn SocketSource>,
}

/// What the servers of one interface are told while they run.
pub(crate) struct Orders {
    limits: RwLock<Limits>,
    closing: watch::Sender<bool>,
    /// Servers that take what is new.
    taking: watch::Sender<usize>,
}

/// Held by a server for as long as it takes what is new.
pub(crate) struct Taking(Arc<Orders>);

impl Drop for Taking {
    fn drop(&mut self) {
        self.0.taking.send_modify(|count| *count -= 1);
    }
}

impl Orders {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits: RwLock::new(limits),
            closing: watch::Sender::new(false),
            taking: watch::Sender::new(0),
        })
    }

    /// What clients may take from now on.
    pub(crate) fn set_limits(&self, limits: Limits) {
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    /// For a server that begins to take what is new.
    pub(crate) fn taking(self: &Arc<Self>) -> Taking {
        self.taking.send_modify(|count| *count += 1);
        Taking(Arc::clone(self))
    }

    /// Has the servers take nothing new, and end with the last of what is under way. Returns when nothing new is taken any
    /// more.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        let mut taking = self.taking.subscribe();
        // What is counted is in this value, which is there.
        let _ = taking.wait_for(|count| *count == 0).await;
    }
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

/// Most of what a server asks for is shared.
impl Deref for Context {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Context {
    pub(crate) fn new(
        config: ServerConfig,
        orders: Arc<Orders>,
        http: SocketAddr,
        shared: Arc<Shared>,
        sockets: Arc<dyn SocketSource>,
    ) -> Self {
        Self {
            config,
            orders,
            http,
            shared,
            sockets,
        }
    }

    /// What clients may take.
    pub(crate) fn limits(&self) -> Limits {
        let limits = self.orders.limits.read();
        *limits.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when nothing new is to be taken.
    pub(crate) async fn closing(&self) {
        let mut closing = self.orders.closing.subscribe();
        // Whoever gives orders is there for as long as this is.
        let _ = closing.wait_for(|closing| *closing).await;
    }

    /// The machine that leased this address. Where another server leases addresses, the one that answers for it.
    pub(crate) fn mac_of(&self, peer: IpAddr) -> Option<MacAddr> {
        match peer.to_canonical() {
            IpAddr::V4(ip) if self.config.mode != DhcpMode::Full => self.sockets.neighbour(ip),
            IpAddr::V4(ip) => self.responder().lease_of(self.now(), ip),
            IpAddr::V6(ip) => self.mac_of6(ip),
        }
    }

    /// Tells what happened to a machine, for the attempt it is armed for.
    pub(crate) fn emit(&self, mac: Option<MacAddr>, kind: EventKind) {
        let attempt = mac.and_then(|mac| self.desk.attempt(&mac));
        self.emit_for(mac, attempt, kind);
    }

    pub(crate) fn emit_for(
        &self,
        mac: Option<MacAddr>,
        attempt: Option<AttemptId>,
        kind: EventKind,
    ) {
        self.shared.emit(mac, attempt, kind);
    }

    /// Counts a packet that is not answered as `other`, and tells of it unless too many were told of in this second.
    pub(crate) fn dropped(&self, service: &'static str, mac: Option<MacAddr>, why: &str) {
        self.dropped_as(service, "other", mac, why);
    }

    /// Counts a packet that is not answered by its reason's short name, and tells of it in words unless too many were
    /// told of in this second.
    pub(crate) fn dropped_as(
        &self,
        service: &'static str,
        slug: &'static str,
        mac: Option<MacAddr>,
        why: &str,
    ) {
        self.shared.dropped(&Dropped {
            service,
            slug,
            mac,
            why,
        });
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
        mac.and_then(|mac| self.desk.fault(&mac, role))
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
        match self.http {
            SocketAddr::V4(http) if http.port() == 80 => format!("http://{}", http.ip()),
            SocketAddr::V6(http) if http.port() == 80 => format!("http://[{}]", http.ip()),
            http => format!("http://{http}"),
        }
    }
}

/// Receive errors in a row after which a socket is taken for broken. A UDP or packet socket reports each pending
/// error once (a closed peer port, an interface that went down), so a few are normal.
pub(crate) const ERRORS_IN_A_ROW: u32 = 16;
