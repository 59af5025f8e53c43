//! Server-sent events: a reader that was cut off goes on where it was.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "common/door.rs"]
mod client;
mod common;
#[path = "common/laboratory.rs"]
mod laboratory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bootgate_api::BootMode;
use bootgate_api::access::{NewToken, Role};
use bootgate_api::control::paths;
use bootgate_events::{Event, EventKind, MacAddr};
use bootgate_server::control::{Control, Names};
use bootgate_server::door::{Accounts, Door, DoorConfig};
use bootgate_server::lab::now;
use bootgate_store::{AttemptFilter, NewAttempt, Store};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;

use client::begin;
use common::PATIENCE;
use laboratory::{Laboratory, MAC, OTHER};

const THIRD: MacAddr = MacAddr([0x52, 0x54, 0, 0, 0, 9]);

/// A lab's door on the network.
struct House {
    door: Door,
    token: String,
}

impl House {
    async fn of(lab: &Laboratory) -> Self {
        let state = lab.folder.path().join("state");
        let accounts = Arc::new(Accounts::open(&state).unwrap());
        let new = NewToken {
            name: format!("reader-{}", accounts.tokens().len()),
            role: Role::Viewer,
            expires_in: None,
        };
        let token = accounts.add_token(&new, now()).unwrap().text.0;
        let control = Control::running(Arc::clone(&lab.lab), Names::of(&lab.config));
        let router = control.with_accounts(Arc::clone(&accounts)).router();
        let config = DoorConfig {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            ..DoorConfig::default()
        };
        let door = Door::start(config, accounts, router).await.unwrap();
        Self { door, token }
    }

    /// Follows from behind the event with this id.
    async fn follow(&self, path: &str, last: Option<&str>) -> Reader {
        let (status, reader) = self.try_follow(path, last).await;
        assert_eq!(status, 200);
        reader.expect("events")
    }

    async fn try_follow(&self, path: &str, last: Option<&str>) -> (u16, Option<Reader>) {
        let bearer = format!("Bearer {}", self.token);
        let mut headers = vec![
            ("authorization", bearer.as_str()),
            ("accept", "text/event-stream"),
        ];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let to = self.door.addresses()[0];
        let open = begin(to, &format!("GET {path}"), &headers, "").await;
        let stream = open.head.contains("content-type: text/event-stream");
        let reader = stream.then_some(Reader {
            rest: open.rest,
            last: last.map(str::to_owned),
        });
        (open.status, reader)
    }
}

/// One that reads as the standard says (HTML Living Standard, section 9.2.6).
struct Reader {
    rest: BufReader<TcpStream>,
    last: Option<String>,
}

impl Reader {
    /// The next event that has data; `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        let mut data = String::new();
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(PATIENCE, self.rest.read_line(&mut line)).await;
            if read.expect("a line in time").ok()? == 0 {
                return None;
            }
            match line.trim_end_matches('\n').split_once(": ") {
                Some(("id", id)) => self.last = Some(id.to_owned()),
                Some(("data", text)) => data.push_str(text),
                Some(("" | "retry", _)) => {}
                None if line == "\n" => {
                    if !data.is_empty() {
                        return Some(serde_json::from_str(&data).expect(&data));
                    }
                }
                _ => panic!("unexpected: {line}"),
            }
        }
    }

    /// Reads so many.
    async fn some(&mut self, count: usize, into: &mut Vec<Event>) {
        for _ in 0..count {
            into.push(self.next().await.expect("one more"));
        }
    }
}

/// Every attempt's events, as they were told: each once, and in order.
fn told(events: &[Event]) -> BTreeMap<String, Vec<u64>> {
    let mut by: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in events {
        by.entry(event.run.as_str().to_owned())
            .or_default()
            .push(event.seq);
    }
    by
}

/// The same of what is stored.
fn stored(store: &dyn Store) -> BTreeMap<String, Vec<u64>> {
    let attempts = store.attempts(&AttemptFilter::default()).unwrap();
    let of = |id: &bootgate_events::AttemptId| {
        let events = store.events(id, 0, 10_000).unwrap();
        events.iter().map(|event| event.seq).collect()
    };
    let all = attempts.iter();
    all.map(|attempt| (attempt.id.to_string(), of(&attempt.id)))
        .collect()
}

fn is_end(event: &Event) -> bool {
    matches!(event.kind(), Some(EventKind::RunFinished { .. }))
}

/// A machine boots its disk: its attempt has its verdict.
async fn boots(lab: &mut Laboratory, mac: MacAddr) {
    lab.power_on(mac);
    lab.wait_for("dhcp-received").await;
    assert!(lab.script(mac).await.contains("#!ipxe"));
    lab.wait_for("run-finished").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_was_cut_off_again_and_again_misses_nothing_and_hears_nothing_twice() {
    let mut lab = Laboratory::new().await;
    // Something was there before anybody listened.
    boots(&mut lab, THIRD).await;
    let before = stored(&*lab.store);
    let house = House::of(&lab).await;
    let mut events = Vec::new();
    let mut reader = house.follow(paths::EVENTS, None).await;
    boots(&mut lab, MAC).await;
    reader.some(2, &mut events).await;
    let mut last = reader.last.clone();
    drop(reader);
    // Cut off while another machine boots, too, and after each event from then on.
    boots(&mut lab, OTHER).await;
    let wanted: usize = stored(&*lab.store)
        .iter()
        .filter(|(id, _)| !before.contains_key(*id))
        .map(|(_, events)| events.len())
        .sum();
    while events.len() < wanted {
        let mut reader = house.follow(paths::EVENTS, last.as_deref()).await;
        reader.some(1, &mut events).await;
        last = reader.last;
    }
    // The server starts anew meanwhile.
    house.door.stop().await;
    let mut lab = lab.restart().await;
    let house = House::of(&lab).await;
    boots(&mut lab, MAC).await;
    let mut reader = house.follow(paths::EVENTS, last.as_deref()).await;
    let mut ends = 0;
    while ends < 1 {
        reader.some(1, &mut events).await;
        ends += usize::from(events.last().is_some_and(is_end));
    }
    let mut wanted = stored(&*lab.store);
    wanted.retain(|id, _| !before.contains_key(id));
    assert_eq!(wanted.len(), 3);
    assert_eq!(told(&events), wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_one_machine_hears_of_no_other() {
    let mut lab = Laboratory::new().await;
    let house = House::of(&lab).await;
    let path = format!("{}?machine={MAC}", paths::EVENTS);
    let mut reader = house.follow(&path, None).await;
    boots(&mut lab, OTHER).await;
    boots(&mut lab, MAC).await;
    let mut events = Vec::new();
    reader.some(1, &mut events).await;
    let last = reader.last.clone();
    drop(reader);
    boots(&mut lab, OTHER).await;
    let mut reader = house.follow(&path, last.as_deref()).await;
    while !events.last().is_some_and(is_end) {
        reader.some(1, &mut events).await;
    }
    let told = told(&events);
    assert_eq!(told.len(), 1, "{told:?}");
    let (id, seqs) = told.first_key_value().unwrap();
    let attempt = lab.store.attempt(&id.as_str().into()).unwrap().unwrap();
    assert_eq!(attempt.mac, MAC);
    let count = seqs.len() as u64;
    assert_eq!(*seqs, (0..count).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_is_followed_to_its_end_and_not_asked_for_again() {
    let mut lab = Laboratory::new().await;
    let house = House::of(&lab).await;
    lab.power_on(MAC);
    lab.wait_for("dhcp-received").await;
    let path = paths::events(&MAC.to_string());
    let mut events = Vec::new();
    let mut reader = house.follow(&path, None).await;
    reader.some(1, &mut events).await;
    assert_eq!(reader.last.as_deref(), Some("0"));
    drop(reader);
    assert!(lab.script(MAC).await.contains("#!ipxe"));
    lab.wait_for("run-finished").await;
    let mut reader = house.follow(&path, Some("0")).await;
    while let Some(event) = reader.next().await {
        events.push(event);
    }
    assert!(events.last().is_some_and(is_end));
    assert_eq!(told(&events), stored(&*lab.store));
    // A reader by the standard comes again at the end, and is told that there is nothing more.
    let (status, _) = house.try_follow(&path, reader.last.as_deref()).await;
    assert_eq!(status, 204);
    for (path, last) in [(path.as_str(), "x"), (paths::EVENTS, "1,2")] {
        assert_eq!(house.try_follow(path, Some(last)).await.0, 400, "{path}");
    }
}

/// One that listens and does not read: it holds nobody up, is told why it was cut off, and goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_cut_off_and_goes_on_later() {
    let lab = Laboratory::new().await;
    // An attempt with so many events that no buffer takes them all.
    let attempt = lab
        .store
        .open_attempt(&NewAttempt {
            mac: MAC,
            boot: BootMode::Local,
            local: false,
            expected: None,
            at: now(),
        })
        .unwrap();
    let house = House::of(&lab).await;
    let filler = "x".repeat(8000);
    let events: Vec<Event> = (0..4000)
        .map(|seq| {
            serde_json::from_value(serde_json::json!({
                "schema": 1, "seq": seq, "mono_us": seq, "wall_us": seq,
                "run": attempt.id, "attempt": attempt.id, "kind": "filler", "text": filler,
            }))
            .unwrap()
        })
        .collect();
    lab.store.append_events(&events).unwrap();
    let path = paths::events(attempt.id.as_str());
    let mut reader = house.follow(&path, None).await;
    let first = reader.next().await.expect("an event");
    assert_eq!(first.seq, 0);
    // Nothing tells a reader that does not read that it was too slow; the time is what is tested.
    tokio::time::sleep(Duration::from_secs(23)).await;
    let mut last = first.seq;
    let mut dropped = false;
    let mut line = String::new();
    loop {
        line.clear();
        let read = tokio::time::timeout(PATIENCE, reader.rest.read_line(&mut line)).await;
        if read.expect("a line in time").unwrap_or(0) == 0 {
            break;
        }
        if let Some(id) = line.strip_prefix("id: ") {
            last = id.trim().parse().unwrap();
        }
        dropped |= line == "event: dropped\n";
    }
    assert!(dropped, "it is told why");
    assert!(last < 3999, "{last}");
    let mut reader = house.follow(&path, Some(&last.to_string())).await;
    for seq in last + 1..4000 {
        assert_eq!(reader.next().await.expect("one more").seq, seq);
    }
}
