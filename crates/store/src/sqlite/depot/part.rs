//! An upload that goes on: its bytes come in parts, and some of them are durable.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use bootgate_api::UnixMicros;
use bootgate_api::artifact::{UploadInfo, UploadOrder};
use rusqlite::{Connection, params};
use sha2::{Digest, Sha256};

use super::super::Sqlite;
use super::super::fault::Fault;
use super::super::value::{from_number, from_time};
use super::locked;
use super::uploads::{check_room, create, find, most, path_of, too_large};
use crate::rules::Refusal;
use crate::{Appending, StoreError};

/// Bytes between two syncs of one upload: the pages that wait for the disk stay few.
const SYNC_EVERY: u64 = 64 << 20;
/// Bytes between two looks at the room on the disk.
const LOOK_EVERY: u64 = 4 << 20;
/// How far the bytes of an upload are hashed.
#[derive(Clone, Default)]
pub(super) struct Hashed {
    pub(super) sha256: Sha256,
    pub(super) upto: u64,
}

/// An upload that this one alone may change, until it is dropped.
pub(super) struct Held<'a> {
    store: &'a Sqlite,
    pub(super) id: String,
    pub(super) hashed: Hashed,
}

impl<'a> Held<'a> {
    pub(super) fn new(store: &'a Sqlite, id: &str) -> Result<Self, Fault> {
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
    pub(super) fn forget(self) {
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
