//! Exit codes and how errors are shown.

use std::io::Write;
use std::process::ExitCode;

/// Bad usage or a bad scenario.
pub(crate) const USAGE: u8 = 2;
/// A fault of the host.
pub(crate) const INFRA: u8 = 3;

/// Says what went wrong and what to do, on standard error.
pub(crate) fn complain(error: &str, hint: &str) {
    // Where standard error is gone, there is nobody to tell.
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "error: {error}");
    if !hint.is_empty() {
        let _ = writeln!(out, " hint: {hint}");
    }
}

/// A line for a person beside what is printed, on standard error.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Says what went wrong, and ends with `code`.
pub(crate) fn fail(code: u8, error: &str, hint: &str) -> ExitCode {
    complain(error, hint);
    ExitCode::from(code)
}

/// A line on standard output. Where the reader is gone (`bootgate check | head`), the rest is not written.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
