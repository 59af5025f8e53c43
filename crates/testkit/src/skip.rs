//! Skips that leave a trace.

use std::io::Write;

/// Prints the reason and appends it to the file that `BOOTGATE_SKIP_LOG` names. Tests call the `skip!` macro.
#[allow(clippy::print_stderr, reason = "the test runner shows it")]
pub fn record_skip(reason: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test").to_owned();
    eprintln!("SKIPPED: {test}: {reason}");
    let Some(path) = std::env::var_os("BOOTGATE_SKIP_LOG") else {
        return;
    };
    if let Ok(mut log) = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
    {
        let _ = writeln!(log, "{test}: {reason}");
    }
}
