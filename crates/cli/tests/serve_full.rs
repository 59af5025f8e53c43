//! The disk of `bootgate serve` is full while it logs an attempt, and has room again.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod cable;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use bootgate_testkit::{in_namespaces, require_commands, require_root};
use cable::{BOOTGATE, Cable, sh, told};

const LAB: &str = "[[interface]]\nname = \"srv0\"\ndhcp = \"full\"\n\n[[subnet]]\nnetwork = \"10.77.0.0/24\"\n\
    ranges = \"10.77.0.100-10.77.0.109\"\n\n[metrics]\nlisten = \"127.0.0.1:9568\"\n\n\
    [discovery]\nmode = \"inventory\"\n\n[live]\nkernel = \"vmlinuz\"\n";

fn get(path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect("127.0.0.1:9568").expect("connect");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    .expect("ask");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

/// A client with a lease that asks by HTTP.
struct Client<'a> {
    cable: &'a Cable,
    ip: String,
    mac: String,
}

impl<'a> Client<'a> {
    /// Boots as firmware does, and has the address from then on.
    fn new(cable: &'a Cable) -> Self {
        let firmware = ["-x", "0x5d:0000", "-V", "PXEClient:Arch:00000:UNDI:002001"];
        let env = cable.udhcpc(&firmware).expect("an address");
        let ip = env.lines().find_map(|line| line.strip_prefix("ip="));
        let ip = ip.expect("an address").to_owned();
        cable.client(&format!("ip addr add {ip}/24 dev cli0"));
        let mac = cable.client("ip -br link show cli0 | awk '{ print $3 }'");
        let mac = mac.trim().to_owned();
        Self { cable, ip, mac }
    }

    /// The statuses of requests for these paths.
    fn ask(&self, paths: &str) -> String {
        let ip = &self.ip;
        self.cable.client(&format!(
            "curl -s --interface {ip} -o /dev/null -w '%{{http_code}} ' 'http://10.77.0.1{paths}'"
        ))
    }

    fn script(&self) -> String {
        self.ask(&format!("/boot/{}/boot.ipxe", self.mac))
            .trim()
            .to_owned()
    }
}

fn operator(cable: &Cable, arguments: &[&str]) -> Output {
    let mut command = Command::new(BOOTGATE);
    command
        .args(arguments)
        .env("BOOTGATE_STATE", cable.path("state"));
    command.output().expect("run bootgate")
}

/// Looks until it is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < end, "{what}: not in time");
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[test]
fn a_full_disk_is_told_stops_boots_and_loses_no_event() {
    require_root!();
    require_commands!("unshare", "nsenter", "ip", "udhcpc", "curl");
    assert!(in_namespaces(|| {
        let cable = Cable::new();
        let state = cable.path("state");
        std::fs::create_dir(&state).expect("a folder");
        sh(&format!(
            "mount -t tmpfs -o size=6m,mode=700 tmpfs {}",
            state.display()
        ));
        std::fs::write(cable.path("vmlinuz"), "a kernel").expect("a file");
        let config = cable.config(LAB);
        let mut server = cable.serve(&config);
        let client = Client::new(&cable);
        assert_eq!(client.script(), "200");
        assert_eq!(get("/readyz").0, 200);

        // Not a byte of room; each refusal is an event of a kilobyte.
        let _ = Command::new("dd")
            .args(["if=/dev/zero", "bs=4096"])
            .arg(format!("of={}", state.join("filler").display()))
            .output();
        let long = "x".repeat(900);
        let some = format!("/artifacts/[1-40]-{long}");
        until("the disk is full", || {
            client.ask(&some);
            get("/readyz").0 == 503
        });
        server.wait_for("no space left");
        let (_, why) = get("/readyz");
        assert!(why.contains("no space left"), "{why}");
        let page = get("/metrics").1;
        assert!(
            page.contains("bootgate_storage_failing{part=\"recorder\"} 1"),
            "{page}"
        );
        let status = told(&operator(&cable, &["status"]));
        assert!(
            status.contains("storage") && status.contains("no space left"),
            "{status}"
        );
        // A script that could not be relied on is not given; the server serves what needs no storage.
        assert_eq!(client.script(), "503");
        let refused = operator(&cable, &["machine", "set", &client.mac, "--name", "node1"]);
        assert_eq!(refused.status.code(), Some(3), "{}", told(&refused));
        assert!(
            told(&refused).contains("no space left"),
            "{}",
            told(&refused)
        );
        assert_eq!(get("/healthz").0, 200);

        std::fs::remove_file(state.join("filler")).expect("room");
        until("it works again", || get("/readyz").0 == 200);
        let done = operator(&cable, &["machine", "set", &client.mac, "--name", "node1"]);
        assert!(done.status.success(), "{}", told(&done));
        assert_eq!(client.script(), "200");
        assert!(cable.udhcpc(&[]).is_some());
        let page = get("/metrics").1;
        assert!(
            page.contains("bootgate_storage_failing{part=\"recorder\"} 0"),
            "{page}"
        );
        assert!(page.contains("bootgate_lost_events_total 0"), "{page}");

        // What is there is whole, also after a power cut.
        sh(&format!("kill -KILL {}", server.pid()));
        server.wait();
        let told_of = server.said.matches("no space left").count();
        assert!((1..=3).contains(&told_of), "{}", server.said);
        let _server = cable.serve(&config);
        let attempts = told(&operator(&cable, &["attempt", "list", "--format", "json"]));
        let mut whole = 0;
        for line in attempts.lines() {
            let attempt: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let id = attempt["id"].as_str().expect("a number");
            let out = cable.path(&format!("out-{id}"));
            let export = operator(
                &cable,
                &["attempt", "export", id, "--out", &out.display().to_string()],
            );
            assert!(export.status.success(), "{}", told(&export));
            let events = std::fs::read_to_string(out.join("events.jsonl")).expect("events");
            for (number, line) in events.lines().enumerate() {
                let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
                assert_eq!(event["seq"].as_u64(), u64::try_from(number).ok(), "{id}");
                whole += 1;
            }
        }
        assert!(whole > 40, "{whole} events");
    }));
}
