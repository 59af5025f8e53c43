//! Boot attempts and their events.

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bootgate_api::Attempt;
use bootgate_events::AttemptId;
use bootgate_store::AttemptFilter;
use bootgate_store::rules::attempt_id;
use serde::Deserialize;

use super::follow::{self, Form};
use super::problem::{Asked, Refusal};
use super::sse;
use super::{Control, blocking};

/// Attempts listed where no number is asked for, and at most.
const LIMITS: (usize, usize) = (100, 10_000);

/// Which attempts to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Of this machine.
    machine: Option<String>,
    /// Only those without a verdict.
    #[serde(default)]
    open: bool,
    /// Only those before this one.
    before: Option<String>,
    /// At most so many.
    limit: Option<usize>,
}

/// Which events to send.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventFilter {
    /// From this number on.
    #[serde(default)]
    from: u64,
    /// New ones too, until the attempt has its verdict. Server-sent events do so where nothing is said.
    follow: Option<bool>,
}

/// Whose events to send.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whose {
    /// Of this machine.
    machine: Option<String>,
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<Vec<Attempt>>, Refusal> {
    blocking(control, move |control| {
        let who = filter.machine.as_deref();
        let (usual, most) = LIMITS;
        let filter = AttemptFilter {
            mac: who.map(|who| control.mac_of(who)).transpose()?,
            open: filter.open,
            before: filter.before.map(AttemptId::new),
            limit: filter.limit.unwrap_or(usual).min(most),
        };
        Ok(Json(control.store.attempts(&filter)?))
    })
    .await
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
) -> Result<Json<Attempt>, Refusal> {
    blocking(control, move |control| control.attempt(&id).map(Json)).await
}

pub(super) async fn events(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    Asked(filter): Asked<EventFilter>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let form = Form::of(&headers);
    let follow = filter.follow.unwrap_or(form == Form::Stream);
    let from = match last_event(form, &headers)? {
        Some(LastEvent(last)) => last + 1,
        None => filter.from,
    };
    // Listened to before anything is read, so that nothing falls between.
    let live = match (&control.lab, follow) {
        (Some(lab), true) => Some(lab.subscribe()),
        _ => None,
    };
    let attempt = blocking(Arc::clone(&control), move |control| control.attempt(&id)).await?;
    if form == Form::Stream && attempt.finished.is_some() {
        let id = attempt.id.clone();
        let rest = blocking(Arc::clone(&control), move |control| {
            Ok(control.store.events(&id, from, 1)?)
        });
        if rest.await?.is_empty() {
            return Ok(follow::no_more());
        }
    }
    let live = live.filter(|_| attempt.finished.is_none());
    Ok(follow::attempt(control, attempt.id, from, live, form))
}

/// The number of the last event that a reader got.
struct LastEvent(u64);

impl FromStr for LastEvent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = text.parse().ok().filter(|number| *number < u64::MAX);
        number.map(Self).ok_or(())
    }
}

/// What a reader of server-sent events got before it was cut off.
fn last_event<T: FromStr>(form: Form, headers: &HeaderMap) -> Result<Option<T>, Refusal> {
    let Some(value) = headers
        .get("last-event-id")
        .filter(|_| form == Form::Stream)
    else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "`last-event-id` is none of these events",
            "leave it away to begin with what happens from now on",
        )
    })
}

pub(super) async fn all_events(
    State(control): State<Arc<Control>>,
    Asked(whose): Asked<Whose>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let Some(lab) = &control.lab else {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "no server runs, so nothing happens",
            "start one with `bootgate serve`",
        ));
    };
    let form = Form::of(&headers);
    let last = last_event(form, &headers)?;
    let live = lab.subscribe();
    let mac = match whose.machine {
        Some(who) => {
            let found = blocking(Arc::clone(&control), move |control| control.mac_of(&who));
            Some(found.await?)
        }
        None => None,
    };
    match form {
        Form::Lines => Ok(follow::all(control, mac, live)),
        Form::Stream => sse::all(control, mac, live, last).await,
    }
}

impl Control {
    /// An attempt by its number, or the latest of a machine.
    fn attempt(&self, id: &str) -> Result<Attempt, Refusal> {
        // `a12` for `a0000000012`.
        let digits = id.strip_prefix('a').and_then(|digits| digits.parse().ok());
        let number = digits.map_or_else(|| AttemptId::new(id), attempt_id);
        if let Some(attempt) = self.store.attempt(&number)? {
            return Ok(attempt);
        }
        let unknown = || {
            Refusal::not_found(
                format!("no attempt `{id}` is known"),
                "`bootgate attempt list` shows attempts; a machine's name or address stands for its latest",
            )
        };
        let mac = self.mac_of(id).map_err(|_| unknown())?;
        let latest = AttemptFilter {
            mac: Some(mac),
            limit: 1,
            ..AttemptFilter::default()
        };
        self.store.attempts(&latest)?.pop().ok_or_else(unknown)
    }
}
