//! GRUB for BIOS and UEFI, from the modules that distributions package.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::arch::Arch;
use crate::{MediaError, files};

/// What a GRUB image is made of.
struct Flavour<'a> {
    /// The platform's name, which is that of the folder of its modules too.
    platform: &'a str,
    /// The package that has them.
    package: &'a str,
    modules: &'a [&'a str],
    /// Where `grub.cfg` is.
    prefix: &'a str,
    /// What runs before `grub.cfg`.
    early: &'a str,
}

/// The unit that a BIOS reads from a disk, and in which GRUB's block lists count.
const SECTOR: usize = 512;
/// Boot code ends where the disk signature begins.
const BOOT_CODE: usize = 440;
/// Offsets in `boot.img` (GRUB's `include/grub/i386/pc/boot.h`).
const KERNEL_SECTOR: usize = 0x5c;
const DRIVE_CHECK: usize = 0x66;
/// `diskboot.img`, the first sector of the core, ends with the list of blocks that it reads: first sector, number of
/// sectors, segment (`struct grub_pc_bios_boot_blocklist`, `include/grub/i386/pc/kernel.h`).
const BLOCK_LIST: usize = 0x1f4;

/// Where GRUB finds `grub.cfg` on the ESP.
pub(super) const PREFIX: &str = "/boot/grub";

/// GRUB for BIOS.
pub(super) struct Bios {
    /// For the first sector of the disk, before the partition table.
    pub(super) boot_code: Vec<u8>,
    /// For the BIOS boot partition, from its first byte.
    pub(super) core: Vec<u8>,
}

/// Makes GRUB for BIOS. `esp` is the number of the ESP's partition, from 1; `core_sector` is the first sector of the
/// BIOS boot partition in units of 512 bytes.
///
/// What is patched is what `grub-install` patches (`util/setup.c`); it is done here since that tool wants root and a
/// block device.
pub(super) fn bios(dir: &Path, esp: u32, core_sector: u64) -> Result<Bios, MediaError> {
    let flavour = Flavour {
        platform: "i386-pc",
        package: "grub-pc-bin",
        modules: &[
            "biosdisk", "part_gpt", "fat", "normal", "test", "echo", "linux16", "serial",
        ],
        prefix: &format!("(,gpt{esp}){PREFIX}"),
        early: "serial --unit=0 --speed=115200\nterminal_output serial\n",
    };
    let mut core = flavour.make(dir)?;
    let path = dir.join(flavour.platform).join("boot.img");
    let mut boot = files::read(&path)?;
    if boot.len() != SECTOR || core.len() < SECTOR {
        return Err(MediaError::input(
            "use",
            &path,
            "it is not GRUB's boot sector",
        ));
    }
    boot[KERNEL_SECTOR..KERNEL_SECTOR + 8].copy_from_slice(&core_sector.to_le_bytes());
    // Two `nop` in place of a jump: a BIOS that does not tell the boot drive is corrected, as on any hard disk.
    boot[DRIVE_CHECK..DRIVE_CHECK + 2].copy_from_slice(&[0x90, 0x90]);
    boot.truncate(BOOT_CODE);
    core[BLOCK_LIST..BLOCK_LIST + 8].copy_from_slice(&(core_sector + 1).to_le_bytes());
    Ok(Bios {
        boot_code: boot,
        core,
    })
}

/// Name of the folder with GRUB's modules for UEFI, the package that has it, and the file on an ESP that firmware starts
/// where it knows of no other (UEFI specification, section 3.5.1.1).
pub(super) fn efi_names(arch: Arch) -> (&'static str, &'static str, &'static str) {
    match arch {
        Arch::X86_64 => ("x86_64-efi", "grub-efi-amd64-bin", "EFI/BOOT/BOOTX64.EFI"),
        Arch::Aarch64 => ("arm64-efi", "grub-efi-arm64-bin", "EFI/BOOT/BOOTAA64.EFI"),
    }
}

/// Makes GRUB for UEFI. Its console is the firmware's, which may well be a serial line.
pub(super) fn efi(dir: &Path, arch: Arch) -> Result<Vec<u8>, MediaError> {
    let (platform, package, _) = efi_names(arch);
    let flavour = Flavour {
        platform,
        package,
        modules: &[
            "part_gpt", "fat", "normal", "test", "echo", "linux", "efi_gop",
        ],
        prefix: PREFIX,
        early: "",
    };
    flavour.make(dir)
}

/// `grub.cfg`: loads kernel and RAM disk at once, without a menu.
///
/// On BIOS the kernel is started as its 16-bit protocol has it: `linux` copies it byte by byte to its final place
/// before it starts, which takes an emulated processor more than a second.
pub(super) fn config(kernel: &str, ramdisk: &str, cmdline: &str) -> String {
    format!(
        "echo 'bootgate-disk: loading Linux'\n\
         if [ \"$grub_platform\" = pc ]; then\n  \
         linux16 /{kernel} {cmdline}\n  initrd16 /{ramdisk}\n\
         else\n  linux /{kernel} {cmdline}\n  initrd /{ramdisk}\nfi\nboot\n"
    )
}

impl Flavour<'_> {
    /// Runs `grub-mkimage`.
    fn make(&self, dir: &Path) -> Result<Vec<u8>, MediaError> {
        const PROGRAM: &str = "grub-mkimage";
        let dir = dir.join(self.platform);
        if !dir.is_dir() {
            let message = format!("there is no such folder; package `{}` has it", self.package);
            return Err(MediaError::input("use GRUB's modules in", &dir, message));
        }
        let fail = |message: String| MediaError::Tool {
            program: PROGRAM.to_owned(),
            message,
        };
        let work = tempfile::tempdir().map_err(|error| fail(error.to_string()))?;
        let (early, out) = (work.path().join("early.cfg"), work.path().join("image"));
        let mut command = Command::new(PROGRAM);
        command
            .arg("--directory")
            .arg(&dir)
            .arg("--output")
            .arg(&out);
        command.args(["--format", self.platform, "--prefix", self.prefix]);
        if !self.early.is_empty() {
            files::write_whole(&early, self.early.as_bytes())?;
            command.arg("--config").arg(&early);
        }
        let output = command
            .args(self.modules)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| fail(format!("{error}; package `grub-common` has it")))?;
        if !output.status.success() {
            return Err(fail(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        files::read(&out)
    }
}
