//! What the tests share: real inputs where the host has them, and a made-up kernel where it does not.
#![allow(
    dead_code,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "each test uses some of it; a helper that fails fails its test"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bootgate_media::disk::{self, DiskInputs, DiskMedia, DiskRecipe};
use bootgate_media::kernel::{self, Kernel};

/// Version of the made-up kernel.
pub const VERSION: &str = "6.1.0-test";

/// A folder as an unpacked kernel package has it, with modules that hold nothing but what they say of themselves.
pub struct FakeKernel {
    pub root: tempfile::TempDir,
}

impl FakeKernel {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let modules = root.path().join("lib/modules").join(VERSION);
        fs::create_dir_all(root.path().join("boot")).unwrap();
        fs::create_dir_all(modules.join("kernel")).unwrap();
        fs::write(
            root.path().join(format!("boot/vmlinuz-{VERSION}")),
            "kernel",
        )
        .unwrap();
        fs::write(modules.join("modules.builtin"), "kernel/lib/built-in.ko\n").unwrap();
        Self { root }
    }

    /// Adds a module with lines of `.modinfo`, and the version unless one is among them.
    pub fn module(&self, path: &str, info: &[&str]) {
        let mut lines: Vec<String> = info.iter().map(|line| (*line).to_owned()).collect();
        if !info.iter().any(|line| line.starts_with("vermagic=")) {
            lines.push(format!("vermagic={VERSION} SMP mod_unload"));
        }
        self.file(path, &elf_with_modinfo(&lines));
    }

    pub fn file(&self, path: &str, content: &[u8]) {
        let path = self
            .root
            .path()
            .join("lib/modules")
            .join(VERSION)
            .join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn find(&self) -> Kernel {
        kernel::find(self.root.path()).unwrap()
    }
}

/// A 64-bit ELF file with a `.modinfo`.
pub fn elf_with_modinfo(lines: &[String]) -> Vec<u8> {
    let info: Vec<u8> = lines
        .iter()
        .flat_map(|line| [line.as_bytes(), b"\0"].concat())
        .collect();
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    // For x86-64.
    file[0x12] = 62;
    let info_at = file.len() as u64;
    file.extend(&info);
    let names_at = file.len() as u64;
    file.extend(names);
    let table = file.len() as u64;
    let sections = [
        (0, 0, 0),
        (1, info_at, info.len()),
        (10, names_at, names.len()),
    ];
    for (name, offset, length) in sections {
        let mut header = [0; 64];
        header[..4].copy_from_slice(&u32::to_le_bytes(name));
        header[0x18..0x20].copy_from_slice(&u64::to_le_bytes(offset));
        header[0x20..0x28].copy_from_slice(&(length as u64).to_le_bytes());
        file.extend(header);
    }
    file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    file[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
    file[0x3c..0x3e].copy_from_slice(&3u16.to_le_bytes());
    file[0x3e..0x40].copy_from_slice(&2u16.to_le_bytes());
    file
}

/// A program without a loader: an ELF file without program headers.
pub fn static_program() -> Vec<u8> {
    elf_with_modinfo(&[])
}

/// A recipe of this repository.
pub fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../vm")
        .join(name)
}

/// A real kernel and the static programs, or why there are none.
pub struct Real {
    pub kernel: Kernel,
    pub programs: PathBuf,
}

impl Real {
    pub fn find() -> Result<Self, String> {
        let variable = |name: &str| std::env::var_os(name).ok_or(format!("{name} is not set"));
        let root = variable("BOOTGATE_KERNEL_ROOT")?;
        let programs = PathBuf::from(variable("BOOTGATE_STATIC_DIR")?);
        let kernel = kernel::find(Path::new(&root)).map_err(|error| error.to_string())?;
        for program in ["bootgate-agent", "bootgate-diskinit"] {
            if !programs.join(program).is_file() {
                return Err(format!("no `{program}` in `{}`", programs.display()));
            }
        }
        for folder in ["i386-pc", "x86_64-efi"] {
            if !Path::new(disk::DEFAULT_GRUB_DIR).join(folder).is_dir() {
                return Err(format!("GRUB's modules for `{folder}` are not installed"));
            }
        }
        Ok(Self { kernel, programs })
    }

    pub fn disk(&self, recipe: &DiskRecipe, out: &Path) -> DiskMedia {
        let inputs = DiskInputs {
            kernel: &self.kernel,
            init: &self.programs.join("bootgate-diskinit"),
            grub_dir: Path::new(disk::DEFAULT_GRUB_DIR),
            epoch: 0,
        };
        disk::build(recipe, &inputs, out).expect("build the disk")
    }
}

/// Skips the test without a real kernel, the static programs and GRUB.
#[macro_export]
macro_rules! real {
    () => {
        match common::Real::find() {
            Ok(real) => real,
            Err(reason) => bootgate_testkit::skip!("{reason}"),
        }
    };
}
