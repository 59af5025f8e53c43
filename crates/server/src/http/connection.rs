//! One HTTP connection.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;

use super::reply::Handover;
use super::stand_in::{FilePart, StandIn};
use super::track::{TrackedStream, Written};
use crate::context::Context;
use crate::socket::set_up;

/// The client's address, for handlers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let peer = parts.extensions.get::<Peer>().copied();
        peer.ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// Serves the requests of one connection, one after the other, until either side closes it.
pub(super) async fn serve(context: Arc<Context>, router: Router, stream: TcpStream, peer: IpAddr) {
    let idle = context.config.limits.http_idle;
    set_up(&stream, idle);
    let written = Arc::new(Written::default());
    let service = {
        let written = Arc::clone(&written);
        let router = TowerToHyperService::new(router);
        service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            let method = request.method().clone();
            let answering = router.call(request);
            let written = Arc::clone(&written);
            async move {
                let mut response = answering.await?;
                expect(&written, &method, &mut response);
                Ok::<_, Infallible>(response)
            }
        })
    };
    let io = TokioIo::new(TrackedStream::new(stream, Arc::clone(&written)));
    let result = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .keep_alive(true)
        .serve_connection(io, service)
        .await;
    let reason = match &result {
        Ok(()) => "the connection was closed".to_owned(),
        Err(error) => describe(error),
    };
    if let Err(error) = &result
        && error.is_parse()
    {
        let mac = context.mac_of(peer);
        context.dropped("http", mac, &reason);
    }
    written.end(&reason);
}

/// Tells the writing side what comes next, in the order of the responses. A file's bytes need not pass through this
/// process: where they can, the writing side sends them by itself, and the body only stands for them.
fn expect(written: &Written, method: &Method, response: &mut Response<Body>) {
    let bodiless = *method == Method::HEAD
        || matches!(
            response.status(),
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    let length = if bodiless {
        0
    } else {
        response.body().size_hint().lower()
    };
    let handover = response.extensions_mut().remove::<Handover>();
    let events = handover.and_then(|handover| handover.take());
    let part = response.extensions_mut().remove::<FilePart>();
    let part = part.filter(|part| {
        let FilePart { file, range } = part;
        !bodiless
            && length == range.end.saturating_sub(range.start)
            && file.is_sendable(range.start, range.end)
    });
    if let Some(part) = &part {
        *response.body_mut() = Body::new(StandIn::new(part.clone()));
    }
    written.expect(length, events, part);
}

fn describe(error: &hyper::Error) -> String {
    use std::error::Error;
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
