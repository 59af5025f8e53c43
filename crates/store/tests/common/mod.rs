//! What the tests of backends share.

#![allow(
    dead_code,
    unused_imports,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "shared by test programs that each use a part; a test fails by panicking"
)]

mod model;
mod operation;
pub mod sample;

pub use model::Model;
pub use operation::{Operation, contents};
