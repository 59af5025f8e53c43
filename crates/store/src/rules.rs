//! What each operation does to leases, machines and attempts: the rules, without any storage.
//!
//! A backend loads what an operation is about, asks here, and stores what comes out, all in one transaction. So every
//! backend follows the same rules, and they can be read in one place.

use std::net::IpAddr;

use bootgate_api::{
    Attempt, BootMode, DiskState, ExpectedFlash, Inventory, Lease, LeaseState, Machine, Nonce,
    UnixMicros,
};
use bootgate_events::{AttemptId, MacAddr, TargetVerdict, Verdict};

use crate::{
    BeginFlash, Completed, Discovery, Granted, IssuedNonce, LeaseEnd, LeaseGrant, MachineChange,
    NewAttempt,
};

/// Why an operation contradicts what is stored, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub String);

/// An attempt as a backend keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptRecord {
    /// What everybody may see.
    pub attempt: Attempt,
    /// The current nonce.
    pub nonce: Option<Nonce>,
    /// How far its flash is.
    pub flash: FlashProgress,
}

/// How far the flash of an attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FlashProgress {
    /// Nothing was written, as far as is known.
    #[default]
    NotBegun,
    /// The agent said that it is about to write.
    Begun,
    /// The agent read back what it wrote.
    Completed,
}

/// The public number of the attempt with this row: of one width, so that later ones sort after earlier ones.
#[must_use]
pub fn attempt_id(row: u64) -> AttemptId {
    AttemptId::new(format!("a{row:010}"))
}

/// The row of an attempt; `None` where the text is not what [`attempt_id`] makes.
#[must_use]
pub fn attempt_row(id: &AttemptId) -> Option<u64> {
    let digits = id.as_str().strip_prefix('a')?;
    let row = digits.parse().ok()?;
    (attempt_id(row) == *id).then_some(row)
}

/// Whether a grant may have its address, given what the address is now.
#[must_use]
pub fn grant(held: Option<&Lease>, grant: &LeaseGrant) -> Granted {
    match held {
        Some(lease) if lease.ends > grant.at && !is_free_for(lease, grant) => Granted::Taken {
            mac: lease.mac,
            state: lease.state,
            ends: lease.ends,
        },
        _ => Granted::Yes,
    }
}

fn is_free_for(lease: &Lease, grant: &LeaseGrant) -> bool {
    match lease.state {
        LeaseState::Leased => same_holder(lease, grant),
        LeaseState::Ended => true,
        LeaseState::Quarantined => false,
    }
}

/// Whether lease and grant are of the same client: of the same DHCPv6 client, or, where neither names one, of the same
/// hardware address.
#[must_use]
pub fn same_holder(lease: &Lease, grant: &LeaseGrant) -> bool {
    match (&lease.client, &grant.client) {
        (None, None) => lease.mac == grant.mac,
        (held, asked) => held == asked,
    }
}

/// The lease that a grant makes.
#[must_use]
pub fn leased(grant: &LeaseGrant) -> Lease {
    Lease {
        ip: grant.ip,
        mac: grant.mac,
        state: LeaseState::Leased,
        ends: grant.ends,
        changed: grant.at,
        client: grant.client.clone(),
    }
}

/// A lease whose machine was granted another address of the subnet: it ended now, or when it ran out before.
#[must_use]
pub fn moved(lease: Lease, at: UnixMicros) -> Lease {
    Lease {
        state: LeaseState::Ended,
        ends: lease.ends.min(at),
        changed: at,
        ..lease
    }
}

/// What the end of a lease makes of an address; `None` where it changes nothing: a release of what the machine does not
/// hold, or a decline of what another machine holds.
#[must_use]
pub fn end(held: Option<&Lease>, end: &LeaseEnd) -> Option<Lease> {
    let another = held.is_some_and(|lease| {
        lease.mac != end.mac && lease.state == LeaseState::Leased && lease.ends > end.at
    });
    let client = match end.state {
        LeaseState::Quarantined if another => return None,
        LeaseState::Quarantined => None,
        LeaseState::Leased => return None,
        LeaseState::Ended => {
            let lease = held.filter(|l| l.mac == end.mac && l.state == LeaseState::Leased)?;
            lease.client.clone()
        }
    };
    Some(Lease {
        ip: end.ip,
        mac: end.mac,
        state: end.state,
        ends: end.ends,
        changed: end.at,
        client,
    })
}

/// A machine that nobody knows yet.
fn new_machine(mac: MacAddr, at: UnixMicros) -> Machine {
    Machine {
        mac,
        name: None,
        boot: BootMode::Local,
        after_inventory: None,
        local: bootgate_api::LocalBoot::Auto,
        disk: DiskState::Unknown,
        local_next: false,
        failed_flashes: 0,
        labels: std::collections::BTreeMap::new(),
        architecture: None,
        inventory: None,
        discovered: false,
        first_seen: at,
        last_seen: UnixMicros(0),
    }
}

/// The machine after a contact; a new one where it was not known.
#[must_use]
pub fn seen(known: Option<Machine>, discovery: &Discovery) -> Machine {
    let mut machine = known.unwrap_or_else(|| Machine {
        boot: discovery.boot.clone(),
        discovered: true,
        ..new_machine(discovery.mac, discovery.at)
    });
    machine.last_seen = machine.last_seen.max(discovery.at);
    machine.architecture = discovery.architecture.or(machine.architecture);
    machine
}

/// The machine after a change; a new one where it was not known.
///
/// # Errors
/// The mode `local` is asked for while the disk is half written, without force; or the mode is not the one that the
/// change is for.
pub fn changed(
    known: Option<Machine>,
    mac: MacAddr,
    change: &MachineChange,
    at: UnixMicros,
) -> Result<Machine, Refusal> {
    if let Some(from) = &change.only_from
        && known.as_ref().is_none_or(|machine| machine.boot != *from)
    {
        let mode = from.name();
        return Err(Refusal(format!("its mode is no longer that `{mode}`")));
    }
    let mut machine = known.unwrap_or_else(|| new_machine(mac, at));
    if let DiskState::Dirty { attempt } = &machine.disk {
        if change.force {
            machine.disk = DiskState::Unknown;
        } else if change.boot == Some(BootMode::Local) {
            return Err(Refusal(format!(
                "the disk is half written by attempt `{attempt}`; flash it again, or force the mode"
            )));
        }
    }
    if let Some(name) = &change.name {
        machine.name.clone_from(name);
    }
    if let Some(boot) = &change.boot {
        machine.after_inventory = match (boot, machine.boot) {
            (BootMode::Inventory, BootMode::Inventory) => machine.after_inventory,
            (BootMode::Inventory, before) => Some(before),
            _ => None,
        };
        machine.boot = boot.clone();
        machine.failed_flashes = 0;
        machine.local_next = false;
    }
    if let Some(local) = &change.local {
        machine.local = local.clone();
    }
    for (label, value) in &change.labels {
        match value {
            Some(value) => machine.labels.insert(label.clone(), value.clone()),
            None => machine.labels.remove(label),
        };
    }
    Ok(machine)
}

/// Why a machine cannot have a name.
#[must_use]
pub fn name_taken(name: &str, by: &MacAddr) -> Refusal {
    Refusal(format!("the name `{name}` is that of `{by}`"))
}

/// Whether a machine may have a new attempt, given the one that is open.
///
/// # Errors
/// One is.
pub fn may_open(open: Option<&AttemptId>) -> Result<(), Refusal> {
    match open {
        None => Ok(()),
        Some(open) => Err(Refusal(format!("its attempt `{open}` is still open"))),
    }
}

/// A new attempt.
#[must_use]
pub fn opened(id: AttemptId, new: &NewAttempt) -> AttemptRecord {
    AttemptRecord {
        attempt: Attempt {
            id,
            mac: new.mac,
            boot: new.boot.clone(),
            local: new.local,
            expected: new.expected.clone(),
            nonces: 0,
            peer: None,
            opened: new.at,
            finished: None,
            verdict: None,
        },
        nonce: None,
        flash: FlashProgress::NotBegun,
    }
}

/// Gives an attempt a nonce.
///
/// # Errors
/// The attempt is finished.
pub fn issue(
    record: &mut AttemptRecord,
    nonce: &Nonce,
    peer: IpAddr,
) -> Result<IssuedNonce, Refusal> {
    if record.attempt.finished.is_some() {
        return Err(Refusal("the attempt is finished".to_owned()));
    }
    let earlier = record.attempt.nonces;
    record.nonce = Some(nonce.clone());
    record.attempt.nonces = earlier.saturating_add(1);
    record.attempt.peer = Some(peer);
    Ok(IssuedNonce {
        attempt: record.attempt.clone(),
        earlier,
    })
}

/// What an attempt writes to the disk; `None` where it writes nothing.
fn flashes(attempt: &Attempt) -> Option<(&bootgate_api::FlashOrder, &ExpectedFlash)> {
    if attempt.local {
        return None;
    }
    attempt.boot.flash().zip(attempt.expected.as_ref())
}

/// The agent is about to write. `machine` is the attempt's, where it is known still.
#[must_use]
pub fn begin(record: &mut AttemptRecord, machine: Option<&mut Machine>) -> BeginFlash {
    let may = record.attempt.finished.is_none()
        && flashes(&record.attempt).is_some()
        // What was written and read back is not written again in the same attempt: a repeated or late request must
        // not turn a good disk into a half-written one.
        && record.flash != FlashProgress::Completed;
    let Some(machine) = machine.filter(|_| may) else {
        return BeginFlash::Stale;
    };
    record.flash = FlashProgress::Begun;
    machine.disk = DiskState::Dirty {
        attempt: record.attempt.id.clone(),
    };
    BeginFlash::Begun
}

/// The agent read back what it wrote. `machine` is the attempt's, where it is known still.
#[must_use]
pub fn complete(
    record: &mut AttemptRecord,
    machine: Option<&mut Machine>,
    written: &ExpectedFlash,
    at: UnixMicros,
) -> Completed {
    let Some((order, expected)) = flashes(&record.attempt) else {
        return Completed::Stale;
    };
    let again = record.flash == FlashProgress::Completed;
    if record.attempt.finished.is_some() && !again {
        return Completed::Stale;
    }
    if written != expected {
        return Completed::Wrong {
            expected: expected.clone(),
        };
    }
    if again {
        return Completed::Again;
    }
    let Some(machine) = machine else {
        return Completed::Stale;
    };
    // The machine's disk does not tell: it may be flashed since another attempt.
    if record.flash == FlashProgress::NotBegun {
        return Completed::NotBegun;
    }
    machine.disk = DiskState::Flashed {
        image: order.image.clone(),
        sha256: expected.image_sha256,
        at,
    };
    machine.failed_flashes = 0;
    // An order that was given since the attempt opened is still to be carried out.
    if machine.boot == record.attempt.boot {
        match machine.boot {
            BootMode::FlashOnce(_) => machine.boot = BootMode::Local,
            BootMode::FlashAlways(_) => machine.local_next = true,
            _ => {}
        }
    }
    record.flash = FlashProgress::Completed;
    Completed::Yes
}

/// The agent told what its machine is made of.
pub fn inventory(machine: &mut Machine, inventory: &Inventory) {
    machine.inventory = Some(inventory.clone());
    if machine.boot == BootMode::Inventory {
        machine.boot = machine.after_inventory.take().unwrap_or_default();
    }
}

/// The attempt has its verdict; whether that changed anything. `machine` is the attempt's, where it is known still.
#[must_use]
pub fn finish(
    record: &mut AttemptRecord,
    machine: Option<&mut Machine>,
    verdict: &TargetVerdict,
    at: UnixMicros,
) -> bool {
    let attempt = &mut record.attempt;
    if attempt.finished.is_some() {
        return false;
    }
    attempt.finished = Some(at);
    attempt.verdict = Some(verdict.clone());
    if let Some(machine) = machine {
        if attempt.local {
            machine.local_next = false;
        }
        // A power-on that never came as far as a script has tried nothing; one that was given its nonce has. An order
        // given since has failed nothing yet.
        let failed = match &attempt.boot {
            BootMode::Install { .. } => verdict.verdict != Verdict::Passed,
            _ => flashes(attempt).is_some() && record.flash != FlashProgress::Completed,
        };
        if failed && attempt.nonces > 0 && machine.boot == attempt.boot {
            machine.failed_flashes = machine.failed_flashes.saturating_add(1);
        }
    }
    true
}
