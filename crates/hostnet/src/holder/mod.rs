//! The holder: first process of the sandbox's PID namespace. It makes links and sockets, runs programs as its
//! children, reaps whatever ends, and takes everything with it when it ends.

mod children;
mod hosts;
mod links;
mod netlink;
mod setup;

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};

use crate::channel::Channel;
use crate::protocol::{Call, During, Failure, Message, Reply, Request};
use crate::sockets;
use children::Children;
use hosts::Hosts;
use links::Links;
pub(crate) use netlink::encode_add_link;
pub(crate) use setup::{Identity, identify};

/// A served request: what to say, and the descriptors that go with it.
type Served = Result<(Reply, Vec<OwnedFd>), Failure>;

/// Runs the holder until the supervisor is gone. Called in a process just cloned into its namespaces.
pub(crate) fn run(control: &Channel, identity: &Identity) {
    let mut holder = match prepare(identity, control) {
        Ok(holder) => holder,
        Err(failure) => {
            let _ = control.send(&Message::NotReady(failure), &[]);
            return;
        }
    };
    if control.send(&Message::Ready, &[]).is_err() {
        return;
    }
    while holder.turn(control) {}
}

fn prepare(identity: &Identity, control: &Channel) -> Result<Holder, Failure> {
    identity.assume()?;
    setup::detach(control)?;
    let children = Children::new()?;
    let links = Links::new()?;
    Ok(Holder {
        children,
        links,
        hosts: Hosts::default(),
    })
}

struct Holder {
    children: Children,
    links: Links,
    hosts: Hosts,
}

impl Holder {
    /// Waits for the next thing to happen and deals with it. `false` when the supervisor is gone.
    fn turn(&mut self, control: &Channel) -> bool {
        let mut fds = [
            PollFd::new(control, PollFlags::IN),
            PollFd::new(&self.children, PollFlags::IN),
        ];
        match rustix::event::poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => return true,
            Err(_) => return false,
            Ok(_) => {}
        }
        let [asked, ended] = fds.map(|fd| !fd.revents().is_empty());
        if ended {
            for (pid, status) in self.children.reap() {
                if control.send(&Message::Exited { pid, status }, &[]).is_err() {
                    return false;
                }
            }
        }
        if asked {
            let Ok(Some((call, fds))) = control.receive::<Call>() else {
                return false;
            };
            return self.answer(control, call, fds);
        }
        true
    }

    fn answer(&mut self, control: &Channel, call: Call, fds: Vec<OwnedFd>) -> bool {
        let id = call.id;
        let (result, fds) = match self.serve(call.request, fds) {
            Ok((reply, fds)) => (Ok(reply), fds),
            Err(failure) => (Err(failure), Vec::new()),
        };
        let borrowed: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        control
            .send(&Message::Reply { id, result }, &borrowed)
            .is_ok()
    }

    fn serve(&mut self, request: Request, fds: Vec<OwnedFd>) -> Served {
        match request {
            Request::Segment(config) => {
                let info = self.links.create_segment(config)?;
                Ok((Reply::Segment(info), Vec::new()))
            }
            Request::Port {
                segment,
                name,
                mode,
            } => {
                let (kind, fd) = self.links.create_port(&segment, &name, mode)?;
                Ok((Reply::Port { kind }, vec![fd]))
            }
            Request::Udp { segment, options } => {
                let interface = &self.links.segment(&segment)?.interface;
                let socket = sockets::udp(interface, options)
                    .during(|| format!("binding UDP `{}` on segment `{segment}`", options.bind))?;
                Ok((Reply::Socket, vec![socket.into()]))
            }
            Request::Tcp { segment, bind } => {
                let interface = &self.links.segment(&segment)?.interface;
                let socket = sockets::tcp(interface, bind)
                    .during(|| format!("listening on TCP `{bind}` on segment `{segment}`"))?;
                Ok((Reply::Socket, vec![socket.into()]))
            }
            Request::Udp6 { segment, options } => {
                let found = self.links.segment(&segment)?;
                let socket = sockets::udp6(&found.interface, found.ifindex, &options)
                    .during(|| format!("binding UDP `{}` on segment `{segment}`", options.bind))?;
                Ok((Reply::Socket, vec![socket.into()]))
            }
            Request::Tcp6 { segment, bind } => {
                let found = self.links.segment(&segment)?;
                let socket = sockets::tcp6(&found.interface, found.ifindex, bind)
                    .during(|| format!("listening on TCP `{bind}` on segment `{segment}`"))?;
                Ok((Reply::Socket, vec![socket.into()]))
            }
            Request::Host(config) => {
                let info = self.hosts.create(&mut self.links, &config)?;
                Ok((Reply::Host(info), Vec::new()))
            }
            Request::Packet { segment, ethertype } => {
                let segment = self.links.segment(&segment)?;
                let (mac, ifindex) = (segment.mac, segment.ifindex);
                let fd = sockets::packet(ifindex, ethertype)
                    .during(|| format!("opening a packet socket on segment `{}`", segment.name))?;
                Ok((Reply::Packet { mac, ifindex }, vec![fd]))
            }
            Request::Spawn(spawn) => {
                let Self {
                    children, hosts, ..
                } = self;
                let (pid, pidfd) = match &spawn.host {
                    Some(host) => hosts.within(host, || children.spawn(&spawn, fds))??,
                    None => children.spawn(&spawn, fds)?,
                };
                Ok((Reply::Spawned { pid }, vec![pidfd]))
            }
            Request::Kill { pid, signal } => {
                self.children.kill(pid, signal)?;
                Ok((Reply::Done, Vec::new()))
            }
        }
    }
}
