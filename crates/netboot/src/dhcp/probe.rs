//! Messages of a client that only looks at what servers answer, and how this project's server knows it again.

use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

use super::ClientFacts;
use super::options::{code, message};
use super::wire::{Header, REQUEST, Writer};

/// Options asked for: what a boot needs, and what tells a server's configuration.
const WANTED: [u8; 12] = [
    code::NETMASK,
    code::ROUTERS,
    code::DNS,
    code::DOMAIN,
    code::MTU,
    code::BROADCAST,
    code::VENDOR_INFO,
    code::LEASE_TIME,
    code::SERVER_ID,
    code::VENDOR_CLASS,
    code::TFTP_SERVER_NAME,
    code::BOOTFILE,
];
/// Longest reply taken.
const MAX_SIZE: u16 = 1472;

/// First bytes of every probe's hardware address: a locally administered one.
const STATION: [u8; 2] = [0x02, 0xb6];
/// What a probe that plays a boot client has before its hardware address in its machine identifier (option 97). Servers
/// hand that back and take no other notice of it, so that the probe is answered as the firmware it plays.
const MACHINE: [u8; 10] = *b"bootg-look";

/// A probe's hardware address, made up of that of the interface it is on: the same each time for the same `number`, so
/// that the leases that servers keep in mind for it stay few.
#[must_use]
pub fn station(interface: MacAddr, number: u8) -> MacAddr {
    let [_, _, c, d, e, f] = interface.0;
    let [a, b] = STATION;
    MacAddr([a, b, c, d, e, f ^ number])
}

/// Whether a client's message is that of a probe which plays a boot client. It is answered as any, and is nobody's
/// boot. Costs a look at two bytes for everybody else.
#[must_use]
pub fn is_probe(message: &[u8]) -> bool {
    let station = message.get(28..34).filter(|mac| mac.starts_with(&STATION));
    let Some(station) = station else {
        return false;
    };
    let facts = ClientFacts::parse(message).ok();
    let machine = facts.and_then(|facts| facts.machine_id);
    machine.is_some_and(|id| id[1..11] == MACHINE && id[11..] == *station)
}

/// A DISCOVER that asks for replies by broadcast. `class` is the vendor class (option 60), such as
/// `PXEClient:Arch:00007:UNDI:003001`, and `arch` the architecture of option 93, for a client that boots; both `None`
/// for an operating system. Offers to it need no answer: servers take them back by themselves.
#[must_use]
pub fn discover(xid: u32, mac: MacAddr, arch: Option<u16>, class: Option<&str>) -> Vec<u8> {
    let mut writer = client(xid, mac, message::DISCOVER, 0x8000);
    boot(&mut writer, mac, arch, class);
    writer.finish()
}

/// A REQUEST to a boot server's port 4011, as UEFI sends it after a proxy's offer (EDK2 `PxeBcRetryBinlOffer`):
/// `ip` is the client's address, or 0.0.0.0 for none. It asks for no lease, and gets none.
#[must_use]
pub fn request_4011(xid: u32, mac: MacAddr, arch: u16, ip: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    let mut writer = client(xid, mac, message::REQUEST, 0);
    writer.ciaddr(ip);
    writer.address(code::SERVER_ID, server);
    let class = format!("PXEClient:Arch:{arch:05}:UNDI:003001");
    boot(&mut writer, mac, Some(arch), Some(&class));
    writer.finish()
}

fn client(xid: u32, mac: MacAddr, kind: u8, flags: u16) -> Writer {
    let header = Header {
        op: REQUEST,
        xid,
        flags,
        giaddr: Ipv4Addr::UNSPECIFIED,
        mac,
    };
    let mut writer = Writer::new(&header, kind);
    writer.option(code::MAX_SIZE, &MAX_SIZE.to_be_bytes());
    writer.option(code::WANTED, &WANTED);
    writer
}

fn boot(writer: &mut Writer, mac: MacAddr, arch: Option<u16>, class: Option<&str>) {
    if let Some(class) = class {
        writer.option(code::VENDOR_CLASS, class.as_bytes());
    }
    let Some(arch) = arch else {
        return;
    };
    writer.option(code::ARCHITECTURES, &arch.to_be_bytes());
    writer.option(code::INTERFACE_ID, &[1, 3, 16]);
    let mut id = [0; 17];
    id[1..11].copy_from_slice(&MACHINE);
    id[11..].copy_from_slice(&mac.0);
    writer.option(code::MACHINE_ID, &id);
}
