//! Requests that are not done, and what requests are read from.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bootgate_api::control::Problem;
use bootgate_events::MacAddr;
use bootgate_store::StoreError;
use serde::de::DeserializeOwned;

/// Names shown at most where one was not found.
const NAMES: usize = 8;

/// A request that is not done.
#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
    pub(crate) fn new(
        status: StatusCode,
        error: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        let (error, hint) = (error.into(), hint.into());
        Self {
            status,
            problem: Problem { error, hint },
        }
    }

    /// What was asked for makes no sense.
    pub(crate) fn bad(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error, hint)
    }

    /// The server's own fault.
    pub(crate) fn broken(error: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error, "")
    }

    pub(crate) fn not_found(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, hint)
    }

    pub(super) fn unknown_machine(mac: &MacAddr) -> Self {
        Self::not_found(
            format!("no machine `{mac}` is known"),
            format!("`bootgate machine set {mac} --mode local` makes it known"),
        )
    }

    pub(super) fn no_machine<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        let hint = match listed(known) {
            Some(names) => format!("names of machines: {names}; or a hardware address"),
            None => "no machine has a name; give its hardware address".to_owned(),
        };
        Self::not_found(format!("no machine is named `{name}`"), hint)
    }

    /// The same with another hint.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem.hint = hint.into();
        self
    }

    /// Whether what is stored contradicts the request.
    pub(super) fn is_conflict(&self) -> bool {
        self.status == StatusCode::CONFLICT
    }
}

/// The names joined by commas, not all of many; `None` where there is none.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(NAMES);
    let shown = names.get(..names.len() - more)?.join(", ");
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(shown),
        (false, more) => Some(format!("{shown} and {more} more")),
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let (status, hint) = match &error {
            StoreError::Full { .. } => (
                StatusCode::INSUFFICIENT_STORAGE,
                "make room on the disk of the state folder; nothing was changed",
            ),
            StoreError::Refused { .. } | StoreError::Offset { .. } => (StatusCode::CONFLICT, ""),
            StoreError::Missing { .. } => (StatusCode::NOT_FOUND, ""),
            StoreError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, ""),
            StoreError::Wrong { .. } => (StatusCode::UNPROCESSABLE_ENTITY, ""),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, ""),
        };
        Self::new(status, error.to_string(), hint)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.problem)).into_response()
    }
}

/// A request's JSON body. An empty one stands for `{}`.
pub(crate) struct Body<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|error| Refusal::new(error.status(), error.body_text(), ""))?;
        let bytes = if bytes.is_empty() { &b"{}"[..] } else { &bytes };
        let unreadable = |error: &dyn std::fmt::Display| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("read the request's body: {error}"),
                "`bootgate api openapi` tells what each request takes",
            )
        };
        if bytes.trim_ascii_start().starts_with(b"[") {
            // The library would take it for the fields in their order.
            return Err(unreadable(&"a list, where an object is expected"));
        }
        serde_json::from_slice(bytes)
            .map(Self)
            .map_err(|error| unreadable(&error))
    }
}

/// A request's query.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match Query::<T>::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(Refusal::new(error.status(), error.body_text(), "")),
        }
    }
}
