//! The one table of client architectures.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

/// x86 BIOS.
pub const BIOS: u16 = 0;
/// x86 UEFI, 32 bits.
pub const UEFI_IA32: u16 = 6;
/// x64 UEFI. RFC 4578 says "EFI BC" here and x64 under 9; its erratum 4625, IANA's list and EDK2 say x64.
pub const UEFI_X64: u16 = 7;
/// EFI byte code; some firmware for x64 UEFI says so, as RFC 4578 had it.
pub const UEFI_EBC: u16 = 9;
/// arm64 UEFI.
pub const UEFI_ARM64: u16 = 11;
/// x86 UEFI HTTP Boot, 32 bits.
pub const HTTP_IA32: u16 = 15;
/// x64 UEFI HTTP Boot.
pub const HTTP_X64: u16 = 16;
/// arm64 UEFI HTTP Boot.
pub const HTTP_ARM64: u16 = 19;
/// arm64 U-Boot.
pub const UBOOT_ARM64: u16 = 22;
/// 64-bit RISC-V UEFI.
pub const UEFI_RISCV64: u16 = 27;
/// 64-bit LoongArch UEFI.
pub const UEFI_LOONG64: u16 = 39;
/// The Raspberry Pi's boot ROM, where it says so.
pub const RPI: u16 = 41;

/// What kind of program runs the network boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Firmware {
    /// A PC's BIOS with a PXE ROM.
    Bios,
    /// UEFI.
    Uefi,
    /// Open Firmware (IEEE 1275).
    OpenFirmware,
    /// Power's ePAPR and OPAL firmware.
    Power,
    /// U-Boot: looks for `pxelinux.cfg/` and scripts on the next server by itself.
    UBoot,
    /// IBM Z.
    S390,
    /// The Raspberry Pi's boot ROM: fetches its files by its serial number.
    RaspberryPi,
    /// What nobody makes any more.
    Historic,
}

impl Firmware {
    /// Its name: `bios`, `uefi`, `open-firmware`, `power`, `u-boot`, `s390`, `raspberry-pi`, `historic`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Firmware::Bios => "bios",
            Firmware::Uefi => "uefi",
            Firmware::OpenFirmware => "open-firmware",
            Firmware::Power => "power",
            Firmware::UBoot => "u-boot",
            Firmware::S390 => "s390",
            Firmware::RaspberryPi => "raspberry-pi",
            Firmware::Historic => "historic",
        }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the network boot program is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// By TFTP.
    Tftp,
    /// By HTTP, from a URL.
    Http,
}

/// What is known of one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchRow {
    /// Its name, for people.
    pub name: Cow<'static, str>,
    /// What kind of firmware it is.
    pub firmware: Firmware,
    /// How it fetches.
    pub transport: Transport,
    /// The architecture whose network boot program runs on it too, where it has none of its own.
    pub same_as: Option<u16>,
    /// The network boot program for machines that name none.
    pub bootfile: Option<Cow<'static, str>>,
}

impl ArchRow {
    /// A row without a network boot program.
    #[must_use]
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        firmware: Firmware,
        transport: Transport,
    ) -> Self {
        Self {
            name: name.into(),
            firmware,
            transport,
            same_as: None,
            bootfile: None,
        }
    }

    /// The row with this network boot program.
    #[must_use]
    pub fn with_bootfile(mut self, bootfile: impl Into<Cow<'static, str>>) -> Self {
        self.bootfile = Some(bootfile.into());
        self
    }
}

use Firmware::{Bios, Historic, OpenFirmware, Power, RaspberryPi, S390, UBoot, Uefi};
use Transport::{Http, Tftp};

/// Code, name, firmware, transport, and the code whose program it shares: IANA's list "Processor Architecture Types"
/// (RFC 5970 section 3.3, begun by RFC 4578 section 2.1). 9 is EFI byte code there; firmware that sends it is x64.
#[rustfmt::skip]
const IANA: [(u16, &str, Firmware, Transport, Option<u16>); 42] = [
    (0, "x86 BIOS", Bios, Tftp, None),
    (1, "NEC/PC98", Historic, Tftp, None),
    (2, "Itanium", Uefi, Tftp, None),
    (3, "DEC Alpha", Historic, Tftp, None),
    (4, "Arc x86", Historic, Tftp, None),
    (5, "Intel Lean Client", Historic, Tftp, None),
    (6, "x86 UEFI", Uefi, Tftp, None),
    (7, "x64 UEFI", Uefi, Tftp, None),
    (8, "EFI Xscale", Historic, Tftp, None),
    (9, "EBC (x64 UEFI)", Uefi, Tftp, Some(7)),
    (10, "ARM 32-bit UEFI", Uefi, Tftp, None),
    (11, "ARM 64-bit UEFI", Uefi, Tftp, None),
    (12, "PowerPC Open Firmware", OpenFirmware, Tftp, None),
    (13, "PowerPC ePAPR", Power, Tftp, None),
    (14, "POWER OPAL v3", Power, Tftp, None),
    (15, "x86 UEFI HTTP Boot", Uefi, Http, Some(6)),
    (16, "x64 UEFI HTTP Boot", Uefi, Http, Some(7)),
    (17, "EBC HTTP Boot", Uefi, Http, Some(7)),
    (18, "ARM 32-bit UEFI HTTP Boot", Uefi, Http, Some(10)),
    (19, "ARM 64-bit UEFI HTTP Boot", Uefi, Http, Some(11)),
    (20, "PC/AT BIOS HTTP Boot", Bios, Http, None),
    (21, "ARM 32-bit U-Boot", UBoot, Tftp, None),
    (22, "ARM 64-bit U-Boot", UBoot, Tftp, None),
    (23, "ARM 32-bit U-Boot HTTP Boot", UBoot, Http, Some(21)),
    (24, "ARM 64-bit U-Boot HTTP Boot", UBoot, Http, Some(22)),
    (25, "RISC-V 32-bit UEFI", Uefi, Tftp, None),
    (26, "RISC-V 32-bit UEFI HTTP Boot", Uefi, Http, Some(25)),
    (27, "RISC-V 64-bit UEFI", Uefi, Tftp, None),
    (28, "RISC-V 64-bit UEFI HTTP Boot", Uefi, Http, Some(27)),
    (29, "RISC-V 128-bit UEFI", Uefi, Tftp, None),
    (30, "RISC-V 128-bit UEFI HTTP Boot", Uefi, Http, Some(29)),
    (31, "s390 Basic", S390, Tftp, None),
    (32, "s390 Extended", S390, Tftp, None),
    (33, "MIPS 32-bit UEFI", Uefi, Tftp, None),
    (34, "MIPS 64-bit UEFI", Uefi, Tftp, None),
    (35, "Sunway 32-bit UEFI", Uefi, Tftp, None),
    (36, "Sunway 64-bit UEFI", Uefi, Tftp, None),
    (37, "LoongArch 32-bit UEFI", Uefi, Tftp, None),
    (38, "LoongArch 32-bit UEFI HTTP Boot", Uefi, Http, Some(37)),
    (39, "LoongArch 64-bit UEFI", Uefi, Tftp, None),
    (40, "LoongArch 64-bit UEFI HTTP Boot", Uefi, Http, Some(39)),
    (41, "ARM rpiboot", RaspberryPi, Tftp, None),
];

/// The programs that iPXE's packages in Debian bring, by architecture.
const IPXE: [(u16, &str); 5] = [
    (BIOS, "undionly.kpxe"),
    (UEFI_X64, "snponly.efi"),
    (UEFI_ARM64, "ipxe-arm64.efi"),
    (UEFI_RISCV64, "ipxe-riscv64.efi"),
    (UEFI_LOONG64, "ipxe-loong64.efi"),
];

/// What is known of client architectures, by the code of option 93 (DHCPv6: option 61).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchTable {
    rows: BTreeMap<u16, ArchRow>,
}

impl ArchTable {
    /// All codes that IANA has given out, 0 to 41, none with a network boot program.
    #[must_use]
    pub fn iana() -> Self {
        let rows = IANA.map(|(code, name, firmware, transport, same_as)| {
            let row = ArchRow {
                same_as,
                ..ArchRow::new(name, firmware, transport)
            };
            (code, row)
        });
        Self {
            rows: BTreeMap::from(rows),
        }
    }

    /// The same with the network boot programs that iPXE's packages bring: `undionly.kpxe`, `snponly.efi` and
    /// `ipxe-ARCHITECTURE.efi`.
    #[must_use]
    pub fn with_ipxe() -> Self {
        let mut table = Self::iana();
        for (code, bootfile) in IPXE {
            if let Some(row) = table.rows.get_mut(&code) {
                row.bootfile = Some(Cow::Borrowed(bootfile));
            }
        }
        table
    }

    /// The table with a row added, or replaced.
    #[must_use]
    pub fn with(mut self, code: u16, row: ArchRow) -> Self {
        self.rows.insert(code, row);
        self
    }

    /// What is known of an architecture.
    #[must_use]
    pub fn row(&self, code: u16) -> Option<&ArchRow> {
        self.rows.get(&code)
    }

    /// All rows, ordered by code.
    pub fn rows(&self) -> impl Iterator<Item = (u16, &ArchRow)> {
        self.rows.iter().map(|(code, row)| (*code, row))
    }

    /// The name of an architecture; its number where it has none here.
    #[must_use]
    pub fn name(&self, code: u16) -> Cow<'_, str> {
        match self.rows.get(&code) {
            Some(row) => Cow::Borrowed(&row.name),
            None => Cow::Owned(format!("architecture `{code}`")),
        }
    }

    /// The network boot program for an architecture: the machine's own before the table's, and one for just this code
    /// before one for the code it shares with.
    #[must_use]
    pub fn bootfile<'a>(&'a self, code: u16, machine: &'a Bootfiles) -> Option<&'a str> {
        let row = self.rows.get(&code);
        let shared = row.and_then(|row| row.same_as);
        let table = |code: u16| self.rows.get(&code)?.bootfile.as_deref();
        machine
            .get(code)
            .or_else(|| machine.get(shared?))
            .or_else(|| table(code))
            .or_else(|| table(shared?))
    }
}

impl Default for ArchTable {
    fn default() -> Self {
        Self::iana()
    }
}

/// Names of a machine's own network boot programs on the TFTP server (or whole `http://` URLs), by architecture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bootfiles(BTreeMap<u16, String>);

impl Bootfiles {
    /// Programs for the two kinds of PC firmware, such as `undionly.kpxe` and `snponly.efi`.
    #[must_use]
    pub fn pc(bios: Option<String>, uefi_x64: Option<String>) -> Self {
        let mut files = Self::default();
        files.set(BIOS, bios);
        files.set(UEFI_X64, uefi_x64);
        files
    }

    /// Sets the program for an architecture, or takes it away.
    pub fn set(&mut self, code: u16, bootfile: Option<String>) {
        match bootfile {
            Some(bootfile) => self.0.insert(code, bootfile),
            None => self.0.remove(&code),
        };
    }

    /// The program for just this architecture.
    #[must_use]
    pub fn get(&self, code: u16) -> Option<&str> {
        self.0.get(&code).map(String::as_str)
    }

    /// Every program, ordered by architecture.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &str)> {
        self.0.iter().map(|(code, file)| (*code, file.as_str()))
    }
}

impl FromIterator<(u16, String)> for Bootfiles {
    fn from_iter<I: IntoIterator<Item = (u16, String)>>(files: I) -> Self {
        Self(files.into_iter().collect())
    }
}
