//! The operations, each a transaction.

use std::net::IpAddr;
use std::path::Path;

use bootgate_api::{
    Attempt, BootMode, ExpectedFlash, FlashOrder, Inventory, Lease, Machine, Nonce, UnixMicros,
};
use bootgate_events::{AttemptId, Event, MacAddr, TargetVerdict};

use super::{DATABASE, Sqlite, attempts, backup, events, leases, machines};
use crate::{
    ArtifactStore, AttemptFilter, BeginFlash, Completed, Discovered, Discovery, Granted,
    IssuedNonce, LeaseEnd, LeaseGrant, MachineChange, NewAttempt, Store, StoreError,
};

impl Store for Sqlite {
    fn artifacts(&self) -> Option<&dyn ArtifactStore> {
        Some(self)
    }

    fn grant_leases(&self, grants: &[LeaseGrant]) -> Result<Vec<Granted>, StoreError> {
        if grants.is_empty() {
            return Ok(Vec::new());
        }
        let doing = || format!("grant {} leases", grants.len());
        self.write(doing, |db| {
            let grant = |grant| leases::grant(db, grant);
            grants.iter().map(grant).collect()
        })
    }

    fn end_lease(&self, end: &LeaseEnd) -> Result<(), StoreError> {
        self.write(
            || format!("end the lease of `{}`", end.ip),
            |db| leases::end(db, end),
        )
    }

    fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.read(|| "read the leases".to_owned(), leases::all)
    }

    fn forget_lease(&self, ip: IpAddr) -> Result<bool, StoreError> {
        self.write(
            || format!("forget address `{ip}`"),
            |db| leases::forget(db, ip),
        )
    }

    fn prune_leases(&self, before: UnixMicros) -> Result<u64, StoreError> {
        self.write(
            || "forget old leases".to_owned(),
            |db| leases::prune(db, before),
        )
    }

    fn machine(&self, mac: &MacAddr) -> Result<Option<Machine>, StoreError> {
        self.read(
            || format!("read machine `{mac}`"),
            |db| machines::find(db, mac),
        )
    }

    fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        self.read(|| "read the machines".to_owned(), machines::all)
    }

    fn discover_machine(&self, discovery: &Discovery) -> Result<Discovered, StoreError> {
        self.write(
            || format!("note machine `{}`", discovery.mac),
            |db| machines::discover(db, discovery),
        )
    }

    fn set_machine(
        &self,
        mac: &MacAddr,
        change: &MachineChange,
        at: UnixMicros,
    ) -> Result<Machine, StoreError> {
        self.write(
            || format!("set machine `{mac}`"),
            |db| machines::change(db, mac, change, at),
        )
    }

    fn arm_flash(
        &self,
        mac: &MacAddr,
        order: &FlashOrder,
        always: bool,
        at: UnixMicros,
    ) -> Result<Machine, StoreError> {
        let mode = if always {
            BootMode::FlashAlways
        } else {
            BootMode::FlashOnce
        };
        let change = MachineChange {
            boot: Some(mode(order.clone())),
            ..MachineChange::default()
        };
        self.write(
            || format!("arm machine `{mac}`"),
            |db| machines::change(db, mac, &change, at),
        )
    }

    fn forget_machine(&self, mac: &MacAddr) -> Result<bool, StoreError> {
        self.write(
            || format!("forget machine `{mac}`"),
            |db| machines::forget(db, mac),
        )
    }

    fn open_attempt(&self, new: &NewAttempt) -> Result<Attempt, StoreError> {
        self.write(
            || format!("open an attempt of `{}`", new.mac),
            |db| attempts::open(db, new),
        )
    }

    fn issue_nonce(
        &self,
        attempt: &AttemptId,
        nonce: &Nonce,
        peer: IpAddr,
    ) -> Result<IssuedNonce, StoreError> {
        self.write(
            || format!("give attempt `{attempt}` a nonce"),
            |db| attempts::issue_nonce(db, attempt, nonce, peer),
        )
    }

    fn attempt_by_nonce(&self, nonce: &Nonce) -> Result<Option<Attempt>, StoreError> {
        self.read(
            || "find the attempt of a nonce".to_owned(),
            |db| attempts::open_by_nonce(db, nonce),
        )
    }

    fn begin_flash(&self, nonce: &Nonce) -> Result<BeginFlash, StoreError> {
        self.write(
            || "begin a flash".to_owned(),
            |db| attempts::begin_flash(db, nonce),
        )
    }

    fn complete_flash(
        &self,
        nonce: &Nonce,
        written: &ExpectedFlash,
        at: UnixMicros,
    ) -> Result<Completed, StoreError> {
        self.write(
            || "complete a flash".to_owned(),
            |db| attempts::complete_flash(db, nonce, written, at),
        )
    }

    fn record_inventory(&self, nonce: &Nonce, inventory: &Inventory) -> Result<(), StoreError> {
        self.write(
            || "record an inventory".to_owned(),
            |db| attempts::record_inventory(db, nonce, inventory),
        )
    }

    fn finish_attempt(
        &self,
        attempt: &AttemptId,
        verdict: &TargetVerdict,
        at: UnixMicros,
    ) -> Result<Attempt, StoreError> {
        self.write(
            || format!("finish attempt `{attempt}`"),
            |db| attempts::finish(db, attempt, verdict, at),
        )
    }

    fn attempt(&self, id: &AttemptId) -> Result<Option<Attempt>, StoreError> {
        self.read(
            || format!("read attempt `{id}`"),
            |db| attempts::find(db, id),
        )
    }

    fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, StoreError> {
        self.read(
            || "read the attempts".to_owned(),
            |db| attempts::list(db, filter),
        )
    }

    fn append_events(&self, events: &[Event]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        self.write(
            || format!("append {} events", events.len()),
            |db| events::append(db, events),
        )
    }

    fn events(
        &self,
        attempt: &AttemptId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.read(
            || format!("read the events of attempt `{attempt}`"),
            |db| events::list(db, attempt, from, limit),
        )
    }

    fn prune_attempts(&self, keep: u32) -> Result<u64, StoreError> {
        self.write(
            || "forget old attempts".to_owned(),
            |db| attempts::prune(db, keep),
        )
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        // The room that may be wanting is where the copy goes.
        let doing = || format!("back up to `{}`", to.display());
        // One at a time, since two to the same file would share its temporary name.
        let _turn = self.backups.lock();
        // By a connection of its own: nobody who reads waits for it.
        super::connect(&self.folder.join(DATABASE))
            .and_then(|connection| backup::backup(&connection, to))
            .map_err(|fault| fault.explain(&doing, to.parent().unwrap_or(Path::new("."))))
    }
}
