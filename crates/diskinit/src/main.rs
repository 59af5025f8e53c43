//! PID 1 of the demonstration disk, twice: `/init` of its RAM disk, which finds and mounts the root file system, and
//! `/sbin/init` on that, which says on the console which image it runs from.

mod console;
mod devices;
mod gpt;
mod ramdisk;
mod system;

use std::path::Path;
use std::process::ExitCode;

/// In the RAM disk: the modules to load, one path a line in load order.
const MODULES: &str = "/etc/bootgate/modules";
/// In the root file system: what the image is called.
const IMAGE_ID: &str = "/etc/bootgate/image-id";

fn main() -> ExitCode {
    if std::process::id() != 1 {
        console::say("runs as PID 1 only");
        return ExitCode::from(2);
    }
    let error = if Path::new(MODULES).exists() {
        ramdisk::run()
    } else {
        system::run()
    };
    console::say(&format!("error: {error}"));
    // PID 1 must not end: the kernel would panic, which hides what was wrong.
    system::power_off()
}
