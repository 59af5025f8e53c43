//! Responses that all handlers give.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Serialize;

use super::body::FileBody;
use super::stand_in::FilePart;
use crate::transfers::TransferEvents;

/// A response with its length, and the transfer that it is, where it is one.
pub(super) struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Body,
    transfer: Option<Box<TransferEvents>>,
    part: Option<FilePart>,
}

impl Reply {
    /// A response whose body has `length` bytes, or would have for GET.
    pub(super) fn new(status: StatusCode, body: Body, length: u64) -> Self {
        let headers = vec![(CONTENT_LENGTH, HeaderValue::from(length))];
        Self {
            status,
            headers,
            body,
            transfer: None,
            part: None,
        }
    }

    pub(super) fn bytes(status: StatusCode, content_type: &str, bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        Self::new(status, Body::from(bytes), length).header(CONTENT_TYPE, content_type)
    }

    pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => Self::bytes(status, "application/json", json.into()),
            Err(error) => Self::bytes(
                StatusCode::INTERNAL_SERVER_ERROR,
                "text/plain",
                format!("write the answer: {error}\n").into(),
            ),
        }
    }

    /// Adds a header. An empty or unlawful value is left out: UEFI HTTP Boot gives up on headers without a value.
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value)
            && !value.is_empty()
        {
            self.headers.push((name, value));
        }
        self
    }

    /// A part of a file. A connection that can sends it without reading the body.
    pub(super) fn file(status: StatusCode, part: FilePart) -> Self {
        let length = part.range.end.saturating_sub(part.range.start);
        let body = FileBody::new(Arc::clone(&part.file), part.range.clone());
        Self {
            part: Some(part),
            ..Self::new(status, Body::new(body), length)
        }
    }

    /// Tells of this response as a transfer.
    pub(super) fn transfer(mut self, events: TransferEvents) -> Self {
        self.transfer = Some(Box::new(events));
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        if let Some(events) = self.transfer {
            response.extensions_mut().insert(Handover::new(*events));
        }
        if let Some(part) = self.part {
            response.extensions_mut().insert(part);
        }
        response
    }
}

/// An error as JSON, for agents and people.
pub(super) fn failure(status: StatusCode, reason: &str) -> Reply {
    Reply::json(status, &serde_json::json!({ "error": reason }))
}

/// Carries a transfer's events from a handler to its connection. Extensions must be `Clone`; what is in here is
/// taken once.
#[derive(Clone)]
pub(super) struct Handover(Arc<Mutex<Option<TransferEvents>>>);

impl Handover {
    fn new(events: TransferEvents) -> Self {
        Self(Arc::new(Mutex::new(Some(events))))
    }

    pub(super) fn take(&self) -> Option<TransferEvents> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.take()
    }
}
