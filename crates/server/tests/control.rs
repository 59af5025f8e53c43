//! The operators' door: a real socket, and the real store behind it.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bootgate_api::control::{SOCKET, paths};
use bootgate_api::{
    AfterFlash, BootMode, DiskSelector, ExpectedFlash, FlashOrder, Nonce, Sha256Hex, UnixMicros,
};
use bootgate_events::{
    AttemptId, Event, EventKind, MacAddr, SCHEMA, TargetName, TargetVerdict, Verdict,
};
use bootgate_server::control::{Control, ControlError, ControlServer, Names};
use bootgate_store::sqlite::Sqlite;
use bootgate_store::{LeaseGrant, NewAttempt, Store};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
const MAC: MacAddr = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
const OTHER: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 9]);

/// A control interface over a state in a folder of its own.
struct Door {
    store: Arc<dyn Store>,
    server: Option<ControlServer>,
    folder: tempfile::TempDir,
}

fn state(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("state")
}

impl Door {
    fn open() -> Self {
        Self::with(|control| control)
    }

    fn with(change: impl FnOnce(Control) -> Control) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&state(&folder)).unwrap());
        let control = change(Control::stored(Arc::clone(&store)));
        let server = ControlServer::start(&state(&folder), control.router()).unwrap();
        Self {
            store,
            server: Some(server),
            folder,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = ask(&state(&self.folder).join(SOCKET), method, path, body).await;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, value)
    }

    async fn get(&self, path: &str) -> Value {
        let (status, value) = self.ask("GET", path, "").await;
        assert_eq!(status, 200, "{path}: {value}");
        value
    }

    /// A refusal: its status, error and hint.
    async fn refused(&self, method: &str, path: &str, body: Value) -> (u16, String, String) {
        let (status, value) = self.ask(method, path, &body.to_string()).await;
        assert!(status >= 400, "{path}: {value}");
        let text = |name: &str| value[name].as_str().expect("a problem").to_owned();
        (status, text("error"), text("hint"))
    }

    async fn set(&self, who: &str, update: Value) -> Value {
        let (status, value) = self
            .ask("PATCH", &paths::machine(who), &update.to_string())
            .await;
        assert_eq!(status, 200, "{value}");
        value
    }

    /// An attempt to flash, with its nonce given out.
    fn flashing(&self, mac: MacAddr, at: u64) -> (AttemptId, Nonce) {
        let order = flash();
        self.store
            .arm_flash(&mac, &order, false, UnixMicros(at))
            .unwrap();
        let attempt = self
            .store
            .open_attempt(&NewAttempt {
                mac,
                boot: BootMode::FlashOnce(order),
                local: false,
                expected: Some(expected()),
                at: UnixMicros(at),
            })
            .unwrap();
        let nonce = Nonce::from_bytes([u8::try_from(at % 256).unwrap(); 16]);
        let peer = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7));
        self.store.issue_nonce(&attempt.id, &nonce, peer).unwrap();
        (attempt.id, nonce)
    }
}

fn flash() -> FlashOrder {
    FlashOrder {
        image: "debian".to_owned(),
        disk: DiskSelector {
            serial: Some("S1".to_owned()),
            ..DiskSelector::default()
        },
        after: AfterFlash::Reboot,
    }
}

fn digest(letter: char) -> Sha256Hex {
    serde_json::from_value(json!(letter.to_string().repeat(64))).unwrap()
}

fn expected() -> ExpectedFlash {
    ExpectedFlash {
        image_sha256: digest('a'),
        chunks_sha256: digest('b'),
        size: 1 << 20,
    }
}

fn verdict(verdict: Verdict) -> TargetVerdict {
    TargetVerdict {
        name: TargetName::from("node"),
        verdict,
        stages: Vec::new(),
        image_sha256: None,
        disk_sha256: None,
        disk_proof: None,
        disk_ranges: Vec::new(),
    }
}

fn event(attempt: &AttemptId, seq: u64, kind: EventKind) -> Event {
    Event {
        schema: SCHEMA,
        seq,
        mono_us: seq * 1000,
        wall_us: seq * 1000,
        run: attempt.as_str().into(),
        attempt: Some(attempt.clone()),
        target: None,
        body: kind.into(),
    }
}

/// One request on a connection of its own: HTTP 1.0, so that the body ends with the connection.
async fn ask(socket: &Path, method: &str, path: &str, body: &str) -> (u16, String) {
    let asking = async {
        let mut stream = UnixStream::connect(socket).await.unwrap();
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.0\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(PATIENCE, asking)
        .await
        .expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").parse().unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn the_socket_is_for_the_servers_user_alone_and_goes_with_the_server() {
    let mut door = Door::open();
    let folder = state(&door.folder);
    let socket = folder.join(SOCKET);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(&folder), 0o700);
    let server = door.server.take().unwrap();
    assert_eq!(server.path(), socket);
    // A connection that asks nothing does not hold the server up.
    let idle = UnixStream::connect(&socket).await.unwrap();
    tokio::time::timeout(PATIENCE, server.stop()).await.unwrap();
    assert!(!socket.exists());
    drop(idle);
    let left: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("control"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = state(&folder);
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&path).unwrap());
    let router = || Control::stored(Arc::clone(&store)).router();
    // As a killed server leaves it: the file is there, and nobody listens.
    drop(std::os::unix::net::UnixListener::bind(path.join(SOCKET)).unwrap());
    let server = ControlServer::start(&path, router()).unwrap();
    let again = ControlServer::start(&path, router());
    assert!(matches!(again, Err(ControlError::Taken { .. })));
    let (status, _) = ask(&path.join(SOCKET), "GET", paths::STATUS, "").await;
    assert_eq!(status, 200);
    drop(server);
    assert!(!path.join(SOCKET).exists());

    std::fs::write(path.join(SOCKET), "a file of somebody's").unwrap();
    let foreign = ControlServer::start(&path, router());
    assert!(matches!(foreign, Err(ControlError::Foreign { .. })));
    assert!(path.join(SOCKET).is_file());

    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
    let refused = ControlServer::start(&open, router());
    assert!(matches!(
        refused,
        Err(ControlError::Open { mode: 0o777, .. })
    ));
}

#[tokio::test]
async fn machines_are_set_listed_shown_and_forgotten() {
    let door = Door::open();
    let update = json!({ "name": "node1", "labels": { "rack": "3", "row": "a" } });
    let set = door.set("5254.0012.3456", update).await;
    assert_eq!(set["mac"], "52:54:00:12:34:56");
    assert_eq!(set["boot"]["mode"], "local");
    door.set(
        &OTHER.to_string(),
        json!({ "boot": { "mode": "inventory" } }),
    )
    .await;

    // By name from now on; what is not named stays.
    let update = json!({ "labels": { "row": null }, "local": { "drive": 0x81 } });
    let set = door.set("node1", update).await;
    assert_eq!(set["labels"], json!({ "rack": "3" }));
    assert_eq!(set["local"], json!({ "drive": 129 }));
    assert_eq!(door.get(&paths::machine("node1")).await, set);

    let macs = async |query: &str| -> Vec<Value> {
        let list = door.get(&format!("{}{query}", paths::MACHINES)).await;
        let list = list.as_array().unwrap();
        list.iter().map(|machine| machine["mac"].clone()).collect()
    };
    assert_eq!(macs("").await, [json!(OTHER), json!(MAC)]);
    assert_eq!(macs("?mode=inventory").await, [json!(OTHER)]);
    assert_eq!(macs("?label=rack").await, [json!(MAC)]);
    assert_eq!(macs("?label=rack%3D3&mode=local").await, [json!(MAC)]);
    assert_eq!(macs("?label=rack%3D4").await, Vec::<Value>::new());

    let (status, value) = door.ask("DELETE", &paths::machine("node1"), "").await;
    assert_eq!((status, value), (200, json!({ "known": true })));
    let (status, error, hint) = door
        .refused("GET", &paths::machine("node1"), json!(null))
        .await;
    assert_eq!(
        (status, error.as_str()),
        (404, "no machine is named `node1`")
    );
    assert!(hint.contains("hardware address"), "{hint}");
    let (status, error, _) = door
        .refused("GET", &paths::machine("525400123456"), json!(null))
        .await;
    assert_eq!(
        (status, error.as_str()),
        (404, "no machine `52:54:00:12:34:56` is known")
    );
}

#[tokio::test]
async fn modes_that_are_not_there_and_half_orders_are_refused_with_a_hint() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let door = Door::with(|control| {
        control.with_names(Names {
            images: names(&["debian"]),
            installers: names(&[]),
            scripts: names(&["menu"]),
        })
    });
    let disk = json!({ "serial": "S1" });
    let cases = [
        (
            json!({ "mode": "interactive" }),
            "`interactive` is not there yet",
            "local",
        ),
        (
            json!({ "mode": "ramboot" }),
            "`ramboot` is not there yet",
            "local",
        ),
        (
            json!({ "mode": "flash" }),
            "`flash` is not a boot mode",
            "flash-once",
        ),
        (json!({ "mode": "flash-once" }), "needs an image", "--image"),
        (
            json!({ "mode": "flash-once", "image": "debian" }),
            "needs a disk",
            "serial=",
        ),
        (
            json!({ "mode": "flash-once", "image": "debain", "disk": disk }),
            "knows no image `debain`",
            "`debian`",
        ),
        (
            json!({ "mode": "flash-always", "image": "debian", "disk": { "path": "sda" } }),
            "`sda` is not a device",
            "/dev/sda",
        ),
        (
            json!({ "mode": "flash-always", "image": "debian", "disk": { "min_size": 2, "max_size": 1 } }),
            "no disk has 2 bytes",
            "comes first",
        ),
        (
            json!({ "mode": "install", "installer": "sled" }),
            "knows no installer `sled`",
            "has no installers",
        ),
        (
            json!({ "mode": "install" }),
            "needs an installer",
            "--installer",
        ),
        (
            json!({ "mode": "script", "script": "meun" }),
            "knows no script `meun`",
            "`menu`",
        ),
        (
            json!({ "mode": "local", "image": "debian" }),
            "does not go with boot mode `local`",
            "flash-once",
        ),
    ];
    for (boot, error, hint) in cases {
        let body = json!({ "boot": boot });
        let machine = paths::machine("52:54:00:12:34:56");
        let (status, said, help) = door.refused("PATCH", &machine, body).await;
        assert_eq!(status, 422, "{said}");
        assert!(said.contains(error), "{said}");
        assert!(help.contains(hint), "{said}: {help}");
    }
    let armed = json!({ "image": "other", "disk": disk });
    let (status, error, _) = door
        .refused("POST", &paths::arm(&MAC.to_string()), armed)
        .await;
    assert_eq!(status, 422);
    assert!(error.contains("knows no image `other`"), "{error}");
    for none in ["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
        let armed = json!({ "image": "debian", "disk": { "serial": "S1" } });
        let asked = [
            ("PATCH", paths::machine(none), json!({})),
            ("POST", paths::arm(none), armed),
        ];
        for (method, path, body) in asked {
            let (status, error, _) = door.refused(method, &path, body).await;
            assert_eq!(status, 422, "{method} {path}: {error}");
        }
    }
    // Nothing was made known on the way.
    assert_eq!(door.get(paths::MACHINES).await, json!([]));
}

#[tokio::test]
async fn names_are_one_machines_and_never_read_as_addresses() {
    let door = Door::open();
    door.set(&MAC.to_string(), json!({ "name": "node1" })).await;
    let other = paths::machine(&OTHER.to_string());
    for bad in ["deadbeefcafe", "-x", "a b", "a/b"] {
        let (status, error, _) = door.refused("PATCH", &other, json!({ "name": bad })).await;
        assert_eq!(status, 422, "{error}");
    }
    let (status, error, hint) = door
        .refused("PATCH", &other, json!({ "name": "node1" }))
        .await;
    assert_eq!(status, 409, "{error}");
    assert!(!hint.is_empty());
    for address in [
        "ff:ff:ff:ff:ff:ff",
        "01:00:5e:00:00:01",
        "00:00:00:00:00:00",
    ] {
        let (status, error, _) = door
            .refused("PATCH", &paths::machine(address), json!({ "name": "x" }))
            .await;
        assert_eq!(status, 422, "{error}");
    }
    for label in [
        json!({ "": "x" }),
        json!({ "a=b": "x" }),
        json!({ "a": "b\nc" }),
    ] {
        let (status, error, _) = door
            .refused("PATCH", &other, json!({ "labels": label }))
            .await;
        assert_eq!(status, 422, "{error}");
    }
    // An empty name takes it away, and another may have it.
    door.set("node1", json!({ "name": "" })).await;
    door.set(&OTHER.to_string(), json!({ "name": "node1" }))
        .await;
}

#[tokio::test]
async fn a_half_written_disk_is_not_set_to_boot_unless_by_force() {
    let door = Door::open();
    let (attempt, nonce) = door.flashing(MAC, 1);
    door.store.begin_flash(&nonce).unwrap();
    let cut = Verdict::Interrupted {
        signal: "x".to_owned(),
    };
    door.store
        .finish_attempt(&attempt, &verdict(cut), UnixMicros(2))
        .unwrap();
    let path = paths::machine(&MAC.to_string());
    let local = json!({ "boot": { "mode": "local" } });
    let (status, error, hint) = door.refused("PATCH", &path, local).await;
    assert_eq!(status, 409, "{error}");
    assert!(hint.contains("--force"), "{hint}");

    let shown = door.get(&path).await;
    assert_eq!(shown["failed_flashes"], 1);
    let (status, again) = door.ask("POST", &paths::retry(&MAC.to_string()), "").await;
    assert_eq!(status, 200, "{again}");
    assert_eq!(again["failed_flashes"], 0);
    assert_eq!(again["boot"], shown["boot"]);

    let forced = json!({ "boot": { "mode": "local" }, "force": true });
    assert_eq!(
        door.set(&MAC.to_string(), forced).await["boot"]["mode"],
        "local"
    );
    let (status, error, hint) = door
        .refused("POST", &paths::retry(&MAC.to_string()), json!({}))
        .await;
    assert_eq!(status, 409, "{error}");
    assert!(hint.contains("bootgate machine arm"), "{hint}");
}

#[tokio::test]
async fn machines_are_woken_where_somebody_can() {
    let door = Door::open();
    let who = paths::wake(&MAC.to_string());
    let order = json!({ "interface": "eth9" });
    assert_eq!(door.refused("POST", &who, order.clone()).await.0, 501);

    let woken = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&woken);
    let door = Door::with(|control| {
        control.with_waker(Arc::new(move |interface: &str, mac| match interface {
            "eth9" => {
                seen.lock().unwrap().push(mac);
                Ok(())
            }
            _ => Err(std::io::Error::other("no such interface")),
        }))
    });
    let (status, answer) = door.ask("POST", &who, &order.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer, json!({ "mac": MAC, "interfaces": ["eth9"] }));
    assert_eq!(*woken.lock().unwrap(), [MAC]);
    let (status, error, _) = door
        .refused("POST", &who, json!({ "interface": "eth8" }))
        .await;
    assert_eq!(status, 500);
    assert!(
        error.contains("eth8") && error.contains("no such interface"),
        "{error}"
    );
    // Nobody knows the interfaces while no server runs.
    let (status, _, hint) = door.refused("POST", &who, json!({})).await;
    assert_eq!(status, 409);
    assert!(hint.contains("--interface"), "{hint}");
}

#[tokio::test]
async fn leases_are_listed_and_forgotten() {
    let door = Door::open();
    let grant = |last: u8, mac| LeaseGrant {
        ip: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
        mac,
        subnet: "10.0.0.0/24".to_owned(),
        ends: UnixMicros(4_000_000_000_000_000),
        at: UnixMicros(1),
        client: None,
    };
    door.store
        .grant_leases(&[grant(9, OTHER), grant(7, MAC)])
        .unwrap();
    assert_eq!(door.get(paths::STATUS).await["leases"], 2);
    let all = door.get(paths::LEASES).await;
    assert_eq!(all[0]["ip"], "10.0.0.7");
    assert_eq!(all[1]["ip"], "10.0.0.9");
    let one = door
        .get(&format!("{}?machine=52-54-00-12-34-56", paths::LEASES))
        .await;
    assert_eq!(one, json!([all[0]]));
    for known in [true, false] {
        let (status, told) = door.ask("DELETE", &paths::lease("10.0.0.7"), "").await;
        assert_eq!((status, told), (200, json!({ "known": known })));
    }
    let (status, error, _) = door
        .refused("DELETE", &paths::lease("10.0.0"), json!(null))
        .await;
    assert_eq!(status, 422, "{error}");
}

#[tokio::test]
async fn attempts_are_listed_shown_and_their_events_are_lines() {
    let door = Door::open();
    let (first, _) = door.flashing(MAC, 1);
    let passed = verdict(Verdict::Passed);
    door.store
        .finish_attempt(&first, &passed, UnixMicros(2))
        .unwrap();
    let (second, _) = door.flashing(MAC, 3);
    let (other, _) = door.flashing(OTHER, 4);
    // More than are read at once.
    let events: Vec<Event> = (0..600)
        .map(|seq| {
            let kind = EventKind::TransferProgressed { id: 1, bytes: seq };
            event(&second, seq, kind)
        })
        .collect();
    door.store.append_events(&events).unwrap();

    let ids = async |query: &str| -> Vec<Value> {
        let list = door.get(&format!("{}{query}", paths::ATTEMPTS)).await;
        let list = list.as_array().unwrap();
        list.iter().map(|attempt| attempt["id"].clone()).collect()
    };
    assert_eq!(ids("").await, [json!(other), json!(second), json!(first)]);
    assert_eq!(ids("?limit=1").await, [json!(other)]);
    assert_eq!(
        ids("?open=true&machine=525400123456").await,
        [json!(second)]
    );
    assert_eq!(
        ids(&format!("?before={other}&limit=1")).await,
        [json!(second)]
    );

    // By number, by short number, and a machine for its latest.
    for who in [first.as_str(), "a1"] {
        let shown = door.get(&paths::attempt(who)).await;
        assert_eq!(shown["verdict"]["verdict"], "passed", "{shown}");
        // What a machine proves itself by is shown to nobody.
        assert!(!shown.to_string().contains("0101"), "{shown}");
    }
    let latest = door.get(&paths::attempt(&MAC.to_string())).await;
    assert_eq!(latest["id"], json!(second));
    let (status, error, _) = door
        .refused("GET", &paths::attempt("a99"), json!(null))
        .await;
    assert_eq!((status, error.as_str()), (404, "no attempt `a99` is known"));

    let lines = async |query: &str| -> Vec<Event> {
        let path = format!("{}{query}", paths::events(second.as_str()));
        let (status, text) = ask(&state(&door.folder).join(SOCKET), "GET", &path, "").await;
        assert_eq!(status, 200, "{text}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    assert_eq!(lines("").await, events);
    assert_eq!(lines("?from=598").await, events[598..]);
    // Nothing new comes where no server runs: what is stored, and the end.
    assert_eq!(lines("?from=599&follow=true").await, events[599..]);
    assert_eq!(door.refused("GET", paths::EVENTS, json!(null)).await.0, 409);
}

#[tokio::test]
async fn a_copy_is_written_once_and_where_it_was_said() {
    let door = Door::open();
    door.set(&MAC.to_string(), json!({ "name": "node1" })).await;
    let file = door.folder.path().join("copy.db");
    let order = json!({ "path": file });
    let (status, told) = door.ask("POST", paths::BACKUP, &order.to_string()).await;
    assert_eq!((status, &told), (200, &order));
    let (status, error, hint) = door.refused("POST", paths::BACKUP, order).await;
    assert!(status >= 400, "{error}");
    assert!(hint.contains("does not exist yet"), "{hint}");
    let relative = json!({ "path": "copy.db" });
    assert_eq!(door.refused("POST", paths::BACKUP, relative).await.0, 422);

    let restored = door.folder.path().join("restored");
    bootgate_store::sqlite::restore(&file, &restored).unwrap();
    let copy = Sqlite::open(&restored).unwrap();
    let machines = copy.machines().unwrap();
    assert_eq!(machines[0].name.as_deref(), Some("node1"));
}

#[tokio::test]
async fn without_a_server_explain_says_what_is_stored() {
    let door = Door::open();
    let (attempt, _) = door.flashing(MAC, 1);
    let about = |machine: &str, asking: &str| {
        let (machine, asking) = (paths::escaped(machine), paths::escaped(asking));
        format!("{}?machine={machine}&as={asking}", paths::EXPLAIN)
    };
    let told = door
        .get(&about("5254.0012.3456", "arch=0x7,class=iPXE"))
        .await;
    let steps = told["steps"].to_string();
    for part in [
        "none runs",
        "flash-once",
        "image `debian`",
        attempt.as_str(),
    ] {
        assert!(steps.contains(part), "no {part}: {steps}");
    }
    let outcome = told["outcome"].as_str().unwrap();
    assert!(outcome.contains("image `debian`"), "{outcome}");
    let unknown = door.get(&about("52:54:00:00:00:99", "")).await;
    assert!(unknown["steps"].to_string().contains("not known"));
    for bad in ["arch", "arch=x", "arch=70000", "colour=red"] {
        let (status, error, hint) = door.refused("GET", &about("x", bad), json!(null)).await;
        assert_eq!(status, 422, "{error}");
        assert!(!hint.is_empty());
    }
    let (status, _, _) = door.refused("GET", &about("nobody", ""), json!(null)).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn nonsense_is_answered_by_a_problem() {
    let door = Door::open();
    let machine = paths::machine(&MAC.to_string());
    for (method, path, body, status) in [
        ("GET", "/", "", 404),
        ("GET", "/api/v1/attempts/x/plan", "", 404),
        ("POST", paths::STATUS, "{}", 405),
        ("PATCH", &machine, "{", 400),
        ("PATCH", &machine, r#"{ "nmae": "x" }"#, 400),
        ("PATCH", &machine, r#"{ "boot": "local" }"#, 400),
        ("PATCH", &machine, &" ".repeat(70_000), 413),
        ("GET", "/api/v1/machines?colour=red", "", 400),
        ("GET", "/api/v1/attempts?limit=-1", "", 400),
        ("GET", "/api/v1/explain", "", 400),
        ("GET", "/api/v1/machines/%ff", "", 400),
    ] {
        let (found, told) = door.ask(method, path, body).await;
        assert_eq!(found, status, "{method} {path}: {told}");
        if path.contains('%') {
            continue;
        }
        assert!(told["error"].is_string(), "{method} {path}: {told}");
    }
    assert_eq!(door.get(paths::STATUS).await["server"], Value::Null);
}
