//! Operations made from numbers, so that the same one can be done to several stores, and in several processes.

use std::fmt::Debug;
use std::net::IpAddr;

use bootgate_api::{
    Attempt, BootMode, ExpectedFlash, Lease, LeaseState, Machine, Nonce, UnixMicros,
};
use bootgate_events::{AttemptId, Event, MacAddr, Verdict};
use bootgate_store::conformance::{event, expected, inventory, mac, order, verdict};
use bootgate_store::{
    AttemptFilter, Discovery, LeaseEnd, LeaseGrant, MachineChange, NewAttempt, Store, StoreError,
};

/// One operation on a store. What it does follows from the number and from what is stored: the same number does the
/// same to stores of the same content.
#[derive(Clone, Copy, Debug)]
pub struct Operation(pub u64);

/// Machines and addresses are few, so that operations meet.
const MACHINES: u64 = 5;
const ADDRESSES: u64 = 7;

impl Operation {
    /// Does it; what came of it, for comparing.
    pub fn perform(self, store: &dyn Store) -> String {
        let [kind, who, what, more, late, later, ..] = self.0.to_le_bytes();
        let who = mac((u64::from(who) % MACHINES) as u8);
        let at = UnixMicros(1_000 + u64::from(late));
        let nonce = || current_nonce(store, &who);
        match kind % 20 {
            0..=2 => show(store.grant_leases(&grants(who, what, more, at, later))),
            3 => show(store.end_lease(&lease_end(who, what, more, at))),
            4 => show(store.forget_lease(address(what))),
            5 => show(store.prune_leases(at)),
            6 => show(store.discover_machine(&Discovery {
                mac: who,
                boot: mode(what),
                architecture: (more % 2 == 0).then_some(more.into()),
                at,
                limit: 3,
            })),
            7 => show(store.set_machine(&who, &change(what, more), at)),
            8 => show(store.arm_flash(&who, &order(image(what)), more % 2 == 0, at)),
            9 if more % 4 == 0 => show(store.forget_machine(&who)),
            9..=11 => show(store.open_attempt(&new_attempt(store, who, at))),
            12..=13 => match latest(store, &who) {
                None => String::new(),
                Some(attempt) => {
                    let nonce = nonce_of(&attempt.id, attempt.nonces + u32::from(more % 8 != 0));
                    show(store.issue_nonce(&attempt.id, &nonce, address(what)))
                }
            },
            14 => show(store.begin_flash(&nonce())),
            15 => show(store.complete_flash(&nonce(), &written(what), at)),
            16 => show(store.record_inventory(&nonce(), &inventory(what % 4))),
            17 => match latest(store, &who) {
                None => String::new(),
                Some(attempt) => {
                    show(store.finish_attempt(&attempt.id, &verdict(Verdict::Passed), at))
                }
            },
            18 => match latest(store, &who) {
                None => String::new(),
                Some(attempt) => show(store.append_events(&events(&attempt.id, what, more))),
            },
            _ if more % 4 == 0 => show(store.prune_attempts(u32::from(what % 3))),
            _ => show(store.attempt_by_nonce(&nonce())),
        }
    }
}

/// An outcome as text; of an error only what it is, since each backend names its own reasons.
fn show<T: Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Ok(value) => format!("{value:?}"),
        Err(StoreError::Refused { why, .. }) => format!("refused: {why}"),
        Err(other) => panic!("{other}"),
    }
}

fn address(number: u8) -> IpAddr {
    let number = (u64::from(number) % ADDRESSES) as u8;
    match number % 3 {
        0 => IpAddr::from([0xfd, 0, 0, 0, 0, 0, 0, number.into()]),
        _ => IpAddr::from([10, 0, 0, number]),
    }
}

fn grants(who: MacAddr, what: u8, more: u8, at: UnixMicros, later: u8) -> Vec<LeaseGrant> {
    let grant = |number: u8| {
        let ip = address(what.wrapping_add(number));
        LeaseGrant {
            ip,
            mac: MacAddr([who.0[0], 0, 0, 0, 0, who.0[5].wrapping_add(number) % 5]),
            subnet: ["a", "b"][usize::from(more) % 2].to_owned(),
            ends: UnixMicros(at.0 + u64::from(later)),
            at,
            client: ip.is_ipv6().then(|| format!("00aa/{}", more % 3)),
        }
    };
    (0..=more % 3).map(grant).collect()
}

fn lease_end(who: MacAddr, what: u8, more: u8, at: UnixMicros) -> LeaseEnd {
    let ended = more.is_multiple_of(2);
    LeaseEnd {
        ip: address(what),
        mac: MacAddr([who.0[0], 0, 0, 0, 0, who.0[5]]),
        state: if ended {
            LeaseState::Ended
        } else {
            LeaseState::Quarantined
        },
        ends: if ended { at } else { UnixMicros(at.0 + 50) },
        at,
    }
}

fn image(number: u8) -> &'static str {
    ["one", "two"][usize::from(number) % 2]
}

fn mode(number: u8) -> BootMode {
    match number % 6 {
        0 => BootMode::Local,
        1 => BootMode::FlashOnce(order(image(number / 6))),
        2 => BootMode::FlashAlways(order(image(number / 6))),
        3 => BootMode::Inventory,
        4 => BootMode::Install {
            installer: "i".to_owned(),
        },
        _ => BootMode::Script {
            script: "s".to_owned(),
        },
    }
}

fn change(what: u8, more: u8) -> MachineChange {
    let label = format!("l{}", what % 3);
    MachineChange {
        name: (more & 1 == 1).then(|| (!what.is_multiple_of(4)).then(|| format!("n{}", what % 4))),
        boot: (more & 2 == 2).then(|| mode(what)),
        local: None,
        labels: [(label, (more & 4 == 4).then(|| what.to_string()))].into(),
        force: more & 24 == 24,
        only_from: (more & 96 == 96).then(|| mode(what / 2)),
    }
}

/// The attempt that a machine would get now.
fn new_attempt(store: &dyn Store, mac: MacAddr, at: UnixMicros) -> NewAttempt {
    let machine = store.machine(&mac).expect("machine");
    let local = machine.as_ref().is_some_and(|machine| machine.local_next);
    let boot = machine.map(|machine| machine.boot).unwrap_or_default();
    NewAttempt {
        mac,
        local,
        expected: boot.flash().filter(|_| !local).map(|_| expected(1)),
        boot,
        at,
    }
}

fn latest(store: &dyn Store, mac: &MacAddr) -> Option<Attempt> {
    let filter = AttemptFilter {
        mac: Some(*mac),
        limit: 1,
        ..AttemptFilter::default()
    };
    store.attempts(&filter).expect("attempts").pop()
}

fn nonce_of(id: &AttemptId, number: u32) -> Nonce {
    let row: u64 = id.as_str()[1..].parse().expect("a number");
    bootgate_store::conformance::nonce((row << 16) + u64::from(number))
}

/// The nonce of the machine's latest attempt, or one that nobody has.
fn current_nonce(store: &dyn Store, mac: &MacAddr) -> Nonce {
    match latest(store, mac) {
        Some(attempt) => nonce_of(&attempt.id, attempt.nonces),
        None => bootgate_store::conformance::nonce(u64::MAX),
    }
}

fn written(what: u8) -> ExpectedFlash {
    expected(if what.is_multiple_of(8) { 2 } else { 1 })
}

fn events(id: &AttemptId, what: u8, more: u8) -> Vec<Event> {
    (0..u64::from(more % 5))
        .map(|number| event(id, u64::from(what % 16) + number, "x"))
        .collect()
}

/// Everything that a store tells, as lines.
pub fn contents(store: &dyn Store) -> Vec<String> {
    let leases: Vec<Lease> = store.leases().expect("leases");
    let machines: Vec<Machine> = store.machines().expect("machines");
    let filter = AttemptFilter {
        limit: usize::MAX,
        ..AttemptFilter::default()
    };
    let attempts = store.attempts(&filter).expect("attempts");
    let mut lines: Vec<_> = leases.iter().map(|lease| format!("{lease:?}")).collect();
    lines.extend(machines.iter().map(|machine| format!("{machine:?}")));
    for attempt in attempts {
        let nonce = nonce_of(&attempt.id, attempt.nonces);
        let current = store.attempt_by_nonce(&nonce).expect("attempt");
        lines.push(format!(
            "{attempt:?}, open by its nonce: {}",
            current.is_some()
        ));
        let events = store.events(&attempt.id, 0, usize::MAX).expect("events");
        lines.extend(events.iter().map(|event| format!("{event:?}")));
    }
    lines
}
