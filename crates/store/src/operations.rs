//! The operations.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use bootgate_api::{
    Attempt, BootMode, ExpectedFlash, FlashOrder, Inventory, Lease, LeaseState, LocalBoot, Machine,
    Nonce, UnixMicros,
};
use bootgate_events::{AttemptId, Event, MacAddr, TargetVerdict};

use crate::ArtifactStore;

/// What a boot server must not forget, behind operations.
///
/// Moments from 2^63 - 1 microseconds on stand for never, and may come back as [`u64::MAX`].
pub trait Store: Send + Sync + 'static {
    /// Grants or renews leases, all of them in one transaction and durable before it returns; one outcome for each, in
    /// order. A machine has at most one leased address in a subnet: a grant ends the machine's other leases of the
    /// same `subnet`. An address that was released, or whose lease or quarantine ran out, is free for anybody.
    ///
    /// # Errors
    /// None of the grants took effect: the disk is full, or the storage broke.
    fn grant_leases(&self, grants: &[LeaseGrant]) -> Result<Vec<Granted>, StoreError>;

    /// Ends a lease (release), or keeps an address from everybody for a while (decline). A release of what the
    /// machine does not hold changes nothing, nor does a decline of what another machine holds.
    ///
    /// # Errors
    /// The storage failed; nothing changed.
    fn end_lease(&self, end: &LeaseEnd) -> Result<(), StoreError>;

    /// Every address in mind, of whatever state, ordered by address.
    ///
    /// # Errors
    /// The storage failed.
    fn leases(&self) -> Result<Vec<Lease>, StoreError>;

    /// Forgets an address; whether it was known.
    ///
    /// # Errors
    /// The storage failed; nothing changed.
    fn forget_lease(&self, ip: IpAddr) -> Result<bool, StoreError>;

    /// Forgets the addresses that ended before `before`, of whatever state; how many.
    ///
    /// # Errors
    /// The storage failed; nothing changed.
    fn prune_leases(&self, before: UnixMicros) -> Result<u64, StoreError>;

    /// The machine with this hardware address.
    ///
    /// # Errors
    /// The storage failed.
    fn machine(&self, mac: &MacAddr) -> Result<Option<Machine>, StoreError>;

    /// All machines, ordered by hardware address.
    ///
    /// # Errors
    /// The storage failed.
    fn machines(&self) -> Result<Vec<Machine>, StoreError>;

    /// Notes a contact of a machine, and makes it known where it was not. Of a known one the moment and the
    /// architecture are noted, its mode stays.
    ///
    /// # Errors
    /// The storage failed; nothing changed.
    fn discover_machine(&self, discovery: &Discovery) -> Result<Discovered, StoreError>;

    /// Changes what is named in `change`, making the machine known where it was not. A new mode clears
    /// `failed_flashes` and `local_next`, also where it is the mode of before. The mode `inventory` keeps the one
    /// before for afterwards.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the name is another machine's, where the mode `local` is asked for while the
    /// disk is half written and `change.force` is not set, or where the mode is not `change.only_from`. Storage errors.
    /// Nothing changed.
    fn set_machine(
        &self,
        mac: &MacAddr,
        change: &MachineChange,
        at: UnixMicros,
    ) -> Result<Machine, StoreError>;

    /// Orders a flash: `set_machine` with `flash-once` or `flash-always`.
    ///
    /// # Errors
    /// As [`Store::set_machine`].
    fn arm_flash(
        &self,
        mac: &MacAddr,
        order: &FlashOrder,
        always: bool,
        at: UnixMicros,
    ) -> Result<Machine, StoreError>;

    /// Forgets a machine (its attempts stay); whether it was known.
    ///
    /// # Errors
    /// The storage failed; nothing changed.
    fn forget_machine(&self, mac: &MacAddr) -> Result<bool, StoreError>;

    /// Opens an attempt. An attempt of the same machine that is still open must be finished before. The machine need
    /// not be known. The number is never given again, even when the attempt is forgotten.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where one is open. Storage errors. Nothing changed.
    fn open_attempt(&self, new: &NewAttempt) -> Result<Attempt, StoreError>;

    /// Gives the attempt a nonce, bound to the address that asked; the one before is void from now on. Durable
    /// before it returns, so that no nonce that left the server is unknown to it.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the attempt is unknown or finished, or where the nonce was given out before.
    /// Storage errors. Nothing changed.
    fn issue_nonce(
        &self,
        attempt: &AttemptId,
        nonce: &Nonce,
        peer: IpAddr,
    ) -> Result<IssuedNonce, StoreError>;

    /// The open attempt whose current nonce this is.
    ///
    /// # Errors
    /// The storage failed.
    fn attempt_by_nonce(&self, nonce: &Nonce) -> Result<Option<Attempt>, StoreError>;

    /// The agent is about to write: the disk is half written ([`bootgate_api::DiskState::Dirty`]) until
    /// [`Store::complete_flash`]. To say so again changes nothing. An attempt writes its disk once: after its
    /// completion this is [`BeginFlash::Stale`].
    ///
    /// # Errors
    /// The storage failed; nothing changed.
    fn begin_flash(&self, nonce: &Nonce) -> Result<BeginFlash, StoreError>;

    /// The agent read back what it wrote. Where nonce, digest and size are right the disk counts as flashed, the failures
    /// are forgotten, `flash-once` turns into `local`, and `flash-always` boots its disk next; a mode that was set since
    /// the attempt opened stays. The same completion again is [`Completed::Again`], also after the attempt's verdict.
    ///
    /// # Errors
    /// The storage failed; nothing changed.
    fn complete_flash(
        &self,
        nonce: &Nonce,
        written: &ExpectedFlash,
        at: UnixMicros,
    ) -> Result<Completed, StoreError>;

    /// The agent told what its machine is made of; where its mode is `inventory`, the mode before comes back (`local`
    /// where there was none).
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the nonce is of no open attempt, or the machine was forgotten. Storage errors.
    /// Nothing changed.
    fn record_inventory(&self, nonce: &Nonce, inventory: &Inventory) -> Result<(), StoreError>;

    /// The attempt has its verdict. A flash that did not complete counts as failed, where a nonce was given for it and
    /// the machine's mode is still the attempt's; a local boot of [`Machine::local_next`] is used up. Finishing twice
    /// changes nothing, and the first verdict stays.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the attempt is unknown. Storage errors. Nothing changed.
    fn finish_attempt(
        &self,
        attempt: &AttemptId,
        verdict: &TargetVerdict,
        at: UnixMicros,
    ) -> Result<Attempt, StoreError>;

    /// An attempt.
    ///
    /// # Errors
    /// The storage failed.
    fn attempt(&self, id: &AttemptId) -> Result<Option<Attempt>, StoreError>;

    /// The attempts that pass the filter, latest first.
    ///
    /// # Errors
    /// The storage failed.
    fn attempts(&self, filter: &AttemptFilter) -> Result<Vec<Attempt>, StoreError>;

    /// Appends events, of any number of attempts, in one transaction. An event whose `(run, seq)` is there already is
    /// left out, and so is one whose run is no known attempt.
    ///
    /// # Errors
    /// The storage failed; nothing changed.
    fn append_events(&self, events: &[Event]) -> Result<(), StoreError>;

    /// The events of an attempt (those whose run is its id) from `seq` `from` on, at most `limit`, in order of `seq`.
    ///
    /// # Errors
    /// The storage failed, or an event in it cannot be read.
    fn events(
        &self,
        attempt: &AttemptId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError>;

    /// Forgets the oldest finished attempts of each machine beyond `keep`, with their events; how many.
    ///
    /// # Errors
    /// The storage failed; nothing changed.
    fn prune_attempts(&self, keep: u32) -> Result<u64, StoreError>;

    /// Writes a consistent copy of everything to a new file, while the store is in use. The copy is as durable as an
    /// operation.
    ///
    /// # Errors
    /// The file exists or cannot be written; no half copy is left.
    fn backup(&self, to: &Path) -> Result<(), StoreError>;

    /// Artifacts, uploads and images; `None` where the backend keeps none.
    fn artifacts(&self) -> Option<&dyn ArtifactStore> {
        None
    }
}

/// A lease to grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The address.
    pub ip: IpAddr,
    /// Who gets it.
    pub mac: MacAddr,
    /// The subnet it is of, as `10.0.0.0/24`.
    pub subnet: String,
    /// When it ends.
    pub ends: UnixMicros,
    /// Now.
    pub at: UnixMicros,
    /// The DHCPv6 client, `DUID/IAID` in hexadecimal. Where given, it stands for the machine in place of `mac`.
    pub client: Option<String>,
}

/// What became of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The lease is durable.
    Yes,
    /// Another holds the address until then, or it is in quarantine.
    Taken {
        /// Who.
        mac: MacAddr,
        /// What the address is.
        state: LeaseState,
        /// Until when.
        ends: UnixMicros,
    },
}

/// The end of a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseEnd {
    /// The address.
    pub ip: IpAddr,
    /// Who had it.
    pub mac: MacAddr,
    /// [`LeaseState::Ended`] or [`LeaseState::Quarantined`]; anything else ends nothing.
    pub state: LeaseState,
    /// When it ended, or when the quarantine will.
    pub ends: UnixMicros,
    /// Now.
    pub at: UnixMicros,
}

/// A contact of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discovery {
    /// Its hardware address.
    pub mac: MacAddr,
    /// The mode it gets where it is not known.
    pub boot: BootMode,
    /// The client architecture it came with.
    pub architecture: Option<u16>,
    /// Now.
    pub at: UnixMicros,
    /// Discovered machines at most; where there are as many, no more become known.
    pub limit: u64,
}

/// What became of a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovered {
    /// It was not known, and is now.
    New(Machine),
    /// It was known.
    Known(Machine),
    /// It was not known and is not now: too many are.
    Full,
}

/// What to change of a machine; `None` leaves a thing as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineChange {
    /// A name; `Some(None)` takes it away.
    pub name: Option<Option<String>>,
    /// A boot mode.
    pub boot: Option<BootMode>,
    /// How it boots its own disk.
    pub local: Option<LocalBoot>,
    /// Labels to set; `None` as value takes one away.
    pub labels: BTreeMap<String, Option<String>>,
    /// Lets a half-written disk boot: the operator knows better. The disk then counts as unknown.
    pub force: bool,
    /// Only where the machine is known and its mode is still this one: an order given since stays.
    pub only_from: Option<BootMode>,
}

/// An attempt to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAttempt {
    /// The machine.
    pub mac: MacAddr,
    /// The mode it boots by.
    pub boot: BootMode,
    /// Whether it boots its disk whatever the mode says.
    pub local: bool,
    /// What a completed flash must have written.
    pub expected: Option<ExpectedFlash>,
    /// Now.
    pub at: UnixMicros,
}

/// A nonce was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedNonce {
    /// The attempt, with the nonce counted.
    pub attempt: Attempt,
    /// How many nonces of this attempt were given out before this one.
    pub earlier: u32,
}

/// What became of the beginning of a flash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BeginFlash {
    /// The disk counts as half written now.
    Begun,
    /// The nonce is of no open attempt that has yet to flash a known machine.
    Stale,
}

/// What became of a completion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Completed {
    /// The disk counts as flashed now.
    Yes,
    /// It did before, by the same completion.
    Again,
    /// The nonce is of no open attempt that flashes a known machine.
    Stale,
    /// The attempt's flash did not begin ([`Store::begin_flash`]): the disk cannot be what this attempt wrote.
    NotBegun,
    /// A digest or the size is not that of the image.
    Wrong {
        /// What was expected.
        expected: ExpectedFlash,
    },
}

/// Which attempts to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptFilter {
    /// Of this machine only.
    pub mac: Option<MacAddr>,
    /// Only those without a verdict.
    pub open: bool,
    /// Only attempts before this one, for paging.
    pub before: Option<AttemptId>,
    /// At most so many.
    pub limit: usize,
}

impl Default for AttemptFilter {
    fn default() -> Self {
        Self {
            mac: None,
            open: false,
            before: None,
            limit: 100,
        }
    }
}

/// An operation failed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no room on the disk (or in the quota).
    #[error("{doing}: no space left on the disk")]
    Full {
        /// What was being done.
        doing: String,
    },
    /// The operation contradicts what is stored.
    #[error("{doing}: {why}")]
    Refused {
        /// What was being done.
        doing: String,
        /// Why not.
        why: String,
    },
    /// Something that the operation names is not there.
    #[error("{doing}: {what}")]
    Missing {
        /// What was being done.
        doing: String,
        /// What is not there.
        what: String,
    },
    /// More bytes than an upload may have.
    #[error("{doing}: {why}")]
    TooLarge {
        /// What was being done.
        doing: String,
        /// How many it may have.
        why: String,
    },
    /// Bytes are not what they should be.
    #[error("{doing}: {why}")]
    Wrong {
        /// What was being done.
        doing: String,
        /// What they should be.
        why: String,
    },
    /// An upload does not go on at this byte.
    #[error("{doing}: the next byte is `{offset}`")]
    Offset {
        /// What was being done.
        doing: String,
        /// Where it goes on, in bytes.
        offset: u64,
    },
    /// The state was written by a newer version.
    #[error("open `{path}`: its schema is `{found}`, this version knows up to `{known}`")]
    Newer {
        /// The file.
        path: String,
        /// Schema of the file.
        found: u32,
        /// Latest schema known here.
        known: u32,
    },
    /// Another process uses the state.
    #[error("open `{path}`: it is in use by {}", holder(*pid))]
    InUse {
        /// The folder.
        path: String,
        /// The process that holds it, where it told.
        pid: Option<u32>,
    },
    /// The storage failed.
    #[error("{doing}: {source}")]
    Storage {
        /// What was being done.
        doing: String,
        /// The backend's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process `{pid}`"),
    )
}
