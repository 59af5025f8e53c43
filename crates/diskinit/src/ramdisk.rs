//! Init of the RAM disk.

use std::convert::Infallible;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{chdir, chroot};
use rustix::system::finit_module;

use crate::{IMAGE_ID, MODULES, console, devices, gpt};

/// Where the root file system is put together.
const ROOT: &str = "/sysroot";
/// The kernel's file systems, which go along to the new root.
const KERNEL_MOUNTS: [(&str, &str); 3] =
    [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys")];

/// Mounts the root file system and becomes its init. Returns only what went wrong.
pub(crate) fn run() -> String {
    match try_run() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_run() -> Result<Infallible, String> {
    for (kind, folder) in KERNEL_MOUNTS {
        mount_on(kind, folder, kind, MountFlags::empty())?;
    }
    let cmdline = read("/proc/cmdline")?;
    let name = root_of(&cmdline).ok_or("no `root=PARTUUID=...` on the kernel command line")?;
    let guid = gpt::parse_guid(name).ok_or(format!("`{name}` is not a GUID"))?;
    let announcements = devices::Announcements::listen()?;
    load_modules()?;
    let device = devices::wait_for(guid, &announcements)
        .map_err(|error| format!("find the root partition `{name}`: {error}"))?;
    let device = device.to_string_lossy();
    mount_on(&device, ROOT, "squashfs", MountFlags::RDONLY)?;
    let id = read(&format!("{ROOT}{IMAGE_ID}"))?;
    console::say(&format!("root {device} of image {}", id.trim()));
    switch_root()
}

fn mount_on(source: &str, folder: &str, kind: &str, flags: MountFlags) -> Result<(), String> {
    let fail = |error: &dyn std::fmt::Display| format!("mount `{source}` on `{folder}`: {error}");
    fs::create_dir_all(folder).map_err(|error| fail(&error))?;
    match mount(source, folder, kind, flags, None) {
        // The kernel may have mounted /dev itself.
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(fail(&error)),
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("read `{path}`: {error}"))
}

/// The partition that the command line asks for.
fn root_of(cmdline: &str) -> Option<&str> {
    cmdline
        .split_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix("root=PARTUUID="))
}

fn load_modules() -> Result<(), String> {
    for path in read(MODULES)?.lines() {
        let fail = |error: std::io::Error| format!("load module `{path}`: {error}");
        match finit_module(File::open(path).map_err(fail)?, c"", 0) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(fail(error.into())),
        }
    }
    Ok(())
}

/// Makes the mounted file system the root, as switch_root(8) does, and runs its init in place of this program.
fn switch_root() -> Result<Infallible, String> {
    let fail = |error: Errno| format!("switch to the root file system: {error}");
    for (_, folder) in KERNEL_MOUNTS {
        mount_move(folder, format!("{ROOT}{folder}")).map_err(fail)?;
    }
    chdir(ROOT).map_err(fail)?;
    mount_move(".", "/").map_err(fail)?;
    chroot(".").map_err(fail)?;
    chdir("/").map_err(fail)?;
    let init = Path::new("/sbin/init");
    let error = Command::new(init).exec();
    Err(format!("run `{}`: {error}", init.display()))
}

#[cfg(test)]
mod tests {
    use super::root_of;

    #[test]
    fn last_root_of_the_command_line_counts() {
        assert_eq!(
            root_of("quiet root=PARTUUID=aa root=PARTUUID=bb panic=1"),
            Some("bb")
        );
        assert_eq!(root_of("quiet root=/dev/vda1"), None);
    }
}
