//! The operators' door of a lab that runs.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod common;
#[path = "common/laboratory.rs"]
mod laboratory;

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use bootgate_api::control::{SOCKET, paths};
use bootgate_events::{Event, EventKind, MacAddr, Verdict};
use bootgate_server::control::{Control, ControlServer, Names};
use bootgate_server::lab::now;
use bootgate_store::{Granted, LeaseGrant, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use common::PATIENCE;
use laboratory::{Laboratory, MAC, OTHER, completion, firmware_options};

/// The address that [`MAC`] has in [`open_with_lease`].
const LEASED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 55);

/// A lab with its door.
async fn open() -> (Laboratory, ControlServer) {
    with_door(Laboratory::new().await)
}

/// A lab that comes back with a lease in its store.
async fn open_with_lease() -> (Laboratory, ControlServer) {
    let lab = Laboratory::new().await;
    let granted = lab.store.grant_leases(&[LeaseGrant {
        ip: LEASED.into(),
        mac: MAC,
        subnet: "127.0.0.0/8".to_owned(),
        ends: now().plus_seconds(3600),
        at: now(),
        client: None,
    }]);
    assert_eq!(granted.unwrap(), [Granted::Yes]);
    with_door(lab.restart().await)
}

/// A client with firmware's options renews its lease.
fn renew(lab: &Laboratory, mac: MacAddr, ip: Ipv4Addr) {
    let mut message = vec![0; 236];
    message[..8].copy_from_slice(&[1, 1, 6, 0, 1, 2, 3, 4]);
    message[12..16].copy_from_slice(&ip.octets());
    message[28..34].copy_from_slice(&mac.0);
    message.extend([99, 130, 83, 99, 53, 1, 3]);
    message.extend(firmware_options());
    message.push(255);
    let port = lab.server.addresses()[0].dhcp.unwrap().port();
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket
        .send_to(&message, (Ipv4Addr::LOCALHOST, port))
        .unwrap();
}

fn with_door(lab: Laboratory) -> (Laboratory, ControlServer) {
    let control = Control::running(Arc::clone(&lab.lab), Names::of(&lab.config));
    let server = ControlServer::start(&lab.folder.path().join("state"), control.router());
    (lab, server.unwrap())
}

/// Sends a request as HTTP 1.0, so that the body ends with the connection, and gives the status.
async fn begin(
    socket: &Path,
    method: &str,
    path: &str,
    body: &str,
) -> (u16, BufReader<UnixStream>) {
    assert!(socket.ends_with(SOCKET));
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.0\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut stream = BufReader::new(stream);
    let mut status = String::new();
    stream.read_line(&mut status).await.unwrap();
    let mut line = status.clone();
    while !line.trim().is_empty() {
        line.clear();
        stream.read_line(&mut line).await.unwrap();
    }
    let status = status.split(' ').nth(1).expect("a status").parse();
    (status.unwrap(), stream)
}

async fn ask(server: &ControlServer, method: &str, path: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let asking = async {
        let (status, mut stream) = begin(server.path(), method, path, &body).await;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        (status, serde_json::from_str(&text).expect(&text))
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap()
}

async fn next(lines: &mut BufReader<UnixStream>) -> Option<Event> {
    let mut line = String::new();
    let read = lines.read_line(&mut line);
    let read = tokio::time::timeout(PATIENCE, read).await.expect("a line");
    (read.unwrap() > 0).then(|| serde_json::from_str(&line).expect(&line))
}

fn arm() -> Value {
    json!({ "image": "debian", "disk": { "serial": "S1" } })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_followed_from_its_first_packet_to_its_verdict() {
    let (mut lab, server) = open().await;
    let (status, armed) = ask(&server, "POST", &paths::arm(&MAC.to_string()), arm()).await;
    assert_eq!(status, 200, "{armed}");
    // Somebody listens to all that happens.
    let (status, mut all) = begin(server.path(), "GET", paths::EVENTS, "").await;
    assert_eq!(status, 200);
    let mine = format!("{}?machine={MAC}", paths::EVENTS);
    let (_, mut mine) = begin(server.path(), "GET", &mine, "").await;

    lab.power_on(OTHER);
    lab.power_on(MAC);
    let first = next(&mut mine).await.unwrap();
    assert!(matches!(first.kind(), Some(EventKind::RunStarted { .. })));
    assert!(next(&mut all).await.is_some());
    let id = first.run.as_str().to_owned();
    let path = format!("{}?follow=true", paths::events(&id));
    let (status, mut lines) = begin(server.path(), "GET", &path, "").await;
    assert_eq!(status, 200);

    let nonce = lab.nonce(MAC).await;
    lab.begin_flash(&nonce).await;
    let (status, body) = lab
        .post(&bootgate_api::paths::complete(&nonce), &completion())
        .await;
    assert_eq!(status, "200", "{body}");

    let mut events = Vec::new();
    while let Some(event) = next(&mut lines).await {
        assert_eq!(event.run.as_str(), id);
        assert_eq!(
            event.seq,
            events.len() as u64,
            "none is left out or told twice"
        );
        events.push(event);
    }
    let last = events.last().and_then(Event::kind).expect("events");
    let passed = EventKind::RunFinished {
        verdict: Verdict::Passed,
    };
    assert_eq!(*last, passed);
    assert_eq!(
        lab.store
            .events(&events[0].run.as_str().into(), 0, 10_000)
            .unwrap(),
        events
    );
    // What is asked for later ends with what is stored.
    let (_, mut again) = begin(server.path(), "GET", &path, "").await;
    let mut count = 0;
    while next(&mut again).await.is_some() {
        count += 1;
    }
    assert_eq!(count, events.len());
    let rest = next(&mut mine).await.unwrap();
    assert_eq!(
        rest.run.as_str(),
        id,
        "the other machine's events are not mixed in"
    );

    // The end of the server is the end of what follows it.
    tokio::time::timeout(PATIENCE, server.stop()).await.unwrap();
    while next(&mut all).await.is_some() {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_takes_effect_at_once() {
    let (mut lab, server) = open_with_lease().await;
    let script = json!({
        "boot": { "mode": "script", "script": "menu" },
        "name": "node7",
        "labels": { "rack": "3" },
    });
    let who = paths::machine(&MAC.to_string());
    assert_eq!(ask(&server, "PATCH", &who, script).await.0, 200);
    lab.power_on(MAC);
    lab.wait_for("dhcp-received").await;
    assert!(lab.script(MAC).await.contains("echo node7 in 3"));

    // A lease that is forgotten is forgotten by the responder too: it takes the next for a stranger's.
    let lease = async || -> Option<String> {
        let path = format!("{}?machine={MAC}", paths::EXPLAIN);
        let told = ask(&server, "GET", &path, Value::Null).await.1;
        let steps = told["steps"].as_array().unwrap().clone();
        let step = steps.into_iter().find(|step| step["about"] == "lease");
        step.map(|step| step["found"].as_str().unwrap().to_owned())
    };
    let before = lease().await.expect("a step about the lease");
    assert!(before.contains("127.0.0.55"), "{before}");
    let leases = ask(&server, "GET", paths::LEASES, Value::Null).await.1;
    assert_eq!(leases[0]["ip"], "127.0.0.55", "{leases}");
    for known in [true, false] {
        let told = ask(&server, "DELETE", &paths::lease("127.0.0.55"), Value::Null).await;
        assert_eq!(told, (200, json!({ "known": known })));
    }
    let after = lease().await;
    assert!(after.is_none_or(|after| !after.contains("127.0.0.55")));
    let leases = ask(&server, "GET", paths::LEASES, Value::Null).await.1;
    assert_eq!(leases, json!([]));

    let (_, forgotten) = ask(&server, "DELETE", &who, Value::Null).await;
    assert_eq!(forgotten, json!({ "known": true }));
    let status = ask(&server, "GET", paths::STATUS, Value::Null).await.1;
    assert_eq!(status["machines"], 0, "{status}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_the_configuration_are_checked_and_the_server_says_how_it_is() {
    let (lab, server) = open().await;
    let order = json!({ "image": "debain", "disk": { "serial": "S1" } });
    let (status, told) = ask(&server, "POST", &paths::arm(&MAC.to_string()), order).await;
    assert_eq!(status, 422);
    assert!(
        told["hint"].as_str().unwrap().contains("`debian`"),
        "{told}"
    );

    let status = ask(&server, "GET", paths::STATUS, Value::Null).await.1;
    let services: Vec<_> = status["server"]["listening"]
        .as_array()
        .unwrap()
        .iter()
        .collect();
    for service in ["dhcp", "tftp", "http"] {
        assert!(
            services.iter().any(|at| at["service"] == service),
            "{status}"
        );
    }
    assert_eq!(status["server"]["storage_error"], Value::Null);
    assert_eq!(status["machines"], 0);
    drop(lab);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_a_machine_would_get_and_what_it_was_told() {
    let (mut lab, server) = open_with_lease().await;
    let about = |machine: MacAddr, asking: &str| {
        let asking = paths::escaped(asking);
        format!("{}?machine={machine}&as={asking}", paths::EXPLAIN)
    };
    assert_eq!(
        ask(&server, "POST", &paths::arm(&MAC.to_string()), arm())
            .await
            .0,
        200
    );
    let asking = about(MAC, "arch=7,class=iPXE,interface=lo");
    let (status, told) = ask(&server, "GET", &asking, Value::Null).await;
    assert_eq!(status, 200, "{told}");
    let text = told.to_string();
    for part in ["flash-once", "boot.ipxe", "`lo`"] {
        assert!(text.contains(part), "no {part}: {text}");
    }
    assert!(!text.contains("last reply"), "{text}");
    assert_eq!(told["steps"][0]["about"], "asks as");
    assert_eq!(told["steps"][0]["found"], "`iPXE`, architecture `7`");
    // Behind a relay that no subnet is for.
    let (_, told) = ask(&server, "GET", &about(MAC, "relay=192.0.2.1"), Value::Null).await;
    let asked = told["steps"][0]["found"].as_str().unwrap();
    assert!(asked.ends_with("by relay `192.0.2.1`"), "{asked}");
    assert!(
        told["outcome"].as_str().unwrap().starts_with("no reply"),
        "{told}"
    );
    let (status, told) = ask(&server, "GET", &about(MAC, "relay=here"), Value::Null).await;
    assert_eq!(status, 422, "{told}");
    // Each relay hands on its own kind of DHCP.
    for (asking, hint) in [
        ("relay=fd00:88::1", "add `ip=6`"),
        ("relay=192.0.2.1,ip=6", "link address"),
    ] {
        let (status, told) = ask(&server, "GET", &about(MAC, asking), Value::Null).await;
        assert_eq!(status, 422, "{told}");
        assert!(told["hint"].as_str().unwrap().contains(hint), "{told}");
    }
    let asking = about(MAC, "relay=fd00:88::1,ip=6");
    let (_, told) = ask(&server, "GET", &asking, Value::Null).await;
    let asked = told["steps"][0]["found"].as_str().unwrap();
    assert!(
        asked.ends_with("by relay `fd00:88::1`, by DHCPv6"),
        "{asked}"
    );

    lab.power_on(MAC);
    lab.wait_for("dhcp-received").await;
    // A client that has its address is answered there, which works on loopback too.
    renew(&lab, MAC, LEASED);
    lab.wait_for("dhcp-sent").await;
    let (_, told) = ask(&server, "GET", &about(MAC, ""), Value::Null).await;
    let steps = told["steps"].as_array().unwrap();
    let last = steps.iter().find(|step| step["about"] == "last reply");
    let found = last.expect("a last reply")["found"].as_str().unwrap();
    assert!(found.contains("ACK 127.0.0.55"), "{found}");

    let (status, told) = ask(&server, "GET", &about(MAC, "interface=eth9"), Value::Null).await;
    assert_eq!(status, 409);
    assert!(told["error"].as_str().unwrap().contains("`lo`"), "{told}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_is_woken_on_every_interface_that_is_served() {
    let lab = Laboratory::new().await;
    let (told, woken) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let control = Control::running(Arc::clone(&lab.lab), Names::of(&lab.config)).with_waker(
        Arc::new(move |interface: &str, mac| {
            let told = told.lock().unwrap().send((interface.to_owned(), mac));
            told.map_err(std::io::Error::other)
        }),
    );
    let folder = lab.folder.path().join("state");
    let server = ControlServer::start(&folder, control.router()).unwrap();
    let path = paths::wake("5254.0000.0007");
    let (status, answer) = ask(&server, "POST", &path, Value::Null).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer, json!({ "mac": MAC, "interfaces": ["lo"] }));
    assert_eq!(
        woken.try_iter().collect::<Vec<_>>(),
        [("lo".to_owned(), MAC)]
    );
    server.stop().await;
}
