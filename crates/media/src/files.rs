//! Files on the host.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{Arch, MediaError, elf};

/// The time that is written into what is built: `SOURCE_DATE_EPOCH` in seconds since 1970, or 0 where it is not set.
///
/// # Errors
/// The variable holds something else than a number from 0 to 4294967295.
pub fn source_date_epoch() -> Result<u32, MediaError> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH") else {
        return Ok(0);
    };
    let text = value.to_string_lossy();
    text.parse()
        .map_err(|_| MediaError::Epoch(text.into_owned()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, MediaError> {
    fs::read(path).map_err(MediaError::io("read", path))
}

/// Reads a kernel image, which must be for this architecture as far as its headers tell.
pub(crate) fn read_kernel(path: &Path, arch: Arch) -> Result<Vec<u8>, MediaError> {
    let bytes = read(path)?;
    match Arch::of_kernel(&bytes) {
        Some(other) if other != arch => {
            let message = format!("it is for `{other}`, the recipe asks for `{arch}`");
            Err(MediaError::input("use the kernel", path, message))
        }
        _ => Ok(bytes),
    }
}

/// Reads a program that will run on this architecture where there are no shared libraries; one that asks for a dynamic
/// loader is refused.
pub(crate) fn read_program(path: &Path, arch: Arch) -> Result<Vec<u8>, MediaError> {
    let bytes = read(path)?;
    let action = "use the program";
    let machine = elf::machine(&bytes).map_err(|error| MediaError::input(action, path, error))?;
    if machine != arch.elf_machine() {
        let wanted = arch.elf_machine();
        let message =
            format!("it is for machine `{machine}`, not for `{arch}`, which is machine `{wanted}`");
        return Err(MediaError::input(action, path, message));
    }
    match elf::interpreter(&bytes) {
        Err(message) => Err(MediaError::input(action, path, message)),
        Ok(true) => {
            let message = "it is linked dynamically; build it with `-C target-feature=+crt-static`";
            Err(MediaError::input(action, path, message))
        }
        Ok(false) => Ok(bytes),
    }
}

pub(crate) fn create_dir(path: &Path) -> Result<(), MediaError> {
    fs::create_dir_all(path).map_err(MediaError::io("create folder", path))
}

/// Writes a file under a temporary name beside it and moves it into place, so that nobody ever sees half of it.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), MediaError> {
    write_with(path, |file| file.write_all(bytes))
}

/// The same, with the content written by `fill`.
pub(crate) fn write_with<E>(
    path: &Path,
    fill: impl FnOnce(&mut fs::File) -> Result<(), E>,
) -> Result<(), MediaError>
where
    MediaError: FromWrite<E>,
{
    let folder = folder_of(path);
    let mut file = tempfile::Builder::new()
        .prefix(".part-")
        .tempfile_in(&folder)
        .map_err(MediaError::io("write", path))?;
    fill(file.as_file_mut()).map_err(|error| MediaError::from_write(error, path))?;
    use std::os::unix::fs::PermissionsExt;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))
        .map_err(MediaError::io("write", path))?;
    file.persist(path)
        .map_err(|error| MediaError::io("write", path)(error.error))?;
    Ok(())
}

/// Errors that may come out of filling a file.
pub(crate) trait FromWrite<E> {
    fn from_write(error: E, path: &Path) -> Self;
}

impl FromWrite<std::io::Error> for MediaError {
    fn from_write(error: std::io::Error, path: &Path) -> Self {
        Self::io("write", path)(error)
    }
}

impl FromWrite<MediaError> for MediaError {
    fn from_write(error: MediaError, _path: &Path) -> Self {
        error
    }
}

pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
