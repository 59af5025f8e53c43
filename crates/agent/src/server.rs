//! The agent's calls to the server, over plain HTTP to an IP address.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use bootgate_api::{
    AgentHello, BootPlan, ChunkIndex, Completion, Failure, Inventory, Progress, paths,
};
use bootgate_events::AttemptId;
use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Body};

use crate::flash::{Source, SourceError};
use crate::halt::{Halt, Retry};

/// An answer to a call is no longer than this many bytes.
const ANSWER_LIMIT: u64 = 1 << 20;
/// A chunk index is no longer than this many bytes: room for half a million chunks.
const INDEX_LIMIT: u64 = 64 << 20;
/// A connection on which nothing moves for this long counts as broken.
const STALL: Duration = Duration::from_secs(10);
/// A progress report that takes longer is given up: the next one says more.
const PROGRESS_LIMIT: Duration = Duration::from_secs(2);

/// A call failed.
#[derive(Debug, thiserror::Error)]
#[error("{action}: {reason}")]
pub struct ServerError {
    /// What was tried.
    pub action: String,
    /// Why it failed.
    pub reason: String,
    /// Whether another try may succeed: the connection failed, or the server had a fault of its own.
    pub transient: bool,
}

/// Gives the server's address for every URL: there is no resolver in the live environment.
#[derive(Debug)]
struct FixedAddress(SocketAddr);

impl Resolver for FixedAddress {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}

/// The server, for one attempt. Calls may be made from several threads; connections are kept and reused.
#[derive(Clone, Debug)]
pub struct Server {
    base: String,
    nonce: AttemptId,
    agent: Agent,
}

impl Server {
    /// A server at `address`, called with this attempt's nonce. Nothing is sent yet.
    #[must_use]
    pub fn new(address: SocketAddr, nonce: AttemptId) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(STALL))
            .timeout_recv_response(Some(STALL))
            .timeout_per_read(Some(STALL))
            .timeout_per_write(Some(STALL))
            .max_idle_connections_per_host(8)
            .input_buffer_size(256 << 10)
            .user_agent(concat!("bootgate-agent/", env!("CARGO_PKG_VERSION")))
            .build();
        Self {
            base: format!("http://{address}"),
            nonce,
            agent: Agent::with_parts(config, DefaultConnector::default(), FixedAddress(address)),
        }
    }

    /// Says that the agent runs, and gets its plan.
    ///
    /// # Errors
    /// No connection after all retries, a refused nonce, or an answer that is no plan.
    pub fn hello(&self, hello: &AgentHello, retry: Retry) -> Result<BootPlan, ServerError> {
        let body = to_json("say hello", hello)?;
        let answer = retrying(retry, || {
            self.post("say hello", &paths::hello(&self.nonce), &body)
        })?;
        from_json("read the boot plan", &answer)
    }

    /// Fetches and checks a chunk index.
    ///
    /// # Errors
    /// Not there, no connection after all retries, or an index that contradicts itself.
    pub fn index(&self, path: &str, retry: Retry) -> Result<ChunkIndex, ServerError> {
        const ACTION: &str = "fetch the chunk index";
        let answer = retrying(retry, || {
            let response = self.agent.get(self.url(path)).call();
            read_answer(ACTION, path, response, INDEX_LIMIT)
        })?;
        let index: ChunkIndex = from_json("read the chunk index", &answer)?;
        match index.validate() {
            Ok(()) => Ok(index),
            Err(reason) => Err(failed("check the chunk index", &reason)),
        }
    }

    /// Reports progress, once.
    ///
    /// # Errors
    /// The report did not arrive; nothing depends on it.
    pub fn progress(&self, progress: &Progress) -> Result<(), ServerError> {
        const ACTION: &str = "report progress";
        let path = paths::progress(&self.nonce);
        let body = to_json(ACTION, progress)?;
        let request = self.agent.post(self.url(&path));
        let request = request
            .config()
            .timeout_global(Some(PROGRESS_LIMIT))
            .build();
        let response = request.content_type("application/json").send(&body[..]);
        read_answer(ACTION, &path, response, ANSWER_LIMIT).map(|_| ())
    }

    /// Reports that the image is on the disk.
    ///
    /// # Errors
    /// No connection after all retries, or a refused nonce.
    pub fn complete(&self, completion: &Completion, retry: Retry) -> Result<(), ServerError> {
        const ACTION: &str = "report completion";
        let body = to_json(ACTION, completion)?;
        let path = paths::complete(&self.nonce);
        retrying(retry, || self.post(ACTION, &path, &body)).map(|_| ())
    }

    /// Tells what the machine is made of.
    ///
    /// # Errors
    /// No connection after all retries, or a refused nonce.
    pub fn inventory(&self, inventory: &Inventory, retry: Retry) -> Result<(), ServerError> {
        const ACTION: &str = "tell the inventory";
        let body = to_json(ACTION, inventory)?;
        let path = paths::inventory(&self.nonce);
        retrying(retry, || self.post(ACTION, &path, &body)).map(|_| ())
    }

    /// Reports that the agent cannot go on.
    ///
    /// # Errors
    /// No connection after all retries, or a refused nonce.
    pub fn failure(&self, failure: &Failure, retry: Retry) -> Result<(), ServerError> {
        const ACTION: &str = "report failure";
        let body = to_json(ACTION, failure)?;
        let path = paths::failure(&self.nonce);
        retrying(retry, || self.post(ACTION, &path, &body)).map(|_| ())
    }

    /// The compressed image at this path, as the flasher reads it.
    #[must_use]
    pub fn image(&self, path: &str) -> Image<'_> {
        Image {
            server: self,
            url: self.url(path),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn post(&self, action: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, ServerError> {
        let request = self.agent.post(self.url(path));
        let response = request.content_type("application/json").send(body);
        read_answer(action, path, response, ANSWER_LIMIT)
    }
}

fn to_json<T: serde::Serialize>(action: &str, value: &T) -> Result<Vec<u8>, ServerError> {
    serde_json::to_vec(value).map_err(|error| failed(action, &error))
}

fn from_json<T: serde::de::DeserializeOwned>(action: &str, body: &[u8]) -> Result<T, ServerError> {
    serde_json::from_slice(body).map_err(|error| failed(action, &error))
}

fn failed(action: &str, reason: &dyn std::fmt::Display) -> ServerError {
    ServerError {
        action: action.to_owned(),
        reason: reason.to_string(),
        transient: false,
    }
}

fn retrying<T>(
    retry: Retry,
    mut call: impl FnMut() -> Result<T, ServerError>,
) -> Result<T, ServerError> {
    let clock = Halt::default();
    let mut failures = 0;
    loop {
        let error = match call() {
            Err(error) if error.transient => error,
            other => return other,
        };
        failures += 1;
        match retry.pause(failures) {
            Some(pause) => clock.wait(pause),
            None => return Err(error),
        };
    }
}

/// Server faults and the two "later" statuses (RFC 9110, 15.5.9; RFC 6585, 4) may pass; other statuses do not.
fn may_pass(status: u16) -> bool {
    status >= 500 || status == 408 || status == 429
}

fn read_answer(
    action: &str,
    path: &str,
    response: Result<Response<Body>, ureq::Error>,
    limit: u64,
) -> Result<Vec<u8>, ServerError> {
    let broken = |error: ureq::Error| ServerError {
        action: action.to_owned(),
        reason: error.to_string(),
        transient: !matches!(error, ureq::Error::BodyExceedsLimit(_)),
    };
    let mut response = response.map_err(broken)?;
    let status = response.status();
    let body = response.body_mut().with_config().limit(limit);
    let body = body.read_to_vec().map_err(broken)?;
    if status.is_success() {
        return Ok(body);
    }
    let text: String = String::from_utf8_lossy(&body).chars().take(200).collect();
    Err(ServerError {
        action: action.to_owned(),
        reason: format!("server answered `{status}` for `{path}`: {}", text.trim()),
        transient: may_pass(status.as_u16()),
    })
}

/// The compressed image on the server.
#[derive(Debug)]
pub struct Image<'a> {
    server: &'a Server,
    url: String,
}

impl Source for Image<'_> {
    fn open(&self, offset: u64, length: u64) -> Result<Box<dyn Read + '_>, SourceError> {
        let last = (offset + length).saturating_sub(1);
        let request = self.server.agent.get(&self.url);
        let request = request.header("range", format!("bytes={offset}-{last}"));
        let response = request.call().map_err(|error| SourceError {
            reason: error.to_string(),
            transient: true,
        })?;
        let status = response.status();
        let range = response.headers().get("content-range");
        let range = range.and_then(|value| value.to_str().ok()).unwrap_or("");
        if status.as_u16() != 206 || !range.starts_with(&format!("bytes {offset}-{last}/")) {
            return Err(SourceError {
                reason: format!("server answered `{status}` with content range `{range}`"),
                transient: may_pass(status.as_u16()),
            });
        }
        let body = response.into_body().into_with_config();
        Ok(Box::new(body.limit(u64::MAX).reader()))
    }
}
