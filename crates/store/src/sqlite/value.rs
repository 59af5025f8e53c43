//! How values stand in columns.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bootgate_api::{LeaseState, UnixMicros};
use bootgate_events::MacAddr;

use super::fault::Fault;

/// An address, so that bytes sort as [`IpAddr`] does: its family, 4 or 6, and then the address.
pub(super) fn from_ip(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => [&[4], ip.octets().as_slice()].concat(),
        IpAddr::V6(ip) => [&[6], ip.octets().as_slice()].concat(),
    }
}

pub(super) fn to_ip(bytes: &[u8]) -> Result<IpAddr, Fault> {
    let strange = || Fault::Other(format!("an address in it cannot be read: {bytes:02x?}"));
    let (family, octets) = bytes.split_first().ok_or_else(strange)?;
    let v4 = || <[u8; 4]>::try_from(octets).map(|octets| Ipv4Addr::from(octets).into());
    let v6 = || <[u8; 16]>::try_from(octets).map(|octets| Ipv6Addr::from(octets).into());
    match family {
        4 => v4().map_err(|_| strange()),
        6 => v6().map_err(|_| strange()),
        _ => Err(strange()),
    }
}

pub(super) fn to_mac(bytes: &[u8]) -> Result<MacAddr, Fault> {
    let octets = bytes.try_into().map_err(|_| {
        Fault::Other(format!(
            "a hardware address in it cannot be read: {bytes:02x?}"
        ))
    })?;
    Ok(MacAddr(octets))
}

/// Never is the largest integer.
pub(super) fn from_time(time: UnixMicros) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

pub(super) fn to_time(micros: i64) -> UnixMicros {
    match micros {
        i64::MAX => UnixMicros(u64::MAX),
        micros => UnixMicros(u64::try_from(micros).unwrap_or(0)),
    }
}

/// Numbers that SQLite cannot hold are beyond all that are in it.
pub(super) fn from_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn to_number(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

pub(super) fn from_state(state: LeaseState) -> i64 {
    match state {
        LeaseState::Leased => 0,
        LeaseState::Ended => 1,
        LeaseState::Quarantined => 2,
    }
}

pub(super) fn to_state(state: i64) -> Result<LeaseState, Fault> {
    match state {
        0 => Ok(LeaseState::Leased),
        1 => Ok(LeaseState::Ended),
        2 => Ok(LeaseState::Quarantined),
        _ => Err(Fault::Other(format!("a lease in it has state `{state}`"))),
    }
}
