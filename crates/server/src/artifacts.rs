//! The files that are given out, by name.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::RwLock;

use bootgate_events::ArtifactRole;

/// The name of an artifact: what stands after `/artifacts/` in a URL, and the whole name over TFTP. Parts are
/// separated by `/`; none is empty, `.` or `..`; only printable ASCII without space, `\`, `?`, `#` and `%`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactName(String);

/// A name that no artifact can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` cannot name an artifact: use parts of printable ASCII separated by `/`, without `..`"
)]
pub struct ArtifactNameError(pub String);

impl ArtifactName {
    /// Checks `text` and wraps it.
    ///
    /// # Errors
    /// The text is empty, longer than 255 bytes or not a plain relative path.
    pub fn new(text: impl Into<String>) -> Result<Self, ArtifactNameError> {
        let text = text.into();
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'?' | b'#' | b'%');
        let fine = text.len() <= 255
            && text.bytes().all(plain)
            && text.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if fine {
            Ok(Self(text))
        } else {
            Err(ArtifactNameError(text))
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArtifactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file that clients may fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Where the file lies on the server.
    pub path: PathBuf,
    /// What it is for.
    pub role: ArtifactRole,
    /// Its media type over HTTP. UEFI HTTP Boot tells the kind of image by it.
    pub content_type: String,
}

impl Artifact {
    /// An artifact with the media type that its role and name ask for.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>, role: ArtifactRole) -> Self {
        let path = path.into();
        let efi = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("efi"));
        let content_type = match role {
            ArtifactRole::Nbp if efi => "application/efi",
            ArtifactRole::Script => "text/plain",
            ArtifactRole::ImageIndex => "application/json",
            _ => "application/octet-stream",
        };
        Self {
            path,
            role,
            content_type: content_type.to_owned(),
        }
    }
}

/// The artifacts of a server. Only what is named here can be fetched; no request ever becomes a path.
#[derive(Debug, Default)]
pub struct Artifacts {
    by_name: RwLock<HashMap<String, Artifact>>,
}

impl Artifacts {
    /// Gives out `artifact` as `name` from now on.
    pub fn insert(&self, name: ArtifactName, artifact: Artifact) {
        let mut map = self.by_name.write().unwrap_or_else(|e| e.into_inner());
        map.insert(name.0, artifact);
    }

    /// No longer gives out `name`. Transfers under way go on.
    pub fn remove(&self, name: &ArtifactName) {
        let mut map = self.by_name.write().unwrap_or_else(|e| e.into_inner());
        map.remove(name.as_str());
    }

    /// The artifact of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Artifact> {
        let map = self.by_name.read().unwrap_or_else(|e| e.into_inner());
        map.get(name).cloned()
    }
}
