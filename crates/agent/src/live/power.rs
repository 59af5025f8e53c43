//! The end.

use std::path::Path;

use bootgate_api::AfterFlash;
use rustix::system::{RebootCommand, reboot};

use super::{netlink, say};
use crate::nics;

/// Restarts or switches off, as the plan says. Returns only when the kernel refuses, with the reason.
pub(super) fn end(after: AfterFlash) -> String {
    make_quiet();
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
    make_quiet();
    for command in [RebootCommand::PowerOff, RebootCommand::Halt] {
        if let Err(error) = reboot(command) {
            say!("warning: switch off: {error}");
        }
    }
    wait_for_ever()
}

/// Has everything written, and nothing more sent or received on virtio interfaces.
///
/// Linux with "virtio: break and reset virtio devices on device_shutdown" (6.15, and stable kernels since) and without
/// "virtio_ring: fix infinite loop in virtnet_poll_cleantx when device is broken" spins for ever on its way down where a
/// frame comes in while one that was sent is not yet taken back. An interface that is off polls no more.
fn make_quiet() {
    rustix::fs::sync();
    for nic in nics::list(Path::new("/sys/class/net")) {
        if nic.driver.as_deref() != Some("virtio_net") {
            continue;
        }
        if let Err(error) = netlink::set_down(nic.index) {
            say!("warning: switch `{}` off: {error}", nic.name);
        }
    }
}

/// Stays until the power is cut.
pub(super) fn wait_for_ever() -> ! {
    loop {
        std::thread::park();
    }
}
