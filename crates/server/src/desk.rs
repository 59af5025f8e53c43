//! Who decides what a machine gets. The servers ask it and do what it says: in a gate it is [`Machines`](crate::Machines),
//! in a lab it is the machines that the store knows.

use std::net::IpAddr;

use bootgate_api::{AgentHello, BootPlan, Completion, Failure, Inventory, Progress};
use bootgate_events::{ArtifactRole, AttemptId, EventKind, FaultAction, MacAddr, Protocol};
use bootgate_netboot::policy::MachineLookup;
use bytes::Bytes;

use crate::BoxFuture;

/// Decides for all servers. What it is asked while a client waits, it answers at once.
pub(crate) trait Desk: MachineLookup + Send + Sync + 'static {
    /// The attempt that facts about this machine belong to.
    fn attempt(&self, mac: &MacAddr) -> Option<AttemptId>;

    /// What is to go wrong on purpose when this machine asks for a file of this role.
    fn fault(&self, _mac: &MacAddr, _role: ArtifactRole) -> Option<FaultAction> {
        None
    }

    /// A loader asks for a machine's script or configuration.
    fn boot(&self, ask: BootAsk) -> BoxFuture<'_, Result<Served, Refusal>>;

    /// A file that is made when it is asked for, where `name` is such a one: loaders ask for their configuration by
    /// well-known names, several in a row until one is there. Never blocks where it is not.
    fn generated(&self, ask: FileAsk) -> BoxFuture<'_, Generated>;

    /// An agent or an installer calls.
    fn call(&self, call: AgentCall) -> BoxFuture<'_, Result<Answered, Refusal>>;
}

/// Which program reads what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BootLoader {
    /// iPXE.
    Ipxe,
    /// PXELINUX, of Syslinux.
    Pxelinux,
    /// GRUB.
    Grub,
    /// U-Boot, which reads a part of PXELINUX's language.
    Uboot,
}

/// A loader's question for a machine's script.
#[derive(Clone, Debug)]
pub(crate) struct BootAsk {
    /// The machine whose script it is.
    pub(crate) mac: MacAddr,
    /// The machine that leased the address of who asks.
    pub(crate) holder: Option<MacAddr>,
    /// Who asks.
    pub(crate) peer: IpAddr,
    pub(crate) loader: BootLoader,
    /// How it is asked.
    pub(crate) protocol: Protocol,
    /// Base URL of the HTTP server that this client reaches.
    pub(crate) server_url: String,
    /// Whether it is given out (`GET`), or only its length (`HEAD`).
    pub(crate) give: bool,
}

/// A request for a file that may be a generated one.
#[derive(Clone, Debug)]
pub(crate) struct FileAsk {
    /// The name asked for, with or without folders before it.
    pub(crate) name: String,
    /// The machine that leased the address of who asks.
    pub(crate) holder: Option<MacAddr>,
    /// Who asks.
    pub(crate) peer: IpAddr,
    /// How it is asked.
    pub(crate) protocol: Protocol,
    /// Base URL of the HTTP server that this client reaches.
    pub(crate) server_url: String,
    /// Whether it is given out, or only its length.
    pub(crate) give: bool,
}

/// What is given to a loader.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Served {
    pub(crate) bytes: Bytes,
    /// The machine it is for.
    pub(crate) mac: Option<MacAddr>,
    /// What to tell before the transfer's own events.
    pub(crate) told: Option<EventKind>,
}

/// What became of a request for a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Generated {
    /// The name is not one of generated files.
    NotOurs,
    /// Such a file is there for some machines, and not for this one. Loaders ask for many names on a healthy boot, so
    /// this is no failure.
    Absent,
    /// The file.
    File(Served),
    /// The machine may not have it.
    Refused(Refusal),
}

/// A refusal. `told` was not told yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) status: u16,
    /// Why, in words, for the client.
    pub(crate) reason: String,
    /// The event that says so; `None`: [`EventKind::RequestRefused`].
    pub(crate) told: Option<Box<EventKind>>,
    /// The machine, where it is known.
    pub(crate) mac: Option<MacAddr>,
}

impl Refusal {
    pub(crate) fn new(status: u16, reason: impl Into<String>) -> Self {
        Self {
            status,
            reason: reason.into(),
            told: None,
            mac: None,
        }
    }
}

/// A call with a nonce.
#[derive(Clone, Debug)]
pub(crate) struct AgentCall {
    /// The nonce in its path, unchecked.
    pub(crate) nonce: String,
    /// Who calls.
    pub(crate) peer: IpAddr,
    /// The machine that leased that address.
    pub(crate) holder: Option<MacAddr>,
    /// The path called.
    pub(crate) path: String,
    /// Base URL of the HTTP server that this client reaches.
    pub(crate) server_url: String,
    pub(crate) what: Saying,
}

/// What a call says.
#[derive(Clone, Debug)]
pub(crate) enum Saying {
    Hello(AgentHello),
    Plan,
    Progress(Progress),
    Complete(Completion),
    Inventory(Box<Inventory>),
    Failure(Failure),
    /// An installer wants its answer file.
    Answer,
    /// An installer is done, or failed with this text.
    Installed {
        failed: Option<String>,
    },
    /// The body is not that of the call, for this reason. Told only to who has the right nonce.
    Unreadable(String),
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    Done,
    Plan(BootPlan),
    /// An answer file.
    Text(String),
}

/// An answer and what to tell of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    /// The machine that called, where it is known.
    pub(crate) mac: Option<MacAddr>,
    /// What to tell.
    pub(crate) told: Option<EventKind>,
}
