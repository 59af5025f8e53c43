//! `bootgate status`.

use std::process::ExitCode;

use bootgate_api::control::{Reloaded, ServerStatus, Status, paths};

use crate::args::StatusArgs;
use crate::client::{Client, Done};
use crate::exit;
use crate::table::{self, Cell, Facts, Style, Table};

/// Says how the server is.
pub(crate) async fn status(args: StatusArgs) -> Done {
    let client = Client::reach(&args.reach).await?;
    let status = client.get(paths::STATUS).await?;
    table::print(args.reach.format, &status, |status| {
        let here = || args.reach.state.display().to_string();
        show(status, &client.url().unwrap_or_else(here));
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Has the server read its configuration again.
pub(crate) async fn reload(args: StatusArgs) -> Done {
    let client = Client::reach(&args.reach).await?;
    let reloaded: Reloaded = client.post(paths::RELOAD, &serde_json::Value::Null).await?;
    table::print(args.reach.format, &reloaded, |reloaded| {
        if reloaded.changed.is_empty() {
            exit::say("nothing changed");
        }
        for line in &reloaded.changed {
            exit::say(line);
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// `place` is the folder of the state, or the server's address.
fn show(status: &Status, place: &str) {
    let mut facts = Facts::default();
    match &status.server {
        Some(server) => {
            let since = table::when(server.started);
            let running = format!("runs, version {}, started {since}", status.version);
            facts.add("server", Cell::styled(&running, Style::Good));
        }
        None => facts.add("server", Cell::styled("none runs", Style::Odd)),
    }
    let of = if place.contains("://") { "at" } else { "state" };
    facts.add(of, place);
    facts.add("machines", status.machines.to_string());
    facts.add("leases", status.leases.to_string());
    facts.add("open attempts", status.open_attempts.to_string());
    if let Some(server) = &status.server {
        if server.stopping {
            let text = "no machine begins to boot; what is under way goes on";
            facts.add("stopping", Cell::styled(text, Style::Odd));
        }
        if let Some(reload) = &server.reload {
            let when = table::when(reload.at);
            match &reload.refused {
                None => facts.add("reloaded", when),
                Some(problem) => {
                    let text = format!("REFUSED {when}: {}", problem.error);
                    facts.add("reload", Cell::styled(&text, Style::Bad));
                    for hint in problem.hint.lines() {
                        facts.add("", format!("hint: {hint}"));
                    }
                }
            }
        }
        if let Some(error) = &server.storage_error {
            facts.add("storage", Cell::styled(error, Style::Bad));
        }
        if server.lost_events > 0 {
            let lost = server.lost_events.to_string();
            facts.add("lost events", Cell::styled(&lost, Style::Bad));
        }
    }
    facts.print();
    if let Some(server) = &status.server {
        listening(server);
        foreign(server);
        dropped(server);
    }
}

fn listening(server: &ServerStatus) {
    let mut table = Table::new(["INTERFACE", "SERVICE", "ADDRESS"]);
    for at in &server.listening {
        table.row([
            (&at.interface).into(),
            (&at.service).into(),
            (&at.address).into(),
        ]);
    }
    exit::say("");
    table.print("it listens nowhere");
}

fn foreign(server: &ServerStatus) {
    if server.foreign_servers.is_empty() {
        return;
    }
    let mut table = Table::new(["OTHER DHCP SERVER", "HARDWARE", "INTERFACE", "SEEN", "BY"]);
    for other in &server.foreign_servers {
        let mac = other.mac.map(|mac| mac.to_string());
        table.row([
            Cell::styled(&other.address.to_string(), Style::Bad),
            mac.as_deref().unwrap_or("-").into(),
            (&other.interface).into(),
            table::ago(other.last_seen).into(),
            (&other.by).into(),
        ]);
    }
    exit::say("");
    table.print("");
}

fn dropped(server: &ServerStatus) {
    let mut table = Table::new(["SERVICE", "NOT ANSWERED", "TIMES"]);
    for drop in &server.dropped {
        table.row([
            (&drop.service).into(),
            (&drop.reason).into(),
            drop.count.to_string().into(),
        ]);
    }
    exit::say("");
    table.print("every packet and request was answered");
}
