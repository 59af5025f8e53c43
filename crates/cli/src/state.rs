//! `bootgate state`.

use std::path::Path;
use std::process::ExitCode;

use bootgate_api::control::{Backup, paths};
use bootgate_store::sqlite;

use crate::args::{Reach, StateCommand};
use crate::client::{Client, Done, Trouble, trouble_with};
use crate::exit;
use crate::table;

/// Copies what is stored, there and back.
pub(crate) async fn state(command: StateCommand) -> Done {
    match command {
        StateCommand::Backup { file, reach } => backup(&file, &reach).await,
        StateCommand::Restore { file, reach } => restore(&file, &reach),
    }
}

async fn backup(file: &Path, reach: &Reach) -> Done {
    let path = std::path::absolute(file)
        .map_err(|error| Trouble::usage(format!("`{}`: {error}", file.display()), ""))?;
    let Some(path) = path.to_str() else {
        let error = format!("`{}` is not valid UTF-8", path.display());
        return Err(Trouble::usage(error, "name the file otherwise"));
    };
    let client = Client::reach(&reach.state).await?;
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
    match sqlite::restore(file, &reach.state) {
        Ok(()) => {
            let (file, state) = (file.display(), reach.state.display());
            exit::say(&format!("{state} is as {file} says"));
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(trouble_with(&reach.state, &error)),
    }
}
