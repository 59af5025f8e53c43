//! Files that are elsewhere, on their way to the server.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bootgate_api::Sha256Hex;
use bootgate_api::artifact::{ArtifactInfo, ArtifactWords, NameOrder, UploadOrder};
use sha2::{Digest, Sha256};

use super::progress::Work;
use super::upload::{self, Broken, LocalFile, Source};
use super::web::WebFile;
use super::{name_what_is_here, oci, web};
use crate::client::{Client, Trouble};

/// Bytes read at once.
const PIECE: usize = 256 << 10;

/// A file that is known by its digest, wherever it is.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) source: Arc<dyn Source>,
    pub(super) sha256: Sha256Hex,
    pub(super) size: Option<u64>,
    /// The name that it has there.
    pub(super) title: Option<String>,
    /// Labels that tell where it came from.
    pub(super) labels: BTreeMap<String, String>,
}

/// Finds a file by its URL.
pub(super) async fn find(
    text: &str,
    sha256: Option<Sha256Hex>,
    layer: Option<&str>,
) -> Result<Origin, Trouble> {
    let (text, layer) = (text.to_owned(), layer.map(str::to_owned));
    let found = move || find_now(&text, sha256, layer.as_deref());
    let found = tokio::task::spawn_blocking(found).await;
    found.map_err(|error| Trouble::infra(format!("look for it: {error}"), ""))?
}

fn find_now(text: &str, sha256: Option<Sha256Hex>, layer: Option<&str>) -> Result<Origin, Trouble> {
    let source = ("source".to_owned(), web::shown(text));
    if text.starts_with("oci://") {
        let found = oci::find(text, layer)?;
        if let Some(expected) = sha256.filter(|expected| *expected != found.sha256) {
            return Err(Trouble::usage(
                format!(
                    "the layer of `{text}` is sha256:{}, not {expected}",
                    found.sha256
                ),
                "what the tag stands for may have changed",
            ));
        }
        let manifest = (
            "oci-manifest".to_owned(),
            format!("sha256:{}", found.manifest),
        );
        return Ok(Origin {
            source: Arc::new(found.file),
            sha256: found.sha256,
            size: Some(found.size),
            title: found.title,
            labels: BTreeMap::from([source, manifest]),
        });
    }
    if !text.starts_with("https://") && !text.starts_with("http://") {
        return Err(Trouble::usage(
            format!("`{text}` is no URL that is understood"),
            "http://, https:// or oci://; `bootgate artifact upload` takes files of this host",
        ));
    }
    if layer.is_some() {
        let error = format!("`{text}` has no layers");
        return Err(Trouble::usage(error, "--layer goes with oci://"));
    }
    let Some(sha256) = sha256 else {
        return Err(Trouble::usage(
            format!("`{text}` could give any bytes"),
            "--sha256 HEX says which are meant",
        ));
    };
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let title = path.splitn(4, '/').nth(3).unwrap_or_default();
    let title = title.rsplit('/').next().unwrap_or_default();
    let file = WebFile {
        url: text.to_owned(),
        authorization: None,
    };
    Ok(Origin {
        source: Arc::new(file),
        sha256,
        size: None,
        title: Some(title.to_owned()).filter(|title| !title.is_empty()),
        labels: BTreeMap::from([source]),
    })
}

/// A file of this host. It is read to know its digest.
pub(super) async fn local(path: &Path, sha256: Option<Sha256Hex>) -> Result<Origin, Trouble> {
    let (found, size) = upload::digest(path).await?;
    if let Some(expected) = sha256.filter(|expected| *expected != found) {
        return Err(Trouble::usage(
            format!(
                "`{}` has the digest {found}, not {expected}",
                path.display()
            ),
            "it is not the file that is meant, or not all of it",
        ));
    }
    Ok(Origin {
        source: Arc::new(LocalFile(path.to_owned())),
        sha256: found,
        size: Some(size),
        title: None,
        labels: BTreeMap::new(),
    })
}

/// Brings a file to the server under a name, where it is not there already.
pub(super) async fn bring(
    client: &Client,
    name: &str,
    origin: Origin,
    replace: bool,
    words: ArtifactWords,
    wait: Duration,
) -> Result<ArtifactInfo, Trouble> {
    let mut labels = origin.labels;
    labels.extend(words.labels);
    let words = ArtifactWords { labels, ..words };
    let order = NameOrder {
        sha256: origin.sha256,
        replace,
        words,
    };
    if let Some(here) = name_what_is_here(client, name, &order).await? {
        return Ok(here);
    }
    let order = UploadOrder {
        name: Some(name.to_owned()),
        replace,
        sha256: Some(origin.sha256),
        size: origin.size,
        words: order.words,
    };
    let done = upload::send(client, &order, origin.source, wait).await?;
    done.artifact
        .ok_or_else(|| Trouble::infra(format!("the server did not name `{name}`"), ""))
}

/// Writes a file's bytes into one of this host, and checks them. What breaks off is gone on with.
pub(super) async fn write(origin: Origin, to: &Path, wait: Duration) -> Result<(), Trouble> {
    let to = to.to_owned();
    let written = tokio::task::spawn_blocking(move || write_now(&origin, &to, wait)).await;
    written.map_err(|error| Trouble::infra(format!("fetch it: {error}"), ""))?
}

fn write_now(origin: &Origin, to: &Path, wait: Duration) -> Result<(), Trouble> {
    let name = origin.source.name();
    let here = |error| Trouble::infra(format!("write `{}`: {error}", to.display()), "");
    let mut file = File::create(to).map_err(here)?;
    let mut work = Work::new(format!("fetch {name}"), origin.size);
    let (mut sha256, mut at) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE];
    let mut worked = Instant::now();
    'again: loop {
        let opened = origin.source.open(at);
        let mut read = |mut reader: Box<dyn Read + Send>| -> Result<(), Result<Broken, Trouble>> {
            loop {
                let count = reader.read(&mut piece).map_err(|error| {
                    Ok(Broken {
                        error: error.to_string(),
                        passing: true,
                    })
                })?;
                let bytes = piece.get(..count).unwrap_or_default();
                if bytes.is_empty() {
                    return Ok(());
                }
                file.write_all(bytes).map_err(|error| Err(here(error)))?;
                sha256.update(bytes);
                at += count as u64;
                worked = Instant::now();
                work.at(at);
            }
        };
        match opened.map_err(Ok).and_then(&mut read) {
            Ok(()) => break 'again,
            Err(Ok(broken)) if broken.passing && worked.elapsed() < wait => {
                // Not to ask in a hurry.
                std::thread::park_timeout(Duration::from_millis(500));
            }
            Err(Ok(broken)) => {
                return Err(Trouble::infra(format!("read {name}: {}", broken.error), ""));
            }
            Err(Err(trouble)) => return Err(trouble),
        }
    }
    let found = Sha256Hex(sha256.finalize().into());
    match found == origin.sha256 {
        true => Ok(()),
        false => Err(Trouble::usage(
            format!("{name} has the digest {found}, not {}", origin.sha256),
            "it is not the file that is meant",
        )),
    }
}
