//! Which event concerns which target, and which part of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bootgate_events::{EventKind, MacAddr};

use super::target::{Draw, TargetFold};

/// Most addresses and transfers remembered at once; more come from no run that goes on.
const REMEMBERED: usize = 4096;

impl TargetFold {
    /// A fact that concerns this target.
    pub(super) fn fact(&mut self, draw: &mut Draw<'_>, kind: &EventKind, payload: &[u8]) {
        if self.judged().is_some() {
            return;
        }
        match kind {
            EventKind::ConsoleAttached { .. } => self.console_attached(draw),
            EventKind::QemuStarted { .. } => self.begin(draw, "QEMU started"),
            EventKind::ConsoleChunk { offset, len } => {
                self.console(draw, offset.saturating_add(*len), payload);
            }
            EventKind::ConsoleClosed { .. } => self.console_closed(draw),
            EventKind::PoweredOn { boot } => self.powered_on(draw, boot),
            EventKind::PoweredOff { cause } => self.powered_off(draw, *cause),
            EventKind::WasReset { cause } => self.was_reset(draw, *cause),
            EventKind::QemuExited {
                code,
                signal,
                expected,
            } => {
                self.qemu_exited(draw, *code, *signal, *expected);
            }
            EventKind::QemuStderr { line } if line.contains("KVM internal error") => {
                let error =
                    format!("this host's KVM cannot run the guest ({line}); run with --accel tcg");
                self.infra(draw, "kvm-error", &error);
            }
            EventKind::DiskCompared { .. } => self.disk_compared(draw, kind),
            EventKind::DeadlineExpired {
                deadline, stage, ..
            } => {
                self.deadline_expired(draw, *deadline, *stage);
            }
            EventKind::DhcpReceived { .. }
            | EventKind::DhcpSent { .. }
            | EventKind::PacketDropped { .. }
            | EventKind::RouterAdvertised { .. }
            | EventKind::TransferStarted { .. }
            | EventKind::TransferProgressed { .. }
            | EventKind::TransferCompleted { .. }
            | EventKind::TransferAborted { .. }
            | EventKind::RequestRefused { .. }
            | EventKind::ScriptServed { .. }
            | EventKind::AgentStarted { .. }
            | EventKind::AgentProgressed { .. }
            | EventKind::AgentFlashed { .. }
            | EventKind::AgentFailed { .. }
            | EventKind::StaleCallback { .. }
            | EventKind::LocalBootServed { .. }
            | EventKind::InventoryReceived { .. }
            | EventKind::InstallReported { .. }
            | EventKind::BootRefused { .. } => self.network(draw, kind),
            _ => {}
        }
    }
}

/// By what an event can be told to concern a target.
#[derive(Default)]
pub(super) struct Carried {
    pub(super) mac: Option<MacAddr>,
    pub(super) transfer: Option<u64>,
    pub(super) peer: Option<IpAddr>,
}

impl Carried {
    pub(super) fn of(kind: &EventKind) -> Self {
        let none = Self::default();
        match kind {
            EventKind::DhcpReceived { mac, .. }
            | EventKind::DhcpSent { mac, .. }
            | EventKind::RouterAdvertised { mac }
            | EventKind::ScriptServed { mac, .. }
            | EventKind::LocalBootServed { mac, .. }
            | EventKind::InventoryReceived { mac, .. }
            | EventKind::BootRefused { mac, .. } => Self {
                mac: Some(*mac),
                ..none
            },
            EventKind::TransferStarted { peer, .. } | EventKind::RequestRefused { peer, .. } => {
                Self {
                    peer: Some(*peer),
                    ..none
                }
            }
            EventKind::TransferProgressed { id, .. }
            | EventKind::TransferCompleted { id, .. }
            | EventKind::TransferAborted { id, .. } => Self {
                transfer: Some(*id),
                ..none
            },
            _ => none,
        }
    }
}

/// Notes whom a key belongs to.
pub(super) fn remember<K: Ord>(map: &mut BTreeMap<K, usize>, key: Option<K>, index: usize) {
    if let Some(key) = key
        && map.len() < REMEMBERED
    {
        map.insert(key, index);
    }
}
