//! `bootgate run`.

mod annotate;
mod cells;
mod front;
mod limits;
mod table;

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use bootgate_events::{TargetName, Verdict};
use bootgate_harness::{HarnessError, RunOptions, RunOutcome};
use bootgate_hostnet::{Sandbox, SandboxConfig};
use bootgate_report::{LiveRuns, VerdictFile};
use bootgate_scenario::{Driver, Plan};
use bootgate_target::accel::{self, AccelChoice};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};

use crate::args::{AccelArg, RunArgs};
use crate::console;
use crate::exit::{self, INFRA, USAGE};
use crate::run::limits::{Host, Need};
use crate::run::table::Table;

/// One scenario or cell, with the sandbox that was entered for it before any thread began.
struct Job {
    plan: Plan,
    /// Its name on the terminal.
    shown: String,
    /// Why this host cannot run it.
    lacks: Option<String>,
    sandbox: Option<Sandbox>,
    /// A second one, for a run that starts again because KVM failed in its middle.
    spare: Option<Sandbox>,
    folder: PathBuf,
}

/// Runs scenarios; the exit code is the gravest verdict's.
pub(crate) fn run(args: RunArgs) -> ExitCode {
    let jobs = match jobs(&args) {
        Ok(jobs) => jobs,
        Err(code) => return code,
    };
    let attach = match args
        .attach
        .as_deref()
        .map(|name| attached_target(&jobs, name))
        .transpose()
    {
        Ok(attach) => attach,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return exit::fail(INFRA, &format!("start the runtime: {error}"), ""),
    };
    bootgate_harness::end_runs_on_panic();
    let code = runtime.block_on(run_all(jobs, &args, attach));
    // A blocked read of the terminal must not hold the process.
    runtime.shutdown_background();
    code
}

/// Reads every scenario, then enters a sandbox for each run that needs one. Nothing is started unless all can be.
fn jobs(args: &RunArgs) -> Result<VecDeque<Job>, ExitCode> {
    let mut plans = Vec::new();
    for path in &args.scenarios {
        let cells = crate::check::load(path, args.lab.as_deref()).map_err(|error| {
            crate::check::show(error);
            ExitCode::from(USAGE)
        })?;
        plans.extend(cells);
    }
    let plans = cells::chosen(plans, &args.cell)
        .map_err(|(error, hint)| exit::fail(USAGE, &error, &hint))?;
    let folders = folders(&plans, args.out.as_deref())?;
    let one_file = args.scenarios.len() == 1;
    let mut jobs = VecDeque::new();
    for (plan, folder) in plans.into_iter().zip(folders) {
        // A cell among others is skipped; a scenario that somebody asked for by itself says what is wrong by failing.
        let lacks = plan
            .cell
            .as_ref()
            .and_then(|_| bootgate_harness::lacks(&plan));
        let virtual_targets = lacks.is_none()
            && plan
                .targets
                .iter()
                .any(|target| matches!(target.driver, Driver::Qemu(_)));
        let retry = matches!(args.accel, AccelArg::Auto) && accel::kvm_is_plausible();
        let shown = match &plan.cell {
            Some(cell) if one_file => cell.to_string(),
            _ => plan.title(),
        };
        jobs.push_back(Job {
            shown,
            lacks,
            sandbox: sandbox(virtual_targets)?,
            spare: sandbox(virtual_targets && retry)?,
            folder,
            plan,
        });
    }
    Ok(jobs)
}

fn sandbox(wanted: bool) -> Result<Option<Sandbox>, ExitCode> {
    let sandbox = wanted.then(|| Sandbox::enter(SandboxConfig::default()));
    sandbox
        .transpose()
        .map_err(|error| exit::fail(INFRA, &error.to_string(), error.hint().unwrap_or_default()))
}

/// The run folder of each plan.
fn folders(plans: &[Plan], out: Option<&Path>) -> Result<Vec<PathBuf>, ExitCode> {
    let base = out.unwrap_or(Path::new("bootgate-out"));
    let folder = |plan: &Plan| match (&plan.cell, out, plans) {
        (Some(cell), ..) => base.join(&plan.name).join(cell.to_string()),
        (None, Some(out), [_]) => out.to_owned(),
        (None, ..) => base.join(&plan.name),
    };
    let folders: Vec<PathBuf> = plans.iter().map(folder).collect();
    let scenario = |index: usize| (&plans[index].file, &plans[index].name);
    for (index, own) in folders.iter().enumerate() {
        let same = (0..index).find(|other| {
            let ((file, name), (other_file, other_name)) = (scenario(index), scenario(*other));
            folders[*other] == *own || (name == other_name && file != other_file)
        });
        if same.is_some() {
            let error = format!("two of the scenarios are named `{}`", plans[index].name);
            let hint = "give each scenario a name of its own";
            return Err(exit::fail(USAGE, &error, hint));
        }
    }
    Ok(folders)
}

/// The target whose console the terminal is connected to.
fn attached_target(jobs: &VecDeque<Job>, name: &str) -> Result<TargetName, ExitCode> {
    let [job] = jobs.iter().collect::<Vec<_>>()[..] else {
        return Err(exit::fail(
            USAGE,
            "--attach goes with one scenario or cell",
            "run the scenario alone, or one cell of it with --cell",
        ));
    };
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(exit::fail(
            USAGE,
            "--attach needs a terminal",
            "run without --attach; the console is in the run folder",
        ));
    }
    let found = job
        .plan
        .targets
        .iter()
        .find(|target| name.is_empty() || target.name.as_str() == name);
    match found {
        Some(target) => Ok(target.name.clone()),
        None => {
            let names: Vec<&str> = job
                .plan
                .targets
                .iter()
                .map(|target| target.name.as_str())
                .collect();
            let hint = format!("the scenario has: {}", names.join(", "));
            Err(exit::fail(
                USAGE,
                &format!("the scenario has no target `{name}`"),
                &hint,
            ))
        }
    }
}

async fn run_all(jobs: VecDeque<Job>, args: &RunArgs, attach: Option<TargetName>) -> ExitCode {
    let (interrupt, interrupts) = watch::channel(None);
    let signals = tokio::spawn(watch_signals(interrupt));
    let workers = workers(&jobs, args);
    let mut told = Table::of(&jobs);
    let (column, crew_size) = (told.column(), jobs.len());
    let crew = Arc::new(Crew {
        clients: clients(&jobs, workers),
        queue: Mutex::new(jobs.into_iter().enumerate().collect()),
        column,
        live: front::live_runs(crew_size, column),
        attach,
        accel: choice(args.accel),
        keep_work: args.keep_work,
        interrupts: interrupts.clone(),
    });
    let live = crew.live.clone();
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..workers {
        running.spawn(Arc::clone(&crew).work());
    }
    let mut code = 0;
    while let Some(some) = running.join_next().await {
        match some {
            Ok(ended) => told.add(ended),
            // The task has panicked, and told why on standard error. Its sandbox went with it.
            Err(_) => code = INFRA,
        }
    }
    console::restore();
    if let Some(live) = live {
        live.finish();
    }
    let interrupted = interrupts.borrow().is_some();
    if interrupted && !told.is_complete() {
        code = 130;
    }
    signals.abort();
    let chosen = !args.cell.is_empty();
    ExitCode::from(told.conclude(interrupted, chosen).max(code))
}

/// How many runs go on at once, which is said where it is fewer than was asked for.
fn workers(jobs: &VecDeque<Job>, args: &RunArgs) -> usize {
    let translated = matches!(args.accel, AccelArg::Tcg) || !accel::kvm_is_plausible();
    let able = jobs.iter().filter(|job| job.lacks.is_none());
    let needs: Vec<Need> = able.map(|job| Need::of(&job.plan, translated)).collect();
    let on_interface = jobs.iter().any(|job| job.plan.network.interface.is_some());
    let (workers, why) = limits::at_once(args.jobs, &needs, Host::measured(), on_interface);
    if let Some(why) = why {
        exit::note(&format!("bootgate: {why}"));
    }
    workers
}

/// What the runs have in common.
struct Crew {
    queue: Mutex<VecDeque<(usize, Job)>>,
    /// How many virtual machines run at once.
    clients: u32,
    /// Width of the column of names, where there are several.
    column: Option<usize>,
    /// Where several are shown live.
    live: Option<LiveRuns>,
    attach: Option<TargetName>,
    accel: AccelChoice,
    keep_work: bool,
    interrupts: watch::Receiver<Option<&'static str>>,
}

impl Crew {
    /// Runs jobs until none is left, or somebody stops all.
    async fn work(self: Arc<Self>) -> Vec<Ended> {
        let mut ended = Vec::new();
        loop {
            let next = self.queue.lock().await.pop_front();
            let Some((index, job)) = next else { break };
            if self.interrupts.borrow().is_some() {
                break;
            }
            let began = Instant::now();
            let (shown, in_table) = (job.shown.clone(), job.plan.cell.is_some());
            let title = job.plan.title();
            let outcome = self.one(job).await;
            let one = self.conclude(index, &shown, in_table, began, outcome);
            if annotate::wanted() {
                annotate::say(&title, &one.file);
            }
            ended.push(one);
        }
        ended
    }

    fn conclude(
        &self,
        index: usize,
        shown: &str,
        in_table: bool,
        began: Instant,
        outcome: Result<RunOutcome, HarnessError>,
    ) -> Ended {
        console::restore();
        let (verdict, code, file) = match outcome {
            Ok(outcome) => {
                let told = format!("reports in {}", outcome.folder.display());
                match (&self.live, self.column) {
                    // The closing table leads to those of cells.
                    (Some(_), _) if in_table && matches!(outcome.verdict, Verdict::Passed) => {}
                    (Some(live), _) => live.print(&format!("    {told}")),
                    (None, Some(column)) => exit::say(&format!("{shown:<column$} | {told}")),
                    (None, None) => exit::say(&told),
                }
                let verdict = &outcome.verdict;
                (verdict.word(), verdict.exit_code(), Ok(outcome.file))
            }
            Err(error) => {
                self.complain(&format!("{shown}: {error}"), &error.hint());
                let code = if error.is_usage() { USAGE } else { INFRA };
                ("no verdict", code, Err(error.to_string()))
            }
        };
        Ended {
            index,
            verdict,
            code,
            began,
            ended: Instant::now(),
            file,
        }
    }

    /// Says what went wrong, above what is drawn.
    fn complain(&self, error: &str, hint: &str) {
        let Some(live) = &self.live else {
            return exit::complain(error, hint);
        };
        live.print(&format!("error: {error}"));
        if !hint.is_empty() {
            live.print(&format!(" hint: {hint}"));
        }
    }

    async fn one(&self, job: Job) -> Result<RunOutcome, HarnessError> {
        if let Some(reason) = &job.lacks {
            return bootgate_harness::skip(&job.plan, reason, self.options(&job, self.accel));
        }
        let options = self.options(&job, self.accel);
        let again = |accel| self.options(&job, accel);
        let outcome = bootgate_harness::run(&job.plan, job.sandbox.clone(), options).await;
        let Some(spare) = job.spare.clone().filter(|_| kvm_failed(&outcome)) else {
            return outcome;
        };
        self.complain(
            &format!("{}: KVM failed in the middle of a boot", job.shown),
            "it is run once more with TCG; --accel tcg does so from the start",
        );
        bootgate_harness::run(&job.plan, Some(spare), again(AccelChoice::Tcg)).await
    }

    fn options(&self, job: &Job, accel: AccelChoice) -> RunOptions {
        let (reporters, attach) = match &self.live {
            Some(live) => (vec![live.run(&job.shown)], None),
            None => front::of_one(self.attach.as_ref(), &job.shown, self.column),
        };
        RunOptions {
            folder: job.folder.clone(),
            accel,
            clients: self.clients,
            keep_work: self.keep_work,
            reporters,
            attach,
            interrupts: self.interrupts.clone(),
        }
    }
}

/// How many virtual machines can run at once.
fn clients(jobs: &VecDeque<Job>, workers: usize) -> u32 {
    let able = jobs.iter().filter(|job| job.lacks.is_none());
    let mut sizes: Vec<usize> = able.map(|job| job.plan.targets.len()).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    u32::try_from(sizes.into_iter().take(workers).sum::<usize>()).unwrap_or(u32::MAX)
}

/// Whether the run ended because KVM could not go on, which says nothing about what boots.
fn kvm_failed(outcome: &Result<RunOutcome, HarnessError>) -> bool {
    outcome.as_ref().is_ok_and(
        |outcome| matches!(&outcome.verdict, Verdict::Infra { what, .. } if what == "kvm-error"),
    )
}

/// How one run ended.
struct Ended {
    /// Its place among the jobs.
    index: usize,
    verdict: &'static str,
    code: u8,
    began: Instant,
    ended: Instant,
    /// What its reports say, or why there are none.
    file: Result<VerdictFile, String>,
}

/// Tells the runs of the first signal. A second one ends the process at once: the sandbox goes with it.
async fn watch_signals(interrupt: watch::Sender<Option<&'static str>>) {
    let (Ok(mut ctrl_c), Ok(mut term), Ok(mut hangup)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
        signal(SignalKind::hangup()),
    ) else {
        return;
    };
    for again in [false, true] {
        let name = tokio::select! {
            _ = ctrl_c.recv() => "SIGINT",
            _ = term.recv() => "SIGTERM",
            _ = hangup.recv() => "SIGHUP",
        };
        if again {
            console::restore_at_once();
            std::process::exit(130);
        }
        interrupt.send_replace(Some(name));
    }
}

fn choice(arg: AccelArg) -> AccelChoice {
    match arg {
        AccelArg::Auto => AccelChoice::Auto,
        AccelArg::Kvm => AccelChoice::Kvm,
        AccelArg::Tcg => AccelChoice::Tcg,
    }
}
