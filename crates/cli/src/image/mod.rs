//! `bootgate image`.

mod cut;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bootgate_api::Sha256Hex;
use bootgate_api::artifact::{
    ArtifactInfo, ImageInfo, ImageOrder, UploadOrder, bad_image_name, name_of_digest, paths,
};
use bootgate_api::control::Forgotten;
use bootgate_report::words::bytes;

use crate::args::{Format, ImageCommand};
use crate::artifact::labels;
use crate::artifact::upload::{self, LocalFile};
use crate::client::{Client, Done, Trouble};
use crate::exit;
use crate::table::{self, Facts, Table};

/// Adds, lists and removes images.
pub(crate) async fn image(command: ImageCommand) -> Done {
    match command {
        ImageCommand::Add {
            name,
            file,
            sector_size,
            replace,
            label,
            wait,
            reach,
        } => {
            let client = Client::reach_or_make(&reach).await?;
            let wanted = Wanted {
                name: &name,
                sector_size,
                replace,
                labels: label.into_iter().collect(),
                wait: Duration::from_secs(wait.wait),
            };
            let image = add(&client, &file, wanted).await?;
            table::print(reach.format, &image, added)?;
        }
        ImageCommand::List { reach } => {
            let client = Client::reach(&reach).await?;
            let images: Vec<ImageInfo> = client.get(paths::IMAGES).await?;
            match reach.format {
                Format::Json => table::json(&images)?,
                Format::Text => list(&images),
            }
        }
        ImageCommand::Show { name, reach } => {
            let client = Client::reach(&reach).await?;
            let image = client.get(&paths::image(&name)).await?;
            table::print(reach.format, &image, show)?;
        }
        ImageCommand::Remove { name, reach } => {
            let client = Client::reach(&reach).await?;
            let gone: Forgotten = client.delete(&paths::image(&name)).await?;
            if !gone.known {
                return Err(Trouble::usage(
                    format!("no image `{name}` is here"),
                    "`bootgate image list` shows what there is",
                ));
            }
            table::print(reach.format, &gone, |_| {
                exit::say(&format!(
                    "{name} is gone; its bytes stay until `bootgate artifact gc`"
                ));
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// An image to add.
pub(crate) struct Wanted<'a> {
    pub(crate) name: &'a str,
    pub(crate) sector_size: u32,
    pub(crate) replace: bool,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) wait: Duration,
}

/// Cuts a disk image into chunks, uploads them, and adds them under a name.
pub(crate) async fn add(
    client: &Client,
    file: &Path,
    wanted: Wanted<'_>,
) -> Result<ImageInfo, Trouble> {
    if let Some(why) = bad_image_name(wanted.name) {
        return Err(Trouble::usage(
            format!("`{}` cannot name an image: {why}", wanted.name),
            "",
        ));
    }
    let (owned, sector_size) = (file.to_owned(), wanted.sector_size);
    let cut = tokio::task::spawn_blocking(move || cut::cut(&owned, sector_size)).await;
    let cut = cut.map_err(|error| Trouble::infra(format!("cut the image: {error}"), ""))??;
    let data = blob(client, &cut.data, wanted.wait).await?;
    let index = blob(client, &cut.index, wanted.wait).await?;
    let order = ImageOrder {
        index,
        data,
        replace: wanted.replace,
        labels: wanted.labels,
    };
    client.put(&paths::image(wanted.name), &order).await
}

/// Uploads a file's bytes, where they are not there already.
async fn blob(client: &Client, file: &Path, wait: Duration) -> Result<Sha256Hex, Trouble> {
    let (sha256, size) = upload::digest(file).await?;
    let name = name_of_digest(&sha256);
    let here: Result<ArtifactInfo, Trouble> = client.get(&paths::artifact(&name)).await;
    match here {
        Ok(_) => return Ok(sha256),
        Err(trouble) if trouble.status == Some(StatusCode::NOT_FOUND) => {}
        Err(trouble) => return Err(trouble),
    }
    let order = UploadOrder {
        sha256: Some(sha256),
        size: Some(size),
        ..UploadOrder::default()
    };
    let source = Arc::new(LocalFile(file.to_owned()));
    upload::send(client, &order, source, wait).await?;
    Ok(sha256)
}

/// Says that it is there.
pub(crate) fn added(image: &ImageInfo) {
    exit::say(&format!(
        "image {}: {} on the disk, {} stored; sha256:{}",
        image.name,
        bytes(image.written.size),
        bytes(image.stored),
        image.written.image_sha256
    ));
}

fn list(images: &[ImageInfo]) {
    let mut table = Table::new([
        "IMAGE", "DISK", "STORED", "SECTORS", "SHA256", "SINCE", "LABELS",
    ]);
    for image in images {
        let digest = image.written.image_sha256.to_string();
        let (stored, since) = match image.data {
            Some(_) => (bytes(image.stored), table::ago(image.created)),
            None => ("serve.toml".to_owned(), String::new()),
        };
        table.row([
            image.name.as_str().into(),
            bytes(image.written.size).into(),
            stored.into(),
            image.sector_size.to_string().into(),
            digest.get(..12).unwrap_or_default().into(),
            since.into(),
            labels(&image.labels).into(),
        ]);
    }
    table.print("no images");
}

fn show(image: &ImageInfo) {
    let mut facts = Facts::default();
    facts.add("image", &image.name);
    facts.add("sha256", image.written.image_sha256.to_string());
    let size = image.written.size;
    facts.add("disk", format!("{} ({size} bytes)", bytes(size)));
    facts.add("sectors", format!("{} bytes", image.sector_size));
    match (&image.data, &image.index) {
        (Some(data), Some(index)) => {
            facts.add("stored", bytes(image.stored));
            facts.add("chunks", name_of_digest(data));
            facts.add("index", name_of_digest(index));
            facts.add("since", table::when(image.created));
        }
        _ => facts.add(
            "stored",
            "in the folder that the server's configuration names",
        ),
    }
    for (key, value) in &image.labels {
        facts.add("label", format!("{key}={value}"));
    }
    facts.print();
}
