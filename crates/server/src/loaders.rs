//! Loaders other than iPXE: the names by which they ask for their configuration, and how it names files and tells the
//! agent what it needs.

use bootgate_api::{cmdline, paths};
use bootgate_events::{AttemptId, MacAddr, Protocol};

use crate::ArtifactName;
use crate::desk::BootLoader;

/// What a loader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoaderFile {
    /// `pxelinux.cfg/01-MAC`: PXELINUX, and U-Boot's `pxe`.
    Pxelinux(MacAddr),
    /// `grub.cfg-01-MAC`.
    Grub(MacAddr),
    /// `grub.cfg`, of no machine in particular.
    GrubSearch,
    /// `extlinux/extlinux.conf`, of whoever asks: U-Boot's `sysboot` and standard boot.
    Extlinux,
    /// `boot.scr.uimg`: the script that U-Boot's distribution boot asks for.
    UbootScript,
    /// Another name that a loader tries before or after one of these.
    Other,
}

impl LoaderFile {
    /// Reads a path, with or without folders before the name; `None` where no loader asks so.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let path = path.replace('\\', "/");
        let mut parts = path.rsplit('/').filter(|part| !part.is_empty());
        let name = parts.next()?;
        let folder = parts.next();
        if folder == Some("pxelinux.cfg") {
            // PXELINUX asks for the machine's UUID, 01-MAC, its address in hexadecimal digit by digit, and `default`; U-Boot
            // for 01-MAC, the address, `default-ARCH-BOARD` and shorter ones.
            let mac = name.strip_prefix("01-").and_then(|mac| mac.parse().ok());
            return Some(mac.map_or(Self::Other, Self::Pxelinux));
        }
        if folder == Some("extlinux") && name == "extlinux.conf" {
            return Some(Self::Extlinux);
        }
        if name == "boot.scr.uimg" {
            return Some(Self::UbootScript);
        }
        if name == "grub.cfg" {
            return Some(Self::GrubSearch);
        }
        let rest = name.strip_prefix("grub.cfg-")?;
        let mac = rest.strip_prefix("01-").and_then(|mac| mac.parse().ok());
        Some(mac.map_or(Self::Other, Self::Grub))
    }

    /// Whose configuration it is and which program reads it; `None` where it is no machine's. `holder` is the machine
    /// that asks.
    pub(crate) fn machine(self, holder: Option<MacAddr>) -> Option<(MacAddr, BootLoader)> {
        match self {
            Self::Pxelinux(mac) => Some((mac, BootLoader::Pxelinux)),
            Self::Grub(mac) => Some((mac, BootLoader::Grub)),
            Self::Extlinux => Some((holder?, BootLoader::Uboot)),
            Self::GrubSearch | Self::UbootScript | Self::Other => None,
        }
    }
}

/// A file's name as a loader is to ask for it, where its configuration came from. By TFTP, files have no folder before
/// their names.
pub(crate) fn file_path(name: &ArtifactName, protocol: Protocol) -> String {
    match protocol {
        Protocol::Tftp => format!("/{name}"),
        Protocol::Http => paths::artifact(name.as_str()),
    }
}

/// A kernel command line with what the agent needs to know. Its address it asks for itself: a loader cannot put it
/// there.
pub(crate) fn agent_cmdline(
    own: &str,
    nonce: &AttemptId,
    server_url: &str,
    mac: MacAddr,
) -> String {
    let agent = format!(
        "{}={nonce} {}={server_url} {}={mac}",
        cmdline::NONCE,
        cmdline::SERVER,
        cmdline::MAC,
    );
    match own {
        "" => agent,
        own => format!("{own} {agent}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loaders_are_told_by_the_names_they_ask_for() {
        let mac = MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
        let asked = [
            (
                "pxelinux.cfg/01-52-54-00-12-34-56",
                Some(LoaderFile::Pxelinux(mac)),
            ),
            (
                "/boot/pxelinux.cfg/01-52-54-00-12-34-56",
                Some(LoaderFile::Pxelinux(mac)),
            ),
            (
                "pxelinux.cfg\\01-52-54-00-12-34-56",
                Some(LoaderFile::Pxelinux(mac)),
            ),
            (
                "pxelinux.cfg/b8945908-d6a6-41a9-611d-74a6ab80b83d",
                Some(LoaderFile::Other),
            ),
            ("pxelinux.cfg/0A4D000A", Some(LoaderFile::Other)),
            (
                "pxelinux.cfg/default-arm-bcm283x-rpi",
                Some(LoaderFile::Other),
            ),
            ("pxelinux.cfg/default", Some(LoaderFile::Other)),
            ("pxelinux.cfg/01-52-54-00-12-34", Some(LoaderFile::Other)),
            (
                "grub/grub.cfg-01-52-54-00-12-34-56",
                Some(LoaderFile::Grub(mac)),
            ),
            ("grub.cfg-01-52:54:00:12:34:56", Some(LoaderFile::Grub(mac))),
            (
                "/debian-installer/amd64/grub/grub.cfg-0A4D",
                Some(LoaderFile::Other),
            ),
            ("grub/grub.cfg", Some(LoaderFile::GrubSearch)),
            ("extlinux/extlinux.conf", Some(LoaderFile::Extlinux)),
            ("boot.scr.uimg", Some(LoaderFile::UbootScript)),
            ("boot.scr", None),
            ("grub/x86_64-efi/command.lst", None),
            ("01-52-54-00-12-34-56", None),
            ("", None),
        ];
        for (path, file) in asked {
            assert_eq!(LoaderFile::of(path), file, "{path}");
        }
    }
}
