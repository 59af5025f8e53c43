//! Kernel modules.

use std::fs::{self, File};

use rustix::io::Errno;
use rustix::system::finit_module;

use super::say;

/// Paths of the modules, one a line, each after those it depends on.
const LIST: &str = "/etc/bootgate/modules";

/// Loads all modules of the list. One that cannot be loaded is told and passed over: if it was needed, the interface
/// or the disk it drives is missed later, with a message of its own.
pub(super) fn load_all() {
    let list = match fs::read_to_string(LIST) {
        Ok(list) => list,
        Err(error) => {
            say!("warning: read `{LIST}`: {error}");
            return;
        }
    };
    for path in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Err(error) = load(path) {
            say!("warning: load module `{path}`: {error}");
        }
    }
}

fn load(path: &str) -> std::io::Result<()> {
    match finit_module(File::open(path)?, c"", 0) {
        // Built in, or listed twice.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
