//! The reference page says what is so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests end the test, too

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use bootgate_scenario::{
    Files, FirmwareProfile, ScenarioError, defaults, parse, parse_all, parse_lab,
};

struct Everything;

impl Files for Everything {
    fn length(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 20)
    }

    fn head(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

fn page() -> String {
    std::fs::read_to_string("../../docs/scenario.md").unwrap()
}

#[test]
fn every_example_is_good() {
    let page = page();
    let examples: Vec<&str> = page
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert_eq!(examples.len(), 8);
    for example in examples {
        let path = Path::new("example.toml");
        let result = if example.starts_with("# lab") {
            parse_lab(example, path).map(|_| ())
        } else if example.starts_with("# profile") {
            FirmwareProfile::parse(example, path, &Everything).map(|_| ())
        } else {
            parse_all(example, path, &Everything).map(|_| ())
        };
        result.unwrap_or_else(|error| panic!("{}\n{example}", error.one_line()));
    }
}

#[test]
fn every_default_marker_is_listed_with_its_meaning() {
    let page = page();
    for rule in defaults::default_forbidden() {
        let row = format!("| `{}` | ", rule.name);
        let line = page.lines().find(|line| line.starts_with(&row));
        let line = line.unwrap_or_else(|| panic!("{row} is not listed"));
        assert!(line.ends_with(&format!(" | {} |", rule.hint)), "{line}");
    }
}

#[test]
fn every_default_deadline_is_listed() {
    let page = page();
    let text = "[boot]\nkernel = \"k\"\n[[expect]]\npattern = \"up\"\n[[target]]\nname = \"a\"\nfirmware = \"bios\"\n";
    let plan = parse(text, Path::new("a.toml"), &Everything).unwrap();
    let rules = &plan.targets[0].rules;
    for (stage, ms) in &rules.stage_deadlines_ms {
        let row = format!("| `{stage}` | duration | `\"{}s\"` |", ms / 1000);
        assert!(page.contains(&row), "{row}");
    }
    let row = format!(
        "| `stall` | duration or `\"off\"` | `\"{}s\"` |",
        rules.stall_ms / 1000
    );
    assert!(page.contains(&row), "{row}");
    let row = format!(
        "| `timeout` | duration | `\"{}s\"` |",
        rules.total_deadline_ms / 1000
    );
    assert!(page.contains(&row), "{row}");
}

/// The keys that a table knows, as the hint about one that it does not know lists them.
fn keys(error: &ScenarioError) -> Vec<String> {
    let unknown = error
        .problems()
        .find(|problem| problem.message.contains("`zzzzzz`"));
    let hint = &unknown.unwrap_or_else(|| panic!("{error}")).hint;
    let list = hint.strip_prefix("known are ").unwrap();
    list.split(", ")
        .map(|key| key.trim_matches('`').to_owned())
        .collect()
}

#[test]
fn every_key_is_listed() {
    let page = page();
    let tables = [
        "",
        "[network]",
        "[boot]",
        "[boot.image]",
        "[[boot.for]]",
        "[matrix]",
        "[[matrix.exclude]]",
        "[[matrix.include]]",
        "[[expect]]",
        "[[forbid]]",
        "[[fault]]",
        "[[target]]",
        "[[target]]\n[target.boot]",
        "[[target]]\n[target.disk]",
        "[[target]]\n[target.nic]",
        "[[target]]\n[target.board]",
        "[[target]]\n[target.board]\n[target.board.power]",
    ];
    let path = Path::new("a.toml");
    let scenario =
        |table: &&str| parse(&format!("{table}\nzzzzzz = 1\n"), path, &Everything).unwrap_err();
    let lab = |table: &&str| parse_lab(&format!("{table}\nzzzzzz = 1\n"), path).unwrap_err();
    let lab_tables = ["", "[network]", "[board.a]", "[board.a.power]"];
    let profile = FirmwareProfile::parse("zzzzzz = 1\n", path, &Everything).unwrap_err();
    let errors = tables
        .iter()
        .map(scenario)
        .chain(lab_tables.iter().map(lab))
        .chain([profile]);
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let names = rows.filter_map(|row| row.split('`').next());
    let listed: Vec<&str> = names.flat_map(|name| name.split(['.', '[', ']'])).collect();
    let mut seen = 0;
    for key in errors.flat_map(|error| keys(&error)) {
        assert!(listed.contains(&key.as_str()), "`{key}` is not listed");
        seen += 1;
    }
    assert!(seen > 110, "{seen}");
}

#[test]
fn every_firmware_is_listed_with_its_loader() {
    let page = page();
    for name in FirmwareProfile::names() {
        let profile = FirmwareProfile::built_in(name).unwrap();
        let row = format!("| `{name}` | ");
        let line = page.lines().find(|line| line.starts_with(&row));
        let line = line.unwrap_or_else(|| panic!("{row} is not listed"));
        let loader = line.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let word = format!("{:?}", profile.loader).to_lowercase();
        assert_eq!(loader.to_lowercase().replace('-', ""), word, "{line}");
    }
}

/// The short names of the host's faults in the sources: where one is made, or its event.
fn faults_in_sources() -> BTreeSet<String> {
    let maker = r#"(?:\binfra\(\s*|\bwhat: |=> (?:\{\s*)?)"([a-z]+(?:-[a-z]+)+)""#;
    let maker = regex::Regex::new(maker).unwrap();
    let mut sources: Vec<PathBuf> = Path::new("../harness/src")
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let target = ["error.rs", "qemu/watcher.rs", "qemu/process.rs"];
    sources.extend(target.map(|file| Path::new("../target/src").join(file)));
    let mut names = BTreeSet::new();
    for source in sources {
        let text = std::fs::read_to_string(&source).unwrap();
        let found = maker.captures_iter(&text);
        names.extend(found.map(|found| found[1].to_owned()));
    }
    names
}

#[test]
fn every_fault_of_the_host_is_in_the_documentation() {
    let text = std::fs::read_to_string("../../docs/run.md").unwrap();
    let table = text.split("| fault | what it is |").nth(1).unwrap();
    let table = table.split("\n\n").next().unwrap();
    let names = table.lines().filter_map(|row| row.strip_prefix("| `"));
    let told: BTreeSet<String> = names
        .flat_map(|row| row.split('|').next().unwrap().split(", "))
        .map(|name| name.trim().trim_matches('`').to_owned())
        .collect();
    let known = faults_in_sources();
    let missing: Vec<_> = known.difference(&told).collect();
    assert!(missing.is_empty(), "not in docs/run.md: {missing:?}");
    // The last is made by the reader of a log that was cut off.
    let gone = told.difference(&known);
    let gone: Vec<_> = gone.filter(|name| *name != "log-ends-early").collect();
    assert!(gone.is_empty(), "in docs/run.md alone: {gone:?}");
}
