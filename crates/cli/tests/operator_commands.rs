//! What operators are told: every command, over a state that no server has open and over one that a server has.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod operator;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use bootgate_api::control::SOCKET;
use bootgate_api::{DiskFacts, Inventory, LeaseState, NicFacts, Nonce};
use bootgate_events::{Cause, Evidence, MacAddr, Stage, StageSpan, Verdict};
use bootgate_store::sqlite::Sqlite;
use bootgate_store::{Discovery, LeaseEnd, LeaseGrant, MachineChange, NewAttempt, Store};

use operator::{State, ago, expected, flash, in_future, redacted, verdict};

const NODE1: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 1]);
const NODE2: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 2]);
const STRANGER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x99]);

/// Two machines that people know, one that came by itself, their leases and attempts.
fn fill(folder: &Path) {
    let store = Sqlite::open(folder).unwrap();
    let change = MachineChange {
        name: Some(Some("node1".to_owned())),
        labels: [("rack", "3"), ("row", "a")]
            .map(|(key, value)| (key.to_owned(), Some(value.to_owned())))
            .into(),
        ..MachineChange::default()
    };
    store.set_machine(&NODE1, &change, ago(9000)).unwrap();
    inventory(&store);
    failed_flash(&store);
    store
        .discover_machine(&Discovery {
            mac: STRANGER,
            boot: bootgate_api::BootMode::Local,
            architecture: Some(7),
            at: ago(180),
            limit: 10,
        })
        .unwrap();
    let lease = |last: u8, mac| LeaseGrant {
        ip: [10, 0, 0, last].into(),
        mac,
        subnet: "10.0.0.0/24".to_owned(),
        ends: in_future(1830),
        at: ago(180),
        client: None,
    };
    let leases = [lease(11, NODE1), lease(12, NODE2), lease(13, STRANGER)];
    store.grant_leases(&leases).unwrap();
    let end = LeaseEnd {
        ip: [10, 0, 0, 13].into(),
        mac: STRANGER,
        state: LeaseState::Quarantined,
        ends: in_future(600 + 30),
        at: ago(60 * 3),
    };
    store.end_lease(&end).unwrap();
}

/// The first machine tells what it is made of, and passes.
fn inventory(store: &Sqlite) {
    let boot = bootgate_api::BootMode::Inventory;
    let change = MachineChange {
        boot: Some(boot.clone()),
        ..MachineChange::default()
    };
    store.set_machine(&NODE1, &change, ago(8000)).unwrap();
    let new = NewAttempt {
        mac: NODE1,
        boot,
        local: false,
        expected: None,
        at: ago(7500),
    };
    let attempt = store.open_attempt(&new).unwrap();
    let nonce = Nonce::from_bytes([1; 16]);
    let peer = [10, 0, 0, 11].into();
    store.issue_nonce(&attempt.id, &nonce, peer).unwrap();
    let told = Inventory {
        system: [("product", "PowerEdge R640"), ("serial", "7XK2")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        cpu: "Intel Xeon Gold 6130".to_owned(),
        cpus: 32,
        memory: 96 << 30,
        firmware: "uefi".to_owned(),
        disks: vec![DiskFacts {
            path: "/dev/sda".to_owned(),
            size: 480 << 30,
            sector_size: 512,
            serial: Some("S4EWNX0".to_owned()),
            model: Some("SSDSC2KG48".to_owned()),
        }],
        nics: vec![NicFacts {
            name: "eth0".to_owned(),
            mac: NODE1,
            driver: Some("i40e".to_owned()),
        }],
        undriven: Vec::new(),
    };
    store.record_inventory(&nonce, &told).unwrap();
    let stages = vec![StageSpan {
        stage: Stage::Dhcp,
        start_ms: 0,
        end_ms: 1200,
    }];
    let passed = verdict("node1", Verdict::Passed, stages);
    store
        .finish_attempt(&attempt.id, &passed, ago(7461))
        .unwrap();
}

/// The second machine's flash broke off.
fn failed_flash(store: &Sqlite) {
    store.arm_flash(&NODE2, &flash(), false, ago(700)).unwrap();
    let new = NewAttempt {
        mac: NODE2,
        boot: bootgate_api::BootMode::FlashOnce(flash()),
        local: false,
        expected: Some(expected()),
        at: ago(600),
    };
    let attempt = store.open_attempt(&new).unwrap();
    let nonce = Nonce::from_bytes([2; 16]);
    let peer = [10, 0, 0, 12].into();
    store.issue_nonce(&attempt.id, &nonce, peer).unwrap();
    store.begin_flash(&nonce).unwrap();
    let span = |stage, start_ms, end_ms| StageSpan {
        stage,
        start_ms,
        end_ms,
    };
    let stages = vec![
        span(Stage::Dhcp, 0, 900),
        span(Stage::Live, 900, 9_000),
        span(Stage::Flash, 9_000, 95_000),
    ];
    let cause = Cause::AgentFailed {
        error: "write `/dev/sda`: input/output error".to_owned(),
    };
    let evidence = vec![Evidence {
        seq: 40,
        text: "agent gave up: write `/dev/sda`: input/output error".to_owned(),
    }];
    let failed = Verdict::Failed {
        stage: Stage::Flash,
        cause,
        evidence,
    };
    let failed = verdict("node2", failed, stages);
    store
        .finish_attempt(&attempt.id, &failed, ago(505))
        .unwrap();
}

/// Every command that looks, and what it says.
const LOOKS: &[&[&str]] = &[
    &["machine", "list"],
    &["machine", "list", "--mode", "flash-once"],
    &["machine", "list", "--label", "rack=4"],
    &["machine", "show", "node1"],
    &["machine", "show", "5254.0000.0002"],
    &["machine", "show", "nobody"],
    &["machine", "list", "--format", "json"],
    &["attempt", "list"],
    &["attempt", "list", "--open"],
    &["attempt", "show", "a2"],
    &["attempt", "show", "node1"],
    &["attempt", "show", "a99"],
    &["attempt", "list", "--limit", "1", "--format", "json"],
    &["lease", "list"],
    &["lease", "list", "--machine", "node1", "--format", "json"],
    &["explain", "52-54-00-00-00-02"],
    &["explain", "52:54:00:00:00:77", "--as", "arch=7,class=iPXE"],
    &["explain", "node1", "--as", "arch=seven"],
    &["status"],
    &["status", "--format", "json"],
];

/// Every command that changes something, in an order that makes sense.
const CHANGES: &[&[&str]] = &[
    &["machine", "set", "52:54:00:00:00:03", "--name", "node3"],
    &[
        "machine",
        "set",
        "node3",
        "--mode",
        "flash-always",
        "--image",
        "debian-12",
        "--disk",
        "size=100GiB-2TiB",
        "--after",
        "poweroff",
        "--label",
        "rack=4",
    ],
    &[
        "machine",
        "set",
        "node3",
        "--mode",
        "install",
        "--installer",
        "debian-12",
        "--local-boot",
        "drive:0x81",
    ],
    &[
        "machine", "set", "node3", "--mode", "script", "--script", "menu", "--label", "rack",
    ],
    &["machine", "set", "node3", "--mode", "inventory"],
    &["machine", "show", "node3"],
    &["machine", "set", "node3", "--mode", "interactive"],
    &["machine", "set", "node3", "--mode", "ramboot"],
    &[
        "machine",
        "set",
        "node3",
        "--mode",
        "flash-once",
        "--image",
        "debian-12",
    ],
    &[
        "machine",
        "set",
        "node3",
        "--mode",
        "flash-once",
        "--image",
        "debian-12",
        "--disk",
        "size=100GB",
    ],
    &["machine", "set", "node3", "--disk", "path=/dev/sda"],
    &["machine", "set", "node3"],
    &["machine", "set", "node3", "--name", "node1"],
    &["machine", "set", "node3", "--local-boot", "floppy"],
    &["machine", "set", "52:54:00:00:00:02", "--mode", "local"],
    &["machine", "retry", "52:54:00:00:00:02"],
    &[
        "machine",
        "set",
        "52:54:00:00:00:02",
        "--mode",
        "local",
        "--force",
    ],
    &["machine", "retry", "52:54:00:00:00:02"],
    &[
        "machine",
        "arm",
        "node1",
        "--image",
        "debian-12",
        "--disk",
        "serial=S4EWNX0",
        "--format",
        "json",
    ],
    &["machine", "arm", "node1", "--image", "debian-12"],
    &["machine", "forget", "node3"],
    &["machine", "forget", "52:54:00:00:00:03"],
    &["lease", "forget", "10.0.0.13"],
    &["lease", "forget", "10.0.0.13"],
    &["lease", "forget", "10.0.0"],
];

fn transcript(state: &State, commands: &[&[&str]]) -> String {
    commands
        .iter()
        .map(|command| state.told(command))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn looking_changes_nothing_and_says_the_same_with_and_without_a_server() {
    let state = State::new(fill);
    let alone = transcript(&state, LOOKS);
    insta::assert_snapshot!("looks", alone);
    assert_eq!(
        transcript(&state, LOOKS),
        alone,
        "looking changed something"
    );
    let served = state.serve(|control| control);
    assert_eq!(transcript(&state, LOOKS), alone);
    served.stop();
    assert_eq!(transcript(&state, LOOKS), alone);
    assert!(
        alone.lines().all(|line| line.starts_with('{')
            || line.starts_with('$')
            || line.chars().count() <= 120)
    );
}

#[test]
fn changes_are_told_and_kept_with_and_without_a_server() {
    let state = State::new(fill);
    let alone = transcript(&state, CHANGES);
    insta::assert_snapshot!("changes", alone);
    let kept = state.told(&["machine", "list"]);

    let other = State::new(fill);
    let served = other.serve(|control| control);
    assert_eq!(transcript(&other, CHANGES), alone);
    served.stop();
    assert_eq!(other.told(&["machine", "list"]), kept);
}

/// The examples of the operators' page, in their order.
#[test]
fn the_page_shows_what_the_program_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operating.md");
    let page = std::fs::read_to_string(page).unwrap();
    let state = State::new(fill);
    let mut examples = 0;
    for block in page.split("```console\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block ends");
        for example in block.split("$ bootgate ").skip(1) {
            let (command, output) = example.split_once('\n').expect("a line");
            let arguments: Vec<&str> = command.split(' ').collect();
            let (_, told) = state.run(&arguments);
            assert_eq!(redacted(&told), redacted(output), "of `bootgate {command}`");
            examples += 1;
        }
    }
    assert!(examples >= 10, "{examples} examples");
}

#[test]
fn a_copy_goes_there_and_back() {
    let state = State::new(fill);
    let copy = state.folder().with_file_name("copy.db");
    let before = state.told(&["machine", "list"]);
    let served = state.serve(|control| control);
    let (code, told) = state.run(&["state", "backup", copy.to_str().unwrap()]);
    assert_eq!((code, told.contains("copy.db")), (0, true), "{told}");
    let mode = std::fs::metadata(&copy).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "a copy holds secrets too");
    let (code, told) = state.run(&["state", "backup", copy.to_str().unwrap()]);
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("is there already"), "{told}");
    assert!(told.contains("hint: name a file"), "{told}");

    // Not under a server's feet.
    assert_eq!(state.run(&["machine", "forget", "node1"]).0, 0);
    let (code, told) = state.run(&["state", "restore", copy.to_str().unwrap()]);
    assert_eq!(code, 3, "{told}");
    assert!(
        told.contains("the server runs") && told.contains("stop it"),
        "{told}"
    );
    served.stop();
    assert_ne!(state.told(&["machine", "list"]), before);
    let (code, told) = state.run(&["state", "restore", copy.to_str().unwrap()]);
    assert_eq!(code, 0, "{told}");
    assert_eq!(state.told(&["machine", "list"]), before);
    let again = [
        "state",
        "restore",
        copy.to_str().unwrap(),
        "--format",
        "json",
    ];
    let (code, told) = state.run(&again);
    assert_eq!((code, told.lines().count()), (0, 1), "{told}");
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["from"].as_str(), copy.to_str());
    let (code, told) = state.run(&["state", "restore", "/etc/hostname"]);
    assert_eq!(code, 3, "{told}");
    assert_eq!(state.told(&["machine", "list"]), before);
}

#[test]
fn a_state_that_is_not_there_or_in_use_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::at(folder.path().join("none"));
    for command in [
        &["machine", "list"][..],
        &["status"],
        &["lease", "forget", "10.0.0.1"],
    ] {
        let (code, told) = state.run(command);
        assert_eq!(code, 3, "{told}");
        assert!(
            told.contains("nothing is stored there") && told.contains("BOOTGATE_STATE"),
            "{told}"
        );
        assert!(!state.folder().exists(), "looking made something");
    }
    // Machines can be told before the first start of a server.
    let (code, told) = state.run(&["machine", "set", "52:54:00:00:00:01", "--name", "node1"]);
    assert_eq!(code, 0, "{told}");
    let mode = std::fs::metadata(state.folder())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);

    // Somebody has it open, and has no door: a server that starts or stops.
    let open = Sqlite::open(state.folder()).unwrap();
    let (code, told) = state.run(&["machine", "list"]);
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("needs a moment"), "{told}");
    drop(open);
    // What a killed server leaves behind is no server.
    drop(std::os::unix::net::UnixListener::bind(state.folder().join(SOCKET)).unwrap());
    assert_eq!(state.run(&["machine", "list"]).0, 0);
}

#[test]
fn the_environment_names_the_state_too() {
    let state = State::new(fill);
    let told = std::process::Command::new(env!("CARGO_BIN_EXE_bootgate"))
        .args(["machine", "list"])
        .env("BOOTGATE_STATE", state.folder())
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&told.stdout).contains("node1"));
}

#[test]
fn wake_needs_an_interface_where_no_server_runs() {
    let state = State::new(fill);
    let (code, told) = state.run(&["machine", "wake", "node1"]);
    assert_eq!(code, 2, "{told}");
    assert!(told.contains("--interface"), "{told}");
    let (code, told) = state.run(&["machine", "wake", "node1", "--interface", "none0"]);
    assert_eq!(code, 3, "{told}");
    assert!(told.contains("none0"), "{told}");
    let served = state.serve(|control| control.with_waker(Arc::new(|_, _| Ok(()))));
    let (code, told) = state.run(&["machine", "wake", "node1", "--interface", "eth1"]);
    assert_eq!(
        (code, told.as_str()),
        (0, "woke 52:54:00:00:00:01 on eth1\n")
    );
    served.stop();
}

#[test]
fn what_machines_say_does_not_reach_the_terminal_raw() {
    let state = State::new(|folder| {
        let store = Sqlite::open(folder).unwrap();
        let change = MachineChange {
            labels: [("evil".to_owned(), Some("\u{1b}[2J\u{202e}x".to_owned()))].into(),
            ..MachineChange::default()
        };
        store.set_machine(&NODE1, &change, ago(10)).unwrap();
    });
    for command in [
        &["machine", "list"][..],
        &["machine", "show", "52:54:00:00:00:01"],
    ] {
        let (code, told) = state.run(command);
        assert_eq!(code, 0);
        assert!(
            !told.contains('\u{1b}') && !told.contains('\u{202e}'),
            "{told:?}"
        );
        assert!(told.contains("evil="), "{told}");
    }
}
