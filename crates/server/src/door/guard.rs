//! Who asks, and whether they may.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::to_bytes;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bootgate_api::access::{CSRF_HEADER, Role};
use tower_sessions::Session;

use super::accounts::{Accounts, Principal};
use super::limits::Limits;
use super::routes::{self, Needs};
use crate::control::Refusal;
use crate::lab::now;

/// Keys of what a session holds.
pub(super) const USER: &str = "user";
pub(super) const MARK: &str = "mark";
pub(super) const CSRF: &str = "csrf";

/// How to get in.
const HOW: &str =
    "`bootgate login URL`, or a token of `bootgate token new`: --token-file, BOOTGATE_TOKEN_FILE";

/// Longest refusal in plain words, in bytes.
const WORDS_MAX: usize = 4096;

/// The client's address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// What the guard knows.
pub(super) struct Guard {
    pub(super) accounts: Arc<Accounts>,
    pub(super) limits: Limits,
}

/// How somebody showed who they are.
enum Shown {
    Token(Principal),
    Session(Principal),
    Nothing,
}

/// Lets a request pass whose sender may make it.
pub(super) async fn guard(
    State(guard): State<Arc<Guard>>,
    session: Session,
    request: Request,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied();
    let Some(Peer(from)) = peer else {
        return Refusal::broken("nobody says where the request is from").into_response();
    };
    if let Err(wait) = guard.limits.request(from) {
        return too_many("too many requests from this address", wait);
    }
    let principal = match allowed(&guard, &session, &parts).await {
        Ok(principal) => principal,
        Err(refused) => return *refused,
    };
    let told = principal.as_ref().map(|principal| principal.name.clone());
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    if let Some(principal) = principal {
        parts.extensions.insert(principal);
    }
    let response = next.run(Request::from_parts(parts, body)).await;
    let response = as_problem(response).await;
    if !method.is_safe() {
        // Neither path nor name holds a secret.
        let who = told.as_deref().unwrap_or("nobody");
        tracing::info!(target: "bootgate::api", "{method} {path} of `{who}` from {from}: {}", response.status());
    }
    response
}

async fn allowed(
    guard: &Guard,
    session: &Session,
    request: &Parts,
) -> Result<Option<Principal>, Box<Response>> {
    let safe = request.method.is_safe();
    if !safe && from_elsewhere(&request.headers) {
        let refusal = Refusal::new(
            StatusCode::FORBIDDEN,
            "the request comes from a page of another site",
            "",
        );
        return Err(Box::new(refusal.into_response()));
    }
    let matched = request.extensions.get::<MatchedPath>();
    let needs = matched.map_or(Needs::Role(Role::Viewer), |path| {
        routes::needs(&request.method, path.as_str())
    });
    let Needs::Role(needed) = needs else {
        return Ok(None);
    };
    let principal = match shown(guard, session, &request.headers).await? {
        Shown::Nothing => return Err(Box::new(unknown("who asks is not known"))),
        Shown::Token(principal) => principal,
        Shown::Session(principal) => {
            if !safe && !carries_csrf(session, &request.headers).await {
                let refusal = Refusal::new(
                    StatusCode::FORBIDDEN,
                    format!("a request with a session needs its `{CSRF_HEADER}`"),
                    "the answer to the login has it, and so has /api/v1/whoami",
                );
                return Err(Box::new(refusal.into_response()));
            }
            principal
        }
    };
    if principal.role < needed {
        let refusal = Refusal::new(
            StatusCode::FORBIDDEN,
            format!(
                "`{}` is {}, and this needs {needed}",
                principal.name, principal.role
            ),
            "somebody who may do it, or another role",
        );
        return Err(Box::new(refusal.into_response()));
    }
    Ok(Some(principal))
}

async fn shown(
    guard: &Guard,
    session: &Session,
    headers: &HeaderMap,
) -> Result<Shown, Box<Response>> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let text = value.to_str().ok().and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        let found = text.and_then(|text| guard.accounts.by_token(text, now()));
        return match found {
            Some(principal) => Ok(Shown::Token(principal)),
            None => Err(Box::new(unknown("the token is not known, or it ended"))),
        };
    }
    let user: Option<String> = session.get(USER).await.ok().flatten();
    let mark: Option<String> = session.get(MARK).await.ok().flatten();
    let (Some(user), Some(mark)) = (user, mark) else {
        return Ok(Shown::Nothing);
    };
    match guard.accounts.by_session(&user, &mark) {
        Some(principal) => Ok(Shown::Session(principal)),
        None => Err(Box::new(unknown("the session ended: the user changed"))),
    }
}

async fn carries_csrf(session: &Session, headers: &HeaderMap) -> bool {
    let wanted: Option<String> = session.get(CSRF).await.ok().flatten();
    let given = headers.get(CSRF_HEADER);
    match (wanted, given) {
        (Some(wanted), Some(given)) => same(wanted.as_bytes(), given.as_bytes()),
        _ => false,
    }
}

/// Whether two secrets are equal, in a time that tells nothing of where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    let pairs = a.iter().zip(b);
    a.len() == b.len() && pairs.fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// Whether a browser says that a page of another site made the request (Fetch Metadata; else the origin).
fn from_elsewhere(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (text(ORIGIN.as_str()), text(HOST.as_str())) {
        (None, _) => false,
        (Some(origin), host) => origin.split_once("://").map(|(_, host)| host) != host,
    }
}

/// A refusal of the library's that is in plain words, as a problem like all others.
async fn as_problem(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(CONTENT_TYPE);
    let json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if json || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let words = to_bytes(response.into_body(), WORDS_MAX).await;
    let words = words.unwrap_or_default();
    let words = String::from_utf8_lossy(&words);
    let words = match words.trim() {
        "" => status
            .canonical_reason()
            .unwrap_or("it was not done")
            .to_lowercase(),
        words => words.to_owned(),
    };
    Refusal::new(status, words, "").into_response()
}

/// Nobody who may ask.
pub(super) fn unknown(why: &str) -> Response {
    let mut response = Refusal::new(StatusCode::UNAUTHORIZED, why, HOW).into_response();
    let how = HeaderValue::from_static("Bearer realm=\"bootgate\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, how);
    response
}

/// Too much at once: later.
pub(super) fn too_many(why: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs().saturating_add(1);
    let hint = format!("try again in {seconds} seconds");
    let mut response = Refusal::new(StatusCode::TOO_MANY_REQUESTS, why, hint).into_response();
    response
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// `HEAD` is answered by who answers `GET`.
pub(super) fn as_get(method: &Method) -> &Method {
    match *method {
        Method::HEAD => &Method::GET,
        _ => method,
    }
}
