//! Configurations of loaders other than iPXE, which ask for them by well-known names.

use axum::http::{Method, StatusCode};
use bootgate_events::{ArtifactRole, Protocol};

use super::reply::{Reply, failure};
use super::{Asked, scripts};
use crate::desk::{FileAsk, Generated};

/// Answers a request for a file that is not there as such: where its name is one that loaders ask for, it is made.
/// `name` is the path without what is before it on the TFTP server too.
pub(super) async fn serve(mut asked: Asked<'_>, name: &str, method: &Method) -> Reply {
    let ask = FileAsk {
        name: name.to_owned(),
        holder: asked.mac,
        peer: asked.peer,
        protocol: Protocol::Http,
        server_url: asked.context.base_url(),
        give: *method == Method::GET,
    };
    match asked.context.desk.generated(ask).await {
        Generated::NotOurs => asked.refuse(StatusCode::NOT_FOUND, "no artifact has this name"),
        Generated::Absent => failure(StatusCode::NOT_FOUND, "this machine has no such file"),
        Generated::File(served) => scripts::give(asked, method, served),
        Generated::Refused(refusal) => {
            asked.role = ArtifactRole::Script;
            asked.refuse_by(refusal)
        }
    }
}
