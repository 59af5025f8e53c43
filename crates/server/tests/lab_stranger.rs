//! What somebody on the segment cannot do who is not the machine.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;
#[path = "common/laboratory.rs"]
mod laboratory;

use bootgate_api::{BootMode, paths};
use bootgate_events::{EventKind, MacAddr};
use bootgate_server::lab::now;
use bootgate_store::{LeaseGrant, MachineChange, Store};
use bootgate_testkit::require_commands;

use laboratory::{Laboratory, MAC, OTHER, completion, order};

/// Nobody knows this one.
const UNKNOWN: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x44]);
/// The stranger's own machine, and the address that it leased.
const STRANGER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 0x55]);
const LEASED: &str = "127.0.0.55";

/// A lab that is the segment's DHCP server, in which [`STRANGER`] has a lease, [`MAC`] is to be flashed and [`OTHER`] boots its disk.
async fn lab() -> Laboratory {
    let lab = Laboratory::with(|config| config.authoritative = true).await;
    let grant = LeaseGrant {
        ip: LEASED.parse().unwrap(),
        mac: STRANGER,
        subnet: "127.0.0.0/8".to_owned(),
        ends: now().plus_seconds(3600),
        at: now(),
        client: None,
    };
    lab.store.grant_leases(&[grant]).unwrap();
    let lab = lab.restart().await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    let local = MachineChange {
        name: Some(Some("node8".to_owned())),
        boot: Some(BootMode::Local),
        ..MachineChange::default()
    };
    lab.lab.set_machine(&OTHER, &local).unwrap();
    lab
}

/// What an answer looks like to somebody who does not care which machine it is about: the status, the head without the
/// time, and the body.
async fn looks(lab: &Laboratory, mac: MacAddr, path: &str, from: &str, more: &[&str]) -> String {
    let arguments = [&["-i", "--interface", from][..], more].concat();
    let (status, text) = lab.call(path, &arguments).await;
    let text = text.replace(&mac.to_string(), "MAC");
    let text = text.replace(&mac.hyphenated(), "MAC");
    let lines: Vec<_> = text
        .lines()
        .filter(|line| !line.to_lowercase().starts_with("date:"))
        .collect();
    format!("{status} {}", lines.join("\n"))
}

#[tokio::test]
async fn known_and_unknown_machines_look_the_same_to_others() {
    require_commands!("curl");
    let lab = lab().await;
    for from in ["127.0.0.9", LEASED] {
        for more in [&[][..], &["--head"], &["-X", "POST"]] {
            let mut shapes = Vec::new();
            for mac in [UNKNOWN, MAC, OTHER] {
                let dashed = mac.hyphenated();
                for path in [
                    paths::script(&mac),
                    format!("/pxelinux.cfg/01-{dashed}"),
                    format!("/grub/grub.cfg-01-{dashed}"),
                ] {
                    let kind = path.split('/').nth(1).unwrap().to_owned();
                    shapes.push((kind, looks(&lab, mac, &path, from, more).await));
                }
            }
            for (kind, shape) in &shapes {
                let first = shapes.iter().find(|(other, _)| other == kind).unwrap();
                assert_eq!(*shape, first.1, "{kind} from {from} with {more:?}");
                assert!(!shape.starts_with('2'), "{shape}");
                assert!(
                    !shape.contains("node8") && !shape.contains("flash"),
                    "{shape}"
                );
            }
        }
    }
    // Nothing was begun, and nobody became known by it.
    assert_eq!(lab.attempts(), []);
    assert!(lab.store.machine(&UNKNOWN).unwrap().is_none());
    for path in [
        "/",
        "/boot/",
        "/boot",
        "/artifacts/",
        "/artifacts",
        "/api/v1/machines",
        "/api/v1/attempts",
        "/api/v1/status",
    ] {
        let (status, body) = lab.call(path, &[]).await;
        assert_eq!(status, "404", "{path}: {body}");
        assert!(
            !body.contains("node8") && !body.contains(&MAC.to_string()),
            "{body}"
        );
    }
}

#[tokio::test]
async fn a_right_nonce_from_elsewhere_looks_like_a_wrong_one() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab.power_on(MAC);
    lab.wait_for("dhcp-received").await;
    let nonce = lab.nonce(MAC).await;
    let wrong = bootgate_events::AttemptId::new("0".repeat(32));
    let body = serde_json::to_string(&completion()).unwrap();
    for (call, with) in [
        (
            paths::hello as fn(&bootgate_events::AttemptId) -> String,
            Some("{\"version\":\"1\",\"since_pid1_ms\":1}"),
        ),
        (paths::complete, Some(body.as_str())),
        (paths::plan, None),
    ] {
        let mut more = vec!["-i", "--interface", "127.0.0.9"];
        more.extend(with.iter().flat_map(|body| ["--json", body]));
        let mut shapes = Vec::new();
        for nonce in [&nonce, &wrong] {
            let (status, text) = lab.call(&call(nonce), &more).await;
            assert_eq!(status, "409", "{text}");
            let text = text.replace(nonce.as_str(), "NONCE");
            let lines = text.lines().filter(|line| !line.starts_with("date:"));
            shapes.push(lines.map(str::to_owned).collect::<Vec<_>>());
        }
        assert_eq!(shapes[0], shapes[1]);
    }
    // The machine itself goes on as if nothing had been.
    lab.begin_flash(&nonce).await;
    assert_eq!(
        lab.post(&paths::complete(&nonce), &completion()).await.0,
        "200"
    );
}

#[tokio::test]
async fn a_client_that_asks_for_anything_does_not_fill_the_log() {
    require_commands!("curl");
    let mut lab = lab().await;
    lab.power_on(STRANGER);
    lab.wait_for("attempt-opened").await;
    let before = lab.lab.status().unwrap().lost_events;
    // One connection, and a path for each of many requests.
    let url = lab.url(&format!("/artifacts/{}[1-3000]", "x".repeat(900)));
    let arguments = ["-s", "-o", "/dev/null", "--interface", LEASED, &url];
    common::curl_text(&arguments).await;
    let id = lab.attempts()[0].id.clone();
    // What is asked for next comes behind all of them.
    let end = std::time::Instant::now() + common::PATIENCE;
    loop {
        let lost = lab.lab.status().unwrap().lost_events - before;
        let events = lab.store.events(&id, 0, 10_000).unwrap();
        let refusals = events
            .iter()
            .filter(|event| matches!(event.kind(), Some(EventKind::RequestRefused { .. })))
            .count();
        assert!(refusals <= 256, "{refusals} refusals are logged");
        if refusals == 256 && lost > 0 {
            break;
        }
        assert!(
            std::time::Instant::now() < end,
            "{refusals} logged, {lost} lost"
        );
        tokio::task::yield_now().await;
    }
}
