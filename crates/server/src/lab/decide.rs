//! What a machine gets and when an attempt begins, as pure functions.

use std::collections::BTreeMap;
use std::time::Duration;

use bootgate_api::{BootMode, DiskState, FlashOrder, LocalBoot, Machine};
use bootgate_events::{DiskProofKind, Goal, MacAddr, Stage, TargetName, TargetRules, VerdictRules};

use super::LabDeadlines;

/// How long a client may take to say the same again. EDK2 waits 32 seconds at most; some ROMs make the transaction id
/// of the hardware address, so that it says nothing for longer.
const REPEATED_US: u64 = 40_000_000;

/// What a machine gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Its own disk.
    Local,
    /// Nothing: this is why.
    Refused(String),
    /// An image.
    Flash(FlashOrder),
    /// The live environment, to tell what the machine is made of.
    Inventory,
    /// An installer, by name.
    Install(String),
    /// The operator's script, by name.
    Script(String),
}

/// What a machine gets in an attempt that boots by `boot`, or whose disk's turn it is (`local`). After `tries` flashes
/// or installations in a row that failed there is no other.
pub(super) fn next(machine: &Machine, boot: &BootMode, local: bool, tries: u32) -> Next {
    if local || *boot == BootMode::Local {
        return match &machine.disk {
            DiskState::Dirty { attempt } => Next::Refused(format!(
                "its disk is half written since attempt {attempt}. Flash it, or force the mode local"
            )),
            DiskState::Unknown | DiskState::Flashed { .. } => Next::Local,
        };
    }
    match boot {
        BootMode::FlashOnce(_) | BootMode::FlashAlways(_) if machine.failed_flashes >= tries => {
            Next::Refused(format!(
                "{} flashes in a row failed. See its attempts, then order the flash anew",
                machine.failed_flashes
            ))
        }
        BootMode::Install { installer } if machine.failed_flashes >= tries => {
            Next::Refused(format!(
                "installer {installer} was started {} times in a row and never said that it is done. See its attempts; its answer file must call installed_url",
                machine.failed_flashes
            ))
        }
        BootMode::FlashOnce(order) | BootMode::FlashAlways(order) => Next::Flash(order.clone()),
        BootMode::Inventory => Next::Inventory,
        BootMode::Install { installer } => Next::Install(installer.clone()),
        BootMode::Script { script } => Next::Script(script.clone()),
        BootMode::Local => Next::Local,
    }
}

/// The disk a machine boots where its firmware is a BIOS; `None`: whatever is next in the firmware's order.
pub(super) fn local_drive(local: &LocalBoot) -> Option<u8> {
    match local {
        LocalBoot::Auto => Some(0x80),
        LocalBoot::Exit => None,
        LocalBoot::Drive(drive) => Some(*drive),
    }
}

/// The words of [`EventKind::LocalBootServed`](bootgate_events::EventKind::LocalBootServed) for a machine with this
/// architecture.
pub(super) fn local_how(local: &LocalBoot, architecture: Option<u16>) -> String {
    match (local_drive(local), architecture) {
        (Some(drive), Some(0)) => format!("sanboot {drive:#04x}"),
        (Some(drive), None) => format!("exit (UEFI) or sanboot {drive:#04x} (BIOS)"),
        (_, Some(_)) | (None, None) => "exit".to_owned(),
    }
}

/// The rules that an attempt is judged by.
pub(super) fn rules(
    name: &TargetName,
    mac: MacAddr,
    next: &Next,
    deadlines: &LabDeadlines,
) -> VerdictRules {
    let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let stages: BTreeMap<Stage, u64> = deadlines
        .stages
        .iter()
        .map(|(stage, limit)| (*stage, milliseconds(*limit)))
        .collect();
    let (disk_proof, goal) = match next {
        Next::Flash(_) => (Some(DiskProofKind::Agent), Goal::None),
        Next::Inventory => (None, Goal::Inventory),
        Next::Install(_) => (None, Goal::Install),
        Next::Script(_) => (None, Goal::Script),
        // What is refused fails by the refusal itself.
        Next::Local | Next::Refused(_) => (None, Goal::LocalBoot),
    };
    let target = TargetRules {
        name: name.clone(),
        mac,
        expect: Vec::new(),
        forbid: Vec::new(),
        keys: Vec::new(),
        stage_deadlines_ms: stages,
        total_deadline_ms: milliseconds(deadlines.total),
        stall_ms: 0,
        disk_proof,
        disk_boot: false,
        faults: Vec::new(),
        goal,
    };
    VerdictRules {
        targets: vec![target],
    }
}

/// The beginning of a conversation: a DISCOVER, a SOLICIT, or the request for a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Contact {
    pub(super) by: By,
    /// When, in microseconds since 1970.
    pub(super) at_us: u64,
}

/// Who makes contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// Firmware, by DHCP with this transaction id.
    Firmware { xid: u32 },
    /// iPXE, by DHCP with this transaction id.
    Ipxe { xid: u32 },
    /// A loader that asks for its script.
    Script,
}

impl By {
    fn xid(self) -> Option<u32> {
        match self {
            By::Firmware { xid } | By::Ipxe { xid } => Some(xid),
            By::Script => None,
        }
    }
}

/// What is known of a machine's latest attempt when contact is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Latest {
    /// Whether it is without a verdict.
    pub(super) open: bool,
    /// How far it has come.
    pub(super) stage: Option<Stage>,
    /// The last beginning of a DHCP conversation: transaction id, and when in microseconds since 1970.
    pub(super) said: Option<(u32, u64)>,
    /// Whether the machine is to boot something else since, by somebody's order.
    pub(super) ordered_anew: bool,
    /// How often its script was given out.
    pub(super) scripts: u32,
    /// When it was sent to its disk because it was the disk's turn, in microseconds since 1970.
    pub(super) disk_turn_us: Option<u64>,
}

/// Whether a machine that makes contact now is still on its way to its disk, sent there by the attempt before. Firmware
/// goes on with its boot order, in which more network entries may stand before the disk; a machine that flashes at each
/// power-on would be flashed by the next of them, for ever.
pub(super) fn disk_turn(
    machine: &Machine,
    latest: Option<&Latest>,
    now_us: u64,
    lasts: Duration,
) -> bool {
    let sent = latest.and_then(|latest| latest.disk_turn_us);
    let lasts = u64::try_from(lasts.as_micros()).unwrap_or(u64::MAX);
    matches!(machine.boot, BootMode::FlashAlways(_))
        && sent.is_some_and(|sent| now_us.saturating_sub(sent) < lasts)
}

/// What a contact means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It belongs to the open attempt.
    Joins,
    /// The machine began anew: a new attempt, for this reason. One that is open ends.
    Begins(&'static str),
    /// It belongs to an attempt that is over, and begins no other.
    Repeats,
}

/// Whether a contact is of the boot under way or of a new one. Firmware that asks again once the script was given has
/// restarted, and so has an iPXE (which firmware may be) once the kernel was. Said again in the same words, it
/// is a lost packet and no restart.
pub(super) fn meaning(latest: Option<&Latest>, contact: Contact) -> Meaning {
    let Some(latest) = latest else {
        return Meaning::Begins("first contact");
    };
    let repeated = latest.said.is_some_and(|(xid, at_us)| {
        contact.by.xid() == Some(xid) && contact.at_us.saturating_sub(at_us) < REPEATED_US
    });
    if !latest.open {
        return match repeated {
            true => Meaning::Repeats,
            false => Meaning::Begins("the attempt before is over"),
        };
    }
    if latest.ordered_anew && latest.scripts == 0 {
        return Meaning::Begins("the machine's orders changed before it got them");
    }
    if repeated {
        return Meaning::Joins;
    }
    let reached = |stage: Stage| latest.stage.is_some_and(|now| now >= stage);
    match contact.by {
        By::Firmware { .. } if reached(Stage::Script) => {
            Meaning::Begins("the firmware asks again after the script was given")
        }
        By::Ipxe { .. } if reached(Stage::Kernel) => {
            Meaning::Begins("iPXE asks again after the kernel was fetched")
        }
        // Where DHCP is somebody else's, the script is the first that is seen of a boot.
        By::Script if latest.said.is_none() && reached(Stage::Kernel) => {
            Meaning::Begins("the script is asked for again after the kernel was fetched")
        }
        _ => Meaning::Joins,
    }
}

/// Lets so many through in a second, and as many at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PerSecond {
    second: u64,
    taken: u32,
}

impl PerSecond {
    /// Whether one more may pass now, at so many microseconds since 1970, where `limit` may in a second.
    pub(super) fn take(&mut self, at_us: u64, limit: u32) -> bool {
        let second = at_us / 1_000_000;
        if second != self.second {
            (self.second, self.taken) = (second, 0);
        }
        let fits = self.taken < limit;
        self.taken = self.taken.saturating_add(1);
        fits
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use bootgate_api::{AfterFlash, DiskSelector, UnixMicros};
    use bootgate_events::AttemptId;
    use bootgate_scenario::fold::Fold;

    use super::*;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn order() -> FlashOrder {
        FlashOrder {
            image: "debian".to_owned(),
            disk: DiskSelector::default(),
            after: AfterFlash::Reboot,
        }
    }

    fn machine(boot: BootMode) -> Machine {
        Machine {
            mac: MAC,
            name: None,
            boot,
            after_inventory: None,
            local: LocalBoot::Auto,
            disk: DiskState::Unknown,
            local_next: false,
            failed_flashes: 0,
            labels: BTreeMap::new(),
            architecture: None,
            inventory: None,
            discovered: false,
            first_seen: UnixMicros(0),
            last_seen: UnixMicros(0),
        }
    }

    fn dirty(boot: BootMode) -> Machine {
        Machine {
            disk: DiskState::Dirty {
                attempt: AttemptId::new("7"),
            },
            ..machine(boot)
        }
    }

    fn now(machine: &Machine) -> Next {
        next(machine, &machine.boot, machine.local_next, 3)
    }

    #[test]
    fn a_half_written_disk_is_flashed_again_and_never_booted() {
        assert!(matches!(now(&dirty(BootMode::Local)), Next::Refused(why) if why.contains('7')));
        let always = BootMode::FlashAlways(order());
        assert_eq!(now(&dirty(always.clone())), Next::Flash(order()));
        let local = Machine {
            local_next: true,
            ..dirty(always)
        };
        assert!(matches!(now(&local), Next::Refused(_)));
    }

    #[test]
    fn flashes_that_fail_come_to_an_end() {
        for boot in [BootMode::FlashOnce(order()), BootMode::FlashAlways(order())] {
            let mut machine = machine(boot);
            for failed in 0..3 {
                machine.failed_flashes = failed;
                assert_eq!(now(&machine), Next::Flash(order()));
            }
            machine.failed_flashes = 3;
            assert!(matches!(now(&machine), Next::Refused(why) if why.contains('3')));
        }
    }

    #[test]
    fn installations_that_never_say_they_are_done_come_to_an_end() {
        let mut machine = machine(BootMode::Install {
            installer: "trixie".to_owned(),
        });
        machine.failed_flashes = 2;
        assert_eq!(now(&machine), Next::Install("trixie".to_owned()));
        machine.failed_flashes = 3;
        assert!(
            matches!(now(&machine), Next::Refused(why) if why.contains("installed_url")),
            "{:?}",
            now(&machine)
        );
    }

    #[test]
    fn the_disk_has_its_turn_whatever_the_mode() {
        let machine = Machine {
            local_next: true,
            ..machine(BootMode::FlashAlways(order()))
        };
        assert_eq!(now(&machine), Next::Local);
    }

    #[test]
    fn every_mode_has_rules_that_can_be_judged_by() {
        let all = [
            Next::Local,
            Next::Refused("no".to_owned()),
            Next::Flash(order()),
            Next::Inventory,
            Next::Install("debian".to_owned()),
            Next::Script("menu".to_owned()),
        ];
        for next in all {
            let rules = rules(&"m".into(), MAC, &next, &LabDeadlines::default());
            Fold::new(&rules).unwrap();
        }
    }

    fn open(stage: Stage) -> Latest {
        Latest {
            open: true,
            stage: Some(stage),
            said: Some((1, 0)),
            ordered_anew: false,
            scripts: 1,
            disk_turn_us: None,
        }
    }

    fn firmware(xid: u32, seconds: u64) -> Contact {
        Contact {
            by: By::Firmware { xid },
            at_us: seconds * 1_000_000,
        }
    }

    fn ipxe(xid: u32, seconds: u64) -> Contact {
        Contact {
            by: By::Ipxe { xid },
            at_us: seconds * 1_000_000,
        }
    }

    #[test]
    fn firmware_that_asks_after_the_script_was_given_has_restarted() {
        for stage in Stage::ALL {
            let begins = matches!(
                meaning(Some(&open(stage)), firmware(2, 50)),
                Meaning::Begins(_)
            );
            assert_eq!(begins, stage >= Stage::Script, "{stage}");
            let begins = matches!(meaning(Some(&open(stage)), ipxe(2, 50)), Meaning::Begins(_));
            assert_eq!(begins, stage >= Stage::Kernel, "{stage}");
        }
    }

    #[test]
    fn what_is_said_again_is_no_restart() {
        let latest = open(Stage::Flash);
        assert_eq!(meaning(Some(&latest), firmware(1, 33)), Meaning::Joins);
        assert!(matches!(
            meaning(Some(&latest), firmware(1, 41)),
            Meaning::Begins(_)
        ));
        let closed = Latest {
            open: false,
            ..latest
        };
        assert_eq!(meaning(Some(&closed), firmware(1, 33)), Meaning::Repeats);
        assert!(matches!(
            meaning(Some(&closed), firmware(2, 1)),
            Meaning::Begins(_)
        ));
    }

    #[test]
    fn new_orders_count_until_the_old_ones_were_given() {
        let ordered = Latest {
            ordered_anew: true,
            scripts: 0,
            ..open(Stage::Dhcp)
        };
        assert!(matches!(
            meaning(Some(&ordered), firmware(1, 1)),
            Meaning::Begins(_)
        ));
        let given = Latest {
            scripts: 1,
            ..ordered
        };
        assert_eq!(meaning(Some(&given), firmware(1, 1)), Meaning::Joins);
    }

    #[test]
    fn without_dhcp_the_script_tells_a_restart() {
        let script = Contact {
            by: By::Script,
            at_us: 0,
        };
        let unseen = Latest {
            said: None,
            ..open(Stage::Initrd)
        };
        assert!(matches!(meaning(Some(&unseen), script), Meaning::Begins(_)));
        assert_eq!(meaning(Some(&open(Stage::Initrd)), script), Meaning::Joins);
    }

    #[test]
    fn a_rate_is_kept_within_each_second() {
        let mut rate = PerSecond::default();
        let taken: Vec<_> = [0, 1, 2, 1_000_000, 1_000_001, 1_000_002]
            .map(|at| rate.take(at, 2))
            .into();
        assert_eq!(taken, [true, true, false, true, true, false]);
    }
}
