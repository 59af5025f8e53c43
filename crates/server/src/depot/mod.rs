//! What operators uploaded, as the servers give it out: a copy in memory of the names in the store.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bootgate_api::artifact::{ArtifactInfo, ImageInfo, name_of_digest};
use bootgate_api::{INDEX_SCHEMA, Sha256Hex};
use bootgate_events::ArtifactRole;
use bootgate_store::{ArtifactFilter, ArtifactStore, Store, StoreError};
use serde::Deserialize;

use crate::lab::now;
use crate::{Artifact, ArtifactName};

/// The part of a chunk index that the server needs: its chunks may be many.
#[derive(Deserialize)]
pub(crate) struct IndexHead {
    schema: u32,
    pub(crate) size: u64,
    pub(crate) sector_size: u32,
    pub(crate) image_sha256: Sha256Hex,
    pub(crate) chunks_sha256: Sha256Hex,
}

impl IndexHead {
    /// Reads it from a file. Waits for the disk.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let head: Self =
            serde_json::from_reader(BufReader::new(file)).map_err(|error| error.to_string())?;
        match head.schema {
            INDEX_SCHEMA => Ok(head),
            found => Err(format!(
                "it has schema `{found}`, this version reads `{INDEX_SCHEMA}`"
            )),
        }
    }
}

/// What is in the store to be given out.
#[derive(Debug, Default)]
pub(crate) struct Stored {
    /// By name; blobs by `sha256:HEX`.
    pub(crate) artifacts: HashMap<String, Artifact>,
    /// By name.
    pub(crate) images: BTreeMap<String, ImageInfo>,
}

impl Stored {
    /// Reads all of it. Waits for the storage. A store that keeps no artifacts has none.
    pub(crate) fn read(store: &dyn Store) -> Result<Self, StoreError> {
        let Some(depot) = store.artifacts() else {
            return Ok(Self::default());
        };
        let mut stored = Self::default();
        for blob in depot.blobs()? {
            let bare = artifact(depot, &blob.sha256, ArtifactRole::Other, None);
            stored.artifacts.insert(name_of_digest(&blob.sha256), bare);
        }
        for info in depot.artifacts(&ArtifactFilter::default())? {
            let named = of(depot, &info);
            stored
                .artifacts
                .insert(name_of_digest(&info.sha256), named.clone());
            stored.artifacts.insert(info.name, named);
        }
        for image in depot.images()? {
            for (sha256, role, media_type) in [
                (image.index, ArtifactRole::ImageIndex, "application/json"),
                (image.data, ArtifactRole::Image, "application/zstd"),
            ] {
                if let Some(sha256) = sha256 {
                    let part = artifact(depot, &sha256, role, Some(media_type));
                    stored.artifacts.insert(name_of_digest(&sha256), part);
                }
            }
            stored.images.insert(image.name.clone(), image);
        }
        Ok(stored)
    }
}

fn of(depot: &dyn ArtifactStore, info: &ArtifactInfo) -> Artifact {
    artifact(depot, &info.sha256, info.role, Some(&info.media_type))
}

fn artifact(
    depot: &dyn ArtifactStore,
    sha256: &Sha256Hex,
    role: ArtifactRole,
    media_type: Option<&str>,
) -> Artifact {
    let bare = Artifact::new(depot.blob_path(sha256), role);
    Artifact {
        content_type: media_type.map_or(bare.content_type, str::to_owned),
        digest: Some(*sha256),
        ..bare
    }
}

/// Time between two looks for uploads that wait too long.
const TIDY: Duration = Duration::from_secs(300);

/// Forgets uploads that wait too long, now and then, until it is dropped.
pub(crate) async fn tidy(store: Arc<dyn Store>) {
    let mut next = tokio::time::interval(TIDY);
    loop {
        next.tick().await;
        let store = Arc::clone(&store);
        let expired = tokio::task::spawn_blocking(move || match store.artifacts() {
            Some(depot) => depot.expire_uploads(now()),
            None => Ok(0),
        });
        match expired.await {
            Ok(Ok(0)) => {}
            Ok(Ok(count)) => tracing::info!("{count} uploads waited too long and are forgotten"),
            Ok(Err(error)) => tracing::warn!("{error}"),
            Err(error) => tracing::warn!("forget old uploads: {error}"),
        }
    }
}

/// The name by which a blob is given out.
pub(crate) fn blob_name(sha256: &Sha256Hex) -> Option<ArtifactName> {
    ArtifactName::new(name_of_digest(sha256)).ok()
}
