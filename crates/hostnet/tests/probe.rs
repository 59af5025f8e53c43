//! What the probe says about this host agrees with what a sandbox meets.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

mod common;

use bootgate_hostnet::probe::{Finding, findings};
use common::{Program, Runner};

fn find<'all>(all: &'all [Finding], name: &str) -> &'all Finding {
    all.iter().find(|finding| finding.name == name).unwrap()
}

/// Runs in a process with threads, as every test does.
#[test]
fn a_host_on_which_sandboxes_work_lacks_nothing_required() {
    require_sandboxes!();
    let findings = findings();
    for finding in &findings {
        assert!(finding.ok || !finding.required, "{finding:?}");
        assert_eq!(finding.ok, finding.fix.is_none(), "{finding:?}");
    }
    let program = Program::new();
    let mut tap = program.command(Runner::Plain, &["up"]);
    let tap = tap.env("PORTS", "tap").output().unwrap().status.success();
    assert_eq!(find(&findings, "tun").ok, tap);
}
