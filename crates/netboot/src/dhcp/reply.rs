//! The server's messages, encoded by `dhcproto`.

use std::net::{IpAddr, Ipv4Addr};

use bootgate_events::DhcpFacts;
use dhcproto::v4::{
    DhcpOption, Flags, HType, Message, MessageType, Opcode, OptionCode, UnknownOption,
};
use dhcproto::{Encodable, Encoder};

use super::options::code;
use super::responder::Net;
use super::{ClientFacts, Destination, InterfaceId, Reply, SERVER_PORT};
use crate::policy::{Decision, Loader, arch};

/// Old relays and ROMs drop shorter messages: the size of a BOOTP message (RFC 1542 section 2.1).
const MIN_SIZE: usize = 300;
/// Room for a bootfile in the `file` field, which a NUL ends.
const MAX_FILE: usize = 127;
/// iPXE's encapsulated option "no-pxedhcp", value 1: do not wait for proxyDHCP offers (two seconds a DHCP).
const IPXE_NO_PROXY: [u8; 3] = [176, 1, 1];
/// PXE 2.1 discovery control (option 43, sub-option 6), bit 3: boot the file named here, without menu, prompt or
/// discovery of boot servers.
const PXE_USE_BOOTFILE: [u8; 4] = [6, 1, 8, 255];

/// What kind of reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Offer(Ipv4Addr),
    /// An acknowledged lease.
    Ack(Ipv4Addr),
    /// The answer to INFORM: parameters, no address and no lease.
    AckInform,
}

/// Builds an OFFER or ACK.
pub(super) fn configure(
    config: &Net,
    client: &ClientFacts,
    decision: &Decision,
    kind: Kind,
) -> Result<Reply, String> {
    let (message_type, name, yiaddr) = match kind {
        Kind::Offer(ip) => (MessageType::Offer, "offer", ip),
        Kind::Ack(ip) => (MessageType::Ack, "ack", ip),
        Kind::AckInform => (MessageType::Ack, "ack", Ipv4Addr::UNSPECIFIED),
    };
    let mut message = answer(config, client, message_type);
    message.set_yiaddr(yiaddr);
    // RFC 2131 table 3: an ACK repeats the client's own address.
    if name == "ack" {
        message.set_ciaddr(client.ciaddr);
    }
    let options = message.opts_mut();
    options.insert(DhcpOption::SubnetMask(config.netmask()));
    options.insert(DhcpOption::BroadcastAddr(config.broadcast()));
    if let Some(router) = config.router {
        options.insert(DhcpOption::Router(vec![router]));
    }
    if kind != Kind::AckInform {
        let lease = u32::try_from(config.lease.as_secs()).unwrap_or(u32::MAX);
        options.insert(DhcpOption::AddressLeaseTime(lease));
        options.insert(DhcpOption::Renewal(lease / 2));
        options.insert(DhcpOption::Rebinding(lease - lease / 8));
    }
    if let Some(id) = client.machine_id {
        insert_raw(&mut message, code::MACHINE_ID, id.to_vec());
    }
    add_boot(&mut message, config, client, decision);
    let address = match kind {
        Kind::AckInform => client.ciaddr,
        _ => yiaddr,
    };
    let facts = DhcpFacts {
        message: name.to_owned(),
        xid: client.xid,
        address: Some(IpAddr::V4(address)),
        bootfile: decision.boot.name().map(str::to_owned),
        loader: decision.loader.as_str().to_owned(),
        ..DhcpFacts::default()
    };
    let reason = match client.oddities.as_slice() {
        [] => decision.reason.clone(),
        odd => format!("{} (ignored: {})", decision.reason, odd.join(", ")).into(),
    };
    Ok(Reply {
        bytes: encode(&message)?,
        interface: InterfaceId(0),
        from: config.server_ip,
        from_port: SERVER_PORT,
        to: destination(client, yiaddr),
        mac: client.mac,
        facts,
        reason,
    })
}

/// Builds a NAK. It goes out by broadcast, since the client's address is what is wrong with it; a relay is told to
/// broadcast it by the flag (RFC 2131 section 4.3.2).
pub(super) fn refuse(
    config: &Net,
    client: &ClientFacts,
    loader: Loader,
    address: Ipv4Addr,
    reason: String,
) -> Result<Reply, String> {
    let mut message = answer(config, client, MessageType::Nak);
    message.set_flags(Flags::new(client.flags).set_broadcast());
    message
        .opts_mut()
        .insert(DhcpOption::Message(reason.clone()));
    let to = if client.giaddr.is_unspecified() {
        Destination::Broadcast
    } else {
        Destination::Relay(client.giaddr)
    };
    let facts = DhcpFacts {
        message: "nak".to_owned(),
        xid: client.xid,
        address: Some(IpAddr::V4(address)),
        loader: loader.as_str().to_owned(),
        ..DhcpFacts::default()
    };
    let bytes = encode(&message)?;
    Ok(Reply {
        bytes,
        interface: InterfaceId(0),
        from: config.server_ip,
        from_port: SERVER_PORT,
        to,
        mac: client.mac,
        facts,
        reason: reason.into(),
    })
}

/// What all replies have in common: the client's ids come back (option 61 by RFC 6842, option 82 by RFC 3046).
fn answer(config: &Net, client: &ClientFacts, message_type: MessageType) -> Message {
    let none = Ipv4Addr::UNSPECIFIED;
    let mut message =
        Message::new_with_id(client.xid, none, none, none, client.giaddr, &client.mac.0);
    message
        .set_opcode(Opcode::BootReply)
        .set_htype(HType::Eth)
        .set_flags(Flags::new(client.flags));
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(message_type));
    options.insert(DhcpOption::ServerIdentifier(config.server_ip));
    for (code, value) in [
        (code::CLIENT_ID, &client.client_id),
        (code::RELAY_INFO, &client.relay_info),
    ] {
        if let Some(value) = value {
            insert_raw(&mut message, code, value.clone());
        }
    }
    message
}

/// Adds what there is to boot.
///
/// - Option 60 "PXEClient" goes to BIOS PXE ROMs only, together with option 43 = {6: 8}, so that they take the
///   bootfile at once. EDK2 takes an offer with option 60 and without option 43 for a boot server discovery and asks on
///   port 4011; without option 60 it takes the bootfile as it is, and waits no longer for it.
/// - Option 67 ends with a NUL for firmware: EDK2 writes one behind the value otherwise, over the next option's code.
/// - iPXE gets "no proxyDHCP" whether or not there is something to boot.
fn add_boot(message: &mut Message, config: &Net, client: &ClientFacts, decision: &Decision) {
    if decision.loader.is_ipxe() {
        insert_raw(message, code::IPXE, IPXE_NO_PROXY.to_vec());
    }
    let Some(name) = decision.boot.name() else {
        return;
    };
    message.set_siaddr(config.server_ip);
    if name.len() <= MAX_FILE {
        message.set_fname(name.as_bytes());
    }
    let server = config.server_ip.to_string().into_bytes();
    insert_raw(message, code::TFTP_SERVER_NAME, server);
    let mut bootfile = name.as_bytes().to_vec();
    if decision.loader == Loader::Firmware {
        bootfile.push(0);
        let bios = client.architectures.first() == Some(&arch::BIOS);
        if bios && client.vendor_class_is("PXEClient") {
            insert_raw(message, code::VENDOR_CLASS, b"PXEClient".to_vec());
            insert_raw(message, code::VENDOR_INFO, PXE_USE_BOOTFILE.to_vec());
        }
    }
    insert_raw(message, code::BOOTFILE, bootfile);
}

/// Where a reply that is not a NAK goes (RFC 2131 section 4.1).
fn destination(client: &ClientFacts, yiaddr: Ipv4Addr) -> Destination {
    if !client.giaddr.is_unspecified() {
        Destination::Relay(client.giaddr)
    } else if !client.ciaddr.is_unspecified() {
        Destination::Unicast { ip: client.ciaddr }
    } else if client.wants_broadcast() || yiaddr.is_unspecified() {
        Destination::Broadcast
    } else {
        Destination::UnicastTo {
            ip: yiaddr,
            mac: client.mac,
        }
    }
}

/// Inserts an option by its bytes: what `dhcproto` has no exact type for, or must not interpret.
fn insert_raw(message: &mut Message, code: u8, value: Vec<u8>) {
    let option = UnknownOption::new(OptionCode::from(code), value);
    message.opts_mut().insert(DhcpOption::Unknown(option));
}

fn encode(message: &Message) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(MIN_SIZE);
    message
        .encode(&mut Encoder::new(&mut bytes))
        .map_err(|error| format!("encode DHCP reply: {error}"))?;
    if bytes.len() < MIN_SIZE {
        bytes.resize(MIN_SIZE, code::PAD);
    }
    Ok(bytes)
}
