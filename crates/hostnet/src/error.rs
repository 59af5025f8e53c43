//! What can go wrong with a sandbox.

use std::io;

/// A sandbox could not be made or used. [`SandboxError::hint`] says what to do about it, where that is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The calling process has more than one thread, so that a fork of it could not go on safely.
    #[error(
        "entering the sandbox needs a process with one thread, but this one has {threads}; enter it first in `main`"
    )]
    Threaded {
        /// Threads counted in `/proc/self/task`.
        threads: usize,
    },
    /// The kernel or its policy forbids unprivileged user namespaces.
    #[error("creating a user namespace is forbidden on this host: {cause}")]
    NamespacesForbidden {
        /// The setting or policy that forbids it.
        cause: String,
        /// The command that allows it.
        fix: String,
    },
    /// The kernel refused a step of setting up the sandbox.
    #[error("setting up the sandbox: {step}: {source}")]
    Setup {
        /// What was being done.
        step: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The holder could not do what it was asked to.
    #[error("{action}: {source}")]
    Refused {
        /// What was asked.
        action: String,
        /// Why it failed; carries the kernel's error number where there is one.
        source: io::Error,
    },
    /// The holder ended, and everything in its namespaces with it.
    #[error("the sandbox's holder process ended ({exit})")]
    HolderGone {
        /// How it ended.
        exit: String,
    },
    /// The holder did not answer in time.
    #[error("the sandbox's holder did not answer within {seconds} s: {action}")]
    Timeout {
        /// What was asked.
        action: String,
        /// How long was waited.
        seconds: u64,
    },
}

impl SandboxError {
    /// What to do about it: a command to run or a change to make. `None` where nothing is known to help.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::NamespacesForbidden { fix, .. } => Some(fix),
            _ => None,
        }
    }

    /// The kernel's error kind where a step failed, so that a taken port or a missing program can be told apart.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Setup { source, .. } | Self::Refused { source, .. } => Some(source.kind()),
            _ => None,
        }
    }
}
