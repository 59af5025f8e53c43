//! Why something could not be done to a target.

use std::io;
use std::path::PathBuf;

use bootgate_events::EventKind;
use thiserror::Error;

use crate::MissingError;

/// A target could not do what it was asked. All of these are faults of the host or of its set-up, never a
/// verdict about what boots.
#[derive(Debug, Error)]
pub enum TargetError {
    /// A program or file is not installed.
    #[error(transparent)]
    Missing(#[from] MissingError),
    /// The configuration cannot work.
    #[error("configure target `{name}`: {problem}")]
    Config {
        /// The target.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The target is on or off, and must not be.
    #[error("{action}: the target is {state}")]
    State {
        /// What was asked.
        action: &'static str,
        /// `on` or `off`.
        state: &'static str,
    },
    /// The host refused something.
    #[error("{action}: {source}")]
    Io {
        /// What was tried, with the file or device in backticks.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// QEMU ended while it was being started.
    #[error("start QEMU: it ended at once: {stderr}")]
    QemuEnded {
        /// The last lines it wrote.
        stderr: String,
    },
    /// QEMU's control channel did not do what was asked.
    #[error("QMP command `{command}`: {problem}")]
    Qmp {
        /// The command.
        command: String,
        /// What went wrong.
        problem: String,
    },
    /// The console could not be used.
    #[error("{action} console `{console}`: {source}")]
    Console {
        /// What was tried.
        action: &'static str,
        /// Socket or tty.
        console: String,
        /// What the system said.
        source: io::Error,
    },
    /// A power command failed.
    #[error("power command `{command}` {problem}")]
    Power {
        /// The command line.
        command: String,
        /// How it failed, with what it wrote to its standard error.
        problem: String,
    },
    /// The disk file is not there.
    #[error("disk `{0}` does not exist")]
    NoDisk(PathBuf),
}

impl TargetError {
    /// The short name of the fault for [`EventKind::InfraFailed`].
    #[must_use]
    pub fn what(&self) -> &'static str {
        match self {
            TargetError::Missing(missing) if missing.package == "ovmf" => "ovmf-missing",
            TargetError::Missing(missing) if !missing.package.starts_with("qemu-system") => {
                "firmware-missing"
            }
            TargetError::Missing(_) => "qemu-missing",
            TargetError::Config { .. } | TargetError::State { .. } => "target-misused",
            TargetError::Io { source, .. } if is_full(source) => "disk-full",
            TargetError::Io { .. } => "host-io",
            TargetError::QemuEnded { .. } | TargetError::Qmp { .. } => "qemu-failed",
            TargetError::Console { .. } => "console-failed",
            TargetError::Power { .. } => "power-failed",
            TargetError::NoDisk(_) => "disk-missing",
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            TargetError::Missing(missing) => missing.hint.clone(),
            TargetError::Io { source, .. } if is_full(source) => {
                "free space in the run folder's file system, or choose another with --out".to_owned()
            }
            TargetError::Console { .. } => {
                "check that the tty exists, that no other program has it, and that you may open it (group dialout)"
                    .to_owned()
            }
            TargetError::Power { .. } => {
                "run the power command by hand; it must end with status 0 within its time".to_owned()
            }
            TargetError::QemuEnded { .. } | TargetError::Qmp { .. } => {
                "see the qemu-stderr events of the run".to_owned()
            }
            _ => String::new(),
        }
    }

    /// The error as a fact for the event log.
    #[must_use]
    pub fn to_event(&self) -> EventKind {
        EventKind::InfraFailed {
            what: self.what().to_owned(),
            error: self.to_string(),
            hint: self.hint(),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
