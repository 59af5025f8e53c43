//! The holder's first steps: who it is, and what it lets go of.

use std::ffi::CStr;
use std::io;

use rustix::fs::{Mode, OFlags};
use rustix::mount::MountPropagationFlags;
use rustix::process::Signal;

use crate::channel::Channel;
use crate::protocol::{During, Failure};
use crate::sys::process as sys;

/// Who the holder is in its user namespace.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Files to write, in order, with their texts; none without a user namespace.
    writes: Vec<(&'static CStr, String)>,
}

/// The identity of a holder forked by the calling process: root in its user namespace, if it has one. `setgroups` must
/// be denied before groups are mapped (user_namespaces(7)).
pub(crate) fn identify(user_namespace: bool) -> Identity {
    if !user_namespace {
        return Identity { writes: Vec::new() };
    }
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    Identity {
        writes: vec![
            (c"/proc/self/setgroups", "deny".to_owned()),
            (c"/proc/self/uid_map", format!("0 {} 1", user.as_raw())),
            (c"/proc/self/gid_map", format!("0 {} 1", group.as_raw())),
        ],
    }
}

impl Identity {
    /// Maps the caller's user and group to root of the new user namespace.
    pub(crate) fn assume(&self) -> Result<(), Failure> {
        for (file, text) in &self.writes {
            write_file(file, text)
                .during(|| format!("writing `{text}` to {}", file.to_string_lossy()))?;
        }
        Ok(())
    }

    /// The same for a process that must not allocate.
    pub(crate) fn try_assume(&self) -> io::Result<()> {
        self.writes
            .iter()
            .try_for_each(|(file, text)| write_file(file, text))
    }
}

/// Writes to a file that must exist already, without allocating.
fn write_file(file: &CStr, text: &str) -> io::Result<()> {
    let file = rustix::fs::open(file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes())?;
    Ok(())
}

/// Writes to a file that must exist already.
pub(crate) fn write_existing(path: &str, text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// Ties the holder's life to the supervisor's, and cuts every other tie: terminal, signals, descriptors, mounts.
pub(crate) fn detach(control: &Channel) -> Result<(), Failure> {
    use std::os::fd::{AsFd, AsRawFd};
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .during(|| "setting the parent death signal".to_owned())?;
    // A supervisor that died before this line sends no signal any more; its end of the control socket is closed then,
    // and the first wait for a request ends the holder.
    rustix::process::setsid().during(|| "making a session".to_owned())?;
    let _ = rustix::thread::set_name(c"bootgate-holder");
    sys::default_signals();
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .during(|| "opening /dev/null".to_owned())?;
    rustix::stdio::dup2_stdin(&null).during(|| "replacing standard input".to_owned())?;
    rustix::stdio::dup2_stdout(&null).during(|| "replacing standard output".to_owned())?;
    drop(null);
    close_inherited(control.as_fd().as_raw_fd());
    let private = rustix::mount::mount_change(
        "/",
        MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC,
    );
    match private {
        // In a chroot `/` need not be a mount, and then there is nothing to change. The holder itself mounts nothing.
        Err(rustix::io::Errno::INVAL) => Ok(()),
        other => other.during(|| "making the mounts private".to_owned()),
    }
}

#[allow(unsafe_code)]
fn close_inherited(control: i32) {
    // SAFETY: this process was just cloned and never returns to the code that owns the inherited descriptors; all it
    // uses are the standard streams and the control socket.
    unsafe { sys::close_all_but(3, control) }
}
