//! Uploads: sessions whose bytes come in parts.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bootgate_api::UnixMicros;
use bootgate_api::artifact::{UploadInfo, UploadOrder};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::super::fault::Fault;
use super::super::value::{from_time, to_number, to_time};
use super::super::{Sqlite, make_folder};
use super::part::Held;
use super::{UPLOADS, blobs, locked, names, to_digest};
use crate::rules::Refusal;
use crate::{StoreError, UploadLimits};

pub(super) fn path_of(state: &Path, id: &str) -> PathBuf {
    state.join(UPLOADS).join(id)
}

type Raw = (String, i64, i64, i64, Option<Vec<u8>>, String);

const COLUMNS: &str = "id, durable, started, changed, finished, body";

fn raw(row: &Row<'_>) -> rusqlite::Result<Raw> {
    Ok((
        row.get(0)?,
        row.get(1)?,
        row.get(2)?,
        row.get(3)?,
        row.get(4)?,
        row.get(5)?,
    ))
}

fn upload((id, offset, started, changed, finished, body): Raw) -> Result<UploadInfo, Fault> {
    Ok(UploadInfo {
        id,
        order: serde_json::from_str(&body)?,
        offset: to_number(offset),
        started: to_time(started),
        changed: to_time(changed),
        finished: finished.as_deref().map(to_digest).transpose()?,
    })
}

pub(super) fn find(db: &Connection, id: &str) -> Result<UploadInfo, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM uploads WHERE id = ?1");
    let row = db.prepare_cached(&sql)?.query_row([id], raw).optional()?;
    match row {
        Some(row) => upload(row),
        None => Err(Fault::Missing(format!("no upload `{id}` is known"))),
    }
}

pub(super) fn all(db: &Connection) -> Result<Vec<UploadInfo>, Fault> {
    let sql = format!("SELECT {COLUMNS} FROM uploads ORDER BY number");
    let mut statement = db.prepare_cached(&sql)?;
    let rows = statement.query_map([], raw)?;
    rows.map(|row| upload(row?)).collect()
}

/// Bytes that blobs take, and uploads but this one: where the size is known, all of it.
fn taken(db: &Connection, but: &str) -> Result<u64, Fault> {
    let blobs: i64 = db
        .prepare_cached("SELECT coalesce(sum(size), 0) FROM blobs")?
        .query_row([], |row| row.get(0))?;
    let blobs = to_number(blobs);
    let open = all(db)?
        .into_iter()
        .filter(|upload| upload.id != but && upload.finished.is_none());
    let open = open.map(|upload| upload.order.size.unwrap_or(0).max(upload.offset));
    Ok(open.fold(blobs, u64::saturating_add))
}

/// Bytes that an upload may have, and why not more.
pub(super) fn most(
    db: &Connection,
    id: &str,
    limits: &UploadLimits,
) -> Result<(u64, &'static str), Fault> {
    let left = limits.total.saturating_sub(taken(db, id)?);
    Ok(match limits.size <= left {
        true => (limits.size, "an upload may have"),
        false => (left, "all artifacts together leave"),
    })
}

pub(super) fn too_large<T>((most, why): (u64, &'static str)) -> Result<T, Fault> {
    Err(Fault::TooLarge(format!("{why} {most} bytes")))
}

/// Fails as a full disk does where less than what is kept free would be left.
pub(super) fn check_room(state: &Path, more: u64, limits: &UploadLimits) -> Result<(), Fault> {
    let disk = rustix::fs::statvfs(state).map_err(std::io::Error::from)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    match free >= more.saturating_add(limits.keep_free) {
        true => Ok(()),
        false => Err(Fault::Io(ErrorKind::StorageFull.into())),
    }
}

fn new_id() -> Result<String, Fault> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn begin(
    store: &Sqlite,
    order: &UploadOrder,
    at: UnixMicros,
    doing: &dyn Fn() -> String,
) -> Result<UploadInfo, StoreError> {
    let limits = *locked(&store.depot.limits);
    let state = &store.folder;
    let id = new_id().map_err(|fault| fault.explain(doing, state))?;
    store.write(doing, |db| {
        if let Some(name) = &order.name {
            names::check_free(db, name, order.sha256.as_ref(), order.replace)?;
        }
        let uploads = all(db)?;
        let mut open = uploads.iter().filter(|upload| upload.finished.is_none());
        if order.sha256.is_some()
            && let Some(same) = open.clone().find(|upload| upload.order == *order)
        {
            return Ok(same.clone());
        }
        if open.by_ref().count() >= limits.open as usize {
            let why = format!("{} uploads are open already", limits.open);
            return Err(Refusal(why).into());
        }
        let most = most(db, &id, &limits)?;
        if order.size.is_some_and(|size| size > most.0) {
            return too_large(most);
        }
        check_room(state, order.size.unwrap_or(0), &limits)?;
        make_folder(&state.join(UPLOADS))?;
        create(&path_of(state, &id))?;
        let sql =
            "INSERT INTO uploads (id, durable, started, changed, body) VALUES (?1, 0, ?2, ?2, ?3)";
        let body = serde_json::to_string(order)?;
        let made = db
            .prepare_cached(sql)?
            .execute(params![id, from_time(at), body]);
        if let Err(error) = made {
            let _ = blobs::remove(&path_of(state, &id));
            return Err(error.into());
        }
        find(db, &id)
    })
}

pub(super) fn create(path: &Path) -> Result<File, Fault> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    Ok(file)
}

/// Removes the row, then the bytes.
pub(super) fn forget(
    store: &Sqlite,
    held: Held<'_>,
    doing: &dyn Fn() -> String,
) -> Result<bool, StoreError> {
    let id = &held.id;
    let known = store.write(doing, |db| {
        let mut statement = db.prepare_cached("DELETE FROM uploads WHERE id = ?1")?;
        Ok(statement.execute([id])? > 0)
    })?;
    if known {
        // A file without a row is removed when the state is opened.
        let _ = blobs::remove(&path_of(&store.folder, id));
    }
    held.forget();
    Ok(known)
}

pub(super) fn cancel(store: &Sqlite, id: &str) -> Result<bool, StoreError> {
    let doing = || format!("cancel upload `{id}`");
    match store.read(doing, |db| find(db, id)) {
        Err(StoreError::Missing { .. }) => return Ok(false),
        known => known?,
    };
    let held = Held::new(store, id);
    let held = held.map_err(|fault| fault.explain(&doing, &store.folder))?;
    forget(store, held, &doing)
}

pub(super) fn expire(store: &Sqlite, at: UnixMicros) -> Result<u64, StoreError> {
    let idle = locked(&store.depot.limits).idle.as_micros();
    let idle = u64::try_from(idle).unwrap_or(u64::MAX);
    let doing = || "forget old uploads".to_owned();
    let uploads = store.read(doing, all)?;
    let mut count = 0;
    for upload in uploads {
        if upload.changed.0.saturating_add(idle) > at.0 {
            continue;
        }
        // Somebody who goes on with it now has just begun to.
        if let Ok(held) = Held::new(store, &upload.id) {
            count += u64::from(forget(store, held, &doing)?);
        }
    }
    Ok(count)
}

/// Removes files of uploads that nobody knows: a process died before it wrote their row, or after it took it away.
pub(in super::super) fn tidy(state: &Path, db: &Connection) -> Result<(), Fault> {
    let folder = state.join(UPLOADS);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    let known: Vec<String> = all(db)?
        .into_iter()
        .filter(|upload| upload.finished.is_none())
        .map(|upload| upload.id)
        .collect();
    for entry in entries {
        let name = entry?.file_name();
        let stays = name
            .to_str()
            .is_some_and(|name| known.iter().any(|id| id == name));
        if !stays {
            blobs::remove(&folder.join(name))?;
        }
    }
    Ok(())
}
