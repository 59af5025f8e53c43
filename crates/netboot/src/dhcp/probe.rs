//! Messages of a client that only looks at what servers answer.

use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

/// A DISCOVER that asks for replies by broadcast. `class` is the vendor class (option 60), such as
/// `PXEClient:Arch:00007:UNDI:003001`, and `arch` the architecture of option 93, for a client that boots; both `None`
/// for an operating system.
#[must_use]
pub fn discover(xid: u32, mac: MacAddr, arch: Option<u16>, class: Option<&str>) -> Vec<u8> {
    let _ = (xid, mac, arch, class);
    Vec::new()
}

/// A REQUEST to a boot server's port 4011, as UEFI sends it after a proxy's offer (EDK2 `PxeBcRetryBinlOffer`):
/// `ip` is the client's address, or 0.0.0.0 for none.
#[must_use]
pub fn request_4011(xid: u32, mac: MacAddr, arch: u16, ip: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
    let _ = (xid, mac, arch, ip, server);
    Vec::new()
}
