//! Words that other parts of the program print as reports do.

pub use crate::text::{bytes, harmless, short, took, verdict};
