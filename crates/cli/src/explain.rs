//! `bootgate explain`.

use std::process::ExitCode;

use bootgate_api::Explanation;
use bootgate_api::control::paths;

use crate::args::ExplainArgs;
use crate::client::{Client, Done};
use crate::exit;
use crate::table;

/// Says why a machine gets its reply.
pub(crate) async fn explain(args: ExplainArgs) -> Done {
    let client = Client::reach(&args.reach).await?;
    let who = paths::escaped(&args.machine.machine);
    let asking = paths::escaped(args.asking.as_deref().unwrap_or_default());
    let path = format!("{}?machine={who}&as={asking}", paths::EXPLAIN);
    let explanation = client.get(&path).await?;
    table::print(args.reach.format, &explanation, show)?;
    Ok(ExitCode::SUCCESS)
}

fn show(explanation: &Explanation) {
    let harmless = bootgate_report::words::harmless;
    let steps = &explanation.steps;
    let width = steps.iter().map(|step| step.about.chars().count()).max();
    let width = width.unwrap_or(0);
    for step in steps {
        let (about, found) = (harmless(&step.about), harmless(&step.found));
        exit::say(&format!("{about:<width$}  {found}"));
    }
    exit::say(&format!(
        "{:<width$}  {}",
        "=>",
        harmless(&explanation.outcome)
    ));
}
