//! `bootgate report --replay`: what it makes of whole, changed and torn run folders.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A run that ended early for its own reason: short, and with everything in its log that a replay needs.
fn short_run() -> support::Finished {
    let run = support::run(&support::scenario("failing/missing-kernel.toml")).finish();
    run.assert_code(1);
    run
}

/// A copy of the run folder, changed by `change`.
fn copy(run: &support::Finished, change: impl FnOnce(&Path)) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().expect("a temporary folder");
    let folder = temp.path().join("run");
    let copied = Command::new("cp")
        .arg("-a")
        .args([&run.folder, &folder])
        .status();
    assert!(copied.expect("cp runs").success());
    change(&folder);
    (temp, folder)
}

struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn replay(folder: &Path) -> Told {
    let output = Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args(["report", "--replay"])
        .arg(folder)
        .output()
        .expect("bootgate runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    let told = Told {
        code: output.status.code(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    };
    assert!(!told.stderr.contains("panicked"), "{}", told.stderr);
    told
}

/// Writes the log again, each event as `change` leaves it.
fn rewrite(folder: &Path, mut change: impl FnMut(&mut Value)) {
    let mut text = String::new();
    for mut event in support::events_in(folder) {
        change(&mut event);
        text.push_str(&format!("{event}\n"));
    }
    std::fs::write(folder.join("events.jsonl"), text).expect("the log");
}

fn log(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("events.jsonl")).expect("the log")
}

#[test]
fn reports_are_judged_from_facts_alone() {
    require_gate!();
    let run = short_run();

    // A log that is only formatted anew says the same.
    let (_temp, same) = copy(&run, |folder| rewrite(folder, |_| {}));
    let told = replay(&same);
    assert_eq!(told.code, Some(1), "{}", told.stderr);
    assert_eq!(support::verdict_in(&same), support::verdict_in(&run.folder));

    // A verdict that was changed is not believed.
    let (_temp, forged) = copy(&run, |folder| {
        rewrite(folder, |event| {
            if matches!(
                event["kind"].as_str(),
                Some("verdict-reached" | "run-finished")
            ) {
                event["verdict"] = serde_json::json!({"verdict": "passed"});
            }
        });
    });
    let told = replay(&forged);
    assert_eq!(told.code, Some(3), "{}", told.stderr);
    assert!(
        told.stderr.contains("do not follow from its facts") && told.stderr.contains("passed"),
        "{}",
        told.stderr
    );
    let verdict = support::verdict_in(&forged).expect("a verdict");
    assert_eq!(verdict["verdict"], "failed");
    assert_eq!(verdict["stage"], "kernel");
}

#[test]
fn torn_run_folders_are_named_and_never_pass() {
    require_gate!();
    let run = short_run();
    let whole = log(&run.folder);

    // As a killed run leaves it, wherever it was killed: at a line's end, within a line, within a character.
    let half = whole.len() / 2;
    for cut in [half, half + 1, half + 40] {
        let (_temp, torn) = copy(&run, |folder| {
            std::fs::write(folder.join("events.jsonl"), &whole[..cut]).expect("the log");
        });
        let told = replay(&torn);
        assert_eq!(told.code, Some(3), "cut at {cut}: {}", told.stderr);
        assert_eq!(told.stderr, "", "nothing was changed, only lost");
        let verdict = support::verdict_in(&torn).expect("a verdict");
        assert_eq!(verdict["verdict"], "infra", "{verdict:#}");
    }

    // Killed before the verdict was written, but after the fact that it follows from.
    let text = String::from_utf8(whole.clone()).expect("text");
    let cut = text.find("\"verdict-reached\"").expect("a verdict");
    let (_temp, judged) = copy(&run, |folder| {
        std::fs::write(folder.join("events.jsonl"), &whole[..cut]).expect("the log");
    });
    let told = replay(&judged);
    assert_eq!((told.code, told.stderr.as_str()), (Some(1), ""));

    let (_temp, mute) = copy(&run, |folder| {
        std::fs::remove_file(folder.join("console/client.log")).expect("a console log");
    });
    let told = replay(&mute);
    assert_eq!(told.code, Some(3));
    assert!(
        told.stderr.contains("console bytes of `client`") && told.stderr.contains("hint:"),
        "{}",
        told.stderr
    );
    assert_eq!(told.stdout, "");

    let (_temp, garbage) = copy(&run, |folder| {
        let mut bytes = log(folder);
        bytes[half] = 0xff;
        std::fs::write(folder.join("events.jsonl"), bytes).expect("the log");
    });
    let told = replay(&garbage);
    assert_eq!(told.code, Some(3));
    assert!(told.stderr.contains("events.jsonl"), "{}", told.stderr);

    let (_temp, empty) = copy(&run, |folder| {
        std::fs::write(folder.join("events.jsonl"), "").expect("the log");
    });
    let told = replay(&empty);
    assert_eq!(told.code, Some(3));
    assert!(told.stderr.contains("run-started"), "{}", told.stderr);
}

/// A killed run's folder, as it really is.
#[test]
fn a_killed_runs_log_is_an_infrastructure_verdict() {
    require_gate!();
    let run = support::run(&support::scenario("bios-flash.toml")).start();
    run.wait_for("the script", |event| {
        event["kind"] == "stage-entered" && event["stage"] == "script"
    });
    run.signal("KILL");
    let run = run.finish();
    assert_eq!(run.code, None);
    let told = replay(&run.folder);
    assert_eq!(told.code, Some(3), "{}", told.stderr);
    let verdict = run.verdict();
    assert_eq!(verdict["verdict"], "infra");
    assert_eq!(verdict["targets"][0]["name"], "client");
}
