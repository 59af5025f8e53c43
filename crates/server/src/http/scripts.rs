//! Boot scripts, and the configurations of other loaders.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use bootgate_events::{ArtifactRole, MacAddr, Protocol};

use super::Asked;
use super::connection::Peer;
use super::reply::Reply;
use crate::context::Context;
use crate::desk::{BootAsk, BootLoader, Served};
use crate::transfers::{Sending, TransferEvents};

/// `GET` and `HEAD` of a machine's boot script.
pub(super) async fn serve(
    State(context): State<Arc<Context>>,
    Path(mac): Path<String>,
    peer: Peer,
    method: Method,
    uri: Uri,
) -> Reply {
    let mut asked = Asked::new(&context, peer, uri.path(), ArtifactRole::Script);
    let mac: MacAddr = match mac.parse() {
        Ok(mac) => mac,
        Err(error) => return asked.refuse(StatusCode::NOT_FOUND, format!("{error}")),
    };
    if let Some(holder) = asked.mac.filter(|holder| *holder != mac) {
        let reason = format!("the script is for {mac}, and {holder} asks for it");
        return asked.refuse(StatusCode::FORBIDDEN, reason);
    }
    let ask = BootAsk {
        mac,
        holder: asked.mac,
        peer: asked.peer,
        loader: BootLoader::Ipxe,
        protocol: Protocol::Http,
        server_url: context.base_url(),
        give: method == Method::GET,
    };
    asked.mac = Some(mac);
    match context.desk.boot(ask).await {
        Ok(served) => give(asked, &method, served),
        Err(refusal) => asked.refuse_by(refusal),
    }
}

/// Answers with what a desk made.
pub(super) fn give(mut asked: Asked<'_>, method: &Method, served: Served) -> Reply {
    let length = served.bytes.len() as u64;
    if *method == Method::HEAD {
        let reply = Reply::new(StatusCode::OK, Body::empty(), length);
        return reply.header(CONTENT_TYPE, "text/plain");
    }
    asked.mac = served.mac.or(asked.mac);
    asked.role = ArtifactRole::Script;
    if let Some(told) = served.told {
        asked.context.emit(asked.mac, told);
    }
    let sending = Sending {
        mac: asked.mac,
        protocol: Protocol::Http,
        role: asked.role,
        path: asked.path,
        peer: asked.peer,
        size: length,
        detail: String::new(),
    };
    let events = TransferEvents::start(asked.context, sending);
    Reply::bytes(StatusCode::OK, "text/plain", served.bytes).transfer(events)
}
