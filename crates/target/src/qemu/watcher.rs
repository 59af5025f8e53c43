//! What becomes of a running QEMU: its QMP events, and its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bootgate_events::{EventKind, PowerCause};
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::process::Stderr;
use super::qmp::QmpEvent;
use crate::{BoxFuture, EventSender, ExitOutcome, TargetEvent};

/// How long messages may still arrive once the process has ended; they are in the sockets by then.
const LAST_MESSAGES: Duration = Duration::from_secs(1);

/// What the watcher tells the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The process has ended.
    pub(super) exited: bool,
    /// Everything about its end was told.
    pub(super) done: bool,
    /// How often it was reset, told or not.
    pub(super) resets: u32,
}

/// Who asked for the end, where the harness did.
pub(super) type Intent = Arc<Mutex<Option<PowerCause>>>;

/// Everything that ends when QEMU ends.
pub(super) struct Watcher {
    pub(super) exit: BoxFuture<'static, ExitOutcome>,
    pub(super) qmp_events: mpsc::UnboundedReceiver<QmpEvent>,
    pub(super) stderr: Stderr,
    pub(super) console: ConsoleTask,
    pub(super) intent: Intent,
    /// Whether the guest's resets belong to the harness's last one, and are not told.
    pub(super) echo: Arc<AtomicBool>,
    pub(super) events: EventSender,
    pub(super) progress: watch::Sender<Progress>,
}

/// The task that drains the console, and how to tell it that no more bytes are being made.
pub(super) struct ConsoleTask {
    pub(super) task: JoinHandle<String>,
    pub(super) machine_ended: watch::Sender<bool>,
}

impl ConsoleTask {
    /// Waits until every byte was told and gives the reason of the end.
    pub(super) async fn finish(self) -> String {
        self.machine_ended.send_replace(true);
        self.task
            .await
            .unwrap_or_else(|error| format!("the reader failed: {error}"))
    }
}

impl Watcher {
    pub(super) async fn run(mut self) {
        let mut shutdown = None;
        let mut qmp_open = true;
        let outcome = loop {
            tokio::select! {
                biased;
                event = self.qmp_events.recv(), if qmp_open => match event {
                    Some(event) => self.take_event(event, &mut shutdown).await,
                    None => qmp_open = false,
                },
                outcome = &mut self.exit => break outcome,
            }
        };
        while let Ok(Some(event)) = timeout(LAST_MESSAGES, self.qmp_events.recv()).await {
            self.take_event(event, &mut shutdown).await;
        }
        self.progress.send_modify(|progress| progress.exited = true);
        self.tell_end(outcome, shutdown).await;
    }

    /// Tells of one QMP event; a SHUTDOWN is kept, since the end of the process tells it better.
    async fn take_event(&mut self, event: QmpEvent, shutdown: &mut Option<Shutdown>) {
        match event.name.as_str() {
            "SHUTDOWN" => *shutdown = Some(Shutdown::read(&event.data)),
            "RESET" => {
                let cause = match event.data.get("guest").and_then(Value::as_bool) {
                    Some(true) => PowerCause::Guest,
                    _ => PowerCause::Harness,
                };
                let echo = cause == PowerCause::Guest && self.echo.load(Ordering::Relaxed);
                if !echo {
                    self.tell(EventKind::WasReset { cause }).await;
                }
                self.progress.send_modify(|progress| progress.resets += 1);
            }
            "BLOCK_IO_ERROR" => self.tell(block_error(&event.data)).await,
            _ => self.tell(EventKind::QmpNotified { name: event.name }).await,
        }
    }

    async fn tell_end(self, outcome: ExitOutcome, shutdown: Option<Shutdown>) {
        let Self {
            stderr,
            console,
            intent,
            events,
            progress,
            ..
        } = self;
        let reason = console.finish().await;
        let last_lines = stderr.finish().await;
        let intent = *intent.lock().unwrap_or_else(PoisonError::into_inner);
        let end = End::judge(outcome, shutdown.as_ref(), intent);
        let mut told = vec![
            TargetEvent::ConsoleClosed(reason),
            TargetEvent::Kind(EventKind::QemuExited {
                code: outcome.code,
                signal: outcome.signal,
                expected: end.expected,
            }),
        ];
        if !end.expected {
            told.push(TargetEvent::Kind(infra(
                outcome,
                shutdown.as_ref(),
                &last_lines,
            )));
        }
        told.push(TargetEvent::Kind(EventKind::PoweredOff {
            cause: end.cause,
        }));
        for event in told {
            // Nobody may listen any more.
            let _ = events.send(event).await;
        }
        progress.send_modify(|progress| progress.done = true);
    }

    async fn tell(&mut self, kind: EventKind) {
        // Nobody may listen any more.
        let _ = self.events.send(TargetEvent::Kind(kind)).await;
    }
}

impl Stderr {
    /// Waits until every line was told and gives the last ones.
    pub(super) async fn finish(mut self) -> String {
        // A child of QEMU could hold the pipe open for ever.
        if timeout(LAST_MESSAGES, &mut self.task).await.is_err() {
            self.task.abort();
        }
        self.last_lines()
    }
}

/// The data of QMP's SHUTDOWN (qapi/run-state.json): `reason` is `guest-shutdown`, `guest-reset`, `guest-panic`,
/// `host-signal`, `host-qmp-quit`, `host-error` or another word, and `guest` says whether the guest did it.
struct Shutdown {
    guest: bool,
    reason: String,
}

impl Shutdown {
    fn read(data: &Value) -> Self {
        let reason = data.get("reason").and_then(Value::as_str);
        Self {
            guest: data.get("guest").and_then(Value::as_bool).unwrap_or(false),
            reason: reason.unwrap_or("unknown").to_owned(),
        }
    }
}

/// Why QEMU ended.
struct End {
    cause: PowerCause,
    expected: bool,
}

impl End {
    fn judge(
        outcome: ExitOutcome,
        shutdown: Option<&Shutdown>,
        intent: Option<PowerCause>,
    ) -> Self {
        let by_guest = shutdown.is_some_and(|shutdown| shutdown.guest) && outcome.code == Some(0);
        match intent {
            _ if by_guest => Self {
                cause: PowerCause::Guest,
                expected: true,
            },
            Some(cause) => Self {
                cause,
                expected: true,
            },
            None => Self {
                cause: PowerCause::Outside,
                expected: false,
            },
        }
    }
}

fn infra(outcome: ExitOutcome, shutdown: Option<&Shutdown>, last_lines: &str) -> EventKind {
    let said = if last_lines.is_empty() {
        String::new()
    } else {
        format!("; it said: {last_lines}")
    };
    let killed = |how: String| {
        EventKind::InfraFailed {
        what: "qemu-killed".to_owned(),
        error: format!("QEMU was ended from outside by {how}{said}"),
        hint: "see who ends processes here: the out-of-memory killer (dmesg), a time limit of CI, a person"
            .to_owned(),
    }
    };
    match (outcome.signal, shutdown) {
        (Some(signal), _) => killed(format!("signal {signal}")),
        (None, Some(shutdown)) if shutdown.reason.starts_with("host-") => {
            killed(format!("`{}`", shutdown.reason))
        }
        _ => EventKind::InfraFailed {
            what: "qemu-failed".to_owned(),
            error: match outcome.code {
                Some(code) => format!("QEMU ended with status {code}{said}"),
                None => format!("QEMU ended in an unknown way{said}"),
            },
            hint: "see the qemu-stderr events of the run".to_owned(),
        },
    }
}

fn block_error(data: &Value) -> EventKind {
    let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or("unknown");
    if data.get("nospace").and_then(Value::as_bool) == Some(true) {
        return EventKind::InfraFailed {
            what: "disk-full".to_owned(),
            error: "no space left on the host for the target's disk; the guest is stopped"
                .to_owned(),
            hint: "free space in the run folder's file system, or choose another with --out"
                .to_owned(),
        };
    }
    EventKind::InfraFailed {
        what: "disk-error".to_owned(),
        error: format!(
            "the host failed to {} the target's disk: {}; the guest is stopped",
            text("operation"),
            text("reason")
        ),
        hint: "check the file system that holds the run folder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn what(kind: EventKind) -> String {
        match kind {
            EventKind::InfraFailed { what, .. } => what,
            other => other.name().to_owned(),
        }
    }

    #[test]
    fn a_full_host_disk_is_told_from_a_broken_one() {
        // As QEMU 7.2 sends it for a write to a full file system.
        let full = json!({
            "device": "", "nospace": true, "node-name": "disk0", "reason": "No space left on device",
            "operation": "write", "action": "stop"
        });
        assert_eq!(what(block_error(&full)), "disk-full");
        let broken =
            json!({ "nospace": false, "reason": "Input/output error", "operation": "read" });
        assert_eq!(what(block_error(&broken)), "disk-error");
        assert_eq!(what(block_error(&Value::Null)), "disk-error");
    }

    #[test]
    fn who_ended_a_machine_is_judged_by_what_qemu_said_and_how_it_ended() {
        let left = |code| ExitOutcome {
            code: Some(code),
            signal: None,
        };
        let guest = Shutdown::read(&json!({ "guest": true, "reason": "guest-reset" }));
        let host = Shutdown::read(&json!({ "guest": false, "reason": "host-signal" }));
        let judge = |outcome, shutdown, intent| {
            let end = End::judge(outcome, shutdown, intent);
            (end.cause, end.expected)
        };
        assert_eq!(
            judge(left(0), Some(&guest), None),
            (PowerCause::Guest, true)
        );
        // The guest was first, although the harness wanted the same.
        let harness = Some(PowerCause::Harness);
        assert_eq!(
            judge(left(0), Some(&guest), harness),
            (PowerCause::Guest, true)
        );
        assert_eq!(
            judge(left(0), Some(&host), Some(PowerCause::Fault)),
            (PowerCause::Fault, true)
        );
        assert_eq!(
            judge(left(0), Some(&host), None),
            (PowerCause::Outside, false)
        );
        assert_eq!(
            judge(left(1), Some(&guest), None),
            (PowerCause::Outside, false)
        );
        assert_eq!(
            judge(ExitOutcome::UNKNOWN, None, None),
            (PowerCause::Outside, false)
        );
        assert_eq!(what(infra(left(0), Some(&host), "")), "qemu-killed");
        assert_eq!(what(infra(left(1), None, "")), "qemu-failed");
    }
}
