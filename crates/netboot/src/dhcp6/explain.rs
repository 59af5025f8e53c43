//! Why a client gets its reply.

use std::net::SocketAddrV6;

use bootgate_api::{ExplainStep, Explanation, LeaseState};
use bootgate_events::MacAddr;

use super::lease::{Owner, Wish};
use super::options::{Writer, code};
use super::relay::forwarded;
use super::reply::{IaReply, Kind, Making};
use super::responder::{NO_ADDRESS, Responder, Table, dropped};

use super::{CLIENT_PORT, ClientFacts, Datagram, MessageKind, Reply, SERVER_PORT};
use crate::Time;
use crate::dhcp::{Asked, DropReason, Dropped, SubnetId, who};
use crate::policy::{Loader, MachineLookup};

/// Intel's enterprise number, which EDK2 and iPXE send with their class.
const ENTERPRISE: [u8; 4] = 343_u32.to_be_bytes();

/// The message that such a client would send: `SOLICIT` (1) or `INFORMATION-REQUEST` (11).
fn packet(asked: &Asked, message: u8, owner: &Owner) -> Vec<u8> {
    let mut writer = Writer(vec![message, 0, 0, 0]);
    writer.put(code::CLIENT_ID, &owner.duid);
    let mut association = owner.iaid.to_be_bytes().to_vec();
    association.resize(12, 0);
    writer.put(code::IA_NA, &association);
    if let Some(class) = &asked.user_class {
        let mut value = Writer::default();
        value.number(class.len());
        value.0.extend(class.as_bytes());
        writer.put(code::USER_CLASS, &value.0);
    }
    if let Some(class) = &asked.class {
        let mut value = Writer(ENTERPRISE.to_vec());
        value.number(class.len());
        value.0.extend(class.as_bytes());
        writer.put(code::VENDOR_CLASS, &value.0);
    }
    let architectures = asked.architectures.iter();
    let codes: Vec<u8> = architectures.flat_map(|code| code.to_be_bytes()).collect();
    if !codes.is_empty() {
        writer.put(code::ARCHITECTURES, &codes);
    }
    writer.0
}

/// A client that is known by its hardware address alone (DUID-LL, RFC 8415 section 11.4).
fn unknown_client(mac: MacAddr) -> Owner {
    Owner {
        duid: [&[0, 3, 0, 1][..], &mac.0].concat(),
        iaid: 1,
    }
}

impl Responder {
    /// Says why a client on the interface's own link, or behind a relay on another ([`Asked::link`]), would get its
    /// reply to its first message: by the same rules as [`Responder::handle`], and without any change of state. Of what
    /// a relay adds only its link address is looked at. A client of
    /// DHCPv6 is named by its DUID, which nobody knows by the hardware address: it is taken for the one that had this
    /// machine's latest lease, or else for a new one.
    #[must_use]
    pub fn explain(&self, now: Time, asked: &Asked, machines: &dyn MachineLookup) -> Explanation {
        let mut steps = Vec::new();
        let outcome = match self.walk(now, asked, machines, &mut steps) {
            Ok(reply) => in_words(&reply),
            Err(dropped) => format!("no reply ({}): {dropped}", dropped.reason),
        };
        Explanation { steps, outcome }
    }

    fn walk(
        &self,
        now: Time,
        asked: &Asked,
        machines: &dyn MachineLookup,
        steps: &mut Vec<ExplainStep>,
    ) -> Result<Reply, Dropped> {
        let mut step = |about: &str, found: String| {
            let about = about.to_owned();
            steps.push(ExplainStep { about, found });
        };
        let mut interfaces = self.config().interfaces.iter();
        let interface = interfaces
            .find(|interface| interface.id == asked.interface)
            .ok_or_else(|| dropped(DropReason::Off, "DHCPv6 is not served on this interface"))?;
        let client_ip = crate::ra::link_local(asked.mac.0);
        let from = match asked.link {
            Some(relay) => SocketAddrV6::new(relay, SERVER_PORT, 0, 0),
            None => SocketAddrV6::new(client_ip, CLIENT_PORT, 0, 0),
        };
        let heard = |bytes| Datagram {
            bytes,
            interface: asked.interface,
            from,
        };
        let read = |bytes: &[u8]| {
            let client = ClientFacts::parse(bytes, *from.ip());
            client.map_err(|error| dropped(error.reason(), error.to_string()))
        };
        let link = |subnet: SubnetId| &self.config().subnets[subnet.0];
        let packet = |message, owner: &Owner| {
            let message = packet(asked, message, owner);
            match asked.link {
                Some(link) => forwarded(link, client_ip, &message),
                None => message,
            }
        };
        let first = packet(1, &unknown_client(asked.mac));
        let subnet = self.subnet_of(&heard(&first), &read(&first)?);
        let owner = subnet.and_then(|subnet| self.latest_owner(subnet, asked.mac));
        let known = owner.is_some();
        let owner = owner.unwrap_or_else(|| unknown_client(asked.mac));
        let serves = subnet.is_some_and(|subnet| self.tables[subnet.0].pool.serves());
        let kind = if serves || subnet.is_none() { 1 } else { 11 };
        let bytes = packet(kind, &owner);
        let (datagram, client) = (heard(&bytes), read(&bytes)?);
        if !self.rates.would_allow(now, &client.mac) {
            let why = "this client sends more than is answered";
            return Err(dropped(DropReason::RateLimited, why));
        }
        let decision = self.decision(&client, machines, interface);
        step("loader", who(&client.for_policy(), decision.loader));
        if decision.loader != Loader::Os {
            let machine = machines.machine(&client.mac);
            step(
                "machine",
                machine.map_or_else(|| "unknown".to_owned(), |machine| machine.note),
            );
        }
        if let Some(code) = decision.architecture {
            let name = self.config().architectures.name(code);
            step("architecture", format!("`{code}`, {name}"));
        }
        step(
            "boot",
            match decision.boot.name() {
                Some(name) => format!("`{name}`: {}", decision.reason),
                None => decision.reason.to_string(),
            },
        );
        let subnet = subnet.ok_or_else(|| {
            let words = "no prefix of ours is on the client's link";
            dropped(DropReason::NoSubnet, words)
        })?;
        let by = match asked.link {
            Some(_) => "the relay's link address",
            None => "the interface",
        };
        step("prefix", format!("`{}`, by {by}", link(subnet)));
        let (kind, associations) = match client.message {
            MessageKind::Solicit => {
                let ia = self.would_assign(subnet, &owner, asked.mac, machines);
                step(
                    "lease",
                    match ia.address {
                        Some(ip) if known => format!("`{ip}`, by its latest DUID here"),
                        Some(ip) => format!("`{ip}`, or another for a client with another DUID"),
                        None => "none: no address is free".to_owned(),
                    },
                );
                (Kind::Advertise, vec![ia])
            }
            _ => {
                let words = "addresses of this link come from elsewhere; it asks for the rest";
                step("lease", words.to_owned());
                (Kind::Parameters, Vec::new())
            }
        };
        let making = Making {
            config: self.config(),
            interface,
            subnet: link(subnet),
            datagram: &datagram,
            client: &client,
            decision: &decision,
        };
        Ok(making.reply(kind, &associations))
    }

    /// The address that a client would be offered.
    fn would_assign(
        &self,
        subnet: SubnetId,
        owner: &Owner,
        mac: MacAddr,
        machines: &dyn MachineLookup,
    ) -> IaReply {
        let Table { pool, leases } = &self.tables[subnet.0];
        let wish = Wish {
            owner,
            mac,
            known: pool.is_tight(leases) && machines.is_known(&mac),
        };
        let address = pool.choose(leases, wish, &[], &[]);
        IaReply {
            iaid: owner.iaid,
            address,
            status: address.is_none().then_some(NO_ADDRESS),
            ..IaReply::default()
        }
    }

    /// The client that had this machine's latest lease.
    fn latest_owner(&self, subnet: SubnetId, mac: MacAddr) -> Option<Owner> {
        let leases = self.tables[subnet.0].leases.iter();
        let own = leases
            .filter(|(_, binding)| binding.mac == mac && binding.state != LeaseState::Quarantined);
        let latest = own.max_by_key(|(ip, binding)| (binding.ends, *ip));
        latest.map(|(_, binding)| binding.owner.clone())
    }
}

fn in_words(reply: &Reply) -> String {
    let facts = &reply.facts;
    let address = facts.address.map(|ip| format!(" of `{ip}`"));
    let address = address.unwrap_or_default();
    match &facts.bootfile {
        Some(url) => format!("{}{address} with bootfile-url `{url}`", facts.message),
        None => format!("{}{address} without a bootfile-url", facts.message),
    }
}
