//! Forking the holder.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::client::Client;
use super::{UserNamespace, diagnose};
use crate::SandboxError;
use crate::channel::Channel;
use crate::holder::{self, Identity};
use crate::protocol::{Failure, Message};
use crate::sys::process::{Cloned, clone_into, exit_now};

/// How long the holder may take to set up its namespaces; it takes a few milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// The namespaces a holder gets, without a user namespace.
pub(crate) const fn namespace_flags() -> libc::c_int {
    libc::CLONE_NEWNET
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
}

/// Whether the calling process needs a user namespace for the others.
pub(crate) fn new_user_namespace() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Forks the holder and waits until it serves.
pub(super) fn enter(user_namespace: UserNamespace) -> Result<Client, SandboxError> {
    let threads = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(SandboxError::Threaded { threads });
    }
    let wanted = user_namespace == UserNamespace::Always || new_user_namespace();
    match fork_holder(wanted) {
        // Root of a container without the right to make namespaces may still have that of every user.
        Err(Forked::Refused(error)) if !wanted && error.raw_os_error() == Some(libc::EPERM) => {
            fork_holder(true)
        }
        other => other,
    }
    .map_err(|failed| match failed {
        Forked::Refused(error) => diagnose(&Failure::new("creating namespaces", &error)),
        Forked::NotReady(failure) => diagnose(&failure),
        Forked::Setup(step, source) => SandboxError::Setup {
            step: step.to_owned(),
            source,
        },
    })
}

/// How forking a holder failed.
enum Forked {
    /// The kernel made no namespaces.
    Refused(io::Error),
    /// The holder could not set itself up in them.
    NotReady(Failure),
    /// Something else.
    Setup(&'static str, io::Error),
}

fn fork_holder(user_namespace: bool) -> Result<Client, Forked> {
    let (ours, theirs) =
        Channel::pair().map_err(|error| Forked::Setup("making the control socket", error))?;
    let identity = holder::identify(user_namespace);
    let mut flags = namespace_flags();
    if user_namespace {
        flags |= libc::CLONE_NEWUSER;
    }
    let (pid, pidfd) = clone_holder(flags, &theirs, &identity).map_err(Forked::Refused)?;
    drop(theirs);
    await_ready(Client::new(ours, pid, pidfd))
}

#[allow(unsafe_code)]
fn clone_holder(
    flags: libc::c_int,
    control: &Channel,
    identity: &Identity,
) -> io::Result<(i32, OwnedFd)> {
    // SAFETY: `enter` has checked that this process has one thread.
    match unsafe { clone_into(flags) }? {
        Cloned::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Cloned::Child => {
            let run = std::panic::AssertUnwindSafe(|| holder::run(control, identity));
            let code = if std::panic::catch_unwind(run).is_ok() {
                0
            } else {
                101
            };
            exit_now(code)
        }
    }
}

fn await_ready(client: Client) -> Result<Client, Forked> {
    let setup = |error| Forked::Setup("waiting for the holder", error);
    let control = client.control();
    let timeout = Timespec {
        tv_sec: READY_WITHIN.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(control, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout)))
        .map_err(|error| setup(error.into()))?;
    if ready == 0 {
        return Err(setup(io::ErrorKind::TimedOut.into()));
    }
    match control.receive::<Message>().map_err(setup)? {
        Some((Message::Ready, _)) => Ok(client),
        Some((Message::NotReady(failure), _)) => Err(Forked::NotReady(failure)),
        Some(_) => Err(setup(io::ErrorKind::InvalidData.into())),
        None => Err(setup(io::Error::other("it ended at once"))),
    }
}

/// Kills a holder and waits until it and everything in its namespaces is gone; tells how it ended.
pub(crate) fn reap(pidfd: &OwnedFd, kill: bool) -> String {
    use std::os::fd::AsFd;
    if kill {
        let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
    }
    let status = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    });
    match status {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (_, Some(signal)) => format!("signal {signal}"),
            _ => "unknown cause".to_owned(),
        },
        _ => "unknown cause".to_owned(),
    }
}
