//! Connections.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::Layer;
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::DoorConfig;
use super::guard::Peer;
use super::limits::network;
use super::tls::Tls;
use crate::socket::set_up;

/// Time before accepting is tried again where it failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Connections that are open, over all addresses that are listened on.
pub(super) struct Room {
    most: usize,
    most_per_client: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Room {
    pub(super) fn new(config: &DoorConfig) -> Self {
        Self {
            most: config.connections,
            most_per_client: config.connections_per_client,
            open: Mutex::default(),
        }
    }

    /// A place for one more; `None` where there is none.
    fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = network(ip);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&ip).copied().unwrap_or_default();
        if count >= self.most_per_client || open.values().sum::<usize>() >= self.most {
            return None;
        }
        open.insert(ip, count + 1);
        let room = Arc::clone(self);
        Some(Place { room, ip })
    }
}

/// A connection's place, given back at its end.
struct Place {
    room: Arc<Room>,
    ip: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let open = self.room.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&self.ip) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&self.ip)),
        }
    }
}

/// One address that is listened on.
pub(super) struct Entrance {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) router: Router,
    pub(super) room: Arc<Room>,
    pub(super) idle: Duration,
}

impl Entrance {
    /// Accepts connections until it is told to stop; then ends them all.
    pub(super) async fn run(self, mut stopped: watch::Receiver<bool>) {
        let mut open = JoinSet::new();
        let mut again = Instant::now();
        loop {
            tokio::select! {
                _ = stopped.wait_for(|stop| *stop) => break,
                accepted = self.accept(again) => match accepted {
                    Ok((stream, peer)) => {
                        if let Some(place) = self.room.enter(peer.ip()) {
                            open.spawn(self.serve(stream, peer, place));
                        }
                    }
                    Err(error) => {
                        tracing::warn!("accept a connection of the control interface: {error}");
                        // Out of files, for the most part: trying again at once is of no use.
                        again = Instant::now() + PAUSE;
                    }
                },
                Some(_) = open.join_next() => {}
            }
        }
        open.shutdown().await;
    }

    /// The next connection, from that moment on.
    async fn accept(&self, from: Instant) -> io::Result<(TcpStream, SocketAddr)> {
        tokio::time::sleep_until(from).await;
        self.listener.accept().await
    }

    fn serve(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Place,
    ) -> impl Future<Output = ()> + use<> {
        let tls = self.tls.as_ref().map(|tls| tls.acceptor());
        let (router, idle) = (self.router.clone(), self.idle);
        async move {
            let _place = place;
            set_up(&stream, idle);
            let ended = match tls {
                None => requests(stream, router, peer.ip(), idle).await,
                Some(tls) => match tokio::time::timeout(idle, tls.accept(stream)).await {
                    Ok(Ok(stream)) => requests(stream, router, peer.ip(), idle).await,
                    Ok(Err(error)) => Err(error),
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                },
            };
            if let Err(error) = ended {
                tracing::debug!("a connection from {} ended: {error}", peer.ip());
            }
        }
    }
}

/// Serves the requests of one connection.
async fn requests<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    router: Router,
    from: IpAddr,
    idle: Duration,
) -> io::Result<()> {
    let router = TowerToHyperService::new(RequestBodyTimeoutLayer::new(idle).layer(router));
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(Peer(from));
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(idle)
        .serve_connection(TokioIo::new(stream), service);
    served.await.map_err(io::Error::other)
}
