//! The server's messages.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use bootgate_events::DhcpFacts;

use super::options::{Writer, code};
use super::{
    CLIENT_PORT, ClientFacts, Datagram, DhcpConfig, InterfaceConfig, Reply, SERVER_PORT,
    SubnetConfig, relay,
};
use crate::policy::{Boot, Decision, Loader};

const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;
/// Well-known port of TFTP, which URLs leave out.
const TFTP: u16 = 69;
/// How long a client that asked for parameters alone may rely on them (RFC 8415 section 7.6, `IRT_DEFAULT`: a day).
const REFRESH: u32 = 86_400;

/// Status codes (RFC 8415 section 21.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Success = 0,
    NoAddrsAvail = 2,
    NoBinding = 3,
    NotOnLink = 4,
    NoPrefixAvail = 6,
}

/// A status code and its words.
pub(super) type Said = (Status, &'static str);

/// What becomes of one identity association.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct IaReply {
    pub(super) iaid: u32,
    /// The address that the client gets.
    pub(super) address: Option<Ipv6Addr>,
    /// Addresses that the client must not use any more.
    pub(super) gone: Vec<Ipv6Addr>,
    pub(super) status: Option<Said>,
}

/// What kind of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Advertise,
    /// The answer to REQUEST, RENEW and REBIND.
    Leases,
    /// The answer to a SOLICIT that takes one at once.
    RapidCommit,
    /// The answer to INFORMATION-REQUEST.
    Parameters,
    /// The answer to CONFIRM, RELEASE and DECLINE: a status and nothing to configure.
    Status(Said),
}

/// All that replies are made of.
pub(super) struct Making<'a> {
    pub(super) config: &'a DhcpConfig,
    pub(super) interface: &'a InterfaceConfig,
    pub(super) subnet: &'a SubnetConfig,
    pub(super) datagram: &'a Datagram<'a>,
    pub(super) client: &'a ClientFacts,
    pub(super) decision: &'a Decision,
}

impl Making<'_> {
    /// Builds a reply.
    pub(super) fn reply(&self, kind: Kind, associations: &[IaReply]) -> Reply {
        let client = self.client;
        let (number, name) = match kind {
            Kind::Advertise => (ADVERTISE, "advertise"),
            _ => (REPLY, "reply"),
        };
        let [_, xid @ ..] = client.xid.to_be_bytes();
        let mut writer = Writer([&[number][..], &xid].concat());
        if let Some(duid) = &client.duid {
            writer.put(code::CLIENT_ID, duid);
        }
        writer.put(code::SERVER_ID, &self.config.duid);
        for ia in associations {
            writer.put(code::IA_NA, &self.association(ia));
        }
        let mut url = None;
        match kind {
            Kind::Status(said) => writer.put(code::STATUS, &status(said)),
            _ => {
                self.refuse_others(&mut writer, kind);
                url = self.parameters(&mut writer, kind);
            }
        }
        let address = associations.iter().find_map(|ia| ia.address);
        let facts = DhcpFacts {
            message: name.to_owned(),
            xid: client.xid,
            address: address.map(IpAddr::V6),
            bootfile: url,
            loader: self.decision.loader.as_str().to_owned(),
            ..DhcpFacts::default()
        };
        Reply {
            bytes: relay::wrap(&client.relays, writer.0),
            interface: self.datagram.interface,
            to: self.destination(),
            mac: client.mac,
            facts,
            reason: self.reason(kind, associations),
        }
    }

    /// The value of an IA_NA: its number, when to renew (half of the lease) and rebind (four fifths), addresses with
    /// their lifetimes, and how it stands.
    fn association(&self, ia: &IaReply) -> Vec<u8> {
        let lease = seconds(self.subnet.lease);
        let mut writer = Writer(ia.iaid.to_be_bytes().to_vec());
        let (renew, rebind) = match ia.address {
            Some(_) => (lease / 2, lease - lease / 5),
            None => (0, 0),
        };
        writer.0.extend(renew.to_be_bytes());
        writer.0.extend(rebind.to_be_bytes());
        let gone = ia.gone.iter().map(|ip| (*ip, 0));
        for (ip, lifetime) in ia.address.map(|ip| (ip, lease)).into_iter().chain(gone) {
            let lifetime = lifetime.to_be_bytes();
            let value = [&ip.octets()[..], &lifetime, &lifetime].concat();
            writer.put(code::IA_ADDR, &value);
        }
        if let Some(said) = ia.status {
            writer.put(code::STATUS, &status(said));
        }
        writer.0
    }

    /// Temporary addresses and prefixes are given out by nobody here; a client that asks is told so in the association
    /// itself (RFC 8415 section 18.3).
    fn refuse_others(&self, writer: &mut Writer, kind: Kind) {
        if kind == Kind::Parameters {
            return;
        }
        let mut refuse = |code, iaid: u32, times: usize, said| {
            let mut inner = Writer(iaid.to_be_bytes().to_vec());
            inner.0.resize(4 + times, 0);
            inner.put(code::STATUS, &status(said));
            writer.put(code, &inner.0);
        };
        for iaid in &self.client.temporary {
            let said = (Status::NoAddrsAvail, "no temporary addresses here");
            refuse(code::IA_TA, *iaid, 0, said);
        }
        for iaid in &self.client.prefixes {
            let said = (Status::NoPrefixAvail, "no prefixes here");
            refuse(code::IA_PD, *iaid, 8, said);
        }
    }

    /// Everything but addresses. Gives the URL to boot, where there is one.
    fn parameters(&self, writer: &mut Writer, kind: Kind) -> Option<String> {
        let client = self.client;
        match kind {
            // A preference of 0 is what none means.
            Kind::Advertise if self.config.preference > 0 => {
                writer.put(code::PREFERENCE, &[self.config.preference]);
            }
            Kind::RapidCommit => writer.put(code::RAPID_COMMIT, &[]),
            Kind::Parameters if client.wants(code::REFRESH_TIME) => {
                writer.put(code::REFRESH_TIME, &REFRESH.to_be_bytes());
            }
            _ => {}
        }
        let loader = self.decision.loader != Loader::Os;
        if !self.subnet.dns.is_empty() && (loader || client.wants(code::DNS)) {
            let servers: Vec<_> = self.subnet.dns.iter().map(Ipv6Addr::octets).collect();
            writer.put(code::DNS, servers.as_flattened());
        }
        let search = domains(&self.subnet.search);
        if !search.is_empty() && client.wants(code::SEARCH) {
            writer.put(code::SEARCH, &search);
        }
        let url = self.boot_url()?;
        writer.put(code::BOOTFILE_URL, url.as_bytes());
        if !self.config.boot_params.is_empty() {
            let mut params = Writer::default();
            for param in &self.config.boot_params {
                params.number(param.len());
                params.0.extend(param.as_bytes());
            }
            writer.put(code::BOOTFILE_PARAM, &params.0);
        }
        // UEFI HTTP Boot drops offers without it (UEFI 2.10 section 24.7.2, EDK2's `HttpBootDhcp6.c`).
        if let Some((enterprise, class)) = &client.vendor_class
            && class.starts_with(b"HTTPClient")
        {
            let mut value = Writer(enterprise.to_be_bytes().to_vec());
            value.number(b"HTTPClient".len());
            value.0.extend(b"HTTPClient");
            writer.put(code::VENDOR_CLASS, &value.0);
        }
        Some(url)
    }

    /// What there is to boot is always told by a URL here (RFC 5970 section 3.1), TFTP too, and with the server's address
    /// in brackets.
    fn boot_url(&self) -> Option<String> {
        match &self.decision.boot {
            Boot::Tftp(name) if name.contains("://") => Some(name.clone()),
            Boot::Tftp(name) => {
                let InterfaceConfig {
                    address, tftp_port, ..
                } = self.interface;
                let name = name.trim_start_matches('/');
                Some(match *tftp_port {
                    TFTP => format!("tftp://[{address}]/{name}"),
                    port => format!("tftp://[{address}]:{port}/{name}"),
                })
            }
            Boot::Http(url) | Boot::Script(url) => Some(url.clone()),
            Boot::Nothing | Boot::NextServer | Boot::RaspberryPi | Boot::Refuse => None,
        }
    }

    /// To the client's own port, or to the relay: to its server port, unless it says that it uses another (RFC 8357).
    fn destination(&self) -> SocketAddrV6 {
        let from = self.datagram.from;
        let port = match self.client.relays.first() {
            None => CLIENT_PORT,
            Some(relay) if relay.relay_port => from.port(),
            Some(_) => SERVER_PORT,
        };
        SocketAddrV6::new(*from.ip(), port, 0, from.scope_id())
    }

    fn reason(&self, kind: Kind, associations: &[IaReply]) -> Cow<'static, str> {
        if let Kind::Status((_, words)) = kind {
            return words.into();
        }
        let refused = associations.iter().find_map(|ia| ia.status);
        let reason = match refused {
            Some((_, words)) => Cow::Owned(format!("{words}; {}", self.decision.reason)),
            None => self.decision.reason.clone(),
        };
        match self.client.oddities.as_slice() {
            [] => reason,
            odd => format!("{reason} (ignored: {})", odd.join(", ")).into(),
        }
    }
}

fn status((status, words): Said) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.number(status as usize);
    writer.0.extend(words.as_bytes());
    writer.0
}

/// A time in seconds; all ones would mean "for ever" (RFC 8415 section 7.7).
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs())
        .unwrap_or(u32::MAX)
        .min(u32::MAX - 1)
}

/// Domain names as DNS writes them, uncompressed (RFC 8415 section 10).
fn domains(names: &[String]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for name in names {
        let labels: Vec<_> = name.trim_end_matches('.').split('.').collect();
        let fits = |label: &&str| (1..64).contains(&label.len());
        if name.len() > 253 || !labels.iter().all(fits) {
            continue;
        }
        for label in labels {
            bytes.extend(u8::try_from(label.len()));
            bytes.extend(label.as_bytes());
        }
        bytes.push(0);
    }
    bytes
}
