//! What happens, a line for each thing worth one.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bootgate_events::{AttemptId, Event, EventKind, Stage, Verdict};
use bootgate_report::words::{harmless, took};

use tokio::sync::broadcast::error::RecvError;

use crate::args::Format;

/// Attempts whose machine is kept in mind; beyond that the map starts anew.
const ATTEMPTS_MAX: usize = 10_000;

/// Writes what happens.
pub(super) struct Log {
    format: Format,
    /// By which name each attempt's machine goes: its own, else its hardware address, which it is always for programs.
    machines: HashMap<AttemptId, String>,
}

impl Log {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            machines: HashMap::new(),
        }
    }

    /// Writes an event: every one as JSON, for people those that move an attempt on or need a look.
    pub(super) fn event(&mut self, attempt: &AttemptId, event: &Event) {
        if self.format == Format::Json {
            if let Some(value) = self.value(attempt, event) {
                crate::exit::say(&value.to_string());
            }
        } else if let Some((who, text)) = self.told(attempt, event) {
            line(&who, &text);
        }
    }

    /// The event with what every line for programs has: time, level, and the machine.
    fn value(&mut self, attempt: &AttemptId, event: &Event) -> Option<serde_json::Value> {
        let mut value = serde_json::to_value(event).ok()?;
        let kind = event.kind();
        let mac = match kind {
            Some(EventKind::AttemptOpened { mac, .. }) => Some(mac),
            Some(EventKind::RunStarted { targets, .. }) => targets.first().map(|one| &one.mac),
            _ => None,
        };
        if let Some(mac) = mac {
            self.keep(attempt, mac.to_string());
        }
        let level = match kind {
            Some(
                EventKind::ServerFailed { .. }
                | EventKind::InfraFailed { .. }
                | EventKind::AgentFailed { .. }
                | EventKind::BootRefused { .. }
                | EventKind::RequestRefused { .. }
                | EventKind::DeadlineExpired { .. }
                | EventKind::StaleCallback { .. },
            ) => "warn",
            _ => "info",
        };
        let micros = i64::try_from(event.wall_us).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_microsecond(micros).ok()?.to_string();
        let line = value.as_object_mut()?;
        line.insert("time".to_owned(), time.into());
        line.insert("level".to_owned(), level.into());
        line.insert("part".to_owned(), "attempt".into());
        if let Some(mac) = self.machines.get(attempt) {
            line.entry("mac").or_insert_with(|| mac.clone().into());
        }
        if matches!(kind, Some(EventKind::RunFinished { .. })) {
            self.machines.remove(attempt);
        }
        Some(value)
    }

    fn keep(&mut self, attempt: &AttemptId, machine: String) {
        if self.machines.len() >= ATTEMPTS_MAX {
            self.machines.clear();
        }
        self.machines.insert(attempt.clone(), machine);
    }

    /// Who it is about, and what it is for people.
    fn told(&mut self, attempt: &AttemptId, event: &Event) -> Option<(String, String)> {
        let kind = event.kind()?;
        // An attempt that an earlier server opened begins anywhere, and its last event names no machine.
        if let Some(target) = &event.target
            && !self.machines.contains_key(attempt)
        {
            self.keep(attempt, target.to_string());
        }
        let who = match self.machines.get(attempt) {
            Some(machine) => harmless(machine),
            None => "server".to_owned(),
        };
        let text = match kind {
            EventKind::AttemptOpened { mode, reason, mac } => {
                opened(&who, attempt, mode, reason, &mac.to_string())
            }
            EventKind::RunFinished { verdict } => {
                self.machines.remove(attempt);
                finished(attempt, verdict, event.mono_ms())
            }
            other => words(other)?,
        };
        Some((who, text))
    }

    /// Writes what was received. Whether there may be more.
    pub(super) fn take(&mut self, received: Result<(AttemptId, Event), RecvError>) -> bool {
        match received {
            Ok((attempt, event)) => self.event(&attempt, &event),
            Err(RecvError::Lagged(count)) => self.missed(count),
            Err(RecvError::Closed) => return false,
        }
        true
    }

    /// Says that events went by unseen.
    fn missed(&self, count: u64) {
        line(
            "server",
            &format!("{count} events were too fast to be shown; the attempts have them"),
        );
    }
}

/// Whether lines are for programs; for people where nobody said so.
static JSON: AtomicBool = AtomicBool::new(false);

/// Lines are for these from now on.
pub(super) fn is_for(format: Format) {
    JSON.store(format == Format::Json, Ordering::Relaxed);
}

/// What a part of the server says: `part` is its module.
pub(super) fn said(level: tracing::Level, part: &str, text: &str) {
    if JSON.load(Ordering::Relaxed) {
        return json(level.as_str(), part, text);
    }
    let who = match level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warning",
        tracing::Level::INFO => "info",
        _ => "debug",
    };
    plain(who, text);
}

/// What the server as a whole says, on standard error.
pub(super) fn line(who: &str, text: &str) {
    if JSON.load(Ordering::Relaxed) {
        let level = if who == "warning" { "WARN" } else { "INFO" };
        return json(level, who, text);
    }
    plain(who, text);
}

/// A line for programs: one JSON value.
fn json(level: &str, part: &str, text: &str) {
    let value = serde_json::json!({
        "time": jiff::Timestamp::now().to_string(),
        "level": level.to_lowercase(),
        "part": part,
        "message": text,
    });
    // Where standard error is gone, there is nobody to tell.
    let _ = writeln!(std::io::stderr().lock(), "{value}");
}

/// A line for people, with the time of day (UTC).
fn plain(who: &str, text: &str) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let day = since.as_secs() % 86_400;
    let (hour, minute, second) = (day / 3600, day / 60 % 60, day % 60);
    // A part of the server may have been told a text by a stranger.
    let text = harmless(text);
    let _ = writeln!(
        std::io::stderr().lock(),
        "{hour:02}:{minute:02}:{second:02}  {who:<17}  {text}"
    );
}

/// What an event is for people; `None` where it is not worth a line.
fn words(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::MachineDiscovered { mode, .. } => format!("new here: becomes known as `{mode}`"),
        // Said by the attempt's beginning and by its verdict.
        EventKind::StageEntered {
            stage: Stage::Power | Stage::Done,
            ..
        } => return None,
        EventKind::StageEntered { stage, by } => format!("{stage}: {by}"),
        EventKind::LocalBootServed { how, .. } => format!("boots its own disk: {how}"),
        EventKind::BootRefused { reason, .. } => format!("REFUSED: {reason}"),
        EventKind::InventoryReceived { summary, .. } => format!("inventory: {summary}"),
        EventKind::InstallReported {
            succeeded: true,
            message,
        } => format!("installed: {message}"),
        EventKind::InstallReported {
            succeeded: false,
            message,
        } => format!("installation FAILED: {message}"),
        EventKind::DhcpServerSeen {
            address,
            mac,
            interface,
            by,
        } => {
            let mac = mac.map_or_else(String::new, |mac| format!(", {mac}"));
            format!("ANOTHER DHCP SERVER on {interface}: {address}{mac} ({by})")
        }
        EventKind::ServerFailed { service, error } => {
            format!("the {service} server FAILED: {error}")
        }
        EventKind::InfraFailed { error, hint, .. } => format!("FAILED: {error}; {hint}"),
        EventKind::AgentFailed { stage, error } => format!("{stage} FAILED: {error}"),
        EventKind::StaleCallback { path, .. } => {
            format!("refused a callback with a nonce that is not valid now: {path}")
        }
        EventKind::DeadlineExpired {
            stage, limit_ms, ..
        } => {
            format!("{stage}: nothing for {} s", limit_ms / 1000)
        }
        _ => return None,
    })
}

/// What the machine boots, in which attempt, and where it is not plain why there is a new one: why.
fn opened(who: &str, attempt: &AttemptId, mode: &str, reason: &str, mac: &str) -> String {
    let machine = match who == mac {
        true => String::new(),
        false => format!(" of {mac}"),
    };
    let why = match reason {
        "first contact" | "the attempt before is over" => String::new(),
        why => format!(": {why}"),
    };
    format!("boots `{mode}`, attempt {attempt}{machine}{why}")
}

/// How an attempt ended.
fn finished(attempt: &AttemptId, verdict: &Verdict, after_ms: u64) -> String {
    let after = took(after_ms);
    match verdict {
        Verdict::Passed => format!("passed after {after}"),
        Verdict::Failed { stage, cause, .. } => {
            format!("FAILED at {stage} after {after}: {cause}; see bootgate attempt show {attempt}")
        }
        Verdict::Infra { error, .. } => format!("no verdict after {after}: {error}"),
        Verdict::Skipped { reason } => format!("skipped: {reason}"),
        other => format!("{} after {after}", other.word()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn event(attempt: &str, target: Option<&str>, kind: &str) -> (AttemptId, Event) {
        let target = target.map_or_else(String::new, |target| format!("\"target\":\"{target}\","));
        let text = format!(
            "{{\"schema\":1,\"seq\":7,\"mono_us\":23000000,\"wall_us\":0,\"run\":\"{attempt}\",\"attempt\":\"{attempt}\",{target}{kind}}}"
        );
        (
            serde_json::from_str(&format!("\"{attempt}\"")).unwrap(),
            serde_json::from_str(&text).unwrap(),
        )
    }

    fn told(log: &mut Log, (attempt, event): &(AttemptId, Event)) -> Option<String> {
        let (who, text) = log.told(attempt, event)?;
        Some(format!("{who}: {text}"))
    }

    const OPENED: &str =
        "\"kind\":\"attempt-opened\",\"mac\":\"52:54:00:12:34:56\",\"mode\":\"flash-once\"";

    #[test]
    fn an_attempt_that_another_server_opened_ends_with_its_machines_name() {
        let mut log = Log::new(Format::Text);
        let done = event(
            "a2",
            Some("node1"),
            "\"kind\":\"stage-entered\",\"stage\":\"done\",\"by\":\"every requirement is met\"",
        );
        assert_eq!(told(&mut log, &done), None);
        let failed = event(
            "a2",
            None,
            "\"kind\":\"run-finished\",\"verdict\":{\"verdict\":\"failed\",\"stage\":\"live\",\"cause\":{\"cause\":\"unexpected-reset\"},\"evidence\":[]}",
        );
        assert_eq!(
            told(&mut log, &failed).unwrap(),
            "node1: FAILED at live after 23.0 s: the target restarted unexpectedly; see bootgate attempt show a2"
        );
        let passed = event(
            "a3",
            Some("node1"),
            "\"kind\":\"run-finished\",\"verdict\":{\"verdict\":\"passed\"}",
        );
        assert_eq!(
            told(&mut log, &passed).unwrap(),
            "node1: passed after 23.0 s"
        );
        assert!(log.machines.is_empty());
    }

    #[test]
    fn a_new_attempt_says_why_where_that_is_news() {
        let mut log = Log::new(Format::Text);
        let begins = |reason: &str| format!("{OPENED},\"reason\":\"{reason}\"");
        let first = event("a2", Some("52:54:00:12:34:56"), &begins("first contact"));
        assert_eq!(
            told(&mut log, &first).unwrap(),
            "52:54:00:12:34:56: boots `flash-once`, attempt a2"
        );
        let again = event(
            "a3",
            Some("node1"),
            &begins("iPXE asks again after the kernel was fetched"),
        );
        assert_eq!(
            told(&mut log, &again).unwrap(),
            "node1: boots `flash-once`, attempt a3 of 52:54:00:12:34:56: iPXE asks again after the kernel was fetched"
        );
    }
}
