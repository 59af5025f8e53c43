//! The TFTP server against curl, tftp-hpa and a client of the test's own, beside another server that gets the same
//! requests: async-tftp.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use bootgate_events::{ArtifactRole, EventKind, FaultAction, FaultRule, FaultTrigger};
use bootgate_server::{Bootfiles, MachineBoot, MachineConfig};
use bootgate_testkit::require_commands;
use common::tftp_client::{Client, blocking};
use common::{Bench, PATIENCE, noise, run};

/// The second implementation, serving a folder on loopback from a thread of its own for as long as the test runs.
fn other_server(folder: &Path) -> SocketAddr {
    let folder = folder.to_owned();
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.unwrap().block_on(async {
            let builder = async_tftp::server::TftpServerBuilder::with_dir_ro(folder).unwrap();
            let server = builder
                .bind("127.0.0.1:0".parse().unwrap())
                .build()
                .await
                .unwrap();
            send.send(server.listen_addr().unwrap()).unwrap();
            let _ = server.serve().await;
        });
    });
    receive.recv_timeout(PATIENCE).expect("async-tftp listens")
}

/// Both servers, with the same files.
struct Pair {
    bench: Bench,
    other: SocketAddr,
}

impl Pair {
    async fn with(sizes: &[usize]) -> Self {
        let bench = Bench::start().await;
        for size in sizes {
            let content = noise(*size, *size as u64 + 1);
            bench.give(&format!("f{size}"), ArtifactRole::Other, &content);
        }
        let other = other_server(bench.folder.path());
        Self { bench, other }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.folder.path().join(name)
    }

    /// Fetches `name` from both servers by `client`, and compares what came with the file.
    async fn same<F: Future<Output = Vec<u8>>>(
        &self,
        name: &str,
        client: impl Fn(SocketAddr, String, PathBuf) -> F,
    ) {
        let content = std::fs::read(self.path(name)).unwrap();
        for (who, server) in [("ours", self.bench.tftp()), ("async-tftp", self.other)] {
            let to = self.path(&format!("got-{who}"));
            let got = client(server, name.to_owned(), to).await;
            let lengths = (got.len(), content.len());
            assert!(got == content, "{name} from {who}: {lengths:?} bytes");
        }
    }
}

async fn by_curl(server: SocketAddr, name: String, block: &str) -> Vec<u8> {
    let url = format!("tftp://{server}/{name}");
    // curl takes a transfer size of 0 for an error, whoever the server is.
    let options = if name == "f0" {
        "--tftp-no-options"
    } else {
        "--no-tftp-no-options"
    };
    common::curl(&[options, "--tftp-blksize", block, &url]).await
}

/// tftp-hpa asks for no options, and for blocks of 512 bytes.
async fn by_tftp(server: SocketAddr, name: String, to: PathBuf) -> Vec<u8> {
    let (ip, port) = (server.ip().to_string(), server.port().to_string());
    let to = to.to_str().unwrap();
    let output = run(
        "tftp",
        &["-m", "binary", &ip, &port, "-c", "get", &name, to],
    )
    .await;
    assert!(output.status.success(), "{output:?}");
    std::fs::read(to).unwrap()
}

const SIZES: [usize; 8] = [0, 511, 512, 513, 1428, 1428 * 7, 1428 * 7 + 1, 100_000];

#[tokio::test]
async fn curl_gets_the_same_from_both_servers() {
    require_commands!("curl");
    let pair = Pair::with(&SIZES).await;
    for size in SIZES {
        for block in ["8", "512", "1024", "1428", "1468", "8192"] {
            if size == 100_000 && block == "8" {
                continue;
            }
            let name = format!("f{size}");
            pair.same(&name, |server, name, _| by_curl(server, name, block))
                .await;
        }
    }
    let facts = &pair.bench.facts;
    facts
        .wait_count("transfer-completed", SIZES.len() * 6 - 1)
        .await;
    assert_eq!(facts.count("transfer-aborted"), 0);
}

#[tokio::test]
async fn tftp_hpa_gets_the_same_from_both_servers() {
    require_commands!("tftp");
    let pair = Pair::with(&SIZES).await;
    for size in SIZES {
        pair.same(&format!("f{size}"), by_tftp).await;
    }
    pair.bench
        .facts
        .wait_count("transfer-completed", SIZES.len())
        .await;
}

#[tokio::test]
async fn forty_megabytes_wrap_the_block_number() {
    require_commands!("curl", "tftp");
    const SIZE: usize = 40_000_000;
    let pair = Pair::with(&[SIZE]).await;
    let name = format!("f{SIZE}");
    pair.same(&name, |server, name, _| by_curl(server, name, "512"))
        .await;
    pair.same(&name, by_tftp).await;
    pair.bench.facts.wait_count("transfer-completed", 2).await;
    let told = pair.bench.facts.kinds();
    let bytes = told.iter().filter_map(|kind| match kind {
        EventKind::TransferCompleted { bytes, .. } => Some(*bytes),
        _ => None,
    });
    assert_eq!(bytes.collect::<Vec<_>>(), [SIZE as u64; 2]);
}

#[tokio::test]
async fn windows_bring_the_same_from_both_servers() {
    let pair = Pair::with(&[0, 1428 * 8, 1428 * 64, 1_000_000]).await;
    for server in [pair.bench.tftp(), pair.other] {
        for size in [0, 1428 * 8, 1428 * 64, 1_000_000] {
            for window in [1, 4, 8, 64] {
                let got = blocking(move || {
                    Client::new(server).fetch(&format!("f{size}"), 1428, window, &mut || false)
                });
                assert!(
                    got.await == noise(size, size as u64 + 1),
                    "{size} by {window}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_lossy_path_is_mended_in_any_window() {
    let bench = Bench::start().await;
    let content = noise(300_000, 9);
    bench.give("file", ArtifactRole::Other, &content);
    let server = bench.tftp();
    for window in [4, 16] {
        let got = blocking(move || {
            let mut count = 0;
            let mut lose = || {
                count += 1;
                count % 37 == 5
            };
            Client::new(server).fetch("file", 1428, window, &mut lose)
        });
        assert!(got.await == content, "window {window}");
    }
    bench.facts.wait_count("transfer-completed", 2).await;
}

#[tokio::test]
async fn a_size_probe_ends_at_once_and_is_benign() {
    let bench = Bench::start().await;
    bench.give("snponly.efi", ArtifactRole::Nbp, &noise(250_000, 10));
    let server = bench.tftp();
    blocking(move || {
        let mut client = Client::new(server);
        client.ask(&["snponly.efi", "octet", "tsize", "0", "blksize", "1468"]);
        let (operation, _, _) = client.receive();
        assert_eq!(operation, 6);
        client.error(8, "User aborted the transfer");
    })
    .await;
    let (bytes, reason, benign) = bench.facts.aborted("snponly.efi").await;
    assert_eq!((bytes, benign), (0, true), "{reason}");
}

#[tokio::test]
async fn a_client_that_closes_its_port_ends_its_transfer() {
    let bench = Bench::start().await;
    bench.give("file", ArtifactRole::Kernel, &noise(250_000, 11));
    let server = bench.tftp();
    blocking(move || {
        let mut client = Client::new(server);
        client.ask(&["file", "octet"]);
        for _ in 0..3 {
            let (_, number, _) = client.receive();
            client.ack(number);
        }
    })
    .await;
    let (bytes, reason, benign) = bench.facts.aborted("file").await;
    assert!(
        !benign && (1024..=1536).contains(&bytes),
        "{bytes}: {reason}"
    );
}

#[tokio::test]
async fn refusals_say_why_to_client_and_log() {
    require_commands!("tftp");
    let bench = Bench::start().await;
    bench.give("file", ArtifactRole::Kernel, b"content");
    let server = bench.tftp();
    let (ip, port) = (server.ip().to_string(), server.port().to_string());
    let to = bench.folder.path().join("got");
    let to = to.to_str().unwrap();
    for (mode, command, name, says) in [
        ("ascii", "get", "file", "octet"),
        ("binary", "get", "missing", "not found"),
        ("binary", "get", "../file", ".."),
        ("binary", "put", "/etc/hostname", "refused"),
    ] {
        let second = if command == "put" { "hostname" } else { to };
        let output = run(
            "tftp",
            &["-m", mode, &ip, &port, "-c", command, name, second],
        )
        .await;
        let text = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("Error code") && text.contains(says),
            "{command} {name}: {text}"
        );
    }
    bench.facts.wait_count("request-refused", 4).await;
    let refused: Vec<_> = bench
        .facts
        .kinds()
        .into_iter()
        .filter_map(|kind| match kind {
            EventKind::RequestRefused {
                role, path, code, ..
            } => Some((role, path, code)),
            _ => None,
        })
        .collect();
    let refused: Vec<_> = refused
        .iter()
        .map(|(role, path, code)| (*role, path.as_str(), *code))
        .collect();
    let (kernel, other) = (ArtifactRole::Kernel, ArtifactRole::Other);
    assert_eq!(
        refused,
        [
            (kernel, "file", 4),
            (other, "missing", 1),
            (other, "../file", 2),
            (other, "hostname", 2)
        ]
    );
    assert_eq!(bench.facts.count("transfer-started"), 0);
}

#[tokio::test]
async fn dos_paths_and_leading_slashes_name_the_same_file() {
    let bench = Bench::start().await;
    bench.give("boot/x64/file.efi", ArtifactRole::Nbp, b"content");
    let server = bench.tftp();
    for name in [
        "boot/x64/file.efi",
        "/boot/x64/file.efi",
        "\\boot\\x64\\file.efi",
        "boot//x64/./file.efi",
    ] {
        let got = blocking(move || {
            let mut client = Client::new(server);
            client.ask(&[name, "OCTET"]);
            client.receive()
        });
        assert_eq!(got.await, (3, 1, b"content".to_vec()), "{name}");
    }
}

#[tokio::test]
async fn transfers_of_one_client_are_bounded_and_independent() {
    let mut config = common::config();
    config.limits.tftp_transfers_per_client = 3;
    let bench = Bench::with(config).await;
    let content = noise(50_000, 12);
    bench.give("file", ArtifactRole::Other, &content);
    let server = bench.tftp();
    let got = blocking(move || {
        let mut stuck: Vec<Client> = (0..2).map(|_| Client::new(server)).collect();
        for client in &mut stuck {
            client.ask(&["file", "octet"]);
            assert_eq!(client.receive().0, 3, "its first block; it never answers");
        }
        let got = Client::new(server).fetch("file", 1428, 4, &mut || false);
        // A third one gets the place of the transfer that ended, as soon as the server noticed its end.
        loop {
            let mut third = Client::new(server);
            third.ask(&["file", "octet"]);
            if third.receive().0 == 3 {
                stuck.push(third);
                break;
            }
        }
        (got, stuck)
    });
    let (got, stuck) = got.await;
    assert!(got == content, "stuck clients do not hold up another");
    let (operation, text) = blocking(move || {
        let mut more = Client::new(server);
        more.ask(&["file", "octet"]);
        let (operation, _, text) = more.receive();
        drop(stuck);
        (operation, text)
    })
    .await;
    assert_eq!(operation, 5, "{}", String::from_utf8_lossy(&text));
}

#[tokio::test]
async fn a_repeated_request_starts_no_second_transfer() {
    let bench = Bench::start().await;
    bench.give("file", ArtifactRole::Other, b"content");
    let server = bench.tftp();
    blocking(move || {
        let mut client = Client::new(server);
        client.ask(&["file", "octet"]);
        client.ask(&["file", "octet"]);
        let (_, block, _) = client.receive();
        client.ack(block);
    })
    .await;
    bench.facts.completed("file").await;
    assert_eq!(bench.facts.count("transfer-started"), 1);
}

#[tokio::test]
async fn junk_is_counted_and_harms_nobody() {
    let bench = Bench::start().await;
    bench.give("file", ArtifactRole::Other, b"content");
    let server = bench.tftp();
    let got = blocking(move || {
        let mut client = Client::new(server);
        for len in [0, 1, 2, 3, 100, 2000, 9000] {
            client.socket.send_to(&vec![0xff; len], server).unwrap();
        }
        client.ask(&["file", "octet"]);
        client.receive()
    });
    assert_eq!(got.await.2, b"content");
    assert_eq!(bench.server.dropped().get("tftp"), Some(&7));
    assert_eq!(
        bench.facts.count("packet-dropped"),
        5,
        "told of a few, counted all"
    );
}

#[tokio::test]
async fn faults_reach_the_machine_they_are_for() {
    let bench = Bench::start().await;
    bench.lease().await;
    bench.give("kernel", ArtifactRole::Kernel, &[0; 100]);
    bench.give("initrd", ArtifactRole::Initrd, &[0; 100]);
    let rule = |role, action| FaultRule {
        on: FaultTrigger::Serve(role),
        action,
    };
    let machine = MachineConfig {
        mac: common::MAC,
        boot: MachineBoot::Disk,
        nbp: Bootfiles::default(),
        loader: None,
        faults: vec![
            rule(ArtifactRole::Kernel, FaultAction::NotFound),
            rule(ArtifactRole::Initrd, FaultAction::Corrupt),
        ],
    };
    bench.server.machines().arm(machine, "nonce".into());
    let server = bench.tftp();
    let (kernel, initrd, others) = blocking(move || {
        let fetch = |bind: &str, name: &str| {
            let mut client = Client::from(server, bind);
            client.ask(&[name, "octet"]);
            let got = client.receive();
            client.ack(got.1);
            got
        };
        let leased = format!("{}:0", common::LEASED);
        (
            fetch(&leased, "kernel"),
            fetch(&leased, "initrd"),
            fetch("127.0.0.1:0", "kernel"),
        )
    })
    .await;
    assert_eq!((kernel.0, kernel.1), (5, 1), "not found");
    assert_eq!(initrd.2.iter().position(|byte| *byte == 1), Some(50));
    assert_eq!(others.2, [0; 100]);
    let injected = bench
        .facts
        .all()
        .into_iter()
        .filter(|fact| fact.kind.name() == "fault-injected");
    assert_eq!(
        injected
            .filter(|fact| fact.attempt == Some("nonce".into()))
            .count(),
        2
    );
}

#[tokio::test]
async fn stopping_ends_transfers_and_frees_the_port() {
    let bench = Bench::start().await;
    bench.give("file", ArtifactRole::Other, &noise(50_000, 13));
    let server = bench.tftp();
    let client = blocking(move || {
        let mut client = Client::new(server);
        client.ask(&["file", "octet"]);
        client.receive();
        client
    });
    let _client = client.await;
    let Bench {
        server: running,
        facts,
        ..
    } = bench;
    running.stop().await;
    facts.aborted("file").await;
    UdpSocket::bind(server).expect("the port is free");
}
