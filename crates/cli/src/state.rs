//! `bootgate state`.

use std::path::Path;
use std::process::ExitCode;

use bootgate_api::control::{Backup, paths};
use bootgate_store::{StoreError, sqlite};
use serde::Serialize;

use crate::args::{Reach, StateCommand};
use crate::client::{Client, Done, Trouble, trouble_with};
use crate::exit;
use crate::table;

/// What a restore did.
#[derive(Serialize)]
struct Restored {
    state: String,
    from: String,
}

/// Copies what is stored, there and back.
pub(crate) async fn state(command: StateCommand) -> Done {
    match command {
        StateCommand::Backup { file, reach } => backup(&file, &reach).await,
        StateCommand::Restore { file, reach } => restore(&file, &reach),
    }
}

async fn backup(file: &Path, reach: &Reach) -> Done {
    if let (Some(server), false) = (&reach.network.server, file.is_absolute()) {
        return Err(Trouble::usage(
            format!("`{}` is no place on the host of `{server}`", file.display()),
            "the server writes the copy: name an absolute path there",
        ));
    }
    let path = std::path::absolute(file)
        .map_err(|error| Trouble::usage(format!("`{}`: {error}", file.display()), ""))?;
    let Some(path) = path.to_str() else {
        let error = format!("`{}` is not valid UTF-8", path.display());
        return Err(Trouble::usage(error, "name the file otherwise"));
    };
    let client = Client::reach(reach).await?;
    let backup = Backup {
        path: path.to_owned(),
    };
    let backup: Backup = client.post(paths::BACKUP, &backup).await?;
    table::print(reach.format, &backup, |backup| {
        exit::say(&format!("wrote {}", backup.path));
    })?;
    Ok(ExitCode::SUCCESS)
}

fn restore(file: &Path, reach: &Reach) -> Done {
    if let Some(server) = &reach.network.server {
        return Err(Trouble::usage(
            format!("the state of `{server}` cannot be restored from here"),
            "stop that server, and restore on its own host, without --server and BOOTGATE_SERVER",
        ));
    }
    match sqlite::restore(file, &reach.state) {
        Ok(()) => {
            let restored = Restored {
                state: reach.state.display().to_string(),
                from: file.display().to_string(),
            };
            table::print(reach.format, &restored, |restored| {
                exit::say(&format!(
                    "the state in {} is that of {} now",
                    restored.state, restored.from
                ));
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(StoreError::InUse { .. }) => Err(Trouble::infra(
            format!("restore `{}`: the server runs", file.display()),
            "stop it, restore, and start it again: it has the state in its memory",
        )),
        Err(error) => Err(trouble_with(&reach.state, &error)),
    }
}
