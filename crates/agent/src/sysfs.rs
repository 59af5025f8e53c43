//! Attributes of devices, as the kernel shows them below `/sys`.

use std::fs;
use std::path::Path;

/// The text of an attribute without the white space around it; `None` where it cannot be read.
pub(crate) fn attribute(folder: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(folder.join(file)).ok()?;
    Some(text.trim().to_owned())
}
