//! Artifacts over HTTP.

use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE, RANGE,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use bootgate_events::{ArtifactRole, FaultAction, Protocol};
use bootgate_netboot::http::{
    Conditions, Selection, content_range, content_range_unsatisfiable, etag, select,
};

use super::connection::Peer;
use super::reply::Reply;
use super::stand_in::FilePart;
use super::{Asked, loaders};
use crate::Artifact;
use crate::context::Context;
use crate::files::ServedFile;
use crate::transfers::{Sending, TransferEvents};

/// `GET` and `HEAD` of an artifact.
pub(super) async fn serve(
    State(context): State<Arc<Context>>,
    Path(name): Path<String>,
    peer: Peer,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Reply {
    let mut asked = Asked::new(&context, peer, uri.path(), ArtifactRole::Other);
    let Some(artifact) = context.artifacts.find(&name).await else {
        return loaders::serve(asked, &name, &method).await;
    };
    asked.role = artifact.role;
    let fault = context.fault(asked.mac, artifact.role);
    if fault == Some(FaultAction::NotFound) {
        context.inject(asked.mac, FaultAction::NotFound, asked.path);
        return asked.refuse(StatusCode::NOT_FOUND, "no artifact has this name");
    }
    let corrupt = fault == Some(FaultAction::Corrupt);
    let file = match ServedFile::open(&artifact.path, corrupt).await {
        Ok(file) => Arc::new(file),
        Err(error) => {
            let reason = format!("open `{}`: {error}", artifact.path.display());
            return asked.refuse(StatusCode::NOT_FOUND, reason);
        }
    };
    answer(&asked, &artifact, file, &method, &headers)
}

fn answer(
    asked: &Asked<'_>,
    artifact: &Artifact,
    file: Arc<ServedFile>,
    method: &Method,
    headers: &HeaderMap,
) -> Reply {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let conditions = Conditions {
        get: *method == Method::GET,
        range: text(RANGE),
        if_range: text(IF_RANGE),
        if_none_match: text(IF_NONE_MATCH),
    };
    let size = file.size();
    let tag = match &artifact.digest {
        Some(digest) if !file.corrupts(0, size) => etag(&digest.to_string()),
        _ => etag(file.version()),
    };
    let reply = match select(&conditions, size, &tag) {
        Selection::NotModified => Reply::new(StatusCode::NOT_MODIFIED, Body::empty(), size),
        Selection::Unsatisfiable => {
            let range = conditions.range.unwrap_or_default();
            let reason = format!("range `{range}` is not within the {size} bytes");
            let reply = asked.refuse(StatusCode::RANGE_NOT_SATISFIABLE, reason);
            reply.header(CONTENT_RANGE, &content_range_unsatisfiable(size))
        }
        Selection::Whole if !conditions.get => Reply::new(StatusCode::OK, Body::empty(), size)
            .header(CONTENT_TYPE, &artifact.content_type),
        Selection::Whole => {
            send(asked, StatusCode::OK, file, 0..size).header(CONTENT_TYPE, &artifact.content_type)
        }
        Selection::Part(part) => {
            let range = content_range(&part, size);
            send(asked, StatusCode::PARTIAL_CONTENT, file, part)
                .header(CONTENT_TYPE, &artifact.content_type)
                .header(CONTENT_RANGE, &range)
        }
    };
    reply.header(ETAG, &tag).header(ACCEPT_RANGES, "bytes")
}

fn send(asked: &Asked<'_>, status: StatusCode, file: Arc<ServedFile>, part: Range<u64>) -> Reply {
    if file.corrupts(part.start, part.end) {
        asked
            .context
            .inject(asked.mac, FaultAction::Corrupt, asked.path);
    }
    let length = part.end.saturating_sub(part.start);
    let detail = match status {
        StatusCode::PARTIAL_CONTENT => {
            format!("bytes {}-{}", part.start, part.end.saturating_sub(1))
        }
        _ => String::new(),
    };
    let sending = Sending {
        mac: asked.mac,
        protocol: Protocol::Http,
        role: asked.role,
        path: asked.path,
        peer: asked.peer,
        size: length,
        detail,
    };
    let events = TransferEvents::start(asked.context, sending);
    Reply::file(status, FilePart { file, range: part }).transfer(events)
}
