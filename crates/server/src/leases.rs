//! The lease writer: a thread that makes leases durable before their ACKs leave, as many at once as have come in.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use bootgate_api::UnixMicros;
use bootgate_events::EventKind;
use bootgate_netboot::Time;
use bootgate_store::{Granted, LeaseEnd, LeaseGrant, Store, StoreError};

use crate::context::Context;
use crate::{EventSink, Fact};

/// Messages that may wait to be written. At the rates that clients come in, this is some tenths of a second; who waits
/// longer asks again anyway.
const QUEUE: usize = 8192;
/// Messages that are written in one transaction. Their ACKs leave at once, so that a relay that serves many must have
/// room for as many: the usual receive buffer of Linux holds some 160.
const BATCH: usize = 64;

/// The lease writer's name as a service.
pub(crate) const LEASES: &str = "leases";

/// What became of the grants of one message: one outcome for each, or why none took effect. Called from the lease
/// writer's thread, or, where the queue is full, from the caller's.
pub(crate) type Done = Box<dyn FnOnce(Result<Vec<Granted>, NotWritten>) + Send>;

/// A moment of the DHCP servers' clock, which counts from 1970, as the store has it.
pub(crate) fn micros(time: Time) -> UnixMicros {
    UnixMicros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// Why a lease was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotWritten {
    /// There is no room on the disk.
    Full,
    /// The storage failed.
    Failed,
    /// Too many wait already.
    Behind,
}

impl NotWritten {
    /// Its name in the counters of drops.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            NotWritten::Full => "store-full",
            NotWritten::Failed => "store-failed",
            NotWritten::Behind => "writer-behind",
        }
    }

    /// In words.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            NotWritten::Full => "no space left on the disk to write the lease to",
            NotWritten::Failed => "the lease could not be written",
            NotWritten::Behind => "too many leases wait to be written",
        }
    }
}

/// Something to write.
enum Job {
    Grant { grants: Vec<LeaseGrant>, done: Done },
    End(LeaseEnd),
}

/// A way to the lease writer. The writer ends when the last of them is gone and all that came in is written.
#[derive(Clone)]
pub(crate) struct LeaseQueue {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicU64>,
}

impl LeaseQueue {
    /// Writes grants, then calls `done`.
    pub(crate) fn grant(&self, grants: Vec<LeaseGrant>, done: Done) {
        // Counted before, so that it never is taken first.
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.jobs.try_send(Job::Grant { grants, done });
        if sent.is_err() {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => job.fail(NotWritten::Behind),
            Err(TrySendError::Disconnected(job)) => job.fail(NotWritten::Failed),
        }
    }

    /// Writes the end of a lease. Where the queue is full the lease is kept until its time: nobody is told otherwise.
    /// Whether it will be written.
    pub(crate) fn end(&self, end: LeaseEnd) -> Result<(), NotWritten> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.jobs.try_send(Job::End(end));
        sent.map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            NotWritten::Behind
        })
    }

    /// Has the end of a lease written; one that cannot be is counted as a dropped message of that service.
    pub(crate) fn end_for(&self, context: &Context, service: &'static str, end: LeaseEnd) {
        let mac = Some(end.mac);
        if let Err(why) = self.end(end) {
            context.dropped_as(service, why.slug(), mac, why.as_str());
        }
    }
}

impl Job {
    fn fail(self, why: NotWritten) {
        if let Job::Grant { done, .. } = self {
            done(Err(why));
        }
    }
}

/// What the storage said when leases were last written; `None` where they were.
type Trouble = Arc<Mutex<Option<String>>>;

/// The thread and a way to it.
pub(crate) struct LeaseWriter {
    trouble: Trouble,
    waiting: Arc<AtomicU64>,
    queue: Mutex<Option<LeaseQueue>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LeaseWriter {
    /// Starts the thread.
    pub(crate) fn start(store: Arc<dyn Store>, sink: EventSink) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let trouble = Trouble::default();
        let waiting = Arc::<AtomicU64>::default();
        let writing = Writing {
            store,
            sink,
            trouble: Arc::clone(&trouble),
            waiting: Arc::clone(&waiting),
            failing: false,
        };
        let thread = std::thread::Builder::new()
            .name("leases".to_owned())
            .spawn(move || writing.run(&receiver))?;
        Ok(Self {
            trouble,
            queue: Mutex::new(Some(LeaseQueue {
                jobs: sender,
                waiting: Arc::clone(&waiting),
            })),
            waiting,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// A way to the writer; `None` after [`LeaseWriter::close`].
    pub(crate) fn queue(&self) -> Option<LeaseQueue> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.clone()
    }

    /// Messages that wait to be written.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// What the storage said when leases could last not be written, where none was written since.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    /// Waits until all that came in is written and the thread is gone. Every [`LeaseQueue`] must be gone before.
    pub(crate) fn close(&self) {
        drop(
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the lease writer panicked");
        }
    }
}

/// The thread's own.
struct Writing {
    store: Arc<dyn Store>,
    sink: EventSink,
    trouble: Trouble,
    waiting: Arc<AtomicU64>,
    /// Whether the storage failed when it was last used.
    failing: bool,
}

impl Writing {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut grants = Vec::new();
        let mut waiting = Vec::new();
        while let Ok(first) = jobs.recv() {
            let mut next = Some(first);
            while let Some(job) = next {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                match job {
                    Job::Grant { grants: more, done } => {
                        waiting.push((more.len(), done));
                        grants.extend(more);
                    }
                    // What it ends may be among the grants.
                    Job::End(end) => {
                        self.grant(&mut grants, &mut waiting);
                        self.end(&end);
                    }
                }
                next = (waiting.len() < BATCH)
                    .then(|| jobs.try_recv().ok())
                    .flatten();
            }
            self.grant(&mut grants, &mut waiting);
        }
    }

    /// Writes all grants in one transaction, then lets their replies go.
    fn grant(&mut self, grants: &mut Vec<LeaseGrant>, waiting: &mut Vec<(usize, Done)>) {
        if waiting.is_empty() {
            return;
        }
        let granted = self.store.grant_leases(grants);
        let expected = grants.len();
        grants.clear();
        match granted {
            Ok(outcomes) if outcomes.len() == expected => {
                self.works();
                let mut outcomes = outcomes.into_iter();
                for (count, done) in waiting.drain(..) {
                    done(Ok(outcomes.by_ref().take(count).collect()));
                }
            }
            Ok(_) => self.fail(waiting, NotWritten::Failed),
            Err(error) => {
                self.fails(&error);
                let why = reason(&error);
                self.fail(waiting, why);
            }
        }
    }

    /// The latest first, so that each finds what it replaced.
    fn fail(&self, waiting: &mut Vec<(usize, Done)>, why: NotWritten) {
        for (_, done) in waiting.drain(..).rev() {
            done(Err(why));
        }
    }

    fn end(&mut self, end: &LeaseEnd) {
        match self.store.end_lease(end) {
            Ok(()) => self.works(),
            Err(error) => self.fails(&error),
        }
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.failing) {
            // As loud as the failure, so that whoever read of that reads of this.
            tracing::warn!("leases are written again");
            self.say(None);
        }
    }

    /// Tells of the first failure in a row. The log is that of who takes the event.
    fn fails(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.failing, true) {
            (self.sink)(Fact {
                mac: None,
                attempt: None,
                kind: EventKind::ServerFailed {
                    service: LEASES.to_owned(),
                    error: error.to_string(),
                },
            });
        }
        self.say(Some(error.to_string()));
    }

    fn say(&self, trouble: Option<String>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

fn reason(error: &StoreError) -> NotWritten {
    match error {
        StoreError::Full { .. } => NotWritten::Full,
        _ => NotWritten::Failed,
    }
}

#[cfg(test)]
#[path = "../tests/common/store.rs"]
mod store;

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test")]

    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use bootgate_api::{LeaseState, UnixMicros};
    use bootgate_events::MacAddr;

    use std::time::Duration;

    use super::store::{FakeStore, Mood};
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn ip(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + number))
    }

    fn mac(number: u32) -> MacAddr {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr([2, 0, a, b, c, d])
    }

    fn grant(number: u32) -> Vec<LeaseGrant> {
        vec![LeaseGrant {
            ip: ip(number),
            mac: mac(number),
            subnet: "10.0.0.0/8".to_owned(),
            ends: UnixMicros(2_000_000),
            at: UnixMicros(1_000_000),
            client: None,
        }]
    }

    type Told = (u32, Result<Vec<Granted>, NotWritten>);

    fn tell(to: &Sender<Told>, number: u32) -> Done {
        let to = to.clone();
        Box::new(move |outcome| to.send((number, outcome)).unwrap())
    }

    struct Bench {
        store: Arc<FakeStore>,
        writer: LeaseWriter,
        queue: LeaseQueue,
        to: Sender<Told>,
        told: Receiver<Told>,
        events: Receiver<Fact>,
    }

    fn bench(mood: Mood) -> Bench {
        let store = Arc::<FakeStore>::default();
        store.set(mood);
        let (events_to, events) = channel();
        let sink: EventSink = Arc::new(move |fact| events_to.send(fact).unwrap());
        let writer = LeaseWriter::start(Arc::clone(&store) as _, sink).expect("a thread");
        let (to, told) = channel();
        Bench {
            queue: writer.queue().expect("it is open"),
            store,
            writer,
            to,
            told,
            events,
        }
    }

    #[test]
    fn what_does_not_fit_the_queue_is_refused_at_once() {
        let bench = bench(Mood::Waits);
        let most = u32::try_from(QUEUE + BATCH + 2).unwrap();
        for number in 0..most {
            bench.queue.grant(grant(number), tell(&bench.to, number));
        }
        let (number, outcome) = bench.told.recv_timeout(PATIENCE).expect("one is refused");
        assert_eq!(outcome, Err(NotWritten::Behind));
        assert!(number as usize >= QUEUE, "{number}: the newest goes first");
        bench.store.set(Mood::Works);
        drop(bench.queue);
        bench.writer.close();
        let rest: Vec<Told> = bench.told.try_iter().collect();
        assert_eq!(rest.len() + 1, most as usize, "nobody is forgotten");
        assert!(rest.iter().any(|(_, outcome)| outcome.is_ok()));
    }

    #[test]
    fn an_end_is_written_after_the_grant_before_it() {
        let bench = bench(Mood::Waits);
        bench.queue.grant(grant(1), tell(&bench.to, 1));
        let end = LeaseEnd {
            ip: ip(1),
            mac: mac(1),
            state: LeaseState::Ended,
            ends: UnixMicros(1_500_000),
            at: UnixMicros(1_500_000),
        };
        bench.queue.end(end).expect("there is room");
        bench.queue.grant(grant(2), tell(&bench.to, 2));
        bench.store.set(Mood::Works);
        drop(bench.queue);
        bench.writer.close();
        let order: Vec<u32> = bench.told.try_iter().map(|(number, _)| number).collect();
        assert_eq!(order, [1, 2]);
        assert_eq!(bench.store.lease(ip(1)).unwrap().state, LeaseState::Ended);
        assert_eq!(bench.store.lease(ip(2)).unwrap().state, LeaseState::Leased);
    }

    #[test]
    fn a_batch_that_fails_is_taken_back_from_its_end_and_told_once() {
        let bench = bench(Mood::Waits);
        bench.queue.grant(grant(0), tell(&bench.to, 0));
        while !bench.store.waiting() {
            std::thread::yield_now();
        }
        // These wait together while the first is with the store.
        for number in 1..=3 {
            bench.queue.grant(grant(number), tell(&bench.to, number));
        }
        bench.store.set(Mood::Full);
        drop(bench.queue);
        bench.writer.close();
        let told: Vec<Told> = bench.told.try_iter().collect();
        let full = |number| (number, Err(NotWritten::Full));
        assert_eq!(told, [full(0), full(3), full(2), full(1)]);
        let events: Vec<Fact> = bench.events.try_iter().collect();
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(events[0].kind.name(), "server-failed");
    }
}
