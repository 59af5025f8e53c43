//! An attempt without a verdict.

use bootgate_api::{Attempt, Machine};
use bootgate_events::{
    ByteRange, DiskProofKind, Event, EventBody, EventKind, HostFacts, RunId, SCHEMA, Stage,
    TargetFacts, TargetName, TargetVerdict, Verdict, VerdictRules,
};
use bootgate_scenario::fold::{Action, Fold, RulesError};

use super::super::decide::{Latest, Next};

/// An open attempt: its events go through its fold.
pub(super) struct Open {
    pub(super) attempt: Attempt,
    pub(super) target: TargetName,
    fold: Fold,
    next_seq: u64,
    /// Time of the last event, in microseconds since the attempt was opened.
    last_us: u64,
    /// The last beginning of a DHCP conversation: transaction id, and when in microseconds since 1970.
    pub(super) said: Option<(u32, u64)>,
    /// Whether it boots the disk because the attempt before sent the machine there.
    pub(super) disk_turn: bool,
    /// Whether the loader that asks for `pxelinux.cfg` is U-Boot.
    pub(super) uboot: bool,
    /// What is true once the script on its way has arrived.
    pub(super) after_script: Option<EventKind>,
    /// Whether an accepted completion is in the log.
    pub(super) flashed: bool,
    /// When the agent's progress was last told, in microseconds since 1970.
    pub(super) progress_us: u64,
    /// Requests of the attempt's machine that were refused, as far as its log has them.
    refused: u32,
    prove: bool,
    /// Whether its last event is in its log already: the server ended before the verdict was stored.
    pub(super) ended: bool,
}

/// Name of an attempt's target: the machine's own, or its hardware address.
pub(super) fn target_name(machine: &Machine) -> TargetName {
    match &machine.name {
        Some(name) => TargetName::new(name.clone()),
        None => TargetName::new(machine.mac.to_string()),
    }
}

/// The first event of an attempt.
pub(super) fn started(
    attempt: &Attempt,
    machine: &Machine,
    rules: VerdictRules,
    next: &Next,
) -> EventKind {
    let target = TargetFacts {
        name: target_name(machine),
        driver: "board".to_owned(),
        firmware: match machine.architecture {
            Some(0) => "bios",
            Some(_) => "uefi",
            None => "",
        }
        .to_owned(),
        mac: machine.mac,
        image_sha256: attempt
            .expected
            .as_ref()
            .map(|expected| expected.image_sha256.to_string()),
        deadlines_ms: rules
            .targets
            .first()
            .map(|target| target.stage_deadlines_ms.clone())
            .unwrap_or_default(),
    };
    let mode = match (next, attempt.local) {
        (Next::Local, true) => "local",
        _ => attempt.boot.name(),
    };
    EventKind::RunStarted {
        scenario: format!("{mode} of {}", target.name),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: HostFacts::default(),
        targets: vec![target],
        rules,
    }
}

impl Open {
    /// An attempt without events.
    pub(super) fn new(
        attempt: Attempt,
        target: TargetName,
        rules: &VerdictRules,
    ) -> Result<Self, RulesError> {
        Ok(Self {
            fold: Fold::new(rules)?,
            attempt,
            target,
            next_seq: 0,
            last_us: 0,
            said: None,
            disk_turn: false,
            uboot: false,
            after_script: None,
            flashed: false,
            progress_us: 0,
            refused: 0,
            prove: false,
            ended: false,
        })
    }

    /// Takes an event of the log after a restart.
    pub(super) fn replay(&mut self, event: &Event) {
        self.next_seq = event.seq.saturating_add(1);
        self.last_us = self.last_us.max(event.mono_us);
        if let Some(kind) = event.kind() {
            self.note(kind, event.wall_us);
            self.ended |= matches!(kind, EventKind::RunFinished { .. });
        }
        let step = self.fold.apply(event, &[]);
        self.note_actions(&step.actions);
    }

    /// Takes a fact that came at `now_us` microseconds since 1970. What is to be logged, in order, is put into `log`.
    pub(super) fn take(&mut self, kind: EventKind, now_us: u64, log: &mut Vec<Event>) {
        self.note(&kind, now_us);
        let event = self.envelope(kind, now_us);
        let step = self.fold.apply(&event, &[]);
        log.push(event);
        for (_, kind) in step.conclusions {
            log.push(self.envelope(kind, now_us));
        }
        self.note_actions(&step.actions);
    }

    /// What was asked for by the fold and is known: that the disk is the image, where the agent's completion was
    /// accepted.
    pub(super) fn proof(&mut self) -> Option<EventKind> {
        if !(self.prove && self.flashed) {
            return None;
        }
        let expected = self.attempt.expected.as_ref()?;
        let sha256 = expected.image_sha256.to_string();
        Some(EventKind::DiskCompared {
            proof: DiskProofKind::Agent,
            equal: true,
            first_difference: None,
            ranges: vec![ByteRange {
                start: 0,
                end: expected.size,
            }],
            image_sha256: sha256.clone(),
            disk_sha256: sha256,
        })
    }

    fn note(&mut self, kind: &EventKind, now_us: u64) {
        if matches!(kind, EventKind::RequestRefused { .. }) {
            self.refused = self.refused.saturating_add(1);
        }
        match kind {
            EventKind::DhcpReceived { facts, .. } => {
                if begins_talk(&facts.message) {
                    self.said = Some((facts.xid, now_us));
                }
                if let Some(class) = &facts.vendor_class {
                    self.uboot = class.starts_with("U-Boot");
                }
            }
            EventKind::AgentFlashed { .. } => self.flashed = true,
            EventKind::DiskCompared { .. } => self.prove = false,
            _ => {}
        }
    }

    fn note_actions(&mut self, actions: &[Action]) {
        let prove = |action: &Action| matches!(action, Action::ProveDisk { .. });
        self.prove |= actions.iter().any(prove);
    }

    fn envelope(&mut self, kind: EventKind, now_us: u64) -> Event {
        let mono_us = now_us.saturating_sub(self.attempt.opened.0);
        self.last_us = self.last_us.max(mono_us);
        let seq = self.next_seq;
        self.next_seq += 1;
        let of_run = matches!(
            kind,
            EventKind::RunStarted { .. } | EventKind::RunFinished { .. }
        );
        Event {
            schema: SCHEMA,
            seq,
            mono_us: self.last_us,
            wall_us: now_us,
            run: RunId::new(self.attempt.id.as_str()),
            attempt: Some(self.attempt.id.clone()),
            target: (!of_run).then(|| self.target.clone()),
            body: EventBody::Known(kind),
        }
    }

    /// The deadline that is due first: the fact to log then, and when in microseconds since 1970.
    pub(super) fn deadline(&self) -> Option<(u64, EventKind)> {
        let deadline = self.fold.next_deadline()?;
        let at_us = self.attempt.opened.0.saturating_add(deadline.at_us);
        Some((at_us, deadline.expired()))
    }

    /// When its machine was last heard of, in microseconds since 1970.
    pub(super) fn heard_us(&self) -> u64 {
        let told = self.attempt.opened.0.saturating_add(self.last_us);
        told.max(self.progress_us)
    }

    /// Refused requests in its log.
    pub(super) fn refused(&self) -> u32 {
        self.refused
    }

    /// How many events its log has.
    pub(super) fn events(&self) -> u64 {
        self.next_seq
    }

    pub(super) fn stage(&self) -> Option<Stage> {
        self.fold.stage(&self.target)
    }

    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.fold.verdict()
    }

    pub(super) fn target_verdict(&self) -> TargetVerdict {
        let verdict = self.fold.target_verdicts().into_iter().next();
        verdict.unwrap_or_else(|| TargetVerdict {
            name: self.target.clone(),
            verdict: Verdict::Skipped {
                reason: "no verdict was reached".to_owned(),
            },
            stages: Vec::new(),
            image_sha256: None,
            disk_sha256: None,
            disk_proof: None,
            disk_ranges: Vec::new(),
        })
    }

    /// What a contact is to know of it. `machine` is the machine as it is now.
    pub(super) fn latest(&self, machine: Option<&Machine>) -> Latest {
        let ordered_anew = machine.is_some_and(|machine| {
            let turn = machine.local_next || self.disk_turn;
            machine.boot != self.attempt.boot || turn != self.attempt.local
        });
        Latest {
            // What has its verdict is over, though it may not be closed yet.
            open: self.verdict().is_none(),
            stage: self.stage(),
            said: self.said,
            ordered_anew,
            scripts: self.attempt.nonces,
            disk_turn_us: None,
        }
    }
}

/// Whether a DHCP message begins a conversation.
pub(super) fn begins_talk(message: &str) -> bool {
    matches!(message, "discover" | "solicit" | "information-request")
}
