//! A lab whose storage fails for a while.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test"
)]

mod common;
#[path = "common/laboratory.rs"]
mod laboratory;

use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bootgate_api::{
    Attempt, ExpectedFlash, FlashOrder, Inventory, Lease, Machine, Nonce, UnixMicros, paths,
};
use bootgate_events::{AttemptId, Event, EventKind, MacAddr, TargetVerdict, Verdict};
use bootgate_scenario::fold::replay;
use bootgate_server::lab::LabStatus;
use bootgate_store::sqlite::Sqlite;
use bootgate_store::{
    AttemptFilter, BeginFlash, Completed, Discovered, Discovery, Granted, IssuedNonce, LeaseEnd,
    LeaseGrant, MachineChange, NewAttempt, Store, StoreError,
};
use bootgate_testkit::require_commands;
use laboratory::{Laboratory, MAC, completion, order};

/// A store whose disk can be full, altogether or for verdicts.
struct Brittle {
    store: Sqlite,
    full: AtomicBool,
    no_verdicts: AtomicBool,
}

impl Brittle {
    fn room(&self) -> Result<(), StoreError> {
        match self.full.load(Ordering::SeqCst) {
            true => Err(StoreError::Full {
                doing: "write".to_owned(),
            }),
            false => Ok(()),
        }
    }
}

impl Store for Brittle {
    fn grant_leases(&self, grants: &[LeaseGrant]) -> Result<Vec<Granted>, StoreError> {
        self.room()?;
        self.store.grant_leases(grants)
    }

    fn end_lease(&self, end: &LeaseEnd) -> Result<(), StoreError> {
        self.room()?;
        self.store.end_lease(end)
    }

    fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.store.leases()
    }

    fn forget_lease(&self, ip: IpAddr) -> Result<bool, StoreError> {
        self.room()?;
        self.store.forget_lease(ip)
    }

    fn prune_leases(&self, before: UnixMicros) -> Result<u64, StoreError> {
        self.room()?;
        self.store.prune_leases(before)
    }

    fn machine(&self, mac: &MacAddr) -> Result<Option<Machine>, StoreError> {
        self.store.machine(mac)
    }

    fn machines(&self) -> Result<Vec<Machine>, StoreError> {
        self.store.machines()
    }

    fn discover_machine(&self, discovery: &Discovery) -> Result<Discovered, StoreError> {
        self.room()?;
        self.store.discover_machine(discovery)
    }

    fn set_machine(
        &self,
        mac: &MacAddr,
        change: &MachineChange,
        at: UnixMicros,
    ) -> Result<Machine, StoreError> {
        self.room()?;
        self.store.set_machine(mac, change, at)
    }

    fn arm_flash(
        &self,
        mac: &MacAddr,
        order: &FlashOrder,
        always: bool,
        at: UnixMicros,
    ) -> Result<Machine, StoreError> {
        self.room()?;
        self.store.arm_flash(mac, order, always, at)
    }

    fn forget_machine(&self, mac: &MacAddr) -> Result<bool, StoreError> {
        self.room()?;
        self.store.forget_machine(mac)
    }

    fn open_attempt(&self, new: &NewAttempt) -> Result<Attempt, StoreError> {
        self.room()?;
        self.store.open_attempt(new)
    }

    fn issue_nonce(
        &self,
        attempt: &AttemptId,
        nonce: &Nonce,
        peer: IpAddr,
    ) -> Result<IssuedNonce, StoreError> {
        self.room()?;
        self.store.issue_nonce(attempt, nonce, peer)
    }

    fn attempt_by_nonce(&self, nonce: &Nonce) -> Result<Option<Attempt>, StoreError> {
        self.store.attempt_by_nonce(nonce)
    }

    fn begin_flash(&self, nonce: &Nonce) -> Result<BeginFlash, StoreError> {
        self.room()?;
        self.store.begin_flash(nonce)
    }

    fn complete_flash(
        &self,
        nonce: &Nonce,
        written: &ExpectedFlash,
        at: UnixMicros,
    ) -> Result<Completed, StoreError> {
        self.room()?;
        self.store.complete_flash(nonce, written, at)
    }

    fn record_inventory(&self, nonce: &Nonce, inventory: &Inventory) -> Result<(), StoreError> {
        self.room()?;
        self.store.record_inventory(nonce, inventory)
    }

    fn finish_attempt(
        &self,
        attempt: &AttemptId,
        verdict: &TargetVerdict,
        at: UnixMicros,
    ) -> Result<Attempt, StoreError> {
        self.room()?;
        if self.no_verdicts.load(Ordering::SeqCst) {
            let doing = "finish".to_owned();
            return Err(StoreError::Full { doing });
        }
        self.store.finish_attempt(attempt, verdict, at)
    }

    fn attempt(&self, id: &AttemptId) -> Result<Option<Attempt>, StoreError> {
        self.store.attempt(id)
    }

    fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, StoreError> {
        self.store.attempts(filter)
    }

    fn append_events(&self, events: &[Event]) -> Result<(), StoreError> {
        self.room()?;
        self.store.append_events(events)
    }

    fn events(
        &self,
        attempt: &AttemptId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        self.store.events(attempt, from, limit)
    }

    fn prune_attempts(&self, keep: u32) -> Result<u64, StoreError> {
        self.room()?;
        self.store.prune_attempts(keep)
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.room()?;
        self.store.backup(to)
    }
}

fn brittle(folder: &Path) -> Arc<Brittle> {
    Arc::new(Brittle {
        store: Sqlite::open(folder).unwrap(),
        full: AtomicBool::new(false),
        no_verdicts: AtomicBool::new(false),
    })
}

#[tokio::test]
async fn an_attempt_whose_verdict_was_not_stored_ends_once() {
    require_commands!("curl");
    let mut lab = Laboratory::on(brittle).await;
    lab.store.no_verdicts.store(true, Ordering::SeqCst);
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    lab.script(MAC).await;
    assert_eq!(lab.verdict().await, Verdict::Passed);
    let lab = lab.restart_on(laboratory::open).await;
    let attempt = lab.attempts().remove(0);
    assert_eq!(attempt.verdict.unwrap().verdict, Verdict::Passed);
    let events = lab.store.events(&attempt.id, 0, 1000).unwrap();
    let ends = events
        .iter()
        .filter(|event| event.kind().unwrap().name() == "run-finished");
    assert_eq!(ends.count(), 1, "{events:#?}");
}

#[tokio::test]
async fn what_is_old_is_forgotten_by_a_server_that_runs_for_one_boot() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    for boot in 0..2 {
        lab.power_on(MAC);
        lab.wait_for("attempt-opened").await;
        lab.script(MAC).await;
        assert_eq!(lab.verdict().await, Verdict::Passed, "boot {boot}");
    }
    let long_ago = UnixMicros(bootgate_server::lab::now().0 - 31 * 24 * 3600 * 1_000_000);
    let lease = |last: u8, ends: u64| LeaseGrant {
        ip: IpAddr::from([127, 0, 0, last]),
        mac: MacAddr([2, 0, 0, 0, 0, last]),
        subnet: "127.0.0.0/8".to_owned(),
        ends: UnixMicros(ends),
        at: long_ago,
        client: None,
    };
    let leases = [
        lease(51, long_ago.0),
        lease(52, long_ago.0 + 2 * 24 * 3600 * 1_000_000),
    ];
    lab.store.grant_leases(&leases).unwrap();
    lab.config.keep_attempts = 1;
    let mut lab = lab.restart().await;
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    lab.script(MAC).await;
    assert_eq!(lab.verdict().await, Verdict::Passed);
    // The verdict is told after what is old is forgotten.
    assert_eq!(lab.attempts().len(), 1);
    let kept: Vec<_> = lab.store.leases().unwrap();
    assert!(
        !kept.iter().any(|lease| lease.ip == leases[0].ip),
        "{kept:?}"
    );
    assert!(
        kept.iter().any(|lease| lease.ip == leases[1].ip),
        "{kept:?}"
    );
}

#[tokio::test]
async fn a_flood_of_requests_does_not_fill_the_log_of_an_attempt() {
    use std::io::{Read, Write};
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    let nonce = lab.nonce(MAC).await;
    let (address, store) = (lab.http(), Arc::clone(&lab.store));
    let id = lab.attempts().remove(0).id;
    tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // What is refused is logged some times only; a file that is fetched is logged each time.
        let round =
            "GET /artifacts/bootgate-live/kernel HTTP/1.1\r\nHost: x\r\nRange: bytes=0-0\r\n\r\n";
        let round = round.repeat(100);
        let mut answer = vec![0; 64 << 10];
        // Some get lost where they come faster than they are stored; a thousand more than fit come in any case.
        let mut more = 10;
        while more > 0 {
            let long = !store.events(&id, 24_990, 1).unwrap().is_empty();
            more -= i32::from(long);
            stream.write_all(round.as_bytes()).unwrap();
            let mut answers = Vec::new();
            let heads =
                |answers: &[u8]| answers.windows(4).filter(|end| *end == b"\r\n\r\n").count();
            while heads(&answers) < 100 {
                let read = stream.read(&mut answer).unwrap();
                answers.extend_from_slice(&answer[..read]);
            }
        }
    })
    .await
    .unwrap();
    lab.begin_flash(&nonce).await;
    let (status, _) = lab.post(&paths::complete(&nonce), &completion()).await;
    assert_eq!(status, "200");
    let attempt = lab.attempts().remove(0);
    let ended = |attempt: Option<Attempt>| attempt.unwrap().verdict;
    // The listener of these tests does not keep up with a flood.
    let began = std::time::Instant::now();
    while ended(lab.store.attempt(&attempt.id).unwrap()).is_none() {
        assert!(began.elapsed() < std::time::Duration::from_secs(60));
        tokio::task::yield_now().await;
    }
    let verdict = ended(lab.store.attempt(&attempt.id).unwrap()).unwrap();
    assert_eq!(verdict.verdict, Verdict::Passed);
    let events = lab.store.events(&attempt.id, 0, 100_000).unwrap().len();
    assert!((25_000..26_100).contains(&events), "{events}");
    assert!(lab.lab.status().unwrap().lost_events > 1000);
}

#[tokio::test]
async fn an_endless_path_is_cut_in_the_log() {
    require_commands!("curl");
    let mut lab = Laboratory::new().await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;
    lab.nonce(MAC).await;
    let long = format!("/{}", "x".repeat(20_000));
    assert_eq!(lab.call(&long, &[]).await.0, "404");
    let told = lab.wait("a refusal", |kind| match kind {
        EventKind::RequestRefused { path, .. } => Some(path.len()),
        _ => None,
    });
    assert_eq!(told.await, 1024);
}

#[tokio::test]
async fn a_full_disk_stops_boots_and_loses_nothing() {
    require_commands!("curl");
    let mut lab = Laboratory::on(brittle).await;
    lab.lab.arm_flash(&MAC, &order(), false).unwrap();
    lab.power_on(MAC);
    lab.wait_for("attempt-opened").await;

    lab.store.full.store(true, Ordering::SeqCst);
    let (status, body) = lab.call(&paths::script(&MAC), &[]).await;
    assert_eq!(status, "503", "no nonce leaves that is not stored: {body}");
    assert!(lab.lab.status().unwrap().storage_error.is_some());
    assert_eq!(
        lab.call("/artifacts/bootgate-live/kernel", &[]).await.0,
        "200"
    );

    lab.store.full.store(false, Ordering::SeqCst);
    let nonce = lab.nonce(MAC).await;
    lab.begin_flash(&nonce).await;
    lab.wait_for("agent-progressed").await;

    lab.store.full.store(true, Ordering::SeqCst);
    let (status, _) = lab.post(&paths::complete(&nonce), &completion()).await;
    assert_eq!(
        status, "503",
        "no completion is answered that is not stored"
    );
    lab.store.full.store(false, Ordering::SeqCst);
    let (status, _) = lab.post(&paths::complete(&nonce), &completion()).await;
    assert_eq!(status, "200");
    assert_eq!(lab.verdict().await, Verdict::Passed);
    let status = lab.lab.status().unwrap();
    assert_eq!((status.storage_error, status.lost_events), (None, 0));
    let attempt = lab
        .store
        .attempts(&AttemptFilter::default())
        .unwrap()
        .remove(0);
    let events = lab.store.events(&attempt.id, 0, 1000).unwrap();
    let replayed = replay(&events, |_, _, _| Ok(Vec::new())).unwrap();
    assert_eq!(
        (replayed.verdict, replayed.differences.len()),
        (Some(Verdict::Passed), 0)
    );
}

/// Everything that the servers log in this process, as a program's log shows it: warnings and worse.
struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl Log {
    /// How many lines there are with this in them.
    fn count(&self, part: &str) -> usize {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.contains(part)).count()
    }
}

/// Hands on to [`LOG`].
struct Listener;

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Text(String);
        impl tracing::field::Visit for Text {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0 += &format!("{value:?}");
            }
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        LOG.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Asks again and again for an address until the server's status is as `wanted` says.
async fn renew_until<S: Store>(lab: &mut Laboratory<S>, wanted: impl Fn(&LabStatus) -> bool) {
    let began = std::time::Instant::now();
    loop {
        // An operating system's client, whose messages the recorder leaves out.
        lab.dhcp(MAC, 3, &[50, 4, 127, 0, 0, 50, 54, 4, 127, 0, 0, 1]);
        let a_while = began.elapsed() + std::time::Duration::from_millis(300);
        while began.elapsed() < a_while {
            if wanted(&lab.lab.status().unwrap()) {
                return;
            }
            tokio::task::yield_now().await;
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(30));
    }
}

/// How many leases could not be written.
fn unwritten(status: &LabStatus) -> u64 {
    let key = ("dhcp".to_owned(), "store-full".to_owned());
    status.dropped.get(&key).copied().unwrap_or(0)
}

#[tokio::test]
async fn leases_that_cannot_be_written_are_told_of_once_and_again_when_they_can() {
    tracing::subscriber::set_global_default(Listener).unwrap();
    let mut lab = Laboratory::on(brittle).await;
    renew_until(&mut lab, |_| true).await;
    for round in 1..=2 {
        lab.store.full.store(true, Ordering::SeqCst);
        renew_until(&mut lab, |status| status.storage_error.is_some()).await;
        let status = lab.lab.status().unwrap();
        let error = status.storage_error.as_deref().unwrap();
        assert!(error.contains("no space left"), "{error}");
        // More that fail are no news.
        let before = unwritten(&status);
        renew_until(&mut lab, |status| unwritten(status) > before + 1).await;
        assert_eq!(LOG.count("leases cannot be written"), round);
        assert_eq!(LOG.count("the leases server failed"), 0);
        lab.store.full.store(false, Ordering::SeqCst);
        renew_until(&mut lab, |status| status.storage_error.is_none()).await;
        assert_eq!(LOG.count("leases are written again"), round);
    }
    assert_eq!(lab.store.leases().unwrap().len(), 1);
}
