//! Users and tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bootgate_api::access::{MadeToken, NewToken, NewUser, Token, User, UserChange};
use bootgate_api::control::Forgotten;

use super::problem::{Body, Refusal};
use super::{Control, blocking};
use crate::door::{AccountError, Accounts};
use crate::lab::now;

impl Control {
    fn accounts(&self) -> Result<&Accounts, Refusal> {
        self.accounts.as_deref().ok_or_else(|| {
            Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "users and tokens are not kept here",
                "",
            )
        })
    }
}

impl From<AccountError> for Refusal {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Bad { why, hint } => Self::bad(why, hint),
            AccountError::Conflict { why, hint } => Self::new(StatusCode::CONFLICT, why, hint),
            AccountError::Io { error: ref io, .. }
                if matches!(
                    io.kind(),
                    std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
                ) =>
            {
                Self::new(
                    StatusCode::INSUFFICIENT_STORAGE,
                    error.to_string(),
                    "make room on the disk of the state folder; nothing was changed",
                )
            }
            error => Self::broken(&error.to_string()),
        }
    }
}

pub(super) async fn users(State(control): State<Arc<Control>>) -> Result<Json<Vec<User>>, Refusal> {
    blocking(control, |control| Ok(Json(control.accounts()?.users()))).await
}

pub(super) async fn add_user(
    State(control): State<Arc<Control>>,
    Body(new): Body<NewUser>,
) -> Result<(StatusCode, Json<User>), Refusal> {
    blocking(control, move |control| {
        let accounts = control.accounts()?;
        let user = accounts.add_user(&new.name, new.role, &new.password, now())?;
        Ok((StatusCode::CREATED, Json(user)))
    })
    .await
}

pub(super) async fn change_user(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
    Body(change): Body<UserChange>,
) -> Result<Json<User>, Refusal> {
    blocking(control, move |control| {
        let changed = control.accounts()?.change_user(&name, &change)?;
        let unknown = || {
            let hint = "`bootgate user list` shows the names";
            Refusal::not_found("no such user is known", hint)
        };
        changed.map(Json).ok_or_else(unknown)
    })
    .await
}

pub(super) async fn remove_user(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Result<Json<Forgotten>, Refusal> {
    blocking(control, move |control| {
        let known = control.accounts()?.remove_user(&name)?;
        Ok(Json(Forgotten { known }))
    })
    .await
}

pub(super) async fn tokens(
    State(control): State<Arc<Control>>,
) -> Result<Json<Vec<Token>>, Refusal> {
    blocking(control, |control| Ok(Json(control.accounts()?.tokens()))).await
}

pub(super) async fn add_token(
    State(control): State<Arc<Control>>,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), Refusal> {
    blocking(control, move |control| {
        let made = control.accounts()?.add_token(&new, now())?;
        Ok((StatusCode::CREATED, Json(made)))
    })
    .await
}

pub(super) async fn revoke(
    State(control): State<Arc<Control>>,
    Path(name): Path<String>,
) -> Result<Json<Forgotten>, Refusal> {
    blocking(control, move |control| {
        let known = control.accounts()?.revoke(&name)?;
        Ok(Json(Forgotten { known }))
    })
    .await
}

/// What all this is, for programs.
pub(super) async fn openapi() -> Json<serde_json::Value> {
    Json(crate::door::openapi())
}
