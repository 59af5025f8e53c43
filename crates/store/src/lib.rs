//! Leases, machines, boot attempts and artifacts: what a boot server must not forget.
//!
//! A [`Store`] offers operations, not tables. Each operation that changes something is one transaction: when it returns
//! `Ok`, the change outlives a crash and a power cut; when it returns an error, nothing was changed. The methods block;
//! call them from a thread that may wait. The embedded backend is [`sqlite::Sqlite`].

mod artifacts;
#[cfg(feature = "conformance")]
pub mod conformance;
mod operations;
pub mod rules;
pub mod sqlite;

pub use artifacts::{Appending, ArtifactFilter, ArtifactStore, NewImage, UploadLimits};
pub use operations::{
    AttemptFilter, BeginFlash, Completed, Discovered, Discovery, Granted, IssuedNonce, LeaseEnd,
    LeaseGrant, MachineChange, NewAttempt, Store, StoreError,
};
