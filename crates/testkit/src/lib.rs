//! Helpers for tests: skips that are counted, and checks for what a test needs from its host.

mod dice;
mod host;
mod namespaces;
mod skip;
pub mod uefi;

pub use dice::Dice;
pub use host::{command_exists, full_run, is_root};
pub use namespaces::in_namespaces;
pub use skip::record_skip;

/// Ends the test as skipped, with a reason. The reason is printed, and appended to the file that
/// `BOOTGATE_SKIP_LOG` names, from which `ci/test` counts the skipped tests.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::record_skip(&format!($($reason)+));
        return;
    }};
}

/// Skips the test where one of the named programs is not on the search path.
#[macro_export]
macro_rules! require_commands {
    ($($name:literal),+ $(,)?) => {
        $( if !$crate::command_exists($name) {
            $crate::skip!("`{}` is not installed", $name);
        } )+
    };
}

/// Skips the test where one of the files is missing: the file and what has it, such as a package.
#[macro_export]
macro_rules! require_files {
    ($($file:expr => $from:expr),+ $(,)?) => {
        $( if !::std::path::Path::new($file).exists() {
            $crate::skip!("`{}` is missing: {}", $file, $from);
        } )+
    };
}

/// Skips the test where only the core set is run. `./ci/test --full` sets `BOOTGATE_FULL=1` and runs everything.
#[macro_export]
macro_rules! require_full {
    () => {
        if !$crate::full_run() {
            $crate::skip!("not in the core set: runs with ./ci/test --full");
        }
    };
}

/// Skips the test where it does not run as root.
#[macro_export]
macro_rules! require_root {
    () => {
        if !$crate::is_root() {
            $crate::skip!("needs root");
        }
    };
}
