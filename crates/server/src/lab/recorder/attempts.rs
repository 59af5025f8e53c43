//! When attempts begin and end.

use std::net::IpAddr;
use std::sync::atomic::Ordering;

use bootgate_api::{BootMode, Machine, UnixMicros};
use bootgate_events::{DhcpFacts, EventKind, MacAddr, PowerCause};
use bootgate_store::{Discovered, Discovery, NewAttempt, StoreError};

use super::super::ForeignServer;
use super::super::decide::{self, By, Contact, Meaning, Next};
use super::super::known::stranger;
use super::calls::plain;
use super::health::Unmet;
use super::open::{Open, begins_talk, started, target_name};
use super::{Recorder, remember};
use crate::Fact;
use crate::desk::BootLoader;

/// Time between two progress events of one attempt in its log.
const PROGRESS_US: u64 = 1_000_000;

/// Events of one attempt from which on its log takes only what the attempt still needs to end. A machine that flashes
/// for as long as it may tells one line of progress a second; who tells more fills the disk.
const EVENTS_MAX: u64 = 25_000;

/// Ends of transfers that it takes beyond that: those that had begun, and what is fetched last.
const ENDS_MAX: u64 = 1000;

/// Refused requests of one attempt that its log takes: a loader tries some dozens of names, who asks for more is no loader.
const REFUSED_MAX: u32 = 256;

/// Characters of a path that a log takes: over HTTP it may have 64 KiB.
const TEXT_MAX: usize = 1024;

/// Where calls with a nonce are.
const CALLS: &str = "/api/v1/attempts/";

/// A path without the nonce in it: what is logged is shown to everybody.
fn without_nonce(path: &str) -> String {
    match path.strip_prefix(CALLS).map(|rest| rest.split_once('/')) {
        Some(Some((_, call))) => format!("{CALLS}.../{call}"),
        Some(None) => format!("{CALLS}..."),
        None => path.to_owned(),
    }
}

/// As much of a client's text as a person reads.
fn fit(text: &str) -> String {
    text.chars().take(TEXT_MAX).collect()
}

/// The fact without any secret, and without endless text.
fn without_secrets(mut fact: Fact) -> Fact {
    match &mut fact.kind {
        EventKind::StaleCallback { nonce, path } => {
            *path = without_nonce(path);
            // It may be a good one that came from the wrong address. Enough is left to tell two apart.
            *nonce = nonce.chars().take(6).chain("...".chars()).collect();
        }
        EventKind::RequestRefused { path, reason, .. } => {
            *path = fit(&without_nonce(path));
            *reason = fit(reason);
        }
        EventKind::TransferStarted { path, .. }
        | EventKind::TransferCompleted { path, .. }
        | EventKind::TransferAborted { path, .. } => *path = fit(path),
        _ => {}
    }
    fact
}

impl Recorder {
    pub(super) fn fact(&mut self, fact: Fact) {
        let fact = without_secrets(fact);
        match &fact.kind {
            EventKind::DhcpServerSeen {
                address,
                mac,
                interface,
                by,
            } => {
                let news = self.parts.health.seen(ForeignServer {
                    address: *address,
                    mac: *mac,
                    interface: interface.clone(),
                    by: by.clone(),
                    last_seen: UnixMicros(self.clock.now_us()),
                });
                if news {
                    let who = mac.map_or_else(String::new, |mac| format!(", {mac}"));
                    tracing::warn!("ANOTHER DHCP SERVER on {interface}: {address}{who} ({by})");
                }
                return;
            }
            EventKind::DhcpReceived { mac, facts } => {
                let mac = *mac;
                if begins_talk(&facts.message) && !self.contact(mac, facts) {
                    return;
                }
                if let (Some(address), true) = (facts.address, self.open.contains_key(&mac)) {
                    remember(&mut self.peers, address, mac);
                }
            }
            _ => {}
        }
        let Some(mac) = self.whose(&fact) else {
            return;
        };
        if self.is_progress_too_soon(&mac, &fact.kind) || self.is_too_much(&mac, &fact.kind) {
            return;
        }
        let received = matches!(fact.kind, EventKind::DhcpReceived { .. });
        self.record(&mac, fact.kind);
        if received {
            self.hand_back_silently(&mac);
        }
    }

    /// The machine whose open attempt a fact belongs to. What a machine asks for comes in the order in which it happened,
    /// so that it is of the attempt that is open now: who told it may not have known of that one yet. The rest of a
    /// transfer stays with the attempt that it began in, and so does what follows from an agent's call.
    fn whose(&mut self, fact: &Fact) -> Option<MacAddr> {
        let (mac, began_in) = match &fact.kind {
            EventKind::TransferStarted { id, peer, .. } => {
                let mac = self.asked_by(fact.mac, *peer)?;
                let attempt = self.open.get(&mac)?.attempt.id.clone();
                remember(&mut self.transfers, *id, (mac, attempt));
                return Some(mac);
            }
            EventKind::TransferProgressed { id, .. } => self.transfers.get(id).cloned()?,
            EventKind::TransferCompleted { id, .. } | EventKind::TransferAborted { id, .. } => {
                self.transfers.remove(id)?
            }
            EventKind::RequestRefused { peer, .. } => {
                let mac = self.asked_by(fact.mac, *peer)?;
                return self.open.contains_key(&mac).then_some(mac);
            }
            EventKind::DhcpReceived { .. } | EventKind::DhcpSent { .. } => {
                return fact.mac.filter(|mac| self.open.contains_key(mac));
            }
            _ => {
                let mac = fact.mac?;
                let current = &self.open.get(&mac)?.attempt.id;
                (mac, fact.attempt.clone().unwrap_or_else(|| current.clone()))
            }
        };
        let open = self.open.get(&mac)?;
        (open.attempt.id == began_in).then_some(mac)
    }

    /// The machine that asks: the one that leased the address, or the one that said by DHCP that it has it.
    fn asked_by(&self, mac: Option<MacAddr>, peer: IpAddr) -> Option<MacAddr> {
        mac.or_else(|| self.peers.get(&plain(peer)).copied())
    }

    /// A real machine flashes for minutes: its log gets one line of progress a second.
    fn is_progress_too_soon(&mut self, mac: &MacAddr, kind: &EventKind) -> bool {
        if !matches!(kind, EventKind::TransferProgressed { .. }) {
            return false;
        }
        self.too_soon(mac)
    }

    /// Whether the log of the machine's attempt is so long that this is left out. It is counted as lost.
    fn is_too_much(&self, mac: &MacAddr, kind: &EventKind) -> bool {
        let left_out = self.open.get(mac).is_some_and(|open| {
            let long = open.events() >= EVENTS_MAX;
            match kind {
                EventKind::TransferCompleted { .. } => open.events() >= EVENTS_MAX + ENDS_MAX,
                EventKind::RequestRefused { .. } => long || open.refused() >= REFUSED_MAX,
                _ => long,
            }
        });
        if left_out {
            self.parts.health.lost.fetch_add(1, Ordering::Relaxed);
        }
        left_out
    }

    pub(super) fn too_soon(&mut self, mac: &MacAddr) -> bool {
        let now_us = self.clock.now_us();
        let Some(open) = self.open.get_mut(mac) else {
            return true;
        };
        if now_us.saturating_sub(open.progress_us) < PROGRESS_US {
            return true;
        }
        open.progress_us = now_us;
        false
    }

    /// A loader begins to talk; whether there is an attempt that this belongs to now.
    fn contact(&mut self, mac: MacAddr, facts: &DhcpFacts) -> bool {
        let by = match facts.loader.as_str() {
            "ipxe" => By::Ipxe { xid: facts.xid },
            _ => By::Firmware { xid: facts.xid },
        };
        let architecture = facts.architectures.first().copied();
        match self.meaning(&mac, by) {
            Meaning::Begins(_) if self.parts.known.stopping() => false,
            Meaning::Joins => true,
            Meaning::Repeats => false,
            Meaning::Begins(reason) => match self.begin(mac, architecture, reason) {
                Ok(began) => began,
                Err(error) => {
                    match error {
                        StoreError::Refused { .. } => tracing::warn!("{error}"),
                        error => self.fails(&error),
                    }
                    false
                }
            },
        }
    }

    pub(super) fn meaning(&self, mac: &MacAddr, by: By) -> Meaning {
        let contact = Contact {
            by,
            at_us: self.clock.now_us(),
        };
        let machine = self.parts.known.machine(mac);
        let open = self.open.get(mac).map(|open| open.latest(machine.as_ref()));
        let latest = open.or_else(|| self.over.get(mac).copied());
        decide::meaning(latest.as_ref(), contact)
    }

    /// Opens an attempt; ends the one that is open. Whether one is open now: a machine that is not known and may not become
    /// known has none.
    pub(super) fn begin(
        &mut self,
        mac: MacAddr,
        architecture: Option<u16>,
        reason: &str,
    ) -> Result<bool, StoreError> {
        self.interrupt(&mac);
        let Some((machine, discovered)) = self.meet(mac, architecture)? else {
            return Ok(false);
        };
        let now_us = self.clock.now_us();
        let disk_turn = decide::disk_turn(
            &machine,
            self.over.get(&mac),
            now_us,
            self.parts.known.rules().deadlines.disk_turn,
        );
        let local = machine.local_next || disk_turn;
        let next = self.next_of(&machine, &machine.boot, local, BootLoader::Ipxe);
        let library = self.parts.library.now();
        let expected = match &next {
            Next::Flash(order) => library.image(&order.image),
            _ => None,
        };
        let attempt = self.parts.store.open_attempt(&NewAttempt {
            mac,
            boot: machine.boot.clone(),
            local,
            expected: expected.map(|image| image.expected.clone()),
            at: UnixMicros(now_us),
        })?;
        let target = target_name(&machine);
        let rules = decide::rules(&target, mac, &next, &self.parts.known.rules().deadlines);
        let mut open = match Open::new(attempt, target, &rules) {
            Ok(open) => open,
            Err(error) => {
                tracing::error!("judge the attempts of {mac}: {error}");
                return Ok(false);
            }
        };
        open.disk_turn = disk_turn;
        let first = started(&open.attempt, &machine, rules, &next);
        open.take(first, now_us, &mut self.log);
        let opened = EventKind::AttemptOpened {
            mac,
            mode: machine.boot.name().to_owned(),
            reason: match local {
                true => format!("{reason}; it is the turn of the disk that was flashed"),
                false => reason.to_owned(),
            },
        };
        open.take(opened, now_us, &mut self.log);
        if discovered {
            let mode = machine.boot.name().to_owned();
            let kind = EventKind::MachineDiscovered { mac, mode };
            open.take(kind, now_us, &mut self.log);
        }
        self.parts
            .known
            .set_open(mac, Some(open.attempt.id.clone()));
        self.open.insert(mac, open);
        Ok(true)
    }

    /// What a machine gets, as far as the server has it.
    pub(super) fn next_of(
        &self,
        machine: &Machine,
        boot: &BootMode,
        local: bool,
        loader: BootLoader,
    ) -> Next {
        let tries = self.parts.known.rules().flash_tries;
        let next = decide::next(machine, boot, local, tries);
        match self.parts.library.now().missing(&next, loader) {
            Some(why) => Next::Refused(why),
            None => next,
        }
    }

    /// Notes the contact; the machine, and whether it became known by it. `None` where it may not.
    fn meet(
        &mut self,
        mac: MacAddr,
        architecture: Option<u16>,
    ) -> Result<Option<(Machine, bool)>, StoreError> {
        let rules = self.parts.known.rules();
        let known = self.parts.known.machine(&mac);
        let now_us = self.clock.now_us();
        if known.is_none() {
            if rules.discovery.is_none() {
                return Ok(None);
            }
            if !self.discoveries.take(now_us, rules.discoveries_per_second) {
                self.parts.health.count_unmet(Unmet::TooMany);
                return Ok(None);
            }
        }
        let discovery = Discovery {
            mac,
            boot: rules.discovery.clone().unwrap_or_default(),
            architecture,
            at: UnixMicros(now_us),
            limit: rules.discovered_limit,
        };
        let found = match self.parts.store.discover_machine(&discovery)? {
            Discovered::New(machine) => Some((machine, true)),
            Discovered::Known(machine) => Some((machine, false)),
            Discovered::Full => {
                if self.parts.health.count_unmet(Unmet::Full) {
                    let limit = rules.discovered_limit;
                    tracing::warn!(
                        "{limit} machines became known by themselves, which is the limit: {mac} and others that come now boot and leave no record. `bootgate machine forget` makes room, or raise `limit` of [discovery]"
                    );
                }
                None
            }
        };
        self.parts.known.refresh(&*self.parts.store, &mac)?;
        Ok(found)
    }

    /// A machine that was not made known, as it is served all the same.
    pub(super) fn unmet(&self, mac: MacAddr) -> Machine {
        stranger(mac, BootMode::Local)
    }

    /// Ends the open attempt of a machine that began anew.
    fn interrupt(&mut self, mac: &MacAddr) {
        let Some(open) = self.open.get(mac) else {
            return;
        };
        if open.verdict().is_some() {
            return self.close(mac);
        }
        let machine = self.parts.known.machine(mac);
        let latest = open.latest(machine.as_ref());
        let kind = if latest.ordered_anew && latest.scripts == 0 {
            EventKind::Interrupted {
                signal: "new orders".to_owned(),
            }
        } else {
            EventKind::WasReset {
                cause: PowerCause::Outside,
            }
        };
        self.record(mac, kind);
        self.close(mac);
    }

    /// A machine that is named no bootfile is back with its firmware once it has asked.
    fn hand_back_silently(&mut self, mac: &MacAddr) {
        let Some(machine) = self.parts.known.machine(mac) else {
            return;
        };
        let Some(open) = self.open.get(mac) else {
            return;
        };
        let attempt = &open.attempt;
        let next = self.next_of(&machine, &attempt.boot, attempt.local, BootLoader::Ipxe);
        if self.parts.known.silent(&next) {
            let how = "no bootfile".to_owned();
            self.record(mac, EventKind::LocalBootServed { mac: *mac, how });
        }
    }
}
