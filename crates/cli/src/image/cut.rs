//! From a file to the chunks of an image.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bootgate_media::chunks::{self, DATA_NAME, INDEX_NAME};

use crate::artifact::progress::Work;
use crate::client::Trouble;
use crate::exit;

/// Bytes copied at once; runs of zeros so long become holes.
const PIECE: usize = 64 << 10;

/// An image in chunks.
pub(super) struct Cut {
    pub(super) data: PathBuf,
    pub(super) index: PathBuf,
    /// Where they are, where they were made for this.
    _folder: Option<tempfile::TempDir>,
}

/// Cuts a raw image, or one packed by zstd, for disks with sectors of that many bytes. A folder that has chunks already is
/// taken as it is. Blocks.
pub(super) fn cut(file: &Path, sector_size: u32) -> Result<Cut, Trouble> {
    if file.is_dir() {
        return ready(file);
    }
    let failed =
        |error: io::Error| Trouble::usage(format!("read `{}`: {error}", file.display()), "");
    let kind = kind_of(file).map_err(failed)?;
    let folder = tempfile::Builder::new().prefix("bootgate-image-").tempdir();
    let folder = folder.map_err(|error| {
        let hint = "TMPDIR names a folder with room for it";
        Trouble::infra(format!("make a folder for the chunks: {error}"), hint)
    })?;
    let raw = match kind {
        Kind::Raw => file.to_owned(),
        Kind::Zstd => {
            let raw = folder.path().join("image.raw");
            unpack(file, &raw).map_err(|error| {
                let error = format!("unpack `{}`: {error}", file.display());
                Trouble::usage(error, "TMPDIR names a folder with room for all of it")
            })?;
            raw
        }
        Kind::Other(what, hint) => {
            let error = format!("`{}` is {what}, not a raw disk image", file.display());
            return Err(Trouble::usage(error, hint));
        }
    };
    exit::note(&format!("cutting {} into chunks", file.display()));
    let (_, index) = chunks::write(&raw, folder.path(), sector_size).map_err(|error| {
        // Nobody knows the name that it was unpacked to.
        let (made, named) = (raw.display().to_string(), file.display().to_string());
        let error = error.to_string().replace(&made, &named);
        let hint = "an image is a whole number of sectors, which --sector-size tells the size of";
        Trouble::usage(error, hint)
    })?;
    if raw != *file {
        // Only its room is of interest.
        let _ = std::fs::remove_file(&raw);
    }
    Ok(Cut {
        data: folder.path().join(DATA_NAME),
        index,
        _folder: Some(folder),
    })
}

fn ready(folder: &Path) -> Result<Cut, Trouble> {
    let (data, index) = (folder.join(DATA_NAME), folder.join(INDEX_NAME));
    if data.is_file() && index.is_file() {
        let _folder = None;
        return Ok(Cut {
            data,
            index,
            _folder,
        });
    }
    Err(Trouble::usage(
        format!(
            "`{}` has no {DATA_NAME} with an {INDEX_NAME}",
            folder.display()
        ),
        "`bootgate media chunks disk.raw --out DIR` makes such a folder; a raw image does as well",
    ))
}

enum Kind {
    Raw,
    Zstd,
    /// What it is, and what to do.
    Other(&'static str, &'static str),
}

/// What a file is, by its first bytes.
fn kind_of(file: &Path) -> io::Result<Kind> {
    let mut head = Vec::new();
    File::open(file)?.take(6).read_to_end(&mut head)?;
    Ok(match head.as_slice() {
        // RFC 8878, section 3.1.1.
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Kind::Zstd,
        [b'Q', b'F', b'I', 0xfb, ..] => Kind::Other(
            "a qcow2 image",
            "qemu-img convert -O raw disk.qcow2 disk.raw",
        ),
        [0x1f, 0x8b, ..] => Kind::Other("packed by gzip", "gunzip it first"),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Kind::Other("packed by xz", "unxz it first"),
        _ => Kind::Raw,
    })
}

/// Unpacks a file; runs of zeros take no room.
fn unpack(packed: &Path, raw: &Path) -> io::Result<()> {
    let mut work = Work::new(format!("unpack {}", packed.display()), None);
    let mut from = chunks::reader(packed)?;
    let mut to = File::create_new(raw)?;
    let mut piece = vec![0; PIECE];
    let mut size: u64 = 0;
    loop {
        let mut count = 0;
        while let Some(rest) = piece.get_mut(count..).filter(|rest| !rest.is_empty()) {
            match from.read(rest)? {
                0 => break,
                some => count += some,
            }
        }
        if count == 0 {
            return to.set_len(size);
        }
        let read = piece.get(..count).unwrap_or_default();
        match read.iter().all(|byte| *byte == 0) {
            true => {
                to.seek(SeekFrom::Current(i64::try_from(count).unwrap_or(0)))?;
            }
            false => to.write_all(read)?,
        }
        size += count as u64;
        work.at(size);
    }
}
