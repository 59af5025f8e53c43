//! The calls of agents and installers. Each carries the nonce of its attempt in its path; one that is not the current
//! attempt's is refused with 409, so that no stale completion can pass an attempt.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequest, Path, Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bootgate_events::ArtifactRole;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::Asked;
use super::connection::Peer;
use super::reply::{self, Reply};
use crate::context::Context;
use crate::desk::{AgentCall, Answer, Saying};

type Shared = State<Arc<Context>>;

/// The body of a call. It comes in the time that a connection may be idle: a machine whose power goes off while it
/// reports holds no connection for ever.
pub(super) struct Posted(Bytes);

impl FromRequest<Arc<Context>> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, context: &Arc<Context>) -> Result<Self, Response> {
        let reading = Bytes::from_request(request, context);
        match tokio::time::timeout(context.config.limits.http_idle, reading).await {
            Ok(Ok(body)) => Ok(Self(body)),
            Ok(Err(error)) => Err(error.into_response()),
            Err(_) => {
                let reason = "the body did not come";
                Err(reply::failure(StatusCode::REQUEST_TIMEOUT, reason).into_response())
            }
        }
    }
}

/// Reads a body; what cannot be read is told to who has the right nonce.
fn read<T: DeserializeOwned>(body: &[u8], saying: impl FnOnce(T) -> Saying) -> Saying {
    match serde_json::from_slice(body) {
        Ok(value) => saying(value),
        Err(error) => Saying::Unreadable(format!("read the body: {error}")),
    }
}

async fn call(context: &Arc<Context>, nonce: String, peer: Peer, uri: &Uri, what: Saying) -> Reply {
    let mut asked = Asked::new(context, peer, uri.path(), ArtifactRole::Api);
    let call = AgentCall {
        nonce,
        peer: asked.peer,
        holder: asked.mac,
        path: asked.path.to_owned(),
        server_url: context.base_url(),
        what,
    };
    let answered = match context.desk.call(call).await {
        Ok(answered) => answered,
        Err(refusal) => return asked.refuse_by(refusal),
    };
    asked.mac = answered.mac.or(asked.mac);
    if let Some(told) = answered.told {
        context.emit(asked.mac, told);
    }
    match answered.answer {
        Answer::Done => Reply::json(StatusCode::OK, &serde_json::json!({})),
        Answer::Plan(plan) => Reply::json(StatusCode::OK, &plan),
        Answer::Text(text) => Reply::bytes(StatusCode::OK, "text/plain", text.into()),
    }
}

/// `POST` of `AgentHello`; the answer is the plan.
pub(super) async fn hello(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
    Posted(body): Posted,
) -> Reply {
    call(&context, nonce, peer, &uri, read(&body, Saying::Hello)).await
}

/// `GET` of the plan.
pub(super) async fn plan(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
) -> Reply {
    call(&context, nonce, peer, &uri, Saying::Plan).await
}

/// `POST` of `Progress`.
pub(super) async fn progress(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
    Posted(body): Posted,
) -> Reply {
    call(&context, nonce, peer, &uri, read(&body, Saying::Progress)).await
}

/// `POST` of `Completion`.
pub(super) async fn complete(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
    Posted(body): Posted,
) -> Reply {
    call(&context, nonce, peer, &uri, read(&body, Saying::Complete)).await
}

/// `POST` of `Inventory`.
pub(super) async fn inventory(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
    Posted(body): Posted,
) -> Reply {
    let saying = read(&body, |inventory| Saying::Inventory(Box::new(inventory)));
    call(&context, nonce, peer, &uri, saying).await
}

/// `POST` of `Failure`.
pub(super) async fn failure(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
    Posted(body): Posted,
) -> Reply {
    call(&context, nonce, peer, &uri, read(&body, Saying::Failure)).await
}

/// `GET` of the answer file, by an installer.
pub(super) async fn answer(
    State(context): Shared,
    Path(nonce): Path<String>,
    peer: Peer,
    uri: Uri,
) -> Reply {
    call(&context, nonce, peer, &uri, Saying::Answer).await
}

/// `GET` or `POST`, by an installer: it is done, or `?failed=TEXT`.
pub(super) async fn installed(
    State(context): Shared,
    Path(nonce): Path<String>,
    Query(mut query): Query<HashMap<String, String>>,
    peer: Peer,
    uri: Uri,
) -> Reply {
    let failed = query.remove("failed");
    call(&context, nonce, peer, &uri, Saying::Installed { failed }).await
}
