//! Processes: cloning into namespaces, signals, descriptors.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::process::Command;

use super::{check, size_of_u32};

/// Which side of a clone goes on.
pub(crate) enum Cloned {
    /// The caller, with the child's process id and a descriptor of it.
    Parent { pid: i32, pidfd: OwnedFd },
    /// The new process.
    Child,
}

/// Clones the calling process into new namespaces (`flags` of `CLONE_NEW*`), like `fork`.
///
/// # Safety
/// In a process with more than one thread the child may only make async-signal-safe calls and must end by
/// [`exit_now`]. In one with a single thread it may go on freely: no lock can be held by a thread that is not there.
/// The C library's cached thread id stays the parent's in the child; it is used for nothing but recursive locks,
/// which stay consistent within the child.
pub(crate) unsafe fn clone_into(flags: libc::c_int) -> io::Result<Cloned> {
    let mut pidfd: RawFd = -1;
    let flags = i64::from(flags | libc::CLONE_PIDFD | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with a null stack this is a fork; `pidfd` is valid for the write that
    // CLONE_PIDFD makes into the parent's memory. The first three arguments stand in the same order on x86-64,
    // aarch64 and riscv64.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone,
            flags,
            std::ptr::null_mut::<libc::c_void>(),
            &raw mut pidfd,
            0usize,
            0usize,
        )
    };
    match i32::try_from(pid) {
        Ok(0) => Ok(Cloned::Child),
        Ok(pid) if pid > 0 => Ok(Cloned::Parent {
            pid,
            // SAFETY: the kernel has just made this descriptor for us.
            pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) },
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Ends the process at once: no destructors, no exit handlers.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Gives every signal its default action again.
pub(crate) fn default_signals() {
    for signal in 1..=libc::SIGRTMAX() {
        if signal == libc::SIGKILL || signal == libc::SIGSTOP {
            continue;
        }
        // SAFETY: SIG_DFL is a valid action; a signal number the C library keeps to itself is refused, which is fine.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
        }
    }
}

/// Blocks `SIGCHLD` for the calling thread, unblocks everything else, and gives a descriptor that becomes readable
/// when a child changes.
pub(crate) fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: an all-zero set is a valid value to hand to sigemptyset, which initialises it; the calls only write
    // to `set`.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(
            libc::SIG_SETMASK,
            &raw const set,
            std::ptr::null_mut(),
        ))?;
        let fd = check(libc::signalfd(
            -1,
            &raw const set,
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Size of one record read from [`child_signals`].
pub(crate) const SIGNAL_RECORD: usize = size_of_u32::<libc::signalfd_siginfo>() as usize;

/// Closes every descriptor from `first` on, but `keep`.
///
/// # Safety
/// No owned descriptor of the process may be used or dropped afterwards, `keep` and those below `first` excepted.
pub(crate) unsafe fn close_all_but(first: RawFd, keep: RawFd) {
    let close = |from: RawFd, to: libc::c_uint| {
        let Ok(from) = libc::c_uint::try_from(from) else {
            return;
        };
        if from > to {
            return;
        }
        // SAFETY: closing descriptors touches no memory; the caller answers for their owners.
        let done = unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) };
        if done < 0 {
            // Kernels before 5.9 have no close_range.
            for fd in from..=to.min(65_535) {
                if let Ok(fd) = RawFd::try_from(fd) {
                    // SAFETY: as above.
                    unsafe { libc::close(fd) };
                }
            }
        }
    };
    if let Ok(below) = libc::c_uint::try_from(keep - 1) {
        close(first, below);
    }
    close(keep.max(first - 1) + 1, libc::c_uint::MAX);
}

/// Makes `command` start with the descriptors of `moves` under their target numbers, killed when this process dies.
///
/// The sources must be above every target, so that no move overwrites a later one's source, and must stay open
/// until the command was started.
pub(crate) fn prepare_child(command: &mut Command, moves: Vec<(RawFd, RawFd)>) {
    use std::os::unix::process::CommandExt;
    // SAFETY: the closure runs between fork and exec and makes only async-signal-safe calls (prctl, dup2, setting
    // errno); it allocates nothing.
    unsafe {
        command.pre_exec(move || {
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            for (from, to) in &moves {
                check(libc::dup2(*from, *to))?;
            }
            Ok(())
        });
    }
}

/// Whether `fd` is open in this process.
pub(crate) fn is_open(fd: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag of a number that may or may not be open.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}

/// Opens a copy of `source` under the number `target`, which must not be open.
pub(crate) fn occupy(source: RawFd, target: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller has checked that nobody owns `target`, so the new descriptor is ours alone.
    unsafe {
        let fd = check(libc::dup3(source, target, libc::O_CLOEXEC))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}
