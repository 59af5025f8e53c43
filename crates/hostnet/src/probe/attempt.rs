//! Trying things in a forked child. The caller may have threads, so the child allocates nothing and takes no lock: all
//! texts and messages are made before the fork.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkVeth};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::Outcome;
use crate::holder::{Identity, encode_add_link, identify};
use crate::sandbox::{namespace_flags, reap};
use crate::sys::link::create_tap;
use crate::sys::process::{Cloned, clone_into, exit_now};
use crate::sys::socket::packet_socket;

/// A thing to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Step {
    /// Being in the namespaces, as root of the user namespace if there is one.
    Maps,
    /// Making a bridge.
    Bridge,
    /// Making a veth pair.
    Veth,
    /// Opening a packet socket.
    PacketSocket,
    /// Making a TAP.
    Tun,
}

/// What was tried, and how it went.
pub(super) struct Attempt {
    /// Each step that was reached, with its error number or 0.
    results: Vec<(u8, i32)>,
    /// The error with which the namespaces themselves were refused.
    refused: Option<i32>,
}

/// What the child needs, made before the fork.
struct Prepared {
    identity: Identity,
    bridge: Vec<u8>,
    veth: Vec<u8>,
}

impl Attempt {
    /// Tries `steps` in new namespaces. After `Maps` fails no other is tried.
    pub(super) fn make(user_namespace: bool, steps: &[Step]) -> Self {
        let prepared = Prepared {
            identity: identify(user_namespace),
            bridge: encode_add_link(LinkMessageBuilder::<LinkBridge>::new("probe0").build()),
            veth: encode_add_link(LinkVeth::new("probe1", "probe2").build()),
        };
        let flags = namespace_flags()
            | if user_namespace {
                libc::CLONE_NEWUSER
            } else {
                0
            };
        match run(flags, &prepared, steps) {
            Ok(results) => Self {
                results,
                refused: None,
            },
            Err(error) => Self {
                results: Vec::new(),
                refused: error.raw_os_error(),
            },
        }
    }

    pub(super) fn result(&self, step: Step) -> Outcome {
        let found = self.results.iter().find(|(tried, _)| *tried == step as u8);
        match found {
            Some((_, 0)) => Ok(()),
            Some((_, errno)) => Err(Some(*errno)),
            None if step == Step::Maps => Err(self.refused),
            None => Err(None),
        }
    }
}

fn run(flags: libc::c_int, prepared: &Prepared, steps: &[Step]) -> io::Result<Vec<(u8, i32)>> {
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // SAFETY: the child below makes only system calls on what was prepared, and ends by `exit_now`.
    let (_, pidfd) = match unsafe { clone_into(flags) }? {
        Cloned::Parent { pid, pidfd } => (pid, pidfd),
        Cloned::Child => {
            child(&writer, prepared, steps);
            exit_now(0);
        }
    };
    drop(writer);
    let mut results = Vec::new();
    let mut record = [0; 5];
    while let Ok(5) = rustix::io::retry_on_intr(|| rustix::io::read(&reader, &mut record)) {
        let [step, errno @ ..] = record;
        results.push((step, i32::from_ne_bytes(errno)));
    }
    reap(&pidfd, true);
    Ok(results)
}

fn child(writer: &OwnedFd, prepared: &Prepared, steps: &[Step]) {
    for step in steps {
        let done = match step {
            Step::Maps => prepared.identity.try_assume(),
            Step::Bridge => request(&prepared.bridge),
            Step::Veth => request(&prepared.veth),
            Step::PacketSocket => packet_socket().map(drop),
            Step::Tun => tun(),
        };
        let errno = done
            .err()
            .map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
        let mut record = [*step as u8; 5];
        if let Some(place) = record.last_chunk_mut::<4>() {
            *place = errno.to_ne_bytes();
        }
        let _ = rustix::io::write(writer, &record);
        if errno != 0 && *step == Step::Maps {
            return;
        }
    }
}

/// Sends a prepared netlink request; the answer is an error message with a negative error number or 0 (netlink(7)).
fn request(message: &[u8]) -> io::Result<()> {
    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::send(&socket, message, SendFlags::empty())?;
    let mut answer = [0; 512];
    rustix::net::recv(&socket, &mut answer, RecvFlags::empty())?;
    let errno = answer
        .get(16..)
        .and_then(|payload| payload.first_chunk::<4>())
        .map_or(0, |errno| -i32::from_ne_bytes(*errno));
    if errno == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(errno))
    }
}

fn tun() -> io::Result<()> {
    let tun = rustix::fs::open(
        c"/dev/net/tun",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    create_tap(tun.as_fd(), "probe3")
}
