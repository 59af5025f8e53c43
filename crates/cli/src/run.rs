//! `bootgate run`.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use bootgate_events::{TargetName, Verdict};
use bootgate_harness::{RunOptions, RunOutcome};
use bootgate_hostnet::{Sandbox, SandboxConfig};
use bootgate_report::{Live, Plain, Reporter};
use bootgate_scenario::{Driver, Plan};
use bootgate_target::accel::{self, AccelChoice};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};

use crate::args::{AccelArg, RunArgs};
use crate::console::{self, Console};
use crate::exit::{self, INFRA, USAGE};
use crate::lines::Named;

/// One scenario, with the sandbox that was entered for it before any thread began.
struct Job {
    plan: Plan,
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

/// Reads every scenario, then enters a sandbox for each that needs one. Nothing is started unless all can be.
fn jobs(args: &RunArgs) -> Result<VecDeque<Job>, ExitCode> {
    let mut plans = Vec::new();
    for path in &args.scenarios {
        let plan = crate::check::load(path, args.lab.as_deref()).map_err(|error| {
            crate::check::show(error);
            ExitCode::from(USAGE)
        })?;
        plans.push(plan);
    }
    let folders = folders(&plans, args.out.as_deref())?;
    let mut jobs = VecDeque::new();
    for (plan, folder) in plans.into_iter().zip(folders) {
        let virtual_targets = plan
            .targets
            .iter()
            .any(|target| matches!(target.driver, Driver::Qemu(_)));
        let retry = matches!(args.accel, AccelArg::Auto) && accel::kvm_is_plausible();
        jobs.push_back(Job {
            plan,
            sandbox: sandbox(virtual_targets)?,
            spare: sandbox(virtual_targets && retry)?,
            folder,
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
    let folders: Vec<PathBuf> = match (out, plans) {
        (Some(out), [_]) => vec![out.to_owned()],
        (out, plans) => {
            let base = out.unwrap_or(Path::new("bootgate-out"));
            plans.iter().map(|plan| base.join(&plan.name)).collect()
        }
    };
    for (index, folder) in folders.iter().enumerate() {
        if folders[..index].contains(folder) {
            let error = format!(
                "two of the scenarios are named `{}`",
                folder.file_name().unwrap_or_default().display()
            );
            return Err(exit::fail(
                USAGE,
                &error,
                "give each scenario a name of its own",
            ));
        }
    }
    Ok(folders)
}

/// The target whose console the terminal is connected to.
fn attached_target(jobs: &VecDeque<Job>, name: &str) -> Result<TargetName, ExitCode> {
    let [job] = jobs.iter().collect::<Vec<_>>()[..] else {
        return Err(exit::fail(
            USAGE,
            "--attach goes with one scenario",
            "run the scenario alone",
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
    let workers = usize::from(args.jobs).min(jobs.len());
    let clients = clients(&jobs, workers);
    let names: Vec<String> = jobs.iter().map(|job| job.plan.name.clone()).collect();
    let column = names.iter().map(String::len).max().unwrap_or(0);
    let column = (names.len() > 1).then_some(column);
    let queue = Arc::new(Mutex::new(jobs));
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (queue, interrupts, attach) = (Arc::clone(&queue), interrupts.clone(), attach.clone());
        let (accel, keep_work) = (choice(args.accel), args.keep_work);
        running.spawn(async move {
            let mut ended = Vec::new();
            while let Some(job) = next(&queue).await {
                if interrupts.borrow().is_some() {
                    return ended;
                }
                let options = |accel| {
                    let (reporters, attach) = front(attach.as_ref(), &job.plan.name, column);
                    RunOptions {
                        folder: job.folder.clone(),
                        accel,
                        clients,
                        keep_work,
                        reporters,
                        attach,
                        interrupts: interrupts.clone(),
                    }
                };
                let mut outcome =
                    bootgate_harness::run(&job.plan, job.sandbox, options(accel)).await;
                if let (true, Some(spare)) = (kvm_failed(&outcome), job.spare) {
                    exit::complain(
                        &format!("{}: KVM failed in the middle of a boot", job.plan.name),
                        "it is run once more with TCG; --accel tcg does so from the start",
                    );
                    let options = options(AccelChoice::Tcg);
                    outcome = bootgate_harness::run(&job.plan, Some(spare), options).await;
                }
                ended.push(conclude(&job.plan.name, column, outcome));
            }
            ended
        });
    }
    let mut ended = Vec::new();
    let mut code = 0;
    while let Some(some) = running.join_next().await {
        match some {
            Ok(some) => ended.extend(some),
            // The task has panicked, and told why on standard error. Its sandbox went with it.
            Err(_) => code = INFRA,
        }
    }
    console::restore();
    let interrupted = interrupts.borrow().is_some();
    if interrupted && ended.len() < names.len() {
        code = 130;
    }
    signals.abort();
    if let Some(column) = column {
        let missing = if interrupted { "not run" } else { "no verdict" };
        exit::say("");
        for name in &names {
            let verdict = ended.iter().find(|ended| ended.name == *name);
            let verdict = verdict.map_or(missing, |ended| ended.verdict);
            exit::say(&format!("{name:<column$} | {verdict}"));
        }
    }
    ExitCode::from(ended.iter().map(|ended| ended.code).fold(code, u8::max))
}

async fn next(queue: &Mutex<VecDeque<Job>>) -> Option<Job> {
    queue.lock().await.pop_front()
}

/// How many virtual machines can run at once.
fn clients(jobs: &VecDeque<Job>, workers: usize) -> u32 {
    let mut sizes: Vec<usize> = jobs.iter().map(|job| job.plan.targets.len()).collect();
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    u32::try_from(sizes.into_iter().take(workers).sum::<usize>()).unwrap_or(u32::MAX)
}

/// Who shows the run: the attached console, a live display, or plain lines. Where several scenarios are run, every
/// line has the scenario's name before it, in a column.
fn front(
    attach: Option<&TargetName>,
    name: &str,
    column: Option<usize>,
) -> (Vec<Box<dyn Reporter>>, Option<bootgate_harness::Attach>) {
    if let Some(target) = attach {
        match Console::open(target.clone()) {
            Ok((console, keys)) => {
                let target = target.clone();
                let attach = bootgate_harness::Attach { target, keys };
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

/// Whether the run ended because KVM could not go on, which says nothing about what boots.
fn kvm_failed(outcome: &Result<RunOutcome, bootgate_harness::HarnessError>) -> bool {
    outcome.as_ref().is_ok_and(
        |outcome| matches!(&outcome.verdict, Verdict::Infra { what, .. } if what == "kvm-error"),
    )
}

/// How one scenario ended.
struct Ended {
    name: String,
    verdict: &'static str,
    code: u8,
}

fn conclude(
    name: &str,
    column: Option<usize>,
    outcome: Result<RunOutcome, bootgate_harness::HarnessError>,
) -> Ended {
    console::restore();
    let (verdict, code) = match outcome {
        Ok(outcome) => {
            let told = format!("reports in {}", outcome.folder.display());
            match column {
                Some(column) => exit::say(&format!("{name:<column$} | {told}")),
                None => exit::say(&told),
            }
            (outcome.verdict.word(), outcome.verdict.exit_code())
        }
        Err(error) => {
            exit::complain(&format!("{name}: {error}"), &error.hint());
            let usage = error.is_usage();
            ("no verdict", if usage { USAGE } else { INFRA })
        }
    };
    Ended {
        name: name.to_owned(),
        verdict,
        code,
    }
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
