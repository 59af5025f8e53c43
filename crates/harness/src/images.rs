//! Images made ready to be flashed: cut into chunks once, and kept.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use bootgate_api::{ChunkIndex, DEFAULT_CHUNK_SIZE};
use bootgate_scenario::{ImageFormat, ImagePlan};
use sha2::{Digest, Sha256};

use crate::HarnessError;
use crate::prepare::nonce;

/// Names of the two files that an image is cut into.
pub const INDEX: &str = "index.json";
/// The chunks, one zstd frame each, one after the other.
pub const CHUNKS: &str = "image.zst";

/// How many images are kept in the cache; the ones used longest ago go first.
const KEPT: usize = 8;

/// Time after its last use for which an image is kept in any case: a run may still serve it.
const IN_USE: Duration = Duration::from_secs(3600);

/// Age at which a folder that was not finished is taken for the remains of a killed run.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

static CUTTING: Mutex<()> = Mutex::new(());

/// An image that can be served.
#[derive(Clone, Debug)]
pub(crate) struct PreparedImage {
    pub(crate) index: ChunkIndex,
    pub(crate) index_path: PathBuf,
    pub(crate) chunks_path: PathBuf,
    plan: ImagePlan,
}

impl PreparedImage {
    /// The whole image, first byte to last, for the comparison with a disk.
    pub(crate) fn open(&self) -> std::io::Result<Box<dyn Read + Send>> {
        Ok(match self.plan.format {
            ImageFormat::Raw => Box::new(File::open(&self.plan.path)?),
            ImageFormat::ChunkIndex => Box::new(bootgate_media::chunks::reader(&self.chunks_path)?),
        })
    }
}

/// Makes an image ready: a chunk index is read as it is, a raw image is cut into chunks, unless the cache has it cut
/// already. `work` takes the chunks where the user has no cache folder.
pub(crate) fn prepare(plan: &ImagePlan, work: &Path) -> Result<PreparedImage, HarnessError> {
    let folder = match plan.format {
        ImageFormat::ChunkIndex => plan.path.parent().unwrap_or(Path::new(".")).to_owned(),
        ImageFormat::Raw => cut(plan, work)?,
    };
    let index_path = match plan.format {
        ImageFormat::ChunkIndex => plan.path.clone(),
        ImageFormat::Raw => folder.join(INDEX),
    };
    let text = std::fs::read(&index_path)
        .map_err(HarnessError::io("read the chunk index", &index_path))?;
    let index: ChunkIndex = serde_json::from_slice(&text).map_err(|error| {
        HarnessError::infra(
            "image-unusable",
            format!("read the chunk index `{}`: {error}", index_path.display()),
            "",
        )
    })?;
    index.validate().map_err(|error| {
        HarnessError::infra(
            "image-unusable",
            format!("read the chunk index `{}`: {error}", index_path.display()),
            "",
        )
    })?;
    Ok(PreparedImage {
        index,
        index_path,
        chunks_path: folder.join(CHUNKS),
        plan: plan.clone(),
    })
}

/// Cuts a raw image, into the cache where there is one; the folder with its index and chunks.
fn cut(plan: &ImagePlan, work: &Path) -> Result<PathBuf, HarnessError> {
    let Some(cache) = cache_folder() else {
        let folder = work.join(key(plan)?);
        return build(plan, &folder).map(|()| folder);
    };
    let folder = cache.join(key(plan)?);
    // Runs side by side in this process cut an image once. Other processes may cut it too, in folders of their own.
    let _cutting = CUTTING.lock().unwrap_or_else(|broken| broken.into_inner());
    if folder.join(INDEX).is_file() {
        // The time of the last use, by which the oldest are dropped. Failing to set it costs a cache hit at most.
        let _ = File::open(&folder).and_then(|file| file.set_modified(SystemTime::now()));
        return Ok(folder);
    }
    let unfinished = cache.join(format!(".{}", nonce()?));
    let built = build(plan, &unfinished).and_then(|()| {
        // Another run may have been quicker; its result is the same.
        match std::fs::rename(&unfinished, &folder) {
            Err(error) if !folder.join(INDEX).is_file() => Err(HarnessError::Io {
                doing: "keep the image's chunks in",
                path: folder.clone(),
                error,
            }),
            _ => Ok(()),
        }
    });
    let _ = std::fs::remove_dir_all(&unfinished);
    built?;
    drop_oldest(&cache);
    Ok(folder)
}

fn build(plan: &ImagePlan, folder: &Path) -> Result<(), HarnessError> {
    std::fs::create_dir_all(folder).map_err(HarnessError::io("create", folder))?;
    let chunks = folder.join(CHUNKS);
    let index = bootgate_media::chunks::index_raw(
        &plan.path,
        &chunks,
        DEFAULT_CHUNK_SIZE,
        plan.sector_size,
    )
    .map_err(|error| {
        HarnessError::infra(
            "image-unusable",
            format!("cut the image into chunks: {error}"),
            "",
        )
    })?;
    let path = folder.join(INDEX);
    let text = serde_json::to_vec(&index).unwrap_or_default();
    std::fs::write(&path, text).map_err(HarnessError::io("write the chunk index", &path))
}

/// A name for the image's content as far as the file system tells: path, size, times, inode and sector size.
fn key(plan: &ImagePlan) -> Result<String, HarnessError> {
    let path = plan
        .path
        .canonicalize()
        .map_err(HarnessError::io("find the image", &plan.path))?;
    let meta = path
        .metadata()
        .map_err(HarnessError::io("look at the image", &path))?;
    let mut digest = Sha256::new();
    digest.update(path.as_os_str().as_encoded_bytes());
    for number in [
        meta.size(),
        meta.ino(),
        meta.dev(),
        meta.mtime().cast_unsigned(),
        meta.mtime_nsec().cast_unsigned(),
        meta.ctime().cast_unsigned(),
        meta.ctime_nsec().cast_unsigned(),
        u64::from(plan.sector_size),
    ] {
        digest.update(number.to_le_bytes());
    }
    Ok(hex::encode(&digest.finalize()[..16]))
}

/// `$XDG_CACHE_HOME/bootgate/images`, or the same under `~/.cache`; `None` where it cannot be made.
fn cache_folder() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    // A home that does not exist, as system users have it, is not made.
    let home = || folder("HOME").filter(|home| home.is_dir());
    let base = folder("XDG_CACHE_HOME").or_else(|| Some(home()?.join(".cache")))?;
    let folder = base.join("bootgate").join("images");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder)
}

fn drop_oldest(cache: &Path) {
    let Ok(entries) = std::fs::read_dir(cache) else {
        return;
    };
    let (mut kept, unfinished): (Vec<_>, Vec<_>) = entries
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .partition(|(_, path)| path.join(INDEX).is_file());
    kept.sort();
    let surplus = kept.len().saturating_sub(KEPT);
    let abandoned = unfinished
        .into_iter()
        .filter(|(time, _)| time.elapsed().is_ok_and(|age| age > ABANDONED));
    let unused = kept
        .into_iter()
        .take(surplus)
        .filter(|(time, _)| time.elapsed().is_ok_and(|age| age > IN_USE));
    for (_, path) in unused.chain(abandoned) {
        let _ = std::fs::remove_dir_all(path);
    }
}
