//! `bootgate attempt`.

use std::process::ExitCode;
use std::time::Duration;

use bootgate_api::control::paths;
use bootgate_api::{Attempt, UnixMicros};
use bootgate_events::Verdict;
use bootgate_report::words::{harmless, took, verdict};

use crate::args::{AttemptCommand, Format};
use crate::client::{Client, Done};
use crate::export;
use crate::table::{self, Cell, Facts, Style, Table};
use crate::watch;

/// Lists, shows, follows and exports attempts.
pub(crate) async fn attempt(command: AttemptCommand) -> Done {
    match command {
        AttemptCommand::List {
            machine,
            open,
            limit,
            reach,
        } => {
            let client = Client::reach(&reach).await?;
            let mut path = format!("{}?open={open}&limit={limit}", paths::ATTEMPTS);
            if let Some(machine) = machine {
                path.push_str(&format!("&machine={}", paths::escaped(&machine)));
            }
            let attempts: Vec<Attempt> = client.get(&path).await?;
            match reach.format {
                Format::Json => table::json(&attempts)?,
                Format::Text => list(&attempts),
            }
        }
        AttemptCommand::Show { attempt, reach } => {
            let client = Client::reach(&reach).await?;
            let attempt = client.get(&paths::attempt(&attempt.attempt)).await?;
            table::print(reach.format, &attempt, show)?;
        }
        AttemptCommand::Watch {
            attempt,
            wait,
            reach,
        } => {
            let client = Client::reach(&reach).await?;
            let wait = Duration::from_secs(wait);
            return match attempt {
                Some(attempt) => watch::one(&client, &attempt, reach.format, wait).await,
                None => watch::all(&client, reach.format, wait).await,
            };
        }
        AttemptCommand::Export {
            attempt,
            out,
            reach,
        } => {
            let client = Client::reach(&reach).await?;
            export::export(&client, &attempt.attempt, out.as_deref(), reach.format).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn list(attempts: &[Attempt]) {
    let mut table = Table::new(["ATTEMPT", "MACHINE", "BOOTS", "OPENED", "TOOK", "VERDICT"]);
    for attempt in attempts {
        table.row([
            attempt.id.as_str().into(),
            attempt.mac.to_string().into(),
            boots(attempt).into(),
            table::ago(attempt.opened).into(),
            length(attempt).into(),
            outcome(attempt),
        ]);
    }
    table.print("no attempts");
}

fn boots(attempt: &Attempt) -> String {
    match attempt.boot.flash() {
        _ if attempt.local => format!("{}, its disk", attempt.boot.name()),
        Some(order) => format!("{} {}", attempt.boot.name(), order.image),
        None => attempt.boot.name().to_owned(),
    }
}

/// How long it took; `-` while it goes on.
fn length(attempt: &Attempt) -> String {
    let UnixMicros(opened) = attempt.opened;
    match attempt.finished {
        Some(UnixMicros(end)) => took(end.saturating_sub(opened) / 1000),
        None => "-".to_owned(),
    }
}

fn outcome(attempt: &Attempt) -> Cell {
    match &attempt.verdict {
        None => Cell::styled("goes on", Style::Odd),
        Some(target) => Cell::styled(&verdict(&target.verdict), style(&target.verdict)),
    }
}

pub(crate) fn style(verdict: &Verdict) -> Style {
    match verdict {
        Verdict::Passed => Style::Good,
        Verdict::Failed { .. } => Style::Bad,
        _ => Style::Odd,
    }
}

fn show(attempt: &Attempt) {
    let mut facts = Facts::default();
    facts.add("attempt", attempt.id.as_str());
    facts.add("machine", attempt.mac.to_string());
    facts.add("boots", boots(attempt));
    facts.add("opened", table::when(attempt.opened));
    if let Some(finished) = attempt.finished {
        facts.add("finished", table::when(finished));
        facts.add("took", length(attempt));
    }
    if let Some(expected) = &attempt.expected {
        facts.add("image", expected.image_sha256.to_string());
    }
    if attempt.nonces > 1 {
        let times = format!("{} times", attempt.nonces);
        facts.add("script fetched", Cell::styled(&times, Style::Odd));
    }
    if let Some(peer) = attempt.peer {
        facts.add("address", peer.to_string());
    }
    facts.add("verdict", outcome(attempt));
    if let Some(target) = &attempt.verdict {
        for span in &target.stages {
            let took = took(span.end_ms.saturating_sub(span.start_ms));
            facts.add(format!("  {}", span.stage), took);
        }
        if let Verdict::Failed { evidence, .. } = &target.verdict {
            for item in evidence {
                facts.add("evidence", harmless(&item.text));
            }
        }
    }
    facts.print();
}
