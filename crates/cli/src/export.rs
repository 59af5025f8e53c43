//! `bootgate attempt export`.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bootgate_api::Attempt;
use bootgate_api::control::paths;
use serde::Serialize;

use crate::args::Format;
use crate::client::{Client, Trouble};
use crate::exit;
use crate::table;

/// What was exported.
#[derive(Serialize)]
struct Exported {
    attempt: String,
    folder: String,
    events: u64,
    /// Whether it has its verdict.
    complete: bool,
}

/// Writes a run folder that can be judged again: the events, and the reports made from them.
pub(crate) async fn export(
    client: &Client,
    who: &str,
    out: Option<&Path>,
    format: Format,
) -> Result<(), Trouble> {
    let attempt: Attempt = client.get(&paths::attempt(who)).await?;
    let folder = match out {
        Some(out) => out.to_owned(),
        None => PathBuf::from(format!("attempt-{}", attempt.id)),
    };
    let trouble = |doing: &str, path: &Path, error: &dyn std::fmt::Display| {
        Trouble::infra(format!("{doing} `{}`: {error}", path.display()), "")
    };
    fs::create_dir_all(&folder).map_err(|error| trouble("make the folder", &folder, &error))?;
    let mut inside =
        fs::read_dir(&folder).map_err(|error| trouble("look into", &folder, &error))?;
    if inside.next().is_some() {
        return Err(Trouble::usage(
            format!("folder `{}` is not empty", folder.display()),
            "name an empty or a new folder with --out",
        ));
    }
    // The log is whole or absent: it is written under another name first.
    let log = folder.join(bootgate_harness::folder::EVENTS);
    let unfinished = folder.join(".events.jsonl.unfinished");
    let count = write(client, &attempt, &unfinished, &trouble).await?;
    fs::rename(&unfinished, &log).map_err(|error| trouble("write", &log, &error))?;
    let exported = Exported {
        attempt: attempt.id.to_string(),
        folder: folder.display().to_string(),
        events: count,
        complete: attempt.finished.is_some(),
    };
    match bootgate_harness::replay(&folder) {
        Ok(replay) => {
            table::print(format, &exported, show)?;
            for difference in &replay.differences {
                exit::complain(
                    &format!("the log's conclusions do not follow from its facts: {difference}"),
                    "another version of bootgate wrote it",
                );
            }
            Ok(())
        }
        Err(error) => Err(Trouble::infra(error.to_string(), error.hint())),
    }
}

fn show(exported: &Exported) {
    let Exported { events, folder, .. } = exported;
    exit::say(&format!(
        "wrote {events} events and their reports into {folder}"
    ));
    if !exported.complete {
        exit::say("the attempt has no verdict yet: it goes on");
    }
}

async fn write(
    client: &Client,
    attempt: &Attempt,
    file: &Path,
    trouble: &impl Fn(&str, &Path, &dyn std::fmt::Display) -> Trouble,
) -> Result<u64, Trouble> {
    let mut events = client.lines(&paths::events(attempt.id.as_str())).await?;
    let log = fs::File::create_new(file).map_err(|error| trouble("write", file, &error))?;
    let mut log = std::io::BufWriter::new(log);
    let mut count = 0;
    while let Some(mut line) = events.next().await? {
        line.push(b'\n');
        log.write_all(&line)
            .map_err(|error| trouble("write", file, &error))?;
        count += 1;
    }
    log.flush()
        .map_err(|error| trouble("write", file, &error))?;
    Ok(count)
}
