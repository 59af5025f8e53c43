//! The end of an upload: its bytes become a blob.

use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use bootgate_api::artifact::{Blob, UploadInfo, UploadOrder, Uploaded};
use bootgate_api::{Sha256Hex, UnixMicros};
use rusqlite::{Connection, params};
use sha2::Digest;

use super::super::Sqlite;
use super::super::fault::Fault;
use super::super::value::from_time;
use super::part::{Hashed, Held};
use super::uploads::{create, find, forget, path_of};
use super::{blob_path, blobs, locked, names};
use crate::StoreError;

/// Bytes hashed at once.
const PIECE: usize = 256 << 10;

pub(super) fn finish(
    store: &Sqlite,
    id: &str,
    sha256: Option<Sha256Hex>,
    at: UnixMicros,
) -> Result<Uploaded, StoreError> {
    let doing = || format!("finish upload `{id}`");
    let explain = |fault: Fault| fault.explain(&doing, &store.folder);
    let known = store.read(doing, |db| find(db, id))?;
    if let Some(blob) = known.finished {
        return store.read(doing, |db| finished(db, &known.order, &blob));
    }
    let mut held = Held::new(store, id).map_err(explain)?;
    let known = store.read(doing, |db| find(db, id))?;
    if let Some(blob) = known.finished {
        return store.read(doing, |db| finished(db, &known.order, &blob));
    }
    let path = path_of(&store.folder, id);
    let found = whole(&mut held, &known, &path).map_err(explain)?;
    let mut expected = known.order.sha256.iter().chain(&sha256);
    if let Some(expected) = expected.find(|expected| **expected != found) {
        let why = format!("its digest is sha256:{found}, and should be sha256:{expected}");
        forget(store, held, &doing)?;
        return Err(explain(Fault::Wrong(why)));
    }
    let done = settle(store, &known, &path, &found, at)?;
    // From here on it is a blob. What is left behind if this fails goes when the upload's row does.
    let _ = blobs::remove(&path);
    held.forget();
    Ok(done)
}

/// The digest of all bytes, which are synced.
fn whole(held: &mut Held<'_>, known: &UploadInfo, path: &Path) -> Result<Sha256Hex, Fault> {
    let mut file = create(path)?;
    if file.metadata()?.len() < known.offset {
        return Err(Fault::Offset(0));
    }
    if known.order.size.is_some_and(|size| size != known.offset) {
        return Err(Fault::Offset(known.offset));
    }
    file.set_len(known.offset)?;
    let hashed = &mut held.hashed;
    if hashed.upto > known.offset {
        *hashed = Hashed::default();
    }
    file.seek(SeekFrom::Start(hashed.upto))?;
    let mut piece = vec![0; PIECE];
    while hashed.upto < known.offset {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Err(Fault::Io(ErrorKind::UnexpectedEof.into()));
        }
        hashed.sha256.update(piece.get(..count).unwrap_or_default());
        hashed.upto += u64::try_from(count).unwrap_or(0);
    }
    file.sync_all()?;
    Ok(Sha256Hex(hashed.sha256.clone().finalize().into()))
}

/// The file becomes the blob's, and the rows say so.
fn settle(
    store: &Sqlite,
    known: &UploadInfo,
    path: &Path,
    sha256: &Sha256Hex,
    at: UnixMicros,
) -> Result<Uploaded, StoreError> {
    let doing = || match &known.order.name {
        Some(name) => format!("finish the upload of `{name}`"),
        None => format!("finish upload `{}`", known.id),
    };
    let explain = |fault: Fault| fault.explain(&doing, &store.folder);
    let _files = locked(&store.depot.files);
    let row = store.read(doing, |db| blobs::find(db, sha256))?;
    let target = blob_path(&store.folder, sha256);
    let there = fs::metadata(&target).is_ok_and(|meta| meta.len() == known.offset);
    if row.is_none() || !there {
        blobs::place(&store.folder, path, sha256).map_err(explain)?;
    }
    let stored = store.write(doing, |db| {
        blobs::put(db, sha256, known.offset, at)?;
        let order = &known.order;
        if let Some(name) = &order.name {
            names::put(db, name, sha256, order.replace, &order.words, at)?;
        }
        let sql = "UPDATE uploads SET finished = ?2, changed = ?3 WHERE id = ?1";
        let values = params![known.id, sha256.0, from_time(at)];
        match db.prepare_cached(sql)?.execute(values)? {
            0 => Err(Fault::Missing(format!("no upload `{}` is known", known.id))),
            _ => finished(db, order, sha256),
        }
    });
    if stored.is_err() && row.is_none() {
        // Whether or not the rename way was taken, the bytes stay the upload's.
        if !path.exists() {
            let _ = fs::rename(&target, path);
        }
        let _ = blobs::remove(&target);
    }
    stored
}

fn finished(db: &Connection, order: &UploadOrder, sha256: &Sha256Hex) -> Result<Uploaded, Fault> {
    let gone = || Fault::Missing(format!("blob sha256:{sha256} was collected since"));
    let blob: Blob = blobs::find(db, sha256)?.ok_or_else(gone)?;
    let artifact = match &order.name {
        Some(name) => names::find(db, name)?,
        None => None,
    };
    Ok(Uploaded { blob, artifact })
}
