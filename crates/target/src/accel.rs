//! Which accelerator QEMU uses here, and how fast it is.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Launcher;
use crate::discovery::QemuBinary;

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccelChoice {
    /// KVM where it is proven to work, else TCG.
    #[default]
    Auto,
    /// KVM, or an infrastructure error.
    Kvm,
    /// TCG.
    Tcg,
}

/// An accelerator of QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Accel {
    /// The host's hardware virtualisation.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accel {
    /// `kvm` or `tcg`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Accel::Kvm => "kvm",
            Accel::Tcg => "tcg",
        }
    }
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The accelerator to use and the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccelDecision {
    /// What to use.
    pub accel: Accel,
    /// Why, for `run-started` and `bootgate doctor`.
    pub reason: String,
}

/// How fast guests run here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calibration {
    /// Time the probe guest's loop took, in microseconds.
    pub loop_us: u64,
    /// The factor for deadlines, in thousandths; 1000 (none) at least.
    pub scale_milli: u64,
    /// Whether the measurement came from the cache.
    pub cached: bool,
}

/// Chooses the accelerator. KVM counts as working only when `/proc/cpuinfo` has `vmx` or `svm`, `/dev/kvm` opens,
/// and a probe guest really runs; a host where it does not is common (no nested virtualisation), so `Auto` then
/// gives TCG and says why.
///
/// # Errors
/// `Kvm` was asked for and is not proven, or the probe could not be started at all.
pub async fn decide(
    choice: AccelChoice,
    qemu: &QemuBinary,
    launcher: &dyn Launcher,
) -> Result<AccelDecision, AccelError> {
    let _ = (choice, qemu, launcher);
    todo!()
}

/// Measures how fast guests run here, with a tiny guest, in less than a second; the result is cached by CPU model,
/// QEMU version and accelerator in `$XDG_CACHE_HOME/bootgate/calibration.json`.
///
/// `clients` is how many virtual CPUs will run at once and `cores` how many the host has: deadlines grow by their ratio
/// where it is above one.
///
/// # Errors
/// The probe guest does not run.
pub async fn calibrate(
    accel: Accel,
    qemu: &QemuBinary,
    launcher: &dyn Launcher,
    clients: u32,
    cores: u32,
) -> Result<Calibration, AccelError> {
    let _ = (accel, qemu, launcher, clients, cores);
    todo!()
}

/// No accelerator can be used as asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AccelError {
    /// KVM was asked for and does not work.
    #[error("use KVM: {reason}")]
    KvmUnusable {
        /// What of the proof failed.
        reason: String,
    },
    /// The probe guest did not run.
    #[error("run the probe guest under {accel}: {problem}")]
    Probe {
        /// The accelerator.
        accel: Accel,
        /// What happened.
        problem: String,
    },
}
