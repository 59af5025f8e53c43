//! What every backend must do: the sentences of [`Store`]'s documentation as checks.
//!
//! A backend's tests run [`checks`] with a function that makes an empty store each time. A check panics where the
//! store does not do what is documented. What only processes and disks can show (crashes, a full disk, other processes)
//! is up to the backend's own tests.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a check fails by panicking, as tests do"
)]

pub mod artifacts;
mod attempts;
mod backup;
mod events;
mod flashes;
mod leases;
mod machines;
mod samples;
mod uploads;

pub use samples::{event, expected, inventory, mac, nonce, order, verdict};

use crate::{Store, StoreError};

/// Makes an empty store.
pub type Make<'a> = &'a dyn Fn() -> Box<dyn Store>;

/// One thing that every backend must do.
#[derive(Clone, Copy)]
pub struct Check {
    /// What it must do.
    pub name: &'static str,
    /// Panics where it does not.
    pub run: fn(Make<'_>),
}

/// Every check.
#[must_use]
pub fn checks() -> Vec<Check> {
    [
        leases::CHECKS,
        machines::CHECKS,
        attempts::CHECKS,
        flashes::CHECKS,
        events::CHECKS,
        backup::CHECKS,
    ]
    .concat()
}

/// Every check of a backend that keeps artifacts ([`Store::artifacts`]).
#[must_use]
pub fn artifact_checks() -> Vec<Check> {
    [uploads::CHECKS, artifacts::CHECKS].concat()
}

/// A list of checks named after their functions.
macro_rules! named_checks {
    ($($name:ident),+ $(,)?) => {
        pub(super) const CHECKS: &[$crate::conformance::Check] = &[
            $($crate::conformance::Check { name: stringify!($name), run: $name }),+
        ];
    };
}
use named_checks;

/// That an operation was refused; why.
fn refused<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> String {
    match outcome {
        Err(StoreError::Refused { why, .. }) => why,
        other => panic!("not refused: {other:?}"),
    }
}
