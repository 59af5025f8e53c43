//! Which accelerator QEMU uses here, and how fast it is.

mod cache;
mod probe;
mod rom;

use std::fmt;
use std::fs::File;
use std::path::Path;

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
/// The probe's ROM is handed over as `/proc/self/fd/N`, so `launcher` must start it where `/proc` is its own:
/// [`crate::DirectLauncher`] does.
///
/// # Errors
/// `Kvm` was asked for and is not proven, or the probe could not be started at all.
pub async fn decide(
    choice: AccelChoice,
    qemu: &QemuBinary,
    launcher: &dyn Launcher,
) -> Result<AccelDecision, AccelError> {
    if choice == AccelChoice::Tcg {
        return Ok(AccelDecision {
            accel: Accel::Tcg,
            reason: "TCG was asked for".to_owned(),
        });
    }
    let doubt = match kvm_doubt(Path::new(CPUINFO), Path::new(KVM)) {
        Some(doubt) => doubt,
        None => match probe::run(Accel::Kvm, qemu, launcher).await {
            Ok(_) => {
                return Ok(AccelDecision {
                    accel: Accel::Kvm,
                    reason: "KVM is proven: a probe guest ran".to_owned(),
                });
            }
            Err(AccelError::Probe { problem, .. }) => {
                format!("the probe guest does not run under KVM: {problem}")
            }
            Err(other) => return Err(other),
        },
    };
    match choice {
        AccelChoice::Kvm => Err(AccelError::KvmUnusable { reason: doubt }),
        AccelChoice::Auto | AccelChoice::Tcg => Ok(AccelDecision {
            accel: Accel::Tcg,
            reason: doubt,
        }),
    }
}

/// Whether KVM may work here, as far as can be told without starting anything. Where it may, a guest can still show
/// that it does not, in spite of the probe.
#[must_use]
pub fn kvm_is_plausible() -> bool {
    kvm_doubt(Path::new(CPUINFO), Path::new(KVM)).is_none()
}

const CPUINFO: &str = "/proc/cpuinfo";
const KVM: &str = "/dev/kvm";

/// Why KVM cannot be trusted here, judged without starting anything. A `/dev/kvm` that opens proves little: on a host
/// that is a guest without nested virtualisation it may be there and run SeaBIOS, and fail on everything else.
fn kvm_doubt(cpuinfo: &Path, device: &Path) -> Option<String> {
    let flags = std::fs::read_to_string(cpuinfo).unwrap_or_default();
    let has_flag = flags
        .lines()
        .filter(|line| line.starts_with("flags"))
        .flat_map(str::split_whitespace)
        .any(|flag| flag == "vmx" || flag == "svm");
    if !has_flag {
        return Some(
            "the CPU has neither the vmx nor the svm flag, so KVM is not hardware's".to_owned(),
        );
    }
    File::options()
        .read(true)
        .write(true)
        .open(device)
        .err()
        .map(|error| format!("open `{}`: {error}", device.display()))
}

/// Time of one round of the probe guest where the default deadlines were chosen, in microseconds: an Intel Xeon
/// (Sapphire Rapids) at 2 cores, QEMU 7.2, TCG. A host that is twice as slow gets deadlines twice as long.
const REFERENCE_LOOP_US: u64 = 17_000;

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
    let file = cache::path();
    calibrate_in(file.as_deref(), accel, qemu, launcher, clients, cores).await
}

/// [`calibrate`] with the cache in `file`, or without one.
///
/// # Errors
/// The probe guest does not run.
pub async fn calibrate_in(
    file: Option<&Path>,
    accel: Accel,
    qemu: &QemuBinary,
    launcher: &dyn Launcher,
    clients: u32,
    cores: u32,
) -> Result<Calibration, AccelError> {
    let key = cache::key(accel, qemu);
    let known = file.and_then(|file| cache::load(file, &key));
    let (loop_us, cached) = match known {
        Some(loop_us) => (loop_us, true),
        None => {
            let fastest = probe::run(accel, qemu, launcher).await?;
            let loop_us = u64::try_from(fastest.as_micros())
                .unwrap_or(u64::MAX)
                .max(1);
            if let Some(file) = file
                && let Err(error) = cache::store(file, &key, loop_us)
            {
                tracing::warn!("keep the calibration in `{}`: {error}", file.display());
            }
            (loop_us, false)
        }
    };
    Ok(Calibration {
        loop_us,
        scale_milli: scale(loop_us, clients, cores),
        cached,
    })
}

/// The factor for deadlines, in thousandths, for a host that was not measured: what `clients` virtual CPUs on `cores`
/// take longer.
#[must_use]
pub fn crowding(clients: u32, cores: u32) -> u64 {
    scale(0, clients, cores)
}

/// The factor for deadlines, in thousandths, for a loop of that time and `clients` on `cores`.
fn scale(loop_us: u64, clients: u32, cores: u32) -> u64 {
    let speed = (loop_us.saturating_mul(1000) / REFERENCE_LOOP_US).max(1000);
    let cores = u64::from(cores.max(1));
    let clients = u64::from(clients).max(cores);
    speed.saturating_mul(clients) / cores
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kvm_is_doubted_without_the_flag_and_without_the_device() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        // The flag in another line or as part of another word is not the flag.
        let guest = write(
            "guest",
            "model name\t: vmx vmx\nflags\t\t: fpu svm_lock vmx_x hypervisor\n",
        );
        let host = write(
            "host",
            "processor\t: 0\nflags\t\t: fpu vmx\nvmx flags\t: vnmi\n",
        );
        let amd = write("amd", "flags\t\t: svm\n");
        let device = write("kvm", "");
        let absent = folder.path().join("absent");
        assert!(
            kvm_doubt(&guest, &device)
                .unwrap()
                .contains("neither the vmx nor the svm flag")
        );
        assert!(kvm_doubt(&absent, &device).is_some());
        assert!(kvm_doubt(&host, &absent).unwrap().starts_with("open `"));
        assert_eq!(kvm_doubt(&host, &device), None);
        assert_eq!(kvm_doubt(&amd, &device), None);
    }

    #[test]
    fn deadlines_grow_with_slowness_and_crowding_and_never_shrink() {
        assert_eq!(scale(REFERENCE_LOOP_US, 1, 2), 1000);
        assert_eq!(scale(REFERENCE_LOOP_US / 10, 2, 2), 1000);
        assert_eq!(scale(REFERENCE_LOOP_US * 3, 1, 1), 3000);
        assert_eq!(scale(REFERENCE_LOOP_US * 2, 6, 2), 6000);
        assert_eq!(scale(REFERENCE_LOOP_US, 3, 0), 3000);
        assert!(scale(u64::MAX, u32::MAX, 1) > 1000);
    }
}
