//! Finding the kernel in an unpacked package.

use std::fs;
use std::path::{Path, PathBuf};

use crate::MediaError;

/// A kernel and its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Its version as `uname -r` tells it: `6.1.0-56-cloud-amd64`.
    pub version: String,
    /// The kernel image.
    pub vmlinuz: PathBuf,
    /// The folder of its modules, which ends with the version.
    pub modules: PathBuf,
    /// Folders with firmware for devices, as packages beside the kernel brought them; may be none.
    pub firmware: Vec<PathBuf>,
}

/// Finds the kernel below `root`, a folder into which exactly one kernel package (with its modules) was unpacked:
/// `boot/vmlinuz-VERSION`, and `lib/modules/VERSION` or `usr/lib/modules/VERSION`. Packages of firmware may have been
/// unpacked beside it: `lib/firmware`, `usr/lib/firmware`.
///
/// # Errors
/// No kernel, more than one, or no modules of its version.
pub fn find(root: &Path) -> Result<Kernel, MediaError> {
    let fail = |message: String| MediaError::Kernel {
        root: root.to_owned(),
        message,
    };
    let boot = root.join("boot");
    let mut versions = Vec::new();
    for entry in fs::read_dir(&boot).map_err(MediaError::io("list", &boot))? {
        let name = entry.map_err(MediaError::io("list", &boot))?.file_name();
        if let Some(version) = name.to_str().and_then(|name| name.strip_prefix("vmlinuz-")) {
            versions.push(version.to_owned());
        }
    }
    versions.sort();
    let version = match versions.as_slice() {
        [version] => version.clone(),
        [] => return Err(fail("no `boot/vmlinuz-*`".to_owned())),
        several => return Err(fail(format!("more than one: `{}`", several.join("`, `")))),
    };
    let modules = ["lib/modules", "usr/lib/modules"]
        .iter()
        .map(|folder| root.join(folder).join(&version))
        .find(|folder| folder.is_dir())
        .ok_or_else(|| fail(format!("no modules of version `{version}`")))?;
    Ok(Kernel {
        firmware: ["lib/firmware", "usr/lib/firmware"]
            .iter()
            .map(|folder| root.join(folder))
            .filter(|folder| folder.is_dir())
            .collect(),
        vmlinuz: boot.join(format!("vmlinuz-{version}")),
        modules,
        version,
    })
}
