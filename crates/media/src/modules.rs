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
    /// Names of the modules that must be loaded before it.
    pub needs: Vec<String>,
    /// Patterns of the devices, and other names, that it is for.
    pub aliases: Vec<String>,
    /// Firmware files that it may ask for, below a folder of firmware.
    pub firmware: Vec<String>,
}

/// What a module says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Info {
    depends: Vec<String>,
    before: Vec<String>,
    after: Vec<String>,
    aliases: Vec<String>,
    firmware: Vec<String>,
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

    /// Those of `names` that the kernel has, as a module or built in, and those that it does not.
    #[must_use]
    pub fn split(&self, names: &[String]) -> (Vec<String>, Vec<String>) {
        names
            .iter()
            .cloned()
            .partition(|name| self.knows(&normal(name)))
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
        let needs = info.before.iter().filter(|other| self.knows(other));
        order.loaded.push(Module {
            name: name.to_owned(),
            path: plain_path(path),
            content,
            needs: needs.chain(&info.depends).cloned().collect(),
            aliases: info.aliases,
            firmware: info.firmware,
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
                Some(("alias", pattern)) => info.aliases.push(pattern.to_owned()),
                Some(("firmware", file)) => info.firmware.push(file.to_owned()),
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
    let folder = folder_of(kernel);
    let mut list = String::new();
    for module in modules {
        let path = format!("{folder}/{}", module.path);
        archive.file(&path, 0o644, &module.content);
        list.push('/');
        list.push_str(&path);
        list.push('\n');
    }
    archive.file(LOAD_LIST, 0o644, list.as_bytes());
}

/// Adds modules that are loaded when a device asks for them, with `modules.dep` and `modules.alias` as depmod(8) writes
/// them. `modules` stand in load order.
pub(crate) fn add_on_demand(archive: &mut Archive, kernel: &Kernel, modules: &[Module]) {
    let folder = folder_of(kernel);
    let (mut dependencies, mut aliases) = (String::new(), String::new());
    for (place, module) in modules.iter().enumerate() {
        archive.file(&format!("{folder}/{}", module.path), 0o644, &module.content);
        dependencies.push_str(&module.path);
        dependencies.push(':');
        // What must be loaded first stands last.
        for needed in needed_by(modules, place).iter().rev() {
            dependencies.push(' ');
            dependencies.push_str(&modules[*needed].path);
        }
        dependencies.push('\n');
        for alias in &module.aliases {
            aliases.push_str(&format!("alias {alias} {}\n", module.name));
        }
    }
    archive.file(
        &format!("{folder}/modules.dep"),
        0o644,
        dependencies.as_bytes(),
    );
    archive.file(
        &format!("{folder}/modules.alias"),
        0o644,
        aliases.as_bytes(),
    );
}

fn folder_of(kernel: &Kernel) -> String {
    format!("lib/modules/{}", kernel.version)
}

/// Places of all that a module needs, directly or not, in load order. Whatever is needed stands before who needs it.
fn needed_by(modules: &[Module], place: usize) -> Vec<usize> {
    let mut names: BTreeSet<&str> = modules[place].needs.iter().map(String::as_str).collect();
    let mut places = Vec::new();
    for (index, module) in modules[..place].iter().enumerate().rev() {
        if names.contains(module.name.as_str()) {
            names.extend(module.needs.iter().map(String::as_str));
            places.push(index);
        }
    }
    places.reverse();
    places
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
