//! A server that is reached over the network.

use std::fs;
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, HOST, HeaderValue};
use axum::http::{Request, Response};
use bootgate_api::access::{Secret, TOKEN_PREFIX};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore};

use crate::client::Trouble;

/// Port of a URL without one.
const PORT: u16 = 8443;
/// Longest time until a connection is there.
const CONNECT: Duration = Duration::from_secs(15);
/// Longest file that can be a token's, in bytes.
const TOKEN_FILE_MAX: u64 = 4096;

/// A server on the network, and who asks it.
pub(crate) struct Remote {
    url: Url,
    tls: Option<TlsConnector>,
    token: Option<Secret>,
}

/// `https://HOST[:PORT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    tls: bool,
    host: String,
    port: u16,
}

impl Url {
    /// Reads the URL of a server.
    pub(crate) fn read(text: &str) -> Result<Self, Trouble> {
        let wrong = |why: &str| {
            Trouble::usage(
                format!("`{text}` is not the address of a server: {why}"),
                "as in https://bootgate.example:8443",
            )
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(wrong("it is neither https nor http")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#', '@']) {
            return Err(wrong("only a host and a port can be given"));
        }
        let (host, port) = match rest.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest
                    .split_once(']')
                    .ok_or_else(|| wrong("`]` is missing"))?;
                (host, port.strip_prefix(':'))
            }
            None => match rest.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (rest, None),
            },
        };
        let port = match port {
            None => PORT,
            Some(port) => port.parse().map_err(|_| wrong("the port is no number"))?,
        };
        if host.is_empty() {
            return Err(wrong("there is no host in it"));
        }
        let (host, here) = (host.to_owned(), is_here(host));
        if !tls && !here {
            return Err(Trouble::usage(
                format!("`{text}` would show the token to the network"),
                "use https; http is for a server on this host, such as http://127.0.0.1:8443",
            ));
        }
        Ok(Self { tls, host, port })
    }

    /// `HOST:PORT`.
    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// The file that a login's token is kept in.
    pub(crate) fn token_file(&self) -> Option<PathBuf> {
        let absolute = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        // XDG Base Directory Specification: relative paths are ignored.
        let folder =
            absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")))?;
        let name = self.host.replace(['/', ':', '%'], "_");
        let file = format!("{name}-{}.token", self.port);
        Some(folder.join("bootgate").join(file))
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl Remote {
    /// A server whose certificate is of an authority in `ca`, else of one that this host trusts.
    pub(crate) fn new(url: Url, ca: Option<&Path>, token: Option<Secret>) -> Result<Self, Trouble> {
        let tls = url.tls.then(|| connector(ca)).transpose()?;
        Ok(Self { url, tls, token })
    }

    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Sends a request, and gives the head of its answer; the rest comes as it is read.
    pub(crate) async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Trouble> {
        let headers = request.headers_mut();
        let usual = HeaderValue::from_static("bootgate");
        let host = HeaderValue::from_str(&self.url.authority()).unwrap_or(usual);
        headers.insert(HOST, host);
        if let Some(Secret(token)) = &self.token
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {token}"))
        {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let late = || Err(io::ErrorKind::TimedOut.into());
        let connecting = TcpStream::connect((self.url.host.as_str(), self.url.port));
        let stream = tokio::time::timeout(CONNECT, connecting).await;
        let stream = stream
            .unwrap_or_else(|_| late())
            .map_err(|error| self.unreachable(&error))?;
        // What is sent is whole; without this, small requests would wait for each other.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return self.over(stream, request).await;
        };
        let name = ServerName::try_from(self.url.host.clone()).map_err(|_| {
            Trouble::usage(format!("`{}` is not the name of a host", self.url.host), "")
        })?;
        let stream = tokio::time::timeout(CONNECT, tls.connect(name, stream)).await;
        let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| self.refused_tls(&error))?;
        self.over(stream, request).await
    }

    async fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        request: Request<Body>,
    ) -> Result<Response<Body>, Trouble> {
        let gone = |error: hyper::Error| {
            let error = format!("ask the server at `{}`: {error}", self.url);
            let hint = if self.url.tls {
                "it may have been stopped just now"
            } else {
                "it may have been stopped just now, or it speaks TLS there: https://"
            };
            Trouble::infra(error, hint)
        };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(gone)?;
        // Ends with the answer, or with this program.
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(gone)?;
        Ok(response.map(Body::new))
    }

    fn unreachable(&self, error: &io::Error) -> Trouble {
        let hint = match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "no server listens there: `listen` under `[api]` in its serve.toml says where it does"
            }
            io::ErrorKind::TimedOut => "nobody answers: a firewall, or another host than you mean",
            _ => "--server or BOOTGATE_SERVER names the server: https://HOST:8443",
        };
        Trouble::infra(format!("connect to `{}`: {error}", self.url), hint)
    }

    /// Why there is no TLS connection.
    fn refused_tls(&self, error: &io::Error) -> Trouble {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let host = &self.url.host;
        let hint = match inner {
            Some(rustls::Error::InvalidCertificate(why)) => match why {
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "its certificate is of an authority that is not trusted here: --ca FILE names the authority's certificate".to_owned()
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => format!(
                    "its certificate is for other names than `{host}`: name the server as its certificate does"
                ),
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "its certificate ran out: put a new one in its place, and have the server reload (SIGHUP)".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "its certificate is not valid yet: look at this host's clock".to_owned()
                }
                CertificateError::Other(_) => {
                    "a certificate that signs itself must not be an authority's, too: make it with basicConstraints=CA:FALSE, or one by an authority of your own".to_owned()
                }
                _ => "look at the server's certificate: openssl s_client -connect HOST:PORT".to_owned(),
            },
            Some(rustls::Error::InvalidMessage(_)) => {
                "it does not speak TLS there: http://, on the server's own host".to_owned()
            }
            _ if error.kind() == io::ErrorKind::UnexpectedEof => {
                "it ended the connection: it has too many, or does not speak TLS there".to_owned()
            }
            _ => String::new(),
        };
        Trouble::infra(format!("no TLS with `{}`: {error}", self.url), hint)
    }
}

fn connector(ca: Option<&Path>) -> Result<TlsConnector, Trouble> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => {
            let unread = |error: &dyn std::fmt::Display| {
                let error = format!(
                    "read the authority's certificate `{}`: {error}",
                    file.display()
                );
                Trouble::usage(error, "it is a PEM file with `BEGIN CERTIFICATE`")
            };
            let all = CertificateDer::pem_file_iter(file).map_err(|error| unread(&error))?;
            for one in all {
                let one = one.map_err(|error| unread(&error))?;
                roots.add(one).map_err(|error| unread(&error))?;
            }
            if roots.is_empty() {
                return Err(unread(&"there is none in it"));
            }
        }
        None => {
            // Some of a host's may be of no use; where none is, the connection says so.
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Trouble::infra(format!("set up TLS: {error}"), ""))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The token in a file, which nobody else may read.
pub(crate) fn token_of(file: &Path) -> Result<Secret, Trouble> {
    let shown = file.display();
    let unread = |error: io::Error| {
        Trouble::usage(
            format!("read the token in `{shown}`: {error}"),
            "`bootgate login URL` stores one, `bootgate token new` makes one for a program",
        )
    };
    let open = fs::File::open(file).map_err(unread)?;
    let mode = open.metadata().map_err(unread)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Trouble::usage(
            format!(
                "the token in `{shown}` can be read by others (mode {:o})",
                mode & 0o7777
            ),
            format!("chmod 600 {shown}; where somebody may have read it, revoke the token"),
        ));
    }
    let mut text = String::new();
    open.take(TOKEN_FILE_MAX)
        .read_to_string(&mut text)
        .map_err(unread)?;
    let token = text.trim();
    if !token.starts_with(TOKEN_PREFIX) || token.contains(char::is_whitespace) {
        return Err(Trouble::usage(
            format!("`{shown}` holds no token"),
            "a token begins with `bgt_`, and is all that is in its file",
        ));
    }
    Ok(Secret(token.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_tokens_stay_off_the_network() {
        let show = |text: &str| Url::read(text).map(|url| url.to_string());
        for (text, url) in [
            ("https://lab", "https://lab:8443"),
            ("lab:443", "https://lab:443"),
            ("https://[fd00::1]:1/", "https://[fd00::1]:1"),
            ("https://[fd00::1]", "https://[fd00::1]:8443"),
            ("http://127.0.0.1:80", "http://127.0.0.1:80"),
            ("http://[::1]:80", "http://[::1]:80"),
        ] {
            assert_eq!(show(text).expect(text), url, "{text}");
        }
        for text in [
            "http://lab:80",
            "http://10.0.0.1",
            "ftp://lab",
            "https://",
            "https://lab/x",
            "https://me:secret@lab",
            "https://lab:99999",
            "https://[fd00::1",
        ] {
            assert!(Url::read(text).is_err(), "{text}");
        }
    }
}
