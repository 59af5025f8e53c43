//! The files that are given out, by name.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use bootgate_api::Sha256Hex;
use bootgate_api::artifact::{bad_artifact_name, usual_kind};
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
        match bad_artifact_name(&text) {
            None => Ok(Self(text)),
            Some(_) => Err(ArtifactNameError(text)),
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
    /// The digest of its bytes, where it is known: then they never change.
    pub digest: Option<Sha256Hex>,
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
            digest: None,
        }
    }
}

/// What a file is for, by its name.
fn role_of(path: &Path) -> ArtifactRole {
    let name = path.file_name().and_then(|name| name.to_str());
    usual_kind(name.unwrap_or_default()).0
}

/// A folder that is given out.
#[derive(Debug)]
struct Folder {
    /// What stands before the path in names; empty, or with `/` at its end.
    prefix: String,
    /// Without symbolic links.
    root: PathBuf,
}

impl Folder {
    /// The file of that name, if there is one now. Waits for the disk.
    fn find(&self, name: &str) -> Option<Artifact> {
        let path = self.root.join(name.strip_prefix(&self.prefix)?);
        // A link may lead to another file of the folder, and nowhere else.
        let real = path.canonicalize().ok()?;
        if !real.starts_with(&self.root) {
            tracing::debug!(
                "`{}` leads out of its folder: not given out",
                path.display()
            );
            return None;
        }
        let role = role_of(&path);
        real.is_file().then(|| Artifact {
            path: real,
            ..Artifact::new(path, role)
        })
    }
}

/// The artifacts of a server: files that were named one by one, those of the store, and folders, in this order. Only a plain relative path
/// ([`ArtifactName`]) is ever looked for in a folder, and what leads out of it is not found.
#[derive(Debug, Default)]
pub struct Artifacts {
    by_name: RwLock<HashMap<String, Artifact>>,
    stored: RwLock<HashMap<String, Artifact>>,
    folders: RwLock<Vec<Arc<Folder>>>,
}

impl Artifacts {
    /// Gives out `artifact` as `name` from now on.
    pub fn insert(&self, name: ArtifactName, artifact: Artifact) {
        let mut map = self.by_name.write().unwrap_or_else(|e| e.into_inner());
        map.insert(name.0, artifact);
    }

    /// Gives out every file below `folder` from now on, also what is put there later, under `prefix` (empty, or such as
    /// `live/`) and its path in the folder. Where `folder` is a file, it is given out as `prefix`. Waits for the disk.
    ///
    /// # Errors
    /// There is no such folder; or `prefix` cannot name a file.
    pub fn insert_below(&self, prefix: &str, folder: &Path) -> io::Result<()> {
        let root = folder.canonicalize()?;
        if root.is_file() {
            let name = ArtifactName::new(prefix).map_err(io::Error::other)?;
            let role = role_of(&root);
            self.insert(name, Artifact::new(root, role));
            return Ok(());
        }
        if !root.is_dir() {
            return Err(io::Error::other("neither a folder nor a file"));
        }
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let mut folders = self.folders.write().unwrap_or_else(|e| e.into_inner());
        folders.push(Arc::new(Folder { prefix, root }));
        Ok(())
    }

    /// Gives out, of what was inserted, that of `other` alone from now on. Transfers under way go on.
    pub(crate) fn replace(&self, other: Self) {
        let by_name = other.by_name.into_inner();
        let folders = other.folders.into_inner();
        *self.by_name.write().unwrap_or_else(|e| e.into_inner()) =
            by_name.unwrap_or_else(|e| e.into_inner());
        *self.folders.write().unwrap_or_else(|e| e.into_inner()) =
            folders.unwrap_or_else(|e| e.into_inner());
    }

    /// No longer gives out `name`. Transfers under way go on.
    pub fn remove(&self, name: &ArtifactName) {
        let mut map = self.by_name.write().unwrap_or_else(|e| e.into_inner());
        map.remove(name.as_str());
    }

    /// Gives out, of the store, these from now on. Transfers under way go on.
    pub(crate) fn set_stored(&self, stored: HashMap<String, Artifact>) {
        *self.stored.write().unwrap_or_else(|e| e.into_inner()) = stored;
    }

    /// Whether a file of that name was inserted: then none of the store is given out by it.
    pub(crate) fn is_inserted(&self, name: &str) -> bool {
        let map = self.by_name.read().unwrap_or_else(|e| e.into_inner());
        map.contains_key(name)
    }

    /// The artifact of that name, among those that were named one by one and those of the store.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Artifact> {
        let look = |map: &RwLock<HashMap<String, Artifact>>| {
            let map = map.read().unwrap_or_else(|e| e.into_inner());
            map.get(name).cloned()
        };
        look(&self.by_name).or_else(|| look(&self.stored))
    }

    /// The artifact of that name, also in folders.
    pub(crate) async fn find(&self, name: &str) -> Option<Artifact> {
        if let Some(artifact) = self.get(name) {
            return Some(artifact);
        }
        let folders = {
            let folders = self.folders.read().unwrap_or_else(|e| e.into_inner());
            folders.clone()
        };
        if folders.is_empty() {
            return None;
        }
        let name = ArtifactName::new(name).ok()?;
        let look = move || folders.iter().find_map(|folder| folder.find(name.as_str()));
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[tokio::test]
    async fn nothing_outside_of_a_folder_is_found() {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("out");
        std::fs::create_dir_all(folder.join("sub")).unwrap();
        let file = |path: &str| std::fs::write(around.path().join(path), path).unwrap();
        file("secret");
        file("out/a.efi");
        let link = |to: &str, name: &str| {
            std::os::unix::fs::symlink(around.path().join(to), folder.join(name)).unwrap();
        };
        link("secret", "leak");
        link("", "up");
        link("out/a.efi", "sub/b.efi");
        let artifacts = Artifacts::default();
        artifacts.insert_below("boot/", &folder).unwrap();
        for name in [
            "boot/../secret",
            "boot/sub/../../secret",
            "boot/./a.efi",
            "boot//a.efi",
            "boot/leak",
            "boot/up/secret",
            "boot/sub",
            "boot/",
            "boot",
            "a.efi",
            "bootx/a.efi",
            "/boot/a.efi",
            "",
        ] {
            assert_eq!(artifacts.find(name).await, None, "{name}");
        }
        for name in ["boot/a.efi", "boot/sub/b.efi"] {
            let found = artifacts.find(name).await.unwrap();
            assert_eq!(found.role, ArtifactRole::Nbp, "{name}");
            assert_eq!(found.content_type, "application/efi", "{name}");
            assert!(found.path.ends_with("out/a.efi"), "{name}");
        }
    }
}
