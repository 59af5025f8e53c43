//! Where metrics and health are asked for.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::lab::Lab;

/// Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// How long the server may take to show that it is alive.
const ALIVE: Duration = Duration::from_secs(2);
/// Connections at once. A server that is watched has a few.
const CONNECTIONS: usize = 32;
/// Longest time for a request's head, and for the next request of a connection.
const HEAD: Duration = Duration::from_secs(30);
/// Time before accepting is tried again where it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// `GET /metrics`, `/healthz` and `/readyz` of a lab.
pub fn monitor_router(lab: Arc<Lab>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(lab)
}

async fn metrics(State(lab): State<Arc<Lab>>) -> Response {
    // Counting leases holds a lock that threads of the runtime wait for.
    match tokio::task::spawn_blocking(move || lab.metrics()).await {
        Ok(page) => ([(CONTENT_TYPE, TEXT_FORMAT)], page).into_response(),
        Err(error) => {
            let text = format!("show the metrics: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

async fn healthz(State(lab): State<Arc<Lab>>) -> Response {
    match lab.is_alive(ALIVE).await {
        true => "alive\n".into_response(),
        false => {
            let text = format!(
                "not alive: nothing was recorded for {} s\n",
                ALIVE.as_secs()
            );
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn readyz(State(lab): State<Arc<Lab>>) -> Response {
    let why = lab.not_ready();
    if why.is_empty() {
        return "ready\n".into_response();
    }
    let lines: String = why
        .iter()
        .map(|why| format!("not ready: {why}\n"))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, lines).into_response()
}

/// Offers a router by plain HTTP to whoever reaches it. It stops when it is dropped.
pub struct MetricsServer {
    _task: JoinSet<()>,
}

impl MetricsServer {
    /// Listens on this address. Must be called in a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn start(address: SocketAddr, router: Router) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let mut task = JoinSet::new();
        task.spawn(accept(listener, router));
        Ok(Self { _task: task })
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let mut open = JoinSet::new();
    let mut again = Instant::now();
    loop {
        let next = async {
            tokio::time::sleep_until(again).await;
            listener.accept().await
        };
        tokio::select! {
            accepted = next, if open.len() < CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    open.spawn(serve(router.clone(), stream));
                }
                Err(error) => {
                    tracing::warn!("accept a connection for metrics: {error}");
                    // Out of files, for the most part: trying again at once is of no use.
                    again = Instant::now() + PAUSE;
                }
            },
            Some(_) = open.join_next() => {}
        }
    }
}

async fn serve(router: Router, stream: TcpStream) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!("a connection for metrics ended: {error}");
    }
}
