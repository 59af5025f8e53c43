//! A run from its first event to its reports.

use std::path::PathBuf;

use bootgate_events::{EventKind, TargetName, Verdict};
use bootgate_hostnet::Sandbox;
use bootgate_report::{Reporter, VerdictFile};
use bootgate_scenario::Plan;
use bootgate_target::accel::AccelChoice;
use tokio::sync::{mpsc, watch};

use crate::live::Live;
use crate::prepare::{self, Prepared};
use crate::recorder::{Fact, Recorder};
use crate::{HarnessError, folder, nonce};

/// How a run is done.
pub struct RunOptions {
    /// The run folder.
    pub folder: PathBuf,
    /// How virtual CPUs are executed.
    pub accel: AccelChoice,
    /// Number of virtual machines of all runs that share the host at a time; deadlines grow where cores are fewer.
    pub clients: u32,
    /// Whether the targets' disks and firmware variables stay in the run folder.
    pub keep_work: bool,
    /// Who is told of every event.
    pub reporters: Vec<Box<dyn Reporter>>,
    /// Keys for a target's console.
    pub attach: Option<Attach>,
    /// Holds the name of the signal that ends the run early.
    pub interrupts: watch::Receiver<Option<&'static str>>,
}

/// Keys that a person types for a target.
pub struct Attach {
    /// The target.
    pub target: TargetName,
    /// What is typed.
    pub keys: mpsc::UnboundedReceiver<Vec<u8>>,
}

/// What a run left.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// The run folder.
    pub folder: PathBuf,
    /// The run's verdict.
    pub verdict: Verdict,
    /// The content of `verdict.json`.
    pub file: VerdictFile,
}

/// Runs `plan`. A `sandbox` is needed where its targets are virtual. Faults of the host end the run with an
/// infrastructure verdict and its reports; nothing of the run is left running.
///
/// # Errors
/// The run folder cannot be used or written: then there is no log to put a verdict in.
pub async fn run(
    plan: &Plan,
    sandbox: Option<Sandbox>,
    options: RunOptions,
) -> Result<RunOutcome, HarnessError> {
    folder::prepare(&options.folder)?;
    let work = options.folder.join(folder::WORK);
    let _remains = (!options.keep_work).then(|| folder::RemovedAtEnd(work.clone()));
    let preparation = prepare::prepare(
        plan,
        sandbox.as_ref(),
        options.accel,
        options.clients,
        &work,
    )
    .await;
    let outcome = execute(plan, sandbox.as_ref(), preparation, options, &work).await;
    if let Some(sandbox) = sandbox {
        // Whatever the sandbox still holds dies with it.
        let _ = sandbox.shutdown().await;
    }
    outcome
}

/// Records that `plan` is not run, because the host has not what it needs; the run folder has its log and reports like
/// any other.
///
/// # Errors
/// The run folder cannot be used or written.
pub fn skip(
    plan: &Plan,
    reason: &str,
    mut options: RunOptions,
) -> Result<RunOutcome, HarnessError> {
    let run_folder = options.folder.clone();
    folder::prepare(&run_folder)?;
    let work = run_folder.join(folder::WORK);
    let _remains = folder::RemovedAtEnd(work);
    let mut recorder = open_recorder(plan, None, &mut options)?;
    recorder.record(Fact::of_run(EventKind::RunSkipped {
        reason: reason.to_owned(),
    }))?;
    let verdict = conclude(recorder)?;
    reports(run_folder, verdict)
}

/// Writes the last event of the log and closes it.
fn conclude(mut recorder: Recorder) -> Result<Verdict, HarnessError> {
    let verdict = recorder.verdict().unwrap_or(Verdict::Infra {
        what: "no-verdict".to_owned(),
        error: "the run ended before every target had a verdict".to_owned(),
    });
    recorder.record(Fact::of_run(EventKind::RunFinished {
        verdict: verdict.clone(),
    }))?;
    recorder.finish()?;
    Ok(verdict)
}

/// Writes the reports from the log.
fn reports(run_folder: PathBuf, verdict: Verdict) -> Result<RunOutcome, HarnessError> {
    let events = bootgate_report::read_log(&run_folder.join(folder::EVENTS))?;
    let file = bootgate_report::write_reports(&run_folder, &events)?;
    Ok(RunOutcome {
        folder: run_folder,
        verdict,
        file,
    })
}

async fn execute(
    plan: &Plan,
    sandbox: Option<&Sandbox>,
    preparation: Result<Prepared, HarnessError>,
    mut options: RunOptions,
    work: &std::path::Path,
) -> Result<RunOutcome, HarnessError> {
    let (prepared, trouble) = match preparation {
        Ok(prepared) => (Some(prepared), None),
        Err(error) => (None, Some(error)),
    };
    let run_folder = options.folder.clone();
    let keep_work = options.keep_work;
    let mut recorder = open_recorder(plan, prepared.as_ref(), &mut options)?;
    match (prepared, trouble) {
        (Some(prepared), _) => {
            let (inputs, queue) = mpsc::unbounded_channel();
            let mut live = Live::new(plan, &prepared, sandbox, &mut recorder, inputs, work);
            let ended = live.conduct(queue, &mut options).await;
            live.tear_down().await?;
            ended?;
        }
        (None, error) => {
            let error =
                error.unwrap_or_else(|| HarnessError::infra("host-io", "prepare the run", ""));
            recorder.record(Fact::of_run(error.to_event()))?;
        }
    }
    let verdict = conclude(recorder)?;
    // Before the reports: a full disk has room for them again.
    if !keep_work {
        std::fs::remove_dir_all(work).map_err(HarnessError::io("remove", work))?;
    }
    reports(run_folder, verdict)
}

/// Opens the log and writes its first event.
fn open_recorder(
    plan: &Plan,
    prepared: Option<&Prepared>,
    options: &mut RunOptions,
) -> Result<Recorder, HarnessError> {
    let host = prepared.map_or_else(prepare::host_facts, |prepared| prepared.host.clone());
    let rules = plan.rules(host.deadline_scale_milli);
    let run = nonce::run(&plan.name)
        .map_err(|error| HarnessError::infra("host-io", format!("read randomness: {error}"), ""))?;
    let reporters = std::mem::take(&mut options.reporters);
    let mut recorder = Recorder::create(&options.folder, run, &rules, reporters)?;
    let targets = plan
        .targets
        .iter()
        .zip(&rules.targets)
        .map(|(target, rules)| match prepared {
            Some(prepared) => prepared.facts(target, rules),
            None => bootgate_events::TargetFacts {
                name: target.name.clone(),
                driver: target.driver.as_str().to_owned(),
                firmware: target.firmware.to_string(),
                mac: target.mac,
                image_sha256: None,
                deadlines_ms: rules.stage_deadlines_ms.clone(),
            },
        });
    let started = EventKind::RunStarted {
        scenario: plan.title(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host,
        targets: targets.collect(),
        rules: rules.clone(),
    };
    recorder.record(Fact::of_run(started))?;
    Ok(recorder)
}
