//! One message, where it came in, and which subnet it is about.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::explain::Trace;
use super::{
    ClientFacts, DhcpConfig, DropReason, Dropped, InterfaceConfig, InterfaceId, MessageKind, Port,
    SubnetConfig, SubnetId,
};
use crate::policy::{Decision, MachineLookup};

/// One message and all that decides its answer, but for the lease table.
pub(super) struct Scene<'a> {
    pub(super) config: &'a DhcpConfig,
    pub(super) id: InterfaceId,
    pub(super) interface: &'a InterfaceConfig,
    pub(super) port: Port,
    pub(super) from: SocketAddrV4,
    pub(super) client: &'a ClientFacts,
    pub(super) decision: &'a Decision,
    /// Whether the machine was found among the known ones.
    pub(super) found: bool,
    pub(super) machines: &'a dyn MachineLookup,
}

impl<'a> Scene<'a> {
    /// Whether an address is this server's, on whichever interface.
    pub(super) fn is_own(&self, ip: Ipv4Addr) -> bool {
        self.config.interfaces.iter().any(|i| i.address == ip)
    }

    /// The server that the client means, where it is not this one.
    pub(super) fn other_server(&self) -> Option<Ipv4Addr> {
        self.client.server_id.filter(|ip| !self.is_own(*ip))
    }

    /// The address this server calls itself by (option 54): the interface's, or the one of its addresses that the
    /// client named, since iPXE and others drop an ACK from another than they asked.
    pub(super) fn server_id(&self) -> Ipv4Addr {
        let named = self.client.server_id.filter(|ip| self.is_own(*ip));
        named.unwrap_or(self.interface.address)
    }

    /// The subnet with this number.
    pub(super) fn subnet(&self, id: SubnetId) -> Option<&'a SubnetConfig> {
        self.config.subnets.get(id.0)
    }

    fn find(&self, fits: impl Fn(&SubnetConfig) -> bool) -> Option<SubnetId> {
        self.config.subnets.iter().position(fits).map(SubnetId)
    }

    /// The subnet that an address lies in.
    pub(super) fn subnet_of(&self, ip: Ipv4Addr) -> Option<SubnetId> {
        self.find(|subnet| subnet.contains(ip))
    }

    /// The subnet that the client is on. The relay's word for it (option 82 sub-option 5, RFC 3527 section 4) goes
    /// before the client's (option 118, RFC 3011 section 2), and that before the relay's address. A client that renews
    /// has an address that says it; of the subnets on an interface's own segment, the one that knows the client
    /// is chosen (`knows`).
    pub(super) fn choose_subnet(
        &self,
        knows: impl Fn(SubnetId) -> bool,
        trace: &mut Trace,
    ) -> Result<SubnetId, Dropped> {
        let client = self.client;
        let nowhere = |what: String| Dropped::new(DropReason::NoSubnet, what);
        let (found, why) = if let Some(link) = client.link {
            let found = self.subnet_of(link);
            let missing = || nowhere(format!("link selection `{link}` is of no subnet here"));
            (found.ok_or_else(missing)?, "the relay's link selection")
        } else if let Some(asked) = client.subnet {
            let found = self.subnet_of(asked);
            let missing = || nowhere(format!("subnet selection `{asked}` is of no subnet here"));
            (found.ok_or_else(missing)?, "the client's subnet selection")
        } else if !client.giaddr.is_unspecified() {
            let giaddr = client.giaddr;
            let found = self
                .find(|subnet| subnet.relays.contains(&giaddr))
                .or_else(|| self.subnet_of(giaddr));
            let missing = || {
                nowhere(format!(
                    "relay `{giaddr}` is on a network without a pool here"
                ))
            };
            (found.ok_or_else(missing)?, "the relay's address")
        } else if let Some(found) = self.renewed_subnet() {
            (found, "the address it has")
        } else {
            let found = self.direct_subnet(knows);
            let missing = || {
                let name = &self.interface.name;
                nowhere(format!("interface `{name}` has no subnet of its own here"))
            };
            (found.ok_or_else(missing)?, "the interface")
        };
        trace.step("subnet", || match self.subnet(found) {
            Some(subnet) => format!("`{subnet}`, by {why}"),
            None => why.to_owned(),
        });
        Ok(found)
    }

    /// The subnet of the address that the client has already, unless it is the segment of another interface: then
    /// the client was moved, and its address does not work where it is now.
    fn renewed_subnet(&self) -> Option<SubnetId> {
        let ciaddr = self.client.ciaddr;
        if ciaddr.is_unspecified() || self.client.message == MessageKind::Discover {
            return None;
        }
        self.find(|subnet| {
            let here = subnet.interfaces.is_empty() || subnet.interfaces.contains(&self.id);
            here && subnet.contains(ciaddr)
        })
    }

    fn direct_subnet(&self, knows: impl Fn(SubnetId) -> bool) -> Option<SubnetId> {
        let direct = |subnet: &SubnetConfig| subnet.interfaces.contains(&self.id);
        let all = || {
            let subnets = self.config.subnets.iter().enumerate();
            subnets.filter(|(_, subnet)| direct(subnet))
        };
        let asked = self.client.requested;
        all()
            .find(|(id, _)| knows(SubnetId(*id)))
            .or_else(|| all().find(|(_, subnet)| asked.is_some_and(|ip| subnet.contains(ip))))
            .or_else(|| all().next())
            .map(|(id, _)| SubnetId(id))
    }
}
