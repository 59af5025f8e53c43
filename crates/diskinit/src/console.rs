//! The console, which the kernel gave as standard output.

use std::io::Write;

/// Writes a line with a single system call, so that messages of the kernel come before or after it, not within.
pub(crate) fn line(text: &str) {
    let bytes = format!("{text}\n");
    // Without a console there is nobody to tell.
    let _ = std::io::stderr().write_all(bytes.as_bytes());
}

/// Writes a line under this program's name.
pub(crate) fn say(text: &str) {
    line(&format!("bootgate-init: {text}"));
}
