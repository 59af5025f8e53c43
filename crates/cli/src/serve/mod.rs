//! `bootgate serve`.

mod config;
mod door;
pub(crate) mod holders;
mod log;
mod others;
mod resolve;
mod run;
mod running;
mod settings;
mod systemd;
mod table;
mod warnings;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bootgate_server::settings::Wanted;

use crate::args::{DhcpSettings, ServeArgs};
use crate::exit::{self, INFRA, USAGE};
use config::Settings;
use resolve::{Resolved, Unusable};

/// Where the configuration is looked for.
const PLACES: [&str; 2] = ["serve.toml", "/etc/bootgate/serve.toml"];

/// Serves the machines of a laboratory.
pub(crate) fn serve(args: &ServeArgs) -> ExitCode {
    let Some(path) = args.config.clone().or_else(usual) else {
        let hint = "write one, and name it with --config: two lines are enough\n\n  [[interface]]\n  name = \"eth1\"\n";
        let error = format!(
            "no configuration: there is no `{}`, and no `{}`",
            PLACES[0], PLACES[1]
        );
        return exit::fail(USAGE, &error, hint);
    };
    let settings = match config::load(&path) {
        Ok(settings) => settings,
        Err(error) => {
            crate::check::show(error);
            return ExitCode::from(USAGE);
        }
    };
    if args.check {
        return check(&path, &settings);
    }
    let resolved = match resolve::resolve(&settings) {
        Ok(resolved) => resolved,
        Err(Unusable { error, hint }) => return exit::fail(INFRA, &error, &hint),
    };
    match args.dhcp_settings {
        Some(server) => dhcp_settings(&resolved, server),
        None => run::run(&path, settings, resolved, args.format),
    }
}

fn usual() -> Option<PathBuf> {
    PLACES
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
}

/// Says what the configuration means. A host that lacks the interfaces can check it, too.
fn check(path: &Path, settings: &Settings) -> ExitCode {
    exit::say(&format!("{}: good", path.display()));
    match resolve::resolve(settings) {
        Ok(resolved) => {
            for line in table::served(&resolved.lab) {
                exit::say(&line);
            }
            for line in table::known(&resolved.lab) {
                exit::say(&line);
            }
            for note in &resolved.notes {
                exit::say(&format!("note: {note}"));
            }
        }
        Err(Unusable { error, .. }) => {
            exit::say(&format!("note: on this host it cannot be served: {error}"));
        }
    }
    exit::say(&format!("state in {}", settings.state.display()));
    ExitCode::SUCCESS
}

/// Prints what another DHCP server must say, for each interface.
fn dhcp_settings(resolved: &Resolved, server: DhcpSettings) -> ExitCode {
    for interface in &resolved.lab.interfaces {
        let lab = &resolved.lab;
        let wanted = Wanted::new(&interface.name, &interface.server, &lab.architectures);
        exit::say(settings::show(&wanted, server).trim_end());
    }
    ExitCode::SUCCESS
}
