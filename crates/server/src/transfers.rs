//! Truthful events about one file on its way to one client.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bootgate_events::{ArtifactRole, AttemptId, EventKind, MacAddr, Protocol};
use tokio::time::Instant;

use crate::context::Context;
use crate::metrics::Transferring;

/// Shortest time between two progress events of one transfer.
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// What is sent, to whom.
pub(crate) struct Sending<'a> {
    pub(crate) mac: Option<MacAddr>,
    pub(crate) protocol: Protocol,
    pub(crate) role: ArtifactRole,
    pub(crate) path: &'a str,
    pub(crate) peer: IpAddr,
    pub(crate) size: u64,
    pub(crate) detail: String,
}

/// Tells of a transfer's start when made, and of its end exactly once: at the latest when dropped, as aborted.
pub(crate) struct TransferEvents {
    context: Arc<Context>,
    mac: Option<MacAddr>,
    /// The attempt it began in; it stays with it.
    attempt: Option<AttemptId>,
    id: u64,
    role: ArtifactRole,
    path: String,
    protocol: Protocol,
    bytes: u64,
    told: Instant,
    ended: bool,
    counted: Option<Transferring>,
}

impl TransferEvents {
    pub(crate) fn start(context: &Arc<Context>, sending: Sending<'_>) -> Self {
        context.transfer_begins();
        let counted = context.metrics.as_ref();
        let attempt = sending.mac.and_then(|mac| context.desk.attempt(&mac));
        let events = Self {
            context: Arc::clone(context),
            mac: sending.mac,
            attempt,
            id: context.next_transfer(),
            role: sending.role,
            path: sending.path.to_owned(),
            protocol: sending.protocol,
            bytes: 0,
            told: Instant::now(),
            ended: false,
            counted: counted.map(|metrics| metrics.transfer(sending.protocol)),
        };
        events.emit(EventKind::TransferStarted {
            id: events.id,
            protocol: sending.protocol,
            role: sending.role,
            path: events.path.clone(),
            peer: sending.peer,
            size: Some(sending.size),
            detail: sending.detail,
        });
        events
    }

    /// The client has `bytes` now.
    pub(crate) fn progress(&mut self, bytes: u64) {
        if bytes == self.bytes {
            return;
        }
        if let Some(counted) = &self.counted {
            counted.bytes(bytes.saturating_sub(self.bytes));
        }
        self.bytes = bytes;
        if self.told.elapsed() >= PROGRESS_EVERY {
            self.told = Instant::now();
            let id = self.id;
            self.emit(EventKind::TransferProgressed { id, bytes });
        }
    }

    pub(crate) fn completed(mut self) {
        self.ended = true;
        self.count("completed");
        self.emit(EventKind::TransferCompleted {
            id: self.id,
            role: self.role,
            path: self.path.clone(),
            bytes: self.bytes,
        });
    }

    pub(crate) fn aborted(mut self, reason: impl Into<String>, benign: bool) {
        self.abort(reason.into(), benign);
    }

    fn abort(&mut self, reason: String, benign: bool) {
        self.ended = true;
        self.count(if benign { "left" } else { "aborted" });
        self.emit(EventKind::TransferAborted {
            id: self.id,
            role: self.role,
            path: self.path.clone(),
            bytes: self.bytes,
            reason,
            benign,
        });
    }

    fn count(&self, result: &str) {
        if let Some(metrics) = &self.context.metrics {
            metrics.transferred(self.protocol, result);
        }
    }

    fn emit(&self, kind: EventKind) {
        self.context.emit_for(self.mac, self.attempt.clone(), kind);
    }
}

impl Drop for TransferEvents {
    fn drop(&mut self) {
        if !self.ended {
            self.abort("the server ended it".to_owned(), false);
        }
        self.context.transfer_ends();
    }
}
