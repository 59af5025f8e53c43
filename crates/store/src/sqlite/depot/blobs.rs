//! Blobs: rows and files.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bootgate_api::artifact::{Blob, Needed};
use bootgate_api::{Sha256Hex, UnixMicros};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::fault::Fault;
use super::super::value::{from_number, from_time, to_number, to_time};
use super::super::{Sqlite, make_folder, sync_folder};
use super::{BLOBS, blob_path, locked, to_digest};
use crate::StoreError;
use crate::rules::Refusal;

/// Blobs that no name and no image stands for.
const IDLE: &str = "NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.sha256 = blobs.sha256)
    AND NOT EXISTS (SELECT 1 FROM images i WHERE i.index_sha256 = blobs.sha256)
    AND NOT EXISTS (SELECT 1 FROM images i WHERE i.data_sha256 = blobs.sha256)";

type Raw = (Vec<u8>, i64, i64, i64);

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

fn blob((sha256, size, created, changed): Raw) -> Result<Blob, Fault> {
    Ok(Blob {
        sha256: to_digest(&sha256)?,
        size: to_number(size),
        created: to_time(created),
        changed: to_time(changed),
    })
}

pub(super) fn find(db: &Connection, sha256: &Sha256Hex) -> Result<Option<Blob>, Fault> {
    let sql = "SELECT sha256, size, created, changed FROM blobs WHERE sha256 = ?1";
    let row = db
        .prepare_cached(sql)?
        .query_row([sha256.0], raw)
        .optional()?;
    row.map(blob).transpose()
}

pub(super) fn all(db: &Connection) -> Result<Vec<Blob>, Fault> {
    select(db, "1", None)
}

fn select(db: &Connection, which: &str, before: Option<UnixMicros>) -> Result<Vec<Blob>, Fault> {
    let sql = format!(
        "SELECT sha256, size, created, changed FROM blobs
        WHERE {which} AND changed <= ?1 ORDER BY sha256"
    );
    let before = before.map_or(i64::MAX, from_time);
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([before], raw)?;
    rows.map(|row| blob(row?)).collect()
}

/// Names and images that stand for a blob.
pub(super) fn needed_by(db: &Connection, sha256: &Sha256Hex) -> Result<Vec<String>, Fault> {
    let sql = "SELECT 'artifact `' || name || '`' FROM artifacts WHERE sha256 = ?1
        UNION ALL SELECT 'image `' || name || '`' FROM images
            WHERE index_sha256 = ?1 OR data_sha256 = ?1";
    let mut statement = db.prepare_cached(sql)?;
    let names = statement.query_map([sha256.0], |row| row.get(0))?;
    Ok(names.collect::<Result<_, _>>()?)
}

/// Something that stood for the blob goes: from now on it may be one that nothing stands for.
pub(super) fn touch(db: &Connection, sha256: &Sha256Hex, at: UnixMicros) -> Result<(), Fault> {
    let sql = "UPDATE blobs SET changed = max(changed, ?2) WHERE sha256 = ?1";
    db.prepare_cached(sql)?
        .execute(params![sha256.0, from_time(at)])?;
    Ok(())
}

/// The row of a blob whose file is there.
pub(super) fn put(
    db: &Connection,
    sha256: &Sha256Hex,
    size: u64,
    at: UnixMicros,
) -> Result<(), Fault> {
    let sql = "INSERT INTO blobs (sha256, size, created, changed) VALUES (?1, ?2, ?3, ?3)
        ON CONFLICT (sha256) DO UPDATE SET changed = max(changed, ?3)";
    db.prepare_cached(sql)?
        .execute(params![sha256.0, from_number(size), from_time(at)])?;
    Ok(())
}

/// Gives the synced file `from` its name as a blob, durably. Another file of that name without a row is nothing, and
/// replaced. To be called while the files are locked.
pub(super) fn place(state: &Path, from: &Path, sha256: &Sha256Hex) -> Result<(), Fault> {
    let path = blob_path(state, sha256);
    let folder = path.parent().unwrap_or(state);
    for folder in [&state.join("blobs"), &state.join(BLOBS), folder] {
        make_folder(folder)?;
    }
    remove(&path)?;
    match fs::hard_link(from, &path) {
        // Not every file system has second names. A process that dies now has lost the upload, and nothing else.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::Unsupported
            ) =>
        {
            fs::rename(from, &path)?;
        }
        linked => linked?,
    }
    sync_folder(folder)
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn forget(db: &Connection, sha256: &Sha256Hex) -> Result<bool, Fault> {
    let mut statement = db.prepare_cached("DELETE FROM blobs WHERE sha256 = ?1")?;
    Ok(statement.execute([sha256.0])? > 0)
}

pub(super) fn delete(
    store: &Sqlite,
    sha256: &Sha256Hex,
    doing: &dyn Fn() -> String,
) -> Result<bool, StoreError> {
    let _files = locked(&store.depot.files);
    let gone = store.write(doing, |db| {
        let needed = needed_by(db, sha256)?;
        if !needed.is_empty() {
            let why = format!("it is needed by {}", Needed(&needed));
            return Err(Refusal(why).into());
        }
        forget(db, sha256)
    })?;
    if gone {
        // Without its row it is nothing; should this fail, the next collection takes it.
        let _ = remove(&blob_path(&store.folder, sha256));
    }
    Ok(gone)
}

/// Rows first: a file without a row is nothing, a row without a file would be a promise that is not kept.
pub(super) fn collect(
    store: &Sqlite,
    before: UnixMicros,
    dry_run: bool,
) -> Result<Vec<Blob>, StoreError> {
    let doing = || "collect blobs that nothing stands for".to_owned();
    let _files = locked(&store.depot.files);
    let mut idle = match dry_run {
        true => store.read(doing, |db| select(db, IDLE, Some(before)))?,
        false => store.write(doing, |db| {
            let idle = select(db, IDLE, Some(before))?;
            for blob in &idle {
                forget(db, &blob.sha256)?;
            }
            Ok(idle)
        })?,
    };
    let known = store.read(doing, |db| {
        let all = all(db)?;
        Ok(all.into_iter().map(|blob| blob.sha256).collect())
    })?;
    let seen: BTreeSet<Sha256Hex> = idle.iter().map(|blob| blob.sha256).collect();
    let strays = strays(&store.folder.join(BLOBS), &known, before);
    let strays = strays.map_err(|fault| fault.explain(&doing, &store.folder))?;
    idle.extend(
        strays
            .into_iter()
            .filter(|blob| !seen.contains(&blob.sha256)),
    );
    if !dry_run {
        for blob in &idle {
            let path = blob_path(&store.folder, &blob.sha256);
            remove(&path).map_err(|fault| fault.explain(&doing, &store.folder))?;
        }
    }
    idle.sort_by_key(|blob| blob.sha256);
    Ok(idle)
}

/// Files of blobs without a row: a process died before it wrote one or after it took it away, or an older state was
/// restored.
fn strays(
    folder: &Path,
    known: &BTreeSet<Sha256Hex>,
    before: UnixMicros,
) -> Result<Vec<Blob>, Fault> {
    let mut found = Vec::new();
    let entries = |folder: &Path| match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries?.collect::<Result<Vec<_>, _>>(),
    };
    for folder in entries(folder)? {
        for file in entries(&folder.path())? {
            let name = file.file_name();
            let sha256 = name.to_str().and_then(|name| name.parse().ok());
            let Some(sha256) = sha256.filter(|sha256| !known.contains(sha256)) else {
                continue;
            };
            let meta = file.metadata()?;
            let changed = u64::try_from(meta.ctime())
                .unwrap_or(0)
                .saturating_mul(1_000_000);
            if changed <= before.0 {
                found.push(Blob {
                    sha256,
                    size: meta.len(),
                    created: UnixMicros(changed),
                    changed: UnixMicros(changed),
                });
            }
        }
    }
    Ok(found)
}
