//! Files on the web, as sources.

use std::io::Read;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio_rustls::rustls::crypto;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::upload::{Broken, Source};

/// Longest time until a connection is there.
const CONNECT: Duration = Duration::from_secs(20);
/// Longest time until an answer begins, and between two of its bytes.
const ANSWER: Duration = Duration::from_secs(60);
/// Times that an answer may lead elsewhere.
const REDIRECTS: u32 = 8;

/// One for all: it keeps connections.
static AGENT: LazyLock<Agent> = LazyLock::new(|| {
    let certificates = rustls_native_certs::load_native_certs().certs;
    let roots: Vec<_> = certificates
        .iter()
        .map(|certificate| Certificate::from_der(certificate).to_owned())
        .collect();
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(crypto::ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(REDIRECTS)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(ANSWER))
        .user_agent(concat!("bootgate/", env!("CARGO_PKG_VERSION")))
        .build();
    config.new_agent()
});

/// A request for a URL, with these headers. An answer of whatever status is one. Blocks.
///
/// # Errors
/// There is no answer.
pub(super) fn get(url: &str, headers: &[(&str, &str)]) -> Result<Response<Body>, Broken> {
    let mut request = AGENT.get(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.call().map_err(|error| {
        let passing = matches!(
            error,
            ureq::Error::Io(_)
                | ureq::Error::Timeout(_)
                | ureq::Error::ConnectionFailed
                | ureq::Error::HostNotFound
        );
        Broken {
            error: error.to_string(),
            passing,
        }
    })
}

/// Why an answer is none that is of use.
pub(super) fn refused(status: StatusCode) -> Broken {
    Broken {
        error: format!("the server answers {status}"),
        passing: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
    }
}

/// A URL as it may be shown and stored: a login, and what stands after `?`, may be secret.
pub(super) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit('@').next().unwrap_or_default();
            format!("{scheme}://{host}{path}")
        }
        None => url.to_owned(),
    }
}

/// A file on the web. It is gone on with by a range (RFC 9110, section 14); a server without ranges sends what came already
/// once more.
pub(super) struct WebFile {
    pub(super) url: String,
    /// `Authorization`.
    pub(super) authorization: Option<String>,
}

impl WebFile {
    fn ask(&self, offset: u64) -> Result<Response<Body>, Broken> {
        let range = format!("bytes={offset}-");
        // What is unpacked on the way has another length, and no ranges.
        let mut headers = vec![("accept-encoding", "identity")];
        if offset > 0 {
            headers.push(("range", &range));
        }
        if let Some(authorization) = &self.authorization {
            headers.push(("authorization", authorization));
        }
        get(&self.url, &headers)
    }
}

fn length(answer: &Response<Body>) -> Option<u64> {
    let length = answer.headers().get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Where a part begins: `bytes 5-9/10`.
fn begins(answer: &Response<Body>) -> Option<u64> {
    let range = answer.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}

impl Source for WebFile {
    fn open(&self, offset: u64) -> Result<Box<dyn Read + Send>, Broken> {
        let answer = self.ask(offset)?;
        let status = answer.status();
        let expected = length(&answer);
        let begins = begins(&answer);
        let mut reader = answer.into_body().into_reader();
        match status {
            StatusCode::OK if offset == 0 => {}
            StatusCode::PARTIAL_CONTENT if begins == Some(offset) => {}
            StatusCode::OK => skip(&mut reader, offset)?,
            // There is nothing after the last byte.
            StatusCode::RANGE_NOT_SATISFIABLE => return Ok(Box::new(std::io::empty())),
            status => return Err(refused(status)),
        }
        let left = match status {
            StatusCode::OK => expected.map(|all| all.saturating_sub(offset)),
            _ => expected,
        };
        Ok(Box::new(Counted { reader, left }))
    }

    fn name(&self) -> String {
        format!("`{}`", shown(&self.url))
    }
}

fn skip(reader: &mut impl Read, count: u64) -> Result<(), Broken> {
    let skipped = std::io::copy(&mut reader.take(count), &mut std::io::sink());
    match skipped {
        Ok(skipped) if skipped == count => Ok(()),
        Ok(_) => Err(Broken {
            error: "it became shorter".to_owned(),
            passing: false,
        }),
        Err(error) => Err(Broken {
            error: error.to_string(),
            passing: true,
        }),
    }
}

/// Bytes whose end is only one where all of them came.
struct Counted<R> {
    reader: R,
    left: Option<u64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        if let Some(left) = &mut self.left {
            if count == 0 && *left > 0 && !buffer.is_empty() {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            *left = left.saturating_sub(count as u64);
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_not_shown() {
        for (url, told) in [
            ("https://a.example/b/c?sig=x#y", "https://a.example/b/c"),
            (
                "https://u:p@a.example:8443/b@c",
                "https://a.example:8443/b@c",
            ),
            ("http://u@a.example", "http://a.example"),
            (
                "oci://a.example/b:1@sha256:00",
                "oci://a.example/b:1@sha256:00",
            ),
        ] {
            assert_eq!(shown(url), told);
        }
    }
}
