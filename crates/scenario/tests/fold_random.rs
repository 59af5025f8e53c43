//! The verdict fold, on anything at all: it never panics, stages never go back, a verdict stays, and nothing passes
//! without what the rules require.
#![allow(clippy::unwrap_used, reason = "a test may stop so")]

use std::collections::BTreeMap;

use bootgate_events::{
    ArtifactRole, AttemptId, ByteRange, DeadlineKind, DhcpFacts, DiskProofKind, Event, EventBody,
    EventKind, FaultAction, FaultRule, FaultTrigger, FlashPhase, ForbidRule, Goal, MacAddr,
    MarkerRule, PowerCause, Protocol, RunId, SCHEMA, Stage, TargetName, TargetRules, UnknownEvent,
    Verdict, VerdictRules,
};
use bootgate_scenario::fold::{Action, Fold};
use proptest::prelude::*;

const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);

fn rules(proof: Option<DiskProofKind>, disk_boot: bool) -> TargetRules {
    let marker = |name: &str| MarkerRule {
        name: name.to_owned(),
        pattern: name.to_owned(),
        stage: None,
    };
    TargetRules {
        name: TargetName::new("vm"),
        mac: MAC,
        expect: vec![marker("alpha"), marker("beta")],
        forbid: vec![ForbidRule {
            name: "panic".to_owned(),
            pattern: "panic".to_owned(),
            stages: vec![Stage::Live, Stage::DiskBoot],
            hint: String::new(),
        }],
        keys: Vec::new(),
        stage_deadlines_ms: BTreeMap::from([(Stage::Firmware, 50_000), (Stage::Verify, 20_000)]),
        total_deadline_ms: 900_000,
        stall_ms: 60_000,
        disk_proof: proof,
        disk_boot: disk_boot && proof.is_some(),
        faults: vec![FaultRule {
            on: FaultTrigger::Enter(Stage::Kernel),
            action: FaultAction::PowerOff,
        }],
        goal: Goal::None,
    }
}

fn role() -> impl Strategy<Value = ArtifactRole> {
    use ArtifactRole::{Api, Image, ImageIndex, Initrd, Kernel, Nbp, Other, Script};
    prop::sample::select(vec![
        Nbp, Script, Kernel, Initrd, ImageIndex, Image, Api, Other,
    ])
}

fn power() -> impl Strategy<Value = PowerCause> {
    use PowerCause::{Fault, Guest, Harness, Outside};
    prop::sample::select(vec![Harness, Guest, Guest, Guest, Fault, Outside])
}

fn protocol() -> impl Strategy<Value = Protocol> {
    prop::sample::select(vec![Protocol::Tftp, Protocol::Http])
}

/// Console text, told by the chunk's length below.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "alpha\r\n",
        "beta\r\n",
        "alp",
        "ha",
        "panic",
        "\r\n",
        "\x08 \x08",
        "Command line: alpha\n",
        "x\x1b[2Jy",
    ];
    prop_oneof![
        6 => prop::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ]
}

fn network() -> impl Strategy<Value = EventKind> {
    let path = || "/f".to_owned();
    let peer = "10.0.0.9".parse().unwrap();
    prop_oneof![
        prop::sample::select(vec!["firmware", "ipxe", "os", ""]).prop_map(|loader| {
            EventKind::DhcpReceived {
                mac: MAC,
                facts: DhcpFacts {
                    loader: loader.to_owned(),
                    ..DhcpFacts::default()
                },
            }
        }),
        (protocol(), role(), 0u64..4).prop_map(move |(protocol, role, id)| {
            EventKind::TransferStarted {
                id,
                protocol,
                role,
                path: path(),
                peer,
                size: None,
                detail: String::new(),
            }
        }),
        (role(), 0u64..4).prop_map(move |(role, id)| EventKind::TransferCompleted {
            id,
            role,
            path: path(),
            bytes: 1
        }),
        (protocol(), role(), prop::sample::select(vec![1u16, 416])).prop_map(
            move |(protocol, role, code)| {
                EventKind::RequestRefused {
                    protocol,
                    role,
                    path: path(),
                    peer,
                    code,
                    reason: String::new(),
                }
            }
        ),
        (0u32..4).prop_map(|earlier| EventKind::ScriptServed { mac: MAC, earlier }),
        Just(EventKind::AgentStarted {
            version: "1".to_owned(),
            since_pid1_ms: 1
        }),
        prop::sample::select(vec![
            FlashPhase::Compare,
            FlashPhase::Write,
            FlashPhase::Verify
        ])
        .prop_map(|phase| EventKind::AgentProgressed {
            phase,
            done: 0,
            total: 1
        }),
        Just(EventKind::AgentFlashed {
            chunks_sha256: String::new(),
            ranges: vec![],
            bytes_fetched: 0,
            bytes_written: 0,
            first_fetch_ms: 0,
        }),
        Just(EventKind::RouterAdvertised { mac: MAC }),
    ]
}

fn machine() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        4 => prop::sample::select(vec!["network", "disk"]).prop_map(|boot| EventKind::PoweredOn { boot: boot.to_owned() }),
        4 => power().prop_map(|cause| EventKind::PoweredOff { cause }),
        1 => power().prop_map(|cause| EventKind::WasReset { cause }),
        1 => (prop::option::of(0i32..2), any::<bool>()).prop_map(|(code, expected)| EventKind::QemuExited {
            code, signal: code.is_none().then_some(9), expected,
        }),
        1 => Just(EventKind::ConsoleClosed { reason: String::new() }),
        6 => (any::<bool>(), prop::sample::select(vec![DiskProofKind::Host, DiskProofKind::Agent])).prop_map(|(equal, proof)| {
            EventKind::DiskCompared {
                proof,
                equal,
                first_difference: None,
                ranges: vec![ByteRange { start: 0, end: 1 }],
                image_sha256: "a".to_owned(),
                disk_sha256: if equal { "a" } else { "b" }.to_owned(),
            }
        }),
        1 => (prop::sample::select(vec![DeadlineKind::Stage, DeadlineKind::Total, DeadlineKind::Stall]),
              prop::sample::select(Stage::ALL.to_vec()))
            .prop_map(|(deadline, stage)| EventKind::DeadlineExpired { deadline, stage, limit_ms: 1 }),
        1 => Just(EventKind::StageEntered { stage: Stage::DiskBoot, by: "a lie".to_owned() }),
        1 => Just(EventKind::VerdictReached { verdict: Verdict::Passed }),
    ]
}

/// What may happen, mostly in the order of a healthy boot so that late stages are reached too.
fn step() -> impl Strategy<Value = (Option<EventKind>, Vec<u8>, u64)> {
    let none = || Just(Vec::new());
    prop_oneof![
        4 => (network().prop_map(Some), none(), 0u64..20_000_000),
        4 => (machine().prop_map(Some), none(), 0u64..20_000_000),
        3 => (Just(None), words(), 0u64..2_000_000),
    ]
}

fn event(seq: u64, mono_us: u64, kind: EventBody) -> Event {
    Event {
        schema: SCHEMA,
        seq,
        mono_us,
        wall_us: mono_us,
        run: RunId::new("r"),
        attempt: Some(AttemptId::new("a")),
        target: Some(TargetName::new("vm")),
        body: kind,
    }
}

/// A healthy prefix of the given length, so that random events begin anywhere.
fn healthy() -> Vec<(EventKind, &'static [u8])> {
    let mut all: Vec<(EventKind, &[u8])> = vec![(
        EventKind::PoweredOn {
            boot: "network".to_owned(),
        },
        b"",
    )];
    let chunk = |text: &'static [u8]| {
        (
            EventKind::ConsoleChunk {
                offset: 0,
                len: text.len() as u64,
            },
            text,
        )
    };
    all.push(chunk(b"alpha\r\n"));
    for phase in [FlashPhase::Write, FlashPhase::Verify] {
        all.push((
            EventKind::AgentProgressed {
                phase,
                done: 0,
                total: 1,
            },
            b"",
        ));
    }
    let flashed = EventKind::AgentFlashed {
        chunks_sha256: String::new(),
        ranges: vec![],
        bytes_fetched: 0,
        bytes_written: 0,
        first_fetch_ms: 0,
    };
    all.push((flashed, b""));
    all.push((
        EventKind::PoweredOff {
            cause: PowerCause::Guest,
        },
        b"",
    ));
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]
    #[test]
    fn any_sequence_of_events_keeps_the_rules(
        proof in prop::option::of(prop::sample::select(vec![DiskProofKind::Host, DiskProofKind::Agent])),
        disk_boot: bool,
        prefix in 0usize..7,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let rules = VerdictRules { targets: vec![rules(proof, disk_boot)] };
        let mut fold = Fold::new(&rules).unwrap();
        let mut seen = Seen::default();
        let mut now = 0;
        let prefix = healthy().into_iter().take(prefix).map(|(kind, bytes)| (Some(kind), bytes.to_vec(), 1000));
        for (seq, (kind, bytes, wait)) in prefix.chain(steps).enumerate() {
            now += wait;
            let kind = kind.unwrap_or(EventKind::ConsoleChunk { offset: 0, len: bytes.len() as u64 });
            let due = fold.next_deadline();
            let event = event(seq as u64, now, EventBody::Known(kind.clone()));
            let step = fold.apply(&event, &bytes);
            prop_assert!(due.is_some() || seen.stage.is_none() || seen.verdict.is_some(), "a target that nothing bounds");
            seen.check(&kind, step.conclusions, &step.actions, &rules.targets[0])?;
            prop_assert_eq!(fold.verdict(), seen.verdict.clone());
            let spans = &fold.target_verdicts()[0].stages;
            prop_assert!(spans.windows(2).all(|pair| pair[0].stage < pair[1].stage && pair[0].end_ms == pair[1].start_ms));
        }
    }

    #[test]
    fn unknown_kinds_and_strangers_change_nothing(kind in network(), name in "[a-z-]{3,12}") {
        let rules = VerdictRules { targets: vec![rules(None, false)] };
        let mut fold = Fold::new(&rules).unwrap();
        let unknown = UnknownEvent { kind: name, fields: serde_json::Map::new() };
        prop_assert_eq!(fold.apply(&event(0, 0, EventBody::Unknown(unknown)), &[]), Default::default());
        let mut strange = event(1, 0, EventBody::Known(kind));
        strange.target = Some(TargetName::new("somebody else"));
        prop_assert_eq!(fold.apply(&strange, &[]), Default::default());
        prop_assert_eq!(fold.next_deadline(), None);
    }
}

/// What the conclusions so far amount to.
#[derive(Default)]
struct Seen {
    stage: Option<Stage>,
    markers: Vec<(String, Option<Stage>)>,
    asked: bool,
    equal: bool,
    booting: bool,
    verdict: Option<Verdict>,
}

impl Seen {
    fn check(
        &mut self,
        kind: &EventKind,
        conclusions: Vec<(Option<TargetName>, EventKind)>,
        actions: &[Action],
        rules: &TargetRules,
    ) -> Result<(), TestCaseError> {
        if let EventKind::DiskCompared { equal, proof, .. } = kind {
            self.equal |= self.asked && *equal && Some(*proof) == rules.disk_proof;
        }
        for (_, conclusion) in conclusions {
            prop_assert_eq!(
                &self.verdict,
                &None,
                "something after the verdict: {:?}",
                conclusion
            );
            match conclusion {
                EventKind::StageEntered { stage, .. } => {
                    prop_assert!(
                        self.stage < Some(stage),
                        "{:?} after {:?}",
                        stage,
                        self.stage
                    );
                    prop_assert!(
                        stage != Stage::DiskBoot || self.booting,
                        "disk boot that nobody asked for"
                    );
                    self.stage = Some(stage);
                }
                EventKind::MarkerMatched { name, .. } => self.markers.push((name, self.stage)),
                EventKind::VerdictReached { verdict } => {
                    if verdict == Verdict::Passed {
                        let names: Vec<&str> =
                            self.markers.iter().map(|(name, _)| name.as_str()).collect();
                        prop_assert_eq!(names, ["alpha", "beta"]);
                        prop_assert!(rules.disk_proof.is_none() || self.equal);
                        let last = self.markers.last().and_then(|(_, stage)| *stage);
                        prop_assert!(!rules.disk_boot || last == Some(Stage::DiskBoot));
                    }
                    self.verdict = Some(verdict);
                }
                _ => {}
            }
        }
        for action in actions {
            match action {
                Action::ProveDisk { .. } => self.asked = true,
                Action::BootDisk { .. } => {
                    prop_assert!(self.equal, "a disk that is not proven is booted");
                    self.booting = true;
                }
                Action::Finish { .. } => prop_assert!(self.verdict.is_some()),
                Action::PowerOff { .. } | Action::Type { .. } => {}
            }
        }
        Ok(())
    }
}
