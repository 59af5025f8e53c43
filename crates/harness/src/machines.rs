//! The virtual machines of a run: what the host has for them, and what QEMU is told.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootgate_events::HostFacts;
use bootgate_hostnet::Sandbox;
use bootgate_scenario::{BootPath, FirmwareProfile, Plan, Platform, QemuPlan, TargetPlan};
use bootgate_target::accel::{self, Accel, AccelChoice, AccelDecision};
use bootgate_target::discovery::{self, Arch, FirmwareKind, MissingError, Needs, QemuBinary};
use bootgate_target::{
    Disk, DiskBus, FirmwareBoot, LinkSource, Nic, NicLink, NicRom, QemuConfig, TargetError,
};

use crate::HarnessError;
use crate::launcher::SandboxLauncher;

/// What the host offers to virtual targets.
pub(crate) struct Virtual {
    qemu: BTreeMap<Arch, QemuBinary>,
    accel: AccelDecision,
    pub(crate) launcher: Arc<SandboxLauncher>,
}

/// Whether this host has the programs and the firmware for a virtual machine with this profile. Starts nothing.
///
/// # Errors
/// The first thing that is missing.
pub(crate) fn can_run(profile: &FirmwareProfile) -> Result<(), MissingError> {
    discovery::can_run(needs(profile))
}

fn needs(profile: &FirmwareProfile) -> Needs<'_> {
    let uefi = |arch| FirmwareKind::Uefi {
        arch,
        secure_boot: profile.secure_boot,
    };
    Needs {
        firmware: match profile.platform {
            Platform::Bios => FirmwareKind::Bios,
            Platform::UefiX64 => uefi(Arch::X86_64),
            Platform::UefiArm64 => uefi(Arch::Aarch64),
            Platform::UbootArm64 => FirmwareKind::UbootArm64,
        },
        code: profile.code.as_deref(),
        vars: profile.vars.as_deref(),
    }
}

fn missing(error: MissingError) -> HarnessError {
    let error = TargetError::Missing(error);
    HarnessError::infra(error.what(), &error, error.hint())
}

/// Looks up programs and firmware, proves the accelerator and measures the host.
pub(crate) async fn virtual_machines(
    plan: &Plan,
    sandbox: &Sandbox,
    choice: AccelChoice,
    clients: u32,
    host: &mut HostFacts,
) -> Result<Virtual, HarnessError> {
    let mut qemu = BTreeMap::new();
    for target in &plan.targets {
        let needs = needs(&target.firmware);
        discovery::find_firmware(needs).map_err(missing)?;
        let arch = needs.firmware.arch();
        if let Entry::Vacant(unknown) = qemu.entry(arch) {
            unknown.insert(discovery::find_qemu(arch, None).await.map_err(missing)?);
        }
    }
    let launcher = Arc::new(SandboxLauncher::new(sandbox.clone()));
    let (accel, scale_milli) = match qemu.get(&Arch::X86_64) {
        Some(qemu) => measured(choice, qemu, &launcher, clients, host.cores).await?,
        None => (translated(), accel::crowding(clients, host.cores)),
    };
    host.accel = accel.accel.as_str().to_owned();
    host.accel_reason.clone_from(&accel.reason);
    host.deadline_scale_milli = scale_milli;
    host.qemu_version = qemu.values().next().map(|qemu| qemu.version.clone());
    Ok(Virtual {
        qemu,
        accel,
        launcher,
    })
}

async fn measured(
    choice: AccelChoice,
    qemu: &QemuBinary,
    launcher: &SandboxLauncher,
    clients: u32,
    cores: u32,
) -> Result<(AccelDecision, u64), HarnessError> {
    let accel_error = |error: accel::AccelError| {
        HarnessError::infra(
            "accel-unusable",
            error,
            "run `bootgate doctor`, or choose --accel tcg",
        )
    };
    let decision = accel::decide(choice, qemu, launcher)
        .await
        .map_err(accel_error)?;
    let calibration = accel::calibrate(decision.accel, qemu, launcher, clients, cores)
        .await
        .map_err(accel_error)?;
    Ok((decision, calibration.scale_milli))
}

/// The probe guest is for x86-64. Machines of another processor are translated.
fn translated() -> AccelDecision {
    AccelDecision {
        accel: Accel::Tcg,
        reason: "the machines have another processor than the probe guest".to_owned(),
    }
}

impl Virtual {
    /// The machine of a plan. `link` is where its interface on the segment is plugged in, and `stick` the image that it
    /// starts from where it boots from USB.
    pub(crate) fn config(
        &self,
        plan: &TargetPlan,
        qemu: &QemuPlan,
        link: &LinkSource,
        stick: Option<&Path>,
        work: &Path,
    ) -> Result<QemuConfig, HarnessError> {
        let needs = needs(&plan.firmware);
        let arch = needs.firmware.arch();
        let binary = self.qemu.get(&arch).cloned();
        let binary = binary.ok_or_else(|| unprepared(plan, arch.program()))?;
        let work_dir = work.join(plan.name.as_str());
        std::fs::create_dir_all(&work_dir).map_err(HarnessError::io("create", &work_dir))?;
        // QEMU gets paths that do not depend on its working directory.
        let work_dir = work_dir
            .canonicalize()
            .map_err(HarnessError::io("find", &work_dir))?;
        Ok(QemuConfig {
            name: plan.name.clone(),
            binary,
            firmware: discovery::find_firmware(needs).map_err(missing)?,
            boot: match plan.firmware.path {
                BootPath::Pxe4 => FirmwareBoot::Pxe4,
                BootPath::Pxe6 => FirmwareBoot::Pxe6,
                BootPath::Http4 => FirmwareBoot::Http4,
                BootPath::Http6 => FirmwareBoot::Http6,
                BootPath::Usb => FirmwareBoot::Usb(usb_image(plan, stick)?),
            },
            accel: match arch {
                Arch::X86_64 => self.accel.accel,
                Arch::Aarch64 => Accel::Tcg,
            },
            memory_mib: qemu.memory_mib,
            cpus: qemu.cpus,
            nics: qemu.nics.iter().map(|nic| interface(nic, link)).collect(),
            disk: blank_disk(qemu, &work_dir)?,
            work_dir,
            extra_args: qemu.extra_args.clone(),
        })
    }
}

fn unprepared(plan: &TargetPlan, what: &str) -> HarnessError {
    HarnessError::infra(
        "target-misused",
        format!("start target `{}`: {what} was not prepared", plan.name),
        "",
    )
}

fn usb_image(plan: &TargetPlan, stick: Option<&Path>) -> Result<PathBuf, HarnessError> {
    let image = stick.ok_or_else(|| unprepared(plan, "the image of its USB stick"))?;
    image
        .canonicalize()
        .map_err(HarnessError::io("find the USB image", image))
}

fn blank_disk(qemu: &QemuPlan, work_dir: &Path) -> Result<Option<Disk>, HarnessError> {
    use bootgate_scenario::DiskBus as Plan;
    let Some(disk) = qemu.disk else {
        return Ok(None);
    };
    let path = work_dir.join("disk.raw");
    std::fs::File::create(&path)
        .and_then(|file| file.set_len(disk.size))
        .map_err(HarnessError::io("create the blank disk", &path))?;
    Ok(Some(Disk {
        path,
        sector_size: disk.sector_size,
        bus: match disk.bus {
            Plan::Virtio => DiskBus::Virtio,
            Plan::Nvme => DiskBus::Nvme,
            Plan::Sata => DiskBus::Sata,
            Plan::Usb => DiskBus::Usb,
            Plan::Scsi => DiskBus::Scsi,
        },
    }))
}

/// The VLAN that the machine's interface on the segment is in, where that is one with a tag.
pub(crate) fn vlan(qemu: &QemuPlan) -> Option<u16> {
    qemu.nics.iter().find_map(|nic| match nic.link {
        bootgate_scenario::NicLink::Tagged(id) => Some(id),
        _ => None,
    })
}

fn interface(nic: &bootgate_scenario::NicPlan, link: &LinkSource) -> Nic {
    use bootgate_scenario::{NicLink as Link, NicRom as Rom};
    Nic {
        model: nic.model.clone(),
        rom: match &nic.rom {
            Rom::Standard => NicRom::Standard,
            Rom::Qemu => NicRom::Qemu,
            Rom::File(path) => NicRom::File(path.clone()),
        },
        mac: nic.mac,
        link: match nic.link {
            // The tag is the wire's.
            Link::Segment | Link::Tagged(_) => NicLink::Plugged(Arc::clone(link)),
            Link::Down => NicLink::Down,
            Link::Dead => NicLink::Dead,
        },
    }
}
