//! One clock, one order: everything that happens in a run passes through the [`Recorder`].

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bootgate_events::{
    AttemptId, Event, EventBody, EventKind, RunId, SCHEMA, TargetName, Verdict, VerdictRules,
};
use bootgate_report::Reporter;
use bootgate_scenario::fold::{Action, Deadline, Fold};

use crate::HarnessError;
use crate::error::is_full;

/// A fact on its way into the log.
#[derive(Debug)]
pub(crate) struct Fact {
    pub(crate) target: Option<TargetName>,
    pub(crate) attempt: Option<AttemptId>,
    pub(crate) kind: EventKind,
}

impl Fact {
    /// A fact about the run as a whole.
    pub(crate) fn of_run(kind: EventKind) -> Self {
        Self {
            target: None,
            attempt: None,
            kind,
        }
    }

    /// A fact about one target.
    pub(crate) fn of(target: &TargetName, kind: EventKind) -> Self {
        Self {
            target: Some(target.clone()),
            attempt: None,
            kind,
        }
    }
}

/// Numbers every fact, writes it to `events.jsonl` first, folds it, then tells the reporters.
pub(crate) struct Recorder {
    run: RunId,
    started: Instant,
    started_wall_us: u64,
    next_seq: u64,
    log: File,
    log_length: u64,
    folder: PathBuf,
    /// The disk became full, and the fold was not told yet.
    full: bool,
    consoles: BTreeMap<TargetName, Console>,
    fold: Fold,
    reporters: Vec<Box<dyn Reporter>>,
}

struct Console {
    file: File,
    length: u64,
}

impl Recorder {
    /// Opens the log in `folder` and makes the fold for `rules`.
    pub(crate) fn create(
        folder: &Path,
        run: RunId,
        rules: &VerdictRules,
        reporters: Vec<Box<dyn Reporter>>,
    ) -> Result<Self, HarnessError> {
        let path = folder.join(crate::folder::EVENTS);
        let log = File::create(&path).map_err(HarnessError::io("create the event log", &path))?;
        let fold = Fold::new(rules).map_err(|error| HarnessError::Rules(error.to_string()))?;
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Ok(Self {
            run,
            started: Instant::now(),
            started_wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
            next_seq: 0,
            log,
            log_length: 0,
            folder: folder.to_owned(),
            full: false,
            consoles: BTreeMap::new(),
            fold,
            reporters,
        })
    }

    /// Microseconds since the run started.
    pub(crate) fn now_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The instant that lies `us` microseconds after the start of the run.
    pub(crate) fn instant_at(&self, us: u64) -> Instant {
        self.started + std::time::Duration::from_micros(us)
    }

    /// Records a fact and everything that the fold concludes from it; what is left to do is returned.
    pub(crate) fn record(&mut self, fact: Fact) -> Result<Vec<Action>, HarnessError> {
        let mut actions = self.apply(fact, &[])?;
        actions.extend(self.tell_of_full_disk()?);
        Ok(actions)
    }

    /// A full disk ends the run as a fault of the host, while the reserve lasts.
    fn tell_of_full_disk(&mut self) -> Result<Vec<Action>, HarnessError> {
        if !std::mem::take(&mut self.full) {
            return Ok(Vec::new());
        }
        let error = HarnessError::infra(
            "disk-full",
            format!("the file system of `{}` is full", self.folder.display()),
            crate::error::FULL_HINT,
        );
        self.apply(Fact::of_run(error.to_event()), &[])
    }

    /// Stores console bytes in the target's console log and records them as a fact.
    pub(crate) fn record_console(
        &mut self,
        target: &TargetName,
        bytes: &[u8],
    ) -> Result<Vec<Action>, HarnessError> {
        let path = crate::folder::console_log(&self.folder, target);
        if !self.consoles.contains_key(target) {
            let file =
                File::create(&path).map_err(HarnessError::io("create the console log", &path))?;
            self.consoles
                .insert(target.clone(), Console { file, length: 0 });
        }
        let Some(console) = self.consoles.get_mut(target) else {
            return Ok(Vec::new());
        };
        if let Err(error) = write_whole(&mut console.file, console.length, bytes) {
            if !(is_full(&error) && crate::folder::release_reserve(&self.folder)) {
                return Err(HarnessError::io("write the console log", &path)(error));
            }
            self.full = true;
            write_whole(&mut console.file, console.length, bytes)
                .map_err(HarnessError::io("write the console log", &path))?;
        }
        let chunk = EventKind::ConsoleChunk {
            offset: console.length,
            len: bytes.len() as u64,
        };
        console.length += bytes.len() as u64;
        let mut actions = self.apply(Fact::of(target, chunk), bytes)?;
        actions.extend(self.tell_of_full_disk()?);
        Ok(actions)
    }

    fn apply(&mut self, fact: Fact, payload: &[u8]) -> Result<Vec<Action>, HarnessError> {
        let event = self.envelope(fact);
        self.append(&event)?;
        let step = self.fold.apply(&event, payload);
        self.tell(&event, payload);
        for (target, kind) in step.conclusions {
            let conclusion = Event {
                seq: self.next_seq,
                attempt: None,
                target,
                body: EventBody::Known(kind),
                ..event.clone()
            };
            self.next_seq += 1;
            self.append(&conclusion)?;
            self.tell(&conclusion, &[]);
        }
        Ok(step.actions)
    }

    fn envelope(&mut self, fact: Fact) -> Event {
        let mono_us = self.now_us();
        let seq = self.next_seq;
        self.next_seq += 1;
        Event {
            schema: SCHEMA,
            seq,
            mono_us,
            wall_us: self.started_wall_us.saturating_add(mono_us),
            run: self.run.clone(),
            attempt: fact.attempt,
            target: fact.target,
            body: EventBody::Known(fact.kind),
        }
    }

    fn append(&mut self, event: &Event) -> Result<(), HarnessError> {
        let mut line = serde_json::to_vec(event)
            .map_err(io::Error::from)
            .map_err(|error| HarnessError::Io {
                doing: "encode an event for",
                path: self.folder.clone(),
                error,
            })?;
        line.push(b'\n');
        if let Err(error) = write_whole(&mut self.log, self.log_length, &line) {
            let path = self.folder.join(crate::folder::EVENTS);
            if !(is_full(&error) && crate::folder::release_reserve(&self.folder)) {
                return Err(HarnessError::io("write the event log", &path)(error));
            }
            self.full = true;
            write_whole(&mut self.log, self.log_length, &line)
                .map_err(HarnessError::io("write the event log", &path))?;
        }
        self.log_length += line.len() as u64;
        Ok(())
    }

    fn tell(&mut self, event: &Event, console: &[u8]) {
        for reporter in &mut self.reporters {
            reporter.event(event, console);
        }
    }

    /// When the fold wants to be told that time is up.
    pub(crate) fn next_deadline(&self) -> Option<Deadline> {
        self.fold.next_deadline()
    }

    /// The run's verdict, once every target has one.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        self.fold.verdict()
    }

    /// Lets the reporters finish and closes the log.
    pub(crate) fn finish(mut self) -> Result<(), HarnessError> {
        for reporter in &mut self.reporters {
            reporter.finish();
        }
        let path = self.folder.join(crate::folder::EVENTS);
        self.log
            .sync_data()
            .map_err(HarnessError::io("sync the event log", &path))
    }
}

/// Appends all of `bytes` to a file of `length` bytes, or leaves it as long as it was.
fn write_whole(file: &mut File, length: u64, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes).inspect_err(|_| {
        // The write that failed may have left a part of it. Where it cannot be cut off, the log ends there.
        let _ = file
            .set_len(length)
            .and_then(|()| file.seek(io::SeekFrom::Start(length)));
    })
}
