//! How a target starts processes without knowing where they run.
//!
//! In a run, QEMU is a child of the sandbox's holder, inside its namespaces; the harness implements [`Launcher`]
//! over that. [`DirectLauncher`] starts children of this process, for probes and tests.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use crate::BoxFuture;

/// A process to start.
#[derive(Debug)]
pub struct LaunchSpec {
    /// Program (absolute path) and arguments.
    pub argv: Vec<String>,
    /// Variables added to the environment.
    pub env: Vec<(String, String)>,
    /// Descriptors the child inherits, each with the number it has there (3 and up). The launcher closes its own
    /// copies once the child has them: the child's death must be seen as end of file at the other end.
    pub fds: Vec<(OwnedFd, i32)>,
    /// Becomes the child's standard output and standard error. Standard input is `/dev/null`.
    pub output: OwnedFd,
    /// Working directory; the launcher's own where `None`.
    pub cwd: Option<PathBuf>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitOutcome {
    /// Exit status, where it exited.
    pub code: Option<i32>,
    /// Signal number, where a signal killed it.
    pub signal: Option<i32>,
}

/// A process that runs.
pub struct Launched {
    /// Its process id where the launcher runs; for messages and tests.
    pub pid: u32,
    /// Resolves when it has ended. Must not need to be polled for the process to go on.
    pub exit: BoxFuture<'static, ExitOutcome>,
    /// How to end it.
    pub control: Arc<dyn ProcessControl>,
}

/// The handle by which a started process is ended.
pub trait ProcessControl: Send + Sync {
    /// Sends SIGKILL. Does not wait, may be called in `drop` and more than once, and does nothing once the process
    /// has ended.
    fn kill(&self);
}

/// Starts processes.
pub trait Launcher: Send + Sync {
    /// Starts one.
    ///
    /// # Errors
    /// The program does not exist, or the host refuses.
    fn launch(&self, spec: LaunchSpec) -> BoxFuture<'_, io::Result<Launched>>;
}

/// Starts children of this process. A child is killed when its [`Launched`] is dropped before it has ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectLauncher;

impl Launcher for DirectLauncher {
    fn launch(&self, _spec: LaunchSpec) -> BoxFuture<'_, io::Result<Launched>> {
        todo!()
    }
}
