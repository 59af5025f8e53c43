//! What can be asked of a lab's server while it runs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bootgate_api::control::{Problem, ReloadStatus};
use bootgate_api::{BootMode, ExpectedFlash, FlashOrder, Machine, UnixMicros};
use bootgate_events::{AttemptId, Event, MacAddr};
use bootgate_store::{MachineChange, Store, StoreError};
use tokio::sync::broadcast;

use super::decide::Next;
use super::known::Known;
use super::recorder::{Health, Mailbox, UnderWay};
use super::shelf::Shelf;
use crate::Shared;
use crate::control::Names;
use crate::depot::Stored;
use crate::desk::BootLoader;
use crate::metrics::Look;

/// Events that a slow listener may be behind before it loses some.
const LIVE_EVENTS: usize = 4096;

/// A running lab. Changes of machines and leases go through it, so that what the servers hold in memory follows.
pub struct Lab {
    pub(super) parts: LabParts,
    started: UnixMicros,
    refreshing: Mutex<()>,
    reload: RwLock<Option<ReloadStatus>>,
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
    /// Whether it winds down.
    pub stopping: bool,
    /// How its configuration was last read again, where it was.
    pub reload: Option<ReloadStatus>,
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
    pub(super) library: Arc<Shelf>,
    pub(super) health: Arc<Health>,
    pub(super) shared: Arc<Shared>,
    pub(super) mailbox: Mailbox,
    pub(super) listening: RwLock<Vec<(String, String, String)>>,
}

fn held<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
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
            refreshing: Mutex::default(),
            reload: RwLock::default(),
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

    /// Notes how the configuration was read again just now: refused for this reason, or taken.
    pub fn note_reload(&self, refused: Option<Problem>) {
        let mut reload = self.reload.write().unwrap_or_else(PoisonError::into_inner);
        *reload = Some(ReloadStatus { at: now(), refused });
    }

    /// The names that boot modes may refer to now.
    #[must_use]
    pub fn names(&self) -> Names {
        let library = self.parts.library.now();
        Names {
            images: library.image_names().cloned().collect(),
            installers: library.installers.keys().cloned().collect(),
            scripts: library.scripts.keys().cloned().collect(),
        }
    }

    /// From now on no machine begins to boot from here, and what is under way goes on. Whoever stops the server soon
    /// after leaves no machine half way.
    pub fn wind_down(&self) {
        self.parts.known.stop();
        self.parts.shared.stop_taking();
    }

    /// Whether it winds down.
    #[must_use]
    pub fn is_winding_down(&self) -> bool {
        self.parts.known.stopping()
    }

    /// The machines that boot something from here and were heard of in the last minute, and the number of transfers
    /// under way.
    pub async fn under_way(&self) -> (Vec<UnderWay>, u64) {
        let machines = self.parts.mailbox.under_way().await;
        (machines, self.parts.shared.open_transfers())
    }

    /// Whether the server does its work: the recorder answers within this time, and so does the runtime that this runs on.
    pub async fn is_alive(&self, within: Duration) -> bool {
        let answers = tokio::time::timeout(within, self.parts.mailbox.ping());
        answers.await.unwrap_or(false)
    }

    /// Why no machine can count on the server now; empty where it can.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let LabParts {
            known,
            health,
            shared,
            ..
        } = &self.parts;
        let mut why = Vec::new();
        if known.stopping() {
            why.push("the server stops".to_owned());
        }
        why.extend(health.storage_error());
        why.extend(shared.lease_trouble());
        let failed = health.failed_servers().into_iter();
        why.extend(failed.map(|service| format!("the {service} server ended by itself")));
        why
    }

    /// What Prometheus reads, in its text format. Waits for locks that the servers hold shortly.
    #[must_use]
    pub fn metrics(&self) -> String {
        let LabParts {
            known,
            health,
            shared,
            ..
        } = &self.parts;
        let Some(metrics) = &shared.metrics else {
            return String::new();
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let at = shared.now();
        let prefixes = shared.responder6().as_ref().map(|six| six.usage(at));
        metrics.page(&Look {
            subnets: shared.responder().usage(at),
            prefixes: prefixes.unwrap_or_default(),
            dropped: self.dropped(),
            lost_events: health.lost.load(Ordering::Relaxed),
            queues: vec![
                ("recorder", health.waiting.load(Ordering::Relaxed)),
                ("leases", shared.waiting_leases()),
            ],
            machines: count(known.count()),
            open_attempts: count(known.open_count()),
            foreign: health.foreign(now()).len(),
            failing: vec![
                ("recorder", health.storage_error().is_some()),
                ("leases", shared.lease_trouble().is_some()),
            ],
            ready: self.not_ready().is_empty(),
        })
    }

    /// What was left without an answer, by service and reason.
    fn dropped(&self) -> BTreeMap<(String, String), u64> {
        let unmet = self.parts.health.unmet().into_iter();
        let unmet = unmet.map(|(why, count)| (("discovery", why.slug()), count));
        let dropped = self.parts.shared.drops().into_iter().chain(unmet);
        dropped
            .map(|((service, reason), count)| ((service.to_owned(), reason.to_owned()), count))
            .collect()
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
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Ok(LabStatus {
            started: self.started,
            listening: held(listening).clone(),
            machines: count(known.count()),
            open_attempts: count(known.open_count()),
            dropped: self.dropped(),
            lost_events: health.lost.load(Ordering::Relaxed),
            foreign_servers: health.foreign(now()),
            storage_error: health.storage_error().or_else(|| shared.lease_trouble()),
            stopping: known.stopping(),
            reload: held(&self.reload).clone(),
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
        match self.parts.library.now().missing(&next, BootLoader::Ipxe) {
            Some(why) => Err(StoreError::Refused {
                doing: format!("set the mode `{}`", boot.name()),
                why,
            }),
            None => Ok(()),
        }
    }

    /// Gives out what the store has of artifacts and images now. To be called after each change of them. Blocks for the
    /// storage.
    ///
    /// # Errors
    /// The storage failed; what was given out before still is.
    pub(crate) fn refresh_artifacts(&self) -> Result<(), StoreError> {
        // One after the other: what was read first is put there first.
        let turn = self.refreshing.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        let stored = Stored::read(&*self.parts.store)?;
        self.parts.shared.artifacts.set_stored(stored.artifacts);
        self.parts.library.put_stored(&stored.images);
        Ok(())
    }

    /// Whether the configuration gives out a file of that name.
    pub(crate) fn is_configured(&self, artifact: &str) -> bool {
        self.parts.shared.artifacts.is_inserted(artifact)
    }

    /// The images of the configuration: what they hold, and the sector size that they were made for.
    pub(crate) fn configured_images(&self) -> BTreeMap<String, (ExpectedFlash, u32)> {
        let library = self.parts.library.now();
        let images = library
            .images
            .iter()
            .map(|(name, image)| (name.clone(), (image.expected.clone(), image.sector_size)));
        images.collect()
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
