//! The HTTP server against curl, and against raw connections.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bootgate_events::{ArtifactRole, EventKind, FaultAction};
use bootgate_testkit::require_commands;
use common::{Bench, PATIENCE, curl, curl_text, noise};

/// The value of a header in what curl printed of a response's head.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value.trim())
    })
}

#[tokio::test]
async fn a_file_arrives_whole_and_the_events_say_so() {
    require_commands!("curl");
    let bench = Bench::start().await;
    let content = noise(3_000_001, 1);
    bench.give("vmlinuz", ArtifactRole::Kernel, &content);
    let got = curl(&[&bench.url("/artifacts/vmlinuz")]).await;
    assert!(got == content, "curl got {} bytes", got.len());
    assert_eq!(bench.facts.completed("/artifacts/vmlinuz").await, 3_000_001);
    let (role, size) = bench
        .facts
        .wait("start", |fact| match &fact.kind {
            EventKind::TransferStarted { role, size, .. } => Some((*role, *size)),
            _ => None,
        })
        .await;
    assert_eq!((role, size), (ArtifactRole::Kernel, Some(3_000_001)));
    assert_eq!(bench.facts.count("transfer-aborted"), 0);
}

#[tokio::test]
async fn head_tells_length_type_and_tag_and_is_no_transfer() {
    require_commands!("curl");
    let bench = Bench::start().await;
    bench.give("boot/snponly.efi", ArtifactRole::Nbp, &noise(4321, 2));
    let head = curl_text(&["-I", &bench.url("/artifacts/boot/snponly.efi")]).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(header(&head, "content-length"), Some("4321"));
    assert_eq!(header(&head, "content-type"), Some("application/efi"));
    assert_eq!(header(&head, "accept-ranges"), Some("bytes"));
    assert!(
        header(&head, "etag").is_some_and(|tag| tag.len() > 4),
        "{head}"
    );
    assert!(
        head.lines().all(|line| !line.trim_end().ends_with(':')),
        "no empty header: {head}"
    );
    assert_eq!(bench.facts.count("transfer-started"), 0);
}

#[tokio::test]
async fn ranges_are_honoured_and_impossible_ones_refused() {
    require_commands!("curl");
    let bench = Bench::start().await;
    let content = noise(1000, 3);
    bench.give("image", ArtifactRole::Image, &content);
    let url = bench.url("/artifacts/image");
    for (range, part) in [
        ("0-0", 0..1),
        ("100-299", 100..300),
        ("990-", 990..1000),
        ("-10", 990..1000),
        ("900-5000", 900..1000),
    ] {
        assert_eq!(curl(&["-r", range, &url]).await, content[part], "{range}");
    }
    let head = curl_text(&["-r", "100-299", "-o", "/dev/null", "-D", "-", &url]).await;
    assert!(head.starts_with("HTTP/1.1 206"), "{head}");
    assert_eq!(header(&head, "content-range"), Some("bytes 100-299/1000"));
    assert_eq!(header(&head, "content-length"), Some("200"));
    let head = curl_text(&["-r", "1000-", "-o", "/dev/null", "-D", "-", &url]).await;
    assert!(head.starts_with("HTTP/1.1 416"), "{head}");
    assert_eq!(header(&head, "content-range"), Some("bytes */1000"));
    let code = bench
        .facts
        .wait("refusal", |fact| match &fact.kind {
            EventKind::RequestRefused { code, role, .. } => Some((*code, *role)),
            _ => None,
        })
        .await;
    assert_eq!(code, (416, ArtifactRole::Image));
    let bytes: Vec<u64> = bench
        .facts
        .kinds()
        .iter()
        .filter_map(|kind| match kind {
            EventKind::TransferCompleted { bytes, .. } => Some(*bytes),
            _ => None,
        })
        .collect();
    assert_eq!(bytes, [1, 200, 10, 10, 100, 200]);
}

#[tokio::test]
async fn a_known_tag_is_answered_without_the_file_until_it_changes() {
    require_commands!("curl");
    let bench = Bench::start().await;
    let path = bench.give("initrd", ArtifactRole::Initrd, b"one");
    let url = bench.url("/artifacts/initrd");
    let head = curl_text(&["-I", &url]).await;
    let condition = format!("If-None-Match: {}", header(&head, "etag").expect("a tag"));
    let head = curl_text(&["-D", "-", "-o", "/dev/null", "-H", &condition, &url]).await;
    assert!(head.starts_with("HTTP/1.1 304"), "{head}");
    assert_eq!(bench.facts.count("transfer-started"), 0);
    std::fs::write(path, b"two!").unwrap();
    assert_eq!(curl(&["-H", &condition, &url]).await, b"two!");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    require_commands!("curl");
    let bench = Bench::start().await;
    bench.give("a", ArtifactRole::Other, b"first");
    bench.give("empty", ArtifactRole::Other, b"");
    let (a, empty, none) = (
        bench.url("/artifacts/a"),
        bench.url("/artifacts/empty"),
        bench.url("/none"),
    );
    let format = "%{http_code} %{num_connects}\\n";
    let text = curl_text(&[
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-o",
        "/dev/null",
        "-w",
        format,
        &a,
        &empty,
        &none,
        &a,
    ])
    .await;
    assert_eq!(text, "200 1\n200 0\n404 0\n200 0\n");
    assert_eq!(bench.facts.completed("/artifacts/empty").await, 0);
    assert_eq!(bench.facts.count("transfer-completed"), 3);
}

#[tokio::test]
async fn pipelined_requests_are_told_apart() {
    let bench = Bench::start().await;
    bench.give("a", ArtifactRole::Other, &[b'a'; 100]);
    bench.give("b", ArtifactRole::Other, &[b'b'; 70_000]);
    let address = bench.http();
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let last = "GET /artifacts/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let all = [
            &get("/artifacts/a"),
            &get("/artifacts/b"),
            &get("/missing"),
            last,
        ]
        .concat();
        stream.write_all(all.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    });
    let answer = client.await.unwrap();
    assert_eq!(
        answer.iter().filter(|byte| **byte == b'b').count() / 70_000,
        1
    );
    bench.facts.wait_count("transfer-completed", 3).await;
    let bytes: Vec<u64> = bench
        .facts
        .kinds()
        .iter()
        .filter_map(|kind| match kind {
            EventKind::TransferCompleted { bytes, .. } => Some(*bytes),
            _ => None,
        })
        .collect();
    assert_eq!(bytes, [100, 70_000, 100]);
}

#[tokio::test]
async fn a_connection_closed_early_is_an_abort_with_what_was_sent() {
    let bench = Bench::start().await;
    bench.give("image", ArtifactRole::Image, &noise(40 << 20, 4));
    let address = bench.http();
    tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /artifacts/image HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut some = vec![0; 1 << 20];
        stream.read_exact(&mut some).unwrap();
    })
    .await
    .unwrap();
    let (bytes, reason, benign) = bench.facts.aborted("/artifacts/image").await;
    assert!(
        bytes >= (1 << 20) - 1000,
        "the client read a mebibyte, told were {bytes}"
    );
    assert!(bytes < 40 << 20, "{bytes}");
    assert!(!benign && !reason.is_empty(), "{reason}");
    assert_eq!(bench.facts.count("transfer-completed"), 0);
}

/// Largest resident memory of this process so far, in bytes.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

#[tokio::test]
async fn a_large_file_is_streamed_in_little_memory() {
    require_commands!("curl");
    let bench = Bench::start().await;
    let path = bench.folder.path().join("large");
    File::create(&path).unwrap().set_len(300 << 20).unwrap();
    bench.give_path("large", ArtifactRole::Image, &path);
    let before = peak_memory();
    let url = bench.url("/artifacts/large");
    let size = curl_text(&["-o", "/dev/null", "-w", "%{size_download}", &url]).await;
    assert_eq!(size, (300u64 << 20).to_string());
    assert_eq!(bench.facts.completed("large").await, 300 << 20);
    let grown = peak_memory() - before;
    // Other tests of this process may run beside it; their largest file has 40 MiB.
    assert!(grown < 150 << 20, "memory grew by {grown} bytes");
    let told = bench.facts.count("transfer-progressed");
    assert!(
        told <= 5 * 50 + 1,
        "at most five progress events a second, not {told}"
    );
}

#[tokio::test]
async fn what_is_not_named_cannot_be_had() {
    require_commands!("curl");
    let bench = Bench::start().await;
    bench.give("a", ArtifactRole::Other, b"a");
    for path in [
        "/artifacts/b",
        "/artifacts/../etc/passwd",
        "/artifacts/%2e%2e/%2e%2e/etc/passwd",
        "/artifacts//etc/passwd",
        "/artifacts/a/",
        "/etc/passwd",
        "/",
    ] {
        let status = curl_text(&[
            "--path-as-is",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            &bench.url(path),
        ])
        .await;
        assert_eq!(status, "404", "{path}");
    }
    let url = bench.url("/artifacts/a");
    let status = curl_text(&[
        "-X",
        "DELETE",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        &url,
    ])
    .await;
    assert_eq!(status, "405");
    bench.give_path("folder", ArtifactRole::Other, bench.folder.path());
    let url = bench.url("/artifacts/folder");
    let status = curl_text(&["-o", "/dev/null", "-w", "%{http_code}", &url]).await;
    assert_eq!(status, "404", "a folder is no file");
}

#[tokio::test]
async fn malformed_requests_are_counted_and_harm_nobody() {
    require_commands!("curl");
    let bench = Bench::start().await;
    bench.give("a", ArtifactRole::Other, b"still here");
    let address = bench.http();
    tokio::task::spawn_blocking(move || {
        for junk in [
            &b"\0\0\0\0\r\n\r\n"[..],
            b"GET\r\n\r\n",
            b"\x16\x03\x01\x02\x00junk\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(junk).unwrap();
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
        }
    })
    .await
    .unwrap();
    bench.facts.wait_count("packet-dropped", 4).await;
    assert_eq!(bench.server.dropped().get("http"), Some(&4));
    assert_eq!(curl(&[&bench.url("/artifacts/a")]).await, b"still here");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let mut config = common::config();
    config.limits.http_idle = Duration::from_millis(200);
    let bench = Bench::with(config).await;
    bench.give("a", ArtifactRole::Other, b"a");
    let address = bench.http();
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /artifacts/a HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).map(|_| answer)
    });
    let answer = answer.await.unwrap().expect("closed by the server");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

/// A machine whose power goes off while it reports must not hold its connection for ever.
#[tokio::test]
async fn a_body_that_does_not_come_ends_its_connection() {
    let mut config = common::config();
    config.limits.http_idle = Duration::from_millis(200);
    let bench = Bench::with(config).await;
    let address = bench.http();
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(
            stream,
            "POST /api/v1/attempts/x/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    let answer = answer.await.unwrap().expect("closed by the server");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn connections_of_one_client_are_bounded() {
    let mut config = common::config();
    config.limits.http_connections_per_client = 2;
    let bench = Bench::with(config).await;
    bench.give("a", ArtifactRole::Other, b"a");
    let address = bench.http();
    tokio::task::spawn_blocking(move || {
        let open: Vec<TcpStream> = (0..2)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        let mut third = TcpStream::connect(address).unwrap();
        third.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let end = third.read_to_end(&mut answer);
        assert!(end.is_err() || answer.is_empty(), "the third is closed");
        drop(open);
    })
    .await
    .unwrap();
    bench.facts.wait_count("packet-dropped", 1).await;
}

#[tokio::test]
async fn faults_reach_the_machine_they_are_for() {
    require_commands!("curl");
    let bench = Bench::start().await;
    bench.lease().await;
    let content = noise(10_001, 5);
    bench.give("kernel", ArtifactRole::Kernel, &content);
    bench.give("image", ArtifactRole::Image, &content);
    let rule = |role, action| bootgate_events::FaultRule {
        on: bootgate_events::FaultTrigger::Serve(role),
        action,
    };
    let machine = bootgate_server::MachineConfig {
        mac: common::MAC,
        boot: bootgate_server::MachineBoot::Disk,
        nbp: bootgate_server::Bootfiles::default(),
        loader: None,
        faults: vec![
            rule(ArtifactRole::Kernel, FaultAction::NotFound),
            rule(ArtifactRole::Image, FaultAction::Corrupt),
        ],
    };
    bench.server.machines().arm(machine, "abc".into());
    let from = common::LEASED.to_string();
    let kernel = bench.url("/artifacts/kernel");
    let status = curl_text(&[
        "--interface",
        &from,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        &kernel,
    ])
    .await;
    assert_eq!(status, "404");
    assert!(
        curl(&[&kernel]).await == content,
        "others are not concerned"
    );

    let image = bench.url("/artifacts/image");
    let got = curl(&["--interface", &from, &image]).await;
    let wrong: Vec<usize> = (0..content.len())
        .filter(|at| got[*at] != content[*at])
        .collect();
    assert_eq!(wrong, [5000]);
    let part = curl(&["--interface", &from, "-r", "5000-5000", &image]).await;
    assert_eq!(part, [content[5000] ^ 1], "the same bit in a range");
    let part = curl(&["--interface", &from, "-r", "5001-", &image]).await;
    assert!(part == content[5001..]);
    let injected: Vec<_> = bench
        .facts
        .all()
        .into_iter()
        .filter_map(|fact| match fact.kind {
            EventKind::FaultInjected { action, .. } => Some((fact.mac, action)),
            _ => None,
        })
        .collect();
    let mac = Some(common::MAC);
    assert_eq!(
        injected,
        [
            (mac, FaultAction::NotFound),
            (mac, FaultAction::Corrupt),
            (mac, FaultAction::Corrupt)
        ]
    );
    let transfers = bench.facts.all();
    let whose = transfers
        .iter()
        .filter(|fact| fact.kind.name() == "transfer-started");
    let whose: Vec<_> = whose.map(|fact| (fact.mac, fact.attempt.clone())).collect();
    assert_eq!(whose[0], (None, None));
    assert_eq!(whose[1], (mac, Some("abc".into())));
}
