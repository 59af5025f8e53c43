//! The file that users and tokens are in.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::{AccountError, Known, VERSION};

/// What is in the file; nothing where there is none.
pub(super) fn read(path: &Path) -> Result<Known, AccountError> {
    let empty = Known {
        version: VERSION,
        users: BTreeMap::new(),
        tokens: BTreeMap::new(),
    };
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty),
        Err(error) => return Err(AccountError::io("open", path)(error)),
    };
    let found = file.metadata().map_err(AccountError::io("look at", path))?;
    let unreadable = |why: String| AccountError::Unreadable {
        path: path.to_owned(),
        why,
    };
    if found.permissions().mode() & 0o077 != 0 {
        return Err(unreadable(
            "others can read or change it: chmod 600".to_owned(),
        ));
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text)
        .map_err(AccountError::io("read", path))?;
    let known: Known =
        serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
    if known.version != VERSION {
        return Err(unreadable(format!(
            "it is of version `{}`, this program knows `{VERSION}`",
            known.version
        )));
    }
    Ok(known)
}

/// Puts a new file in the place of the former one; both the file and its name are on disk afterwards.
pub(super) fn write(path: &Path, known: &Known) -> Result<(), AccountError> {
    let unfinished = path.with_extension("json.part");
    let text = serde_json::to_vec_pretty(known).map_err(|error| AccountError::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    let written = write_as(&unfinished, &text).and_then(|()| {
        fs::rename(&unfinished, path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()
    });
    written.map_err(|error| {
        // What is half written is of no use to anybody.
        let _ = fs::remove_file(&unfinished);
        AccountError::io("write", path)(error)
    })
}

fn write_as(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text)?;
    file.sync_all()
}
