//! The simplest store there is: maps in memory. It is what the real backends are compared with.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Mutex;

use bootgate_api::{
    Attempt, BootMode, ExpectedFlash, FlashOrder, Inventory, Lease, LeaseState, Machine, Nonce,
    UnixMicros,
};
use bootgate_events::{AttemptId, Event, MacAddr, TargetVerdict};
use bootgate_store::rules::{self, AttemptRecord, Refusal};
use bootgate_store::{
    AttemptFilter, BeginFlash, Completed, Discovered, Discovery, Granted, IssuedNonce, LeaseEnd,
    LeaseGrant, MachineChange, NewAttempt, Store, StoreError,
};

/// A store in memory.
#[derive(Default)]
pub struct Model(Mutex<State>);

#[derive(Clone, Default)]
struct State {
    /// With the subnet of each.
    leases: BTreeMap<IpAddr, (Lease, String)>,
    machines: BTreeMap<MacAddr, Machine>,
    attempts: BTreeMap<u64, AttemptRecord>,
    events: BTreeMap<(u64, u64), Event>,
    last_attempt: u64,
}

impl Clone for Model {
    fn clone(&self) -> Self {
        Self(Mutex::new(self.0.lock().unwrap().clone()))
    }
}

fn explain(Refusal(why): Refusal) -> StoreError {
    let doing = "do it".to_owned();
    StoreError::Refused { doing, why }
}

fn refuse<T>(why: &str) -> Result<T, StoreError> {
    Err(explain(Refusal(why.to_owned())))
}

impl State {
    fn by_nonce(&self, nonce: &Nonce) -> Option<AttemptRecord> {
        let mut records = self.attempts.values();
        records.find(|r| r.nonce.as_ref() == Some(nonce)).cloned()
    }

    fn by_id(&self, id: &AttemptId) -> Result<AttemptRecord, StoreError> {
        let record = rules::attempt_row(id).and_then(|row| self.attempts.get(&row));
        record
            .cloned()
            .ok_or_else(|| explain(Refusal("there is no such attempt".to_owned())))
    }

    fn put(&mut self, record: AttemptRecord) {
        let row = rules::attempt_row(&record.attempt.id).expect("an id of ours");
        self.attempts.insert(row, record);
    }

    fn machine_of(&mut self, record: &AttemptRecord) -> Option<&mut Machine> {
        self.machines.get_mut(&record.attempt.mac)
    }

    fn grant(&mut self, grant: &LeaseGrant) -> Granted {
        let held = self.leases.get(&grant.ip).map(|(lease, _)| lease);
        let outcome = rules::grant(held, grant);
        if outcome == Granted::Yes {
            for (lease, subnet) in self.leases.values_mut() {
                let others = lease.state == LeaseState::Leased && *subnet == grant.subnet;
                if others && lease.ip != grant.ip && rules::same_holder(lease, grant) {
                    *lease = rules::moved(lease.clone(), grant.at);
                }
            }
            let leased = (rules::leased(grant), grant.subnet.clone());
            self.leases.insert(grant.ip, leased);
        }
        outcome
    }

    fn set(
        &mut self,
        mac: &MacAddr,
        change: &MachineChange,
        at: UnixMicros,
    ) -> Result<Machine, StoreError> {
        let machine =
            rules::changed(self.machines.get(mac).cloned(), *mac, change, at).map_err(explain)?;
        if let Some(Some(name)) = &change.name {
            let mut others = self.machines.values().filter(|other| other.mac != *mac);
            if let Some(other) = others.find(|other| other.name.as_ref() == Some(name)) {
                return Err(explain(rules::name_taken(name, &other.mac)));
            }
        }
        self.machines.insert(*mac, machine.clone());
        Ok(machine)
    }
}

impl Store for Model {
    fn grant_leases(&self, grants: &[LeaseGrant]) -> Result<Vec<Granted>, StoreError> {
        let mut state = self.0.lock().unwrap();
        Ok(grants.iter().map(|grant| state.grant(grant)).collect())
    }

    fn end_lease(&self, end: &LeaseEnd) -> Result<(), StoreError> {
        let leases = &mut self.0.lock().unwrap().leases;
        let held = leases.get(&end.ip);
        let subnet = held.map(|(_, subnet)| subnet.clone()).unwrap_or_default();
        if let Some(lease) = rules::end(held.map(|(lease, _)| lease), end) {
            leases.insert(end.ip, (lease, subnet));
        }
        Ok(())
    }

    fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let leases = &self.0.lock().unwrap().leases;
        Ok(leases.values().map(|(lease, _)| lease.clone()).collect())
    }

    fn forget_lease(&self, ip: IpAddr) -> Result<bool, StoreError> {
        Ok(self.0.lock().unwrap().leases.remove(&ip).is_some())
    }

    fn prune_leases(&self, before: UnixMicros) -> Result<u64, StoreError> {
        let leases = &mut self.0.lock().unwrap().leases;
        let count = leases.len();
        leases.retain(|_, (lease, _)| lease.ends >= before);
        Ok((count - leases.len()) as u64)
    }

    fn machine(&self, mac: &MacAddr) -> Result<Option<Machine>, StoreError> {
        Ok(self.0.lock().unwrap().machines.get(mac).cloned())
    }

    fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        Ok(self.0.lock().unwrap().machines.values().cloned().collect())
    }

    fn discover_machine(&self, discovery: &Discovery) -> Result<Discovered, StoreError> {
        let machines = &mut self.0.lock().unwrap().machines;
        let discovered = machines.values().filter(|machine| machine.discovered);
        let full = discovered.count() as u64 >= discovery.limit;
        let known = machines.get(&discovery.mac).cloned();
        if known.is_none() && full {
            return Ok(Discovered::Full);
        }
        let new = known.is_none();
        let machine = rules::seen(known, discovery);
        machines.insert(discovery.mac, machine.clone());
        Ok(match new {
            true => Discovered::New(machine),
            false => Discovered::Known(machine),
        })
    }

    fn set_machine(
        &self,
        mac: &MacAddr,
        change: &MachineChange,
        at: UnixMicros,
    ) -> Result<Machine, StoreError> {
        self.0.lock().unwrap().set(mac, change, at)
    }

    fn arm_flash(
        &self,
        mac: &MacAddr,
        order: &FlashOrder,
        always: bool,
        at: UnixMicros,
    ) -> Result<Machine, StoreError> {
        let boot = match always {
            true => BootMode::FlashAlways(order.clone()),
            false => BootMode::FlashOnce(order.clone()),
        };
        let change = MachineChange {
            boot: Some(boot),
            ..MachineChange::default()
        };
        self.set_machine(mac, &change, at)
    }

    fn forget_machine(&self, mac: &MacAddr) -> Result<bool, StoreError> {
        Ok(self.0.lock().unwrap().machines.remove(mac).is_some())
    }

    fn open_attempt(&self, new: &NewAttempt) -> Result<Attempt, StoreError> {
        let mut state = self.0.lock().unwrap();
        let mut attempts = state.attempts.values().map(|record| &record.attempt);
        let open = attempts.find(|a| a.mac == new.mac && a.finished.is_none());
        rules::may_open(open.map(|attempt| &attempt.id)).map_err(explain)?;
        state.last_attempt += 1;
        let record = rules::opened(rules::attempt_id(state.last_attempt), new);
        state.put(record.clone());
        Ok(record.attempt)
    }

    fn issue_nonce(
        &self,
        attempt: &AttemptId,
        nonce: &Nonce,
        peer: IpAddr,
    ) -> Result<IssuedNonce, StoreError> {
        let mut state = self.0.lock().unwrap();
        if state.by_nonce(nonce).is_some() {
            return refuse("the nonce was given out before");
        }
        let mut record = state.by_id(attempt)?;
        let issued = rules::issue(&mut record, nonce, peer).map_err(explain)?;
        state.put(record);
        Ok(issued)
    }

    fn attempt_by_nonce(&self, nonce: &Nonce) -> Result<Option<Attempt>, StoreError> {
        let found = self.0.lock().unwrap().by_nonce(nonce);
        let attempt = found.map(|record| record.attempt);
        Ok(attempt.filter(|attempt| attempt.finished.is_none()))
    }

    fn begin_flash(&self, nonce: &Nonce) -> Result<BeginFlash, StoreError> {
        let mut state = self.0.lock().unwrap();
        let Some(mut record) = state.by_nonce(nonce) else {
            return Ok(BeginFlash::Stale);
        };
        let machine = state.machine_of(&record);
        let outcome = rules::begin(&mut record, machine);
        state.put(record);
        Ok(outcome)
    }

    fn complete_flash(
        &self,
        nonce: &Nonce,
        written: &ExpectedFlash,
        at: UnixMicros,
    ) -> Result<Completed, StoreError> {
        let mut state = self.0.lock().unwrap();
        let Some(mut record) = state.by_nonce(nonce) else {
            return Ok(Completed::Stale);
        };
        let machine = state.machine_of(&record);
        let outcome = rules::complete(&mut record, machine, written, at);
        state.put(record);
        Ok(outcome)
    }

    fn record_inventory(&self, nonce: &Nonce, inventory: &Inventory) -> Result<(), StoreError> {
        let Some(attempt) = self.attempt_by_nonce(nonce)? else {
            return refuse("the nonce is of no open attempt");
        };
        let mut state = self.0.lock().unwrap();
        match state.machines.get_mut(&attempt.mac) {
            None => refuse(&format!("machine `{}` was forgotten", attempt.mac)),
            Some(machine) => {
                rules::inventory(machine, inventory);
                Ok(())
            }
        }
    }

    fn finish_attempt(
        &self,
        attempt: &AttemptId,
        verdict: &TargetVerdict,
        at: UnixMicros,
    ) -> Result<Attempt, StoreError> {
        let mut state = self.0.lock().unwrap();
        let mut record = state.by_id(attempt)?;
        let machine = state.machine_of(&record);
        let _ = rules::finish(&mut record, machine, verdict, at);
        state.put(record.clone());
        Ok(record.attempt)
    }

    fn attempt(&self, id: &AttemptId) -> Result<Option<Attempt>, StoreError> {
        let record = self.0.lock().unwrap().by_id(id);
        Ok(record.ok().map(|record| record.attempt))
    }

    fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, StoreError> {
        let before = match &filter.before {
            Some(id) => rules::attempt_row(id).unwrap_or(0),
            None => u64::MAX,
        };
        let state = self.0.lock().unwrap();
        let attempts = state.attempts.range(..before).rev();
        Ok(attempts
            .map(|(_, record)| &record.attempt)
            .filter(|attempt| filter.mac.is_none_or(|mac| mac == attempt.mac))
            .filter(|attempt| !filter.open || attempt.finished.is_none())
            .take(filter.limit)
            .cloned()
            .collect())
    }

    fn append_events(&self, events: &[Event]) -> Result<(), StoreError> {
        let mut state = self.0.lock().unwrap();
        for event in events {
            let row = rules::attempt_row(&AttemptId::new(event.run.as_str()));
            if let Some(row) = row.filter(|row| state.attempts.contains_key(row)) {
                let place = state.events.entry((row, event.seq));
                place.or_insert_with(|| event.clone());
            }
        }
        Ok(())
    }

    fn events(
        &self,
        attempt: &AttemptId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let Some(row) = rules::attempt_row(attempt) else {
            return Ok(Vec::new());
        };
        let state = self.0.lock().unwrap();
        let events = state.events.range((row, from)..=(row, u64::MAX));
        Ok(events.take(limit).map(|(_, event)| event.clone()).collect())
    }

    fn prune_attempts(&self, keep: u32) -> Result<u64, StoreError> {
        let mut state = self.0.lock().unwrap();
        let mut seen = BTreeMap::<MacAddr, u32>::new();
        let mut old = HashSet::new();
        for (row, record) in state.attempts.iter().rev() {
            if record.attempt.finished.is_some() {
                let count = seen.entry(record.attempt.mac).or_default();
                *count += 1;
                if *count > keep {
                    old.insert(*row);
                }
            }
        }
        state.attempts.retain(|row, _| !old.contains(row));
        state.events.retain(|(row, _), _| !old.contains(row));
        Ok(old.len() as u64)
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        let text = format!("{:?}", self.leases()?);
        let mut file = std::fs::File::create_new(to).map_err(|error| StoreError::Storage {
            doing: "back up".to_owned(),
            source: Box::new(error),
        })?;
        std::io::Write::write_all(&mut file, text.as_bytes()).expect("write the copy");
        Ok(())
    }
}
