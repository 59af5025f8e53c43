//! Why a machine gets its reply.

use std::net::IpAddr;

use bootgate_api::{ExplainStep, Explanation, Machine};
use bootgate_events::MacAddr;
use bootgate_netboot::dhcp::{Asked, DhcpMode, InterfaceId, Responder};
use bootgate_store::StoreError;

use super::Lab;
use super::decide::{Next, local_how};
use crate::desk::BootLoader;

/// How a machine asks, for [`Lab::explain`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskingAs {
    /// Its client architecture (option 93); `None`: the one it last booted with.
    pub architecture: Option<u16>,
    /// Its class: `PXEClient`, `HTTPClient`, `iPXE` (a user class), `U-Boot.armv8`, ...; `None`: `PXEClient`. Empty: an
    /// operating system's DHCP client.
    pub class: Option<String>,
    /// The interface it asks on; `None`: the first that is served.
    pub interface: Option<String>,
    /// The relay its message comes by: `giaddr`, or, with `over_ipv6`, the relay's link address. `None`: it is on the
    /// interface's own segment.
    pub relay: Option<IpAddr>,
    /// Whether it asks by DHCPv6.
    pub over_ipv6: bool,
}

impl AskingAs {
    /// The same in words, with the architecture that it was last seen with.
    fn in_words(&self, last: Option<u16>) -> String {
        let class = match self.class.as_deref() {
            None => "`PXEClient`, since nothing else was said".to_owned(),
            Some("") => "an operating system".to_owned(),
            Some(class) => format!("`{class}`"),
        };
        let architecture = match (self.architecture, last) {
            _ if self.class.as_deref() == Some("") => String::new(),
            (Some(code), _) => format!(", architecture `{code}`"),
            (None, Some(code)) => format!(", architecture `{code}` as when it was last seen"),
            (None, None) => ", architecture not told".to_owned(),
        };
        let relay = self.relay.map(|relay| format!(", by relay `{relay}`"));
        let over = if self.over_ipv6 { ", by DHCPv6" } else { "" };
        class + &architecture + &relay.unwrap_or_default() + over
    }
}

impl AskingAs {
    /// The same as the DHCP servers' own explanations take it.
    fn asked(
        &self,
        mac: &MacAddr,
        last: Option<u16>,
        served: &Responder,
    ) -> Result<Asked, StoreError> {
        let mut asked = Asked::new(*mac);
        match self.class.as_deref() {
            Some("") => {}
            // iPXE says so by its user class; its vendor class is that of firmware.
            Some(user @ ("iPXE" | "bootgate")) => {
                asked.class = Some("PXEClient".to_owned());
                asked.user_class = Some(user.to_owned());
            }
            class => asked.class = Some(class.unwrap_or("PXEClient").to_owned()),
        }
        if self.class.as_deref() != Some("") {
            asked.architectures = self.architecture.or(last).into_iter().collect();
        }
        match self.relay {
            Some(IpAddr::V4(giaddr)) => asked.giaddr = Some(giaddr),
            Some(IpAddr::V6(link)) => asked.link = Some(link),
            None => {}
        }
        if let Some(name) = &self.interface {
            let served = &served.config().interfaces;
            let found = served.iter().position(|served| served.name == *name);
            let Some(index) = found else {
                let served: Vec<_> = served.iter().map(|one| format!("`{}`", one.name)).collect();
                return Err(StoreError::Refused {
                    doing: format!("explain what is asked on `{name}`"),
                    why: format!("the interfaces that are served are {}", served.join(", ")),
                });
            };
            asked.interface = InterfaceId(index);
        }
        Ok(asked)
    }
}

fn step(about: &str, found: impl Into<String>) -> ExplainStep {
    ExplainStep {
        about: about.to_owned(),
        found: found.into(),
    }
}

impl Lab {
    /// Why a machine gets its reply: what it would get now, step by step, if it asked as `asking`.
    ///
    /// # Errors
    /// The interface is none that is served.
    pub fn explain(&self, mac: &MacAddr, asking: &AskingAs) -> Result<Explanation, StoreError> {
        let machine = self.parts.known.machine(mac);
        let machine = machine.or_else(|| self.parts.known.discovered(mac));
        let last = machine.as_ref().and_then(|machine| machine.architecture);
        let asked = asking.asked(mac, last, &self.parts.shared.responder())?;
        let mut explanation = match asking.over_ipv6 {
            true => self.explain6(&asked),
            false => self.explain4(&asked),
        };
        let first = step("asks as", asking.in_words(last));
        explanation.steps.insert(0, first);
        explanation.steps.push(match self.parts.known.attempt(mac) {
            Some(attempt) => step("attempt", format!("`{attempt}` is open")),
            None => step("attempt", "none is open"),
        });
        if let Some(machine) = machine.filter(|_| asking.class.as_deref() != Some("")) {
            let script = step("script", self.script_in_words(&machine));
            explanation.steps.push(script);
        }
        Ok(explanation)
    }

    fn explain4(&self, asked: &Asked) -> Explanation {
        let shared = &self.parts.shared;
        let now = shared.now();
        let responder = shared.responder();
        let mut explanation = responder.explain(now, asked, &*shared.lookup);
        let served = responder.config().interfaces.get(asked.interface.0);
        if served.is_some_and(|served| served.mode == DhcpMode::Off) {
            let found = "another DHCP server names them; `bootgate serve --dhcp-settings` prints what to put there";
            explanation.steps.insert(1, step("boot files", found));
        }
        explanation
    }

    fn explain6(&self, asked: &Asked) -> Explanation {
        let shared = &self.parts.shared;
        let name = {
            let responder = shared.responder();
            let served = responder.config().interfaces.get(asked.interface.0);
            served.map_or_else(String::new, |served| served.name.clone())
        };
        let now = shared.now();
        let mut explanation = match &*shared.responder6() {
            Some(responder) => responder.explain(now, asked, &*shared.lookup),
            None => Explanation {
                steps: Vec::new(),
                outcome: "no reply: no interface is served over IPv6; a [[subnet]] needs `ipv6`"
                    .to_owned(),
            },
        };
        explanation
            .steps
            .insert(0, step("interface", format!("`{name}`")));
        explanation
    }

    /// What a machine's script would do now.
    fn script_in_words(&self, machine: &Machine) -> String {
        let next = self.parts.known.next(machine);
        if let Some(why) = self.parts.library.now().missing(&next, BootLoader::Ipxe) {
            return format!("says that it may not boot, and stops: {why}");
        }
        match next {
            Next::Local => format!(
                "boots its own disk: {}",
                local_how(&machine.local, machine.architecture)
            ),
            Next::Refused(why) => format!("says that it may not boot, and stops: {why}"),
            Next::Flash(order) => format!("flashes image `{}`", order.image),
            Next::Inventory => "takes an inventory".to_owned(),
            Next::Install(name) => format!("boots installer `{name}`"),
            Next::Script(name) => format!("is the operator's script `{name}`"),
        }
    }
}
