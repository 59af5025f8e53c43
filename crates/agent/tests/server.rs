//! The agent's calls, as a server sees them.

mod support;

use std::time::Duration;

use bootgate_agent::halt::Retry;
use bootgate_api::{
    AfterFlash, AgentHello, BootPlan, Completion, DiskSelector, Failure, FlashPlan, Inventory,
    Progress, Sha256Hex,
};
use bootgate_events::{FlashPhase, Stage};
use support::{NONCE, Reply, TestServer, image};

const RETRY: Retry = Retry {
    attempts: 3,
    first: Duration::from_millis(1),
    longest: Duration::from_millis(2),
};

fn hello() -> AgentHello {
    AgentHello {
        version: "1".into(),
        since_pid1_ms: 5,
    }
}

fn plan() -> BootPlan {
    BootPlan::Flash(FlashPlan {
        index_path: "/artifacts/disk.index".into(),
        data_path: support::DATA.into(),
        image_sha256: Sha256Hex([1; 32]),
        disk: DiskSelector::default(),
        after: AfterFlash::Reboot,
    })
}

#[test]
fn every_call_has_the_nonce_and_its_body() {
    let server = TestServer::start(|_, request| {
        if request.path.ends_with("/hello") {
            return Reply::of(200, serde_json::to_vec(&plan()).unwrap());
        }
        Reply::of(204, "")
    });
    let client = server.client();
    assert_eq!(client.hello(&hello(), RETRY).unwrap(), plan());
    let progress = Progress {
        phase: FlashPhase::Verify,
        done: 1,
        total: 2,
    };
    client.progress(&progress).unwrap();
    let completion = Completion {
        chunks_sha256: Sha256Hex([2; 32]),
        size: 3,
        bytes_fetched: 4,
        bytes_written: 5,
        first_fetch_ms: 6,
    };
    client.complete(&completion, RETRY).unwrap();
    let failure = Failure {
        stage: Stage::Verify,
        error: "read back".into(),
    };
    client.failure(&failure, RETRY).unwrap();
    let inventory = Inventory {
        cpus: 4,
        ..Inventory::default()
    };
    client.inventory(&inventory, RETRY).unwrap();

    let seen = server.seen();
    let calls: Vec<_> = seen
        .iter()
        .map(|r| format!("{} {}", r.method, r.path))
        .collect();
    let wanted = ["hello", "progress", "complete", "failure", "inventory"]
        .map(|call| format!("POST /api/v1/attempts/{NONCE}/{call}"));
    assert_eq!(calls, wanted);
    assert!(
        seen.iter().all(|r| r.connection == 0),
        "one connection is kept"
    );
    assert_eq!(seen[0].body, serde_json::to_vec(&hello()).unwrap());
    assert_eq!(seen[2].body, serde_json::to_vec(&completion).unwrap());
    assert_eq!(seen[3].body, serde_json::to_vec(&failure).unwrap());
    assert_eq!(seen[4].body, serde_json::to_vec(&inventory).unwrap());
}

#[test]
fn a_stale_nonce_is_not_tried_again() {
    let server = TestServer::start(|_, _| Reply::of(409, "stale nonce"));
    let error = server.client().hello(&hello(), RETRY).unwrap_err();
    assert!(!error.transient);
    let text = error.to_string();
    assert!(
        text.starts_with("say hello: server answered `409 Conflict`")
            && text.ends_with("stale nonce"),
        "{text}"
    );
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn a_passing_fault_is_tried_again_and_a_lasting_one_is_given_up() {
    let server = TestServer::start(|number, _| match number {
        0 => Reply::of(503, "later"),
        1 => Reply {
            cut: Some(1),
            ..Reply::of(200, "cut short")
        },
        _ => Reply::of(200, serde_json::to_vec(&BootPlan::Stay).unwrap()),
    });
    assert_eq!(
        server.client().hello(&hello(), RETRY).unwrap(),
        BootPlan::Stay
    );
    assert_eq!(server.seen().len(), 3);

    let down = TestServer::start(|_, _| Reply::of(500, "broken"));
    assert!(down.client().hello(&hello(), RETRY).unwrap_err().transient);
    assert_eq!(down.seen().len(), 3);
}

#[test]
fn an_index_is_checked() {
    let good = image("a.b", 0).index;
    let mut short = good.clone();
    short.chunks.pop();
    let server = TestServer::start(move |_, request| match request.path.as_str() {
        "/good" => Reply::of(200, serde_json::to_vec(&good).unwrap()),
        "/short" => Reply::of(200, serde_json::to_vec(&short).unwrap()),
        "/none" => Reply::of(404, "no"),
        _ => Reply::of(200, "<html>"),
    });
    let client = server.client();
    assert_eq!(client.index("/good", RETRY).unwrap(), image("a.b", 0).index);
    let fails = |path| client.index(path, RETRY).unwrap_err().to_string();
    assert!(fails("/short").starts_with("check the chunk index: chunk index lists `2` chunks"));
    assert!(fails("/none").contains("`404 Not Found` for `/none`"));
    assert!(fails("/text").starts_with("read the chunk index: "));
}

#[test]
fn a_refused_port_is_an_error() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = bootgate_agent::server::Server::new(address, NONCE.into());
    let error = client.hello(&hello(), RETRY).unwrap_err();
    assert!(
        error.transient && error.to_string().starts_with("say hello: "),
        "{error}"
    );
}
