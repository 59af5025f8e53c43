//! Programs run as children of the holder.

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use crate::ExitStatus;
use crate::protocol::{During, Failure, SpawnRequest};
use crate::sys::process as sys;

/// Descriptor numbers a program may inherit: above the standard streams, below the usual soft limit.
const TARGETS: std::ops::RangeInclusive<i32> = 3..=1000;

/// The holder's children.
pub(super) struct Children {
    signals: OwnedFd,
    running: HashSet<i32>,
}

impl AsFd for Children {
    /// Becomes readable when a child may have ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

impl Children {
    pub(super) fn new() -> Result<Self, Failure> {
        let signals = sys::child_signals().during(|| "watching for ended children".to_owned())?;
        Ok(Self {
            signals,
            running: HashSet::new(),
        })
    }

    /// Starts a program; gives its process id and a descriptor of it.
    pub(super) fn spawn(
        &mut self,
        request: &SpawnRequest,
        fds: Vec<OwnedFd>,
    ) -> Result<(i32, OwnedFd), Failure> {
        let Some((program, arguments)) = request.argv.split_first() else {
            return Err(Failure::invalid("starting a program", "its argv is empty"));
        };
        let name = program.as_ref().display();
        let action = || format!("starting `{name}`");
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(env) = &request.env {
            command.env_clear();
            command.envs(env.iter().map(|(name, value)| (name, value)));
        }
        if let Some(cwd) = &request.cwd {
            if !cwd.is_dir() {
                return Err(Failure::invalid(
                    action(),
                    format!("its working directory `{}` is no folder", cwd.display()),
                ));
            }
            command.current_dir(cwd);
        }
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut fds = fds.into_iter();
        let inherited: Vec<OwnedFd> = fds.by_ref().take(request.fds.len()).collect();
        let mut stdio = || fds.next().map_or_else(Stdio::null, Stdio::from);
        let [stdin, stdout, stderr] = request.stdio;
        command.stdin(if stdin { stdio() } else { Stdio::null() });
        command.stdout(if stdout { stdio() } else { Stdio::null() });
        command.stderr(if stderr { stdio() } else { Stdio::null() });
        let kept = hand_over(&mut command, inherited, &request.fds)
            .map_err(|error| Failure::new(action(), &error))?;
        let child = command.spawn().during(action)?;
        drop(kept);
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| Failure::invalid(action(), "its process id is out of range"))?;
        self.running.insert(pid.as_raw_nonzero().get());
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            .during(|| format!("watching `{name}`"))?;
        Ok((pid.as_raw_nonzero().get(), pidfd))
    }

    /// Sends a signal to a running child; one that has ended is passed over.
    pub(super) fn kill(&self, pid: i32, signal: i32) -> Result<(), Failure> {
        let action = || format!("sending signal {signal} to process {pid}");
        let signal = Signal::from_named_raw(signal)
            .ok_or_else(|| Failure::invalid(action(), "there is no such signal"))?;
        if !self.running.contains(&pid) {
            return Ok(());
        }
        let Some(target) = Pid::from_raw(pid) else {
            return Ok(());
        };
        match rustix::process::kill_process(target, signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => other.during(action),
        }
    }

    /// Collects every ended child, orphans of programs included, and gives those that were started by request.
    pub(super) fn reap(&mut self) -> Vec<(i32, ExitStatus)> {
        let mut record = [0; sys::SIGNAL_RECORD];
        while rustix::io::read(&self.signals, &mut record).is_ok() {}
        let mut ended = Vec::new();
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            let pid = pid.as_raw_nonzero().get();
            if self.running.remove(&pid) {
                ended.push((
                    pid,
                    ExitStatus {
                        code: status.exit_status(),
                        signal: status.terminating_signal(),
                    },
                ));
            }
        }
        ended
    }
}

/// Prepares `command` to inherit `fds` under the numbers `targets`. What it returns must live until the start.
fn hand_over(
    command: &mut Command,
    fds: Vec<OwnedFd>,
    targets: &[RawFd],
) -> io::Result<Vec<OwnedFd>> {
    let unique: HashSet<_> = targets.iter().collect();
    if fds.len() != targets.len()
        || unique.len() != targets.len()
        || !targets.iter().all(|target| TARGETS.contains(target))
    {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!(
                "inherited descriptors {targets:?} must be different numbers from {} to {}",
                TARGETS.start(),
                TARGETS.end()
            ),
        ));
    }
    // Sources go above all targets, so that moving one never overwrites the next.
    let mut kept = Vec::with_capacity(2 * fds.len());
    let mut moves = Vec::with_capacity(fds.len());
    let above = targets.iter().max().map_or(0, |highest| highest + 1);
    for (fd, target) in fds.into_iter().zip(targets) {
        let source = rustix::io::fcntl_dupfd_cloexec(&fd, above)?;
        moves.push((source.as_raw_fd(), *target));
        kept.push(source);
    }
    // Free targets are taken until the start, so that the descriptors `Command` opens for itself get other numbers.
    if let Some(stand_in) = kept.first().map(AsRawFd::as_raw_fd) {
        for target in targets {
            if !sys::is_open(*target) {
                kept.push(sys::occupy(stand_in, *target)?);
            }
        }
    }
    sys::prepare_child(command, moves);
    Ok(kept)
}
