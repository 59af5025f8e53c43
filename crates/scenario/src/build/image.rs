//! The image: its size and the sector size it is made for.

use std::path::Path;

use serde::Deserialize;

use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::read::{Text, shorten};
use crate::units::show_size;
use crate::wire::ImageWire;
use crate::{ImageFormat, ImagePlan};

/// The longest chunk index that is read: for about a million chunks.
const MAX_INDEX: u64 = 256 << 20;

/// The file with the chunks, in the index's folder.
const CHUNKS: &str = "image.zst";

/// The part of a chunk index that matters to a plan.
#[derive(Deserialize)]
struct IndexHead {
    size: u64,
    sector_size: u32,
}

/// Looks at the image, where there is one.
pub(super) fn image(wire: Option<&ImageWire>, checks: &Checks<'_>) -> Option<ImagePlan> {
    let wire = wire?;
    let Some(text) = &wire.path else {
        let hint = "name the image file: image = { path = \"disk.img\" }";
        checks.missing(wire.span.clone(), "the image's `path`", hint);
        return None;
    };
    let (path, length) = checks.regular("image", text)?;
    let index = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let (format, size, found) = if index {
        let head = read_index(text, &path, checks)?;
        (ImageFormat::ChunkIndex, head.size, head.sector_size)
    } else {
        let found = raw_sector_size(text, &path, checks)?;
        (ImageFormat::Raw, length, found.unwrap_or(512))
    };
    let sector_size = sector_size(wire, index, found, checks)?;
    fits(text, size, sector_size, checks)?;
    Some(ImagePlan {
        path,
        format,
        size,
        sector_size,
    })
}

fn unreadable(text: &Text, problem: &str, hint: &str, checks: &Checks<'_>) {
    let shown = shorten(text.get_ref());
    checks.fail(
        Problem::at(text.span(), format!("`image` names `{shown}`: {problem}"))
            .label("this file")
            .hint(hint),
    );
}

fn read_index(text: &Text, path: &Path, checks: &Checks<'_>) -> Option<IndexHead> {
    let hint = "a name that ends in `.json` is a chunk index; write one with `bootgate media`";
    let fail = |problem: &str| unreadable(text, problem, hint, checks);
    let bytes = checks
        .files
        .head(path, MAX_INDEX)
        .map_err(|error| fail(&crate::checks::reason(&error)))
        .ok()?;
    let head: IndexHead = serde_json::from_slice(&bytes)
        .map_err(|error| fail(&format!("not a chunk index: {error}")))
        .ok()?;
    let data = path.with_file_name(CHUNKS);
    if checks.files.length(&data).is_err() {
        let problem = format!("there is no `{CHUNKS}` beside this chunk index");
        unreadable(
            text,
            &problem,
            "keep the two files that `bootgate media` writes in one folder",
            checks,
        );
        return None;
    }
    Some(head)
}

/// The sector size that a raw image's partition table is made for: GPT's header stands in the second sector
/// (UEFI 2.10, 5.3.2). `None` where there is no such header.
fn raw_sector_size(text: &Text, path: &Path, checks: &Checks<'_>) -> Option<Option<u32>> {
    let head = match checks.files.head(path, 4096 + 8) {
        Ok(head) => head,
        Err(error) => {
            unreadable(text, &crate::checks::reason(&error), "", checks);
            return None;
        }
    };
    let at = |offset: usize| head.get(offset..offset + 8) == Some(b"EFI PART".as_slice());
    Some([512, 4096].into_iter().find(|size| at(*size as usize)))
}

fn sector_size(wire: &ImageWire, index: bool, found: u32, checks: &Checks<'_>) -> Option<u32> {
    let Some(written) = &wire.sector_size else {
        return Some(found);
    };
    let size = known_sector_size(written, checks)?;
    // A raw image without a GPT does not say what it is made for; its owner may.
    if size != found && (index || found == 4096) {
        checks.fail(
            Problem::at(
                written.span(),
                format!("`sector_size` is `{size}`, but the image is made for `{found}`"),
            )
            .hint("leave the key out: the image says it"),
        );
        return None;
    }
    Some(size)
}

/// A sector size that disks have.
pub(super) fn known_sector_size(written: &toml::Spanned<u64>, checks: &Checks<'_>) -> Option<u32> {
    match *written.get_ref() {
        512 => Some(512),
        4096 => Some(4096),
        other => {
            checks.fail(
                Problem::at(written.span(), format!("`sector_size` cannot be `{other}`"))
                    .hint("use 512 or 4096"),
            );
            None
        }
    }
}

fn fits(text: &Text, size: u64, sector_size: u32, checks: &Checks<'_>) -> Option<()> {
    if size > 0 && matches!(sector_size, 512 | 4096) && size.is_multiple_of(u64::from(sector_size))
    {
        return Some(());
    }
    let problem = format!(
        "its size, {}, is no multiple of its sector size, {sector_size}",
        show_size(size)
    );
    unreadable(
        text,
        &problem,
        "the file is cut short, or it is not a disk image",
        checks,
    );
    None
}
