//! Uploads: sessions whose bytes come in parts.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bootgate_api::artifact::{Blob, UploadInfo, UploadOrder, Uploaded};
use bootgate_api::{Sha256Hex, UnixMicros};
use rusqlite::{Connection, OptionalExtension, Row, params};
use sha2::{Digest, Sha256};

use super::super::fault::Fault;
use super::super::value::{from_number, from_time, to_number, to_time};
use super::super::{Sqlite, make_folder};
use super::{UPLOADS, blob_path, blobs, locked, names, to_digest};
use crate::rules::Refusal;
use crate::{Appending, StoreError, UploadLimits};

/// Bytes between two syncs of one upload: the pages that wait for the disk stay few.
const SYNC_EVERY: u64 = 64 << 20;
/// Bytes between two looks at the room on the disk.
const LOOK_EVERY: u64 = 4 << 20;
/// Bytes hashed at once.
const PIECE: usize = 256 << 10;

/// How far the bytes of an upload are hashed.
#[derive(Clone, Default)]
pub(super) struct Hashed {
    sha256: Sha256,
    upto: u64,
}

fn path_of(state: &Path, id: &str) -> PathBuf {
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
fn most(db: &Connection, id: &str, limits: &UploadLimits) -> Result<(u64, &'static str), Fault> {
    let left = limits.total.saturating_sub(taken(db, id)?);
    Ok(match limits.size <= left {
        true => (limits.size, "an upload may have"),
        false => (left, "all artifacts together leave"),
    })
}

fn too_large<T>((most, why): (u64, &'static str)) -> Result<T, Fault> {
    Err(Fault::TooLarge(format!("{why} {most} bytes")))
}

/// Fails as a full disk does where less than what is kept free would be left.
fn check_room(state: &Path, more: u64, limits: &UploadLimits) -> Result<(), Fault> {
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

fn create(path: &Path) -> Result<File, Fault> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    Ok(file)
}

/// An upload that this one alone may change, until it is dropped.
struct Held<'a> {
    store: &'a Sqlite,
    id: String,
    hashed: Hashed,
}

impl<'a> Held<'a> {
    fn new(store: &'a Sqlite, id: &str) -> Result<Self, Fault> {
        let mut all = locked(&store.depot.hashed);
        let hashed = match all.insert(id.to_owned(), None) {
            Some(Some(hashed)) => hashed,
            None => Hashed::default(),
            // Somebody has it.
            Some(None) => {
                return Err(Fault::Refused(Refusal(
                    "somebody else goes on with it now".to_owned(),
                )));
            }
        };
        Ok(Self {
            store,
            id: id.to_owned(),
            hashed,
        })
    }

    /// It is over: nothing of it is kept in memory.
    fn forget(self) {
        let id = self.id.clone();
        let store = self.store;
        drop(self);
        locked(&store.depot.hashed).remove(&id);
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let hashed = std::mem::take(&mut self.hashed);
        let mut all = locked(&self.store.depot.hashed);
        all.insert(self.id.clone(), Some(hashed));
    }
}

struct Part<'a> {
    held: Held<'a>,
    file: File,
    /// Bytes written.
    offset: u64,
    /// Bytes that are durable.
    durable: u64,
    /// When the room on the disk is looked at again, in bytes.
    look_at: u64,
    order: UploadOrder,
}

pub(super) fn append<'a>(
    store: &'a Sqlite,
    id: &str,
    offset: u64,
) -> Result<Box<dyn Appending + 'a>, StoreError> {
    let doing = || format!("go on with upload `{id}`");
    let known = store.read(doing, |db| find(db, id))?;
    let begun = begin_part(store, known, offset);
    begun.map_err(|fault| fault.explain(&doing, &store.folder))
}

fn begin_part<'a>(
    store: &'a Sqlite,
    known: UploadInfo,
    offset: u64,
) -> Result<Box<dyn Appending + 'a>, Fault> {
    if known.finished.is_some() {
        return Err(Refusal("it is finished".to_owned()).into());
    }
    let mut held = Held::new(store, &known.id)?;
    // Since the first look somebody may have gone on with it.
    let known = locked_read(store, |db| find(db, &known.id))?;
    let mut file = create(&path_of(&store.folder, &known.id))?;
    let durable = match file.metadata()?.len() < known.offset {
        // Somebody else's doing: what is left is of no use.
        true => 0,
        false => known.offset,
    };
    if offset != durable {
        return Err(Fault::Offset(durable));
    }
    file.set_len(durable)?;
    file.seek(SeekFrom::Start(durable))?;
    if held.hashed.upto > durable {
        held.hashed = Hashed::default();
    }
    Ok(Box::new(Part {
        held,
        file,
        offset,
        durable,
        look_at: offset,
        order: known.order,
    }))
}

fn locked_read<T>(
    store: &Sqlite,
    look: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    let [reader, _] = &store.readers;
    look(&super::super::locked(reader))
}

impl Part<'_> {
    fn take(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        if self.offset >= self.look_at {
            self.look()?;
        }
        let count = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let end = self.offset.saturating_add(count);
        if self.order.size.is_some_and(|size| end > size) {
            let size = self.order.size.unwrap_or(0);
            return Err(Fault::TooLarge(format!("it was to have {size} bytes")));
        }
        self.file.write_all(bytes)?;
        if self.held.hashed.upto == self.offset {
            self.held.hashed.sha256.update(bytes);
            self.held.hashed.upto = end;
        }
        self.offset = end;
        Ok(())
    }

    /// Whether there is room for what comes until the next look.
    fn look(&mut self) -> Result<(), Fault> {
        let store = self.held.store;
        let limits = *locked(&store.depot.limits);
        let next = self.offset.saturating_add(LOOK_EVERY);
        let most = locked_read(store, |db| most(db, &self.held.id, &limits))?;
        let needed = self.order.size.map_or(next, |size| size.min(next));
        if needed > most.0 && self.order.size.is_some() || self.offset >= most.0 {
            return too_large(most);
        }
        check_room(&store.folder, needed.saturating_sub(self.offset), &limits)?;
        self.look_at = next.min(most.0);
        Ok(())
    }

    fn sync(&mut self, at: UnixMicros) -> Result<(), StoreError> {
        let store = self.held.store;
        let id = &self.held.id;
        let doing = || format!("go on with upload `{id}`");
        let synced = self.file.sync_data().map_err(Fault::from);
        synced.map_err(|fault| fault.explain(&doing, &store.folder))?;
        let sql = "UPDATE uploads SET durable = ?2, changed = max(changed, ?3) WHERE id = ?1";
        let values = params![id, from_number(self.offset), from_time(at)];
        store.write(doing, |db| {
            match db.prepare_cached(sql)?.execute(values)? {
                0 => Err(Fault::Missing(format!("no upload `{id}` is known"))),
                _ => Ok(()),
            }
        })?;
        self.durable = self.offset;
        Ok(())
    }

    /// Gives the room of what is not durable back.
    fn undo(&mut self) {
        let _ = self.file.set_len(self.durable);
        let _ = self.file.seek(SeekFrom::Start(self.durable));
        if self.held.hashed.upto > self.durable {
            self.held.hashed = Hashed::default();
        }
        self.offset = self.durable;
        self.look_at = self.durable;
    }
}

impl Appending for Part<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        if let Err(fault) = self.take(bytes) {
            self.undo();
            let id = &self.held.id;
            let doing = || format!("go on with upload `{id}`");
            return Err(fault.explain(&doing, &self.held.store.folder));
        }
        if self.offset - self.durable >= SYNC_EVERY {
            // The next commit says when; a part may take hours.
            self.commit(UnixMicros(0))?;
        }
        Ok(())
    }

    fn commit(&mut self, at: UnixMicros) -> Result<u64, StoreError> {
        if self.offset != self.durable || at.0 != 0 {
            let synced = self.sync(at);
            if synced.is_err() {
                self.undo();
            }
            synced?;
        }
        Ok(self.durable)
    }
}

impl Drop for Part<'_> {
    fn drop(&mut self) {
        self.undo();
    }
}

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

/// Removes the row, then the bytes.
fn forget(store: &Sqlite, held: Held<'_>, doing: &dyn Fn() -> String) -> Result<bool, StoreError> {
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
