//! Boot scripts and the agent's calls.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;

use bootgate_api::{
    AfterFlash, BootPlan, Completion, DiskSelector, Failure, FlashPlan, Progress, Sha256Hex, paths,
};
use bootgate_events::{AttemptId, ByteRange, EventKind, FlashPhase, MacAddr, Stage};
use bootgate_server::{ArtifactName, Bootfiles, MachineBoot, MachineConfig, ScriptBoot};
use bootgate_testkit::require_commands;
use common::{Bench, MAC, curl_text};
use serde::Serialize;

const IMAGE: Sha256Hex = Sha256Hex([7; 32]);

fn machine(mac: MacAddr) -> MachineConfig {
    let plan = BootPlan::Flash(FlashPlan {
        index_path: "/artifacts/image.idx".to_owned(),
        data_path: "/artifacts/image.zst".to_owned(),
        image_sha256: IMAGE,
        disk: DiskSelector::default(),
        after: AfterFlash::Reboot,
    });
    let boot = ScriptBoot {
        kernel: ArtifactName::new("vmlinuz").unwrap(),
        initrds: vec![ArtifactName::new("initrd.img").unwrap()],
        cmdline: "console=ttyS0".to_owned(),
        plan,
        expected_chunks: Some(IMAGE),
        expected_size: Some(1 << 20),
        custom_script: None,
    };
    MachineConfig {
        mac,
        boot: MachineBoot::Script(Box::new(boot)),
        nbp: Bootfiles::default(),
        loader: None,
        faults: Vec::new(),
    }
}

struct Armed {
    bench: Bench,
    nonce: AttemptId,
}

impl Armed {
    async fn new() -> Self {
        let bench = Bench::start().await;
        let nonce = AttemptId::new("0123456789abcdef0123456789abcdef");
        bench.server.machines().arm(machine(MAC), nonce.clone());
        Self { bench, nonce }
    }

    /// Calls by POST; the status, then the body.
    async fn post(&self, path: &str, body: &impl Serialize) -> (String, String) {
        let body = serde_json::to_string(body).unwrap();
        self.call(path, &["--json", &body]).await
    }

    async fn call(&self, path: &str, more: &[&str]) -> (String, String) {
        let url = self.bench.url(path);
        let arguments = [more, &["-w", "\n%{http_code}", &url]].concat();
        let text = curl_text(&arguments).await;
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.to_owned(), body.to_owned())
    }

    /// The kinds told so far, without the servers' own.
    fn told(&self) -> Vec<EventKind> {
        let ours = |kind: &EventKind| {
            kind.name() != "server-ready" && !kind.name().starts_with("transfer")
        };
        self.bench.facts.kinds().into_iter().filter(ours).collect()
    }
}

fn completion() -> Completion {
    Completion {
        chunks_sha256: IMAGE,
        size: 1 << 20,
        bytes_fetched: 1000,
        bytes_written: 1 << 20,
        first_fetch_ms: 300,
    }
}

#[tokio::test]
async fn a_script_names_kernel_initrd_and_nonce_and_refetches_are_counted() {
    require_commands!("curl");
    let armed = Armed::new().await;
    for earlier in 0..3 {
        let (status, script) = armed.call(&paths::script(&MAC), &[]).await;
        assert_eq!(status, "200");
        assert!(script.starts_with("#!ipxe"), "{script}");
        for part in [
            "/artifacts/vmlinuz",
            "/artifacts/initrd.img",
            "console=ttyS0",
            armed.nonce.as_str(),
            &armed.bench.url(""),
        ] {
            assert!(script.contains(part), "`{part}` in {script}");
        }
        let told = armed.told();
        assert_eq!(
            told.last(),
            Some(&EventKind::ScriptServed { mac: MAC, earlier })
        );
    }
    let facts = armed.bench.facts.all();
    let served = facts
        .iter()
        .find(|fact| fact.kind.name() == "script-served")
        .unwrap();
    assert_eq!(served.mac, Some(MAC));
    assert_eq!(served.attempt, Some(armed.nonce.clone()));
    armed
        .bench
        .server
        .machines()
        .arm(machine(MAC), "next".into());
    armed.call(&paths::script(&MAC), &[]).await;
    assert_eq!(
        armed.told().last(),
        Some(&EventKind::ScriptServed {
            mac: MAC,
            earlier: 0
        })
    );
}

#[tokio::test]
async fn head_of_a_script_does_not_give_it_out() {
    require_commands!("curl");
    let armed = Armed::new().await;
    armed.call(&paths::script(&MAC), &["-I"]).await;
    assert_eq!(armed.bench.facts.count("script-served"), 0);
}

#[tokio::test]
async fn a_custom_script_is_rendered_in_place() {
    require_commands!("curl");
    let armed = Armed::new().await;
    let mut config = machine(MAC);
    if let MachineBoot::Script(boot) = &mut config.boot {
        boot.custom_script = Some("#!ipxe\necho mine\nchain {{ kernel_url }}\n".to_owned());
    }
    armed
        .bench
        .server
        .machines()
        .arm(config, armed.nonce.clone());
    let (status, script) = armed.call(&paths::script(&MAC), &[]).await;
    assert_eq!(status, "200", "{script}");
    let url = armed.bench.url("/artifacts/vmlinuz");
    assert_eq!(script, format!("#!ipxe\necho mine\nchain {url}\n"));
}

#[tokio::test]
async fn scripts_go_to_known_machines_that_boot_from_the_network() {
    require_commands!("curl");
    let armed = Armed::new().await;
    let stranger = MacAddr([2, 0, 0, 0, 0, 9]);
    let (status, _) = armed.call(&paths::script(&stranger), &[]).await;
    assert_eq!(status, "404");
    let (status, _) = armed.call("/boot/not-a-mac/boot.ipxe", &[]).await;
    assert_eq!(status, "404");

    armed.bench.lease().await;
    let from = common::LEASED.to_string();
    let (status, _) = armed
        .call(&paths::script(&MAC), &["--interface", &from])
        .await;
    assert_eq!(status, "200");
    armed
        .bench
        .server
        .machines()
        .arm(machine(stranger), "other".into());
    let (status, _) = armed
        .call(&paths::script(&stranger), &["--interface", &from])
        .await;
    assert_eq!(status, "403", "the lease says who asks");

    armed.bench.server.machines().boot_disk_only(MAC);
    let (status, script) = armed.call(&paths::script(&MAC), &[]).await;
    assert_eq!(status, "200");
    assert!(!script.contains(armed.nonce.as_str()), "{script}");
    assert!(script.contains("exit"), "{script}");
}

#[tokio::test]
async fn ipxe_finds_its_way_to_the_script_beside_the_boot_program() {
    require_commands!("curl");
    let armed = Armed::new().await;
    let from = common::LEASED.to_string();
    let path = format!("{}autoexec.ipxe", paths::artifact("efi/"));
    let (status, _) = armed.call(&path, &["--interface", &from]).await;
    assert_eq!(status, "404", "nobody has leased this address");
    armed.bench.lease().await;
    for path in ["/autoexec.ipxe", path.as_str()] {
        let (status, body) = armed.call(path, &["--interface", &from]).await;
        assert_eq!(status, "200");
        assert!(body.starts_with("#!ipxe\n"), "{body}");
        let port = armed.bench.http().port();
        let next = format!("http://${{bg-server}}:{port}/boot/");
        assert!(body.contains(&next), "{body}");
    }
    // Being led to the script is not having it.
    assert_eq!(armed.bench.facts.count("script-served"), 0);
    armed.bench.server.machines().disarm(MAC);
    let (status, _) = armed.call("/autoexec.ipxe", &["--interface", &from]).await;
    assert_eq!(status, "404", "it is no longer to boot over the network");
}

#[tokio::test]
async fn an_attempt_goes_from_hello_to_completion() {
    require_commands!("curl");
    let armed = Armed::new().await;
    let nonce = &armed.nonce;
    let hello = bootgate_api::AgentHello {
        version: "0.1.0".to_owned(),
        since_pid1_ms: 250,
    };
    let (status, body) = armed.post(&paths::hello(nonce), &hello).await;
    assert_eq!(status, "200");
    let plan: BootPlan = serde_json::from_str(&body).unwrap();
    assert!(matches!(
        plan,
        BootPlan::Flash(FlashPlan {
            image_sha256: IMAGE,
            ..
        })
    ));
    let (status, again) = armed.call(&paths::plan(nonce), &[]).await;
    assert_eq!((status.as_str(), again), ("200", body));

    let progress = Progress {
        phase: FlashPhase::Write,
        done: 10,
        total: 10,
    };
    assert_eq!(
        armed.post(&paths::progress(nonce), &progress).await.0,
        "200"
    );
    // Power may be cut off the network as soon as the agent is done; its last call still counts.
    armed.bench.server.machines().boot_disk_only(MAC);
    assert_eq!(
        armed.post(&paths::complete(nonce), &completion()).await.0,
        "200"
    );
    assert_eq!(
        armed.post(&paths::complete(nonce), &completion()).await.0,
        "200",
        "an answer was lost"
    );
    let told = armed.told();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert_eq!(
        told[0],
        EventKind::AgentStarted {
            version: "0.1.0".to_owned(),
            since_pid1_ms: 250
        }
    );
    assert_eq!(
        told[1],
        EventKind::AgentProgressed {
            phase: FlashPhase::Write,
            done: 10,
            total: 10
        }
    );
    assert!(
        matches!(&told[2], EventKind::AgentFlashed { chunks_sha256, ranges, first_fetch_ms: 300, .. }
        if *chunks_sha256 == "07".repeat(32) && *ranges == [ByteRange { start: 0, end: 1 << 20 }])
    );
    for fact in armed.bench.facts.all() {
        if fact.kind.name().starts_with("agent") {
            assert_eq!((fact.mac, fact.attempt), (Some(MAC), Some(nonce.clone())));
        }
    }
}

#[tokio::test]
async fn a_wrong_digest_or_size_is_a_failure() {
    require_commands!("curl");
    let armed = Armed::new().await;
    let wrong = [
        Completion {
            chunks_sha256: Sha256Hex([8; 32]),
            ..completion()
        },
        Completion {
            size: 512,
            ..completion()
        },
    ];
    for completion in wrong {
        let (status, body) = armed
            .post(&paths::complete(&armed.nonce), &completion)
            .await;
        assert_eq!(status, "422", "{body}");
        assert!(matches!(
            armed.told().last(),
            Some(EventKind::AgentFailed {
                stage: Stage::Verify,
                ..
            })
        ));
    }
    assert_eq!(armed.bench.facts.count("agent-flashed"), 0);
}

#[tokio::test]
async fn a_failure_is_told() {
    require_commands!("curl");
    let armed = Armed::new().await;
    let failure = Failure {
        stage: Stage::Flash,
        error: "disk is too small".to_owned(),
    };
    assert_eq!(
        armed.post(&paths::failure(&armed.nonce), &failure).await.0,
        "200"
    );
    let failed = EventKind::AgentFailed {
        stage: Stage::Flash,
        error: "disk is too small".to_owned(),
    };
    assert_eq!(armed.told(), [failed]);
}

#[tokio::test]
async fn a_stale_nonce_is_refused_whatever_is_called() {
    require_commands!("curl");
    let armed = Armed::new().await;
    let old = armed.nonce.clone();
    armed
        .bench
        .server
        .machines()
        .arm(machine(MAC), "fresh".into());
    let calls = [
        paths::hello(&old),
        paths::progress(&old),
        paths::complete(&old),
        paths::failure(&old),
    ];
    for path in &calls {
        let (status, _) = armed.post(path, &completion()).await;
        assert_eq!(status, "409", "{path}");
    }
    assert_eq!(armed.call(&paths::plan(&old), &[]).await.0, "409");
    let stale = armed.told();
    assert_eq!(stale.len(), 5);
    for (path, kind) in calls.iter().zip(stale) {
        let nonce = old.to_string();
        assert_eq!(
            kind,
            EventKind::StaleCallback {
                nonce,
                path: path.clone()
            }
        );
    }
    armed.bench.server.machines().disarm(MAC);
    let (status, _) = armed
        .post(&paths::complete(&"fresh".into()), &completion())
        .await;
    assert_eq!(status, "409", "a disarmed machine has no attempt");
}

#[tokio::test]
async fn another_machine_cannot_use_the_nonce() {
    require_commands!("curl");
    let armed = Armed::new().await;
    armed.bench.lease().await;
    let other = MacAddr([2, 0, 0, 0, 0, 9]);
    armed
        .bench
        .server
        .machines()
        .arm(machine(other), "others".into());
    let body = serde_json::to_string(&completion()).unwrap();
    let from = common::LEASED.to_string();
    let path = paths::complete(&"others".into());
    let (status, _) = armed
        .call(&path, &["--interface", &from, "--json", &body])
        .await;
    assert_eq!(status, "409");
    assert_eq!(armed.bench.facts.count("agent-flashed"), 0);
}

#[tokio::test]
async fn a_body_that_is_not_the_calls_is_refused() {
    require_commands!("curl");
    let armed = Armed::new().await;
    for path in [paths::hello(&armed.nonce), paths::complete(&armed.nonce)] {
        for body in ["", "{", "[]", "{\"size\": \"many\"}"] {
            assert_eq!(
                armed.call(&path, &["--json", body]).await.0,
                "400",
                "{path} {body}"
            );
        }
    }
    let long = format!("{{\"version\": \"{}\"}}", "x".repeat(100_000));
    assert_eq!(
        armed
            .call(&paths::hello(&armed.nonce), &["--json", &long])
            .await
            .0,
        "413"
    );
    assert_eq!(armed.bench.facts.count("request-refused"), 8);
    assert_eq!(armed.bench.facts.count("agent-started"), 0);
}

#[tokio::test]
async fn a_flood_of_progress_becomes_a_few_events() {
    require_commands!("curl");
    let armed = Armed::new().await;
    let mut arguments = Vec::new();
    for done in 0..200 {
        let progress = Progress {
            phase: FlashPhase::Write,
            done,
            total: 199,
        };
        let body = serde_json::to_string(&progress).unwrap();
        let url = armed.bench.url(&paths::progress(&armed.nonce));
        let call = ["-o", "/dev/null", "--json", &body, &url, "--next", "-sS"];
        arguments.extend(call.map(str::to_owned));
    }
    let plan = armed.bench.url(&paths::plan(&armed.nonce));
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    arguments.push(&plan);
    let began = std::time::Instant::now();
    curl_text(&arguments).await;
    let most = began.elapsed().as_millis() / 100 + 2;
    let told = armed.told();
    assert!(told.len() as u128 <= most, "{} events", told.len());
    let last = EventKind::AgentProgressed {
        phase: FlashPhase::Write,
        done: 199,
        total: 199,
    };
    assert_eq!(told.last(), Some(&last));
}
