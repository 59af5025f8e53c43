//! A store of leases in memory that can be made to wait and to fail.

#![allow(
    dead_code,
    clippy::unimplemented,
    reason = "each test file uses its part of it; a DHCP server grants and ends leases"
)]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Condvar, Mutex};

use bootgate_api::{
    Attempt, ExpectedFlash, FlashOrder, Inventory, Lease, LeaseState, Machine, Nonce, UnixMicros,
};
use bootgate_events::{AttemptId, Event, MacAddr, TargetVerdict};
use bootgate_store::{
    AttemptFilter, BeginFlash, Completed, Discovered, Discovery, Granted, IssuedNonce, LeaseEnd,
    LeaseGrant, MachineChange, NewAttempt, Store, StoreError,
};

/// What the store does when it is asked to grant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Works,
    /// Waits until the mood changes.
    Waits,
    /// Says that the disk is full.
    Full,
}

#[derive(Default)]
struct State {
    mood: Mood,
    leases: BTreeMap<IpAddr, Lease>,
    /// Whether a grant waits now.
    waiting: bool,
}

#[derive(Default)]
pub struct FakeStore {
    state: Mutex<State>,
    changed: Condvar,
}

impl FakeStore {
    pub fn set(&self, mood: Mood) {
        self.state.lock().unwrap().mood = mood;
        self.changed.notify_all();
    }

    /// Puts a lease there that the server did not grant.
    pub fn put(&self, ip: IpAddr, mac: MacAddr, ends: UnixMicros) {
        let lease = Lease {
            ip,
            mac,
            state: LeaseState::Leased,
            ends,
            changed: UnixMicros(0),
            client: None,
        };
        self.state.lock().unwrap().leases.insert(ip, lease);
    }

    pub fn lease(&self, ip: IpAddr) -> Option<Lease> {
        self.state.lock().unwrap().leases.get(&ip).cloned()
    }

    /// Whether a grant waits.
    pub fn waiting(&self) -> bool {
        self.state.lock().unwrap().waiting
    }
}

impl Store for FakeStore {
    fn grant_leases(&self, grants: &[LeaseGrant]) -> Result<Vec<Granted>, StoreError> {
        let mut state = self.state.lock().unwrap();
        while state.mood == Mood::Waits {
            state.waiting = true;
            state = self.changed.wait(state).unwrap();
        }
        state.waiting = false;
        if state.mood == Mood::Full {
            return Err(StoreError::Full {
                doing: "grant leases".to_owned(),
            });
        }
        let mut outcomes = Vec::new();
        for grant in grants {
            let held = state.leases.get(&grant.ip);
            let taken = held.filter(|lease| {
                lease.mac != grant.mac && lease.state != LeaseState::Ended && lease.ends > grant.at
            });
            if let Some(lease) = taken {
                outcomes.push(Granted::Taken {
                    mac: lease.mac,
                    state: lease.state,
                    ends: lease.ends,
                });
                continue;
            }
            let lease = Lease {
                ip: grant.ip,
                mac: grant.mac,
                state: LeaseState::Leased,
                ends: grant.ends,
                changed: grant.at,
                client: grant.client.clone(),
            };
            state.leases.insert(grant.ip, lease);
            outcomes.push(Granted::Yes);
        }
        Ok(outcomes)
    }

    fn end_lease(&self, end: &LeaseEnd) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap();
        if let Some(lease) = state.leases.get_mut(&end.ip) {
            lease.state = end.state;
            lease.ends = end.ends;
        }
        Ok(())
    }

    fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        Ok(self
            .state
            .lock()
            .unwrap()
            .leases
            .values()
            .cloned()
            .collect())
    }

    fn forget_lease(&self, _: IpAddr) -> Result<bool, StoreError> {
        unimplemented!()
    }
    fn prune_leases(&self, _: UnixMicros) -> Result<u64, StoreError> {
        unimplemented!()
    }
    fn machine(&self, _: &MacAddr) -> Result<Option<Machine>, StoreError> {
        unimplemented!()
    }
    fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        unimplemented!()
    }
    fn discover_machine(&self, _: &Discovery) -> Result<Discovered, StoreError> {
        unimplemented!()
    }
    fn set_machine(
        &self,
        _: &MacAddr,
        _: &MachineChange,
        _: UnixMicros,
    ) -> Result<Machine, StoreError> {
        unimplemented!()
    }
    fn arm_flash(
        &self,
        _: &MacAddr,
        _: &FlashOrder,
        _: bool,
        _: UnixMicros,
    ) -> Result<Machine, StoreError> {
        unimplemented!()
    }
    fn forget_machine(&self, _: &MacAddr) -> Result<bool, StoreError> {
        unimplemented!()
    }
    fn open_attempt(&self, _: &NewAttempt) -> Result<Attempt, StoreError> {
        unimplemented!()
    }
    fn issue_nonce(&self, _: &AttemptId, _: &Nonce, _: IpAddr) -> Result<IssuedNonce, StoreError> {
        unimplemented!()
    }
    fn attempt_by_nonce(&self, _: &Nonce) -> Result<Option<Attempt>, StoreError> {
        unimplemented!()
    }
    fn begin_flash(&self, _: &Nonce) -> Result<BeginFlash, StoreError> {
        unimplemented!()
    }
    fn complete_flash(
        &self,
        _: &Nonce,
        _: &ExpectedFlash,
        _: UnixMicros,
    ) -> Result<Completed, StoreError> {
        unimplemented!()
    }
    fn record_inventory(&self, _: &Nonce, _: &Inventory) -> Result<(), StoreError> {
        unimplemented!()
    }
    fn finish_attempt(
        &self,
        _: &AttemptId,
        _: &TargetVerdict,
        _: UnixMicros,
    ) -> Result<Attempt, StoreError> {
        unimplemented!()
    }
    fn attempt(&self, _: &AttemptId) -> Result<Option<Attempt>, StoreError> {
        unimplemented!()
    }
    fn attempts(&self, _: &AttemptFilter) -> Result<Vec<Attempt>, StoreError> {
        unimplemented!()
    }
    fn append_events(&self, _: &[Event]) -> Result<(), StoreError> {
        unimplemented!()
    }
    fn events(&self, _: &AttemptId, _: u64, _: usize) -> Result<Vec<Event>, StoreError> {
        unimplemented!()
    }
    fn prune_attempts(&self, _: u32) -> Result<u64, StoreError> {
        unimplemented!()
    }
    fn backup(&self, _: &Path) -> Result<(), StoreError> {
        unimplemented!()
    }
}
