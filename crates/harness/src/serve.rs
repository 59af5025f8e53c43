//! What the servers are told about a target: its files, and what it may boot.

use std::path::Path;

use bootgate_api::{AfterFlash, BootPlan, DiskSelector, FlashPlan};
use bootgate_events::{ArtifactRole, FaultRule};
use bootgate_scenario::{Driver, Loader, Payload, Platform, TargetPlan};
use bootgate_server::{
    ArchTable, Artifact, ArtifactName, Artifacts, Bootfiles, LoaderKind, MachineBoot,
    MachineConfig, ScriptBoot, arch,
};

use crate::loaders::file_name;
use crate::prepare::Prepared;
use crate::{HarnessError, machines};

impl Prepared {
    /// Puts the target's files before the servers, and says what the machine may boot.
    pub(crate) fn serve(
        &self,
        target: &TargetPlan,
        faults: &[FaultRule],
        artifacts: &Artifacts,
    ) -> Result<MachineConfig, HarnessError> {
        let name = target.name.as_str();
        let mut bootfiles = Bootfiles::default();
        if let Some(programs) = self.nbps.get(name) {
            for (served, file) in &programs.files {
                publish(artifacts, served, file, ArtifactRole::Nbp)?;
            }
            bootfiles.set(arch_of(target.firmware.platform), programs.bootfile.clone());
        }
        let boot = MachineBoot::Script(Box::new(self.script(target, artifacts)?));
        Ok(MachineConfig {
            mac: target.mac,
            boot,
            nbp: bootfiles,
            loader: loader(target),
            faults: faults.to_vec(),
        })
    }

    fn script(
        &self,
        target: &TargetPlan,
        artifacts: &Artifacts,
    ) -> Result<ScriptBoot, HarnessError> {
        use bootgate_events::ArtifactRole::{Image, ImageIndex, Initrd, Kernel, Other};
        let name = target.name.as_str();
        let mut script = ScriptBoot {
            kernel: artifact_name("none")?,
            initrds: Vec::new(),
            cmdline: String::new(),
            plan: BootPlan::Stay,
            expected_chunks: None,
            expected_size: None,
            custom_script: None,
        };
        match &target.boot.payload {
            Payload::Linux {
                kernel,
                initrds,
                cmdline,
            } => {
                script.kernel = publish(
                    artifacts,
                    &format!("{name}/{}", file_name(kernel)),
                    kernel,
                    Kernel,
                )?;
                for initrd in initrds {
                    let path = format!("{name}/{}", file_name(initrd));
                    script
                        .initrds
                        .push(publish(artifacts, &path, initrd, Initrd)?);
                }
                script.cmdline = arguments(cmdline, target);
                script.custom_script =
                    target.boot.script.as_deref().map(read_script).transpose()?;
            }
            Payload::Script {
                script: path,
                files,
                cmdline,
            } => {
                script.custom_script = Some(read_script(path)?);
                script.cmdline = arguments(cmdline, target);
                for file in files {
                    publish(artifacts, &file_name(file), file, Other)?;
                }
            }
        }
        if let Some(image) = self.images.get(name) {
            let index = publish(
                artifacts,
                &format!("{name}/index.json"),
                &image.index_path,
                ImageIndex,
            )?;
            let data = publish(
                artifacts,
                &format!("{name}/image.zst"),
                &image.chunks_path,
                Image,
            )?;
            script.expected_chunks = Some(image.index.chunks_sha256);
            script.expected_size = Some(image.index.size);
            script.plan = BootPlan::Flash(FlashPlan {
                index_path: bootgate_api::paths::artifact(index.as_str()),
                data_path: bootgate_api::paths::artifact(data.as_str()),
                image_sha256: image.index.image_sha256,
                disk: disk_selector(target),
                after: AfterFlash::Reboot,
            });
        }
        Ok(script)
    }
}

/// The loader that is told by its own configuration; `None`: iPXE.
fn loader(target: &TargetPlan) -> Option<LoaderKind> {
    match target.boot.loader {
        Loader::Ipxe => None,
        Loader::Pxelinux => Some(LoaderKind::Pxelinux),
        Loader::Grub | Loader::Shim => Some(LoaderKind::Grub),
        Loader::Uboot => Some(LoaderKind::Uboot),
    }
}

/// The client architecture (option 93) that a platform's firmware says.
fn arch_of(platform: Platform) -> u16 {
    match platform {
        Platform::Bios => arch::BIOS,
        Platform::UefiX64 => arch::UEFI_X64,
        Platform::UefiArm64 => arch::UEFI_ARM64,
        Platform::UbootArm64 => arch::UBOOT_ARM64,
    }
}

impl Prepared {
    /// What another DHCP server is to tell the targets, by architecture.
    pub(crate) fn architectures(&self, targets: &[TargetPlan]) -> ArchTable {
        let mut table = ArchTable::iana();
        for target in targets {
            let programs = self.nbps.get(target.name.as_str());
            let Some(told) = programs.and_then(|programs| programs.bootfile.clone()) else {
                continue;
            };
            let code = arch_of(target.firmware.platform);
            if let Some(row) = table.row(code).cloned() {
                table = table.with(code, row.with_bootfile(told));
            }
        }
        table
    }
}

/// The kernel command line, with the VLAN that the machine's own interface is in where its frames have a tag.
fn arguments(cmdline: &str, target: &TargetPlan) -> String {
    let vlan = match &target.driver {
        Driver::Qemu(qemu) => machines::vlan(qemu),
        Driver::Board(_) => None,
    };
    match vlan {
        Some(id) => format!("{cmdline} {}={id}", bootgate_api::cmdline::VLAN),
        None => cmdline.to_owned(),
    }
}

fn read_script(path: &Path) -> Result<String, HarnessError> {
    std::fs::read_to_string(path).map_err(HarnessError::io("read the boot script", path))
}

fn disk_selector(target: &TargetPlan) -> DiskSelector {
    let path = match &target.driver {
        Driver::Board(board) => board.disk.clone(),
        Driver::Qemu(_) => None,
    };
    DiskSelector {
        path,
        ..DiskSelector::default()
    }
}

fn artifact_name(name: &str) -> Result<ArtifactName, HarnessError> {
    ArtifactName::new(name)
        .map_err(|error| HarnessError::infra("file-unnameable", error, "rename the file"))
}

fn publish(
    artifacts: &Artifacts,
    name: &str,
    path: &Path,
    role: ArtifactRole,
) -> Result<ArtifactName, HarnessError> {
    let name = artifact_name(name)?;
    let mut artifact = Artifact::new(path, role);
    // Distributions' signed programs end in `.signed`; UEFI HTTP Boot goes by the media type.
    if role == ArtifactRole::Nbp && name.as_str().ends_with(".efi") {
        artifact.content_type = "application/efi".to_owned();
    }
    artifacts.insert(name.clone(), artifact);
    Ok(name)
}
