//! The calibrations of this host, kept between runs.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::Accel;
use crate::discovery::QemuBinary;

/// Raised when the probe guest changes, so that old measurements are not compared with new ones.
pub(super) const REVISION: u32 = 1;

/// `$XDG_CACHE_HOME/bootgate/calibration.json`, with `~/.cache` where the variable is not set; `None` where there is
/// no home either. A home that does not exist, as system users have it, is not made.
pub(super) fn path() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = || folder("HOME").filter(|home| home.is_dir());
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")))?;
    Some(cache.join("bootgate").join("calibration.json"))
}

/// What a measurement depends on.
pub(super) fn key(accel: Accel, qemu: &QemuBinary) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model.trim());
    format!(
        "{model} | qemu {} at {} | {accel} | probe {REVISION}",
        qemu.version,
        qemu.path.display()
    )
}

/// The loop's time in microseconds, where it is known. A file that cannot be read or understood is as good as none.
pub(super) fn load(file: &Path, key: &str) -> Option<u64> {
    read(file).remove(key).filter(|loop_us| *loop_us > 0)
}

/// Adds a measurement. Readers see the old or the new file, never half of one.
pub(super) fn store(file: &Path, key: &str, loop_us: u64) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder)?;
    let mut known = read(file);
    known.insert(key.to_owned(), loop_us);
    let text = serde_json::to_vec_pretty(&known)?;
    let draft = folder.join(format!("calibration.{}.tmp", std::process::id()));
    std::fs::write(&draft, text)?;
    std::fs::rename(&draft, file)
}

fn read(file: &Path) -> BTreeMap<String, u64> {
    std::fs::read(file)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default()
}
