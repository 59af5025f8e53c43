//! What of QEMU and firmware this host has.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

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

/// UEFI firmware for x86-64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OvmfFiles {
    /// The code, mapped read-only.
    pub code: PathBuf,
    /// The template of the variable store; every run has a copy.
    pub vars: PathBuf,
}

/// Where distributions put OVMF: pairs of code and variable store template, the 4 MiB builds first.
const OVMF_PLACES: [(&str, &str); 7] = [
    // Debian, Ubuntu
    (
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    // Arch
    (
        "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    ),
    (
        "/usr/share/edk2-ovmf/x64/OVMF_CODE.4m.fd",
        "/usr/share/edk2-ovmf/x64/OVMF_VARS.4m.fd",
    ),
    // Fedora, RHEL
    (
        "/usr/share/edk2/ovmf/OVMF_CODE.fd",
        "/usr/share/edk2/ovmf/OVMF_VARS.fd",
    ),
    // openSUSE
    (
        "/usr/share/qemu/ovmf-x86_64-4m-code.bin",
        "/usr/share/qemu/ovmf-x86_64-4m-vars.bin",
    ),
    // QEMU's own
    (
        "/usr/share/qemu/edk2-x86_64-code.fd",
        "/usr/share/qemu/edk2-i386-vars.fd",
    ),
    // Debian 11
    (
        "/usr/share/OVMF/OVMF_CODE.fd",
        "/usr/share/OVMF/OVMF_VARS.fd",
    ),
];

/// Finds `qemu-system-x86_64`: `explicit`, else the first of that name in `PATH`, and asks for its version.
///
/// # Errors
/// There is none, or it does not answer.
pub async fn find_qemu(explicit: Option<&Path>) -> Result<QemuBinary, MissingError> {
    let path = match explicit {
        Some(path) => path.to_owned(),
        None => in_path("qemu-system-x86_64").ok_or_else(|| missing_qemu("qemu-system-x86_64"))?,
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
        _ => return Err(missing_qemu(&shown)),
    };
    let version = parse_version(&text).ok_or_else(|| missing_qemu(&shown))?;
    Ok(QemuBinary { path, version })
}

/// The error for a QEMU that is not there or does not answer.
pub(crate) fn missing_qemu(what: &str) -> MissingError {
    MissingError {
        what: what.to_owned(),
        package: "qemu-system-x86".to_owned(),
        hint: "apt-get install qemu-system-x86".to_owned(),
    }
}

/// Longest time a program may take to print its version.
const VERSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Finds OVMF: `explicit`, else the first of the places where distributions put it.
///
/// # Errors
/// One of the two files is absent.
pub fn find_ovmf(explicit: Option<&OvmfFiles>) -> Result<OvmfFiles, MissingError> {
    let missing = |what: String| MissingError {
        what,
        package: "ovmf".to_owned(),
        hint: "apt-get install ovmf".to_owned(),
    };
    if let Some(files) = explicit {
        return match [&files.code, &files.vars]
            .into_iter()
            .find(|f| !f.is_file())
        {
            Some(absent) => Err(missing(format!("OVMF firmware `{}`", absent.display()))),
            None => Ok(files.clone()),
        };
    }
    OVMF_PLACES
        .into_iter()
        .map(|(code, vars)| OvmfFiles {
            code: code.into(),
            vars: vars.into(),
        })
        .find(|files| files.code.is_file() && files.vars.is_file())
        .ok_or_else(|| missing("OVMF firmware (OVMF_CODE_4M.fd)".to_owned()))
}

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
