//! Why a client gets its reply.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4};

use bootgate_api::{ExplainStep, Explanation};
use bootgate_events::MacAddr;

use super::judge::Plan;
use super::options::code;
use super::reply::{Kind, postponed};
use super::responder::{Responder, Told, tell};
use super::scene::Scene;
use super::wire::{Header, REQUEST, Writer};
use super::{
    CLIENT_PORT, ClientFacts, Datagram, DropReason, Dropped, InterfaceId, MessageKind, Port, Reply,
};
use crate::Time;
use crate::policy::{Loader, MachineLookup};

/// The steps of a decision, written down where somebody wants to read them.
#[derive(Debug)]
pub(super) struct Trace(Option<Vec<ExplainStep>>);

impl Trace {
    /// Writes nothing down.
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn step(&mut self, about: &str, found: impl FnOnce() -> String) {
        if let Some(steps) = &mut self.0 {
            steps.push(ExplainStep {
                about: about.to_owned(),
                found: found(),
            });
        }
    }
}

/// A client to explain the reply to: what it would say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its hardware address.
    pub mac: MacAddr,
    /// The interface its message comes to.
    pub interface: InterfaceId,
    /// Its architectures (option 93).
    pub architectures: Vec<u16>,
    /// Its vendor class (option 60), such as `PXEClient`.
    pub class: Option<String>,
    /// Its user class (option 77), such as `iPXE`.
    pub user_class: Option<String>,
    /// The relay its message comes by.
    pub giaddr: Option<Ipv4Addr>,
    /// The same over DHCPv6: an address of the link that the relay heard it on.
    pub link: Option<Ipv6Addr>,
    /// The kind of message.
    pub message: MessageKind,
    /// The port it comes to.
    pub port: Port,
}

impl Asked {
    /// A DISCOVER of an operating system on the first interface.
    #[must_use]
    pub fn new(mac: MacAddr) -> Self {
        Self {
            mac,
            interface: InterfaceId(0),
            architectures: Vec::new(),
            class: None,
            user_class: None,
            giaddr: None,
            link: None,
            message: MessageKind::Discover,
            port: Port::Dhcp,
        }
    }

    /// The message that such a client would send.
    fn packet(&self) -> Vec<u8> {
        let header = Header {
            op: REQUEST,
            xid: 0,
            flags: 0x8000,
            giaddr: self.giaddr.unwrap_or(Ipv4Addr::UNSPECIFIED),
            mac: self.mac,
        };
        let mut writer = Writer::new(&header, self.message.code());
        if let Some(class) = &self.class {
            writer.option(code::VENDOR_CLASS, class.as_bytes());
        }
        if let Some(class) = &self.user_class {
            writer.option(code::USER_CLASS, class.as_bytes());
        }
        let codes: Vec<u8> = self
            .architectures
            .iter()
            .flat_map(|code| code.to_be_bytes())
            .collect();
        writer.option(code::ARCHITECTURES, &codes);
        writer.finish()
    }
}

impl Responder {
    /// Says why a client gets, or would get, its reply: by the same rules as [`Responder::handle`], which it walks
    /// through with a message such as the client would send, and without any change of state. `machines` is asked as
    /// for a real message.
    #[must_use]
    pub fn explain(&self, now: Time, asked: &Asked, machines: &dyn MachineLookup) -> Explanation {
        let mut trace = Trace(Some(Vec::new()));
        let told = self.walk(now, asked, machines, &mut trace);
        let outcome = match told {
            Ok(((Some(reply), _), postponed)) => {
                let then = postponed.then(|| self.on_4011(now, asked, machines));
                if let Some(then) = &then {
                    trace.step("port 4011", || then.clone());
                }
                let then = then.map(|then| format!("; on port 4011 {then}"));
                in_words(&reply) + &then.unwrap_or_default()
            }
            Ok(((None, Some(dropped)), _)) | Err(dropped) => silence(&dropped),
            Ok(((None, None), _)) => "no reply: none is due".to_owned(),
        };
        Explanation {
            steps: trace.0.unwrap_or_default(),
            outcome,
        }
    }

    /// What the client is told on port 4011, in words.
    fn on_4011(&self, now: Time, asked: &Asked, machines: &dyn MachineLookup) -> String {
        let question = Asked {
            message: MessageKind::Request,
            port: Port::Pxe,
            ..asked.clone()
        };
        match self.walk(now, &question, machines, &mut Trace::none()) {
            Ok(((Some(reply), _), _)) => in_words(&reply),
            Ok(((None, Some(dropped)), _)) | Err(dropped) => silence(&dropped),
            Ok(((None, None), _)) => "no reply: none is due".to_owned(),
        }
    }

    /// What the client hears, and whether that leaves the bootfile to port 4011.
    fn walk(
        &self,
        now: Time,
        asked: &Asked,
        machines: &dyn MachineLookup,
        trace: &mut Trace,
    ) -> Result<(Told, bool), Dropped> {
        let bytes = asked.packet();
        let datagram = Datagram {
            bytes: &bytes,
            interface: asked.interface,
            port: asked.port,
            from: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, CLIENT_PORT),
        };
        if let Some(interface) = self.config().interfaces.get(asked.interface.0) {
            let (name, address, mode) = (&interface.name, interface.address, interface.mode);
            trace.step("interface", || {
                format!("`{name}`, address `{address}`, DHCP mode `{mode}`")
            });
        }
        let interface = self.interface(&datagram)?;
        let unreadable =
            |error: super::ParseError| Dropped::new(error.drop_reason(), error.to_string());
        let client = ClientFacts::parse(&bytes).map_err(unreadable)?;
        if !self.rates.would_allow(now, &client.mac) {
            let why = "this client sends more than is answered";
            return Err(Dropped::new(DropReason::RateLimited, why));
        }
        let (decision, found) = self.decide(&datagram, &client, machines);
        let decision = self.chained().look(now, &client, decision);
        trace.step("loader", || who(&client, decision.loader));
        if decision.loader != Loader::Os {
            trace.step("machine", || match machines.machine(&client.mac) {
                None => "unknown".to_owned(),
                Some(machine) if machine.note.is_empty() => "known".to_owned(),
                Some(machine) => machine.note,
            });
        }
        if let Some(code) = decision.architecture {
            trace.step("architecture", || {
                format!("`{code}`, {}", self.config().architectures.name(code))
            });
        }
        trace.step("boot", || match decision.boot.name() {
            Some(name) => format!("`{name}`: {}", decision.reason),
            None => decision.reason.to_string(),
        });
        let scene = Scene {
            config: self.config(),
            id: asked.interface,
            interface,
            port: asked.port,
            from: datagram.from,
            client: &client,
            decision: &decision,
            found,
            machines,
        };
        let plan = self.judge(now, &scene, trace)?;
        let postponed = matches!(plan, Plan::ProxyOffer) && postponed(&scene, Kind::ProxyOffer);
        if postponed {
            trace.step("offer", || {
                "names a boot server and no bootfile: UEFI asks for it on port 4011, once another DHCP server gave it an address"
                    .to_owned()
            });
        }
        Ok((tell(&scene, &plan), postponed))
    }
}

/// Who asks, in words.
pub(crate) fn who(client: &ClientFacts, loader: Loader) -> String {
    let text = match loader {
        Loader::Firmware => "firmware",
        Loader::Ipxe => "iPXE (a ROM's, or a stock one)",
        Loader::OwnIpxe => "our own iPXE",
        Loader::Os => "an operating system, or what asks for no network boot",
    };
    let facts = client.summary(loader);
    let mut by = Vec::new();
    if let Some(class) = facts.user_class {
        by.push(format!("user class `{class}`"));
    }
    if let Some(class) = facts.vendor_class {
        by.push(format!("vendor class `{class}`"));
    }
    match by.as_slice() {
        [] => text.to_owned(),
        by => format!("{text}, by {}", by.join(" and ")),
    }
}

fn silence(dropped: &Dropped) -> String {
    format!("no reply ({}): {dropped}", dropped.reason)
}

fn in_words(reply: &Reply) -> String {
    let facts = &reply.facts;
    let address = facts.address.map(|ip| format!(" of `{ip}`"));
    let bootfile = match &facts.bootfile {
        Some(name) => format!(" with bootfile `{name}`"),
        None => " without a bootfile".to_owned(),
    };
    let message = &facts.message;
    format!("{message}{}{bootfile}", address.unwrap_or_default())
}
