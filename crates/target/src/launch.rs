//! How a target starts processes without knowing where they run.
//!
//! In a run, QEMU is a child of the sandbox's holder, inside its namespaces; the harness implements [`Launcher`]
//! over that. [`DirectLauncher`] starts children of this process, for probes and tests.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::process::Command;
use tokio::sync::oneshot;

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

impl ExitOutcome {
    /// The process has ended, and nobody knows how: whoever ran it is gone.
    pub const UNKNOWN: ExitOutcome = ExitOutcome {
        code: None,
        signal: None,
    };
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

/// Starts children of this process. They end with [`ProcessControl::kill`], and when the runtime they were started on
/// ends; nothing ends them when this process is killed, so runs start QEMU in the sandbox instead.
#[derive(Clone, Copy, Debug, Default)]
pub struct DirectLauncher;

impl Launcher for DirectLauncher {
    fn launch(&self, spec: LaunchSpec) -> BoxFuture<'_, io::Result<Launched>> {
        Box::pin(async move { launch_direct(spec) })
    }
}

fn launch_direct(spec: LaunchSpec) -> io::Result<Launched> {
    let (program, arguments) = spec
        .argv
        .split_first()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no program to start"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .envs(spec.env)
        .stdin(Stdio::null())
        .stdout(Stdio::from(spec.output.try_clone()?))
        .stderr(Stdio::from(spec.output))
        .process_group(0)
        .kill_on_drop(true);
    if let Some(cwd) = spec.cwd {
        command.current_dir(cwd);
    }
    let mappings = spec
        .fds
        .into_iter()
        .map(|(parent_fd, child_fd)| FdMapping {
            parent_fd,
            child_fd,
        })
        .collect();
    command
        .fd_mappings(mappings)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut child = command.spawn()?;
    // The command holds the parent's copies of the descriptors.
    drop(command);
    let pid = child
        .id()
        .ok_or_else(|| io::Error::other("the child has ended already"))?;
    let handle = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::Error::other("the child has no process id"))?;
    let pidfd = pidfd_open(handle, PidfdFlags::empty())?;
    let (ended, exit) = oneshot::channel();
    tokio::spawn(async move {
        let outcome = match child.wait().await {
            Ok(status) => ExitOutcome {
                code: status.code(),
                signal: status.signal(),
            },
            Err(_) => ExitOutcome::UNKNOWN,
        };
        // Nobody may be waiting for it any more.
        let _ = ended.send(outcome);
    });
    Ok(Launched {
        pid,
        exit: Box::pin(async move { exit.await.unwrap_or(ExitOutcome::UNKNOWN) }),
        control: Arc::new(Pidfd(pidfd)),
    })
}

/// A process by its descriptor, which never comes to mean another process.
struct Pidfd(OwnedFd);

impl ProcessControl for Pidfd {
    fn kill(&self) {
        // ESRCH, the one error there can be, means that it has ended.
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }
}
