//! The interfaces of a lab, each in its slot: the number that the DHCP servers know it by, for as long as it is served.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bootgate_netboot::dhcp::{DhcpConfig, DhcpMode, InterfaceConfig, InterfaceId, SubnetConfig};
use bootgate_netboot::dhcp6;

use super::{LabConfig, LabInterface};
use crate::held::{Held, HoldingSource};
use crate::{
    BootServer, Bound, Limits, ServerConfig, Shared, SocketSource, StartError, dhcp6_responder,
};

/// An interface that is served.
pub(super) struct Served {
    pub(super) interface: LabInterface,
    pub(super) server: BootServer,
    held: Held,
}

/// What becomes of an interface of the configuration.
pub(super) enum Step {
    /// Its servers go on.
    Stays(usize),
    /// It gets servers, in the place of those before where there were some.
    Begins(Box<Beginning>),
}

/// Servers that are about to begin; their sockets are open.
pub(super) struct Beginning {
    slot: usize,
    interface: LabInterface,
    bound: Bound,
    source: Arc<HoldingSource>,
    /// Holds the sockets of an interface that was not served before.
    held: Held,
}

impl Step {
    pub(super) fn slot(&self) -> usize {
        match self {
            Step::Stays(slot) => *slot,
            Step::Begins(beginning) => beginning.slot,
        }
    }
}

/// The slots, by their numbers; an empty one was left by an interface that is served no more.
#[derive(Default)]
pub(super) struct Slots(Vec<Option<Served>>);

/// What decides over the sockets of an interface and what is told to clients once: where this stays, its servers stay.
fn identity(interface: &LabInterface) -> ServerConfig {
    let mut server = interface.server.clone();
    server.interface = InterfaceId(0);
    server.limits = Limits::default();
    server.services.dhcp &= interface.dhcp != DhcpMode::Off;
    if let Some(ip6) = &mut server.ip6 {
        // The DHCPv6 server of all interfaces has it.
        ip6.subnet = None;
    }
    server
}

impl Slots {
    pub(super) fn served(&self) -> impl Iterator<Item = &Served> {
        self.0.iter().flatten()
    }

    fn slot_of(&self, name: &str) -> Option<usize> {
        let named = |slot: &Option<Served>| {
            slot.as_ref()
                .is_some_and(|served| served.interface.name == name)
        };
        self.0.iter().position(named)
    }

    pub(super) fn get(&self, slot: usize) -> Option<&Served> {
        self.0.get(slot)?.as_ref()
    }

    /// Opens what the interfaces of a configuration need and have not. Nothing that is served changes by this.
    ///
    /// # Errors
    /// As for [`BootServer::bind`]; then everything stays as it is.
    pub(super) async fn plan(
        &self,
        interfaces: &[LabInterface],
        sockets: Vec<Arc<dyn SocketSource>>,
    ) -> Result<Vec<Step>, StartError> {
        let mut steps: Vec<Step> = Vec::new();
        for (interface, sockets) in interfaces.iter().zip(sockets) {
            let slot = self.slot_of(&interface.name);
            let before = slot.and_then(|slot| self.get(slot));
            if let (Some(slot), Some(before)) = (slot, before)
                && identity(&before.interface) == identity(interface)
            {
                steps.push(Step::Stays(slot));
                continue;
            }
            let free = |slot: &usize| {
                self.get(*slot).is_none() && steps.iter().all(|step| step.slot() != *slot)
            };
            let slot = slot.unwrap_or_else(|| (0..).find(free).unwrap_or_default());
            let held = Held::default();
            let source = before
                .map_or(&held, |before| &before.held)
                .source(sockets.clone());
            let mut server = interface.server.clone();
            server.interface = InterfaceId(slot);
            server.services.dhcp &= interface.dhcp != DhcpMode::Off;
            let bound = BootServer::bind_held(server, sockets, Arc::clone(&source)).await?;
            steps.push(Step::Begins(Box::new(Beginning {
                slot,
                interface: interface.clone(),
                bound,
                source,
                held,
            })));
        }
        Ok(steps)
    }

    /// Carries a plan out. Gives the servers that were replaced or are served no more; they go on until they are retired.
    pub(super) fn carry_out(
        &mut self,
        interfaces: &[LabInterface],
        steps: Vec<Step>,
        shared: &Arc<Shared>,
    ) -> Vec<BootServer> {
        let mut old = Vec::new();
        let kept: Vec<usize> = steps.iter().map(Step::slot).collect();
        for (number, slot) in self.0.iter_mut().enumerate() {
            if !kept.contains(&number)
                && let Some(gone) = slot.take()
            {
                old.push(gone.server);
            }
        }
        for (step, interface) in steps.into_iter().zip(interfaces) {
            match step {
                Step::Stays(slot) => {
                    if let Some(Some(served)) = self.0.get_mut(slot) {
                        served.server.set_limits(interface.server.limits);
                        served.interface = interface.clone();
                    }
                }
                Step::Begins(beginning) => old.extend(self.begin(*beginning, shared)),
            }
        }
        old
    }

    fn begin(&mut self, beginning: Beginning, shared: &Arc<Shared>) -> Option<BootServer> {
        let Beginning {
            slot,
            interface,
            bound,
            source,
            held,
        } = beginning;
        if self.0.len() <= slot {
            self.0.resize_with(slot + 1, || None);
        }
        let place = self.0.get_mut(slot)?;
        let (held, old) = match place.take() {
            Some(before) => (before.held, Some(before.server)),
            None => (held, None),
        };
        held.keep_only(&source);
        *place = Some(Served {
            interface,
            server: bound.start(Arc::clone(shared)),
            held,
        });
        old
    }

    /// The HTTP port of each interface of a plan.
    fn http_ports(&self, steps: &[Step]) -> Vec<u16> {
        let port = |step: &Step| match step {
            Step::Begins(beginning) => beginning.bound.http().port(),
            Step::Stays(slot) => self.get(*slot).map_or(80, |served| {
                let bound = served.server.addresses().http;
                bound.map_or(served.interface.server.http_port, |http| http.port())
            }),
        };
        steps.iter().map(port).collect()
    }

    /// What the DHCP servers are told, with this plan.
    pub(super) fn dhcp(
        &self,
        config: &LabConfig,
        steps: &[Step],
    ) -> (DhcpConfig, Option<dhcp6::Responder>) {
        let ports = self.http_ports(steps);
        (
            dhcp_config(config, steps, &ports),
            dhcp6(config, steps, &ports),
        )
    }

    pub(super) async fn stop(self) {
        for served in self.0.into_iter().flatten() {
            served.server.stop().await;
        }
    }
}

/// The place of an interface of the configuration among the slots.
fn slot(id: &InterfaceId, steps: &[Step]) -> Option<InterfaceId> {
    Some(InterfaceId(steps.get(id.0)?.slot()))
}

fn dhcp_config(config: &LabConfig, steps: &[Step], ports: &[u16]) -> DhcpConfig {
    let nowhere = Ipv4Addr::UNSPECIFIED;
    let mut dhcp = DhcpConfig::new(nowhere, 0, nowhere..=nowhere);
    let slots = steps.iter().map(|step| step.slot() + 1).max();
    let empty = InterfaceConfig {
        name: String::new(),
        address: nowhere,
        prefix_len: 0,
        mode: DhcpMode::Off,
        http_port: 80,
    };
    dhcp.interfaces = vec![empty; slots.unwrap_or_default()];
    for ((interface, step), port) in config.interfaces.iter().zip(steps).zip(ports) {
        if let Some(place) = dhcp.interfaces.get_mut(step.slot()) {
            *place = InterfaceConfig {
                name: interface.name.clone(),
                address: interface.server.server_ip,
                prefix_len: interface.server.prefix_len,
                mode: interface.dhcp,
                http_port: *port,
            };
        }
    }
    dhcp.subnets.clone_from(&config.subnets);
    for subnet in &mut dhcp.subnets {
        let slots = subnet.interfaces.iter().filter_map(|id| slot(id, steps));
        subnet.interfaces = slots.collect();
    }
    dhcp.authoritative = config.authoritative;
    dhcp.architectures = config.architectures.clone();
    dhcp.limits = config.dhcp_limits.clone();
    dhcp
}

/// The DHCPv6 server of the interfaces that are served over IPv6.
fn dhcp6(config: &LabConfig, steps: &[Step], ports: &[u16]) -> Option<dhcp6::Responder> {
    let numbered = config
        .interfaces
        .iter()
        .zip(steps)
        .map(|(interface, step)| {
            let mut server = interface.server.clone();
            server.interface = InterfaceId(step.slot());
            server
        });
    let numbered: Vec<ServerConfig> = numbered.collect();
    let interfaces = numbered.iter().zip(ports.iter().copied());
    dhcp6_responder(
        &interfaces.collect::<Vec<_>>(),
        config.relayed6.clone(),
        config.architectures.clone(),
        config.authoritative,
        config.dhcp_limits.clone(),
    )
}

/// Networks whose addresses nobody else gives out.
#[derive(Debug, Default)]
pub(super) struct Leased {
    v4: Vec<SubnetConfig>,
    v6: Vec<dhcp6::SubnetConfig>,
}

impl Leased {
    pub(super) fn of(config: &LabConfig) -> Self {
        let full = |id: &InterfaceId| {
            let interface = config.interfaces.get(id.0);
            interface.is_some_and(|interface| interface.dhcp == DhcpMode::Full)
        };
        let v4 = config.subnets.iter();
        let v4 = v4.filter(|subnet| config.authoritative && subnet.interfaces.iter().any(full));
        let own = config.interfaces.iter().filter_map(|interface| {
            let ip6 = interface.server.ip6.as_ref().filter(|ip6| ip6.dhcp)?;
            ip6.subnet.as_ref()
        });
        let v6 = own.chain(&config.relayed6);
        let v6 = v6.filter(|subnet| config.authoritative && subnet.range.is_some());
        Self {
            v4: v4.cloned().collect(),
            v6: v6.cloned().collect(),
        }
    }

    /// Whether an address is one that only this server gives out.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.iter().any(|subnet| subnet.contains(ip)),
            // Boot loaders' link-local addresses tell their hardware address; others are no machine's.
            IpAddr::V6(ip) if ip.is_unicast_link_local() => !self.v6.is_empty(),
            IpAddr::V6(ip) => self.v6.iter().any(|subnet| subnet.contains(ip)),
        }
    }
}

/// The lease table of before and after: what the store has of subnets that are new.
pub(super) fn reconfigure(
    shared: &Shared,
    dhcp: DhcpConfig,
    dhcp6: Option<dhcp6::Responder>,
    stored: &[bootgate_api::Lease],
) {
    let now = shared.now();
    {
        let mut responder = shared.responder();
        let before = responder.config().subnets.clone();
        responder.reconfigure(now, dhcp);
        let new = crate::shared::entries(stored);
        let new = new.filter(|entry| !before.iter().any(|subnet| subnet.contains(entry.ip)));
        responder.restore(now, new.collect::<Vec<_>>());
    }
    let mut responder6 = shared.responder6();
    let Some(mut after) = dhcp6 else {
        *responder6 = None;
        return;
    };
    let before = responder6.take();
    let known = |entry: &dhcp6::LeaseEntry| {
        let subnets = before.iter().flat_map(|before| &before.config().subnets);
        subnets.into_iter().any(|subnet| subnet.contains(entry.ip))
    };
    let new: Vec<_> = crate::dhcp6::entries(stored)
        .filter(|entry| !known(entry))
        .collect();
    after = match before {
        Some(mut before) => {
            before.reconfigure(now, after);
            before
        }
        None => after,
    };
    after.restore(now, new);
    *responder6 = Some(after);
}
