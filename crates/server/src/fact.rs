//! What the servers tell the world.

use std::sync::Arc;

use bootgate_events::{AttemptId, EventKind, MacAddr};

/// Something a server saw or did. The receiver turns the address into a target's name and puts it on its clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    /// The client, where it is known: by its DHCP message, or by the lease of its address.
    pub mac: Option<MacAddr>,
    /// The attempt the client's machine is armed for, where it is.
    pub attempt: Option<AttemptId>,
    /// What happened.
    pub kind: EventKind,
}

/// Takes facts, in the order in which they happened for each client. Called from the servers' tasks and
/// threads: it must not block.
pub type EventSink = Arc<dyn Fn(Fact) + Send + Sync>;
