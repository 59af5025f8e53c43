//! A blocking netlink client.
//!
//! The messages are rtnetlink's; its own connection is not used, because it lives in a tokio runtime, and tokio keeps
//! descriptors for the whole process that a forked holder has closed. The holder must not depend on what its
//! supervisor did before.

use std::io;
use std::os::fd::OwnedFd;

use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::LinkMessage;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

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

    /// Sends a request and waits for the kernel's acknowledgement, which comes at once (netlink(7)).
    fn ask(&mut self, request: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence += 1;
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
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
                _ => Ok(()),
            };
        }
    }
}
