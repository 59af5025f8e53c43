//! The crates depend on each other only along the arrows of the design (docs/design.md), and the pure ones on no
//! runtime.
#![allow(clippy::expect_used, reason = "a helper that fails fails its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Crate, and the crates of the workspace it may depend on. What is not listed here may depend on none.
const ARROWS: &[(&str, &[&str])] = &[
    ("events", &[]),
    ("api", &["events"]),
    ("netboot", &["events", "api"]),
    ("scenario", &["events"]),
    ("store", &["events", "api"]),
    (
        "server",
        &["netboot", "scenario", "store", "report", "api", "events"],
    ),
    ("hostnet", &["events"]),
    ("target", &["events"]),
    ("report", &["events"]),
    ("agent", &["api", "events"]),
    ("diskinit", &[]),
    ("media", &["api"]),
    (
        "harness",
        &[
            "events", "api", "netboot", "scenario", "server", "hostnet", "target", "report",
            "media",
        ],
    ),
    ("testkit", &[]),
    (
        "cli",
        &[
            "events", "api", "netboot", "scenario", "store", "server", "hostnet", "target",
            "report", "media", "harness",
        ],
    ),
];

/// Crates that open nothing and take time as an argument.
const PURE: &[&str] = &["events", "api", "netboot", "scenario", "report"];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON")
}

/// The crate's name in ARROWS.
fn short(package: &str) -> Option<&str> {
    if package == "bootgate" {
        Some("cli")
    } else {
        package.strip_prefix("bootgate-")
    }
}

/// Crate -> names of its non-dev dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().expect("packages");
    let mut all = BTreeMap::new();
    for package in packages {
        let name = package["name"]
            .as_str()
            .and_then(short)
            .expect("a package of ours")
            .to_owned();
        let list = package["dependencies"].as_array().expect("dependencies");
        let normal = list
            .iter()
            .filter(|dependency| dependency["kind"].as_str() != Some("dev"));
        let names = normal
            .map(|dependency| dependency["name"].as_str().expect("name").to_owned())
            .collect();
        all.insert(name, names);
    }
    all
}

#[test]
fn crates_depend_along_the_arrows_only() {
    let mut wrong = Vec::new();
    for (name, used) in dependencies() {
        let allowed = ARROWS
            .iter()
            .find(|(krate, _)| *krate == name)
            .map_or(&[][..], |(_, list)| *list);
        for other in used.iter().filter_map(|dependency| short(dependency)) {
            if !allowed.contains(&other) {
                wrong.push(format!("{name} -> {other}"));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that the design does not have: {wrong:?}"
    );
}

#[test]
fn pure_crates_have_no_runtime_and_no_sockets() {
    let all = dependencies();
    for name in PURE {
        for runtime in ["tokio", "async-std", "socket2", "mio", "rtnetlink"] {
            assert!(!all[*name].contains(runtime), "{name} depends on {runtime}");
        }
    }
}
