//! `ipxe.toml`: what is in a prepared folder, and where it came from.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::inspect::{Arch, Format};
use super::source::{Role, SourceFact};
use crate::{MediaError, files};

/// The manifest's name in a prepared folder.
pub const MANIFEST: &str = "ipxe.toml";
/// Version of the manifest's form.
const FORM: u32 = 1;

/// What is in a prepared folder. The same input gives the same manifest: no time, no path of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form: 1.
    pub form: u32,
    /// HTTP port of the boot server that the script asks.
    pub port: u16,
    /// What could not be made, and why, each a sentence for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Boot files for DHCP, by architecture.
    #[serde(rename = "boot")]
    pub boots: Vec<BootFact>,
    /// Where the parts came from.
    #[serde(rename = "source")]
    pub sources: Vec<SourceFact>,
    /// All files but this one, by path.
    #[serde(rename = "file")]
    pub files: Vec<FileFact>,
}

/// What DHCP names for an architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFact {
    /// The architecture.
    pub arch: Arch,
    /// The boot file where DHCP knows iPXE by its user class and gives it a script then: iPXE itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_user_class: Option<String>,
    /// The boot file where it names one and nothing else; absent where there is none that works so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alone: Option<String>,
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFact {
    /// Its path below the folder.
    pub path: String,
    /// What it is for.
    pub role: Role,
    /// Its SHA-256.
    pub sha256: String,
    /// Its size in bytes.
    pub size: u64,
    /// The source it came from; absent where it was made here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// SHA-256 of the source's file, where it was changed: pxelinux.0 is told its configuration's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_from: Option<String>,
    /// What iPXE says it is: its version, or its package's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The kind of program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// What it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// Whether it runs `autoexec.ipxe` from where it came; absent where that is no question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub autoexec: Option<bool>,
}

impl Manifest {
    pub(super) fn new(port: u16) -> Self {
        Self {
            form: FORM,
            port,
            notes: Vec::new(),
            boots: Vec::new(),
            sources: Vec::new(),
            files: Vec::new(),
        }
    }

    /// The file with a role.
    #[must_use]
    pub fn file(&self, role: Role) -> Option<&FileFact> {
        self.files.iter().find(|file| file.role == role)
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), MediaError> {
        let text = toml::to_string(self)
            .map_err(|error| MediaError::input("write", path, error.to_string()))?;
        let head = "# What `bootgate ipxe prepare` made, from what.\n";
        files::write_whole(path, format!("{head}{text}").as_bytes())
    }

    pub(super) fn read(path: &Path) -> Result<Self, MediaError> {
        let text = String::from_utf8_lossy(&files::read(path)?).into_owned();
        let manifest: Self = toml::from_str(&text)
            .map_err(|error| MediaError::input("read", path, error.message().to_owned()))?;
        if manifest.form != FORM {
            let message = format!(
                "it has form `{}`; this program knows `{FORM}`",
                manifest.form
            );
            return Err(MediaError::input("read", path, message));
        }
        Ok(manifest)
    }
}
