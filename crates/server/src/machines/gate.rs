//! A gate's desk: each machine boots what it is armed for.

use std::time::{Duration, Instant};

use bootgate_api::{BootPlan, Completion};
use bootgate_events::{ArtifactRole, AttemptId, ByteRange, EventKind, FaultAction, MacAddr, Stage};

use super::words::words;
use super::{Armed, MachineBoot, Machines};
use crate::BoxFuture;
use crate::desk::{
    AgentCall, Answer, Answered, BootAsk, Desk, FileAsk, Generated, Refusal, Saying, Served,
};

/// Shortest time between two progress events of one phase of one attempt; the last one of a phase is always told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

impl Desk for Machines {
    fn attempt(&self, mac: &MacAddr) -> Option<AttemptId> {
        Machines::attempt(self, mac)
    }

    fn fault(&self, mac: &MacAddr, role: ArtifactRole) -> Option<FaultAction> {
        Machines::fault(self, mac, role)
    }

    fn boot(&self, ask: BootAsk) -> BoxFuture<'_, Result<Served, Refusal>> {
        Box::pin(std::future::ready(self.script(&ask)))
    }

    fn generated(&self, ask: FileAsk) -> BoxFuture<'_, Generated> {
        Box::pin(std::future::ready(self.file(ask)))
    }

    fn call(&self, call: AgentCall) -> BoxFuture<'_, Result<Answered, Refusal>> {
        Box::pin(std::future::ready(self.called(call)))
    }
}

impl Machines {
    pub(super) fn script(&self, ask: &BootAsk) -> Result<Served, Refusal> {
        let mac = ask.mac;
        let mut machines = self.lock();
        let Some(armed) = machines.get_mut(&mac) else {
            return Err(Refusal::new(404, format!("{mac} is not known here")));
        };
        let text = words(armed, ask).map_err(|error| Refusal {
            mac: Some(mac),
            ..Refusal::new(500, error.to_string())
        })?;
        if !armed.netboot {
            return Ok(Served {
                bytes: text.into(),
                mac: Some(mac),
                told: None,
            });
        }
        let earlier = armed.scripts_served;
        if ask.give {
            armed.scripts_served += 1;
        }
        Ok(Served {
            bytes: text.into(),
            mac: Some(mac),
            told: ask.give.then_some(EventKind::ScriptServed { mac, earlier }),
        })
    }

    fn called(&self, call: AgentCall) -> Result<Answered, Refusal> {
        let mut machines = self.lock();
        // A client that leased its address as another machine is refused too.
        let found = machines.iter_mut().find(|(mac, armed)| {
            armed.attempt.as_str() == call.nonce && call.holder.is_none_or(|holder| holder == **mac)
        });
        let Some((mac, armed)) = found else {
            return Err(Refusal::stale(&call));
        };
        let (answer, told) = answer(armed, call.what).map_err(|refusal| Refusal {
            mac: Some(*mac),
            ..refusal
        })?;
        Ok(Answered {
            answer,
            mac: Some(*mac),
            told,
        })
    }
}

fn answer(armed: &mut Armed, what: Saying) -> Result<(Answer, Option<EventKind>), Refusal> {
    let done = |told: EventKind| Ok((Answer::Done, Some(told)));
    match what {
        Saying::Hello(hello) => {
            let told = EventKind::AgentStarted {
                version: hello.version,
                since_pid1_ms: hello.since_pid1_ms,
            };
            Ok((Answer::Plan(plan(armed)), Some(told)))
        }
        Saying::Plan => Ok((Answer::Plan(plan(armed)), None)),
        Saying::Progress(progress) => {
            let now = Instant::now();
            let soon = armed.last_progress.is_some_and(|(last, at)| {
                last == progress.phase && now.saturating_duration_since(at) < PROGRESS_EVERY
            });
            if soon && progress.done < progress.total {
                return Ok((Answer::Done, None));
            }
            armed.last_progress = Some((progress.phase, now));
            done(EventKind::AgentProgressed {
                phase: progress.phase,
                done: progress.done,
                total: progress.total,
            })
        }
        Saying::Complete(completion) => completed(armed, &completion),
        Saying::Failure(failure) => done(EventKind::AgentFailed {
            stage: failure.stage,
            error: failure.error,
        }),
        Saying::Unreadable(reason) => Err(Refusal::new(400, reason)),
        Saying::Inventory(_) | Saying::Answer | Saying::Installed { .. } => {
            Err(Refusal::new(404, "this attempt has no such call"))
        }
    }
}

fn plan(armed: &Armed) -> BootPlan {
    match &armed.config.boot {
        MachineBoot::Script(script) => script.plan.clone(),
        MachineBoot::Disk => BootPlan::Stay,
    }
}

/// A completion counts once; the same one again, whose answer was lost, is answered again.
fn completed(
    armed: &mut Armed,
    completion: &Completion,
) -> Result<(Answer, Option<EventKind>), Refusal> {
    let wrong = |error: String| Refusal::wrong_completion(error);
    if let Some(earlier) = &armed.completed {
        return match earlier == completion {
            true => Ok((Answer::Done, None)),
            false => Err(wrong(
                "the attempt was completed before, with other values".to_owned(),
            )),
        };
    }
    let expected = match &armed.config.boot {
        MachineBoot::Script(script) => script.expected_chunks.zip(Some(script.expected_size)),
        MachineBoot::Disk => None,
    };
    let Some((chunks, size)) = expected else {
        return Err(wrong("nothing was to be flashed".to_owned()));
    };
    if completion.chunks_sha256 != chunks {
        let read = completion.chunks_sha256;
        return Err(wrong(format!(
            "the disk reads back as `{read}`, the image is `{chunks}`"
        )));
    }
    if let Some(size) = size.filter(|size| *size != completion.size) {
        return Err(wrong(format!(
            "`{}` bytes were read back, the image has `{size}`",
            completion.size
        )));
    }
    armed.completed = Some(completion.clone());
    Ok((Answer::Done, Some(flashed(completion))))
}

/// The event of a completion that is right.
pub(crate) fn flashed(completion: &Completion) -> EventKind {
    EventKind::AgentFlashed {
        chunks_sha256: completion.chunks_sha256.to_string(),
        ranges: vec![ByteRange {
            start: 0,
            end: completion.size,
        }],
        bytes_fetched: completion.bytes_fetched,
        bytes_written: completion.bytes_written,
        first_fetch_ms: completion.first_fetch_ms,
    }
}

impl Refusal {
    /// The nonce is not that of a current attempt, or not this caller's.
    pub(crate) fn stale(call: &AgentCall) -> Self {
        let mut refusal = Self::new(409, "the nonce is not that of a current attempt");
        refusal.mac = call.holder;
        refusal.told = Some(Box::new(EventKind::StaleCallback {
            nonce: call.nonce.chars().take(64).collect(),
            path: call.path.clone(),
        }));
        refusal
    }

    /// What was read back is not the image.
    pub(crate) fn wrong_completion(error: String) -> Self {
        let mut refusal = Self::new(422, error.clone());
        refusal.told = Some(Box::new(EventKind::AgentFailed {
            stage: Stage::Verify,
            error,
        }));
        refusal
    }
}
