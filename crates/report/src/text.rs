//! Words shared by the reports.

use bootgate_events::{
    DeadlineKind, DhcpFacts, DiskProofKind, EventKind, FaultAction, FlashPhase, PowerCause,
    Protocol, Verdict,
};

/// A point in time: milliseconds as seconds with one decimal.
pub(crate) fn seconds(ms: u64) -> String {
    format!("{}.{} s", ms / 1000, ms % 1000 / 100)
}

/// A length of time, as exact as a person needs it.
#[must_use]
pub fn took(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..120_000 => seconds(ms),
        120_000..7_200_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// `one` or `many` with its number.
pub(crate) fn count(number: usize, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {one}{ending}")
}

/// The text in one line and without anything a terminal acts on: what clients and guests say is printed to terminals.
#[must_use]
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\t' => out.push(' '),
            // Marks that turn the direction of writing around could make one name look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out.extend(letter.escape_unicode());
            }
            letter if letter.is_control() => out.extend(letter.escape_default()),
            letter => out.push(letter),
        }
    }
    out
}

/// At most `limit` characters of the text; an ellipsis says that there was more.
#[must_use]
pub fn short(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(limit.saturating_sub(1)).collect();
            format!("{kept}…")
        }
    }
}

/// The text with its first letter in upper case.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

/// Bytes in the largest binary unit that keeps a digit before the point.
#[must_use]
pub fn bytes(count: u64) -> String {
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
#[must_use]
pub fn verdict(verdict: &Verdict) -> String {
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
/// bytes, transfers, progress) have none.
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
        EventKind::ScriptServed { earlier, .. } => (
            "http",
            if *earlier == 0 {
                "boot script handed out".to_owned()
            } else {
                format!("boot script handed out again ({earlier} before)")
            },
        ),
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
            (
                "disk",
                format!("disk {outcome}, compared by the {}", proof_by(*proof)),
            )
        }
        EventKind::MarkerMatched { name, line, .. } => {
            ("serial", format!("marker `{name}`: {line}"))
        }
        EventKind::ForbiddenMatched { name, line, .. } => {
            ("serial", format!("forbidden marker `{name}`: {line}"))
        }
        EventKind::KeysTyped { name, keys } => ("serial", format!("typed {keys:?} at `{name}`")),
        EventKind::ConsoleAttached { source } => ("serial", format!("console attached: {source}")),
        EventKind::ConsoleClosed { reason } => ("serial", format!("console closed: {reason}")),
        EventKind::PoweredOn { boot } => ("power", format!("power on, boot from {boot}")),
        EventKind::PoweredOff { cause } => ("power", format!("power off by the {}", power(*cause))),
        EventKind::WasReset { cause } => ("power", format!("reset by the {}", power(*cause))),
        EventKind::QemuStderr { line } => ("power", format!("QEMU: {line}")),
        EventKind::QemuExited { code, signal, .. } => (
            "power",
            match (code, signal) {
                (_, Some(signal)) => format!("QEMU was ended by signal {signal}"),
                (Some(code), None) => format!("QEMU ended with exit status {code}"),
                (None, None) => "QEMU ended".to_owned(),
            },
        ),
        EventKind::FaultInjected { action, what } => (
            "fault",
            format!("fault on purpose, {}: {what}", fault(*action)),
        ),
        EventKind::DeadlineExpired {
            deadline,
            stage,
            limit_ms,
        } => (
            "verdict",
            format!(
                "{} deadline of {} expired in {stage}",
                match deadline {
                    DeadlineKind::Stage => "stage",
                    DeadlineKind::Total => "total",
                    DeadlineKind::Stall => "stall",
                },
                took(*limit_ms)
            ),
        ),
        EventKind::InfraFailed { what, error, hint } => {
            let hint = if hint.is_empty() {
                String::new()
            } else {
                format!(" (hint: {hint})")
            };
            ("verdict", format!("{what}: {error}{hint}"))
        }
        EventKind::RunSkipped { reason } => ("verdict", format!("not tried: {reason}")),
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
        kind => return lab_line(kind),
    })
}

/// What happens to machines of a lab, whose boots are followed without a console.
fn lab_line(kind: &EventKind) -> Option<(&'static str, String)> {
    Some(match kind {
        EventKind::AttemptOpened { mac, mode, reason } => (
            "stage",
            format!("attempt of {mac} in mode {mode}: {reason}"),
        ),
        EventKind::MachineDiscovered { mac, mode } => (
            "server",
            format!("{mac} was not known, and is now in mode {mode}"),
        ),
        EventKind::LocalBootServed { how, .. } => ("http", format!("boots its own disk ({how})")),
        EventKind::BootRefused { reason, .. } => ("http", format!("not booted: {reason}")),
        EventKind::InventoryReceived { summary, .. } => ("agent", format!("inventory: {summary}")),
        EventKind::InstallReported { succeeded, message } => (
            "agent",
            match (succeeded, message.as_str()) {
                (true, "") => "the installer is done".to_owned(),
                (true, message) => format!("the installer is done: {message}"),
                (false, message) => format!("the installer failed: {message}"),
            },
        ),
        EventKind::DhcpServerSeen {
            address,
            interface,
            by,
            ..
        } => (
            "dhcp",
            format!("another DHCP server on {interface}: {address} ({by})"),
        ),
        _ => return None,
    })
}

/// Who switched, as the end of a sentence.
fn power(cause: PowerCause) -> &'static str {
    match cause {
        PowerCause::Harness => "harness",
        PowerCause::Guest => "guest",
        PowerCause::Fault => "fault rule",
        PowerCause::Outside => "world outside",
    }
}

fn fault(action: FaultAction) -> &'static str {
    match action {
        FaultAction::NotFound => "not found",
        FaultAction::Corrupt => "corrupted",
        FaultAction::PowerOff => "power off",
    }
}

/// Who compared, as the end of a sentence.
pub(crate) fn proof_by(proof: DiskProofKind) -> &'static str {
    match proof {
        DiskProofKind::Host => "host",
        DiskProofKind::Agent => "agent",
    }
}

/// What the agent does, as the start of a sentence.
pub(crate) fn phase(phase: FlashPhase) -> &'static str {
    match phase {
        FlashPhase::Compare => "comparing",
        FlashPhase::Write => "writing",
        FlashPhase::Verify => "reading back",
    }
}

/// The lane of a protocol.
pub(crate) fn lane(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tftp => "tftp",
        Protocol::Http => "http",
    }
}
