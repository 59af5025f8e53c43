//! What of QEMU and firmware this host has.

mod firmware;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

pub use firmware::{FirmwareKind, Needs, UefiFiles, can_run, find_firmware, find_uboot, find_uefi};

/// A program or file that a target needs is not on this host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{what} is not installed: {hint}")]
pub struct MissingError {
    /// What is missing, e.g. `qemu-system-x86_64`.
    pub what: String,
    /// The Debian/Ubuntu package that has it.
    pub package: String,
    /// What to do, e.g. `apt-get install qemu-system-x86`.
    pub hint: String,
}

/// A QEMU that was found and answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuBinary {
    /// Absolute path.
    pub path: PathBuf,
    /// Its version, e.g. `7.2.22`.
    pub version: String,
}

/// The processor of a virtual machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// The program that runs such machines.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Arch::X86_64 => "qemu-system-x86_64",
            Arch::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// The error for a QEMU that is not there or does not answer.
    pub(crate) fn missing(self, what: &str) -> MissingError {
        let package = match self {
            Arch::X86_64 => "qemu-system-x86",
            Arch::Aarch64 => "qemu-system-arm",
        };
        MissingError {
            what: what.to_owned(),
            package: package.to_owned(),
            hint: format!("apt-get install {package}"),
        }
    }
}

/// Finds the QEMU for machines with this processor: `explicit`, else the first of its name in `PATH`, and asks for its
/// version.
///
/// # Errors
/// There is none, or it does not answer.
pub async fn find_qemu(arch: Arch, explicit: Option<&Path>) -> Result<QemuBinary, MissingError> {
    let name = arch.program();
    let path = match explicit {
        Some(path) => path.to_owned(),
        None => in_path(name).ok_or_else(|| arch.missing(name))?,
    };
    let shown = path.display().to_string();
    let output = tokio::process::Command::new(&path)
        .arg("--version")
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(VERSION_TIMEOUT, output).await;
    let text = match output {
        Ok(Ok(output)) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        _ => return Err(arch.missing(&shown)),
    };
    let version = parse_version(&text).ok_or_else(|| arch.missing(&shown))?;
    Ok(QemuBinary { path, version })
}

/// Longest time a program may take to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The first executable file of this name in `PATH`, absolute.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

/// The number after `version` in the first line of `qemu-system-x86_64 --version`.
fn parse_version(text: &str) -> Option<String> {
    let rest = text.lines().next()?.split("version ").nth(1)?;
    let number: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    (!number.is_empty()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_read_from_what_distributions_print() {
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)\nCopyright (c) 2003-2022\n";
        assert_eq!(parse_version(debian).as_deref(), Some("7.2.22"));
        assert_eq!(
            parse_version("QEMU emulator version 10.0.2").as_deref(),
            Some("10.0.2")
        );
        for wrong in ["", "QEMU emulator", "GNU bash, version x"] {
            assert_eq!(parse_version(wrong), None);
        }
    }
}
