//! Logins with a password.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bootgate_api::access::{self, Login, LoginForToken, PASSWORD_MAX, Secret};
use bootgate_api::control::Forgotten;
use tokio::sync::Semaphore;
use tower_sessions::Session;

use super::accounts::{self, Principal};
use super::guard::{CSRF, Guard, MARK, Peer, USER, too_many, unknown};
use crate::control::{Body, Refusal};
use crate::lab::now;

/// Passwords looked at at once: each takes 19 MiB and a core.
static LOOKING: Semaphore = Semaphore::const_new(2);

/// How long a token of a login is good, in seconds, where nothing is said, and at most.
const TOKEN_SECONDS: (u64, u64) = (30 * 86_400, 365 * 86_400);

/// The user with this password, or why there is none.
async fn known(
    guard: &Arc<Guard>,
    from: IpAddr,
    user: &str,
    password: Secret,
) -> Result<(Principal, String), Box<Response>> {
    if let Err(wait) = guard.limits.login(from, user) {
        tracing::warn!(target: "bootgate::api", "too many logins from {from}, or of one user");
        return Err(Box::new(too_many("too many logins", wait)));
    }
    let broken = |error: &str| Box::new(Refusal::broken(error).into_response());
    let _turn = LOOKING
        .acquire()
        .await
        .map_err(|_| broken("the server stops"))?;
    let (guard, user) = (Arc::clone(guard), user.to_owned());
    let found = tokio::task::spawn_blocking(move || {
        let short = password.0.chars().count() <= PASSWORD_MAX;
        short
            .then(|| guard.accounts.by_password(&user, &password))
            .flatten()
    });
    let found = found
        .await
        .map_err(|error| broken(&format!("look at the password: {error}")))?;
    found.ok_or_else(|| {
        // The name is not told: it may be a password that was typed too early.
        tracing::warn!(target: "bootgate::api", "a login from {from} was refused");
        Box::new(unknown(
            "there is no such user, or the password is another one",
        ))
    })
}

/// A session, which the cookie of the answer stands for.
pub(super) async fn login(
    State(guard): State<Arc<Guard>>,
    Extension(Peer(from)): Extension<Peer>,
    session: Session,
    Body(login): Body<Login>,
) -> Result<Response, Response> {
    let found = known(&guard, from, &login.user, login.password).await;
    let (principal, mark) = found.map_err(|refused| *refused)?;
    let failed =
        |error: String| Refusal::broken(&format!("open a session: {error}")).into_response();
    let csrf = accounts::random().map_err(|error| failed(error.to_string()))?;
    // A session that somebody else may have planted is not taken up.
    session
        .cycle_id()
        .await
        .map_err(|error| failed(error.to_string()))?;
    for (key, value) in [(USER, &principal.name), (MARK, &mark), (CSRF, &csrf)] {
        session
            .insert(key, value)
            .await
            .map_err(|error| failed(error.to_string()))?;
    }
    let answer = access::Session {
        name: principal.name,
        role: principal.role,
        csrf: Some(Secret(csrf)),
    };
    Ok(Json(answer).into_response())
}

/// A token of the user's role, for programs.
pub(super) async fn token(
    State(guard): State<Arc<Guard>>,
    Extension(Peer(from)): Extension<Peer>,
    Body(login): Body<LoginForToken>,
) -> Result<Response, Response> {
    let found = known(&guard, from, &login.user, login.password).await;
    let (principal, _) = found.map_err(|refused| *refused)?;
    let (usual, most) = TOKEN_SECONDS;
    let seconds = login.expires_in.unwrap_or(usual).min(most);
    let made = tokio::task::spawn_blocking(move || {
        guard
            .accounts
            .add_token_of(&principal.name, &login.name, seconds, now())
    });
    let made = match made.await {
        Ok(made) => made.map_err(|error| Refusal::from(error).into_response())?,
        Err(error) => {
            return Err(Refusal::broken(&format!("make a token: {error}")).into_response());
        }
    };
    match made {
        Some(made) => Ok((StatusCode::CREATED, Json(made)).into_response()),
        None => Err(unknown("the user is gone")),
    }
}

/// Ends the session.
pub(super) async fn logout(session: Session) -> Result<Json<Forgotten>, Refusal> {
    let known = session.get::<String>(USER).await.ok().flatten().is_some();
    match session.flush().await {
        Ok(()) => Ok(Json(Forgotten { known })),
        Err(error) => Err(Refusal::broken(&format!("end the session: {error}"))),
    }
}

/// Who asks.
pub(super) async fn whoami(
    Extension(principal): Extension<Principal>,
    session: Session,
) -> Json<access::Session> {
    let csrf: Option<String> = session.get(CSRF).await.ok().flatten();
    Json(access::Session {
        name: principal.name,
        role: principal.role,
        csrf: csrf.map(Secret),
    })
}
