//! Reading the configuration again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use bootgate_api::control::Reloaded;

use super::Control;
use super::problem::Refusal;

pub(super) async fn reload(State(control): State<Arc<Control>>) -> Result<Json<Reloaded>, Refusal> {
    let Some(reloader) = &control.reloader else {
        let hint = "start it: bootgate serve";
        let error = "no server runs that could read its configuration again".to_owned();
        return Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, error, hint));
    };
    let changed = reloader().await;
    let refused = |problem: bootgate_api::control::Problem| {
        Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            problem.error,
            problem.hint,
        )
    };
    Ok(Json(Reloaded {
        changed: changed.map_err(refused)?,
    }))
}
