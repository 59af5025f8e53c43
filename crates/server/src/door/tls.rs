//! The certificate that the server shows, and its key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those between it and the authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// A certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("read the {what} `{path}`: {why}", path = path.display())]
pub struct TlsError {
    what: &'static str,
    path: PathBuf,
    why: String,
}

impl TlsError {
    fn new(what: &'static str, path: &Path, why: impl ToString) -> Self {
        let (path, why) = (path.to_owned(), why.to_string());
        Self { what, path, why }
    }
}

impl TlsFiles {
    /// Reads both, and makes sure that they belong together.
    ///
    /// # Errors
    /// A file cannot be read or is not PEM, or the key is of another certificate.
    pub fn check(&self) -> Result<(), TlsError> {
        self.read().map(drop)
    }

    fn read(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let Self { certificate, key } = self;
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| TlsError::new("certificate", certificate, error))?;
        if chain.is_empty() {
            let why = "there is no `BEGIN CERTIFICATE` in it";
            return Err(TlsError::new("certificate", certificate, why));
        }
        let mode = fs::metadata(key).map_or(0, |found| found.permissions().mode());
        if mode & 0o007 != 0 {
            let why = "everybody on this host can read or change it: chmod o= it";
            return Err(TlsError::new("certificate's key", key, why));
        }
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| TlsError::new("certificate's key", key, error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|config| config.with_no_client_auth())
            .and_then(|config| config.with_single_cert(chain, private))
            .map_err(|error| TlsError::new("certificate", certificate, error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

/// The certificate in use.
pub(super) struct Tls {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    pub(super) fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let config = RwLock::new(files.read()?);
        Ok(Self { files, config })
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&config))
    }

    /// Reads the files again; the former certificate stays where they cannot be used.
    pub(super) fn reload(&self) -> Result<(), TlsError> {
        let read = self.files.read()?;
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }
}
