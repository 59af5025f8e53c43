//! `bootgate attempt watch`.

use std::collections::BTreeMap;
use std::io::Stdout;
use std::process::ExitCode;
use std::time::Duration;

use bootgate_api::control::paths;
use bootgate_api::{Attempt, Machine};
use bootgate_events::{Event, EventKind, RunId, Verdict};
use bootgate_report::{Plain, Reporter};

use crate::args::Format;
use crate::client::{Client, Done, Lines, Trouble};
use crate::exit;
use crate::lines::Named;

/// What to do where there is nothing to follow.
const NO_SERVER: &str = "start the server with `bootgate serve`; what was stored is shown";
/// Column of the machines' names.
const NAME: usize = 17;

/// Follows the attempt, or a machine's, until its verdict, which is the exit code. An attempt that ends because the
/// machine was given other orders is followed by the one that carries them out. A server that stops is waited for.
pub(crate) async fn one(client: &Client, who: &str, format: Format, wait: Duration) -> Done {
    let mut id = match open_of(client, who).await? {
        Some(id) => id,
        None => next_of(client, who).await?,
    };
    loop {
        let verdict = to_its_verdict(client, &id, format, wait).await?;
        if number(who).is_some() || !new_orders(&verdict) {
            return Ok(ExitCode::from(verdict.exit_code()));
        }
        id = match open_of(client, who).await? {
            Some(next) if next != id => next,
            _ => next_of(client, who).await?,
        };
    }
}

/// Whether the attempt ended only to make room for another.
fn new_orders(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Interrupted { signal } if signal == "new orders")
}

async fn to_its_verdict(
    client: &Client,
    id: &str,
    format: Format,
    wait: Duration,
) -> Result<Verdict, Trouble> {
    let mut plain = Plain::following(std::io::stdout());
    let mut next = 0;
    loop {
        let path = format!("{}?from={next}&follow=true", paths::events(id));
        let mut lines = client.lines(&path).await?;
        while let Some(line) = lines.next().await? {
            let event = read(&line)?;
            match format {
                Format::Json => exit::say(&String::from_utf8_lossy(&line)),
                Format::Text => plain.event(&event, &[]),
            }
            next = event.seq + 1;
            if let Some(verdict) = verdict_of(&event) {
                return Ok(verdict);
            }
        }
        if !client.is_live() {
            let error = "no server runs, and the attempt has no verdict";
            return Err(Trouble::infra(error, NO_SERVER));
        }
        if !client.returns(wait).await {
            let hint = format!(
                "the attempt goes on when the server runs again: bootgate attempt watch {id}"
            );
            let error = "the server stopped before the attempt had a verdict";
            return Err(Trouble::infra(error, hint));
        }
    }
}

fn verdict_of(event: &Event) -> Option<Verdict> {
    match event.kind() {
        Some(EventKind::RunFinished { verdict }) => Some(verdict.clone()),
        _ => None,
    }
}

/// The attempt of this number, or the machine's open one. Where no server runs, the machine's latest.
async fn open_of(client: &Client, who: &str) -> Result<Option<String>, Trouble> {
    let attempt: Option<Attempt> = client.get(&paths::attempt(who)).await.ok();
    if let Some(attempt) = &attempt
        && (number(attempt.id.as_str()) == number(who)
            || attempt.finished.is_none()
            || !client.is_live())
    {
        return Ok(Some(attempt.id.to_string()));
    }
    // Neither an attempt nor a machine: that is an error, and not something to wait for.
    if attempt.is_none() && bootgate_api::control::MachineRef::read(who).is_name() {
        let _: Machine = client.get(&paths::machine(who)).await?;
    }
    Ok(None)
}

/// The number of an attempt, which may be written without its leading zeros; `None` for a machine.
fn number(who: &str) -> Option<u64> {
    who.strip_prefix('a')?.parse().ok()
}

/// The next attempt of the machine.
async fn next_of(client: &Client, who: &str) -> Result<String, Trouble> {
    let path = format!("{}?machine={}", paths::EVENTS, paths::escaped(who));
    let mut lines = client.lines(&path).await?;
    // One that was opened before the listening began.
    if let Some(id) = open_of(client, who).await? {
        return Ok(id);
    }
    exit::note(&format!("{who} has no open attempt: waiting for the next"));
    while let Some(line) = lines.next().await? {
        if let Some(event) = told(&line)? {
            return Ok(event.run.to_string());
        }
    }
    Err(stopped())
}

/// What there is to say when the server ended while somebody followed it.
fn stopped() -> Trouble {
    Trouble::infra(
        "the server stopped",
        "open attempts go on when it runs again; follow them then",
    )
}

/// An attempt that is followed with others.
struct Followed {
    plain: Plain<Named<Stdout>>,
    /// The number of the event that comes next.
    next: u64,
}

impl Followed {
    /// Tells of an event, unless it was told before.
    fn event(&mut self, event: &Event) {
        if event.seq >= self.next {
            self.next = event.seq + 1;
            self.plain.event(event, &[]);
        }
    }

    /// Tells what happened in the attempt up to `end` and was not told yet.
    async fn catch_up(&mut self, client: &Client, id: &RunId, end: u64) -> Result<(), Trouble> {
        let path = format!("{}?from={}", paths::events(id.as_str()), self.next);
        let mut lines = client.lines(&path).await?;
        while let Some(line) = lines.next().await? {
            let event = read(&line)?;
            if event.seq < end {
                self.event(&event);
            }
        }
        Ok(())
    }
}

/// Follows all that happens until the server stops for good.
pub(crate) async fn all(client: &Client, format: Format, wait: Duration) -> Done {
    let mut followed: BTreeMap<RunId, Followed> = BTreeMap::new();
    loop {
        let mut lines: Lines = client.lines(paths::EVENTS).await?;
        // What was told while nobody listened.
        for (id, one) in &mut followed {
            one.catch_up(client, id, u64::MAX).await?;
        }
        while let Some(line) = lines.next().await? {
            if format == Format::Json {
                exit::say(&String::from_utf8_lossy(&line));
                continue;
            }
            let Some(event) = told(&line)? else {
                exit::note("some events were missed: this program was too slow");
                continue;
            };
            let run = event.run.clone();
            if !followed.contains_key(&run) {
                followed.insert(run.clone(), begin(client, &event).await?);
            }
            if let Some(one) = followed.get_mut(&run) {
                one.event(&event);
            }
            if verdict_of(&event).is_some() {
                followed.remove(&run);
            }
        }
        if !client.returns(wait).await {
            return Err(stopped());
        }
    }
}

/// Lines of an attempt, with what happened in it before `event`.
async fn begin(client: &Client, event: &Event) -> Result<Followed, Trouble> {
    let attempt: Attempt = client.get(&paths::attempt(event.run.as_str())).await?;
    let path = paths::machine(&attempt.mac.to_string());
    let machine: Option<Machine> = client.get(&path).await.ok();
    let name = machine.and_then(|machine| machine.name);
    let name = name.unwrap_or_else(|| attempt.mac.to_string());
    let name = bootgate_report::words::short(&name, NAME);
    let plain = Plain::one_of_several(Named::new(&name, NAME, std::io::stdout()));
    let mut one = Followed { plain, next: 0 };
    one.catch_up(client, &event.run, event.seq).await?;
    Ok(one)
}

fn read(line: &[u8]) -> Result<Event, Trouble> {
    serde_json::from_slice(line).map_err(|error| {
        Trouble::infra(
            format!("read an event: {error}"),
            "this program and the server may be of different versions",
        )
    })
}

/// The event in a line; `None` where the server says that some were lost.
fn told(line: &[u8]) -> Result<Option<Event>, Trouble> {
    if line.starts_with(b"{\"lost\"") {
        return Ok(None);
    }
    read(line).map(Some)
}
