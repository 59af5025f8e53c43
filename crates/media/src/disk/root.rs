//! The root file system: squashfs.

use std::io::Cursor;

use backhand::compression::Compressor;
use backhand::{BackhandError, FilesystemCompressor, FilesystemWriter, NodeHeader};

/// Folders that init and what it mounts need.
const FOLDERS: [&str; 9] = [
    "dev",
    "etc",
    "etc/bootgate",
    "proc",
    "run",
    "sbin",
    "sys",
    "tmp",
    "usr",
];

/// The content of the file system. Everything belongs to root and has the time `epoch`, in seconds since 1970.
///
/// # Errors
/// A fault of the writer.
pub(super) fn build(init: &[u8], image_id: &str, epoch: u32) -> Result<Vec<u8>, BackhandError> {
    let header = |mode| NodeHeader::new(mode, 0, 0, epoch);
    let mut root = FilesystemWriter::default();
    root.set_time(epoch);
    root.set_root_mode(0o755);
    root.set_root_uid(0);
    root.set_root_gid(0);
    root.set_only_root_id();
    root.set_compressor(FilesystemCompressor::new(Compressor::Zstd, None)?);
    for folder in FOLDERS {
        root.push_dir(folder, header(0o755))?;
    }
    // The console, for init's standard streams, until devtmpfs is there.
    root.push_char_device(5 << 8 | 1, "dev/console", header(0o600))?;
    root.push_file(Cursor::new(init.to_vec()), "sbin/init", header(0o755))?;
    let release = format!("ID=bootgate-demo\nNAME=\"bootgate demo\"\nIMAGE_ID={image_id}\n");
    root.push_file(
        Cursor::new(release.into_bytes()),
        "etc/os-release",
        header(0o644),
    )?;
    let id = format!("{image_id}\n");
    root.push_file(
        Cursor::new(id.into_bytes()),
        "etc/bootgate/image-id",
        header(0o644),
    )?;
    let mut out = Cursor::new(Vec::new());
    root.write(&mut out)?;
    Ok(out.into_inner())
}
