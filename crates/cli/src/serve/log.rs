//! What happens, a line for each thing worth one.

use std::collections::HashMap;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use bootgate_events::{AttemptId, Event, EventKind, MacAddr, Stage, Verdict};

use crate::args::Format;

/// Attempts whose machine is kept in mind; beyond that the map starts anew.
const ATTEMPTS_MAX: usize = 10_000;

/// Writes what happens.
pub(super) struct Log {
    format: Format,
    machines: HashMap<AttemptId, MacAddr>,
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
            if let Ok(text) = serde_json::to_string(event) {
                crate::exit::say(&text);
            }
            return;
        }
        let Some(kind) = event.kind() else {
            return;
        };
        if let EventKind::AttemptOpened { mac, .. } = kind {
            if self.machines.len() >= ATTEMPTS_MAX {
                self.machines.clear();
            }
            self.machines.insert(attempt.clone(), *mac);
        }
        if let Some(text) = words(kind) {
            let who = match self.machines.get(attempt) {
                Some(mac) => mac.to_string(),
                None => "server".to_owned(),
            };
            line(&who, &text);
        }
        if matches!(kind, EventKind::RunFinished { .. }) {
            self.machines.remove(attempt);
        }
    }

    /// Says that events went by unseen.
    pub(super) fn missed(&self, count: u64) {
        line(
            "server",
            &format!("{count} events were too fast to be shown; the attempts have them"),
        );
    }
}

/// A line on standard error, with the time of day (UTC).
pub(super) fn line(who: &str, text: &str) {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let day = since.as_secs() % 86_400;
    let (hour, minute, second) = (day / 3600, day / 60 % 60, day % 60);
    // Where standard error is gone, there is nobody to tell.
    let _ = writeln!(
        std::io::stderr().lock(),
        "{hour:02}:{minute:02}:{second:02}  {who:<17}  {text}"
    );
}

/// What an event is for people; `None` where it is not worth a line.
fn words(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::AttemptOpened { mode, reason, .. } => format!("boots: {mode} ({reason})"),
        EventKind::MachineDiscovered { mode, .. } => format!("new here, and is now `{mode}`"),
        // Said by the attempt itself.
        EventKind::StageEntered {
            stage: Stage::Power,
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
        EventKind::RunFinished { verdict } => verdict_words(verdict),
        _ => return None,
    })
}

fn verdict_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed => "done".to_owned(),
        other => format!("{}: {}", other.word(), other_words(other)),
    }
}

fn other_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Failed { stage, cause, .. } => format!("{stage}: {cause}"),
        Verdict::Infra { error, .. } => error.clone(),
        Verdict::Skipped { reason } => reason.clone(),
        other => other.word().to_owned(),
    }
}
