//! Messages to and from the kernel: netlink(7), rtnetlink(7).

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with,
};

/// Kernel messages are a few kilobytes at most.
const MESSAGE: usize = 16 << 10;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_REPLACE: u16 = 0x100;
pub(super) const NLM_F_EXCL: u16 = 0x200;
pub(super) const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
pub(super) const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const IFF_UP: u32 = 1;
/// `linux/if_addr.h`: address, local address, broadcast address.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// `linux/rtnetlink.h`.
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_BOOT: u8 = 3;
const RTN_UNICAST: u8 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// `linux/if_addr.h`: the address is used at once. A server gave it out, and nobody else has it.
const IFA_F_NODAD: u8 = 2;

/// A socket on which the kernel tells what happens.
#[derive(Debug)]
pub(super) struct Events(OwnedFd);

impl Events {
    /// Changes of network interfaces (`RTMGRP_LINK`).
    pub(super) fn links() -> io::Result<Self> {
        Ok(Self(open(None, 1)?))
    }

    /// Devices that come and go: kernel uevents, multicast group 1.
    pub(super) fn devices() -> io::Result<Self> {
        Ok(Self(open(Some(netlink::KOBJECT_UEVENT), 1)?))
    }

    /// Waits for a message until the deadline and takes all that are there. False when the deadline came first.
    pub(super) fn wait(&self, deadline: Instant) -> io::Result<bool> {
        if !wait_readable(&self.0, deadline)? {
            return Ok(false);
        }
        let mut buffer = [0; MESSAGE];
        loop {
            match recv(&self.0, &mut buffer[..], RecvFlags::DONTWAIT) {
                // Messages were lost: something happened all the same.
                Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                Err(_) => return Ok(true),
            }
        }
    }
}

fn open(protocol: Option<rustix::net::Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

fn wait_readable(socket: &OwnedFd, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&limit)) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sets the interface up.
pub(super) fn set_up(index: u32) -> io::Result<()> {
    set_flags(index, IFF_UP)
}

/// Switches an interface off. The kernel then neither sends nor receives on it.
pub(super) fn set_down(index: u32) -> io::Result<()> {
    set_flags(index, 0)
}

fn set_flags(index: u32, flags: u32) -> io::Result<()> {
    // struct ifinfomsg: family, padding, type, index, flags, mask of the flags to change.
    let mut body = vec![0, 0, 0, 0];
    body.extend(index.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    request(RTM_NEWLINK, 0, &body)
}

/// Gives the interface an address.
pub(super) fn add_address(index: u32, ip: IpAddr, prefix_len: u8) -> io::Result<()> {
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    let begin = |family: u8, flags: u8| {
        let mut body = vec![family, prefix_len, flags, 0];
        body.extend(index.to_ne_bytes());
        body
    };
    let ip = match ip {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(ip) => {
            let mut body = begin(AF_INET6, IFA_F_NODAD);
            attribute(&mut body, IFA_LOCAL, &ip.octets());
            attribute(&mut body, IFA_ADDRESS, &ip.octets());
            return request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body);
        }
    };
    let mut body = begin(AF_INET, 0);
    attribute(&mut body, IFA_LOCAL, &ip.octets());
    attribute(&mut body, IFA_ADDRESS, &ip.octets());
    let hosts = u32::MAX.checked_shr(prefix_len.into()).unwrap_or(0);
    let broadcast = Ipv4Addr::from(u32::from(ip) | hosts);
    attribute(&mut body, IFA_BROADCAST, &broadcast.octets());
    request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &body)
}

/// Sends packets for other networks to `gateway`.
pub(super) fn add_gateway(gateway: Ipv4Addr) -> io::Result<()> {
    // struct rtmsg: family, destination and source prefix lengths, TOS, table, protocol, scope, type, flags.
    let mut body = vec![AF_INET, 0, 0, 0, RT_TABLE_MAIN, RTPROT_BOOT, 0, RTN_UNICAST];
    body.extend(0u32.to_ne_bytes());
    attribute(&mut body, RTA_GATEWAY, &gateway.octets());
    request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &body)
}

/// Attributes here are 4 or 16 bytes long, so none needs padding.
fn attribute<const LENGTH: usize>(body: &mut Vec<u8>, kind: u16, value: &[u8; LENGTH]) {
    let length = u16::try_from(4 + LENGTH).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

/// Sends one request and waits for the kernel's acknowledgement, which comes at once.
pub(super) fn request(kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    let socket = open(None, 0)?;
    let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &message, SendFlags::empty(), &kernel)?;
    let deadline = Instant::now() + Duration::from_secs(5);
    if !wait_readable(&socket, deadline)? {
        return Err(io::ErrorKind::TimedOut.into());
    }
    let mut answer = [0; MESSAGE];
    let (count, _) = recv(&socket, &mut answer[..], RecvFlags::empty())?;
    acknowledged(&answer[..count])
}

/// struct nlmsgerr after a header of 16 bytes: the negated error number, 0 for success.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok());
    let code = answer.get(16..20).and_then(|b| b.try_into().ok());
    match (kind.map(u16::from_ne_bytes), code.map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}
