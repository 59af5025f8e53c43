//! Files that the kernel sends by itself: whatever way the bytes take, they are the file's.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, IoSliceMut, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::ops::Range;
use std::path::Path;

use bootgate_events::{ArtifactRole, EventKind, FaultAction, FaultRule, FaultTrigger};
use bootgate_testkit::{require_commands, skip};
use common::{Bench, PATIENCE, curl, curl_text, noise};
use rustix::fs::Advice;
use rustix::io::{Errno, ReadWriteFlags};

const MIB: usize = 1 << 20;

fn connect(address: SocketAddrV4) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn get(path: &str, more: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n")
}

/// Reads one response: its status and body.
fn response(reader: &mut impl BufRead) -> (u16, Vec<u8>) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| {
        line.to_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    let mut body = vec![0; length.expect("a length")];
    reader.read_exact(&mut body).unwrap();
    (status, body)
}

/// Throws a file out of the page cache, as far as the file system lets it; whether its first byte is gone.
fn evict(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let mut byte = [0];
    let mut into = [IoSliceMut::new(&mut byte)];
    let read = rustix::io::preadv2(&file, &mut into, 0, ReadWriteFlags::NOWAIT);
    read == Err(Errno::AGAIN)
}

fn aborts(bench: &Bench) -> usize {
    bench.facts.count("transfer-aborted")
}

#[tokio::test]
async fn every_part_of_a_file_is_its_own_bytes() {
    require_commands!("curl");
    let bench = Bench::start().await;
    let content = noise(5 * MIB + 12_345, 1);
    bench.give("image", ArtifactRole::Image, &content);
    let url = bench.url("/artifacts/image");
    assert!(curl(&[&url]).await == content);
    let end = content.len();
    let parts: [Range<usize>; 7] = [
        0..1,
        0..MIB,
        MIB - 1..MIB + 1,
        MIB..3 * MIB,
        3 * MIB + 77..end - 77,
        4096..end,
        end - 1..end,
    ];
    for part in parts {
        let range = format!("{}-{}", part.start, part.end - 1);
        let got = curl(&["-r", &range, &url]).await;
        assert!(got == content[part], "range {range}: {} bytes", got.len());
    }
    bench.facts.wait_count("transfer-completed", 8).await;
    assert_eq!(aborts(&bench), 0);
}

#[tokio::test]
async fn a_file_that_is_not_in_memory_arrives_whole() {
    require_commands!("curl");
    let bench = Bench::start().await;
    let content = noise(9 * MIB + 1, 2);
    let path = bench.give("cold", ArtifactRole::Image, &content);
    if !evict(&path) {
        skip!("the file system keeps files in memory whatever it is told");
    }
    assert!(curl(&[&bench.url("/artifacts/cold")]).await == content);
    assert!(evict(&path), "it can be had cold again");
    let range = format!("{}-{}", 2 * MIB + 5, 7 * MIB);
    let got = curl(&["-r", &range, &bench.url("/artifacts/cold")]).await;
    assert!(got == content[2 * MIB + 5..=7 * MIB]);
}

#[tokio::test]
async fn pipelined_files_and_answers_follow_each_other() {
    let bench = Bench::start().await;
    let (large, small) = (noise(3 * MIB + 3, 3), noise(100, 4));
    bench.give("large", ArtifactRole::Image, &large);
    bench.give("small", ArtifactRole::Other, &small);
    bench.give("empty", ArtifactRole::Other, b"");
    let address = bench.http();
    let all = [
        get("/artifacts/large", ""),
        get("/artifacts/small", ""),
        get("/artifacts/none", ""),
        get("/artifacts/empty", ""),
        get("/artifacts/large", "Range: bytes=1048570-2097160\r\n"),
        get("/artifacts/small", "Range: bytes=99-\r\n"),
        get("/artifacts/large", "Connection: close\r\n"),
    ];
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address);
        stream.write_all(all.concat().as_bytes()).unwrap();
        let mut reader = BufReader::new(stream);
        let answers: Vec<_> = all.iter().map(|_| response(&mut reader)).collect();
        assert_eq!(reader.read(&mut [0]).unwrap(), 0, "nothing follows");
        answers
    });
    let answers = client.await.unwrap();
    let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200, 200, 404, 200, 206, 206, 200]);
    assert!(answers[0].1 == large && answers[6].1 == large);
    assert!(answers[1].1 == small && answers[3].1.is_empty());
    assert!(answers[4].1 == large[1_048_570..=2_097_160]);
    assert_eq!(answers[5].1, small[99..]);
    bench.facts.wait_count("transfer-completed", 6).await;
    assert_eq!(aborts(&bench), 0);
}

#[tokio::test]
async fn heads_between_files_send_nothing_of_them() {
    require_commands!("curl");
    let bench = Bench::start().await;
    let content = noise(2 * MIB, 5);
    bench.give("a", ArtifactRole::Image, &content);
    let address = bench.http();
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address);
        let head = get("/artifacts/a", "").replace("GET", "HEAD");
        let last = get("/artifacts/a", "Connection: close\r\n");
        stream.write_all([head, last].concat().as_bytes()).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        all
    });
    let all = client.await.unwrap();
    assert!(all.ends_with(&content));
    assert!(all.len() < content.len() + 2000, "{}", all.len());
    assert_eq!(bench.facts.completed("/artifacts/a").await, 2 * MIB as u64);
}

#[tokio::test]
async fn a_slow_client_gets_every_byte() {
    let bench = Bench::start().await;
    let content = noise(6 * MIB + 7, 6);
    bench.give("image", ArtifactRole::Image, &content);
    let address = bench.http();
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address);
        // The server has a little room at a time, so that pieces are cut anywhere.
        rustix::net::sockopt::set_socket_recv_buffer_size(&stream, 32 << 10).unwrap();
        stream
            .write_all(get("/artifacts/image", "").as_bytes())
            .unwrap();
        response(&mut BufReader::with_capacity(1000, stream))
    });
    let (status, body) = client.await.unwrap();
    assert_eq!(status, 200);
    assert!(body == content);
    assert_eq!(
        bench.facts.completed("/artifacts/image").await,
        body.len() as u64
    );
}

#[tokio::test]
async fn a_file_that_becomes_shorter_ends_the_connection() {
    let bench = Bench::start().await;
    let content = noise(48 * MIB, 7);
    let path = bench.give("image", ArtifactRole::Image, &content);
    let address = bench.http();
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address);
        stream
            .write_all(get("/artifacts/image", "").as_bytes())
            .unwrap();
        let mut got = vec![0; MIB];
        stream.read_exact(&mut got).unwrap();
        // The rest does not fit into any buffer on the way.
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(40 * MIB as u64).unwrap();
        match stream.read_to_end(&mut got) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
        got
    });
    let got = client.await.unwrap();
    let body = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = &got[body..];
    assert!(body.len() <= 40 * MIB, "{}", body.len());
    assert!(*body == content[..body.len()]);
    let (bytes, reason, benign) = bench.facts.aborted("/artifacts/image").await;
    assert!(
        bytes <= 40 * MIB as u64 && bytes >= body.len() as u64,
        "{bytes}"
    );
    assert!(reason.contains("became shorter") && !benign, "{reason}");
}

#[tokio::test]
async fn a_flipped_bit_is_in_the_part_that_has_it_and_in_no_other() {
    require_commands!("curl");
    let bench = Bench::start().await;
    bench.lease().await;
    let content = noise(4 * MIB, 8);
    bench.give("image", ArtifactRole::Image, &content);
    let machine = bootgate_server::MachineConfig {
        mac: common::MAC,
        boot: bootgate_server::MachineBoot::Disk,
        nbp: bootgate_server::Bootfiles::default(),
        loader: None,
        faults: vec![FaultRule {
            on: FaultTrigger::Serve(ArtifactRole::Image),
            action: FaultAction::Corrupt,
        }],
    };
    bench.server.machines().arm(machine, "abc".into());
    let from = common::LEASED.to_string();
    let url = bench.url("/artifacts/image");
    let ours = |range: &'static str| {
        let (from, url) = (from.clone(), url.clone());
        async move { curl(&["--interface", &from, "-r", range, &url]).await }
    };
    let (whole, before) = (ours("0-").await, ours("0-2097151").await);
    let wrong: Vec<usize> = (0..content.len())
        .filter(|at| whole[*at] != content[*at])
        .collect();
    assert_eq!(wrong, [2 * MIB]);
    assert!(before == content[..2 * MIB]);
    assert_eq!(bench.facts.count("fault-injected"), 1);
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_sent_stays_the_one_that_was_asked_for() {
    let bench = Bench::start().await;
    let content = noise(48 * MIB, 9);
    let path = bench.give("image", ArtifactRole::Image, &content);
    let address = bench.http();
    let client = tokio::task::spawn_blocking(move || {
        let mut stream = connect(address);
        stream
            .write_all(get("/artifacts/image", "").as_bytes())
            .unwrap();
        assert!(stream.peek(&mut [0]).unwrap() == 1, "it began");
        let other = path.with_extension("new");
        std::fs::write(&other, noise(48 * MIB, 10)).unwrap();
        std::fs::rename(other, path).unwrap();
        response(&mut BufReader::new(stream)).1
    });
    assert!(client.await.unwrap() == content);
}

#[tokio::test]
async fn many_clients_at_once_get_the_same() {
    require_commands!("curl");
    let bench = Bench::start().await;
    let content = noise(3 * MIB + 1, 11);
    bench.give("image", ArtifactRole::Image, &content);
    let url = bench.url("/artifacts/image");
    let urls = vec![url.as_str(); 32];
    let config = ["--parallel", "--parallel-immediate", "--parallel-max", "32"];
    let sinks: Vec<&str> = urls
        .iter()
        .flat_map(|url| ["-o", "/dev/null", *url])
        .collect();
    let format = ["-w", "%{http_code} %{size_download}\\n"];
    let told = curl_text(&[&config[..], &format[..], &sinks[..]].concat()).await;
    let expected = format!("200 {}", content.len());
    assert_eq!(
        told.lines().filter(|line| *line == expected).count(),
        32,
        "{told}"
    );
    bench.facts.wait_count("transfer-completed", 32).await;
    let whole = bench.facts.kinds().into_iter().all(|kind| match kind {
        EventKind::TransferCompleted { bytes, .. } => bytes == content.len() as u64,
        _ => true,
    });
    assert!(whole);
}
