//! What the recorder is told and asked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};

use bootgate_api::{Machine, Nonce};
use bootgate_events::{AttemptId, EventKind, Stage};
use tokio::sync::oneshot;

use super::super::decide::Next;
use super::super::known::Known;
use super::health::Health;
use crate::Fact;
use crate::desk::{AgentCall, Answered, BootAsk, Refusal};
use crate::leases::LEASES;

/// What the recorder is asked.
pub(in crate::lab) enum Message {
    Fact(Box<Fact>),
    Boot(Box<BootAsk>, oneshot::Sender<Result<Given, Refusal>>),
    Call(Box<AgentCall>, oneshot::Sender<Result<Answered, Refusal>>),
    /// Which machines are under way.
    UnderWay(oneshot::Sender<Vec<UnderWay>>),
    /// Answers when all that came before is done.
    Ping(oneshot::Sender<()>),
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

/// A machine that boots something from here and was heard of lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnderWay {
    /// Its name, or its hardware address.
    pub machine: String,
    /// The attempt.
    pub attempt: AttemptId,
    /// The mode of the attempt: `flash-once`, `install`, ...
    pub mode: String,
    /// The stage it is in.
    pub stage: Option<Stage>,
}

/// Speaks to the recorder.
#[derive(Clone)]
pub(in crate::lab) struct Mailbox {
    pub(super) queue: SyncSender<Message>,
    pub(super) known: Arc<Known>,
    pub(super) health: Arc<Health>,
}

impl Mailbox {
    fn send(&self, message: Message) -> Result<(), TrySendError<Message>> {
        // Counted before, so that it never is taken first.
        self.health.waiting.fetch_add(1, Ordering::Relaxed);
        self.queue.try_send(message).inspect_err(|_| {
            self.health.waiting.fetch_sub(1, Ordering::Relaxed);
        })
    }

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
            EventKind::ServerFailed { service, error } if service == LEASES => {
                // It goes on, and says so when they can be written again.
                tracing::error!("leases cannot be written: {error}");
                false
            }
            EventKind::ServerFailed { service, error } => {
                tracing::error!("the {service} server failed: {error}");
                self.health.server_failed(service);
                false
            }
            _ => fact
                .mac
                .is_some_and(|mac| self.known.attempt(&mac).is_some()),
        };
        if wanted && self.send(Message::Fact(Box::new(fact))).is_err() {
            self.health.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The machines that are under way; none where the recorder does not answer any more.
    pub(in crate::lab) async fn under_way(&self) -> Vec<UnderWay> {
        let (reply, answer) = oneshot::channel();
        match self.send(Message::UnderWay(reply)) {
            Ok(()) => answer.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Whether the recorder does its work: it answers.
    pub(in crate::lab) async fn ping(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        match self.send(Message::Ping(reply)) {
            Ok(()) => answer.await.is_ok(),
            Err(_) => false,
        }
    }

    /// Asks, and waits for the answer.
    pub(in crate::lab) async fn ask<T>(
        &self,
        message: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Message,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        match self.send(message(reply)) {
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
