//! Whatever a file holds, reading it ends in a plan or in a diagnostic that can be shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests end the test, too

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use bootgate_scenario::fold::Fold;
use bootgate_scenario::{Files, parse, parse_lab};
use miette::{GraphicalReportHandler, GraphicalTheme};
use proptest::prelude::*;

struct Everything;

impl Files for Everything {
    fn length(&self, _: &Path) -> io::Result<u64> {
        Ok(1 << 20)
    }

    fn head(&self, _: &Path, _: u64) -> io::Result<Vec<u8>> {
        Ok(br#"{"schema":1,"size":1048576,"sector_size":512}"#.to_vec())
    }
}

/// A plan must be one that can be judged by; an error must be one that can be shown.
fn check(text: &str) -> bool {
    let path = Path::new("some/file.toml");
    let mut shown = String::new();
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::none());
    if let Err(error) = parse_lab(text, path) {
        handler.render_report(&mut shown, &error).unwrap();
    }
    match parse(text, path, &Everything) {
        Ok(plan) => {
            let rules = plan.rules(3000);
            Fold::new(&rules).unwrap_or_else(|error| panic!("{error}\n{text}"));
            assert_eq!(rules.targets.len(), plan.targets.len());
            let mut macs: Vec<_> = plan.targets.iter().map(|target| target.mac).collect();
            macs.sort_unstable();
            macs.dedup();
            assert_eq!(macs.len(), plan.targets.len());
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            handler.render_report(&mut shown, &error).unwrap();
            false
        }
    }
}

fn key() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "name",
        "timeout",
        "network",
        "address",
        "pool",
        "interface",
        "boot",
        "kernel",
        "initrd",
        "cmdline",
        "script",
        "files",
        "image",
        "path",
        "sector_size",
        "disk_boot",
        "nbp",
        "bootfile",
        "deadlines",
        "flash",
        "stall",
        "expect",
        "pattern",
        "stage",
        "forbid",
        "stages",
        "hint",
        "forbid_defaults",
        "skip_prompts",
        "allow",
        "fault",
        "serve",
        "enter",
        "action",
        "target",
        "firmware",
        "arch",
        "mac",
        "memory",
        "cpus",
        "nic",
        "rom",
        "qemu_args",
        "disk",
        "size",
        "board",
        "console",
        "baud",
        "power",
        "on",
        "off",
        "cycle",
        "nonsense",
    ])
}

fn value() -> impl Strategy<Value = String> {
    let words = vec![
        "bios",
        "uefi",
        "x86_64",
        "aarch64",
        "10.77.0.1/24",
        "10.0.0.1/30",
        "10.0.0.5-10.0.0.6",
        "live",
        "flash",
        "disk-boot",
        "0s",
        "30s",
        "1h",
        "64MiB",
        "512B",
        "52:54:00:00:00:01",
        "login:",
        "(",
        "",
        "index.json",
        "a\\u0000b",
        "é",
        "kernel",
        "image",
        "not-found",
        "power-off",
    ];
    let leaf = prop_oneof![
        prop::sample::select(words).prop_map(|word| format!("\"{word}\"")),
        any::<u16>().prop_map(|number| number.to_string()),
        Just("4096".to_owned()),
        Just("18446744073709551615".to_owned()),
        Just("-1".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("1.5".to_owned()),
        Just("1979-05-27".to_owned()),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|list| format!("[{}]", list.join(", "))),
            prop::collection::btree_map(key(), inner, 0..5).prop_map(|table| {
                let pairs: Vec<String> = table.iter().map(|(k, v)| format!("{k} = {v}")).collect();
                format!("{{ {} }}", pairs.join(", "))
            }),
        ]
    })
}

fn document() -> impl Strategy<Value = String> {
    prop::collection::btree_map(key(), value(), 0..10).prop_map(|table| {
        let lines: Vec<String> = table.iter().map(|(k, v)| format!("{k} = {v}\n")).collect();
        lines.concat()
    })
}

/// A key where it belongs, with a value that may be right.
fn setting() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    let table: Vec<(&str, &str, &[&str])> = vec![
        ("", "timeout", &["\"30s\"", "\"0s\"", "\"24h\""]),
        ("", "forbid_defaults", &["true", "false"]),
        ("", "skip_prompts", &["true", "false"]),
        (
            "",
            "network",
            &[
                "{}",
                "{ address = \"10.0.0.1/29\" }",
                "{ address = \"10.0.0.2/30\" }",
            ],
        ),
        (
            "",
            "deadlines",
            &["{ flash = \"1ms\" }", "{ stall = \"off\", live = \"2h\" }"],
        ),
        (
            "",
            "fault",
            &[
                "[{ serve = \"image\", action = \"corrupt\" }]",
                "[{ enter = \"disk-boot\", action = \"power-off\" }]",
            ],
        ),
        (
            "",
            "forbid",
            &[
                "[{ pattern = \"oops\" }]",
                "[{ pattern = \"a|b+\", stages = \"live\" }]",
            ],
        ),
        ("boot", "kernel", &["\"vmlinuz\"", "\"other\""]),
        (
            "boot",
            "image",
            &[
                "\"disk.img\"",
                "\"index.json\"",
                "{ path = \"disk.img\", sector_size = 4096 }",
            ],
        ),
        (
            "boot",
            "initrd",
            &["\"a\"", "[\"a\", \"b\"]", "[]", "[\"a\", \"a\"]"],
        ),
        ("boot", "disk_boot", &["true", "false"]),
        ("boot", "bootfile", &["\"x.efi\"", "\"a b\""]),
        ("expect", "pattern", &["\"login:\"", "\"(\"", "'\\bup\\b'"]),
        (
            "expect",
            "stage",
            &["\"disk-boot\"", "\"live\"", "\"flash\""],
        ),
        ("expect", "name", &["\"a\"", "\"\""]),
        ("target", "firmware", &["\"bios\"", "\"uefi\""]),
        ("target", "memory", &["\"128MiB\"", "\"1TiB\"", "\"1B\""]),
        (
            "target",
            "mac",
            &["\"52:54:00:00:00:01\"", "\"01:00:00:00:00:00\""],
        ),
        (
            "target",
            "disk",
            &[
                "\"1MiB\"",
                "{ sector_size = 512 }",
                "{ size = \"1GiB\", sector_size = 4096 }",
            ],
        ),
    ];
    let all: Vec<_> = table
        .into_iter()
        .flat_map(|(place, key, values)| values.iter().map(move |value| (place, key, *value)))
        .collect();
    prop::sample::select(all)
}

/// A good scenario with some keys replaced or added.
fn nearly_good() -> impl Strategy<Value = String> {
    prop::collection::vec(setting(), 0..4).prop_map(|settings| {
        let mut tables: [(&str, &str, BTreeMap<&str, &str>); 4] = [
            ("", "", BTreeMap::new()),
            (
                "[boot]",
                "boot",
                BTreeMap::from([("kernel", "\"vmlinuz\""), ("image", "\"disk.img\"")]),
            ),
            (
                "[[expect]]",
                "expect",
                BTreeMap::from([("pattern", "\"login:\"")]),
            ),
            (
                "[[target]]",
                "target",
                BTreeMap::from([("name", "\"one\""), ("firmware", "\"uefi\"")]),
            ),
        ];
        let mut text = String::new();
        for (header, name, pairs) in &mut tables {
            let here = settings.iter().filter(|(place, ..)| place == name);
            pairs.extend(here.map(|(_, key, value)| (*key, *value)));
            text.push_str(&format!("{header}\n"));
            for (key, value) in pairs {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_ends_in_a_plan_or_a_diagnostic(text in any::<String>()) {
        check(&text);
    }

    #[test]
    fn any_document_ends_in_a_plan_or_a_diagnostic(text in document()) {
        check(&text);
    }

}

proptest! {
    // Fewer: each plan's markers are compiled.
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_can_always_be_judged(text in nearly_good()) {
        check(&text);
    }
}

#[test]
fn the_generator_makes_good_scenarios_too() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let good = (0..60)
        .filter(|_| {
            let tree = nearly_good().new_tree(&mut runner).unwrap();
            check(&proptest::strategy::ValueTree::current(&tree))
        })
        .count();
    assert!((6..54).contains(&good), "{good} of 60 were good");
}

#[test]
fn deep_nesting_is_refused() {
    let text = format!("name = {}{}", "[".repeat(50_000), "]".repeat(50_000));
    assert!(!check(&text));
    let text = format!("a{} = 1", ".a".repeat(50_000));
    assert!(!check(&text));
}
