//! What the servers must know at once: the machines and their open attempts, in memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use bootgate_api::{BootMode, Machine, UnixMicros};
use bootgate_events::{AttemptId, MacAddr};
use bootgate_netboot::policy::{BootMachine, Bootfiles, MachineLookup};
use bootgate_store::{Discovery, Store, StoreError, rules};

use super::decide::{self, Next};
use super::{LabConfig, LabDeadlines, LocalBootDefault};

/// The machines as the store has them, and which of them have an attempt without a verdict. It does not hold the store:
/// a connection that ends late would keep it open.
pub(super) struct Known {
    machines: RwLock<HashMap<MacAddr, Machine>>,
    open: RwLock<HashMap<MacAddr, AttemptId>>,
    /// Held while a machine is read from the store and put here, so that what is older never replaces what is newer.
    refreshing: Mutex<()>,
    rules: RwLock<Arc<Rules>>,
    /// Whether nothing begins any more.
    stopping: AtomicBool,
}

/// What the configuration says about machines.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) flash_tries: u32,
    pub(super) discovery: Option<BootMode>,
    pub(super) discoveries_per_second: u32,
    pub(super) discovered_limit: u64,
    pub(super) local_boot: LocalBootDefault,
    pub(super) keep_attempts: u32,
    pub(super) deadlines: LabDeadlines,
}

impl Rules {
    pub(super) fn of(config: &LabConfig) -> Self {
        Self {
            flash_tries: config.flash_tries.max(1),
            discovery: config.discovery.mode.clone(),
            discoveries_per_second: config.discovery.per_second,
            discovered_limit: config.discovery.limit,
            local_boot: config.local_boot,
            keep_attempts: config.keep_attempts.max(1),
            deadlines: config.deadlines.clone(),
        }
    }
}

impl Known {
    /// Everything the store knows. Blocks for the storage.
    pub(super) fn load(store: &dyn Store, rules: Rules) -> Result<Self, StoreError> {
        let machines = store.machines()?;
        let machines = machines.into_iter().map(|machine| (machine.mac, machine));
        Ok(Self {
            machines: RwLock::new(machines.collect()),
            open: RwLock::default(),
            refreshing: Mutex::new(()),
            rules: RwLock::new(Arc::new(rules)),
            stopping: AtomicBool::new(false),
        })
    }

    /// What the configuration says now.
    pub(super) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What it says from now on.
    pub(super) fn set_rules(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// From now on no boot begins.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn machines(&self) -> RwLockReadGuard<'_, HashMap<MacAddr, Machine>> {
        self.machines.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn machine(&self, mac: &MacAddr) -> Option<Machine> {
        self.machines().get(mac).cloned()
    }

    pub(super) fn count(&self) -> usize {
        self.machines().len()
    }

    /// The machines that are flashed at each power-on.
    pub(super) fn flashed_always(&self) -> Vec<MacAddr> {
        let always = |machine: &&Machine| matches!(machine.boot, BootMode::FlashAlways(_));
        let machines = self.machines();
        let machines = machines.values().filter(always);
        machines.map(|machine| machine.mac).collect()
    }

    /// Reads a machine from the store again. Blocks for the storage.
    pub(super) fn refresh(
        &self,
        store: &dyn Store,
        mac: &MacAddr,
    ) -> Result<Option<Machine>, StoreError> {
        let _one = self
            .refreshing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let machine = store.machine(mac)?;
        let mut machines = self
            .machines
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        match &machine {
            Some(machine) => machines.insert(*mac, machine.clone()),
            None => machines.remove(mac),
        };
        Ok(machine)
    }

    /// The machine's open attempt.
    pub(super) fn attempt(&self, mac: &MacAddr) -> Option<AttemptId> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(mac).cloned()
    }

    pub(super) fn open_count(&self) -> usize {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.len()
    }

    pub(super) fn set_open(&self, mac: MacAddr, attempt: Option<AttemptId>) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        match attempt {
            Some(attempt) => open.insert(mac, attempt),
            None => open.remove(&mac),
        };
    }

    /// What a machine gets when it next asks.
    pub(super) fn next(&self, machine: &Machine) -> Next {
        let tries = self.rules().flash_tries;
        decide::next(machine, &machine.boot, machine.local_next, tries)
    }

    /// Whether a machine that gets this is named no bootfile.
    pub(super) fn silent(&self, next: &Next) -> bool {
        *next == Next::Local && self.rules().local_boot == LocalBootDefault::Silent
    }
}

/// A machine that is not known, as discovery would make it.
pub(super) fn stranger(mac: MacAddr, boot: BootMode) -> Machine {
    let discovery = Discovery {
        mac,
        boot,
        architecture: None,
        at: UnixMicros(0),
        limit: 0,
    };
    rules::seen(None, &discovery)
}

impl Known {
    /// The machine that this address would be by its first boot; `None` where none becomes known by itself.
    pub(super) fn discovered(&self, mac: &MacAddr) -> Option<Machine> {
        Some(stranger(*mac, self.rules().discovery.clone()?))
    }
}

impl MachineLookup for Known {
    fn machine(&self, mac: &MacAddr) -> Option<BootMachine> {
        let known = Known::machine(self, mac);
        let found = known.is_some();
        let machine = match known {
            Some(machine) => machine,
            None => self.discovered(mac)?,
        };
        let next = self.next(&machine);
        let mode = machine.boot.name();
        let mut note = match (&next, machine.local_next) {
            (Next::Refused(why), _) => format!("mode `{mode}`, and it may not boot: {why}"),
            (Next::Local, true) => format!("mode `{mode}`, and this boot is its disk's"),
            (Next::Flash(order), _) => format!("mode `{mode}` with image `{}`", order.image),
            _ => format!("mode `{mode}`"),
        };
        if !found {
            note = format!("unknown so far; by its first boot it becomes known in {note}");
        } else {
            note = format!("known, {note}");
        }
        Some(BootMachine {
            netboot: !self.silent(&next),
            bootfiles: Bootfiles::default(),
            note,
            ..BootMachine::default()
        })
    }

    /// Whether somebody knows the machine. One that appeared by itself and was never touched does not count: whoever
    /// invents machines would have the addresses that are kept for known ones.
    fn is_known(&self, mac: &MacAddr) -> bool {
        let rules = self.rules();
        self.machines().get(mac).is_some_and(|machine| {
            !machine.discovered
                || machine.name.is_some()
                || !machine.labels.is_empty()
                || Some(&machine.boot) != rules.discovery.as_ref()
        })
    }
}
