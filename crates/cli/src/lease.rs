//! `bootgate lease`.

use std::process::ExitCode;

use bootgate_api::control::{Forgotten, paths};
use bootgate_api::{Lease, LeaseState};

use crate::args::{Format, LeaseCommand};
use crate::client::{Client, Done, Trouble};
use crate::exit;
use crate::table::{self, Cell, Style, Table};

/// Lists and forgets leases.
pub(crate) async fn lease(command: LeaseCommand) -> Done {
    match command {
        LeaseCommand::List { machine, reach } => {
            let client = Client::reach(&reach).await?;
            let path = match machine {
                Some(machine) => format!("{}?machine={}", paths::LEASES, paths::escaped(&machine)),
                None => paths::LEASES.to_owned(),
            };
            let leases: Vec<Lease> = client.get(&path).await?;
            match reach.format {
                Format::Json => table::json(&leases)?,
                Format::Text => list(&leases),
            }
        }
        LeaseCommand::Forget { ip, reach } => {
            let client = Client::reach(&reach).await?;
            let forgotten: Forgotten = client.delete(&paths::lease(&ip)).await?;
            if !forgotten.known {
                return Err(Trouble::usage(
                    format!("no lease of {ip} is known"),
                    "`bootgate lease list` shows the addresses",
                ));
            }
            table::print(reach.format, &forgotten, |_| {
                exit::say(&format!("forgot {ip}; another machine may get it now"));
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(leases: &[Lease]) {
    let mut table = Table::new([
        "ADDRESS",
        "MACHINE",
        "STATE",
        "ENDS",
        "CHANGED",
        "DHCPv6 CLIENT",
    ]);
    for lease in leases {
        let state = match lease.state {
            // It ran out, and nobody has the address since.
            LeaseState::Leased if table::is_past(lease.ends) => "ended".into(),
            LeaseState::Leased => Cell::styled("leased", Style::Good),
            LeaseState::Ended => "ended".into(),
            LeaseState::Quarantined => Cell::styled("quarantined", Style::Bad),
        };
        table.row([
            lease.ip.to_string().into(),
            lease.mac.to_string().into(),
            state,
            table::ago(lease.ends).into(),
            table::ago(lease.changed).into(),
            lease.client.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.print("no leases");
}
