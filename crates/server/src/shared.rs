//! What the servers of all interfaces share.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bootgate_api::Lease;
use bootgate_events::{AttemptId, EventKind, MacAddr};
use bootgate_netboot::Time;
use bootgate_netboot::dhcp::{InterfaceId, LeaseEntry, Responder};
use bootgate_netboot::dhcp6;
use bootgate_netboot::policy::MachineLookup;
use bootgate_store::Store;
use tokio::time::Instant;

use crate::desk::Desk;
use crate::dhcp::{ServerName, Sightings};
use crate::drops::{Dropped, Drops};
use crate::leases::{LeaseQueue, LeaseWriter};
use crate::metrics::Metrics;
use crate::{Artifacts, EventSink, Fact, Machines, StartError};

/// Tells the DHCP server what a machine may boot.
pub type SharedLookup = Arc<dyn MachineLookup + Send + Sync>;

/// What [`Shared::new`] is made of.
pub struct SharedParts {
    /// The DHCP server's decisions and its table of leases, for all interfaces.
    pub responder: Responder,
    /// The same for DHCPv6, where that is served: see [`crate::dhcp6_responder`].
    pub responder6: Option<dhcp6::Responder>,
    /// The machines of a gate, and their attempts.
    pub machines: Arc<Machines>,
    /// Tells the DHCP server what a machine may boot.
    pub lookup: SharedLookup,
    /// Decides what a machine gets from the other servers.
    pub(crate) desk: Arc<dyn Desk>,
    /// The files that are given out.
    pub artifacts: Arc<Artifacts>,
    /// Takes what happens.
    pub sink: EventSink,
    /// Counts for who watches; `None`: nothing is counted.
    pub(crate) metrics: Option<Arc<Metrics>>,
    /// Whether DHCP messages of clients that are no boot loaders are told as events. A lab's network has more of
    /// them than anybody wants to read.
    pub plain_clients: bool,
    leases: Option<LeaseWriter>,
    clock: Clock,
}

impl SharedParts {
    /// No files, no machines, every message told.
    #[must_use]
    pub fn new(responder: Responder, sink: EventSink) -> Self {
        let machines = Arc::<Machines>::default();
        Self {
            responder,
            responder6: None,
            lookup: Arc::clone(&machines) as SharedLookup,
            desk: Arc::clone(&machines) as Arc<dyn Desk>,
            machines,
            artifacts: Arc::default(),
            sink,
            metrics: None,
            plain_clients: true,
            leases: None,
            clock: Clock::start(),
        }
    }

    /// Keeps leases in `store`: those that are there hold from the start, and no ACK that grants one leaves before it
    /// is written. Without this, leases are forgotten at the end.
    ///
    /// # Errors
    /// The store cannot be read, or the system has no thread left.
    pub fn keep_leases(&mut self, store: Arc<dyn Store>) -> Result<(), StartError> {
        let kept = store.leases().map_err(StartError::Store)?;
        self.responder.restore(self.clock.now(), entries(&kept));
        if let Some(responder) = &mut self.responder6 {
            responder.restore(self.clock.now(), crate::dhcp6::entries(&kept));
        }
        let writer = LeaseWriter::start(store, Arc::clone(&self.sink));
        self.leases = Some(writer.map_err(StartError::Thread)?);
        Ok(())
    }
}

/// The DHCPv4 leases among those that the store has.
pub(crate) fn entries(kept: &[Lease]) -> impl Iterator<Item = LeaseEntry> {
    kept.iter().filter_map(|lease| {
        let IpAddr::V4(ip) = lease.ip else {
            return None;
        };
        Some(LeaseEntry {
            ip,
            mac: lease.mac,
            state: lease.state,
            ends: Time::from_micros(lease.ends.0),
        })
    })
}

/// What the servers of all interfaces share.
pub struct Shared {
    pub(crate) machines: Arc<Machines>,
    pub(crate) lookup: SharedLookup,
    pub(crate) desk: Arc<dyn Desk>,
    pub(crate) artifacts: Arc<Artifacts>,
    pub(crate) plain_clients: bool,
    pub(crate) metrics: Option<Arc<Metrics>>,
    sink: EventSink,
    responder: Mutex<Responder>,
    responder6: Mutex<Option<dhcp6::Responder>>,
    clock: Clock,
    transfers: AtomicU64,
    drops: Mutex<Drops>,
    sightings: Mutex<Sightings>,
    leases: Option<LeaseWriter>,
    /// Transfers that began and have not ended.
    open_transfers: AtomicU64,
    stopping: AtomicBool,
}

impl Shared {
    /// Puts it together.
    #[must_use]
    pub fn new(parts: SharedParts) -> Arc<Self> {
        Arc::new(Self {
            machines: parts.machines,
            lookup: parts.lookup,
            desk: parts.desk,
            artifacts: parts.artifacts,
            plain_clients: parts.plain_clients,
            metrics: parts.metrics,
            sink: parts.sink,
            responder: Mutex::new(parts.responder),
            responder6: Mutex::new(parts.responder6),
            clock: parts.clock,
            transfers: AtomicU64::new(0),
            drops: Mutex::default(),
            sightings: Mutex::default(),
            leases: parts.leases,
            open_transfers: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
        })
    }

    /// The time that the protocol machines are told: since 1970-01-01 00:00 UTC, by a clock that never jumps. It was set
    /// by the wall clock once, when this was made.
    #[must_use]
    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// The DHCP server's decisions and its table of leases. Hold it shortly: every message waits for it.
    pub fn responder(&self) -> MutexGuard<'_, Responder> {
        self.responder
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for DHCPv6; `None` where that is not served.
    pub fn responder6(&self) -> MutexGuard<'_, Option<dhcp6::Responder>> {
        self.responder6
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what happened.
    pub fn emit(&self, mac: Option<MacAddr>, attempt: Option<AttemptId>, kind: EventKind) {
        (self.sink)(Fact { mac, attempt, kind });
    }

    /// Transfers that are under way.
    #[must_use]
    pub fn open_transfers(&self) -> u64 {
        self.open_transfers.load(Ordering::Relaxed)
    }

    pub(crate) fn transfer_begins(&self) {
        self.open_transfers.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn transfer_ends(&self) {
        self.open_transfers.fetch_sub(1, Ordering::Relaxed);
    }

    /// From now on boot loaders that begin are not answered.
    pub(crate) fn stop_taking(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub(crate) fn next_transfer(&self) -> u64 {
        self.transfers.fetch_add(1, Ordering::Relaxed)
    }

    /// Counts a packet that is not answered, and tells of it unless too many were told of in this second.
    pub(crate) fn dropped(&self, dropped: &Dropped<'_>) {
        let told = {
            let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
            drops.count(self.now(), dropped)
        };
        let Some(more) = told else {
            return;
        };
        let reason = match more {
            0 => dropped.why.to_owned(),
            more => format!("{} (and {more} others before)", dropped.why),
        };
        let service = dropped.service.to_owned();
        let attempt = dropped.mac.and_then(|mac| self.desk.attempt(&mac));
        let kind = EventKind::PacketDropped { service, reason };
        self.emit(dropped.mac, attempt, kind);
    }

    /// Leases that wait to be written.
    pub(crate) fn waiting_leases(&self) -> u64 {
        let waiting = self.leases.as_ref().map(LeaseWriter::waiting);
        waiting.unwrap_or_default()
    }

    /// The way to the lease writer, where leases are kept.
    pub(crate) fn lease_queue(&self) -> Option<LeaseQueue> {
        self.leases.as_ref().and_then(LeaseWriter::queue)
    }

    /// What the storage said when leases could last not be written, where none was written since.
    #[must_use]
    pub fn lease_trouble(&self) -> Option<String> {
        self.leases.as_ref().and_then(LeaseWriter::trouble)
    }

    /// Waits until the lease writer wrote what it was given, and ends it. Every server that shares this must be
    /// stopped before. Blocks for as long as the store does.
    pub fn close(&self) {
        if let Some(leases) = &self.leases {
            leases.close();
        }
    }

    /// Whether this other DHCP server is to be told of now.
    pub(crate) fn sight(&self, interface: InterfaceId, server: ServerName) -> bool {
        let mut sightings = self
            .sightings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        sightings.tell(self.now(), interface, server)
    }

    /// How many packets and requests were left without an answer, by service (`dhcp`, `tftp`, ...) and reason: a
    /// short word such as `malformed`.
    #[must_use]
    pub fn drops(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        let drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        drops.counts()
    }
}

/// Wall-clock time that never jumps.
#[derive(Clone, Copy, Debug)]
struct Clock {
    started: Instant,
    unix: Duration,
}

impl Clock {
    fn start() -> Self {
        Self {
            started: Instant::now(),
            unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    fn now(&self) -> Time {
        self.unix + self.started.elapsed()
    }
}
