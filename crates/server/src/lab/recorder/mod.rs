//! The one thread that writes a lab's record: it opens, judges and finishes attempts, and answers what must be durable
//! before it leaves.
//!
//! Facts and requests come through one bounded queue, in the order in which they happened. What came in together is
//! appended to the store in one transaction; answers go out after it.

mod attempts;
mod calls;
mod finish;
mod health;
mod mailbox;
mod open;
mod restore;

use std::collections::HashMap;
use std::io::Read;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bootgate_api::{Nonce, UnixMicros};
use bootgate_events::{AttemptId, Event, EventKind, MacAddr, TargetVerdict};
use bootgate_store::{Store, StoreError};
use tokio::sync::{broadcast, oneshot};

use super::decide::{Latest, PerSecond};
use super::known::Known;
use super::now as wall_now;
use super::shelf::Shelf;
use crate::metrics::Metrics;
pub(super) use health::Health;
pub use mailbox::UnderWay;
pub(super) use mailbox::{Given, Mailbox, Message};
use open::Open;

/// Facts and requests that may wait. Facts beyond are counted and lost; requests are refused.
const QUEUE: usize = 8192;
/// Messages that are taken together at most.
const BATCH: usize = 512;
/// Events that wait for a storage that fails, at most.
const WAITING_EVENTS: usize = 20_000;
/// Longest sleep without a message.
const IDLE: Duration = Duration::from_secs(3600);
/// Time between two tries of a storage that fails.
const RETRY: Duration = Duration::from_secs(1);
/// A machine that is not heard of for so long is not waited for: an agent tells its progress each second, and a kernel
/// starts in less.
const QUIET_US: u64 = 60_000_000;
/// Addresses, transfers and finished attempts kept in mind.
const REMEMBERED: usize = 8192;

/// What the recorder works with.
pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) known: Arc<Known>,
    pub(super) library: Arc<Shelf>,
    pub(super) live: broadcast::Sender<(AttemptId, Event)>,
    pub(super) health: Arc<Health>,
    pub(super) metrics: Option<Arc<Metrics>>,
}

/// The recorder's thread. It ends when told to, or when dropped.
pub(super) struct RecorderThread {
    queue: SyncSender<Message>,
    thread: Option<JoinHandle<()>>,
}

impl RecorderThread {
    /// Restores what is open and starts. Blocks for the storage.
    pub(super) fn start(parts: Parts) -> Result<(Self, Mailbox), StoreError> {
        let (queue, messages) = sync_channel(QUEUE);
        let mailbox = Mailbox {
            queue: queue.clone(),
            known: Arc::clone(&parts.known),
            health: Arc::clone(&parts.health),
        };
        let mut recorder = Recorder::new(parts);
        recorder.restore()?;
        let thread = std::thread::Builder::new()
            .name("recorder".to_owned())
            .spawn(move || recorder.run(&messages))
            .map_err(|error| StoreError::Storage {
                doing: "start the recorder".to_owned(),
                source: Box::new(error),
            })?;
        let thread = Some(thread);
        Ok((Self { queue, thread }, mailbox))
    }

    /// Writes what is not written, and waits for the thread. Blocks.
    pub(super) fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The queue may be full; the recorder empties it.
        let _ = self.queue.send(Message::Stop);
        if thread.join().is_err() {
            tracing::error!("the recorder panicked");
        }
    }
}

impl Drop for RecorderThread {
    fn drop(&mut self) {
        self.end();
    }
}

/// The recorder's state; nobody else has it.
struct Recorder {
    parts: Parts,
    clock: Clock,
    open: HashMap<MacAddr, Open>,
    /// What is known of the latest attempts that are over.
    over: HashMap<MacAddr, Latest>,
    /// Attempts whose verdict is not stored yet.
    unfinished: Vec<(AttemptId, MacAddr, TargetVerdict, UnixMicros)>,
    /// Whose transfers these are, and the attempts that they began in.
    transfers: HashMap<u64, (MacAddr, AttemptId)>,
    /// Whose addresses these are, as their DHCP messages said.
    peers: HashMap<IpAddr, MacAddr>,
    log: Vec<Event>,
    /// Events that are stored and not told yet.
    stored: Vec<Event>,
    answers: Vec<Box<dyn FnOnce() + Send>>,
    discoveries: PerSecond,
    finished: u32,
    /// Whether the storage failed when it was last used.
    failing: bool,
    /// Before this, a storage that failed is not tried again with what waits.
    retry: Option<Instant>,
    stopping: bool,
}

/// Wall-clock time that does not jump.
struct Clock {
    wall_us: u64,
    started: Instant,
}

impl Clock {
    fn now_us(&self) -> u64 {
        let passed = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.wall_us.saturating_add(passed)
    }
}

impl Recorder {
    fn new(parts: Parts) -> Self {
        Self {
            parts,
            clock: Clock {
                wall_us: wall_now().0,
                started: Instant::now(),
            },
            open: HashMap::new(),
            over: HashMap::new(),
            unfinished: Vec::new(),
            transfers: HashMap::new(),
            peers: HashMap::new(),
            log: Vec::new(),
            stored: Vec::new(),
            answers: Vec::new(),
            discoveries: PerSecond::default(),
            // A server that runs for a few boots at a time looks too.
            finished: finish::PRUNE_EVERY,
            failing: false,
            retry: None,
            stopping: false,
        }
    }

    fn run(mut self, messages: &Receiver<Message>) {
        while !self.stopping {
            match messages.recv_timeout(self.pause()) {
                Ok(message) => self.take(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            for message in messages.try_iter().take(BATCH) {
                self.take(message);
            }
            self.expire();
            // At the end it is tried once more in any case.
            self.retry
                .take_if(|at| *at <= Instant::now() || self.stopping);
            self.settle();
        }
    }

    /// How long there is nothing to do but to wait for messages.
    fn pause(&self) -> Duration {
        let now_us = self.clock.now_us();
        let due = self.open.values().filter_map(Open::deadline);
        let due = due.map(|(at_us, _)| Duration::from_micros(at_us.saturating_sub(now_us)));
        let retry = self
            .retry
            .map(|at| at.saturating_duration_since(Instant::now()));
        due.chain(retry).min().unwrap_or(IDLE).min(IDLE)
    }

    fn take(&mut self, message: Message) {
        if !matches!(message, Message::Stop) {
            self.parts.health.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        match message {
            Message::Fact(fact) => self.fact(*fact),
            Message::Boot(ask, reply) => {
                let given = self.boot(&ask);
                self.answer(reply, given);
            }
            Message::Call(call, reply) => {
                let answered = self.call(&call);
                self.answer(reply, answered);
            }
            Message::UnderWay(reply) => {
                let under_way = self.under_way();
                self.answer(reply, under_way);
            }
            Message::Ping(reply) => self.answer(reply, ()),
            Message::Stop => self.stopping = true,
        }
    }

    /// The machines that were given something to boot, have no verdict, and were heard of lately.
    fn under_way(&self) -> Vec<UnderWay> {
        let now_us = self.clock.now_us();
        let under_way = self.open.values().filter(|open| {
            let quiet_us = now_us.saturating_sub(open.heard_us());
            open.attempt.nonces > 0 && open.verdict().is_none() && quiet_us < QUIET_US
        });
        let under_way = under_way.map(|open| UnderWay {
            machine: open.target.to_string(),
            attempt: open.attempt.id.clone(),
            mode: open.attempt.boot.name().to_owned(),
            stage: open.stage(),
        });
        under_way.collect()
    }

    /// Answers once what was logged before is durable.
    fn answer<T: Send + 'static>(&mut self, reply: oneshot::Sender<T>, answer: T) {
        self.answers.push(Box::new(move || {
            // The client may be gone.
            let _ = reply.send(answer);
        }));
    }

    /// Logs the deadlines that are due.
    fn expire(&mut self) {
        let now_us = self.clock.now_us();
        for open in self.open.values_mut() {
            while let Some((at_us, expired)) = open.deadline()
                && at_us <= now_us
                && open.verdict().is_none()
            {
                open.take(expired, now_us, &mut self.log);
            }
        }
    }

    /// Writes, answers, finishes what has its verdict.
    fn settle(&mut self) {
        self.flush();
        for answer in std::mem::take(&mut self.answers) {
            answer();
        }
        let judged = self
            .open
            .iter()
            .filter(|(_, open)| open.verdict().is_some());
        let judged: Vec<_> = judged.map(|(mac, _)| *mac).collect();
        for mac in judged {
            self.close(&mac);
        }
        self.finish_all();
        self.tell();
    }

    /// Tells who listens. An attempt's last event is told when its verdict is stored too.
    fn tell(&mut self) {
        for event in self.stored.drain(..) {
            if let Some(attempt) = event.attempt.clone() {
                // Nobody may be listening.
                let _ = self.parts.live.send((attempt, event));
            }
        }
    }

    /// Appends what was logged, in one transaction.
    fn flush(&mut self) {
        if self.log.is_empty() {
            return;
        }
        if self.retry.is_some() {
            return self.keep_log_bounded();
        }
        match self.parts.store.append_events(&self.log) {
            Ok(()) => {
                self.works();
                self.stored.append(&mut self.log);
            }
            Err(error) => {
                self.fails(&error);
                self.keep_log_bounded();
            }
        }
    }

    fn keep_log_bounded(&mut self) {
        let over = self.log.len().saturating_sub(WAITING_EVENTS);
        self.log.truncate(WAITING_EVENTS);
        let lost = u64::try_from(over).unwrap_or(u64::MAX);
        self.parts.health.lost.fetch_add(lost, Ordering::Relaxed);
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::warn!("the storage works again");
            self.parts.health.set_storage_error(None);
        }
    }

    fn fails(&mut self, error: &StoreError) {
        if let Some(metrics) = &self.parts.metrics {
            metrics.storage_failed();
        }
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!("{error}");
        }
        self.parts.health.set_storage_error(Some(error.to_string()));
        self.retry = Some(Instant::now() + RETRY);
    }

    /// Logs a fact of a machine's open attempt, and what follows from it.
    fn record(&mut self, mac: &MacAddr, kind: EventKind) {
        let now_us = self.clock.now_us();
        let Some(open) = self.open.get_mut(mac) else {
            return;
        };
        let script = matches!(
            &kind,
            EventKind::TransferCompleted {
                role: bootgate_events::ArtifactRole::Script,
                ..
            }
        );
        // The refusal comes first: a configuration that only says so is not the script that the mode asks for.
        let then = open.after_script.take_if(|_| script);
        let (before, after) = match then {
            Some(refused @ EventKind::BootRefused { .. }) => (Some(refused), None),
            then => (None, then),
        };
        for kind in before.into_iter().chain([kind]).chain(after) {
            open.take(kind, now_us, &mut self.log);
        }
        if let Some(proof) = open.proof() {
            open.take(proof, now_us, &mut self.log);
        }
    }
}

/// Keeps a map from growing for ever: where it is full it starts anew.
fn remember<K: std::hash::Hash + Eq, V>(map: &mut HashMap<K, V>, key: K, value: V) {
    if map.len() >= REMEMBERED && !map.contains_key(&key) {
        map.clear();
    }
    map.insert(key, value);
}

/// A fresh nonce: 16 bytes of the kernel's randomness.
fn fresh_nonce() -> std::io::Result<Nonce> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(Nonce::from_bytes(bytes))
}
