//! A run from its first event to its reports.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bootgate_events::{
    ByteRange, DiskProofKind, EventKind, FaultAction, MacAddr, PowerCause, TargetName, Verdict,
};
use bootgate_hostnet::Sandbox;
use bootgate_report::{Reporter, VerdictFile};
use bootgate_scenario::fold::Action;
use bootgate_scenario::{Driver, Plan};
use bootgate_server::{BootServer, ServerConfig, StartError};
use bootgate_target::BootSource;
use bootgate_target::accel::AccelChoice;
use tokio::sync::{mpsc, watch};

use crate::machine::{Command, Machine};
use crate::prepare::{self, Prepared};
use crate::recorder::{Fact, Recorder};
use crate::segment::Segment;
use crate::{HarnessError, folder, nonce, panics, proof};

/// Longest time for targets to lose power and tell their last events once the verdict is known.
const TEARDOWN: Duration = Duration::from_secs(20);

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

/// What the run loop waits for.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a queue entry lives for microseconds"
)]
pub(crate) enum Input {
    /// Something happened.
    Fact(Fact),
    /// Console bytes of a target.
    Console(TargetName, Vec<u8>),
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
            let mut live = Live {
                plan,
                prepared: &prepared,
                sandbox,
                recorder: &mut recorder,
                inputs,
                machines: BTreeMap::new(),
                server: None,
                segment: None,
                work,
            };
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
    let verdict = recorder.verdict().unwrap_or(Verdict::Infra {
        what: "no-verdict".to_owned(),
        error: "the run ended before every target had a verdict".to_owned(),
    });
    recorder.record(Fact::of_run(EventKind::RunFinished {
        verdict: verdict.clone(),
    }))?;
    recorder.finish()?;
    if !keep_work {
        std::fs::remove_dir_all(work).map_err(HarnessError::io("remove", work))?;
    }
    let events = bootgate_report::read_log(&run_folder.join(folder::EVENTS))?;
    let file = bootgate_report::write_reports(&run_folder, &events)?;
    Ok(RunOutcome {
        folder: run_folder,
        verdict,
        file,
    })
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
        scenario: plan.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host,
        targets: targets.collect(),
        rules: rules.clone(),
    };
    recorder.record(Fact::of_run(started))?;
    Ok(recorder)
}

/// A run while it lasts.
struct Live<'a> {
    plan: &'a Plan,
    prepared: &'a Prepared,
    sandbox: Option<&'a Sandbox>,
    recorder: &'a mut Recorder,
    inputs: mpsc::UnboundedSender<Input>,
    machines: BTreeMap<TargetName, Machine>,
    server: Option<BootServer>,
    segment: Option<Segment>,
    work: &'a std::path::Path,
}

impl Live<'_> {
    /// Brings everything up and goes on until the verdict.
    async fn conduct(
        &mut self,
        mut queue: mpsc::UnboundedReceiver<Input>,
        options: &mut RunOptions,
    ) -> Result<(), HarnessError> {
        if let Err(error) = self.bring_up().await {
            return self.record(Fact::of_run(error.to_event()));
        }
        let mut interrupts = options.interrupts.clone();
        let mut attach = options.attach.take();
        while self.recorder.verdict().is_none() {
            let deadline = self.recorder.next_deadline();
            let due = deadline
                .as_ref()
                .map(|deadline| self.recorder.instant_at(deadline.at_us));
            tokio::select! {
                biased;
                signal = wait_for_signal(&mut interrupts) => {
                    self.record(Fact::of_run(EventKind::Interrupted { signal: signal.to_owned() }))?;
                }
                // Before what its processes tell, which all end with it.
                exit = holder_gone(self.sandbox) => {
                    let error = format!("the sandbox ended on its own ({exit})");
                    self.record(Fact::of_run(HarnessError::infra("sandbox-lost", error, "").to_event()))?;
                }
                input = queue.recv() => match input {
                    Some(Input::Fact(fact)) => self.record(fact)?,
                    Some(Input::Console(target, bytes)) => {
                        let actions = self.recorder.record_console(&target, &bytes)?;
                        self.perform(actions)?;
                    }
                    None => return Ok(()),
                },
                panic = panics::panicked() => self.record(Fact::of_run(panic))?,
                () = until(due) => if let Some(deadline) = deadline {
                    self.record(Fact::of(&deadline.target, deadline.expired()))?;
                },
                keys = typed(&mut attach) => match keys {
                    Some((target, bytes)) => self.ask(&target, Command::Type(bytes)),
                    None => attach = None,
                },
            }
        }
        self.drain(&mut queue).await
    }

    /// Segment, servers, targets, power: in this order, each ready before the next.
    async fn bring_up(&mut self) -> Result<(), HarnessError> {
        let network = &self.plan.network;
        let capture = self.work.with_file_name(folder::CAPTURE);
        let segment = match (&network.interface, self.sandbox) {
            (Some(interface), _) => Segment::interface(interface, network.server_ip, &capture)?,
            (None, Some(sandbox)) => {
                Segment::bridge(sandbox, network.server_ip, network.prefix_len, &capture).await?
            }
            (None, None) => {
                return Err(HarnessError::infra(
                    "segment-unsuitable",
                    "make a segment without a sandbox",
                    "",
                ));
            }
        };
        self.record(Fact::of_run(segment.ready(network.server_ip)))?;
        let server = self.start_server(&segment).await?;
        for target in &self.plan.targets {
            let link = match target.driver {
                Driver::Qemu(_) => Some(segment.plug(&target.name).await?),
                Driver::Board(_) => None,
            };
            let (events, receiver) = mpsc::channel(256);
            let machine = self.prepared.target(target, link, self.work, events)?;
            let config = self
                .prepared
                .serve(target, &target.rules.faults, &server.artifacts())?;
            server.machines().arm(config, prepare::nonce()?);
            let machine = Machine::start(&target.name, machine, receiver, self.inputs.clone());
            machine.ask(Command::PowerOn(BootSource::Network));
            self.machines.insert(target.name.clone(), machine);
        }
        self.server = Some(server);
        self.segment = Some(segment);
        Ok(())
    }

    async fn start_server(&self, segment: &Segment) -> Result<BootServer, HarnessError> {
        let network = &self.plan.network;
        let config = ServerConfig::new(network.server_ip, network.prefix_len, network.pool.clone());
        let names: BTreeMap<MacAddr, TargetName> = self
            .plan
            .targets
            .iter()
            .map(|target| (target.mac, target.name.clone()))
            .collect();
        let inputs = self.inputs.clone();
        let sink = Arc::new(move |fact: bootgate_server::Fact| {
            let target = fact.mac.and_then(|mac| names.get(&mac).cloned());
            let _ = inputs.send(Input::Fact(Fact {
                target,
                attempt: fact.attempt,
                kind: fact.kind,
            }));
        });
        BootServer::start(config, segment.sockets(), sink)
            .await
            .map_err(|error| match &error {
                StartError::PortTaken { .. } => HarnessError::infra(
                    "port-taken",
                    &error,
                    "stop the program that has the port, or choose another interface",
                ),
                _ => HarnessError::infra("server-failed", &error, "see `bootgate doctor`"),
            })
    }

    fn record(&mut self, fact: Fact) -> Result<(), HarnessError> {
        let actions = self.recorder.record(fact)?;
        self.perform(actions)
    }

    fn ask(&self, target: &TargetName, command: Command) {
        if let Some(machine) = self.machines.get(target) {
            machine.ask(command);
        }
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<(), HarnessError> {
        for action in actions {
            match action {
                Action::PowerOff { target } => {
                    let fault = EventKind::FaultInjected {
                        action: FaultAction::PowerOff,
                        what: format!("power of {target}"),
                    };
                    self.ask(&target, Command::PowerOff(PowerCause::Fault));
                    self.record(Fact::of(&target, fault))?;
                }
                Action::Type { target, name, keys } => {
                    self.ask(&target, Command::Type(keys.clone().into_bytes()));
                    self.record(Fact::of(&target, EventKind::KeysTyped { name, keys }))?;
                }
                Action::ProveDisk { target } => self.prove(&target),
                Action::BootDisk { target } => self.boot_disk(&target),
                Action::Finish { target } => {
                    if let (Some(plan), Some(server)) = (self.plan.target(&target), &self.server) {
                        server.machines().disarm(plan.mac);
                    }
                    self.ask(&target, Command::PowerOff(PowerCause::Harness));
                }
            }
        }
        Ok(())
    }

    /// Boots the target from its disk, with nothing to boot on the network.
    fn boot_disk(&self, target: &TargetName) {
        let Some(plan) = self.plan.target(target) else {
            return;
        };
        if let Some(server) = &self.server {
            server.machines().boot_disk_only(plan.mac);
        }
        let command = match plan.driver {
            Driver::Qemu(_) => Command::PowerOn(BootSource::Disk),
            Driver::Board(_) => Command::PowerCycle(BootSource::Disk),
        };
        self.ask(target, command);
    }

    /// Compares the disk with the image where the host has the disk. Where it has not, the agent's readback, whose
    /// digest the server has checked against the chunk index, is the proof.
    fn prove(&self, target: &TargetName) {
        let Some(image) = self.prepared.images.get(target.as_str()).cloned() else {
            return;
        };
        let disk = self.work.join(target.as_str()).join("disk.raw");
        let virtual_disk = matches!(
            self.plan.target(target).map(|plan| &plan.driver),
            Some(Driver::Qemu(_))
        );
        let (inputs, name) = (self.inputs.clone(), target.clone());
        if !virtual_disk {
            let digest = image.index.image_sha256.to_string();
            let compared = EventKind::DiskCompared {
                proof: DiskProofKind::Agent,
                equal: true,
                first_difference: None,
                ranges: vec![ByteRange {
                    start: 0,
                    end: image.index.size,
                }],
                image_sha256: digest.clone(),
                disk_sha256: digest,
            };
            let _ = inputs.send(Input::Fact(Fact::of(&name, compared)));
            return;
        }
        tokio::task::spawn_blocking(move || {
            let compared = image
                .open()
                .and_then(|mut image| proof::compare(&disk, &mut image));
            let kind = compared.unwrap_or_else(|error| {
                HarnessError::infra(
                    "host-io",
                    format!("compare the disk with the image: {error}"),
                    "",
                )
                .to_event()
            });
            let _ = inputs.send(Input::Fact(Fact::of(&name, kind)));
        });
    }

    /// Takes in what targets and servers still tell while they are stopped.
    async fn drain(
        &mut self,
        queue: &mut mpsc::UnboundedReceiver<Input>,
    ) -> Result<(), HarnessError> {
        for target in self.machines.keys() {
            self.ask(target, Command::PowerOff(PowerCause::Harness));
        }
        for (_, machine) in std::mem::take(&mut self.machines) {
            machine.finish(TEARDOWN).await;
        }
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        while let Ok(input) = queue.try_recv() {
            match input {
                Input::Fact(fact) => drop(self.recorder.record(fact)?),
                Input::Console(target, bytes) => {
                    drop(self.recorder.record_console(&target, &bytes)?);
                }
            }
        }
        Ok(())
    }

    /// Stops what an early end left running, and closes the capture.
    async fn tear_down(&mut self) -> Result<(), HarnessError> {
        for (_, machine) in std::mem::take(&mut self.machines) {
            machine.ask(Command::PowerOff(PowerCause::Harness));
            machine.finish(TEARDOWN).await;
        }
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        if let Some(segment) = self.segment.take() {
            segment.flush_capture();
        }
        Ok(())
    }
}

async fn wait_for_signal(interrupts: &mut watch::Receiver<Option<&'static str>>) -> &'static str {
    // The guard of the value must not be held while waiting below.
    let signal = interrupts
        .wait_for(Option::is_some)
        .await
        .ok()
        .and_then(|signal| *signal);
    match signal {
        Some(signal) => signal,
        // Nobody can interrupt any more.
        None => std::future::pending().await,
    }
}

async fn holder_gone(sandbox: Option<&Sandbox>) -> String {
    match sandbox {
        Some(sandbox) => sandbox.gone().await.0,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<std::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

async fn typed(attach: &mut Option<Attach>) -> Option<(TargetName, Vec<u8>)> {
    match attach {
        Some(attach) => attach
            .keys
            .recv()
            .await
            .map(|bytes| (attach.target.clone(), bytes)),
        None => std::future::pending().await,
    }
}
