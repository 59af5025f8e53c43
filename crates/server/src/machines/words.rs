//! What a gate tells a machine's loader.

use bootgate_api::paths;
use bootgate_events::AttemptId;
use bootgate_netboot::script::{
    Initrd, IpxeScript, LinuxBoot, LoaderBoot, LoaderKind, LocalDrive, ScriptError, render_custom,
    render_exit, render_ipxe, render_loader,
};

use super::{Armed, MachineBoot, ScriptBoot};
use crate::ArtifactName;
use crate::desk::{BootAsk, BootLoader};
use crate::loaders::{agent_cmdline, file_path};

/// Why a machine without a network boot boots its disk.
const NOTHING: &str = "nothing to boot from the network";

/// The script or configuration for the loader that asks.
pub(super) fn words(armed: &Armed, ask: &BootAsk) -> Result<String, WordsError> {
    let boot = match &armed.config.boot {
        MachineBoot::Script(boot) if armed.netboot => Some(&**boot),
        _ => None,
    };
    let kind = match ask.loader {
        BootLoader::Ipxe => return Ok(ipxe(boot, &armed.attempt, &ask.server_url)?),
        BootLoader::Pxelinux => LoaderKind::Pxelinux,
        BootLoader::Grub => LoaderKind::Grub,
        BootLoader::Uboot => LoaderKind::Uboot,
    };
    let Some(boot) = boot else {
        let local = LoaderBoot::Local {
            reason: NOTHING.to_owned(),
            drive: LocalDrive::Next,
        };
        return Ok(render_loader(kind, &local)?);
    };
    if boot.custom_script.is_some() {
        return Err(WordsError::NotIpxe);
    }
    let path = |name: &ArtifactName| file_path(name, ask.protocol);
    let linux = LinuxBoot {
        kernel: path(&boot.kernel),
        initrds: boot.initrds.iter().map(path).collect(),
        cmdline: agent_cmdline(&boot.cmdline, &armed.attempt, &ask.server_url, ask.mac),
    };
    Ok(render_loader(kind, &LoaderBoot::Linux(linux))?)
}

/// A machine's loader cannot be told what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum WordsError {
    #[error(transparent)]
    Script(#[from] ScriptError),
    #[error("the machine's script is for iPXE, and another loader asks")]
    NotIpxe,
}

fn ipxe(
    boot: Option<&ScriptBoot>,
    nonce: &AttemptId,
    server_url: &str,
) -> Result<String, ScriptError> {
    let Some(boot) = boot else {
        return render_exit(NOTHING);
    };
    let url = |name: &ArtifactName| format!("{server_url}{}", paths::artifact(name.as_str()));
    let initrds = boot.initrds.iter().enumerate();
    let script = IpxeScript {
        kernel_url: url(&boot.kernel),
        initrds: initrds
            .map(|(index, name)| Initrd {
                name: format!("initrd{index}"),
                url: url(name),
            })
            .collect(),
        cmdline: boot.cmdline.clone(),
        nonce: nonce.clone(),
        server_url: server_url.to_owned(),
    };
    match &boot.custom_script {
        Some(template) => render_custom(template, &script),
        None => render_ipxe(&script),
    }
}
