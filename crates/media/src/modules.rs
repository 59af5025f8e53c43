//! Which kernel modules are needed, and in which order they must be loaded.
//!
//! What a module depends on is read from the module itself (`.modinfo`), since an unpacked package has no
//! `modules.dep`: `depmod` writes that when the package is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cpio::Archive;
use crate::kernel::Kernel;
use crate::{MediaError, elf, files};

/// List of the modules in an archive, one path a line in load order. PID 1 reads it.
pub const LOAD_LIST: &str = "etc/bootgate/modules";

/// The modules of a kernel.
#[derive(Clone, Debug)]
pub struct Modules {
    version: String,
    folder: PathBuf,
    /// Name with `_` for `-`, and path below the folder.
    paths: BTreeMap<String, PathBuf>,
    built_in: BTreeSet<String>,
}

/// A module, ready to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Name, with `_` for `-`.
    pub name: String,
    /// Path below the folder of the modules, without a compression suffix: `kernel/net/core/failover.ko`.
    pub path: String,
    /// The module itself, never compressed.
    pub content: Vec<u8>,
}

/// What a module says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    depends: Vec<String>,
    before: Vec<String>,
    after: Vec<String>,
    version: Option<String>,
}

impl Modules {
    /// Lists the modules of a kernel.
    ///
    /// # Errors
    /// Its folder cannot be read.
    pub fn read(kernel: &Kernel) -> Result<Self, MediaError> {
        let mut paths = BTreeMap::new();
        list(&kernel.modules, Path::new("kernel"), &mut paths)?;
        let built_in = kernel.modules.join("modules.builtin");
        let text = fs::read_to_string(&built_in).map_err(MediaError::io("read", &built_in))?;
        Ok(Self {
            version: kernel.version.clone(),
            folder: kernel.modules.clone(),
            paths,
            built_in: text
                .lines()
                .filter_map(|line| name_of(Path::new(line)))
                .collect(),
        })
    }

    /// The modules to load so that all of `wanted` are there, each after what it depends on. What is built into the
    /// kernel is left out. Of `optional`, those that the kernel does not have are passed over.
    ///
    /// # Errors
    /// A wanted module, or one it depends on, does not exist, cannot be read, or belongs to another kernel.
    pub fn resolve(
        &self,
        wanted: &[String],
        optional: &[String],
    ) -> Result<Vec<Module>, MediaError> {
        let mut order = Order::default();
        for name in wanted {
            self.visit(&normal(name), &mut order)?;
        }
        for name in optional {
            if self.knows(&normal(name)) {
                self.visit(&normal(name), &mut order)?;
            }
        }
        Ok(order.loaded)
    }

    fn knows(&self, name: &str) -> bool {
        self.paths.contains_key(name) || self.built_in.contains(name)
    }

    fn visit(&self, name: &str, order: &mut Order) -> Result<(), MediaError> {
        if self.built_in.contains(name) || !order.seen.insert(name.to_owned()) {
            return Ok(());
        }
        let fail = |message: String| MediaError::Module {
            module: name.to_owned(),
            message,
        };
        let Some(path) = self.paths.get(name) else {
            return Err(fail(format!("kernel `{}` does not have it", self.version)));
        };
        let content = unpack(&self.folder.join(path))?;
        let info = Info::parse(&content).map_err(fail)?;
        if info.version.as_deref() != Some(self.version.as_str()) {
            let other = info.version.unwrap_or_default();
            return Err(fail(format!(
                "it is for kernel `{other}`, not for `{}`",
                self.version
            )));
        }
        for other in info.before.iter().filter(|other| self.knows(other)) {
            self.visit(other, order)?;
        }
        for other in &info.depends {
            self.visit(other, order)?;
        }
        let path = plain_path(path);
        order.loaded.push(Module {
            name: name.to_owned(),
            path,
            content,
        });
        for other in info.after.iter().filter(|other| self.knows(other)) {
            self.visit(other, order)?;
        }
        Ok(())
    }
}

#[derive(Default)]
struct Order {
    seen: BTreeSet<String>,
    loaded: Vec<Module>,
}

impl Info {
    /// Reads `key=value` strings, each ended by a NUL. `softdep` is as modprobe.d(5) has it:
    /// `pre: NAME... post: NAME...`.
    fn parse(module: &[u8]) -> Result<Self, String> {
        let section = elf::section(module, ".modinfo")?.ok_or("it has no `.modinfo`")?;
        let mut info = Self::default();
        for entry in section.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            match entry.split_once('=') {
                Some(("depends", names)) => {
                    info.depends
                        .extend(names.split(',').filter(|name| !name.is_empty()).map(normal));
                }
                Some(("softdep", text)) => info.soft(text),
                Some(("vermagic", magic)) => {
                    info.version = magic.split(' ').next().map(str::to_owned);
                }
                _ => {}
            }
        }
        Ok(info)
    }

    fn soft(&mut self, text: &str) {
        let mut after = false;
        for word in text.split_whitespace() {
            match word {
                "pre:" => after = false,
                "post:" => after = true,
                name if after => self.after.push(normal(name)),
                name => self.before.push(normal(name)),
            }
        }
    }
}

/// Adds modules and their load list to an archive.
pub(crate) fn add_to(archive: &mut Archive, kernel: &Kernel, modules: &[Module]) {
    let mut list = String::new();
    for module in modules {
        let path = format!("lib/modules/{}/{}", kernel.version, module.path);
        archive.file(&path, 0o644, &module.content);
        list.push('/');
        list.push_str(&path);
        list.push('\n');
    }
    archive.file(LOAD_LIST, 0o644, list.as_bytes());
}

fn list(
    root: &Path,
    below: &Path,
    paths: &mut BTreeMap<String, PathBuf>,
) -> Result<(), MediaError> {
    let folder = root.join(below);
    for entry in fs::read_dir(&folder).map_err(MediaError::io("list", &folder))? {
        let entry = entry.map_err(MediaError::io("list", &folder))?;
        let path = below.join(entry.file_name());
        if entry
            .file_type()
            .map_err(MediaError::io("look at", &root.join(&path)))?
            .is_dir()
        {
            list(root, &path, paths)?;
        } else if let Some(name) = name_of(&path) {
            paths.insert(name, path);
        }
    }
    Ok(())
}

/// The kernel takes `-` and `_` in module names for the same.
fn normal(name: &str) -> String {
    name.trim().replace('-', "_")
}

fn name_of(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (name, suffix) = file.split_once(".ko")?;
    matches!(suffix, "" | ".xz" | ".zst" | ".gz").then(|| normal(name))
}

fn plain_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.rsplit_once(".ko") {
        Some((stem, _)) => format!("{stem}.ko"),
        None => text.into_owned(),
    }
}

/// Reads a module. Distributions also pack them with zstd, xz or gzip; PID 1 then loads the plain module, which needs
/// nothing of the kernel, and the archive packs it anyway.
fn unpack(path: &Path) -> Result<Vec<u8>, MediaError> {
    let packed = files::read(path)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("zst") => {
            zstd::stream::decode_all(packed.as_slice()).map_err(MediaError::io("unpack", path))
        }
        Some("xz") => run_unpacker("xz", "xz-utils", path),
        Some("gz") => run_unpacker("gzip", "gzip", path),
        _ => Ok(packed),
    }
}

fn run_unpacker(program: &str, package: &str, path: &Path) -> Result<Vec<u8>, MediaError> {
    let fail = |message: String| MediaError::Tool {
        program: program.to_owned(),
        message,
    };
    let output = Command::new(program)
        .arg("-dc")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| fail(format!("{error}; it is in package `{package}`")))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(fail(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths() {
        let path = Path::new("kernel/drivers/net/net-failover.ko.xz");
        assert_eq!(name_of(path).as_deref(), Some("net_failover"));
        assert_eq!(plain_path(path), "kernel/drivers/net/net-failover.ko");
        assert_eq!(name_of(Path::new("modules.order")), None);
    }

    #[test]
    fn soft_dependencies_go_before_and_after() {
        let mut info = Info::default();
        info.soft("pre: crc32c sha-256 post: tail");
        assert_eq!(info.before, ["crc32c", "sha_256"]);
        assert_eq!(info.after, ["tail"]);
    }

    #[test]
    fn something_else_than_a_module_is_refused() {
        assert!(Info::parse(b"").is_err());
        assert!(Info::parse(b"\x7fELF\x02\x01 and nothing more").is_err());
    }
}
