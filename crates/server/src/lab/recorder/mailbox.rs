//! What the recorder is told and asked, and what everybody may see of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

use bootgate_api::{Machine, Nonce};
use bootgate_events::EventKind;
use tokio::sync::oneshot;

use super::super::ForeignServer;
use super::super::decide::Next;
use super::super::known::Known;
use crate::Fact;
use crate::desk::{AgentCall, Answered, BootAsk, Refusal};

/// What the recorder is asked.
pub(in crate::lab) enum Message {
    Fact(Box<Fact>),
    Boot(Box<BootAsk>, oneshot::Sender<Result<Given, Refusal>>),
    Call(Box<AgentCall>, oneshot::Sender<Result<Answered, Refusal>>),
    /// Writes what is not written, and ends.
    Stop,
}

/// What a loader is to get.
#[derive(Clone, Debug)]
pub(in crate::lab) struct Given {
    pub(in crate::lab) machine: Machine,
    pub(in crate::lab) next: Next,
    /// The nonce that was given out for it; `None` where none is needed.
    pub(in crate::lab) nonce: Option<Nonce>,
    /// Whether the loader's DHCP said that it is U-Boot.
    pub(in crate::lab) uboot: bool,
}

/// How the recorder is, for everybody to see.
#[derive(Debug, Default)]
pub(in crate::lab) struct Health {
    /// Events that were lost.
    pub(in crate::lab) lost: AtomicU64,
    storage_error: Mutex<Option<String>>,
    foreign: Mutex<BTreeMap<(IpAddr, String), ForeignServer>>,
}

impl Health {
    pub(in crate::lab) fn storage_error(&self) -> Option<String> {
        let error = self.storage_error.lock();
        error.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_storage_error(&self, error: Option<String>) {
        let mut held = self
            .storage_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *held = error;
    }

    pub(in crate::lab) fn foreign(&self) -> Vec<ForeignServer> {
        let servers = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        servers.values().cloned().collect()
    }

    pub(super) fn seen(&self, server: ForeignServer) {
        let mut servers = self.foreign.lock().unwrap_or_else(PoisonError::into_inner);
        // A DHCPv6 server that only clients told of has no address; what told of it has its DUID.
        let name = match server.address.is_unspecified() {
            true => format!("{} {}", server.interface, server.by),
            false => server.interface.clone(),
        };
        let key = (server.address, name);
        if servers.len() < 256 || servers.contains_key(&key) {
            servers.insert(key, server);
        }
    }
}

/// Speaks to the recorder.
#[derive(Clone)]
pub(in crate::lab) struct Mailbox {
    pub(super) queue: SyncSender<Message>,
    pub(super) known: Arc<Known>,
    pub(super) health: Arc<Health>,
}

impl Mailbox {
    /// Takes a fact. Never blocks. What concerns no machine, and the DHCP of operating systems, is left out here.
    pub(in crate::lab) fn fact(&self, fact: Fact) {
        let wanted = match &fact.kind {
            EventKind::DhcpReceived { facts, .. } | EventKind::DhcpSent { facts, .. } => {
                facts.loader != "os"
            }
            EventKind::DhcpServerSeen { .. }
            | EventKind::TransferStarted { .. }
            | EventKind::TransferProgressed { .. }
            | EventKind::TransferCompleted { .. }
            | EventKind::TransferAborted { .. }
            | EventKind::RequestRefused { .. } => true,
            EventKind::ServerFailed { service, error } => {
                // The lease writer says so too, and goes on.
                tracing::error!("the {service} server failed: {error}");
                false
            }
            _ => fact
                .mac
                .is_some_and(|mac| self.known.attempt(&mac).is_some()),
        };
        if wanted && self.queue.try_send(Message::Fact(Box::new(fact))).is_err() {
            self.health.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Asks, and waits for the answer.
    pub(in crate::lab) async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Message,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        match self.queue.try_send(message(reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                return Err(Refusal::new(503, "the server has too much to do"));
            }
            Err(TrySendError::Disconnected(_)) => {
                return Err(Refusal::new(503, "the server stops"));
            }
        }
        let stopped = |_| Err(Refusal::new(503, "the server stops"));
        answer.await.unwrap_or_else(stopped)
    }
}
