//! `bootgate artifact import`.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use axum::http::StatusCode;
use bootgate_api::artifact::{AliasOrder, ArtifactInfo, ArtifactWords, ImageInfo, paths};

use super::catalog::{self, Entry, Place};
use super::fetch::{self, Origin};
use crate::args::Format;
use crate::client::{Client, Done, Trouble};
use crate::exit::{self, USAGE};
use crate::{image, table};

/// The label of an image that tells which file it was made of.
const MADE_OF: &str = "made-of";

/// Brings all that a catalog names to the server. An entry is there as a whole or stays as it was; one that fails does not
/// keep the others.
pub(super) async fn import(
    client: &Client,
    path: &Path,
    replace: bool,
    wait: Duration,
    format: Format,
) -> Done {
    let entries = match catalog::load(path) {
        Ok(entries) => entries,
        Err(error) => {
            crate::check::show(error);
            return Ok(ExitCode::from(USAGE));
        }
    };
    let mut code = 0;
    for entry in &entries {
        let done = match entry.image {
            Some(sector_size) => one_image(client, entry, sector_size, replace, wait)
                .await
                .and_then(|image| table::print(format, &image, image::added)),
            None => one(client, entry, replace, wait)
                .await
                .and_then(|artifact| table::print(format, &artifact, super::uploaded)),
        };
        if let Err(trouble) = done {
            code = code.max(trouble.code);
            exit::complain(&format!("{}: {}", entry.name, trouble.error), &trouble.hint);
        }
    }
    Ok(ExitCode::from(code))
}

async fn find(entry: &Entry) -> Result<Origin, Trouble> {
    let mut origin = match &entry.origin {
        Place::File(path) => fetch::local(path, entry.sha256).await?,
        Place::Url(url) => fetch::find(url, entry.sha256, None).await?,
        Place::Oci { reference, layer } => {
            fetch::find(reference, entry.sha256, layer.as_deref()).await?
        }
    };
    match (entry.size, origin.size) {
        (Some(wanted), Some(size)) if wanted != size => {
            return Err(Trouble::usage(
                format!("it has {size} bytes, not {wanted}"),
                "`size` in the catalog says how many are meant",
            ));
        }
        (wanted, size) => origin.size = size.or(wanted),
    }
    Ok(origin)
}

async fn one(
    client: &Client,
    entry: &Entry,
    replace: bool,
    wait: Duration,
) -> Result<ArtifactInfo, Trouble> {
    for alias in &entry.aliases {
        check_alias(client, alias, &entry.name, replace).await?;
    }
    let words = ArtifactWords {
        media_type: entry.media_type.clone(),
        role: entry.role,
        ..ArtifactWords::default()
    };
    let origin = find(entry).await?;
    let done = fetch::bring(client, &entry.name, origin, replace, words, wait).await?;
    for alias in &entry.aliases {
        let order = AliasOrder {
            target: entry.name.clone(),
            replace,
        };
        let _: ArtifactInfo = client.put(&paths::alias(alias), &order).await?;
    }
    Ok(done)
}

/// Makes sure that an alias can be set before anything is brought.
async fn check_alias(
    client: &Client,
    alias: &str,
    target: &str,
    replace: bool,
) -> Result<(), Trouble> {
    let here: Result<ArtifactInfo, Trouble> = client.get(&paths::artifact(alias)).await;
    let here = match here {
        Ok(here) => here,
        Err(trouble) if trouble.status == Some(StatusCode::NOT_FOUND) => return Ok(()),
        Err(trouble) => return Err(trouble),
    };
    match &here.alias {
        Some(now) if now == target || replace => Ok(()),
        Some(now) => Err(Trouble::usage(
            format!("alias `{alias}` stands for `{now}`"),
            "--replace changes it",
        )),
        None => Err(Trouble::usage(
            format!("`{alias}` is an artifact, not an alias"),
            "choose another alias",
        )),
    }
}

async fn one_image(
    client: &Client,
    entry: &Entry,
    sector_size: u32,
    replace: bool,
    wait: Duration,
) -> Result<ImageInfo, Trouble> {
    let origin = find(entry).await?;
    let made_of = format!("sha256:{}", origin.sha256);
    let here: Result<ImageInfo, Trouble> = client.get(&paths::image(&entry.name)).await;
    match here {
        Ok(here)
            if here.labels.get(MADE_OF) == Some(&made_of) && here.sector_size == sector_size =>
        {
            return Ok(here);
        }
        Ok(_) if !replace => {
            return Err(Trouble::usage(
                "an image of this name is another one",
                "--replace lets the name stand for the new image",
            ));
        }
        Err(trouble) if trouble.status != Some(StatusCode::NOT_FOUND) => return Err(trouble),
        _ => {}
    }
    let mut labels = origin.labels.clone();
    labels.insert(MADE_OF.to_owned(), made_of);
    let wanted = image::Wanted {
        name: &entry.name,
        sector_size,
        replace,
        labels,
        wait,
    };
    if let Place::File(path) = &entry.origin {
        return image::add(client, path, wanted).await;
    }
    let folder = tempfile::Builder::new().prefix("bootgate-image-").tempdir();
    let folder = folder.map_err(|error| {
        let hint = "TMPDIR names a folder with room for it";
        Trouble::infra(format!("make a folder for the image: {error}"), hint)
    })?;
    let path = folder.path().join("fetched");
    fetch::write(origin, &path, wait).await?;
    image::add(client, &path, wanted).await
}
