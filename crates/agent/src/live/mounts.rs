//! The kernel's own file systems.

use std::fs::create_dir_all;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

/// Mounts devices, processes and sysfs; what the kernel mounted already stays.
///
/// # Errors
/// A mount failed, in words.
pub(super) fn mount_all() -> Result<(), String> {
    for (kind, folder) in [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")] {
        let fail = |error: &dyn std::fmt::Display| format!("mount `{kind}` on `{folder}`: {error}");
        create_dir_all(folder).map_err(|error| fail(&error))?;
        match mount(kind, folder, kind, MountFlags::empty(), None) {
            Ok(()) | Err(Errno::BUSY) => {}
            Err(error) => return Err(fail(&error)),
        }
    }
    Ok(())
}
