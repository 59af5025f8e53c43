//! The run loop: brings segment, servers and targets up, and goes on until the verdict.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bootgate_events::{
    ByteRange, DiskProofKind, EventKind, FaultAction, MacAddr, PowerCause, TargetName,
};
use bootgate_hostnet::Sandbox;
use bootgate_scenario::fold::Action;
use bootgate_scenario::{DhcpPlan, Driver, Plan};
use bootgate_server::settings::Wanted;
use bootgate_server::{BootServer, ServerConfig, StartError};
use bootgate_target::BootSource;
use tokio::sync::{mpsc, watch};

use crate::lan::{self, Lan};
use crate::machine::{Command, Machine};
use crate::prepare::{self, Prepared};
use crate::recorder::{Fact, Recorder};
use crate::run::{Attach, RunOptions};
use crate::segment::Segment;
use crate::services::Serving;
use crate::{HarnessError, folder, machines, panics, proof};

/// Longest time for targets to lose power and tell their last events once the verdict is known.
const TEARDOWN: Duration = Duration::from_secs(20);

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

/// A run while it lasts.
pub(crate) struct Live<'a> {
    plan: &'a Plan,
    prepared: &'a Prepared,
    sandbox: Option<&'a Sandbox>,
    recorder: &'a mut Recorder,
    inputs: mpsc::UnboundedSender<Input>,
    machines: BTreeMap<TargetName, Machine>,
    server: Option<BootServer>,
    segment: Option<Segment>,
    lan: Option<Lan>,
    work: &'a Path,
}

impl<'a> Live<'a> {
    /// A run in which nothing is started yet.
    pub(crate) fn new(
        plan: &'a Plan,
        prepared: &'a Prepared,
        sandbox: Option<&'a Sandbox>,
        recorder: &'a mut Recorder,
        inputs: mpsc::UnboundedSender<Input>,
        work: &'a Path,
    ) -> Self {
        Self {
            plan,
            prepared,
            sandbox,
            recorder,
            inputs,
            machines: BTreeMap::new(),
            server: None,
            segment: None,
            lan: None,
            work,
        }
    }

    /// Brings everything up and goes on until the verdict.
    pub(crate) async fn conduct(
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
        let serving = Serving::of(self.plan)?;
        let capture = self.work.with_file_name(folder::CAPTURE);
        let segment = match (&network.interface, self.sandbox) {
            (Some(interface), _) => Segment::interface(interface, network.server_ip, &capture)?,
            (None, Some(sandbox)) => {
                let (address, prefix_len) = (network.server_ip, network.prefix_len);
                let address6 = serving.address6();
                Segment::bridge(sandbox, address, prefix_len, address6, &capture).await?
            }
            (None, None) => {
                return Err(HarnessError::infra(
                    "segment-unsuitable",
                    "make a segment without a sandbox",
                    "",
                ));
            }
        };
        let ready = segment.ready(serving.address(network.server_ip));
        self.record(Fact::of_run(ready))?;
        let config = serving.config(self.plan);
        self.start_lan(&config).await?;
        let server = self.start_server(&segment, config).await?;
        for target in &self.plan.targets {
            let link = match &target.driver {
                Driver::Qemu(qemu) => {
                    let (inputs, name) = (self.inputs.clone(), target.name.clone());
                    let tell = Arc::new(move |kind| {
                        // Whoever listened may be gone already: the wire ends after the run.
                        let _ = inputs.send(Input::Fact(Fact::of(&name, kind)));
                    });
                    Some(
                        segment
                            .plug(&target.name, machines::vlan(qemu), tell)
                            .await?,
                    )
                }
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

    /// Starts the LAN's own DHCP server, where the scenario has one and it is not there already.
    async fn start_lan(&mut self, config: &ServerConfig) -> Result<(), HarnessError> {
        let (server, wanted) = match self.plan.network.dhcp {
            DhcpPlan::Full => return Ok(()),
            DhcpPlan::Proxy(server) => (server, None),
            DhcpPlan::Off(server) => {
                let table = self.prepared.architectures(&self.plan.targets);
                (server, Some(Wanted::new("boot", config, &table)))
            }
        };
        let Some(sandbox) = self.sandbox else {
            return Ok(());
        };
        let folder = self.work.with_file_name(folder::LAN);
        let network = &self.plan.network;
        let lan = lan::start(server, network, wanted.as_ref(), sandbox, &folder).await?;
        if let Some(lan) = lan {
            let ready = lan.ready.clone();
            self.lan = Some(lan);
            self.record(Fact::of_run(ready))?;
        }
        Ok(())
    }

    async fn start_server(
        &self,
        segment: &Segment,
        config: ServerConfig,
    ) -> Result<BootServer, HarnessError> {
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
    pub(crate) async fn tear_down(&mut self) -> Result<(), HarnessError> {
        for (_, machine) in std::mem::take(&mut self.machines) {
            machine.ask(Command::PowerOff(PowerCause::Harness));
            machine.finish(TEARDOWN).await;
        }
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        if let Some(lan) = self.lan.take() {
            lan.stop().await;
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
