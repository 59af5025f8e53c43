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

/// The tables of the file, each with the heading of its section on the page.
const TABLES: [(&str, &str); 16] = [
    ("", "### Top level"),
    ("[state]", "### `[state]`"),
    ("[[interface]]", "### `[[interface]]`"),
    ("[[subnet]]", "### `[[subnet]]`"),
    (
        "[[subnet]]\nnetwork = \"10.0.0.0/24\"\n[subnet.ipv6]",
        "### `[[subnet]]`",
    ),
    ("[[reservation]]", "### `[[reservation]]`"),
    ("[[arch]]", "### `[[arch]]`"),
    ("[boot]", "### `[boot]`"),
    ("[discovery]", "### `[discovery]`"),
    ("[live]", "### `[live]`"),
    ("[[image]]", "### `[[image]]`"),
    ("[[installer]]", "### `[[installer]]`"),
    ("[[script]]", "### `[[script]]`"),
    ("[artifacts]", "### `[artifacts]`"),
    ("[limits]", "### `[limits]`"),
    ("[limits]\nleases = 1", "### `[limits]`"),
];

/// The page's rows of keys below a heading.
fn rows<'a>(page: &'a str, heading: &str) -> Vec<&'a str> {
    let section = page.split(&format!("{heading}\n")).nth(1);
    let section = section.unwrap_or_else(|| panic!("no section `{heading}`"));
    let section = section.split("\n#").next().unwrap_or_default();
    section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect()
}

#[test]
fn every_key_is_on_the_page_with_its_default() {
    let page = page();
    let mut seen = 0;
    for (table, heading) in TABLES {
        let (_, _, told) = check(&format!("{table}\nzzzzzzzzzz = 1\n"));
        // The diagnostic is wrapped; a key is not.
        let told = told
            .split("unknown key `zzzzzzzzzz`")
            .nth(1)
            .unwrap_or_else(|| panic!("{told}"));
        let list = told
            .split("known are ")
            .nth(1)
            .unwrap_or_else(|| panic!("{told}"));
        let list = list.split("also line").next().unwrap_or_default();
        let rows = rows(&page, heading);
        for key in list.split('`').skip(1).step_by(2) {
            let row = rows.iter().find(|row| {
                let name = row[3..].split('`').next().unwrap_or_default();
                name.trim_matches(['[', ']']).rsplit('.').next() == Some(key)
            });
            let row = row.unwrap_or_else(|| panic!("`{key}` is not in `{heading}`"));
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 6, "{row}");
            assert!(cells[2..5].iter().all(|cell| !cell.is_empty()), "{row}");
            seen += 1;
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn every_row_of_the_page_is_a_key() {
    let page = page();
    for (table, heading) in TABLES {
        if heading == "### Top level" {
            continue;
        }
        for row in rows(&page, heading) {
            let name = row[3..].split('`').next().unwrap_or_default();
            if name.contains('.') || table.contains('\n') {
                continue;
            }
            let (_, _, told) = check(&format!("{table}\n{name} = 1979-05-27\n"));
            assert!(!told.contains("unknown key"), "{heading}: {told}");
        }
    }
}
