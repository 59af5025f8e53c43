//! Machines of a lab that are flashed: nonces, completions, and what becomes of a flasher that dies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;
#[path = "common/laboratory.rs"]
mod laboratory;

use std::time::Duration;

use bootgate_api::{BootMode, Completion, DiskState, Failure, Sha256Hex, paths};
use bootgate_events::{Cause, EventKind, Stage, Verdict};
use bootgate_scenario::fold::replay;
use bootgate_server::lab::LabConfig;
use bootgate_store::{AttemptFilter, MachineChange, Store};
use bootgate_testkit::require_commands;
use laboratory::{
    CHUNKS, IMAGE, Laboratory, MAC, OTHER, completion, firmware_options, nonce_in, order,
};

async fn armed() -> Laboratory {
    let lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab
}

/// Boots and flashes as far as the agent's hello.
async fn flashing(lab: &mut Laboratory) -> bootgate_events::AttemptId {
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let nonce = lab.nonce(MAC).await;
    lab.begin_flash(&nonce).await;
    nonce
}

/// What a machine that is flashed and boots its disk does.
async fn boots_its_disk(lab: &mut Laboratory) {
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let script = lab.script(MAC).await;
    assert!(!script.contains("nonce"), "{script}");
    assert!(
        script.contains("sanboot --no-describe --drive 0x80"),
        "{script}"
    );
    assert_eq!(lab.verdict().await, Verdict::Passed);
}

#[tokio::test]
async fn flash_once_flashes_once() {
    require_commands!("curl");
    let mut lab = armed().await;
    let nonce = flashing(&mut lab).await;
    assert!(matches!(lab.machine(MAC).disk, DiskState::Dirty { .. }));
    let done = paths::complete(&nonce);
    assert_eq!(lab.post(&done, &completion()).await.0, "200");
    let machine = lab.machine(MAC);
    assert_eq!(machine.boot, BootMode::Local);
    assert!(matches!(machine.disk, DiskState::Flashed { sha256, .. } if sha256 == IMAGE));
    assert_eq!(lab.verdict().await, Verdict::Passed);
    let again = lab.post(&done, &completion()).await;
    assert_eq!(again.0, "200", "its answer may have been lost: {}", again.1);

    boots_its_disk(&mut lab).await;
    boots_its_disk(&mut lab).await;
    assert_eq!(lab.attempts().len(), 3);
}

#[tokio::test]
async fn flash_always_alternates_between_flash_and_disk() {
    require_commands!("curl");
    let at_once = |config: &mut LabConfig| config.deadlines.disk_turn = Duration::ZERO;
    let mut lab = Laboratory::with(at_once).await;
    lab.lab.arm_flash(&MAC, &order(), true).unwrap();
    for _ in 0..2 {
        let nonce = flashing(&mut lab).await;
        lab.post(&paths::complete(&nonce), &completion()).await;
        assert_eq!(lab.verdict().await, Verdict::Passed);
        assert!(lab.machine(MAC).local_next);
        boots_its_disk(&mut lab).await;
        assert!(!lab.machine(MAC).local_next);
    }
}

/// UEFI that is sent to its disk goes on with its boot order, and its next entry may be the network again.
#[tokio::test]
async fn flash_always_sends_every_network_entry_of_one_boot_to_the_disk() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), true).unwrap();
    let nonce = flashing(&mut lab).await;
    lab.post(&paths::complete(&nonce), &completion()).await;
    assert_eq!(lab.verdict().await, Verdict::Passed);
    for _ in 0..3 {
        boots_its_disk(&mut lab).await;
    }
    // Somebody who wants it flashed again need not wait.
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    flashing(&mut lab).await;
}

#[tokio::test]
async fn the_log_of_an_attempt_can_be_judged_again() {
    require_commands!("curl");
    let mut lab = armed().await;
    let nonce = flashing(&mut lab).await;
    assert_eq!(
        lab.call(&paths::hello(&nonce), &["--json", "{"]).await.0,
        "400"
    );
    lab.wait_for("request-refused").await;
    lab.post(&paths::complete(&nonce), &completion()).await;
    lab.verdict().await;
    let attempt = lab.attempts().remove(0);
    let events = lab.store.events(&attempt.id, 0, 1000).unwrap();
    for (seq, event) in (0..).zip(&events) {
        assert_eq!(event.seq, seq);
        assert_eq!(event.run.as_str(), attempt.id.as_str());
        let text = serde_json::to_string(event).unwrap();
        assert!(!text.contains(nonce.as_str()), "the secret is in {text}");
    }
    let names: Vec<_> = events
        .iter()
        .map(|event| event.kind().unwrap().name())
        .collect();
    assert_eq!(names[..2], ["run-started", "attempt-opened"]);
    assert_eq!(names.last(), Some(&"run-finished"));
    let replayed = replay(&events, |_, _, _| Ok(Vec::new())).unwrap();
    assert_eq!(replayed.verdict, Some(Verdict::Passed));
    assert_eq!(replayed.differences, []);
    assert_eq!(attempt.verdict.unwrap(), replayed.targets[0]);
}

#[tokio::test]
async fn a_second_fetch_voids_the_nonce_before() {
    require_commands!("curl");
    let mut lab = armed().await;
    lab.power_on(MAC);
    let first = lab.nonce(MAC).await;
    let second = lab.nonce(MAC).await;
    assert_ne!(first, second);
    for earlier in 0..2 {
        let served = lab.wait("script", |kind| match kind {
            EventKind::ScriptServed { earlier, .. } => Some(*earlier),
            _ => None,
        });
        assert_eq!(served.await, earlier);
    }
    let (status, _) = lab.call(&paths::plan(&first), &[]).await;
    assert_eq!(status, "409");
    lab.wait_for("stale-callback").await;
    lab.begin_flash(&second).await;
    assert_eq!(lab.attempts().len(), 1, "it is one attempt");
}

#[tokio::test]
async fn a_nonce_is_bound_to_the_address_it_was_given_to() {
    require_commands!("curl");
    let mut lab = armed().await;
    let nonce = flashing(&mut lab).await;
    let body = serde_json::to_string(&completion()).unwrap();
    let from = ["--interface", "127.0.0.9", "--json", &body];
    assert_eq!(lab.call(&paths::complete(&nonce), &from).await.0, "409");
    assert!(matches!(lab.machine(MAC).disk, DiskState::Dirty { .. }));
    assert_eq!(
        lab.call(&paths::hello(&nonce), &["--json", "{"]).await.0,
        "400"
    );
    assert_eq!(
        lab.post(&paths::complete(&nonce), &completion()).await.0,
        "200"
    );
    assert_eq!(lab.verdict().await, Verdict::Passed);
}

#[tokio::test]
async fn head_of_a_script_gives_out_no_nonce() {
    require_commands!("curl");
    let lab = armed().await;
    let (status, _) = lab.call(&paths::script(&MAC), &["-I"]).await;
    assert_eq!(status, "200");
    assert_eq!(lab.attempts(), []);
}

#[tokio::test]
async fn a_wrong_digest_leaves_a_disk_that_is_not_booted() {
    require_commands!("curl");
    let wrong = [
        Completion {
            chunks_sha256: Sha256Hex([9; 32]),
            ..completion()
        },
        Completion {
            size: 512,
            ..completion()
        },
    ];
    for wrong in wrong {
        let mut lab = armed().await;
        let nonce = flashing(&mut lab).await;
        assert_eq!(lab.post(&paths::complete(&nonce), &wrong).await.0, "422");
        let verdict = lab.verdict().await;
        assert!(
            matches!(
                &verdict,
                Verdict::Failed {
                    stage: Stage::Verify,
                    cause: Cause::AgentFailed { .. },
                    ..
                }
            ),
            "{verdict:?}"
        );
        assert!(matches!(lab.machine(MAC).disk, DiskState::Dirty { .. }));
        let refused = lab.lab.set_machine(
            &MAC,
            &MachineChange {
                boot: Some(BootMode::Local),
                ..MachineChange::default()
            },
        );
        assert!(refused.is_err(), "a half-written disk is not booted");
    }
}

#[tokio::test]
async fn a_completion_without_a_begin_is_not_believed() {
    require_commands!("curl");
    let mut lab = armed().await;
    lab.power_on(MAC);
    let nonce = lab.nonce(MAC).await;
    assert_eq!(
        lab.post(&paths::complete(&nonce), &completion()).await.0,
        "422"
    );
    assert!(matches!(lab.verdict().await, Verdict::Failed { .. }));
    assert!(matches!(lab.machine(MAC).boot, BootMode::FlashOnce(_)));
}

#[tokio::test]
async fn a_flasher_that_dies_is_flashed_again_and_not_booted() {
    require_commands!("curl");
    let mut lab = armed().await;
    let dead = flashing(&mut lab).await;
    lab.power_on(MAC);
    let verdict = lab.verdict().await;
    assert!(
        matches!(
            &verdict,
            Verdict::Failed {
                cause: Cause::UnexpectedReset,
                ..
            }
        ),
        "{verdict:?}"
    );
    let nonce = lab.nonce(MAC).await;
    assert_ne!(dead, nonce);
    assert_eq!(
        lab.post(&paths::complete(&dead), &completion()).await.0,
        "409",
        "the dead flasher's completion is stale"
    );
    assert!(matches!(lab.machine(MAC).disk, DiskState::Dirty { .. }));
    lab.begin_flash(&nonce).await;
    assert_eq!(
        lab.post(&paths::complete(&nonce), &completion()).await.0,
        "200"
    );
    assert_eq!(lab.verdict().await, Verdict::Passed);
}

/// The message that begins an attempt came while the one before was open still.
#[tokio::test]
async fn an_attempt_that_ends_another_has_its_first_message_in_its_log() {
    require_commands!("curl");
    let mut lab = armed().await;
    flashing(&mut lab).await;
    lab.power_on(MAC);
    lab.verdict().await;
    lab.wait_for("attempt-opened").await;
    // Behind the answer to it.
    lab.script(MAC).await;
    let attempt = lab.attempts().remove(0);
    let events = lab.store.events(&attempt.id, 0, 1000).unwrap();
    let names: Vec<_> = events
        .iter()
        .map(|event| event.kind().unwrap().name())
        .collect();
    let first = ["run-started", "attempt-opened", "dhcp-received"];
    assert_eq!(names[..3], first, "{names:?}");
}

#[tokio::test]
async fn a_machine_on_its_way_to_its_disk_is_not_flashed_because_the_server_restarts() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), true).unwrap();
    let nonce = flashing(&mut lab).await;
    lab.post(&paths::complete(&nonce), &completion()).await;
    assert_eq!(lab.verdict().await, Verdict::Passed);
    boots_its_disk(&mut lab).await;
    // Its next network entry, with a restart before it asks and one before it fetches its script.
    let mut lab = lab.restart().await;
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let mut lab = lab.restart().await;
    let script = lab.script(MAC).await;
    assert!(!script.contains("nonce"), "{script}");
    assert_eq!(lab.verdict().await, Verdict::Passed);
    assert_eq!(lab.attempts().len(), 3, "it is one attempt");
}

/// The disk holds the image since the flash before, so that it alone does not tell.
#[tokio::test]
async fn a_second_flash_is_not_done_before_it_began() {
    require_commands!("curl");
    let mut lab = armed().await;
    let nonce = flashing(&mut lab).await;
    lab.post(&paths::complete(&nonce), &completion()).await;
    assert_eq!(lab.verdict().await, Verdict::Passed);
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let nonce = lab.nonce(MAC).await;
    let (status, body) = lab.post(&paths::complete(&nonce), &completion()).await;
    assert_eq!(status, "422", "{body}");
    assert!(matches!(lab.verdict().await, Verdict::Failed { .. }));
    assert!(matches!(lab.machine(MAC).boot, BootMode::FlashOnce(_)));
}

#[tokio::test]
async fn an_agent_that_gives_up_fails_its_attempt() {
    require_commands!("curl");
    let mut lab = armed().await;
    let nonce = flashing(&mut lab).await;
    let failure = Failure {
        stage: Stage::Flash,
        error: "no disk has the serial number `S1`".to_owned(),
    };
    assert_eq!(lab.post(&paths::failure(&nonce), &failure).await.0, "200");
    let verdict = lab.verdict().await;
    assert!(
        matches!(&verdict, Verdict::Failed { stage: Stage::Flash, cause: Cause::AgentFailed { error }, .. } if error.contains("S1")),
        "{verdict:?}"
    );
    assert_eq!(lab.machine(MAC).failed_flashes, 1);
}

#[tokio::test]
async fn flashes_that_fail_again_and_again_come_to_a_stop() {
    require_commands!("curl");
    let mut lab = armed().await;
    for failed in 1..=3 {
        let nonce = flashing(&mut lab).await;
        let failure = Failure {
            stage: Stage::Flash,
            error: "broken".to_owned(),
        };
        lab.post(&paths::failure(&nonce), &failure).await;
        assert!(matches!(lab.verdict().await, Verdict::Failed { .. }));
        assert_eq!(lab.machine(MAC).failed_flashes, failed);
    }
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let script = lab.script(MAC).await;
    assert!(!script.contains("nonce"), "{script}");
    assert!(
        script.contains("poweroff") && script.contains("3 flashes"),
        "{script}"
    );
    let (last, _) = script.split_once("poweroff").unwrap();
    assert!(
        !last.contains("exit"),
        "the disk may be half written: {script}"
    );
    let verdict = lab.verdict().await;
    assert!(
        matches!(
            &verdict,
            Verdict::Failed {
                cause: Cause::BootRefused { .. },
                ..
            }
        ),
        "{verdict:?}"
    );
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    flashing(&mut lab).await;
}

#[tokio::test]
async fn a_repeated_discover_is_no_restart() {
    require_commands!("curl");
    let mut lab = armed().await;
    let nonce = flashing(&mut lab).await;
    lab.dhcp_again(MAC, 1, &firmware_options());
    lab.wait_for("dhcp-received").await;
    assert_eq!(
        lab.post(&paths::complete(&nonce), &completion()).await.0,
        "200"
    );
    assert_eq!(lab.verdict().await, Verdict::Passed);
    assert_eq!(lab.attempts().len(), 1);
}

#[tokio::test]
async fn an_order_that_comes_before_the_script_is_carried_out() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    let nonce = lab.nonce(MAC).await;
    assert!(matches!(lab.verdict().await, Verdict::Interrupted { .. }));
    lab.begin_flash(&nonce).await;
}

#[tokio::test]
async fn an_attempt_goes_on_after_a_restart_of_the_server() {
    require_commands!("curl");
    let mut lab = armed().await;
    let nonce = flashing(&mut lab).await;
    lab.wait_for("agent-progressed").await;
    let before = lab.attempts();
    let mut lab = lab.restart().await;
    assert_eq!(lab.attempts(), before);
    assert_eq!(
        lab.post(&paths::complete(&nonce), &completion()).await.0,
        "200"
    );
    assert_eq!(lab.verdict().await, Verdict::Passed);
    let attempts = lab.attempts();
    assert_eq!(attempts.len(), 1);
    let events = lab.store.events(&attempts[0].id, 0, 1000).unwrap();
    assert!(events.is_sorted_by_key(|event| event.mono_us));
    let replayed = replay(&events, |_, _, _| Ok(Vec::new())).unwrap();
    assert_eq!(
        (replayed.verdict, replayed.differences.len()),
        (Some(Verdict::Passed), 0)
    );
    let mut lab = lab.restart().await;
    let filter = AttemptFilter {
        open: true,
        ..AttemptFilter::default()
    };
    assert_eq!(lab.store.attempts(&filter).unwrap(), []);
    boots_its_disk(&mut lab).await;
}

#[tokio::test]
async fn a_lost_answer_is_given_again_after_a_restart() {
    require_commands!("curl");
    let mut lab = armed().await;
    let nonce = flashing(&mut lab).await;
    lab.post(&paths::complete(&nonce), &completion()).await;
    lab.verdict().await;
    let lab = lab.restart().await;
    // Who asks is told by its lease, or by what its attempt said before the restart.
    let (status, body) = lab.post(&paths::complete(&nonce), &completion()).await;
    assert_eq!(status, "200", "{body}");
}

#[tokio::test]
async fn another_machines_nonce_is_of_no_use_for_this_one() {
    require_commands!("curl");
    let mut lab = armed().await;
    lab.lab.arm_flash(&OTHER, &order(), false).unwrap();
    let nonce = flashing(&mut lab).await;
    lab.power_on(OTHER);
    let other = lab.nonce(OTHER).await;
    lab.begin_flash(&other).await;
    lab.post(&paths::complete(&nonce), &completion()).await;
    assert_eq!(lab.verdict().await, Verdict::Passed);
    assert!(matches!(lab.machine(OTHER).disk, DiskState::Dirty { .. }));
    assert!(matches!(lab.machine(MAC).disk, DiskState::Flashed { .. }));
}

#[tokio::test]
async fn the_plan_names_image_and_disk() {
    require_commands!("curl");
    let mut lab = armed().await;
    lab.power_on(MAC);
    let script = lab.script(MAC).await;
    for part in [
        "/artifacts/bootgate-live/kernel",
        "bootgate-live/initrd0",
        "console=ttyS0",
    ] {
        assert!(script.contains(part), "`{part}` in {script}");
    }
    let (status, plan) = lab.call(&paths::plan(&nonce_in(&script)), &[]).await;
    assert_eq!(status, "200");
    for part in [
        "/artifacts/images/debian/index.json",
        "/artifacts/images/debian/image.zst",
        "S1",
    ] {
        assert!(plan.contains(part), "`{part}` in {plan}");
    }
    assert!(
        matches!(lab.machine(MAC).disk, DiskState::Dirty { .. }),
        "the plan may be carried out"
    );
    let (_, index) = lab.call("/artifacts/images/debian/index.json", &[]).await;
    assert!(index.contains(&CHUNKS.to_string()), "{index}");
}
