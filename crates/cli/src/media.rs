//! `bootgate media`.

use std::path::Path;
use std::process::ExitCode;

use bootgate_media::{chunks, disk, kernel, live};

use crate::args::MediaCommand;
use crate::exit::{self, INFRA};

/// Builds a live environment, a disk image or a chunked image.
pub(crate) fn media(command: MediaCommand) -> ExitCode {
    let done = match command {
        MediaCommand::Live {
            recipe,
            kernel_root,
            agent,
            out,
        } => make_live(&recipe, &kernel_root, &agent, &out),
        MediaCommand::Disk {
            recipe,
            kernel_root,
            init,
            out,
        } => make_disk(&recipe, &kernel_root, &init, &out),
        MediaCommand::Chunks {
            image,
            sector_size,
            out,
        } => make_chunks(&image, sector_size, &out),
    };
    match done {
        Ok(lines) => {
            exit::say(lines.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => exit::fail(INFRA, &error, ""),
    }
}

fn make_live(
    recipe: &Path,
    kernel_root: &Path,
    agent: &Path,
    out: &Path,
) -> Result<String, String> {
    let recipe = live::LiveRecipe::load(recipe).map_err(text)?;
    let kernel = kernel::find(kernel_root).map_err(text)?;
    let epoch = bootgate_media::source_date_epoch().map_err(text)?;
    let inputs = live::LiveInputs {
        kernel: &kernel,
        agent,
        epoch,
    };
    let made = live::build(&recipe, &inputs, out).map_err(text)?;
    let mut lines = format!(
        "{}  {}\n{}  {}\nRAM disk: {} bytes, modules {}",
        made.vmlinuz_sha256,
        made.vmlinuz.display(),
        made.initrd_sha256,
        made.initrd.display(),
        made.initrd_size,
        made.modules.join(" ")
    );
    if !recipe.drivers.is_empty() {
        let (count, absent) = (made.drivers.len(), made.absent_drivers.join(" "));
        lines.push_str(&format!("\non demand: {count} modules"));
        if !absent.is_empty() {
            lines.push_str(&format!("; this kernel has no {absent}"));
        }
    }
    for absent in &made.absent_firmware {
        let files = absent.files.join(" ");
        lines.push_str(&format!("\nno firmware for {}: {files}", absent.module));
    }
    Ok(lines)
}

fn make_disk(recipe: &Path, kernel_root: &Path, init: &Path, out: &Path) -> Result<String, String> {
    let recipe = disk::DiskRecipe::load(recipe).map_err(text)?;
    let kernel = kernel::find(kernel_root).map_err(text)?;
    let epoch = bootgate_media::source_date_epoch().map_err(text)?;
    // For another architecture, GRUB was unpacked beside the kernel, since it cannot be installed.
    let beside = kernel_root.join(disk::DEFAULT_GRUB_DIR.trim_start_matches('/'));
    let grub_dir = match beside.is_dir() {
        true => beside.as_path(),
        false => Path::new(disk::DEFAULT_GRUB_DIR),
    };
    let inputs = disk::DiskInputs {
        kernel: &kernel,
        init,
        grub_dir,
        epoch,
    };
    let made = disk::build(&recipe, &inputs, out).map_err(text)?;
    Ok(format!(
        "{}  {}\nimage `{}`: {} bytes, sectors of {}",
        made.sha256,
        made.image.display(),
        made.image_id,
        made.size,
        made.sector_size
    ))
}

fn make_chunks(image: &Path, sector_size: u32, out: &Path) -> Result<String, String> {
    let (index, path) = chunks::write(image, out, sector_size).map_err(text)?;
    let filled = index
        .chunks
        .iter()
        .filter(|chunk| **chunk != bootgate_api::Chunk::Zero)
        .count();
    Ok(format!(
        "{}  {}\n{filled} of {} chunks have content; index in {}",
        index.image_sha256,
        image.display(),
        index.chunks.len(),
        path.display()
    ))
}

fn text(error: bootgate_media::MediaError) -> String {
    error.to_string()
}
