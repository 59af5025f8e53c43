//! What a person sees of runs that go on.

use std::io::IsTerminal;

use bootgate_events::TargetName;
use bootgate_harness::Attach;
use bootgate_report::{Live, LiveRuns, Plain, Reporter};

use crate::console::Console;
use crate::exit;
use crate::lines::Named;

/// Several runs are shown live on a terminal.
pub(super) fn live_runs(runs: usize, column: Option<usize>) -> Option<LiveRuns> {
    column
        .filter(|_| std::io::stderr().is_terminal())
        .map(|column| LiveRuns::new(runs, column))
}

/// Who shows the run: the attached console, a live display, or plain lines. Where several scenarios are run, every
/// line has the scenario's name before it, in a column.
pub(super) fn of_one(
    attach: Option<&TargetName>,
    name: &str,
    column: Option<usize>,
) -> (Vec<Box<dyn Reporter>>, Option<Attach>) {
    if let Some(target) = attach {
        match Console::open(target.clone()) {
            Ok((console, keys)) => {
                let target = target.clone();
                let attach = Attach { target, keys };
                return (vec![Box::new(console)], Some(attach));
            }
            Err(error) => exit::complain(
                &format!("attach to the console: {error}"),
                "the run goes on without",
            ),
        }
    }
    let out = std::io::stdout();
    let reporter: Box<dyn Reporter> = match column {
        Some(column) => Box::new(Plain::new(Named::new(name, column, out))),
        None if std::io::stderr().is_terminal() => Box::new(Live::new()),
        None => Box::new(Plain::new(out)),
    };
    (vec![reporter], None)
}
