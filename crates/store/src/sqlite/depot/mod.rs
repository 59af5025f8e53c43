//! Artifacts: rows for names and uploads, files for bytes.
//!
//! `uploads/ID` holds what came of an upload; its row says how much of it is durable. A finished one gets a second name,
//! `blobs/sha256/ab/HEX`, before its rows are written, and loses the first one after. So whenever the process dies, either
//! the rows and the file are there, or the upload still is. A blob's file without a row is nothing: nobody is given it, and it
//! is replaced when the same bytes come again.

mod blobs;
mod finish;
mod images;
mod names;
mod part;
mod uploads;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bootgate_api::artifact::{
    AliasOrder, ArtifactInfo, Blob, ImageInfo, NameOrder, UploadInfo, UploadOrder, Uploaded,
};
use bootgate_api::{Sha256Hex, UnixMicros};

use super::Sqlite;
use super::fault::Fault;
use crate::{Appending, ArtifactFilter, ArtifactStore, NewImage, StoreError, UploadLimits};
use part::Hashed;
pub(super) use uploads::tidy;

/// What is kept in memory of artifacts.
#[derive(Default)]
pub(super) struct Depot {
    limits: Mutex<UploadLimits>,
    /// Uploads that somebody goes on with (`None`), and how far the bytes of others are hashed.
    hashed: Mutex<HashMap<String, Option<Hashed>>>,
    /// Held by whoever makes or removes files of blobs.
    files: Mutex<()>,
}

/// What these hold is whole at any time.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Folder of the bytes of uploads.
const UPLOADS: &str = "uploads";
/// Folder of blobs, one below it for each first byte of a digest.
const BLOBS: &str = "blobs/sha256";

fn blob_path(state: &Path, sha256: &Sha256Hex) -> PathBuf {
    let hex = sha256.to_string();
    let (first, _) = hex.split_at(2);
    state.join(BLOBS).join(first).join(&hex)
}

fn to_digest(bytes: &[u8]) -> Result<Sha256Hex, Fault> {
    let digest = bytes
        .try_into()
        .map_err(|_| Fault::Other(format!("a digest in it cannot be read: {bytes:02x?}")))?;
    Ok(Sha256Hex(digest))
}

impl ArtifactStore for Sqlite {
    fn set_upload_limits(&self, limits: UploadLimits) {
        *locked(&self.depot.limits) = limits;
    }

    fn begin_upload(&self, order: &UploadOrder, at: UnixMicros) -> Result<UploadInfo, StoreError> {
        let doing = || match &order.name {
            Some(name) => format!("upload `{name}`"),
            None => "upload a blob".to_owned(),
        };
        uploads::begin(self, order, at, &doing)
    }

    fn upload(&self, id: &str) -> Result<UploadInfo, StoreError> {
        self.read(
            || format!("look at upload `{id}`"),
            |db| uploads::find(db, id),
        )
    }

    fn uploads(&self) -> Result<Vec<UploadInfo>, StoreError> {
        self.read(|| "read the uploads".to_owned(), uploads::all)
    }

    fn append_upload(&self, id: &str, offset: u64) -> Result<Box<dyn Appending + '_>, StoreError> {
        part::append(self, id, offset)
    }

    fn finish_upload(
        &self,
        id: &str,
        sha256: Option<Sha256Hex>,
        at: UnixMicros,
    ) -> Result<Uploaded, StoreError> {
        finish::finish(self, id, sha256, at)
    }

    fn cancel_upload(&self, id: &str) -> Result<bool, StoreError> {
        uploads::cancel(self, id)
    }

    fn expire_uploads(&self, at: UnixMicros) -> Result<u64, StoreError> {
        uploads::expire(self, at)
    }

    fn name_blob(
        &self,
        name: &str,
        order: &NameOrder,
        at: UnixMicros,
    ) -> Result<ArtifactInfo, StoreError> {
        self.write(
            || format!("give the name `{name}`"),
            |db| {
                let replace = order.replace;
                names::put(db, name, &order.sha256, replace, &order.words, at)
            },
        )
    }

    fn set_alias(
        &self,
        name: &str,
        order: &AliasOrder,
        at: UnixMicros,
    ) -> Result<ArtifactInfo, StoreError> {
        self.write(
            || format!("make `{name}` an alias of `{}`", order.target),
            |db| names::set_alias(db, name, order, at),
        )
    }

    fn artifact(&self, name: &str) -> Result<Option<ArtifactInfo>, StoreError> {
        self.read(
            || format!("look for artifact `{name}`"),
            |db| names::show(db, name),
        )
    }

    fn artifacts(&self, filter: &ArtifactFilter) -> Result<Vec<ArtifactInfo>, StoreError> {
        self.read(
            || "read the artifacts".to_owned(),
            |db| names::list(db, filter),
        )
    }

    fn delete_artifact(&self, name: &str, at: UnixMicros) -> Result<bool, StoreError> {
        let doing = || format!("delete `{name}`");
        match bootgate_api::artifact::digest_of_name(name) {
            Some(sha256) => blobs::delete(self, &sha256, &doing),
            None => self.write(doing, |db| names::delete(db, name, at)),
        }
    }

    fn blobs(&self) -> Result<Vec<Blob>, StoreError> {
        self.read(|| "read the blobs".to_owned(), blobs::all)
    }

    fn blob_path(&self, sha256: &Sha256Hex) -> PathBuf {
        blob_path(&self.folder, sha256)
    }

    fn collect_blobs(&self, before: UnixMicros, dry_run: bool) -> Result<Vec<Blob>, StoreError> {
        blobs::collect(self, before, dry_run)
    }

    fn put_image(&self, image: &NewImage, at: UnixMicros) -> Result<ImageInfo, StoreError> {
        self.write(
            || format!("add image `{}`", image.name),
            |db| images::put(db, image, at),
        )
    }

    fn images(&self) -> Result<Vec<ImageInfo>, StoreError> {
        self.read(|| "read the images".to_owned(), images::all)
    }

    fn remove_image(&self, name: &str, at: UnixMicros) -> Result<bool, StoreError> {
        self.write(
            || format!("remove image `{name}`"),
            |db| images::remove(db, name, at),
        )
    }
}
