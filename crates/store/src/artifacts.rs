//! Artifacts, uploads and images: the operations.

use std::path::PathBuf;
use std::time::Duration;

use bootgate_api::artifact::{
    AliasOrder, ArtifactInfo, Blob, ImageInfo, ImageOrder, NameOrder, UploadInfo, UploadOrder,
    Uploaded,
};
use bootgate_api::{ExpectedFlash, Sha256Hex, UnixMicros};

use crate::StoreError;

/// Blobs, the names that stand for them, and the uploads by which they come.
///
/// A blob is there as a whole or not at all, and never changes. What was acknowledged is durable, as with [`crate::Store`].
pub trait ArtifactStore: Send + Sync {
    /// What uploads may take from now on.
    fn set_upload_limits(&self, limits: UploadLimits);

    /// Begins an upload, or finds the one that was begun by the same order with a digest and did not end.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the name stands for something else and `replace` is not set, or where too many uploads
    /// are open; [`StoreError::TooLarge`] and [`StoreError::Full`] where there is no room. Nothing was begun.
    fn begin_upload(&self, order: &UploadOrder, at: UnixMicros) -> Result<UploadInfo, StoreError>;

    /// An upload, also one that was finished a while ago.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; storage errors.
    fn upload(&self, id: &str) -> Result<UploadInfo, StoreError>;

    /// All uploads, in the order in which they began.
    ///
    /// # Errors
    /// The storage failed.
    fn uploads(&self) -> Result<Vec<UploadInfo>, StoreError>;

    /// Goes on with an upload at `offset`. One goes on with it at a time.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Offset`] where another offset is due; [`StoreError::Refused`] where somebody
    /// else goes on with it now, or it is finished.
    fn append_upload(&self, id: &str, offset: u64) -> Result<Box<dyn Appending + '_>, StoreError>;

    /// Ends an upload: its bytes become a blob, and the name that was ordered stands for it, both or none. To finish again
    /// what is finished changes nothing and says the same.
    ///
    /// # Errors
    /// [`StoreError::Wrong`] where the digest is another one: the upload is gone. [`StoreError::Offset`] where bytes are
    /// missing; [`StoreError::Refused`] as in [`Self::begin_upload`]; then the upload stays.
    fn finish_upload(
        &self,
        id: &str,
        sha256: Option<Sha256Hex>,
        at: UnixMicros,
    ) -> Result<Uploaded, StoreError>;

    /// Forgets an upload and its bytes; whether it was known.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where somebody goes on with it now. Storage errors.
    fn cancel_upload(&self, id: &str) -> Result<bool, StoreError>;

    /// Forgets the uploads that nothing came to for longer than [`UploadLimits::idle`]; how many.
    ///
    /// # Errors
    /// The storage failed.
    fn expire_uploads(&self, at: UnixMicros) -> Result<u64, StoreError>;

    /// Lets a name stand for a blob. To say so again changes nothing but the words.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the blob is not there; [`StoreError::Refused`] where the name stands for something else
    /// and `replace` is not set, or is an alias.
    fn name_blob(
        &self,
        name: &str,
        order: &NameOrder,
        at: UnixMicros,
    ) -> Result<ArtifactInfo, StoreError>;

    /// Lets a name stand for another name.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where the target is not there; [`StoreError::Refused`] where the name is an artifact's, where
    /// it stands for another target and `replace` is not set, or where it would stand for itself in the end.
    fn set_alias(
        &self,
        name: &str,
        order: &AliasOrder,
        at: UnixMicros,
    ) -> Result<ArtifactInfo, StoreError>;

    /// What a name stands for, aliases followed, and who needs it. Blobs have names as well: `sha256:HEX`.
    ///
    /// # Errors
    /// The storage failed.
    fn artifact(&self, name: &str) -> Result<Option<ArtifactInfo>, StoreError>;

    /// Artifacts and aliases by name.
    ///
    /// # Errors
    /// The storage failed.
    fn artifacts(&self, filter: &ArtifactFilter) -> Result<Vec<ArtifactInfo>, StoreError>;

    /// Takes a name away, or removes the blob that is named `sha256:HEX`; whether it was there.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where something needs it, with what that is.
    fn delete_artifact(&self, name: &str, at: UnixMicros) -> Result<bool, StoreError>;

    /// All blobs, by digest.
    ///
    /// # Errors
    /// The storage failed.
    fn blobs(&self) -> Result<Vec<Blob>, StoreError>;

    /// The file that a blob's bytes are in. It is not there where the blob is not.
    fn blob_path(&self, sha256: &Sha256Hex) -> PathBuf;

    /// Removes the blobs that nothing stands for since `before`; which. With `dry_run` they stay. Who has a blob's file
    /// open can read it to its end.
    ///
    /// # Errors
    /// The storage failed.
    fn collect_blobs(&self, before: UnixMicros, dry_run: bool) -> Result<Vec<Blob>, StoreError>;

    /// Adds an image. The same image again changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Missing`] where a blob is not there; [`StoreError::Refused`] where an image of this name is another one
    /// and `replace` is not set.
    fn put_image(&self, image: &NewImage, at: UnixMicros) -> Result<ImageInfo, StoreError>;

    /// All images, by name.
    ///
    /// # Errors
    /// The storage failed.
    fn images(&self) -> Result<Vec<ImageInfo>, StoreError>;

    /// Removes an image; whether it was there. Its blobs stay until they are collected.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where a machine is to be flashed with it, with which.
    fn remove_image(&self, name: &str, at: UnixMicros) -> Result<bool, StoreError>;
}

/// An upload that goes on. What was written and not committed is lost when it is dropped.
pub trait Appending {
    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`StoreError::Full`] and [`StoreError::TooLarge`]: what came since the last commit is lost, the upload stays. The
    /// room that it took is free again.
    fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes all that was written durable; the offset where the next part must begin.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn commit(&mut self, at: UnixMicros) -> Result<u64, StoreError>;
}

/// What uploads may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadLimits {
    /// Bytes of one upload.
    pub size: u64,
    /// Bytes of all blobs and uploads.
    pub total: u64,
    /// Bytes of the disk that uploads leave free, for leases and attempts.
    pub keep_free: u64,
    /// How long an upload waits for its next bytes.
    pub idle: Duration,
    /// Uploads that are open at once.
    pub open: u32,
}

impl Default for UploadLimits {
    fn default() -> Self {
        Self {
            size: 1 << 40,
            total: 1 << 50,
            keep_free: 256 << 20,
            idle: Duration::from_secs(86_400),
            open: 64,
        }
    }
}

/// Which artifacts to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactFilter {
    /// Names that begin so.
    pub prefix: String,
    /// Only names after this one, for paging.
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

impl Default for ArtifactFilter {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            after: None,
            limit: usize::MAX >> 1,
        }
    }
}

/// An image to add.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewImage {
    /// Its name.
    pub name: String,
    /// Its blobs.
    pub order: ImageOrder,
    /// What its index says of it.
    pub written: ExpectedFlash,
    /// Logical sector size that it was made for, in bytes.
    pub sector_size: u32,
}
