//! Nonces of boot attempts and names of runs.

use std::fs::File;
use std::io::{self, Read};

use bootgate_events::{AttemptId, RunId};

/// A fresh nonce: 16 bytes of the kernel's randomness.
pub(crate) fn attempt() -> io::Result<AttemptId> {
    Ok(AttemptId::new(hex::encode(random::<16>()?)))
}

/// A fresh run identifier: the scenario's name and eight random digits.
pub(crate) fn run(scenario: &str) -> io::Result<RunId> {
    Ok(RunId::new(format!(
        "{scenario}-{}",
        hex::encode(random::<4>()?)
    )))
}

fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
