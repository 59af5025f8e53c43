//! Prompts on recorded consoles are answered, each once.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use bootgate_events::{Event, EventKind, Goal, MarkerRule, SCHEMA, TargetRules, VerdictRules};
use bootgate_scenario::defaults::default_keys;
use bootgate_scenario::fold::{Action, Fold};

fn rules() -> VerdictRules {
    let marker = MarkerRule {
        name: "never".into(),
        pattern: "never printed".into(),
        stage: None,
    };
    VerdictRules {
        targets: vec![TargetRules {
            name: "client".into(),
            mac: "52:54:00:00:00:01".parse().unwrap(),
            expect: vec![marker],
            forbid: Vec::new(),
            keys: default_keys(),
            stage_deadlines_ms: [].into(),
            total_deadline_ms: 1_000_000,
            stall_ms: 0,
            disk_proof: None,
            disk_boot: false,
            faults: Vec::new(),
            goal: Goal::None,
        }],
    }
}

/// What is typed at a recorded console that comes in reads of `size` bytes.
fn typed(transcript: &str, size: usize) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fixtures/transcripts")
        .join(transcript);
    let bytes = std::fs::read(path).unwrap();
    let mut fold = Fold::new(&rules()).unwrap();
    let mut typed = Vec::new();
    for (seq, chunk) in bytes.chunks(size).enumerate() {
        let kind = EventKind::ConsoleChunk {
            offset: (seq * size) as u64,
            len: chunk.len() as u64,
        };
        let event = Event {
            schema: SCHEMA,
            seq: seq as u64,
            mono_us: seq as u64,
            wall_us: 0,
            run: "run".into(),
            attempt: None,
            target: Some("client".into()),
            body: kind.into(),
        };
        for action in fold.apply(&event, chunk).actions {
            if let Action::Type { keys, .. } = action {
                typed.push(keys);
            }
        }
    }
    typed
}

#[test]
fn ipxes_prompt_is_answered_once_each_time_it_shows_whatever_the_reads() {
    for transcript in ["bios-boot.raw", "uefi-boot.raw"] {
        for size in [1, 2, 7, 64, 4096] {
            assert_eq!(
                typed(transcript, size),
                [" "],
                "{transcript} in reads of {size}"
            );
        }
    }
}

#[test]
fn a_console_without_ipxe_is_not_typed_at() {
    assert_eq!(typed("uefi-blank-disk.raw", 1), [""; 0]);
}
