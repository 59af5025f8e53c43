//! Everything a run needs, looked up and made ready before any power is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootgate_events::{AttemptId, HostFacts, TargetFacts};
use bootgate_hostnet::Sandbox;
use bootgate_scenario::{Driver, NicRom, Plan, Platform, QemuPlan, TargetPlan};
use bootgate_target::accel::{self, AccelChoice, AccelDecision};
use bootgate_target::discovery::{self, OvmfFiles, QemuBinary};
use bootgate_target::{
    Board, BoardConfig, Disk, EventSender, LinkSource, PowerCommands, Qemu, QemuConfig, Target,
};

use crate::HarnessError;
use crate::images::{self, PreparedImage};
use crate::launcher::SandboxLauncher;

/// What the host offers to virtual targets.
pub(crate) struct Virtual {
    qemu: QemuBinary,
    ovmf: Option<OvmfFiles>,
    accel: AccelDecision,
    launcher: Arc<SandboxLauncher>,
}

/// A run's inputs, ready.
pub(crate) struct Prepared {
    pub(crate) host: HostFacts,
    pub(crate) images: BTreeMap<String, PreparedImage>,
    pub(crate) nbps: BTreeMap<String, PathBuf>,
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
        match target.boot.nbp.locate(target.firmware.platform) {
            Ok(path) => {
                nbps.insert(target.name.to_string(), path);
            }
            // A BIOS machine of ours has an iPXE in its ROM and asks for no boot program.
            Err(_) if target.firmware.platform == Platform::Bios && machines.is_some() => {}
            Err(missing) => {
                return Err(HarnessError::infra(
                    "ipxe-missing",
                    missing,
                    "apt-get install ipxe",
                ));
            }
        }
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

async fn virtual_machines(
    plan: &Plan,
    sandbox: &Sandbox,
    choice: AccelChoice,
    clients: u32,
    host: &mut HostFacts,
) -> Result<Virtual, HarnessError> {
    let qemu = discovery::find_qemu(None)
        .await
        .map_err(|missing| HarnessError::infra("qemu-missing", &missing, missing.hint.clone()))?;
    let uefi = plan
        .targets
        .iter()
        .any(|target| target.firmware.platform == Platform::UefiX64);
    let ovmf = uefi
        .then(|| discovery::find_ovmf(None))
        .transpose()
        .map_err(|missing| HarnessError::infra("ovmf-missing", &missing, missing.hint.clone()))?;
    let launcher = Arc::new(SandboxLauncher::new(sandbox.clone()));
    let accel_error = |error: accel::AccelError| {
        HarnessError::infra(
            "accel-unusable",
            error,
            "run `bootgate doctor`, or choose --accel tcg",
        )
    };
    let decision = accel::decide(choice, &qemu, &*launcher)
        .await
        .map_err(accel_error)?;
    let calibration = accel::calibrate(decision.accel, &qemu, &*launcher, clients, host.cores)
        .await
        .map_err(accel_error)?;
    host.accel = decision.accel.as_str().to_owned();
    host.accel_reason.clone_from(&decision.reason);
    host.deadline_scale_milli = calibration.scale_milli;
    host.qemu_version = Some(qemu.version.clone());
    Ok(Virtual {
        qemu,
        ovmf,
        accel: decision,
        launcher,
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
                let config = host.config(plan, qemu, link, work)?;
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

impl Virtual {
    fn config(
        &self,
        plan: &TargetPlan,
        qemu: &QemuPlan,
        link: LinkSource,
        work: &Path,
    ) -> Result<QemuConfig, HarnessError> {
        let work_dir = work.join(plan.name.as_str());
        std::fs::create_dir_all(&work_dir).map_err(HarnessError::io("create", &work_dir))?;
        // QEMU gets paths that do not depend on its working directory.
        let work_dir = work_dir
            .canonicalize()
            .map_err(HarnessError::io("find", &work_dir))?;
        let disk = match qemu.disk {
            Some(disk) => {
                let path = work_dir.join("disk.raw");
                std::fs::File::create(&path)
                    .and_then(|file| file.set_len(disk.size))
                    .map_err(HarnessError::io("create the blank disk", &path))?;
                Some(Disk {
                    path,
                    sector_size: disk.sector_size,
                })
            }
            None => None,
        };
        let nic = qemu.nics.first().ok_or_else(|| {
            HarnessError::infra(
                "host-io",
                format!("target `{}` has no interface", plan.name),
                "",
            )
        })?;
        let firmware = match (plan.firmware.platform, &self.ovmf) {
            (Platform::UefiX64, Some(ovmf)) => bootgate_target::Firmware::Uefi(ovmf.clone()),
            _ => bootgate_target::Firmware::Bios,
        };
        Ok(QemuConfig {
            name: plan.name.clone(),
            binary: self.qemu.clone(),
            firmware,
            accel: self.accel.accel,
            memory_mib: qemu.memory_mib,
            cpus: qemu.cpus,
            mac: plan.mac,
            nic_model: nic.model.clone(),
            nic_rom: match &nic.rom {
                NicRom::Standard => bootgate_target::NicRom::Standard,
                NicRom::Qemu => bootgate_target::NicRom::Qemu,
                NicRom::File(path) => bootgate_target::NicRom::File(path.clone()),
            },
            link,
            disk,
            work_dir,
            extra_args: qemu.extra_args.clone(),
        })
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
