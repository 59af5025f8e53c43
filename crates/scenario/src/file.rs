//! How configuration files are read: TOML, key by key, with every problem told at its place in the file. Scenarios and
//! labs are read so here; the boot server's configuration is read so by the command line.

pub use toml::Spanned;

pub use crate::checks::Checks;
pub use crate::diagnostic::{Problem, ScenarioError as FileError};
pub use crate::load::{checked, read};
pub use crate::read::{Problems, Reader, Text, shorten};
pub use crate::suggest::hint as word_hint;
pub use crate::units::{show_size, size_bytes};

/// Milliseconds of a day.
pub const DAY_MS: u64 = crate::units::DAY_MS;
