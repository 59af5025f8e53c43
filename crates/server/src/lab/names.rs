//! The names by which loaders ask for their configuration.

use bootgate_events::MacAddr;

/// What a loader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoaderFile {
    /// `pxelinux.cfg/01-MAC`: PXELINUX, and U-Boot's `pxe`.
    Pxelinux(MacAddr),
    /// `grub.cfg-01-MAC`.
    Grub(MacAddr),
    /// `grub.cfg`, of no machine in particular.
    GrubSearch,
    /// `extlinux/extlinux.conf`, of whoever asks: U-Boot's `sysboot` and standard boot.
    Extlinux,
    /// Another name that a loader tries before or after one of these.
    Other,
}

impl LoaderFile {
    /// Reads a path, with or without folders before the name; `None` where no loader asks so.
    pub(super) fn of(path: &str) -> Option<Self> {
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
        if name == "grub.cfg" {
            return Some(Self::GrubSearch);
        }
        let rest = name.strip_prefix("grub.cfg-")?;
        let mac = rest.strip_prefix("01-").and_then(|mac| mac.parse().ok());
        Some(mac.map_or(Self::Other, Self::Grub))
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
            ("boot.scr.uimg", None),
            ("grub/x86_64-efi/command.lst", None),
            ("01-52-54-00-12-34-56", None),
            ("", None),
        ];
        for (path, file) in asked {
            assert_eq!(LoaderFile::of(path), file, "{path}");
        }
    }
}
