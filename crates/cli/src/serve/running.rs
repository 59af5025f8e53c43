//! A server that runs: what it does with signals and orders until it ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bootgate_api::control::Problem;
use bootgate_events::{AttemptId, Event};
use bootgate_harness::InterfaceSockets;
use bootgate_scenario::file::FileError;
use bootgate_server::control::{ControlServer, Reloader};
use bootgate_server::door::Door;
use bootgate_server::lab::{Lab, LabServer, UnderWay};
use bootgate_server::{MetricsServer, SocketSource};
use bootgate_store::Store;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::config::{self, Settings};
use super::log::{self, Log};
use super::resolve::{self, Resolved, Unusable};
use super::{run, systemd, warnings};
use bootgate_hostnet::host::HostInterface;

/// Longest time for everything to be put away.
pub(super) const STOP: Duration = Duration::from_secs(15);
/// How often it is looked whether what is under way has ended.
const LOOK: Duration = Duration::from_millis(500);
/// Machines and other things that are named in one line.
const NAMED: usize = 5;

/// What came of reading the configuration again.
type Reload = Result<Vec<String>, Problem>;

/// Who wants the configuration read again.
pub(super) type Orders = mpsc::Receiver<oneshot::Sender<Reload>>;

/// The way for others to have the configuration read again.
pub(super) fn reloader() -> (Reloader, Orders) {
    let (orders, taken) = mpsc::channel::<oneshot::Sender<Reload>>(1);
    let reloader: Reloader = Arc::new(move || {
        let orders = orders.clone();
        Box::pin(async move {
            let stops = || Problem {
                error: "the server stops".to_owned(),
                hint: "it reads its configuration when it starts again".to_owned(),
            };
            let (reply, answer) = oneshot::channel();
            orders.send(reply).await.map_err(|_| stops())?;
            answer.await.map_err(|_| stops())?
        })
    });
    (reloader, taken)
}

/// A server that runs, and what belongs to it.
pub(super) struct Running {
    /// The configuration's file.
    pub(super) path: PathBuf,
    pub(super) settings: Settings,
    pub(super) store: Arc<dyn Store>,
    pub(super) server: LabServer,
    pub(super) control: ControlServer,
    pub(super) door: Option<Door>,
    /// Where metrics are offered.
    pub(super) watched: BTreeMap<SocketAddr, MetricsServer>,
    pub(super) events: broadcast::Receiver<(AttemptId, Event)>,
    pub(super) orders: Orders,
    pub(super) signals: Signals,
    pub(super) log: Log,
}

/// The sockets of these interfaces.
pub(super) fn sockets(hosts: Vec<HostInterface>) -> Vec<Arc<dyn SocketSource>> {
    let sockets = hosts.into_iter();
    let sockets =
        sockets.map(|host| Arc::new(InterfaceSockets::new(host)) as Arc<dyn SocketSource>);
    sockets.collect()
}

impl Running {
    /// Serves until a signal says stop, and then for as long as something is under way.
    pub(super) async fn serve(mut self) -> ExitCode {
        loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::Reload => drop(self.reload().await),
                    Asked::Stop => break,
                },
                Some(reply) = self.orders.recv() => {
                    let reload = self.reload().await;
                    // Who asked may be gone.
                    let _ = reply.send(reload);
                }
                event = self.events.recv() => {
                    if !self.log.take(event) {
                        break;
                    }
                }
            }
        }
        self.wind_down().await;
        self.end().await
    }

    /// Reads the configuration again. Where anything in it is wrong, nothing changes.
    async fn reload(&mut self) -> Reload {
        systemd::reloading();
        let reload = self.try_reload().await;
        match &reload {
            Ok(changed) if changed.is_empty() => log::line("reload", "nothing changed"),
            Ok(changed) => {
                for line in changed {
                    log::line("reload", line);
                }
            }
            Err(problem) => {
                let text = format!("REFUSED, and nothing changed: {}", problem.error);
                log::line("reload", &text);
                for hint in problem.hint.lines() {
                    log::line("reload", &format!("hint: {hint}"));
                }
            }
        }
        self.server
            .control()
            .note_reload(reload.as_ref().err().cloned());
        systemd::ready("serving");
        reload
    }

    async fn try_reload(&mut self) -> Reload {
        let path = self.path.clone();
        let read = aside(move || {
            let settings = config::load(&path).map_err(|error| problem(&error))?;
            let resolved = resolve::resolve(&settings).map_err(unusable)?;
            Ok((settings, resolved))
        });
        let (settings, resolved) = read.await?;
        self.needs_restart(&settings)?;
        let Resolved { lab, hosts, notes } = resolved;
        let before = &self.server.config().interfaces;
        let begins = |name: &str| {
            let mut served = before.iter();
            !served.any(|one| one.name == name && one.dhcp == bootgate_server::DhcpMode::Full)
        };
        run::alone_on(&settings, &lab, &self.store, &begins)
            .await
            .map_err(unusable)?;
        let new = settings.metrics.iter().copied();
        let new: Vec<_> = new.filter(|at| !self.watched.contains_key(at)).collect();
        let running = self.server.control();
        let watched = run::watched(&new, &running).await.map_err(unusable)?;
        if let Some(door) = &self.door {
            door.reload_certificate().map_err(|error| Problem {
                error: error.to_string(),
                hint: "[api] names certificate and key; the former ones stay in use".to_owned(),
            })?;
        }
        let mut changed = self
            .server
            .reload(lab, sockets(hosts))
            .await
            .map_err(|error| unusable(run::not_started(&error)))?;
        if settings.stop_wait != self.settings.stop_wait {
            changed.push("stop_wait: changed".to_owned());
        }
        if settings.metrics != self.settings.metrics {
            self.watched.retain(|at, _| settings.metrics.contains(at));
            self.watched.extend(watched);
            changed.push("metrics: changed".to_owned());
        }
        if settings.log != self.settings.log {
            warnings::set(&settings.log);
            changed.push("log: changed".to_owned());
        }
        changed.extend(notes.into_iter().map(|note| format!("note: {note}")));
        self.settings = settings;
        Ok(changed)
    }

    /// What only a new start can change.
    fn needs_restart(&self, settings: &Settings) -> Result<(), Problem> {
        let mut keys = Vec::new();
        if settings.state != self.settings.state {
            keys.push("[state] folder");
        }
        if settings.api != self.settings.api {
            keys.push("[api]");
        }
        if keys.is_empty() {
            return Ok(());
        }
        Err(Problem {
            error: format!(
                "{}: {} cannot change while the server runs",
                self.path.display(),
                keys.join(" and ")
            ),
            hint: "restart the server, or change it back; nothing else was taken over either"
                .to_owned(),
        })
    }

    /// Takes nothing new, and goes on for as long as something is under way, up to the time that the configuration says
    /// or the next signal.
    async fn wind_down(&mut self) {
        let lab = self.server.control();
        let wait = self.settings.stop_wait;
        systemd::stopping(wait);
        lab.wind_down();
        let end = Instant::now() + wait;
        let mut look = tokio::time::interval(LOOK);
        let mut told = false;
        loop {
            tokio::select! {
                asked = self.signals.next() => match asked {
                    Asked::Reload => {}
                    Asked::Stop => break,
                },
                () = tokio::time::sleep_until(end) => break,
                event = self.events.recv() => {
                    if !self.log.take(event) {
                        break;
                    }
                }
                Some(reply) = self.orders.recv() => {
                    drop(reply);
                }
                _ = look.tick() => {
                    let (machines, transfers) = lab.under_way().await;
                    if machines.is_empty() && transfers == 0 {
                        break;
                    }
                    if !told {
                        told = true;
                        let text = format!(
                            "stopping: no machine begins to boot now; waiting up to {} s for {}; a second signal ends the wait",
                            wait.as_secs(),
                            words(&machines, transfers)
                        );
                        log::line("server", &text);
                    }
                }
            }
        }
        let (machines, transfers) = lab.under_way().await;
        if transfers > 0 {
            let text = format!("{} broken off", count(transfers, "transfer"));
            log::line("server", &text);
        }
        for machine in machines {
            let text = format!(
                "attempt {} ({}) is open, and goes on when the server runs again",
                machine.attempt, machine.mode
            );
            log::line(&machine.machine, &text);
        }
    }

    /// Puts everything away.
    async fn end(mut self) -> ExitCode {
        log::line("server", "stopping");
        let stopped = async {
            if let Some(door) = self.door {
                door.stop().await;
            }
            self.control.stop().await;
            self.server.stop().await;
        };
        let again = async { while self.signals.next().await == Asked::Reload {} };
        tokio::select! {
            stopped = tokio::time::timeout(STOP, stopped) => if stopped.is_err() {
                log::line("server", "not everything was put away in time; nothing that was acknowledged is lost");
            },
            () = again => return ExitCode::from(130),
        }
        ExitCode::SUCCESS
    }
}

/// Does what waits for the disk or the host where it may.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Problem {
            error: format!("read the configuration: {error}"),
            hint: String::new(),
        }),
    }
}

fn unusable(Unusable { error, hint }: Unusable) -> Problem {
    Problem { error, hint }
}

/// The first problem of the file with its line, and what to do about it with the others.
fn problem(error: &FileError) -> Problem {
    let hint = miette::Diagnostic::help(error);
    Problem {
        error: error.one_line(),
        hint: hint.map(|hint| hint.to_string()).unwrap_or_default(),
    }
}

fn count(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// What is under way, in words.
fn words(machines: &[UnderWay], transfers: u64) -> String {
    let mut all: Vec<String> = machines
        .iter()
        .take(NAMED)
        .map(|machine| format!("{} ({})", machine.machine, machine.mode))
        .collect();
    if let Some(more) = machines.len().checked_sub(NAMED).filter(|more| *more > 0) {
        all.push(format!("{more} more machines"));
    }
    if transfers > 0 {
        all.push(count(transfers, "transfer"));
    }
    all.join(", ")
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// To stop: SIGINT, SIGTERM.
    Stop,
    /// To read the configuration again: SIGHUP.
    Reload,
}

/// The signals that the server listens to.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Unusable> {
        let failed = |error: std::io::Error| Unusable {
            error: format!("listen for signals: {error}"),
            hint: String::new(),
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            hangup: signal(SignalKind::hangup()).map_err(failed)?,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// The next one that says stop.
    pub(super) async fn stop(&mut self) {
        while self.next().await != Asked::Stop {}
    }
}

/// Tells the service manager that the server is well, for as long as it is. Ends with its handle.
pub(super) fn watchdog(lab: Arc<Lab>) -> Option<tokio::task::JoinHandle<()>> {
    let every = systemd::watchdog()?;
    Some(tokio::spawn(async move {
        let mut next = tokio::time::interval(every);
        loop {
            next.tick().await;
            if lab.is_alive(every).await {
                systemd::well();
            }
        }
    }))
}
