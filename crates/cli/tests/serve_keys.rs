//! Every key of `serve.toml` stands in its page, with its type, default and bounds, and nothing else does.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A row of the page: type, default and meaning.
type Row = [String; 3];

/// The sections under "Every key": the table's name without brackets, and its keys.
fn page() -> BTreeMap<String, BTreeMap<String, Row>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/serve.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let keys = page.split("\n## Every key\n").nth(1).expect("a section");
    let keys = keys.split("\n## ").next().expect("its text");
    let mut sections = BTreeMap::new();
    for section in keys.split("\n### ").skip(1) {
        let (title, text) = section.split_once('\n').expect("a title");
        let name = title.trim_matches(['`', '[', ']']).to_owned();
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        let rows = rows.map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [key, kind, default, meaning] = cells.as_slice() else {
                panic!("not four cells: {line}");
            };
            assert!(
                [kind, default, meaning].iter().all(|cell| !cell.is_empty()),
                "{line}"
            );
            let key = key.trim_matches(['`', '[', ']']).to_owned();
            (key, [kind, default, meaning].map(|cell| (*cell).to_owned()))
        });
        sections.insert(name, rows.collect());
    }
    sections
}

/// What the program says of a file.
fn said(text: &str) -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("serve.toml");
    std::fs::write(&path, text).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args(["serve", "--check", "--config"])
        .arg(path)
        .env("NO_COLOR", "1")
        .output()
        .expect("run bootgate");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}: {said}");
    // Lines are broken for the terminal.
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The keys that the program knows in the table that `before` opens.
fn known(before: &str) -> BTreeSet<String> {
    let said = said(&format!("{before}\nno_such_key = 1\n"));
    let known = said
        .split("known are ")
        .nth(1)
        .unwrap_or_else(|| panic!("{said}"));
    let mut keys = BTreeSet::new();
    for word in known.split(", ") {
        let (key, rest) = word.trim_start_matches('`').split_once('`').expect("a key");
        keys.insert(key.to_owned());
        if !rest.is_empty() {
            break;
        }
    }
    keys
}

fn opened(table: &str) -> String {
    match table {
        "Top level" => String::new(),
        // What is missing would be told first.
        "interface" => "[[interface]]\nname = \"eth1\"".to_owned(),
        table
            if [
                "interface",
                "subnet",
                "reservation",
                "arch",
                "image",
                "installer",
                "script",
            ]
            .contains(&table) =>
        {
            format!("[[{table}]]")
        }
        table => format!("[{table}]"),
    }
}

#[test]
fn the_page_has_every_key_and_no_other() {
    let page = page();
    let tables: BTreeSet<_> = page["Top level"].keys().cloned().collect();
    assert_eq!(tables, known(""));
    let sections: BTreeSet<_> = page
        .keys()
        .filter(|name| *name != "Top level")
        .cloned()
        .collect();
    assert_eq!(sections, tables);
    for (table, keys) in &page {
        let (nested, plain): (Vec<_>, Vec<_>) = keys.keys().partition(|key| key.contains('.'));
        let plain: BTreeSet<String> = plain.into_iter().cloned().collect();
        assert_eq!(plain, known(&opened(table)), "of `{table}`");
        let mut tables: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for (inner, key) in nested.iter().filter_map(|key| key.split_once('.')) {
            tables.entry(inner).or_default().insert(key.to_owned());
        }
        for (inner, keys) in tables {
            let before = format!("{}\n[{table}.{inner}]", opened(table));
            assert_eq!(keys, known(&before), "of `{table}.{inner}`");
        }
    }
}

#[test]
fn the_page_says_the_bounds_of_every_number() {
    let mut numbers = 0;
    for (table, keys) in page() {
        for (key, [kind, _, meaning]) in keys {
            if kind != "number" {
                continue;
            }
            let text = format!("{}\n{key} = 999999999999999\n", opened(&table));
            let said = said(&text);
            let bounds = said
                .split("help: ")
                .nth(1)
                .unwrap_or_else(|| panic!("{said}"));
            let words: Vec<&str> = bounds.split(' ').take(4).collect();
            let bounds = words.join(" ");
            assert!(bounds.starts_with("from "), "`{table}` `{key}`: {said}");
            assert!(
                meaning.contains(&bounds),
                "`{table}` `{key}`: `{meaning}` does not say `{bounds}`"
            );
            numbers += 1;
        }
    }
    assert!(numbers >= 15, "{numbers}");
}
