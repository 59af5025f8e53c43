//! What the servers are told about a target: its files, and what it may boot.

use std::path::Path;

use bootgate_api::{AfterFlash, BootPlan, DiskSelector, FlashPlan};
use bootgate_events::FaultRule;
use bootgate_scenario::{Driver, Payload, Platform, TargetPlan};
use bootgate_server::{
    Artifact, ArtifactName, Artifacts, Bootfiles, MachineBoot, MachineConfig, ScriptBoot, arch,
};

use crate::HarnessError;
use crate::prepare::Prepared;

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
        if let Some(nbp) = self.nbps.get(name) {
            let file = file_name(nbp);
            publish(artifacts, &file, nbp, bootgate_events::ArtifactRole::Nbp)?;
            let told = Some(target.boot.nbp.bootfile(nbp));
            match target.firmware.platform {
                Platform::Bios => bootfiles.set(arch::BIOS, told),
                Platform::UefiX64 => bootfiles.set(arch::UEFI_X64, told),
                Platform::UefiArm64 | Platform::UbootArm64 => bootfiles.set(arch::UEFI_ARM64, told),
            }
        }
        let boot = MachineBoot::Script(Box::new(self.script(target, artifacts)?));
        Ok(MachineConfig {
            mac: target.mac,
            boot,
            nbp: bootfiles,
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
                script.cmdline.clone_from(cmdline);
                script.custom_script =
                    target.boot.script.as_deref().map(read_script).transpose()?;
            }
            Payload::Script {
                script: path,
                files,
                cmdline,
            } => {
                script.custom_script = Some(read_script(path)?);
                script.cmdline.clone_from(cmdline);
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

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

fn artifact_name(name: &str) -> Result<ArtifactName, HarnessError> {
    ArtifactName::new(name)
        .map_err(|error| HarnessError::infra("file-unnameable", error, "rename the file"))
}

fn publish(
    artifacts: &Artifacts,
    name: &str,
    path: &Path,
    role: bootgate_events::ArtifactRole,
) -> Result<ArtifactName, HarnessError> {
    let name = artifact_name(name)?;
    artifacts.insert(name.clone(), Artifact::new(path, role));
    Ok(name)
}
