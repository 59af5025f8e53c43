//! A lab's desk: what the servers ask is answered from memory, or by the recorder where it must be durable first.

use std::net::IpAddr;
use std::sync::Arc;

use bootgate_api::Nonce;
use bootgate_events::{AttemptId, MacAddr};
use bootgate_netboot::policy::{BootMachine, MachineLookup};
use bootgate_netboot::script::GRUB_SEARCH;

use super::known::Known;
use super::recorder::{Given, Mailbox, Message};
use super::render::Words;
use super::shelf::Shelf;
use crate::BoxFuture;
use crate::desk::{
    AgentCall, Answered, BootAsk, BootLoader, Desk, FileAsk, Generated, Refusal, Served,
};
use crate::loaders::LoaderFile;

/// Stands where a nonce would, for a client that only asks how long its script is.
const NO_NONCE: [u8; 16] = [0; 16];

pub(super) struct LabDesk {
    pub(super) known: Arc<Known>,
    pub(super) library: Arc<Shelf>,
    pub(super) mailbox: Mailbox,
    /// Whether an address is one that only this server gives out.
    pub(super) leased_here: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
}

impl MachineLookup for LabDesk {
    fn machine(&self, mac: &MacAddr) -> Option<BootMachine> {
        MachineLookup::machine(&*self.known, mac)
    }

    fn is_known(&self, mac: &MacAddr) -> bool {
        self.known.is_known(mac)
    }
}

impl Desk for LabDesk {
    fn attempt(&self, mac: &MacAddr) -> Option<AttemptId> {
        self.known.attempt(mac)
    }

    fn boot(&self, ask: BootAsk) -> BoxFuture<'_, Result<Served, Refusal>> {
        Box::pin(self.script(ask))
    }

    fn generated(&self, ask: FileAsk) -> BoxFuture<'_, Generated> {
        Box::pin(self.file(ask))
    }

    fn call(&self, call: AgentCall) -> BoxFuture<'_, Result<Answered, Refusal>> {
        Box::pin(async move {
            let call = Box::new(call);
            self.mailbox.ask(|reply| Message::Call(call, reply)).await
        })
    }
}

impl LabDesk {
    async fn script(&self, ask: BootAsk) -> Result<Served, Refusal> {
        let mac = ask.mac;
        let refuse = |status: u16, reason: String| Refusal {
            mac: Some(mac),
            ..Refusal::new(status, reason)
        };
        if ask.holder.is_none() && (self.leased_here)(ask.peer) {
            let reason = format!("`{}` is not leased to {mac}", ask.peer);
            return Err(Refusal::new(403, reason));
        }
        let given = match ask.give {
            true => {
                let ask = Box::new(ask.clone());
                self.mailbox.ask(|reply| Message::Boot(ask, reply)).await?
            }
            false => self.would_give(&ask),
        };
        let loader = match ask.loader {
            BootLoader::Pxelinux if given.uboot => BootLoader::Uboot,
            loader => loader,
        };
        let nonce = given.nonce.unwrap_or_else(|| Nonce::from_bytes(NO_NONCE));
        let library = self.library.now();
        let words = Words {
            library: &library,
            machine: &given.machine,
            next: &given.next,
            nonce: &nonce,
            ip: ask.peer,
            server_url: &ask.server_url,
        };
        let text = words.render(loader, ask.protocol);
        let text = text.map_err(|error| refuse(500, error.to_string()))?;
        Ok(Served {
            bytes: text.into(),
            mac: Some(mac),
            told: None,
        })
    }

    /// What a machine would be given now, without giving it.
    fn would_give(&self, ask: &BootAsk) -> Given {
        let machine = self.known.machine(&ask.mac);
        let machine = machine
            .unwrap_or_else(|| super::known::stranger(ask.mac, bootgate_api::BootMode::Local));
        let next = self.known.next(&machine);
        let next = match self.library.now().missing(&next, ask.loader) {
            Some(why) => super::decide::Next::Refused(why),
            None => next,
        };
        Given {
            machine,
            next,
            nonce: None,
            uboot: false,
        }
    }

    async fn file(&self, ask: FileAsk) -> Generated {
        let Some(file) = LoaderFile::of(&ask.name) else {
            return Generated::NotOurs;
        };
        // A board's own script is a file of the operator's, or it has none.
        if file == LoaderFile::UbootScript {
            return Generated::NotOurs;
        }
        if file == LoaderFile::GrubSearch {
            return Generated::File(Served {
                bytes: GRUB_SEARCH.into(),
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
        if !self.known.is_known(&mac) && self.known.rules().discovery.is_none() {
            return Generated::Absent;
        }
        let ask = BootAsk {
            mac,
            holder: ask.holder,
            peer: ask.peer,
            loader,
            protocol: ask.protocol,
            server_url: ask.server_url,
            give: ask.give,
        };
        match self.script(ask).await {
            Ok(served) => Generated::File(served),
            Err(refusal) => Generated::Refused(refusal),
        }
    }
}
