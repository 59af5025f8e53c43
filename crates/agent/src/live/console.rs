//! The console.

use std::fs::File;
use std::io::Write;
use std::sync::OnceLock;

static CONSOLE: OnceLock<File> = OnceLock::new();

/// Opens the console. Without one, lines go nowhere.
pub(super) fn open() {
    let mut options = File::options();
    if let Ok(file) = options.write(true).open("/dev/console") {
        let _ = CONSOLE.set(file);
    }
}

/// Writes a line with one system call.
pub(super) fn write_line(line: &str) {
    let bytes = format!("{line}\n");
    let _ = match CONSOLE.get() {
        Some(mut file) => file.write(bytes.as_bytes()),
        None => std::io::stdout().write(bytes.as_bytes()),
    };
}
