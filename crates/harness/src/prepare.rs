//! Everything a run needs, looked up and made ready before any power is given.

use std::collections::BTreeMap;
use std::path::Path;

use bootgate_events::{AttemptId, HostFacts, TargetFacts};
use bootgate_hostnet::Sandbox;
use bootgate_scenario::{Driver, Plan, QemuPlan, TargetPlan};
use bootgate_target::accel::AccelChoice;
use bootgate_target::{Board, BoardConfig, EventSender, LinkSource, PowerCommands, Qemu, Target};

use crate::HarnessError;
use crate::images::{self, PreparedImage};
use crate::loaders::{self, BootPrograms};
use crate::machines::{Virtual, virtual_machines};

/// A run's inputs, ready.
pub(crate) struct Prepared {
    pub(crate) host: HostFacts,
    pub(crate) images: BTreeMap<String, PreparedImage>,
    pub(crate) nbps: BTreeMap<String, BootPrograms>,
    machines: Option<Virtual>,
}

/// What is known of the host before anything is tried.
pub(crate) fn host_facts() -> HostFacts {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    HostFacts {
        deadline_scale_milli: 1000,
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        kernel: kernel.trim().to_owned(),
        ..HostFacts::default()
    }
}

/// Looks up programs and firmware, proves the accelerator, measures the host, and cuts images.
///
/// `clients` is the number of virtual machines that will run at once, those of other runs included.
pub(crate) async fn prepare(
    plan: &Plan,
    sandbox: Option<&Sandbox>,
    choice: AccelChoice,
    clients: u32,
    work: &Path,
) -> Result<Prepared, HarnessError> {
    let mut host = host_facts();
    crate::folder::check_room(work, plan.targets.iter().map(disk_size).sum())?;
    let machines = match sandbox {
        Some(sandbox) => Some(virtual_machines(plan, sandbox, choice, clients, &mut host).await?),
        None => None,
    };
    let mut nbps = BTreeMap::new();
    let mut prepared_images = BTreeMap::new();
    for target in &plan.targets {
        let programs = loaders::find(target)?;
        nbps.insert(target.name.to_string(), programs);
        if let Some(image) = &target.image {
            let (image, work) = (image.clone(), work.to_owned());
            let ready = tokio::task::spawn_blocking(move || images::prepare(&image, &work))
                .await
                .map_err(|error| HarnessError::infra("host-io", error, ""))??;
            prepared_images.insert(target.name.to_string(), ready);
        }
    }
    Ok(Prepared {
        host,
        images: prepared_images,
        nbps,
        machines,
    })
}

impl Prepared {
    /// What the log says about a target at the start.
    pub(crate) fn facts(
        &self,
        target: &TargetPlan,
        deadlines: &bootgate_events::TargetRules,
    ) -> TargetFacts {
        let image = self.images.get(target.name.as_str());
        TargetFacts {
            name: target.name.clone(),
            driver: target.driver.as_str().to_owned(),
            firmware: target.firmware.to_string(),
            mac: target.mac,
            image_sha256: image.map(|image| image.index.image_sha256.to_string()),
            deadlines_ms: deadlines.stage_deadlines_ms.clone(),
        }
    }

    /// The target itself, off.
    pub(crate) fn target(
        &self,
        plan: &TargetPlan,
        link: Option<LinkSource>,
        work: &Path,
        events: EventSender,
    ) -> Result<Box<dyn Target>, HarnessError> {
        let target: Result<Box<dyn Target>, _> = match (&plan.driver, &self.machines, link) {
            (Driver::Qemu(qemu), Some(host), Some(link)) => {
                // What other machines fetch as their first program this one has on its stick.
                let programs = self.nbps.get(plan.name.as_str());
                let stick = programs.and_then(|programs| programs.stick.as_deref());
                let config = host.config(plan, qemu, &link, stick, work)?;
                Qemu::new(config, host.launcher.clone(), events).map(|target| Box::new(target) as _)
            }
            (Driver::Board(board), ..) => {
                let config = BoardConfig {
                    name: plan.name.clone(),
                    firmware: plan.firmware.to_string(),
                    mac: plan.mac,
                    tty: board.tty.clone(),
                    baud: board.baud,
                    power: PowerCommands {
                        on: board.power.on.clone(),
                        off: board.power.off.clone(),
                        cycle: board.power.cycle.clone(),
                        timeout: board.power.timeout,
                        cwd: board.power.cwd.clone(),
                    },
                };
                Board::new(config, events).map(|target| Box::new(target) as _)
            }
            (Driver::Qemu(_), ..) => {
                return Err(HarnessError::infra(
                    "segment-unsuitable",
                    format!("start virtual target `{}` without a sandbox", plan.name),
                    "",
                ));
            }
        };
        target.map_err(|error| HarnessError::infra(error.what(), &error, error.hint()))
    }
}

/// Bytes that a target's disk may take on the host.
fn disk_size(target: &TargetPlan) -> u64 {
    match &target.driver {
        Driver::Qemu(QemuPlan {
            disk: Some(disk), ..
        }) => disk.size,
        _ => 0,
    }
}

/// A fresh nonce for one power-on.
pub(crate) fn nonce() -> Result<AttemptId, HarnessError> {
    crate::nonce::attempt()
        .map_err(|error| HarnessError::infra("host-io", format!("read randomness: {error}"), ""))
}
