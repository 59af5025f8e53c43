//! What the host offers to a test.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Whether an executable of this name is on the search path or in the system administrator's folders.
#[must_use]
pub fn command_exists(name: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| {
        std::fs::metadata(std::path::Path::new(folder).join(name))
            .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

/// Whether the test runs as root, told by the owner of its own process folder.
#[must_use]
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Whether the environment asks for every test (`BOOTGATE_FULL=1`), not for the core set alone.
#[must_use]
pub fn full_run() -> bool {
    std::env::var_os("BOOTGATE_FULL").is_some_and(|value| value == "1")
}
