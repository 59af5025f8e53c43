//! The end.

use bootgate_api::AfterFlash;
use rustix::system::{RebootCommand, reboot};

use super::say;

/// Restarts or switches off, as the plan says. Returns only when the kernel refuses, with the reason.
pub(super) fn end(after: AfterFlash) -> String {
    rustix::fs::sync();
    let command = match after {
        AfterFlash::Reboot => RebootCommand::Restart,
        AfterFlash::PowerOff => RebootCommand::PowerOff,
    };
    match reboot(command) {
        Ok(()) => wait_for_ever(),
        Err(error) => format!("end with `{after:?}`: {error}"),
    }
}

/// Switches the machine off, or halts it where it has no such switch.
pub(super) fn off() -> ! {
    rustix::fs::sync();
    for command in [RebootCommand::PowerOff, RebootCommand::Halt] {
        if let Err(error) = reboot(command) {
            say!("warning: switch off: {error}");
        }
    }
    wait_for_ever()
}

/// Stays until the power is cut.
pub(super) fn wait_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}
