//! The lease writer: a thread that makes leases durable before their ACKs leave, as many at once as have come in.

use std::io;
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bootgate_events::EventKind;
use bootgate_store::{Granted, LeaseEnd, LeaseGrant, Store, StoreError};

use crate::{EventSink, Fact};

/// Messages that may wait to be written. At the rates that clients come in, this is some tenths of a second; who waits
/// longer asks again anyway.
const QUEUE: usize = 8192;
/// Messages that are written in one transaction. Their ACKs leave at once, so that a relay that serves many must have
/// room for as many: the usual receive buffer of Linux holds some 160.
const BATCH: usize = 64;
/// Shortest time between two events that say that leases cannot be written.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What became of the grants of one message: one outcome for each, or why none took effect. Called from the lease
/// writer's thread, or, where the queue is full, from the caller's.
pub(crate) type Done = Box<dyn FnOnce(Result<Vec<Granted>, NotWritten>) + Send>;

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
pub(crate) struct LeaseQueue(SyncSender<Job>);

impl LeaseQueue {
    /// Writes grants, then calls `done`.
    pub(crate) fn grant(&self, grants: Vec<LeaseGrant>, done: Done) {
        let sent = self.0.try_send(Job::Grant { grants, done });
        match sent {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => job.fail(NotWritten::Behind),
            Err(TrySendError::Disconnected(job)) => job.fail(NotWritten::Failed),
        }
    }

    /// Writes the end of a lease. Where the queue is full the lease is kept until its time: nobody is told otherwise.
    /// Whether it will be written.
    pub(crate) fn end(&self, end: LeaseEnd) -> Result<(), NotWritten> {
        let sent = self.0.try_send(Job::End(end));
        sent.map_err(|_| NotWritten::Behind)
    }
}

impl Job {
    fn fail(self, why: NotWritten) {
        if let Job::Grant { done, .. } = self {
            done(Err(why));
        }
    }
}

/// The thread and a way to it.
pub(crate) struct LeaseWriter {
    queue: Mutex<Option<LeaseQueue>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LeaseWriter {
    /// Starts the thread.
    pub(crate) fn start(store: Arc<dyn Store>, sink: EventSink) -> io::Result<Self> {
        let (sender, receiver) = mpsc::sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("leases".to_owned())
            .spawn(move || {
                let told = None;
                Writing { store, sink, told }.run(&receiver);
            })?;
        Ok(Self {
            queue: Mutex::new(Some(LeaseQueue(sender))),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// A way to the writer; `None` after [`LeaseWriter::close`].
    pub(crate) fn queue(&self) -> Option<LeaseQueue> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.clone()
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
    /// When it was last told that leases cannot be written.
    told: Option<Instant>,
}

impl Writing {
    fn run(mut self, jobs: &Receiver<Job>) {
        let mut grants = Vec::new();
        let mut waiting = Vec::new();
        while let Ok(first) = jobs.recv() {
            let mut next = Some(first);
            while let Some(job) = next {
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
                let mut outcomes = outcomes.into_iter();
                for (count, done) in waiting.drain(..) {
                    done(Ok(outcomes.by_ref().take(count).collect()));
                }
            }
            Ok(_) => self.fail(waiting, NotWritten::Failed),
            Err(error) => {
                self.tell(&error);
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
        if let Err(error) = self.store.end_lease(end) {
            self.tell(&error);
        }
    }

    fn tell(&mut self, error: &StoreError) {
        if self.told.is_some_and(|told| told.elapsed() < TELL_EVERY) {
            return;
        }
        self.told = Some(Instant::now());
        tracing::error!("write leases: {error}");
        (self.sink)(Fact {
            mac: None,
            attempt: None,
            kind: EventKind::ServerFailed {
                service: "leases".to_owned(),
                error: error.to_string(),
            },
        });
    }
}

fn reason(error: &StoreError) -> NotWritten {
    match error {
        StoreError::Full { .. } => NotWritten::Full,
        _ => NotWritten::Failed,
    }
}
