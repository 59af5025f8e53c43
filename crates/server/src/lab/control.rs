//! What can be asked of a lab's server while it runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bootgate_api::{BootMode, FlashOrder, Machine, UnixMicros};
use bootgate_events::{AttemptId, Event, MacAddr};
use bootgate_store::{MachineChange, Store, StoreError};
use tokio::sync::broadcast;

use super::decide::Next;
use super::known::Known;
use super::library::Library;
use super::recorder::Health;
use crate::Shared;
use crate::desk::BootLoader;

/// Events that a slow listener may be behind before it loses some.
const LIVE_EVENTS: usize = 4096;

/// A running lab. Changes of machines and leases go through it, so that what the servers hold in memory follows.
pub struct Lab {
    pub(super) parts: LabParts,
    started: UnixMicros,
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
    /// Packets and requests left without an answer, by service and reason. As `discovery`: boots of machines that did not
    /// become known by them.
    pub dropped: BTreeMap<(String, String), u64>,
    /// Events that were lost because the recorder could not keep up, or because the storage failed for too long.
    pub lost_events: u64,
    /// DHCP servers that are not ours.
    pub foreign_servers: Vec<ForeignServer>,
    /// What the storage said when it last failed, where it has not worked since.
    pub storage_error: Option<String>,
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

/// What a [`Lab`] is made of.
pub(super) struct LabParts {
    pub(super) store: Arc<dyn Store>,
    pub(super) live: broadcast::Sender<(AttemptId, Event)>,
    pub(super) known: Arc<Known>,
    pub(super) library: Arc<Library>,
    pub(super) health: Arc<Health>,
    pub(super) shared: Arc<Shared>,
    pub(super) listening: Vec<(String, String, String)>,
}

/// A channel for live events.
pub(super) fn live() -> broadcast::Sender<(AttemptId, Event)> {
    broadcast::channel(LIVE_EVENTS).0
}

impl Lab {
    pub(super) fn new(parts: LabParts) -> Self {
        Self {
            parts,
            started: now(),
        }
    }

    /// The store, for reading. What is written must go through this type.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// Every event of every attempt from now on, each once it is stored. A listener that is too slow loses events and
    /// is told so.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<(AttemptId, Event)> {
        self.parts.live.subscribe()
    }

    /// How the server is. Does not block.
    ///
    /// # Errors
    /// None now.
    pub fn status(&self) -> Result<LabStatus, StoreError> {
        let LabParts {
            known,
            health,
            shared,
            listening,
            ..
        } = &self.parts;
        let dropped = shared.drops().into_iter();
        let unmet = health.unmet().into_iter();
        let unmet = unmet.map(|(why, count)| (("discovery", why.slug()), count));
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Ok(LabStatus {
            started: self.started,
            listening: listening.clone(),
            machines: count(known.count()),
            open_attempts: count(known.open_count()),
            dropped: dropped
                .chain(unmet)
                .map(|((service, reason), count)| ((service.to_owned(), reason.to_owned()), count))
                .collect(),
            lost_events: health.lost.load(Ordering::Relaxed),
            foreign_servers: health.foreign(now()),
            storage_error: health.storage_error().or_else(|| shared.lease_trouble()),
        })
    }

    /// As [`Store::set_machine`]. Blocks for the storage.
    ///
    /// # Errors
    /// As there; and where the server has no image, installer or script of that name.
    pub fn set_machine(
        &self,
        mac: &MacAddr,
        change: &MachineChange,
    ) -> Result<Machine, StoreError> {
        if let Some(boot) = &change.boot {
            self.check_mode(boot)?;
        }
        let machine = self.parts.store.set_machine(mac, change, now())?;
        self.parts.known.refresh(&*self.parts.store, mac)?;
        Ok(machine)
    }

    /// As [`Store::arm_flash`]. Blocks for the storage.
    ///
    /// # Errors
    /// As there; and where the server has no image of that name, or no live environment.
    pub fn arm_flash(
        &self,
        mac: &MacAddr,
        order: &FlashOrder,
        always: bool,
    ) -> Result<Machine, StoreError> {
        self.check_mode(&BootMode::FlashOnce(order.clone()))?;
        let machine = self.parts.store.arm_flash(mac, order, always, now())?;
        self.parts.known.refresh(&*self.parts.store, mac)?;
        Ok(machine)
    }

    /// Whether the server has what a mode needs.
    fn check_mode(&self, boot: &BootMode) -> Result<(), StoreError> {
        let next = match boot {
            BootMode::Local => Next::Local,
            BootMode::FlashOnce(order) | BootMode::FlashAlways(order) => Next::Flash(order.clone()),
            BootMode::Inventory => Next::Inventory,
            BootMode::Install { installer } => Next::Install(installer.clone()),
            BootMode::Script { script } => Next::Script(script.clone()),
        };
        match self.parts.library.missing(&next, BootLoader::Ipxe) {
            Some(why) => Err(StoreError::Refused {
                doing: format!("set the mode `{}`", boot.name()),
                why,
            }),
            None => Ok(()),
        }
    }

    /// As [`Store::forget_machine`]. Blocks for the storage.
    ///
    /// # Errors
    /// As there.
    pub fn forget_machine(&self, mac: &MacAddr) -> Result<bool, StoreError> {
        let known = self.parts.store.forget_machine(mac)?;
        self.parts.known.refresh(&*self.parts.store, mac)?;
        Ok(known)
    }

    /// As [`Store::forget_lease`]; the DHCP server forgets it too. Blocks for the storage.
    ///
    /// # Errors
    /// As there.
    pub fn forget_lease(&self, ip: IpAddr) -> Result<bool, StoreError> {
        let stored = self.parts.store.forget_lease(ip)?;
        let held = match ip {
            IpAddr::V4(ip) => self.parts.shared.responder().forget(ip),
            IpAddr::V6(ip) => {
                let mut responder = self.parts.shared.responder6();
                responder
                    .as_mut()
                    .is_some_and(|responder| responder.forget(ip))
            }
        };
        Ok(stored || held)
    }
}

/// Now, on the wall clock.
#[must_use]
pub fn now() -> UnixMicros {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixMicros(since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }))
}
