//! Asking a server: the one that runs, or the same rules over what it left behind.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::http::{Method, Request, Response, StatusCode};
use bootgate_api::control::{Problem, SOCKET, Status, paths};
use bootgate_events::MacAddr;
use bootgate_server::control::Control;
use bootgate_server::door::Accounts;
use bootgate_store::sqlite::{DATABASE, Sqlite};
use bootgate_store::{Store, StoreError};
use futures_util::StreamExt;
use hyper::client::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use crate::args::{Network, Reach};
use crate::exit::{self, INFRA, USAGE};
use crate::remote::{Remote, Url, token_of};

/// Longest answer that is read at once, in bytes: a list of all leases of a large lab.
const ANSWER_MAX: usize = 256 << 20;

/// How long a server may take to start or stop before a command gives up on it, and how often it is looked at.
const BUSY: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(20);
const LOOK_FAR: Duration = Duration::from_millis(500);

/// What to do where there is no state.
const NO_STATE: &str = "`--state DIR` or BOOTGATE_STATE says where the server's state is (`folder` under `[state]` in serve.toml)";

/// What went wrong, and what to do.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub(crate) code: u8,
    pub(crate) error: String,
    pub(crate) hint: String,
    /// What the server answered, where it did.
    pub(crate) status: Option<StatusCode>,
}

impl Trouble {
    pub(crate) fn infra(error: impl Into<String>, hint: impl Into<String>) -> Self {
        let (error, hint) = (error.into(), hint.into());
        Self {
            code: INFRA,
            error,
            hint,
            status: None,
        }
    }

    pub(crate) fn usage(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            ..Self::infra(error, hint)
        }
    }
}

/// What a command comes to: an exit code, where it was done.
pub(crate) type Done = Result<ExitCode, Trouble>;

/// Runs a command that asks a server.
pub(crate) fn run(command: impl Future<Output = Done>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(command),
        Err(error) => Err(Trouble::infra(format!("start the runtime: {error}"), "")),
    };
    done.unwrap_or_else(|trouble| exit::fail(trouble.code, &trouble.error, &trouble.hint))
}

/// A server to ask.
pub(crate) struct Client {
    door: Door,
}

enum Found {
    Client(Client),
    /// Somebody has the state and answers nobody.
    Busy(Trouble),
}

enum Door {
    /// A server runs.
    Socket(std::path::PathBuf),
    /// A server on the network.
    Remote(Box<Remote>),
    /// None runs; the state is opened here, and closed to servers meanwhile.
    Here(Box<TowerToHyperService<Router>>),
}

impl Client {
    /// The server on the network, where one is named; else the one whose state this is; where none runs, its state,
    /// which must be there.
    pub(crate) async fn reach(reach: &Reach) -> Result<Self, Trouble> {
        Self::find_or_remote(reach, false).await
    }

    /// The server whose state this is, on this host; where none runs, its state, which must be there.
    pub(crate) async fn reach_here(state: &Path) -> Result<Self, Trouble> {
        Self::find(state, false).await
    }

    /// The same; where there is no state yet, an empty one is made.
    pub(crate) async fn reach_or_make(reach: &Reach) -> Result<Self, Trouble> {
        Self::find_or_remote(reach, true).await
    }

    /// A server on the network.
    pub(crate) fn of(remote: Remote) -> Self {
        let door = Door::Remote(Box::new(remote));
        Self { door }
    }

    async fn find_or_remote(reach: &Reach, make: bool) -> Result<Self, Trouble> {
        let Network {
            server,
            token_file,
            ca,
        } = &reach.network;
        let Some(server) = server else {
            return Self::find(&reach.state, make).await;
        };
        let url = Url::read(server)?;
        let stored = url.token_file().filter(|file| file.exists());
        let token = match token_file.as_ref().or(stored.as_ref()) {
            Some(file) => Some(token_of(file)?),
            None => None,
        };
        Ok(Self::of(Remote::new(url, ca.as_deref(), token)?))
    }

    /// Looks until there is a server or its state is free: one that starts or stops has the state, and no door.
    async fn find(state: &Path, make: bool) -> Result<Self, Trouble> {
        let end = Instant::now() + BUSY;
        let mut look = tokio::time::interval(LOOK);
        loop {
            look.tick().await;
            match Self::find_now(state, make).await? {
                Found::Client(client) => return Ok(client),
                Found::Busy(_) if Instant::now() < end => {}
                Found::Busy(trouble) => return Err(trouble),
            }
        }
    }

    async fn find_now(state: &Path, make: bool) -> Result<Found, Trouble> {
        let socket = state.join(SOCKET);
        let door = match UnixStream::connect(&socket).await {
            Ok(_) => Door::Socket(socket),
            Err(error) if nobody_there(&error) && !make && !state.join(DATABASE).exists() => {
                return Err(Trouble::infra(
                    format!(
                        "no server runs with the state `{}`, and nothing is stored there",
                        state.display()
                    ),
                    NO_STATE,
                ));
            }
            Err(error) if nobody_there(&error) => match Sqlite::open(state) {
                Ok(store) => {
                    let accounts = Accounts::open(state)
                        .map_err(|error| Trouble::infra(error.to_string(), ""))?;
                    Door::Here(Box::new(here(Arc::new(store), Arc::new(accounts))))
                }
                Err(error @ StoreError::InUse { .. }) => {
                    return Ok(Found::Busy(trouble_with(state, &error)));
                }
                Err(error) => return Err(trouble_with(state, &error)),
            },
            Err(error) => {
                let hint = match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "run this as the user that the server runs as, or as root"
                    }
                    _ => "",
                };
                let error = format!("connect to `{}`: {error}", socket.display());
                return Err(Trouble::infra(error, hint));
            }
        };
        Ok(Found::Client(Self { door }))
    }

    /// Whether a server runs.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.door, Door::Socket(_) | Door::Remote(_))
    }

    /// How often a server that does not answer is looked at: one on the network counts how often it is asked.
    fn look(&self) -> Duration {
        match self.door {
            Door::Remote(_) => LOOK_FAR,
            Door::Socket(_) | Door::Here(_) => LOOK,
        }
    }

    /// Where the server is, for people; `None` where it is this host's.
    pub(crate) fn url(&self) -> Option<String> {
        match &self.door {
            Door::Remote(remote) => Some(remote.url().to_string()),
            Door::Socket(_) | Door::Here(_) => None,
        }
    }

    /// Waits until a server that ran answers again; whether it does in this time.
    pub(crate) async fn returns(&self, wait: Duration) -> bool {
        if !self.is_live() || wait.is_zero() {
            return false;
        }
        exit::note("the server stopped: waiting for it to run again");
        let answers = async {
            let mut look = tokio::time::interval(self.look());
            loop {
                look.tick().await;
                let status: Result<Status, _> = self.get(paths::STATUS).await;
                if status.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(wait, answers).await.is_ok()
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        self.ask(Method::GET, path, Body::empty()).await
    }

    pub(crate) async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Trouble> {
        self.ask(Method::DELETE, path, Body::empty()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Trouble> {
        self.ask(Method::POST, path, json(body)?).await
    }

    pub(crate) async fn patch<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Trouble> {
        self.ask(Method::PATCH, path, json(body)?).await
    }

    pub(crate) async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Trouble> {
        self.ask(Method::PUT, path, json(body)?).await
    }

    /// Sends bytes as they come.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        path: &str,
        bytes: Body,
    ) -> Result<T, Trouble> {
        self.ask(Method::PATCH, path, bytes).await
    }

    /// Bytes as they come, and how many they will be.
    pub(crate) async fn bytes(&self, path: &str) -> Result<(Option<u64>, BodyDataStream), Trouble> {
        let response = self.answer(Method::GET, path, Body::empty()).await?;
        let length = response.headers().get(axum::http::header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok((length, response.into_body().into_data_stream()))
    }

    /// An answer that comes line by line.
    pub(crate) async fn lines(&self, path: &str) -> Result<Lines, Trouble> {
        let response = self.answer(Method::GET, path, Body::empty()).await?;
        Ok(Lines {
            stream: response.into_body().into_data_stream(),
            read: Vec::new(),
        })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, Trouble> {
        let response = self.answer(method, path, body).await?;
        let bytes = whole(response).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Trouble::infra(
                format!("read the server's answer: {error}"),
                "this program and the server may be of different versions",
            )
        })
    }

    /// The answer to a request that was done.
    async fn answer(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Response<Body>, Trouble> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "bootgate")
            .body(body)
            .map_err(|error| Trouble::infra(format!("ask for `{path}`: {error}"), ""))?;
        let response = match &self.door {
            Door::Socket(socket) => by_socket(socket, request).await?,
            Door::Remote(remote) => remote.send(request).await?,
            Door::Here(router) => match router.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            },
        };
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = whole(response).await?;
        let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| Problem {
            error: format!("the server answered {status}"),
            hint: String::new(),
        });
        Err(Trouble {
            code: if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
                USAGE
            } else {
                INFRA
            },
            error: bootgate_report::words::harmless(&problem.error),
            hint: bootgate_report::words::harmless(&problem.hint),
            status: Some(status),
        })
    }
}

/// No server listens: there is no socket, or nobody behind it.
fn nobody_there(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::NotADirectory
    )
}

/// The rules over the stored state, in this process.
fn here(store: Arc<dyn Store>, accounts: Arc<Accounts>) -> TowerToHyperService<Router> {
    let waker = Arc::new(|interface: &str, mac: MacAddr| crate::wol::wake(interface, mac));
    let control = Control::stored(store)
        .with_waker(waker)
        .with_accounts(accounts);
    TowerToHyperService::new(control.router())
}

/// Why the state cannot be opened.
pub(crate) fn trouble_with(state: &Path, error: &StoreError) -> Trouble {
    let hint = match error {
        StoreError::Newer { .. } => "use the version of bootgate that wrote it, or a newer one",
        StoreError::Full { .. } => "make room on the disk",
        StoreError::InUse { .. } => "a server that starts or stops needs a moment; then try again",
        _ if !state.is_dir() => NO_STATE,
        _ => "",
    };
    Trouble::infra(error.to_string(), hint)
}

async fn by_socket(socket: &Path, request: Request<Body>) -> Result<Response<Body>, Trouble> {
    let gone = |error: &dyn std::fmt::Display| {
        Trouble::infra(
            format!("ask the server at `{}`: {error}", socket.display()),
            "it may have been stopped just now",
        )
    };
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| gone(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| gone(&error))?;
    // Ends with the answer, or with this program.
    tokio::spawn(connection);
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| gone(&error))?;
    Ok(response.map(Body::new))
}

fn json(body: &impl Serialize) -> Result<Body, Trouble> {
    match serde_json::to_vec(body) {
        Ok(bytes) => Ok(bytes.into()),
        Err(error) => Err(Trouble::infra(format!("write the request: {error}"), "")),
    }
}

async fn whole(response: Response<Body>) -> Result<axum::body::Bytes, Trouble> {
    let read = axum::body::to_bytes(response.into_body(), ANSWER_MAX).await;
    read.map_err(|error| Trouble::infra(format!("read the server's answer: {error}"), ""))
}

/// Lines that come as they are made.
pub(crate) struct Lines {
    stream: BodyDataStream,
    read: Vec<u8>,
}

impl Lines {
    /// The next line without its end; `None` where the server has no more.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Trouble> {
        loop {
            if let Some(end) = self.read.iter().position(|byte| *byte == b'\n') {
                let rest = self.read.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.read, rest);
                line.pop();
                return Ok(Some(line));
            }
            match self.stream.next().await {
                Some(Ok(bytes)) => self.read.extend_from_slice(&bytes),
                // The answer was cut off: whoever follows knows what that means to them.
                Some(Err(_)) => return Ok(None),
                None => return Ok(None),
            }
        }
    }
}
