//! What can keep a run from happening at all.

use std::io;
use std::path::{Path, PathBuf};

use bootgate_events::EventKind;
use bootgate_report::LogError;
use bootgate_scenario::fold::ReplayError;

/// The harness itself could not go on. Never a verdict about what boots.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A file of the run folder or an input cannot be used.
    #[error("{doing} `{path}`: {error}", path = path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The run folder holds something that no run made.
    #[error("use `{folder}` as run folder: it holds `{path}`, which no run made", folder = folder.display(), path = path.display())]
    ForeignFile {
        /// The folder.
        folder: PathBuf,
        /// The first such file.
        path: PathBuf,
    },
    /// The verdict rules do not compile.
    #[error("make the verdict rules: {0}")]
    Rules(String),
    /// Something of the host failed.
    #[error("{error}")]
    Infra {
        /// Short name of the fault.
        what: &'static str,
        /// What happened.
        error: String,
        /// What to do.
        hint: String,
    },
    /// The log of a run can be read but not judged.
    #[error("judge the run in `{folder}` again: {error}", folder = folder.display())]
    Replay {
        /// The run folder.
        folder: PathBuf,
        /// Why.
        error: ReplayError,
    },
    /// The log of a run cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A report cannot be written.
    #[error(transparent)]
    Report(#[from] bootgate_report::ReportError),
}

impl HarnessError {
    /// Wraps an error of the file system; for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { doing, path, error }
    }

    /// A fault of the host.
    pub(crate) fn infra(what: &'static str, error: impl ToString, hint: impl Into<String>) -> Self {
        Self::Infra {
            what,
            error: error.to_string(),
            hint: hint.into(),
        }
    }

    /// Whether the caller gave something that cannot be used, rather than the host failing.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::ForeignFile { .. } | Self::Rules(_))
    }

    /// What to do about it; empty where nothing is known.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { error, .. } if is_full(error) => FULL_HINT.to_owned(),
            Self::ForeignFile { .. } => {
                "name an empty folder, or one of an earlier run, with --out".to_owned()
            }
            Self::Infra { hint, .. } => hint.clone(),
            Self::Log(LogError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
                "name the folder of a run, with `events.jsonl` in it".to_owned()
            }
            Self::Replay {
                error: ReplayError::Console { .. },
                ..
            } => "a log is judged together with its console logs: take the whole run folder"
                .to_owned(),
            _ => String::new(),
        }
    }

    /// The error as a fact for the event log.
    pub(crate) fn to_event(&self) -> EventKind {
        let what = match self {
            Self::Io { error, .. } if is_full(error) => "disk-full",
            Self::Infra { what, .. } => what,
            _ => "host-io",
        };
        EventKind::InfraFailed {
            what: what.to_owned(),
            error: self.to_string(),
            hint: self.hint(),
        }
    }
}

pub(crate) const FULL_HINT: &str =
    "free space in the file system of the run folder, or choose another with --out";

pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
