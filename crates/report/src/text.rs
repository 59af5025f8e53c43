//! Words shared by the reports.

use bootgate_events::{DhcpFacts, EventKind, Protocol, Verdict};

/// Milliseconds as seconds with one decimal.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// Bytes in the largest binary unit that keeps a digit before the point.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scaled = count as f64;
    while scaled >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{scaled:.1} {}", units[unit])
    }
}

/// A verdict as one line.
pub(crate) fn verdict(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed => "passed".to_owned(),
        Verdict::Failed { stage, cause, .. } => format!("failed at {stage}: {cause}"),
        Verdict::Skipped { reason } => format!("skipped: {reason}"),
        Verdict::Infra { what, error } => format!("infrastructure fault ({what}): {error}"),
        Verdict::Interrupted { signal } => format!("interrupted by {signal}"),
    }
}

/// A DHCP message as one line.
fn dhcp(facts: &DhcpFacts) -> String {
    let mut text = facts.message.to_uppercase();
    if let Some(address) = facts.address {
        text.push_str(&format!(" {address}"));
    }
    if !facts.architectures.is_empty() {
        let list: Vec<_> = facts.architectures.iter().map(u16::to_string).collect();
        text.push_str(&format!(" arch {}", list.join(",")));
    }
    if let Some(class) = &facts.user_class {
        text.push_str(&format!(" user-class {class}"));
    }
    if let Some(file) = &facts.bootfile {
        text.push_str(&format!(" bootfile {file}"));
    }
    text
}

/// The lane of the timeline an event belongs to, and the event as one line. Kinds that are drawn otherwise (console
/// bytes, progress) have none.
pub(crate) fn line(kind: &EventKind) -> Option<(&'static str, String)> {
    Some(match kind {
        EventKind::DhcpReceived { mac, facts } => ("dhcp", format!("{mac} → {}", dhcp(facts))),
        EventKind::DhcpSent { mac, facts, reason } => {
            ("dhcp", format!("{mac} ← {} ({reason})", dhcp(facts)))
        }
        EventKind::RouterAdvertised { mac } => ("dhcp", format!("router advertisement for {mac}")),
        EventKind::PacketDropped { service, reason } => (
            if service == "tftp" { "tftp" } else { "dhcp" },
            format!("{service} packet dropped: {reason}"),
        ),
        EventKind::TransferStarted {
            protocol,
            path,
            size,
            detail,
            ..
        } => {
            let size = size
                .map(|size| format!(", {}", bytes(size)))
                .unwrap_or_default();
            (lane(*protocol), format!("get {path}{size} {detail}"))
        }
        EventKind::TransferCompleted {
            path,
            bytes: count,
            id,
            ..
        } => (
            "transfer",
            format!("#{id} {path} complete, {}", bytes(*count)),
        ),
        EventKind::TransferAborted {
            path,
            bytes: count,
            reason,
            id,
            ..
        } => (
            "transfer",
            format!("#{id} {path} aborted after {}: {reason}", bytes(*count)),
        ),
        EventKind::RequestRefused {
            protocol,
            path,
            code,
            reason,
            ..
        } => (
            lane(*protocol),
            format!("refused {path} ({code}): {reason}"),
        ),
        EventKind::ScriptServed { earlier, .. } => {
            ("http", format!("boot script handed out ({earlier} before)"))
        }
        EventKind::AgentStarted {
            version,
            since_pid1_ms,
        } => (
            "agent",
            format!("agent {version} runs, {since_pid1_ms} ms after PID 1 began"),
        ),
        EventKind::AgentFlashed {
            bytes_fetched,
            bytes_written,
            first_fetch_ms,
            ..
        } => (
            "agent",
            format!(
                "flashed: {} fetched, {} written, first fetch after {first_fetch_ms} ms",
                bytes(*bytes_fetched),
                bytes(*bytes_written)
            ),
        ),
        EventKind::AgentFailed { stage, error } => ("agent", format!("failed in {stage}: {error}")),
        EventKind::StaleCallback { path, .. } => {
            ("agent", format!("stale callback {path} refused"))
        }
        EventKind::DiskCompared { proof, equal, .. } => {
            let outcome = if *equal {
                "equal to the image"
            } else {
                "differs from the image"
            };
            ("agent", format!("disk {outcome} ({proof:?})"))
        }
        EventKind::MarkerMatched { name, line, .. } => ("serial", format!("marker {name}: {line}")),
        EventKind::ForbiddenMatched { name, line, .. } => {
            ("serial", format!("forbidden {name}: {line}"))
        }
        EventKind::ConsoleAttached { source } => ("serial", format!("console attached: {source}")),
        EventKind::ConsoleClosed { reason } => ("serial", format!("console closed: {reason}")),
        EventKind::PoweredOn { boot } => ("power", format!("power on, boot from {boot}")),
        EventKind::PoweredOff { cause } => ("power", format!("power off ({cause:?})")),
        EventKind::WasReset { cause } => ("power", format!("reset ({cause:?})")),
        EventKind::QemuStderr { line } => ("power", format!("qemu: {line}")),
        EventKind::QemuExited { code, signal, .. } => (
            "power",
            format!("qemu ended (code {code:?}, signal {signal:?})"),
        ),
        EventKind::FaultInjected { action, what } => ("power", format!("fault {action:?}: {what}")),
        EventKind::DeadlineExpired {
            deadline,
            stage,
            limit_ms,
        } => (
            "verdict",
            format!(
                "{deadline:?} deadline of {} expired in {stage}",
                seconds(*limit_ms)
            ),
        ),
        EventKind::InfraFailed { what, error, .. } => ("verdict", format!("{what}: {error}")),
        EventKind::Interrupted { signal } => ("verdict", format!("interrupted by {signal}")),
        EventKind::StageEntered { stage, by } => ("stage", format!("{stage} ({by})")),
        EventKind::VerdictReached { verdict: reached } => ("verdict", verdict(reached)),
        EventKind::SegmentReady {
            interface, address, ..
        } => ("server", format!("segment {interface} up, {address}")),
        EventKind::ServerReady { service, address } => {
            ("server", format!("{service} ready on {address}"))
        }
        EventKind::ServerFailed { service, error } => {
            ("server", format!("{service} failed: {error}"))
        }
        _ => return None,
    })
}

fn lane(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tftp => "tftp",
        Protocol::Http => "http",
    }
}
