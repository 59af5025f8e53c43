//! A blocking netlink client.
//!
//! The messages are rtnetlink's; its own connection is not used, because it lives in a tokio runtime, and tokio keeps
//! descriptors for the whole process that a forked holder has closed. The holder must not depend on what its
//! supervisor did before.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rtnetlink::LinkUnspec;
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{
    BridgePortState, InfoBridgePort, InfoPortData, LinkAttribute, LinkInfo, LinkMessage, State,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// `RTMGRP_LINK` of `linux/rtnetlink.h`.
const LINK_CHANGES: u32 = 1;

/// Largest answer; acknowledgements repeat the request.
const ANSWER: usize = 16 << 10;

/// A routing netlink socket of the process's network namespace.
pub(super) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        Ok(Self {
            socket: rustix::net::socket_with(
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
                None, // NETLINK_ROUTE is protocol 0
            )?,
            sequence: 0,
        })
    }

    /// Makes a link that is not there yet.
    pub(super) fn add_link(&mut self, link: LinkMessage) -> io::Result<()> {
        self.ask(
            RouteNetlinkMessage::NewLink(link),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// Changes a link that is there.
    pub(super) fn change_link(&mut self, link: LinkMessage) -> io::Result<()> {
        self.ask(RouteNetlinkMessage::NewLink(link), 0)
    }

    /// Puts an address on a link.
    pub(super) fn add_address(&mut self, address: AddressMessage) -> io::Result<()> {
        self.ask(
            RouteNetlinkMessage::NewAddress(address),
            NLM_F_CREATE | NLM_F_EXCL,
        )
    }

    /// The index of the interface of this name.
    pub(super) fn index(&self, interface: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(
            &self.socket,
            interface,
        )?)
    }

    /// Waits until every given link passes frames: the kernel turns a new link's carrier and queue on a moment after
    /// it was set up, and drops what is sent before.
    pub(super) fn await_passing(&mut self, indexes: &[u32], within: Duration) -> io::Result<()> {
        let changes = watch_links()?;
        let deadline = Instant::now() + within;
        for index in indexes {
            while !passes(&self.link(*index)?) {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
                }
                await_change(&changes, left)?;
            }
        }
        Ok(())
    }

    /// What the kernel says about a link.
    fn link(&mut self, index: u32) -> io::Result<LinkMessage> {
        let question = LinkUnspec::new_with_index(index).build();
        match self.exchange(RouteNetlinkMessage::GetLink(question), 0)? {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Has a request done.
    fn ask(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.exchange(request, NLM_F_ACK | flags).map(drop)
    }

    /// Sends a request and waits for the kernel's answer, which comes at once (netlink(7)).
    fn exchange(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
        self.sequence += 1;
        let bytes = encode(request, flags, self.sequence);
        rustix::net::send(&self.socket, &bytes, SendFlags::empty())?;
        let mut answer = vec![0; ANSWER];
        loop {
            let (length, _) = rustix::io::retry_on_intr(|| {
                rustix::net::recv(&self.socket, &mut *answer, RecvFlags::empty())
            })?;
            let answer = answer.get(..length).unwrap_or_default();
            let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer)
                .map_err(io::Error::other)?;
            if answer.header.sequence_number != self.sequence {
                continue;
            }
            return match answer.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
                payload => Ok(payload),
            };
        }
    }
}

fn encode(request: RouteNetlinkMessage, flags: u16, sequence: u32) -> Vec<u8> {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | flags;
    message.header.sequence_number = sequence;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

/// The bytes of a request to make a link, for a process that must not allocate.
pub(crate) fn encode_add_link(link: LinkMessage) -> Vec<u8> {
    encode(
        RouteNetlinkMessage::NewLink(link),
        NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL,
        1,
    )
}

/// A socket that becomes readable when a link of the namespace changes.
fn watch_links() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrNetlink::new(0, LINK_CHANGES))?;
    Ok(socket)
}

/// Waits until a link changes, or the time is over, and takes all waiting changes.
fn await_change(changes: &OwnedFd, within: Duration) -> io::Result<()> {
    let timeout = Timespec {
        tv_sec: within.as_secs().cast_signed(),
        tv_nsec: within.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(changes, PollFlags::IN)];
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, Some(&timeout)))?;
    let mut change = [0; 64];
    // An overrun (ENOBUFS) is a change too: the caller looks at the links again.
    while rustix::net::recv(changes, &mut change, RecvFlags::empty()).is_ok() {}
    Ok(())
}

/// Whether a link is operational, and forwards where it is a bridge's port. A TAP stays in the state `unknown` of links
/// that report none; its port's state says enough.
fn passes(link: &LinkMessage) -> bool {
    let mut operational = State::Unknown;
    let mut port = None;
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::OperState(state) => operational = *state,
            LinkAttribute::LinkInfo(infos) => port = infos.iter().find_map(port_state).or(port),
            _ => {}
        }
    }
    match port {
        Some(state) => {
            state == BridgePortState::Forwarding
                && matches!(operational, State::Up | State::Unknown)
        }
        None => operational == State::Up,
    }
}

fn port_state(info: &LinkInfo) -> Option<BridgePortState> {
    let LinkInfo::PortData(InfoPortData::BridgePort(port)) = info else {
        return None;
    };
    port.iter().find_map(|attribute| match attribute {
        InfoBridgePort::State(state) => Some(*state),
        _ => None,
    })
}
