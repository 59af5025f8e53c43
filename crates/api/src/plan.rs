//! What the server tells the agent, and what the agent tells the server.

use bootgate_events::{FlashPhase, Stage};
use serde::{Deserialize, Serialize};

use crate::Sha256Hex;

/// What an agent is to do. The answer to `GET` [`paths::plan`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum BootPlan {
    /// Flash an image.
    Flash(FlashPlan),
    /// Tell what the machine is made of ([`paths::inventory`]), then do what is said here.
    Inventory {
        /// What to do when it was told.
        after: AfterFlash,
    },
    /// Nothing to do: print the ready marker and stay up until power is cut.
    Stay,
}

/// How to flash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlashPlan {
    /// Path of the chunk index on the server, beginning with `/`.
    pub index_path: String,
    /// Path of the compressed image on the server, beginning with `/`.
    pub data_path: String,
    /// SHA-256 of the whole image; must be the index's.
    pub image_sha256: Sha256Hex,
    /// Which disk to write.
    pub disk: DiskSelector,
    /// What to do when all is written, read back and reported.
    pub after: AfterFlash,
}

/// Which disk to write. All that is given must hold for exactly one disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DiskSelector {
    /// A device path such as `/dev/vda`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The disk's serial number, as sysfs or the virtio configuration has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Smallest size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_size: Option<u64>,
    /// Largest size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
}

/// What the agent does when it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AfterFlash {
    /// Restart the machine.
    Reboot,
    /// Switch the machine off.
    PowerOff,
}

/// The body of `POST` [`paths::hello`]: the agent runs and has network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentHello {
    /// Version of the agent.
    pub version: String,
    /// Milliseconds since PID 1 started.
    pub since_pid1_ms: u64,
}

/// The body of `POST` [`paths::progress`]; at most a few a second.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What the agent does.
    pub phase: FlashPhase,
    /// Bytes done in this phase.
    pub done: u64,
    /// Bytes to do in this phase.
    pub total: u64,
}

/// The body of `POST` [`paths::complete`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Completion {
    /// Digest over what was read back, as [`ChunkIndex::chunks_sha256`](crate::ChunkIndex::chunks_sha256) defines
    /// it: the index's own value, or the flash failed.
    pub chunks_sha256: Sha256Hex,
    /// Number of bytes read back, from byte 0.
    pub size: u64,
    /// Bytes fetched from the server (compressed).
    pub bytes_fetched: u64,
    /// Bytes written to the disk.
    pub bytes_written: u64,
    /// Milliseconds from the start of PID 1 to the first image bytes asked for.
    pub first_fetch_ms: u64,
}

/// The body of `POST` [`paths::failure`]: the agent cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The stage it was in: `live`, `flash` or `verify`.
    pub stage: Stage,
    /// What went wrong, a lowercase fragment.
    pub error: String,
}

/// Paths of the HTTP server.
pub mod paths {
    use bootgate_events::{AttemptId, MacAddr};

    /// The boot script of one machine.
    #[must_use]
    pub fn script(mac: &MacAddr) -> String {
        format!("/boot/{}/boot.ipxe", mac.hyphenated())
    }

    /// A named file of the scenario.
    #[must_use]
    pub fn artifact(name: &str) -> String {
        format!("/artifacts/{name}")
    }

    fn attempt(nonce: &AttemptId, call: &str) -> String {
        format!("/api/v1/attempts/{nonce}/{call}")
    }

    /// `POST` [`super::AgentHello`]: the agent runs. Answer: the [`super::BootPlan`].
    #[must_use]
    pub fn hello(nonce: &AttemptId) -> String {
        attempt(nonce, "hello")
    }

    /// `GET`: the [`super::BootPlan`] of the attempt.
    #[must_use]
    pub fn plan(nonce: &AttemptId) -> String {
        attempt(nonce, "plan")
    }

    /// `POST` [`super::Progress`].
    #[must_use]
    pub fn progress(nonce: &AttemptId) -> String {
        attempt(nonce, "progress")
    }

    /// `POST` [`super::Completion`].
    #[must_use]
    pub fn complete(nonce: &AttemptId) -> String {
        attempt(nonce, "complete")
    }

    /// `POST` [`Inventory`](crate::Inventory).
    #[must_use]
    pub fn inventory(nonce: &AttemptId) -> String {
        attempt(nonce, "inventory")
    }

    /// `GET`, by an installer: the attempt's rendered answer file.
    #[must_use]
    pub fn answer(nonce: &AttemptId) -> String {
        attempt(nonce, "answer")
    }

    /// `GET` or `POST`, by an installer: the installation is done. Behind `?failed=TEXT` it says that it failed.
    #[must_use]
    pub fn installed(nonce: &AttemptId) -> String {
        attempt(nonce, "installed")
    }

    /// `POST` [`super::Failure`].
    #[must_use]
    pub fn failure(nonce: &AttemptId) -> String {
        attempt(nonce, "failure")
    }
}
