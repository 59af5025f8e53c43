//! What a person is told about a boot server's configuration, and what the reference page says of it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `bootgate` in the folder of the fixtures.
fn bootgate(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args(args)
        .current_dir(fixtures())
        .env("NO_COLOR", "1")
        .env("COLUMNS", "100")
        .output()
        .expect("bootgate runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/serve")
}

fn check(text: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("serve.toml");
    std::fs::write(&path, text).expect("a configuration");
    bootgate(&["serve", "--check", "--config", &path.display().to_string()])
}

#[test]
fn each_bad_configuration_has_its_diagnostic() {
    let mut files: Vec<PathBuf> = fixtures()
        .join("bad")
        .read_dir()
        .expect("the folder")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(files.len() > 40, "{}", files.len());
    for path in files {
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        for how in [&["--check"][..], &[]] {
            let file = format!("bad/{name}.toml");
            let (code, said, told) = bootgate(&[&["serve", "--config", &file], how].concat());
            assert_eq!((code, said.as_str()), (Some(2), ""), "{name}: {told}");
            assert!(
                told.contains(&format!("bad/{name}.toml:")),
                "{name}: {told}"
            );
            if !how.is_empty() {
                let lines: Vec<&str> = told.lines().map(str::trim_end).collect();
                insta::assert_snapshot!(name.clone(), lines.join("\n"));
            }
        }
    }
}

#[test]
fn good_configurations_are_told_what_they_mean() {
    for name in ["minimal", "lab"] {
        let file = format!("{name}.toml");
        let (code, said, told) = bootgate(&["serve", "--check", "--config", &file]);
        assert_eq!(code, Some(0), "{told}");
        assert!(said.starts_with(&format!("{name}.toml: good\n")), "{said}");
    }
}

#[test]
fn without_a_configuration_the_least_one_is_shown() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .arg("serve")
        .current_dir(folder.path())
        .output()
        .expect("bootgate runs");
    if Path::new("/etc/bootgate/serve.toml").exists() {
        bootgate_testkit::skip!("this host has a configuration");
    }
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("[[interface]]") && told.contains("--config"),
        "{told}"
    );
}

#[test]
fn an_interface_that_is_not_there_is_a_fault_of_the_host() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("serve.toml");
    std::fs::write(&path, "[[interface]]\nname = \"none7.20\"\n").expect("a configuration");
    let (code, _, told) = bootgate(&["serve", "--config", &path.display().to_string()]);
    assert_eq!(code, Some(3), "{told}");
    assert!(
        told.contains("none7.20") && told.contains("type vlan id 20"),
        "{told}"
    );
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/serve.md");
    std::fs::read_to_string(path).expect("the page")
}

#[test]
fn every_example_of_the_page_is_good() {
    let page = page();
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(examples.len() >= 4, "{}", examples.len());
    for example in examples {
        let (code, _, told) = check(example);
        assert_eq!(code, Some(0), "{told}\n{example}");
    }
}
