//! The network door: the control interface over TLS, for users and tokens.
//!
//! What is behind it is the router of [`Control`](crate::control::Control). Before each request stands a guard that
//! knows who asks, and goes by one table of routes; nothing but a login can be asked without a role.

mod accept;
mod accounts;
mod guard;
mod limits;
mod login;
mod openapi;
mod password;
mod routes;
mod sessions;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use bootgate_api::control::paths;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower_sessions::cookie::SameSite;
use tower_sessions::cookie::time;
use tower_sessions::{Expiry, SessionManagerLayer};

pub use accounts::{ACCOUNTS, AccountError, Accounts};
pub use openapi::openapi;
pub use tls::{TlsError, TlsFiles};

use guard::Guard;
use limits::Limits;
use sessions::Sessions;
use tls::Tls;

/// The cookie of a session.
const SESSION_COOKIE: &str = "bootgate-session";

/// A session ends when nothing was asked with it for so long.
const SESSION_IDLE: time::Duration = time::Duration::hours(8);

/// How the control interface is offered on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorConfig {
    /// Where it listens; nowhere where this is empty.
    pub listen: Vec<SocketAddr>,
    /// The certificate; `None`: without TLS.
    pub tls: Option<TlsFiles>,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once from one address.
    pub connections_per_client: usize,
    /// Requests a second from one address; ten times as many in a row. 0: any number.
    pub requests_per_second: u32,
    /// How long a connection may be idle, a request's head or the next part of its body may take, and a client may
    /// leave sent bytes unacknowledged.
    pub idle: Duration,
}

impl Default for DoorConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            tls: None,
            connections: 256,
            connections_per_client: 32,
            requests_per_second: 50,
            idle: Duration::from_secs(30),
        }
    }
}

/// The network door cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoorError {
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("offer the control interface on `{address}`: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
}

/// The control interface on the network. It stops when it is stopped or dropped.
pub struct Door {
    addresses: Vec<SocketAddr>,
    tls: Option<Arc<Tls>>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Door {
    /// Offers `router` to who the accounts let in. Must be called in a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// The certificate cannot be used, or an address cannot be listened on. Nothing is left running.
    pub async fn start(
        config: DoorConfig,
        accounts: Arc<Accounts>,
        router: Router,
    ) -> Result<Self, DoorError> {
        let tls = config.tls.clone().map(Tls::open).transpose()?.map(Arc::new);
        let (stop, stopped) = watch::channel(false);
        let guard = Arc::new(Guard {
            accounts,
            limits: Limits::new(config.requests_per_second),
        });
        let router = guarded(router, guard);
        let mut door = Self {
            addresses: Vec::new(),
            tls: tls.clone(),
            stop,
            tasks: JoinSet::new(),
        };
        let room = Arc::new(accept::Room::new(&config));
        for address in &config.listen {
            let failed = |error| DoorError::Listen {
                address: *address,
                error,
            };
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            door.addresses.push(listener.local_addr().map_err(failed)?);
            let entrance = accept::Entrance {
                listener,
                tls: tls.clone(),
                router: router.clone(),
                room: Arc::clone(&room),
                idle: config.idle,
            };
            door.tasks.spawn(entrance.run(stopped.clone()));
        }
        // The first stranger would wait longer than the others.
        tokio::task::spawn_blocking(|| password::is("", None));
        Ok(door)
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Reads certificate and key again, for connections from now on.
    ///
    /// # Errors
    /// They cannot be used; the former ones stay in use.
    pub fn reload_certificate(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Ends every connection.
    pub async fn stop(mut self) {
        // Nobody listens where nothing runs any more.
        let _ = self.stop.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The router behind its guard, with what is only there over the network.
fn guarded(router: Router, guard: Arc<Guard>) -> Router {
    let sessions = SessionManagerLayer::new(Sessions::default())
        .with_name(SESSION_COOKIE)
        .with_secure(true)
        .with_http_only(true)
        .with_same_site(SameSite::Strict)
        .with_expiry(Expiry::OnInactivity(SESSION_IDLE));
    let logins = Router::new()
        .route(paths::LOGIN, post(login::login))
        .route(paths::LOGIN_TOKEN, post(login::token))
        .route(paths::LOGOUT, post(login::logout))
        .route(paths::WHOAMI, get(login::whoami))
        .with_state(Arc::clone(&guard));
    router
        .merge(logins)
        .layer(from_fn_with_state(guard, guard::guard))
        .layer(sessions)
}
