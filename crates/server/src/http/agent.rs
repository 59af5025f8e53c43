//! The agent's calls. Each carries the nonce of its attempt in its path; one that is not the current attempt's is
//! refused with 409, so that no stale completion can pass an attempt.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use bootgate_api::{AgentHello, BootPlan, Completion, Failure, Progress};
use bootgate_events::{ArtifactRole, ByteRange, EventKind, MacAddr, Stage};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::Asked;
use super::connection::Peer;
use super::reply::Reply;
use crate::context::Context;
use crate::machines::Armed;
use crate::{MachineBoot, ScriptBoot};

/// Shortest time between two progress events of one phase of one attempt; the last one of a phase is always told.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// A call that came with the nonce of a current attempt.
struct Call<'a> {
    asked: Asked<'a>,
    mac: MacAddr,
}

impl<'a> Call<'a> {
    /// Finds the machine by the nonce. A client that leased its address as another machine is refused too.
    fn check(
        context: &'a Arc<Context>,
        nonce: &str,
        peer: Peer,
        path: &'a str,
    ) -> Result<Self, Reply> {
        let mut asked = Asked::new(context, peer, path, ArtifactRole::Api);
        let mac = context.machines.by_nonce(nonce);
        let mac = mac.filter(|mac| asked.mac.is_none_or(|holder| holder == *mac));
        match mac {
            Some(mac) => {
                asked.mac = Some(mac);
                Ok(Self { asked, mac })
            }
            None => {
                let nonce = nonce.chars().take(64).collect();
                let path = path.to_owned();
                context.emit(asked.mac, EventKind::StaleCallback { nonce, path });
                let reason = "the nonce is not that of a current attempt";
                Err(super::failure(StatusCode::CONFLICT, reason))
            }
        }
    }

    fn read<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, Reply> {
        serde_json::from_slice(body).map_err(|error| {
            let reason = format!("read the body: {error}");
            self.asked.refuse(StatusCode::BAD_REQUEST, reason)
        })
    }

    fn emit(&self, kind: EventKind) {
        self.asked.context.emit(Some(self.mac), kind);
    }

    /// Looks at the attempt; `None` where the machine was disarmed just now, or boots no script.
    fn with<T>(&self, look: impl FnOnce(&mut Armed, &ScriptBoot) -> T) -> Option<T> {
        let mut machines = self.asked.context.machines.lock();
        let armed = machines.get_mut(&self.mac)?;
        let MachineBoot::Script(script) = armed.config.boot.clone() else {
            return None;
        };
        Some(look(armed, &script))
    }

    fn plan(&self) -> BootPlan {
        let plan = self.with(|_, script| script.plan.clone());
        plan.unwrap_or(BootPlan::Stay)
    }
}

fn done() -> Reply {
    Reply::json(StatusCode::OK, &serde_json::json!({}))
}

fn either(reply: Result<Reply, Reply>) -> Reply {
    reply.unwrap_or_else(|refusal| refusal)
}

type Shared = State<Arc<Context>>;

/// `POST` of `AgentHello`; the answer is the plan.
pub(super) async fn hello(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
    body: Bytes,
) -> Reply {
    let answer = || {
        let call = Call::check(&context, &nonce, peer, uri.path())?;
        let hello: AgentHello = call.read(&body)?;
        call.emit(EventKind::AgentStarted {
            version: hello.version,
            since_pid1_ms: hello.since_pid1_ms,
        });
        Ok(Reply::json(StatusCode::OK, &call.plan()))
    };
    either(answer())
}

/// `GET` of the plan.
pub(super) async fn plan(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
) -> Reply {
    let call = Call::check(&context, &nonce, peer, uri.path());
    either(call.map(|call| Reply::json(StatusCode::OK, &call.plan())))
}

/// `POST` of `Progress`.
pub(super) async fn progress(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
    body: Bytes,
) -> Reply {
    let answer = || {
        let call = Call::check(&context, &nonce, peer, uri.path())?;
        let Progress {
            phase,
            done: bytes,
            total,
        } = call.read(&body)?;
        let now = context.now();
        let tell = call.with(|armed, _| {
            let soon = armed
                .last_progress
                .is_some_and(|(last, at)| last == phase && now.saturating_sub(at) < PROGRESS_EVERY);
            if soon && bytes < total {
                return false;
            }
            armed.last_progress = Some((phase, now));
            true
        });
        if tell == Some(true) {
            call.emit(EventKind::AgentProgressed {
                phase,
                done: bytes,
                total,
            });
        }
        Ok(done())
    };
    either(answer())
}

/// `POST` of `Completion`. It counts once; the same completion again, whose answer was lost, is answered again.
pub(super) async fn complete(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
    body: Bytes,
) -> Reply {
    let answer = || {
        let call = Call::check(&context, &nonce, peer, uri.path())?;
        let completion: Completion = call.read(&body)?;
        let judged = call.with(|armed, script| judge(armed, script, &completion));
        match judged.unwrap_or_else(|| Judged::Wrong("nothing was to be flashed".to_owned())) {
            Judged::Again => Ok(done()),
            Judged::Right => {
                call.emit(flashed(&completion));
                Ok(done())
            }
            Judged::Wrong(error) => {
                let reply = super::failure(StatusCode::UNPROCESSABLE_ENTITY, &error);
                call.emit(EventKind::AgentFailed {
                    stage: Stage::Verify,
                    error,
                });
                Ok(reply)
            }
        }
    };
    either(answer())
}

enum Judged {
    Right,
    Again,
    Wrong(String),
}

fn judge(armed: &mut Armed, script: &ScriptBoot, completion: &Completion) -> Judged {
    if let Some(earlier) = &armed.completed {
        return match earlier == completion {
            true => Judged::Again,
            false => {
                Judged::Wrong("the attempt was completed before, with other values".to_owned())
            }
        };
    }
    let Some(expected) = script.expected_chunks else {
        return Judged::Wrong("nothing was to be flashed".to_owned());
    };
    if completion.chunks_sha256 != expected {
        return Judged::Wrong(format!(
            "the disk reads back as `{}`, the image is `{expected}`",
            completion.chunks_sha256
        ));
    }
    if let Some(size) = script.expected_size.filter(|size| *size != completion.size) {
        return Judged::Wrong(format!(
            "`{}` bytes were read back, the image has `{size}`",
            completion.size
        ));
    }
    armed.completed = Some(completion.clone());
    Judged::Right
}

fn flashed(completion: &Completion) -> EventKind {
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

/// `POST` of `Failure`.
pub(super) async fn failure(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
    body: Bytes,
) -> Reply {
    let answer = || {
        let call = Call::check(&context, &nonce, peer, uri.path())?;
        let Failure { stage, error } = call.read(&body)?;
        call.emit(EventKind::AgentFailed { stage, error });
        Ok(done())
    };
    either(answer())
}
