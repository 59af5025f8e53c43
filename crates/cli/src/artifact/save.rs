//! `bootgate artifact save`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use bootgate_api::Sha256Hex;
use bootgate_api::artifact::{ArtifactInfo, paths};
use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use super::progress::Work;
use crate::args::Format;
use crate::client::{Client, Trouble};
use crate::{exit, table};

/// Writes the bytes of an artifact into a new file, and checks them. A file that is not whole is removed.
pub(super) async fn save(
    client: &Client,
    name: &str,
    out: Option<PathBuf>,
    format: Format,
) -> Result<(), Trouble> {
    let artifact: ArtifactInfo = client.get(&paths::artifact(name)).await?;
    let last = artifact.name.rsplit('/').next().unwrap_or_default();
    let path = out.unwrap_or_else(|| PathBuf::from(last));
    let failed = |error: std::io::Error| {
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => "name another file with --out",
            _ => "",
        };
        Trouble::usage(format!("write `{}`: {error}", path.display()), hint)
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(failed)?;
    let written = write(client, &artifact, &mut file, &path).await;
    if written.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    written?;
    table::print(format, &artifact, |artifact| {
        let (path, sha256) = (path.display(), artifact.sha256);
        exit::say(&format!("{path}: sha256:{sha256}"));
    })
}

async fn write(
    client: &Client,
    artifact: &ArtifactInfo,
    file: &mut impl Write,
    path: &Path,
) -> Result<(), Trouble> {
    let mut work = Work::new(format!("save {}", artifact.name), Some(artifact.size));
    // By its digest: the name may stand for other bytes in a moment.
    let name = bootgate_api::artifact::name_of_digest(&artifact.sha256);
    let (_, mut bytes) = client.bytes(&paths::content(&name)).await?;
    let (mut sha256, mut size) = (Sha256::new(), 0);
    while let Some(piece) = bytes.next().await {
        let piece = piece.map_err(|error| {
            Trouble::infra(format!("read `{}`: {error}", artifact.name), "try again")
        })?;
        let failed = |error| Trouble::infra(format!("write `{}`: {error}", path.display()), "");
        file.write_all(&piece).map_err(failed)?;
        sha256.update(&piece);
        size += piece.len() as u64;
        work.at(size);
    }
    match Sha256Hex(sha256.finalize().into()) == artifact.sha256 {
        true => Ok(()),
        false => Err(Trouble::infra(
            format!("`{}` came as other bytes than it has", artifact.name),
            "try again",
        )),
    }
}
