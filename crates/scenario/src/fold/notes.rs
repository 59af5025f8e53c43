//! What a target did last, kept for the evidence of a verdict.

use std::collections::VecDeque;

use bootgate_events::{DhcpFacts, EventKind, Evidence, Stage};

use crate::console::Line;

/// How many facts and how many console lines are kept.
const KEPT: usize = 6;

/// Longest text of one piece of evidence, in characters.
const TEXT_LIMIT: usize = 240;

/// The last facts, console lines and words of QEMU.
#[derive(Clone, Debug, Default)]
pub(super) struct Notes {
    facts: VecDeque<Evidence>,
    console: VecDeque<Evidence>,
    stderr: VecDeque<String>,
}

impl Notes {
    /// Keeps what is worth telling about a fact.
    pub(super) fn fact(&mut self, seq: u64, kind: &EventKind) {
        if let Some(text) = describe(kind) {
            push(
                &mut self.facts,
                Evidence {
                    seq,
                    text: cut(&text),
                },
            );
        }
        if let EventKind::QemuStderr { line } = kind {
            push(&mut self.stderr, cut(line));
        }
    }

    /// Keeps a remark of the fold itself.
    pub(super) fn remark(&mut self, seq: u64, text: &str) {
        push(
            &mut self.facts,
            Evidence {
                seq,
                text: text.to_owned(),
            },
        );
    }

    /// Keeps a console line that came with the event `seq`.
    pub(super) fn line(&mut self, seq: u64, line: &Line) {
        push(
            &mut self.console,
            Evidence {
                seq,
                text: console(line),
            },
        );
    }

    /// What QEMU said last, in one line; empty where it said nothing.
    pub(super) fn stderr(&self) -> String {
        Vec::from_iter(self.stderr.iter().map(String::as_str)).join("; ")
    }

    /// Everything kept, in the order of the log, the console's open line last.
    pub(super) fn evidence(&self, seq: u64, open: Option<&Line>) -> Vec<Evidence> {
        let mut all: Vec<Evidence> = self.facts.iter().chain(&self.console).cloned().collect();
        all.sort_by_key(|evidence| evidence.seq);
        all.extend(open.map(|line| Evidence {
            seq,
            text: console(line),
        }));
        all
    }
}

fn push<T>(kept: &mut VecDeque<T>, item: T) {
    if kept.len() == KEPT {
        kept.pop_front();
    }
    kept.push_back(item);
}

fn console(line: &Line) -> String {
    format!("console: {}", cut(line.text().trim_end()))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_LIMIT) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn describe(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::DhcpReceived { facts, .. } => format!("DHCP {} received", dhcp(facts)),
        EventKind::DhcpSent { facts, reason, .. } => {
            let file = facts
                .bootfile
                .as_ref()
                .map(|file| format!(", bootfile `{file}`"));
            format!(
                "DHCP {} sent{}: {reason}",
                dhcp(facts),
                file.unwrap_or_default()
            )
        }
        EventKind::PacketDropped { service, reason } => {
            format!("{service} packet not answered: {reason}")
        }
        EventKind::TransferStarted { path, .. } => format!("fetch of `{path}` began"),
        EventKind::TransferAborted {
            path,
            bytes,
            reason,
            benign: false,
            ..
        } => {
            format!("fetch of `{path}` broke off after {bytes} bytes: {reason}")
        }
        EventKind::RequestRefused {
            path, code, reason, ..
        } => {
            format!("`{path}` refused ({code}): {reason}")
        }
        EventKind::StaleCallback { path, nonce } => {
            format!("callback `{path}` with the nonce `{nonce}` of another attempt refused")
        }
        EventKind::AgentStarted { version, .. } => format!("agent {version} started"),
        EventKind::AgentFailed { error, .. } => format!("agent gave up: {error}"),
        EventKind::FaultInjected { what, .. } => format!("fault injected: {what}"),
        EventKind::PoweredOff { cause } => format!("powered off by {cause:?}").to_lowercase(),
        EventKind::WasReset { cause } => format!("reset by {cause:?}").to_lowercase(),
        EventKind::QemuStderr { line } => format!("QEMU: {line}"),
        EventKind::ConsoleClosed { reason } => format!("console closed: {reason}"),
        _ => return None,
    })
}

fn dhcp(facts: &DhcpFacts) -> String {
    match (&facts.address, facts.loader.as_str()) {
        (Some(address), _) => format!("{} {address}", facts.message),
        (None, "") => facts.message.clone(),
        (None, loader) => format!("{} ({loader})", facts.message),
    }
}

/// What to look at when a target goes no further than this stage.
pub(super) fn advice(stage: Stage) -> &'static str {
    match stage {
        Stage::Power => "the target was never powered on: look at its power commands or at QEMU",
        Stage::Firmware => {
            "no DHCP message came: is network boot on in the firmware, and is the network interface \
             connected to the segment?"
        }
        Stage::Dhcp => {
            "DHCP was not followed by a fetch: another DHCP server may have answered, or the firmware does \
             not take the bootfile"
        }
        Stage::Nbp => "the network boot program was fetched or tried, but did not run its own DHCP",
        Stage::Ipxe => "iPXE has an address but did not ask for its script",
        Stage::Script => "the script was fetched but no kernel: look at the script and the console",
        Stage::Kernel => "the kernel was asked for, the initial RAM disk was not",
        Stage::Initrd => "the initial RAM disk is still being fetched, or the fetch broke off",
        Stage::Live => {
            "the kernel was started: if the console is silent, look at `console=` on its command line; if \
             the agent did not call, at the drivers in the initial RAM disk"
        }
        Stage::Flash => "the agent did not finish writing the image",
        Stage::Verify => "the image was not read back, or the target did not switch off after it",
        Stage::DiskBoot => "the flashed disk did not get as far as the expected markers",
        Stage::Done => "every requirement was met",
    }
}
