//! What a client gets for the path that it asked for.

use std::io;

use bootgate_events::ArtifactRole;
use bytes::Bytes;

use crate::Artifact;
use crate::files::ServedFile;

pub(super) enum Source {
    /// A file on the disk.
    Artifact(Artifact),
    /// A file made for this machine and this request.
    Generated(Bytes),
}

impl Source {
    pub(super) fn role(&self) -> ArtifactRole {
        match self {
            Source::Artifact(artifact) => artifact.role,
            Source::Generated(_) => ArtifactRole::Script,
        }
    }

    /// Opens it. Waits for the disk. The error says what could not be opened.
    pub(super) fn open(&self, corrupt: bool) -> Result<ServedFile, String> {
        match self {
            Source::Artifact(artifact) => {
                let path = &artifact.path;
                let named = |error: io::Error| format!("open `{}`: {error}", path.display());
                ServedFile::open_now(path, corrupt).map_err(named)
            }
            Source::Generated(bytes) => Ok(ServedFile::from_memory(bytes.clone(), corrupt)),
        }
    }
}
