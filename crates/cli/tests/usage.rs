//! Bad usage and bad scenarios: exit 2, one message, and nothing is started.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::process::Command;

fn bootgate(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args(args)
        .output()
        .expect("bootgate runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_bad_scenario_ends_with_2_and_leaves_no_run_folder() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("bad.toml");
    std::fs::write(
        &file,
        "name = \"bad\"\n[[target]]\nname = \"client\"\nfirmwear = \"bios\"\n",
    )
    .expect("a scenario");
    let out = folder.path().join("out");
    let run = support::run(&file);
    let finished = Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args([
            "run".as_ref(),
            file.as_os_str(),
            "--out".as_ref(),
            out.as_os_str(),
        ])
        .output()
        .expect("bootgate runs");
    drop(run);
    assert_eq!(finished.status.code(), Some(2));
    let told = String::from_utf8_lossy(&finished.stderr);
    assert!(
        told.contains("firmwear") && told.contains("bad.toml") && told.contains("firmware"),
        "{told}"
    );
    assert!(!out.exists(), "something was started");
}

#[test]
fn help_shows_examples_and_exit_codes() {
    let (code, told, _) = bootgate(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(
        told.contains("Examples:") && told.contains("130 interrupted"),
        "{told}"
    );
    for command in [
        "run", "check", "report", "media", "serve", "wol", "machine", "attempt", "lease",
        "explain", "status", "state",
    ] {
        let (code, told, _) = bootgate(&[command, "--help"]);
        assert_eq!(code, Some(0));
        assert!(told.contains("Usage: bootgate"), "{told}");
        assert!(
            command == "media" || told.contains("Example"),
            "no example of {command}"
        );
    }
}

#[test]
fn unknown_flags_end_with_2() {
    assert_eq!(bootgate(&["run"]).0, Some(2));
    assert_eq!(bootgate(&["run", "x.toml", "--nonsense"]).0, Some(2));
    assert_eq!(bootgate(&["run", "x.toml", "--jobs", "0"]).0, Some(2));
}

#[test]
fn a_folder_that_is_no_run_is_left_alone() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("thesis.txt"), "years of work").expect("a file");
    let scenario = folder.path().join("s.toml");
    std::fs::write(&scenario, "").expect("a file");
    let (code, _, told) = bootgate(&["report", "--replay", &folder.path().display().to_string()]);
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("events.jsonl"), "{told}");
    assert!(folder.path().join("thesis.txt").exists());
}

#[test]
fn completions_are_written_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, told, _) = bootgate(&["completions", shell]);
        assert_eq!(code, Some(0));
        for command in [
            "serve", "machine", "attempt", "lease", "explain", "status", "state", "wol",
        ] {
            assert!(told.contains(command), "no {command} for {shell}");
        }
        for part in ["forget", "watch", "--segment", "--dhcp-settings", "backup"] {
            let part = match shell {
                // fish is told options without their hyphens.
                "fish" => part.trim_start_matches("--"),
                _ => part,
            };
            assert!(told.contains(part), "no {part} for {shell}");
        }
    }
}

#[test]
fn the_shipped_scenarios_pass_check() {
    if !support::media_is_built() {
        bootgate_testkit::skip!("target/media is not built: run ./ci/gate once");
    }
    for name in ["bios-flash", "uefi-flash", "pair"] {
        let path = support::scenario(&format!("{name}.toml"));
        let (code, told, complaint) = bootgate(&["check", &path.display().to_string()]);
        assert_eq!(code, Some(0), "{complaint}");
        assert!(told.starts_with(&format!("{name}: ")), "{told}");
    }
}

#[test]
fn check_says_what_a_scenario_would_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (good, bad) = (
        folder.path().join("good.toml"),
        folder.path().join("bad.toml"),
    );
    std::fs::write(folder.path().join("vmlinuz"), "a kernel").expect("a file");
    let text = "[boot]\nkernel = \"vmlinuz\"\n[[expect]]\npattern = 'login:'\nstage = \"live\"\n\
        [[target]]\nname = \"client\"\nfirmware = \"uefi\"\n";
    std::fs::write(&good, text).expect("a scenario");
    std::fs::write(&bad, text.replace("vmlinuz", "vmlinux")).expect("a scenario");
    let (good, bad) = (good.display().to_string(), bad.display().to_string());

    let (code, told, complaint) = bootgate(&["check", &good]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    for part in [
        "good: 1 target",
        "client (qemu, uefi, ",
        "vmlinuz",
        "in live: /login:/",
    ] {
        assert!(told.contains(part), "no {part:?} in:\n{told}");
    }

    // One bad scenario does not hide what is said of the good one.
    let (code, told, complaint) = bootgate(&["check", &bad, &good]);
    assert_eq!(code, Some(2));
    assert!(told.starts_with("good: "), "{told}");
    for part in ["bad.toml:2", "vmlinux"] {
        assert!(complaint.contains(part), "no {part:?} in:\n{complaint}");
    }

    assert_eq!(bootgate(&["check", "/nonexistent.toml"]).0, Some(2));
}

/// What `doctor` says on this host, with `path` as search path.
fn doctor(path: Option<&str>) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bootgate"));
    command.arg("doctor");
    if let Some(path) = path {
        command.env("PATH", path);
    }
    let output = command.output().expect("bootgate runs");
    (
        output.status.code(),
        String::from_utf8(output.stdout).expect("text"),
    )
}

#[test]
fn doctor_names_what_is_missing_and_how_to_mend_it() {
    let (code, told) = doctor(Some("/nonexistent"));
    assert_eq!(code, Some(3), "{told}");
    let lines: Vec<&str> = told.lines().collect();
    let missing = lines
        .iter()
        .position(|line| line.starts_with("FAIL  qemu "))
        .unwrap_or_else(|| panic!("{told}"));
    assert!(
        lines[missing + 1].contains("fix: apt-get install qemu-system-x86"),
        "{told}"
    );
}

#[test]
fn doctor_is_content_where_the_gate_runs() {
    require_gate!();
    let (code, told) = doctor(None);
    assert_eq!(code, Some(0), "{told}");
    assert!(!told.contains("FAIL"), "{told}");
    for name in ["namespaces", "qemu", "uefi-firmware", "ipxe", "accelerator"] {
        assert!(
            told.lines()
                .any(|line| line.starts_with(&format!("ok    {name} "))),
            "no {name} in:\n{told}"
        );
    }
}
