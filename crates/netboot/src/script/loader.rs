//! Configurations of loaders other than iPXE.

use super::{ScriptError, bad, fill};

macro_rules! template {
    ($file:literal) => {
        include_str!(concat!("../../../../ipxe-scripts/loaders/", $file))
    };
}

/// What GRUB gets that asks for a configuration of no machine in particular: it finds the machine's.
pub const GRUB_SEARCH: &str = template!("grub.cfg");

/// Which program reads the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoaderKind {
    /// PXELINUX, of Syslinux.
    Pxelinux,
    /// GRUB.
    Grub,
    /// U-Boot's `pxe` and `sysboot`, which read a part of PXELINUX's language.
    Uboot,
}

/// What a loader is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoaderBoot {
    /// Boot a kernel.
    Linux(LinuxBoot),
    /// Boot the machine's own disk.
    Local {
        /// Why, in words.
        reason: String,
        /// How.
        drive: LocalDrive,
    },
    /// Stop.
    Refused {
        /// Why, in words.
        reason: String,
    },
}

/// A kernel to boot. Names are as the loader is to ask for them: paths on the server the configuration came from,
/// beginning with `/`, or URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinuxBoot {
    /// The kernel.
    pub kernel: String,
    /// Initial RAM disks, in order. U-Boot loads the first one only.
    pub initrds: Vec<String>,
    /// The whole command line.
    pub cmdline: String,
}

/// The disk that a machine boots, where its firmware is a BIOS. UEFI goes on with its boot order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalDrive {
    /// Whatever comes next in the BIOS's order.
    Next,
    /// This one; 128 is 0x80, the first disk.
    Number(u8),
}

/// Renders a loader's configuration (`ipxe-scripts/loaders/`).
///
/// # Errors
/// A value could change the configuration's meaning.
pub fn render_loader(kind: LoaderKind, boot: &LoaderBoot) -> Result<String, ScriptError> {
    match kind {
        LoaderKind::Pxelinux => pxelinux(boot),
        LoaderKind::Grub => grub(boot),
        LoaderKind::Uboot => uboot(boot),
    }
}

fn pxelinux(boot: &LoaderBoot) -> Result<String, ScriptError> {
    match boot {
        LoaderBoot::Linux(linux) => {
            let names = linux.initrds.iter();
            let names: Vec<_> = names
                .map(|name| Ok(syslinux_path(word("initrd", name)?)))
                .collect::<Result<_, _>>()?;
            let initrd_arg = match names.is_empty() {
                true => String::new(),
                false => format!("initrd={}", names.join(",")),
            };
            let values = [
                ("kernel", syslinux_path(word("kernel", &linux.kernel)?)),
                ("initrd_arg", initrd_arg),
                ("cmdline", line("kernel command line", &linux.cmdline)?),
            ];
            fill(template!("pxelinux-boot.cfg"), &values)
        }
        LoaderBoot::Local { reason, drive } => {
            // PXELINUX hands the number to the PXE ROM, which knows no drives: 0 is a normal local boot.
            let drive = match drive {
                LocalDrive::Next => "-1".to_owned(),
                LocalDrive::Number(_) => "0".to_owned(),
            };
            let values = [("reason", line("reason", reason)?), ("drive", drive)];
            fill(template!("pxelinux-local.cfg"), &values)
        }
        LoaderBoot::Refused { reason } => fill(
            template!("pxelinux-refused.cfg"),
            &[("reason", line("reason", reason)?)],
        ),
    }
}

/// `::` keeps PXELINUX from putting the folder of its own program before a name.
fn syslinux_path(name: String) -> String {
    match name.strip_prefix('/') {
        Some(path) => format!("::{path}"),
        None => name,
    }
}

fn grub(boot: &LoaderBoot) -> Result<String, ScriptError> {
    match boot {
        LoaderBoot::Linux(linux) => {
            let initrds = linux.initrds.iter();
            let initrds = initrds.map(|name| quoted("initrd", &word("initrd", name)?));
            let initrds: Vec<_> = initrds.collect::<Result<_, _>>()?;
            let initrd_line = match initrds.is_empty() {
                true => String::new(),
                false => format!("initrd {}", initrds.join(" ")),
            };
            let words = linux.cmdline.split_whitespace();
            let words = words.map(|word| quoted("kernel command line", word));
            let words: Vec<_> = words.collect::<Result<_, _>>()?;
            let kernel = quoted("kernel", &word("kernel", &linux.kernel)?)?;
            let values = [
                ("kernel", kernel),
                ("cmdline", words.join(" ")),
                ("initrd_line", initrd_line),
            ];
            fill(template!("grub-boot.cfg"), &values)
        }
        LoaderBoot::Local { reason, drive } => {
            let bios = match drive {
                LocalDrive::Next => "exit".to_owned(),
                LocalDrive::Number(drive) => {
                    // GRUB counts hard disks from 0x80 on.
                    let disk = drive.saturating_sub(0x80);
                    format!("set root=(hd{disk})\nchainloader +1\nboot")
                }
            };
            let reason = quoted("reason", &format!("bootgate: {reason}"))?;
            let values = [("reason", reason), ("bios", bios)];
            fill(template!("grub-local.cfg"), &values)
        }
        LoaderBoot::Refused { reason } => fill(
            template!("grub-refused.cfg"),
            &[("reason", quoted("reason", reason)?)],
        ),
    }
}

fn uboot(boot: &LoaderBoot) -> Result<String, ScriptError> {
    match boot {
        LoaderBoot::Linux(linux) => {
            let initrd_line = match linux.initrds.first() {
                Some(name) => format!("initrd {}", word("initrd", name)?),
                None => String::new(),
            };
            let values = [
                ("kernel", word("kernel", &linux.kernel)?),
                ("initrd_line", initrd_line),
                ("cmdline", line("kernel command line", &linux.cmdline)?),
            ];
            fill(template!("uboot-boot.conf"), &values)
        }
        LoaderBoot::Local { reason, .. } => fill(
            template!("uboot-local.conf"),
            &[("reason", line("reason", reason)?)],
        ),
        LoaderBoot::Refused { reason } => fill(
            template!("uboot-refused.conf"),
            &[("reason", line("reason", reason)?)],
        ),
    }
}

/// The rest of a line.
fn line(what: &'static str, value: &str) -> Result<String, ScriptError> {
    if value.chars().any(char::is_control) {
        return Err(bad(
            what,
            value,
            "has a line break or another control character",
        ));
    }
    Ok(value.to_owned())
}

/// One word.
fn word(what: &'static str, value: &str) -> Result<String, ScriptError> {
    let value = line(what, value)?;
    if value.is_empty() || value.contains(char::is_whitespace) || value.contains(',') {
        return Err(bad(what, &value, "is not one word"));
    }
    Ok(value)
}

/// A word of GRUB's, in single quotes where it has characters that mean something to GRUB.
fn quoted(what: &'static str, value: &str) -> Result<String, ScriptError> {
    let value = line(what, value)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/.,:=_-+@%".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        Ok(value)
    } else if value.contains('\'') {
        Err(bad(what, &value, "has a single quote"))
    } else {
        Ok(format!("'{value}'"))
    }
}
