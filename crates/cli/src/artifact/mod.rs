//! `bootgate artifact`.

mod catalog;
mod fetch;
mod import;
mod oci;
pub(crate) mod progress;
mod save;
pub(crate) mod upload;
mod web;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use bootgate_api::Sha256Hex;
use bootgate_api::artifact::{
    AliasOrder, ArtifactInfo, ArtifactWords, CollectOrder, Collected, NameOrder, UploadOrder,
    bad_given_name, paths,
};
use bootgate_api::control::Forgotten;
use bootgate_report::words::bytes;

use crate::args::{ArtifactCommand, Format, WordsArgs};
use crate::client::{Client, Done, Trouble};
use crate::exit;
use crate::table::{self, Facts, Table};
use upload::LocalFile;

/// Artifacts asked for at once.
const PAGE: usize = 1000;

/// Uploads, lists and removes artifacts.
pub(crate) async fn artifact(command: ArtifactCommand) -> Done {
    match command {
        ArtifactCommand::Upload {
            file,
            name,
            sha256,
            words,
            wait,
            reach,
        } => {
            let client = Client::reach_or_make(&reach).await?;
            let name = name.map_or_else(|| name_of(&file), Ok)?;
            let wait = Duration::from_secs(wait.wait);
            let found = upload_file(&client, &name, &file, sha256, &words, wait).await?;
            table::print(reach.format, &found, uploaded)?;
        }
        ArtifactCommand::List { prefix, reach } => {
            let client = Client::reach(&reach).await?;
            let artifacts = all(&client, &prefix).await?;
            match reach.format {
                Format::Json => table::json(&artifacts)?,
                Format::Text => list(&artifacts),
            }
        }
        ArtifactCommand::Show { artifact, reach } => {
            let client = Client::reach(&reach).await?;
            let found = client.get(&paths::artifact(&artifact.artifact)).await?;
            table::print(reach.format, &found, show)?;
        }
        ArtifactCommand::Alias {
            alias,
            target,
            replace,
            reach,
        } => {
            let client = Client::reach(&reach).await?;
            let order = AliasOrder { target, replace };
            let found: ArtifactInfo = client.put(&paths::alias(&alias), &order).await?;
            table::print(reach.format, &found, |found| {
                let target = found.alias.as_deref().unwrap_or_default();
                exit::say(&format!("{} stands for {target}", found.name));
            })?;
        }
        ArtifactCommand::Delete { artifact, reach } => {
            let client = Client::reach(&reach).await?;
            let name = artifact.artifact;
            let gone: Forgotten = client.delete(&paths::artifact(&name)).await?;
            if !gone.known {
                return Err(Trouble::usage(
                    format!("no artifact `{name}` is here"),
                    "`bootgate artifact list` shows what there is",
                ));
            }
            table::print(reach.format, &gone, |_| {
                exit::say(&format!(
                    "{name} is gone; its bytes stay until `bootgate artifact gc`"
                ));
            })?;
        }
        ArtifactCommand::Gc {
            dry_run,
            older_than,
            reach,
        } => {
            let client = Client::reach(&reach).await?;
            let order = CollectOrder {
                dry_run,
                grace: older_than,
            };
            let collected = client.post(paths::COLLECT, &order).await?;
            table::print(reach.format, &collected, gone)?;
        }
        ArtifactCommand::Fetch {
            source,
            name,
            sha256,
            layer,
            words,
            wait,
            reach,
        } => {
            let client = Client::reach_or_make(&reach).await?;
            let origin = fetch::find(&source, sha256, layer.as_deref()).await?;
            let title = || origin.title.clone().unwrap_or_default();
            let name = name.map_or_else(|| name_of(Path::new(&title())), Ok)?;
            let wait = Duration::from_secs(wait.wait);
            let (replace, words) = (words.replace, words_of(&words));
            let found = fetch::bring(&client, &name, origin, replace, words, wait).await?;
            table::print(reach.format, &found, uploaded)?;
        }
        ArtifactCommand::Import {
            catalog,
            replace,
            wait,
            reach,
        } => {
            let client = Client::reach_or_make(&reach).await?;
            let wait = Duration::from_secs(wait.wait);
            return import::import(&client, &catalog, replace, wait, reach.format).await;
        }
        ArtifactCommand::Save {
            artifact,
            out,
            reach,
        } => {
            let client = Client::reach(&reach).await?;
            save::save(&client, &artifact.artifact, out, reach.format).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of a file, as an artifact's.
pub(crate) fn name_of(file: &Path) -> Result<String, Trouble> {
    let name = file.file_name().map(|name| name.to_string_lossy());
    let name = name.unwrap_or_default().into_owned();
    match bad_given_name(&name) {
        None => Ok(name),
        Some(why) => Err(Trouble::usage(
            format!("`{name}` cannot name an artifact: {why}"),
            "give it a name: --name NAME",
        )),
    }
}

/// What is said of an artifact beside its bytes.
pub(crate) fn words_of(args: &WordsArgs) -> ArtifactWords {
    ArtifactWords {
        media_type: args.media_type.clone(),
        role: args.role.map(Into::into),
        labels: args.label.iter().cloned().collect(),
    }
}

async fn upload_file(
    client: &Client,
    name: &str,
    file: &Path,
    sha256: Option<Sha256Hex>,
    args: &WordsArgs,
    wait: Duration,
) -> Result<ArtifactInfo, Trouble> {
    let (found, size) = upload::digest(file).await?;
    if let Some(expected) = sha256.filter(|expected| *expected != found) {
        return Err(Trouble::usage(
            format!(
                "`{}` has the digest {found}, not {expected}",
                file.display()
            ),
            "it is not the file that is meant, or not all of it",
        ));
    }
    let order = NameOrder {
        sha256: found,
        replace: args.replace,
        words: words_of(args),
    };
    if let Some(here) = name_what_is_here(client, name, &order).await? {
        return Ok(here);
    }
    let order = UploadOrder {
        name: Some(name.to_owned()),
        replace: args.replace,
        sha256: Some(found),
        size: Some(size),
        words: order.words,
    };
    let source = Arc::new(LocalFile(file.to_owned()));
    let done = upload::send(client, &order, source, wait).await?;
    done.artifact
        .ok_or_else(|| Trouble::infra(format!("the server did not name `{name}`"), ""))
}

/// Bytes that the server has need not be sent; `None` where it has them not.
pub(crate) async fn name_what_is_here(
    client: &Client,
    name: &str,
    order: &NameOrder,
) -> Result<Option<ArtifactInfo>, Trouble> {
    let named: Result<ArtifactInfo, Trouble> = client.put(&paths::artifact(name), order).await;
    match named {
        Ok(named) => Ok(Some(named)),
        Err(trouble) if trouble.status == Some(StatusCode::NOT_FOUND) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

/// All artifacts whose names begin so.
async fn all(client: &Client, prefix: &str) -> Result<Vec<ArtifactInfo>, Trouble> {
    let prefix = paths::escaped(prefix);
    let mut all: Vec<ArtifactInfo> = Vec::new();
    loop {
        let after = all.last().map(|last| paths::escaped(&last.name));
        let after = after.map_or_else(String::new, |after| format!("&after={after}"));
        let path = format!("{}?prefix={prefix}&limit={PAGE}{after}", paths::ARTIFACTS);
        let mut page: Vec<ArtifactInfo> = client.get(&path).await?;
        let last = page.len() < PAGE;
        all.append(&mut page);
        if last {
            return Ok(all);
        }
    }
}

fn list(artifacts: &[ArtifactInfo]) {
    let mut table = Table::new(["NAME", "SIZE", "ROLE", "SHA256", "SINCE", "LABELS"]);
    for artifact in artifacts {
        let name = match &artifact.alias {
            Some(target) => format!("{} -> {target}", artifact.name),
            None => artifact.name.clone(),
        };
        let digest = artifact.sha256.to_string();
        table.row([
            name.into(),
            bytes(artifact.size).into(),
            role(artifact).into(),
            digest.get(..12).unwrap_or_default().into(),
            table::ago(artifact.created).into(),
            labels(&artifact.labels).into(),
        ]);
    }
    table.print("no artifacts");
}

fn role(artifact: &ArtifactInfo) -> String {
    let role = serde_json::to_value(artifact.role).unwrap_or_default();
    role.as_str().unwrap_or_default().to_owned()
}

/// Labels on one line.
pub(crate) fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    let all: Vec<_> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    all.join(" ")
}

fn show(artifact: &ArtifactInfo) {
    let mut facts = Facts::default();
    facts.add("name", &artifact.name);
    if let Some(target) = &artifact.alias {
        facts.add("stands for", target);
    }
    facts.add("sha256", artifact.sha256.to_string());
    let size = format!("{} ({} bytes)", bytes(artifact.size), artifact.size);
    facts.add("size", size);
    facts.add("role", role(artifact));
    facts.add("media type", &artifact.media_type);
    for (key, value) in &artifact.labels {
        facts.add("label", format!("{key}={value}"));
    }
    facts.add("since", table::when(artifact.created));
    for who in &artifact.needed_by {
        facts.add("needed by", who);
    }
    facts.add("path", format!("/artifacts/{}", artifact.name));
    facts.print();
}

/// Says that it is there.
pub(crate) fn uploaded(artifact: &ArtifactInfo) {
    let size = bytes(artifact.size);
    exit::say(&format!(
        "{}: {size}, sha256:{}",
        artifact.name, artifact.sha256
    ));
}

fn gone(collected: &Collected) {
    let mut table = Table::new(["SHA256", "SIZE", "UNUSED SINCE"]);
    for blob in &collected.blobs {
        table.row([
            blob.sha256.to_string().into(),
            bytes(blob.size).into(),
            table::ago(blob.changed).into(),
        ]);
    }
    table.print("nothing to remove");
    let (count, size) = (collected.blobs.len(), bytes(collected.bytes));
    match (count, collected.dry_run) {
        (0, _) => {}
        (_, true) => exit::say(&format!("{size} would be removed")),
        (_, false) => exit::say(&format!("{size} removed")),
    }
}
