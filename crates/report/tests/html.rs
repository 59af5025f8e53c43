//! The HTML report as a browser gets it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper that fails fails its test"
)]

mod common;

use bootgate_events::{
    ArtifactRole, DiskProofKind, Event, EventBody, EventKind, Protocol, Stage, TargetName, Verdict,
};

fn page(name: &str) -> String {
    let folder = common::with_consoles(name);
    common::report(folder.path(), &common::events(name), "report.html")
}

fn image_read(id: u64) -> EventKind {
    EventKind::TransferStarted {
        id,
        protocol: Protocol::Http,
        role: ArtifactRole::Image,
        path: "/artifacts/client/big.zst".to_owned(),
        peer: "10.77.0.10".parse().expect("an address"),
        size: Some(1 << 20),
        detail: format!("bytes {}-{}", id << 20, ((id + 1) << 20) - 1),
    }
}

#[test]
fn it_tells_stages_markers_and_proof() {
    let page = page("passed");
    for stage in Stage::ALL {
        assert!(page.contains(stage.as_str()), "no stage `{stage}`");
    }
    for text in [
        "The disk is equal to the image",
        "bytes 0 to 67108864 (64.0 MiB)",
        "compared by</dt><dd>the host",
        "bootgate-image: bootgate-demo-1",
        "power on",
        "iPXE initialising devices...ok",
    ] {
        assert!(page.contains(text), "no `{text}`");
    }
}

#[test]
fn a_failure_is_told_once_with_its_hint_and_links_to_events() {
    let page = page("failed");
    let why = page
        .split("<div class=\"why failed\">")
        .nth(1)
        .expect("a reason");
    let why = why.split("</div>").next().expect("its end");
    assert_eq!(why.matches("uefi-load-failed").count(), 1, "{why}");
    assert!(why.contains("<p class=\"hint\">the firmware finds no boot program"));
    assert!(why.contains("(4 times)"), "{why}");
    for link in why.split("href=\"#").skip(1) {
        let id = link.split('"').next().expect("an end");
        assert!(
            page.contains(&format!("id=\"{id}\"")),
            "a link to nothing: {id}"
        );
    }
    assert!(page.contains("not seen"), "the missing marker");
}

#[test]
fn a_forbidden_line_is_harmless_before_its_stage() {
    let page = page("failed");
    let lines = page.matches("BdsDxe: failed to load Boot0001").count();
    assert!(lines > 2, "{lines}");
    assert_eq!(page.matches("class=\"c-bad\"").count(), 1);
}

#[test]
fn it_needs_no_network() {
    for name in common::RUNS {
        let page = page(name);
        assert!(page.starts_with("<!doctype html>\n"));
        for outside in [
            "src=",
            "href=\"http",
            "href=\"//",
            "@import",
            "url(",
            "<link",
            "fetch(",
        ] {
            assert!(
                !page.contains(outside),
                "`{outside}` in the report of `{name}`"
            );
        }
        assert!(page.contains("default-src 'none'"));
    }
}

#[test]
fn nothing_that_a_client_says_becomes_markup() {
    const EVIL: &str = "</script><script>alert(1)</script><img src=x onerror='a()'>\"";
    let mut events = common::events("failed");
    for event in &mut events {
        if let EventBody::Known(EventKind::RunStarted { scenario, host, .. }) = &mut event.body {
            scenario.push_str(EVIL);
            host.accel_reason.push_str(EVIL);
        }
    }
    let mut read = image_read(900);
    if let EventKind::TransferStarted { path, detail, .. } = &mut read {
        path.push_str(EVIL);
        detail.push_str(EVIL);
    }
    common::insert(&mut events, read);
    let line = EVIL.to_owned();
    common::insert(&mut events, EventKind::QemuStderr { line: line.clone() });
    let (name, by) = (line.clone(), line.clone());
    common::insert(
        &mut events,
        EventKind::MarkerMatched {
            name,
            offset: 0,
            line,
        },
    );
    common::insert(
        &mut events,
        EventKind::StageEntered {
            stage: Stage::DiskBoot,
            by,
        },
    );
    let folder = common::with_consoles("failed");
    std::fs::write(folder.path().join("console/client.log"), EVIL).expect("a console");
    let page = common::report(folder.path(), &events, "report.html");
    assert!(!page.contains("<img"), "markup from outside");
    assert!(!page.contains("onerror='"), "a quote from outside");
    assert_eq!(page.matches("<script").count(), 1);
    assert_eq!(page.matches("</script").count(), 1);
    assert!(page.contains("&lt;img src=x"), "the text itself is gone");
}

#[test]
fn control_sequences_do_not_reach_the_page() {
    let folder = common::with_consoles("failed");
    let console =
        b"\x1b[2J\x1b[1;31mred\x1b[0m a\x08b\r\n\x1b]0;title\x07kept\nold\rnew\r\n\xff\xfe\n";
    std::fs::write(folder.path().join("console/client.log"), console).expect("a console");
    let page = common::report(folder.path(), &common::events("failed"), "report.html");
    for line in [
        "<span>red b</span>",
        "<span>kept</span>",
        "<span>new</span>",
        "<span>\u{fffd}\u{fffd}</span>",
    ] {
        assert!(page.contains(line), "no `{line}`");
    }
    assert!(!page.contains('\u{1b}') && !page.contains('\u{8}'));
}

#[test]
fn a_missing_console_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = common::report(folder.path(), &common::events("failed"), "report.html");
    assert!(page.contains("console/client.log is missing"));
}

#[test]
fn a_huge_console_is_cut_in_the_middle() {
    let folder = common::with_consoles("failed");
    let mut console = b"the first line\n".to_vec();
    for index in 0..400_000 {
        console.extend_from_slice(format!("{index}\n").as_bytes());
    }
    console.extend_from_slice(&vec![b'x'; 100_000]);
    console.extend_from_slice(b"\nthe last line\n");
    std::fs::write(folder.path().join("console/client.log"), console).expect("a console");
    let page = common::report(folder.path(), &common::events("failed"), "report.html");
    assert!(page.contains("the first line") && page.contains("the last line"));
    assert!(page.contains("the middle is left out"));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn many_reads_of_one_image_are_one_row() {
    let mut events = common::events("failed");
    let last = events.pop().expect("events");
    for id in 1000..6000 {
        for kind in [
            image_read(id),
            EventKind::TransferCompleted {
                id,
                role: ArtifactRole::Image,
                path: "/artifacts/client/big.zst".to_owned(),
                bytes: 1 << 20,
            },
        ] {
            let (mut event, body) = (last.clone(), EventBody::Known(kind));
            (event.target, event.body) = (Some(TargetName::from("client")), body);
            event.seq = events.len() as u64;
            events.push(event);
        }
    }
    events.push(last);
    let folder = common::with_consoles("failed");
    let page = common::report(folder.path(), &events, "report.html");
    assert!(page.contains(
        "get &#x2f;artifacts&#x2f;client&#x2f;big.zst in 5000 requests, 4.9 GiB, complete"
    ));
    assert!(page.contains("and 4950 more"));
    assert!(page.len() < 300_000, "{} bytes", page.len());
}

#[test]
fn a_long_run_stays_bounded() {
    let mut events = common::events("failed");
    let template = events.last().expect("events").clone();
    for index in 0..20_000u64 {
        let reason = format!("no lease for client {index}");
        let service = "dhcp".to_owned();
        events.push(Event {
            seq: events.len() as u64,
            mono_us: template.mono_us + index * 10_000,
            target: Some(TargetName::from("client")),
            body: EventBody::Known(EventKind::PacketDropped { service, reason }),
            ..template.clone()
        });
    }
    let folder = common::with_consoles("failed");
    let page = common::report(folder.path(), &events, "report.html");
    assert!(page.contains("more are left out here; events.jsonl has all"));
    assert!(page.contains("no lease for client 19999"));
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
}

#[test]
fn a_differing_disk_is_told() {
    let mut events = common::events("failed");
    let compared = EventKind::DiskCompared {
        proof: DiskProofKind::Host,
        equal: false,
        first_difference: Some(4096),
        ranges: Vec::new(),
        image_sha256: "aa".to_owned(),
        disk_sha256: "bb".to_owned(),
    };
    common::insert(&mut events, compared);
    let folder = common::with_consoles("failed");
    let page = common::report(folder.path(), &events, "report.html");
    assert!(page.contains("The disk differs from the image, first at byte 4096"));
    assert!(!page.contains("The disk is equal"));
}

#[test]
fn a_target_name_leads_nowhere_else() {
    let mut events = common::events("failed");
    let name = TargetName::from("../secret");
    for event in &mut events {
        if event.target.is_some() {
            event.target = Some(name.clone());
        }
        if let EventBody::Known(EventKind::RunStarted { targets, .. }) = &mut event.body {
            targets[0].name = name.clone();
        }
    }
    let folder = common::with_consoles("failed");
    std::fs::write(folder.path().join("secret.log"), "the secret").expect("a file");
    let page = common::report(folder.path(), &events, "report.html");
    assert!(!page.contains("the secret"));
}

#[test]
fn a_log_that_ends_early_has_a_page_too() {
    let mut events = common::events("passed");
    events.truncate(60);
    let folder = common::with_consoles("passed");
    let page = common::report(folder.path(), &events, "report.html");
    assert!(page.contains("the log ends before a verdict"));
    let verdict = EventKind::VerdictReached {
        verdict: Verdict::Passed,
    };
    common::insert(&mut events, verdict);
    let junit = common::report(folder.path(), &events, "junit.xml");
    assert!(
        junit.contains("errors=\"1\""),
        "the other target cannot have passed: {junit}"
    );
}
