//! Files that a gate makes when loaders ask for them by their well-known names.

use std::net::IpAddr;

use bootgate_api::paths;
use bootgate_events::MacAddr;
use bootgate_netboot::script::{
    GRUB_SEARCH, LoaderKind, render_autoexec, render_autoexec6, uboot_start,
};

use super::Machines;
use crate::desk::{BootAsk, BootLoader, FileAsk, Generated, Refusal, Served};
use crate::loaders::LoaderFile;

/// The script that iPXE since 2021 looks for beside its UEFI program, before its prompt and any DHCP of its own.
const AUTOEXEC: &str = "autoexec.ipxe";

impl Machines {
    /// A file that loaders ask for by a well-known name.
    pub(super) fn file(&self, ask: FileAsk) -> Generated {
        if ask.name.rsplit('/').next() == Some(AUTOEXEC) {
            return self.beside_nbp(&ask);
        }
        let Some(file) = LoaderFile::of(&ask.name) else {
            return Generated::NotOurs;
        };
        let ours = match file {
            LoaderFile::GrubSearch => Some(GRUB_SEARCH.into()),
            LoaderFile::UbootScript if self.boots(ask.holder) => Some(uboot_start().into()),
            _ => None,
        };
        if let Some(bytes) = ours {
            return Generated::File(Served {
                bytes,
                mac: ask.holder,
                told: None,
            });
        }
        let Some((mac, loader)) = file.machine(ask.holder) else {
            return Generated::Absent;
        };
        if let Some(holder) = ask.holder.filter(|holder| *holder != mac) {
            let reason = format!("the configuration is for {mac}, and {holder} asks for it");
            return Generated::Refused(Refusal::new(403, reason));
        }
        let Some(kind) = self.lock().get(&mac).map(|armed| armed.config.loader) else {
            return Generated::Absent;
        };
        let loader = match loader {
            // U-Boot asks by PXELINUX's names.
            BootLoader::Pxelinux if kind == Some(LoaderKind::Uboot) => BootLoader::Uboot,
            loader => loader,
        };
        let ask = BootAsk {
            mac,
            holder: ask.holder,
            peer: ask.peer,
            loader,
            protocol: ask.protocol,
            server_url: ask.server_url,
            give: ask.give,
        };
        match self.script(&ask) {
            Ok(served) => Generated::File(served),
            Err(refusal) => Generated::Refused(refusal),
        }
    }

    /// Whether who asks boots over the network now.
    fn boots(&self, holder: Option<MacAddr>) -> bool {
        let machines = self.lock();
        holder.is_some_and(|mac| machines.get(&mac).is_some_and(|armed| armed.netboot))
    }

    /// The script that leads iPXE to the machine's own one, for who boots over the network.
    fn beside_nbp(&self, ask: &FileAsk) -> Generated {
        let Some(mac) = ask.holder.filter(|_| self.boots(ask.holder)) else {
            return Generated::Absent;
        };
        let text = match ask.peer.to_canonical() {
            IpAddr::V4(_) => render_autoexec(port(&ask.server_url)),
            IpAddr::V6(_) => {
                render_autoexec6(&format!("{}{}", ask.server_url, paths::script(&mac)))
            }
        };
        match text {
            Ok(text) => Generated::File(Served {
                bytes: text.into(),
                mac: ask.holder,
                told: None,
            }),
            Err(error) => Generated::Refused(Refusal::new(500, error.to_string())),
        }
    }
}

/// The port in a server's base URL.
fn port(server_url: &str) -> u16 {
    let last = server_url.rsplit(':').next();
    last.and_then(|port| port.parse().ok()).unwrap_or(80)
}
