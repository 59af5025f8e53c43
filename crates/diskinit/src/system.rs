//! Init of the root file system.

use std::convert::Infallible;
use std::fs;

use rustix::system::{RebootCommand, reboot};

use crate::{IMAGE_ID, console};

/// Word of the kernel command line that asks to switch off when all is said.
const POWER_OFF: &str = "bootgate.poweroff";

/// Says which image this is, and stays up. Returns only what went wrong.
pub(crate) fn run() -> String {
    match try_run() {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_run() -> Result<Infallible, String> {
    let id = read(IMAGE_ID)?;
    // Twice, since a message of the kernel may still split one.
    for _ in 0..2 {
        console::line(&format!("bootgate-image: {}", id.trim()));
    }
    if read("/proc/cmdline")?
        .split_whitespace()
        .any(|word| word == POWER_OFF)
    {
        power_off();
    }
    loop {
        std::thread::park();
    }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("read `{path}`: {error}"))
}

/// Switches the machine off.
pub(crate) fn power_off() -> ! {
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    // Not every machine can be switched off.
    loop {
        std::thread::park();
    }
}
