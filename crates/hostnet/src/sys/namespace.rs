//! Network namespaces beside the process's own. Only for a process with one thread: a namespace is a thread's.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::thread::{LinkNameSpaceType, UnshareFlags};

/// The namespace that the process is in.
fn current() -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc/self/ns/net", flags, Mode::empty())?)
}

fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::thread::move_into_link_name_space(
        namespace,
        Some(LinkNameSpaceType::Network),
    )?)
}

/// Makes a namespace, in which nothing is up. It lives as long as its descriptor, or as something in it.
pub(crate) fn make() -> io::Result<OwnedFd> {
    let home = current()?;
    // SAFETY: only the flags for files and file systems can break what safe code relies on.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET)? };
    let made = current();
    come_back(&home);
    made
}

/// Does `work` in another namespace, and comes back.
pub(crate) fn within<T>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T) -> io::Result<T> {
    let home = current()?;
    enter(namespace)?;
    let done = work();
    come_back(&home);
    Ok(done)
}

/// A process that stayed in the wrong namespace would go on with the wrong network, so it does not go on.
fn come_back(home: &OwnedFd) {
    use std::os::fd::AsFd;
    if enter(home.as_fd()).is_err() {
        std::process::abort();
    }
}
