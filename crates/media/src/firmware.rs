//! Firmware that drivers load into their devices.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::modules::Module;
use crate::{MediaError, files};

/// Firmware that a module may ask for and that is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// The module.
    pub module: String,
    /// The files, below a folder of firmware.
    pub files: Vec<String>,
}

/// Adds the firmware that these modules may ask for to `lib/firmware` of the archive; what is not there.
///
/// # Errors
/// A file that is there cannot be read.
pub(crate) fn add_to(
    archive: &mut Archive,
    kernel: &Kernel,
    modules: &[Module],
) -> Result<Vec<Absent>, MediaError> {
    let mut absent = Vec::new();
    for module in modules {
        let mut missing = BTreeSet::new();
        for name in &module.firmware {
            let Some(path) = find(&kernel.firmware, name) else {
                missing.insert(name.clone());
                continue;
            };
            let content = files::read(&path)?;
            archive.file(&format!("lib/firmware/{name}"), 0o644, &content);
        }
        if !missing.is_empty() {
            absent.push(Absent {
                module: module.name.clone(),
                files: missing.into_iter().collect(),
            });
        }
    }
    Ok(absent)
}

/// The file of this name in the first folder that has it. A name that leads out of the folder is of no file.
fn find(folders: &[PathBuf], name: &str) -> Option<PathBuf> {
    let plain = |part| matches!(part, Component::Normal(_));
    if !Path::new(name).components().all(plain) {
        return None;
    }
    let mut places = folders.iter().map(|folder| folder.join(name));
    places.find(|path| path.is_file())
}
