//! The HTTP server: files, boot scripts and the agent's API.

mod agent;
mod artifacts;
mod body;
mod connection;
mod loaders;
mod reply;
mod scripts;
mod stand_in;
mod track;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{get, post};
use bootgate_events::{ArtifactRole, MacAddr, Protocol};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{Id, JoinSet};

use crate::context::{Context, Refused, Taking};
use crate::desk::Refusal;
use connection::Peer;
use reply::{Reply, failure};

/// Longest body of an agent's call, in bytes.
const BODY_MAX: usize = 64 << 10;

/// Routes by path. Handlers find who asks in the request's extensions.
fn router(context: &Arc<Context>) -> Router {
    Router::new()
        .route(
            "/artifacts/{*name}",
            get(artifacts::serve).head(artifacts::serve),
        )
        .route(
            "/boot/{mac}/boot.ipxe",
            get(scripts::serve).head(scripts::serve),
        )
        .route("/api/v1/attempts/{nonce}/hello", post(agent::hello))
        .route("/api/v1/attempts/{nonce}/plan", get(agent::plan))
        .route("/api/v1/attempts/{nonce}/progress", post(agent::progress))
        .route("/api/v1/attempts/{nonce}/complete", post(agent::complete))
        .route("/api/v1/attempts/{nonce}/inventory", post(agent::inventory))
        .route("/api/v1/attempts/{nonce}/failure", post(agent::failure))
        .route("/api/v1/attempts/{nonce}/answer", get(agent::answer))
        .route(
            "/api/v1/attempts/{nonce}/installed",
            get(agent::installed).post(agent::installed),
        )
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .with_state(Arc::clone(context))
}

/// What has no route: the configuration of a loader that was started with the server's root as its folder, or nothing.
async fn unknown(
    State(context): State<Arc<Context>>,
    peer: Peer,
    method: Method,
    uri: Uri,
) -> Reply {
    let asked = Asked::new(&context, peer, uri.path(), ArtifactRole::Other);
    if method == Method::GET || method == Method::HEAD {
        return loaders::serve(asked, uri.path(), &method).await;
    }
    asked.refuse(StatusCode::NOT_FOUND, "nothing is served under this path")
}

async fn wrong_method(
    State(context): State<Arc<Context>>,
    peer: Peer,
    method: Method,
    uri: Uri,
) -> Reply {
    let asked = Asked::new(&context, peer, uri.path(), ArtifactRole::Other);
    let reason = format!("method `{method}` is not served under this path");
    asked.refuse(StatusCode::METHOD_NOT_ALLOWED, reason)
}

/// A request: who asks for what.
struct Asked<'a> {
    context: &'a Arc<Context>,
    peer: IpAddr,
    mac: Option<MacAddr>,
    path: &'a str,
    role: ArtifactRole,
}

impl<'a> Asked<'a> {
    fn new(context: &'a Arc<Context>, peer: Peer, path: &'a str, role: ArtifactRole) -> Self {
        Self {
            context,
            peer: peer.0,
            mac: context.mac_of(peer.0),
            path,
            role,
        }
    }

    /// Refuses the request, with an event.
    fn refuse(&self, status: StatusCode, reason: impl Into<String>) -> Reply {
        let reason = reason.into();
        let reply = failure(status, &reason);
        let refused = Refused {
            protocol: Protocol::Http,
            role: self.role,
            path: self.path,
            peer: self.peer,
            code: status.as_u16(),
            reason,
        };
        self.context.refused(self.mac, refused);
        reply
    }
}

impl Asked<'_> {
    /// Refuses the request as a desk says.
    fn refuse_by(mut self, refusal: Refusal) -> Reply {
        let status = StatusCode::from_u16(refusal.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        self.mac = refusal.mac.or(self.mac);
        match refusal.told {
            Some(told) => {
                self.context.emit(self.mac, *told);
                failure(status, &refusal.reason)
            }
            None => self.refuse(status, refusal.reason),
        }
    }
}

/// Accepts connections until it is stopped.
pub(crate) async fn run(context: Arc<Context>, listener: TcpListener, taking: Taking) {
    let router = router(&context);
    let mut open = JoinSet::new();
    let mut peers: HashMap<Id, IpAddr> = HashMap::new();
    let mut by_peer: HashMap<IpAddr, usize> = HashMap::new();
    // After a failure to accept (too many open files), nothing is accepted until a connection ended.
    let mut exhausted = false;
    loop {
        tokio::select! {
            () = context.closing() => break,
            accepted = listener.accept(), if !exhausted => match accepted {
                Ok((stream, peer)) => {
                    let count = by_peer.get(&peer.ip()).copied().unwrap_or_default();
                    let limits = context.limits();
                    if open.len() >= limits.http_connections
                        || count >= limits.http_connections_per_client
                    {
                        let mac = context.mac_of(peer.ip());
                        context.dropped("http", mac, "too many connections at once");
                        continue;
                    }
                    // Only who has a connection is kept: over IPv6 there is no end of addresses.
                    by_peer.insert(peer.ip(), count + 1);
                    let task = open.spawn(connection(&context, &router, stream, peer));
                    peers.insert(task.id(), peer.ip());
                }
                Err(error) => {
                    context.dropped("http", None, &format!("accept a connection: {error}"));
                    exhausted = error.raw_os_error().is_some_and(out_of_files) && !open.is_empty();
                }
            },
            Some(ended) = open.join_next_with_id() => {
                exhausted = false;
                let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
                if let Some(ip) = peers.remove(&id)
                    && let Some(count) = by_peer.get_mut(&ip)
                {
                    *count -= 1;
                    if *count == 0 {
                        by_peer.remove(&ip);
                    }
                }
            }
        }
    }
    drop(listener);
    drop(taking);
    while open.join_next().await.is_some() {}
}

fn out_of_files(errno: i32) -> bool {
    let errno = rustix::io::Errno::from_raw_os_error(errno);
    errno == rustix::io::Errno::MFILE || errno == rustix::io::Errno::NFILE
}

fn connection(
    context: &Arc<Context>,
    router: &Router,
    stream: TcpStream,
    peer: SocketAddr,
) -> impl Future<Output = ()> + use<> {
    let open = context.metrics.as_ref().map(|metrics| metrics.connection());
    let served = connection::serve(Arc::clone(context), router.clone(), stream, peer.ip());
    async move {
        let _open = open;
        served.await;
    }
}
