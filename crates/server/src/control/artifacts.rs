//! Artifacts and uploads.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body as Stream, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bootgate_api::artifact::{
    AliasOrder, ArtifactInfo, CollectOrder, Collected, NameOrder, UploadEnd, UploadInfo,
    UploadOrder, Uploaded, digest_of_name, paths,
};
use bootgate_api::control::Forgotten;
use bootgate_api::{Sha256Hex, UnixMicros};
use bootgate_store::{ArtifactFilter, ArtifactStore, StoreError};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::problem::{Asked, Body, Refusal};
use super::{Control, blocking};
use crate::lab::now;

/// Longest wait for the next bytes of an upload. What came before is kept.
const QUIET: Duration = Duration::from_secs(30);
/// Pieces of an upload that wait for the disk. The socket waits for more.
const PIECES: usize = 4;
/// Bytes of a refused part that are read and thrown away, so that whoever sends them hears why.
const DRAIN: u64 = 64 << 20;
/// Bytes of an artifact that are read at once.
const PIECE: usize = 256 << 10;
/// Artifacts in one list at most.
const PAGE: usize = 1000;

/// Which artifacts to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    #[serde(default)]
    prefix: String,
    after: Option<String>,
    limit: Option<usize>,
}

/// Where a part begins, in bytes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct At {
    offset: u64,
}

impl Control {
    /// The artifacts, where the store keeps any.
    pub(super) fn depot(&self) -> Result<&dyn ArtifactStore, Refusal> {
        self.store.artifacts().ok_or_else(|| {
            let error = "the storage keeps no artifacts";
            Refusal::new(StatusCode::NOT_IMPLEMENTED, error, "")
        })
    }

    /// Has the servers give out what the store has now.
    pub(super) fn refresh(&self) -> Result<(), Refusal> {
        match &self.lab {
            Some(lab) => Ok(lab.refresh_artifacts()?),
            None => Ok(()),
        }
    }

    /// A name that the configuration has would never be given out.
    fn check_free(&self, name: &str) -> Result<(), Refusal> {
        let configured = self.lab.as_ref().filter(|lab| lab.is_configured(name));
        match configured {
            Some(_) => Err(Refusal::new(
                StatusCode::CONFLICT,
                format!("the server's configuration gives out a file as `{name}`"),
                "choose another name",
            )),
            None => Ok(()),
        }
    }

    /// Whether the bytes of a blob are there.
    pub(super) fn is_whole(&self, sha256: &Sha256Hex) -> Result<bool, Refusal> {
        Ok(self.depot()?.blob_path(sha256).is_file())
    }

    fn artifact(&self, name: &str) -> Result<ArtifactInfo, Refusal> {
        let found = self.depot()?.artifact(name)?;
        // A blob whose file somebody removed is to be uploaded again.
        let found = match found {
            Some(blob) if digest_of_name(name).is_some() && !self.is_whole(&blob.sha256)? => None,
            found => found,
        };
        found.ok_or_else(|| {
            let hint = "`bootgate artifact list` shows what there is";
            Refusal::not_found(format!("no artifact `{name}` is here"), hint)
        })
    }
}

/// What to do about what the store refuses.
fn explained(error: StoreError) -> Refusal {
    let hint = match &error {
        StoreError::Refused { why, .. } if why.contains(" stands for ") => {
            "`--replace` lets the name stand for the new bytes"
        }
        StoreError::Refused { why, .. } if why.contains("is needed by") => {
            "take away first what needs it"
        }
        StoreError::Wrong { .. } => "the bytes are not those that were meant; nothing was kept",
        StoreError::TooLarge { .. } => {
            "the server's configuration says what uploads may take; `bootgate artifact gc` makes room"
        }
        _ => "",
    };
    match hint {
        "" => Refusal::from(error),
        hint => Refusal::from(error).hint(hint),
    }
}

/// A part of an upload that is not taken, with the byte where it goes on.
pub(super) struct PartRefused(Box<Refusal>, Option<u64>);

impl From<Refusal> for PartRefused {
    fn from(refusal: Refusal) -> Self {
        Self(Box::new(refusal), None)
    }
}

impl From<StoreError> for PartRefused {
    fn from(error: StoreError) -> Self {
        let offset = match error {
            StoreError::Offset { offset, .. } => Some(offset),
            _ => None,
        };
        Self(Box::new(explained(error)), offset)
    }
}

impl IntoResponse for PartRefused {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        if let Some(offset) = self.1 {
            let value = HeaderValue::from(offset);
            response.headers_mut().insert(paths::UPLOAD_OFFSET, value);
        }
        response
    }
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<Vec<ArtifactInfo>>, Refusal> {
    blocking(control, move |control| {
        let filter = ArtifactFilter {
            prefix: filter.prefix,
            after: filter.after,
            limit: filter.limit.unwrap_or(PAGE).min(PAGE),
        };
        Ok(Json(control.depot()?.artifacts(&filter)?))
    })
    .await
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Result<Json<ArtifactInfo>, Refusal> {
    blocking(control, move |control| control.artifact(&name).map(Json)).await
}

pub(super) async fn name(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    Body(order): Body<NameOrder>,
) -> Result<Json<ArtifactInfo>, Refusal> {
    blocking(control, move |control| {
        control.check_free(&name)?;
        if !control.is_whole(&order.sha256)? {
            let error = format!(
                "give the name `{name}`: no blob sha256:{} is here",
                order.sha256
            );
            return Err(Refusal::not_found(error, "upload it first"));
        }
        let named = control.depot()?.name_blob(&name, &order, now());
        let named = named.map_err(explained)?;
        control.refresh()?;
        Ok(Json(named))
    })
    .await
}

pub(super) async fn alias(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    Body(order): Body<AliasOrder>,
) -> Result<Json<ArtifactInfo>, Refusal> {
    blocking(control, move |control| {
        control.check_free(&name)?;
        let alias = control.depot()?.set_alias(&name, &order, now());
        let alias = alias.map_err(|error| match &error {
            StoreError::Refused { why, .. } if why.ends_with("already") => {
                Refusal::from(error).hint("`--replace` changes the alias")
            }
            _ => explained(error),
        })?;
        control.refresh()?;
        Ok(Json(alias))
    })
    .await
}

pub(super) async fn delete(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Result<Json<Forgotten>, Refusal> {
    blocking(control, move |control| {
        let known = control.depot()?.delete_artifact(&name, now());
        let known = known.map_err(explained)?;
        control.refresh()?;
        Ok(Json(Forgotten { known }))
    })
    .await
}

pub(super) async fn collect(
    State(control): State<Arc<Control>>,
    Body(order): Body<CollectOrder>,
) -> Result<Json<Collected>, Refusal> {
    blocking(control, move |control| {
        let before = now()
            .0
            .saturating_sub(order.grace.saturating_mul(1_000_000));
        let depot = control.depot()?;
        let blobs = depot.collect_blobs(UnixMicros(before), order.dry_run)?;
        if !order.dry_run {
            control.refresh()?;
        }
        Ok(Json(Collected {
            dry_run: order.dry_run,
            bytes: blobs.iter().map(|blob| blob.size).sum(),
            blobs,
        }))
    })
    .await
}

pub(super) async fn begin(
    State(control): State<Arc<Control>>,
    Body(order): Body<UploadOrder>,
) -> Result<Json<UploadInfo>, Refusal> {
    blocking(control, move |control| {
        if let Some(name) = &order.name {
            control.check_free(name)?;
        }
        let depot = control.depot()?;
        depot.expire_uploads(now())?;
        let begun = depot.begin_upload(&order, now()).map_err(explained)?;
        Ok(Json(begun))
    })
    .await
}

pub(super) async fn uploads(
    State(control): State<Arc<Control>>,
) -> Result<Json<Vec<UploadInfo>>, Refusal> {
    blocking(control, |control| Ok(Json(control.depot()?.uploads()?))).await
}

pub(super) async fn upload(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Result<Json<UploadInfo>, Refusal> {
    blocking(control, move |control| {
        Ok(Json(control.depot()?.upload(&id)?))
    })
    .await
}

pub(super) async fn cancel(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Result<Json<Forgotten>, Refusal> {
    blocking(control, move |control| {
        let known = control.depot()?.cancel_upload(&id)?;
        Ok(Json(Forgotten { known }))
    })
    .await
}

pub(super) async fn finish(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    Body(end): Body<UploadEnd>,
) -> Result<Json<Uploaded>, PartRefused> {
    let done = blocking(control, move |control| {
        let finished = control.depot()?.finish_upload(&id, end.sha256, now());
        if finished.is_ok() {
            control.refresh()?;
        }
        Ok(finished)
    })
    .await;
    Ok(Json(done??))
}

/// Takes a part of an upload. What came when it breaks off is kept. The disk holds up the socket, so that no more than a
/// few pieces are in memory.
pub(super) async fn append(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    Asked(at): Asked<At>,
    body: Stream,
) -> Result<Json<UploadInfo>, PartRefused> {
    let (pieces, queue) = mpsc::channel(PIECES);
    let writing = tokio::task::spawn_blocking(move || write(&control, &id, at.offset, queue));
    let mut body = body.into_data_stream();
    let mut dropped = 0;
    let mut whole = true;
    loop {
        let piece = match tokio::time::timeout(QUIET, body.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => break,
            Ok(Some(Err(_))) | Err(_) => {
                whole = false;
                break;
            }
        };
        if pieces.is_closed() || pieces.send(piece.clone()).await.is_err() {
            dropped += piece.len() as u64;
            if dropped > DRAIN {
                break;
            }
        }
    }
    drop(pieces);
    let written = match writing.await {
        Ok(written) => written,
        Err(error) => Err(Refusal::broken(&format!("write the upload: {error}")).into()),
    };
    match written {
        Ok(upload) if whole => Ok(Json(upload)),
        Ok(upload) => {
            let error = format!("the upload broke off at byte {}", upload.offset);
            let hint = "what came before is kept; go on from there";
            Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, error, hint).into())
        }
        Err(refused) => Err(refused),
    }
}

/// Writes pieces as they come. Waits for them and for the disk.
fn write(
    control: &Control,
    id: &str,
    offset: u64,
    mut queue: mpsc::Receiver<Bytes>,
) -> Result<UploadInfo, PartRefused> {
    let depot = control.depot()?;
    let mut part = depot.append_upload(id, offset)?;
    while let Some(piece) = queue.blocking_recv() {
        part.write(&piece)?;
    }
    part.commit(now())?;
    drop(part);
    Ok(depot.upload(id)?)
}

/// The bytes of an artifact.
pub(super) async fn content(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let (file, info) = blocking(control, move |control| {
        let info = control.artifact(&name)?;
        let path = control.depot()?.blob_path(&info.sha256);
        let file = File::open(&path)
            .map_err(|error| Refusal::broken(&format!("open the bytes of `{name}`: {error}")))?;
        Ok((file, info))
    })
    .await?;
    let (pieces, queue) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || read(file, &pieces));
    let next = |mut queue: mpsc::Receiver<_>| async move {
        let piece = queue.recv().await?;
        Some((piece, queue))
    };
    let body = Stream::from_stream(futures_util::stream::unfold(queue, next));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(info.size));
    if let Ok(media_type) = HeaderValue::from_str(&info.media_type) {
        headers.insert(CONTENT_TYPE, media_type);
    }
    Ok(response)
}

fn read(mut file: File, pieces: &mpsc::Sender<std::io::Result<Bytes>>) {
    loop {
        let mut piece = vec![0; PIECE];
        let read = match file.read(&mut piece) {
            Ok(0) => return,
            Ok(count) => {
                piece.truncate(count);
                Ok(Bytes::from(piece))
            }
            Err(error) => Err(error),
        };
        let ended = read.is_err();
        if pieces.blocking_send(read).is_err() || ended {
            return;
        }
    }
}
