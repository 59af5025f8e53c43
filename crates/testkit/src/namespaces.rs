//! Private namespaces for tests that need a network of their own.

use std::process::{Command, Stdio};

use crate::is_root;

const INSIDE: &str = "BOOTGATE_TEST_INSIDE";

/// Runs `test` in network, mount and PID namespaces of its own: by calling this test program again, below `unshare`.
/// Everything that the test starts is gone when it ends, since it is the first process of its PID namespace. Gives
/// `false`, and has run nothing, where that needs root and the caller is not.
///
/// # Panics
/// The test failed; with its output.
#[must_use]
#[allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails its test"
)]
pub fn in_namespaces(test: impl FnOnce()) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        test();
        return true;
    }
    if !is_root() {
        return false;
    }
    let thread = std::thread::current();
    let name = thread.name().expect("tests have names");
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork"])
        .args(["--mount-proc", "--kill-child"])
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .output()
        .expect("run unshare");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "the test ran: {text}");
    true
}
