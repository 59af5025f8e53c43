//! The supervisor's side: entering the sandbox, and asking the holder for things.

mod client;
mod enter;
mod forbidden;
mod handle;

use std::ffi::OsString;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bootgate_events::MacAddr;

use crate::SandboxError;
pub(crate) use enter::{namespace_flags, new_user_namespace, reap};
pub(crate) use forbidden::Forbidden;
use forbidden::diagnose;
pub use handle::Sandbox;

/// Whether a user namespace is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UserNamespace {
    /// Only where the caller is not root, or root without the right to make namespaces.
    #[default]
    Auto,
    /// Always.
    Always,
}

/// How ports are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum PortMode {
    /// TAP where `/dev/net/tun` can be opened, otherwise veth and `AF_PACKET`.
    #[default]
    Auto,
    /// TAP, or an error.
    Tap,
    /// veth and `AF_PACKET`, even where TAP would work.
    PacketVeth,
}

/// How a sandbox is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SandboxConfig {
    /// Whether a user namespace is made.
    pub user_namespace: UserNamespace,
    /// How ports are made.
    pub ports: PortMode,
}

/// A layer-2 network to make in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SegmentConfig {
    /// Name by which ports and sockets refer to it; unique in the sandbox.
    pub name: String,
    /// The servers' address on it.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, 1 to 31.
    pub prefix_len: u8,
    /// The servers' IPv6 address on it with the length of its prefix; `None`: no IPv6. With one, the bridge has the
    /// link-local address that its hardware address makes (RFC 4291 appendix A) too.
    pub address6: Option<(Ipv6Addr, u8)>,
}

/// Another machine on a segment: a network namespace of its own, connected by a cable, for programs that must not
/// share the servers' ports.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HostConfig {
    /// Name by which [`Spawn::host`] refers to it; unique in the sandbox.
    pub name: String,
    /// The segment that it is on.
    pub segment: String,
    /// Its address there.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, 1 to 31.
    pub prefix_len: u8,
}

/// A machine of a sandbox that is up.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HostInfo {
    /// Its interface's name.
    pub interface: String,
    /// Its hardware address.
    pub mac: MacAddr,
}

/// A segment that is up.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SegmentInfo {
    /// Its name.
    pub name: String,
    /// The bridge's interface name in the sandbox.
    pub interface: String,
    /// The bridge's interface index in the sandbox.
    pub ifindex: i32,
    /// The bridge's pinned hardware address.
    pub mac: MacAddr,
    /// What carries it, as the event log spells it: `bridge`.
    pub mode: String,
}

/// A program to run in the sandbox.
#[derive(Debug, Default)]
pub struct Spawn {
    /// Program (looked up on `PATH` where it has no slash) and its arguments; never empty.
    pub argv: Vec<OsString>,
    /// The whole environment; `None` gives the caller's, as it was when the sandbox was entered.
    pub env: Option<Vec<(OsString, OsString)>>,
    /// Descriptors the program inherits, each with the number it has there (3 to 1023).
    pub fds: Vec<(OwnedFd, i32)>,
    /// Its standard input; `None` is `/dev/null`.
    pub stdin: Option<OwnedFd>,
    /// Its standard output; `None` is `/dev/null`.
    pub stdout: Option<OwnedFd>,
    /// Its standard error; `None` is `/dev/null`.
    pub stderr: Option<OwnedFd>,
    /// Its working directory; `None` is the caller's, as it was when the sandbox was entered.
    pub cwd: Option<PathBuf>,
    /// The host of [`Sandbox::create_host`] whose network it sees; `None` is the servers'.
    pub host: Option<String>,
}

/// How a program ended: exactly one of both is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ExitStatus {
    /// Exit status, where it exited.
    pub code: Option<i32>,
    /// Signal number, where it was killed.
    pub signal: Option<i32>,
}

/// A running program of the sandbox. Dropping it does not end the program.
#[derive(Debug)]
pub struct Child {
    /// Process id inside the sandbox: what [`Sandbox::kill`] takes.
    pub pid: i32,
    /// Process id as the host sees it, for `/proc`; `None` where it ended before it could be read.
    pub host_pid: Option<i32>,
    /// Becomes readable when the process ends.
    pub pidfd: OwnedFd,
    pub(crate) exit: tokio::sync::oneshot::Receiver<ExitStatus>,
}

impl Child {
    /// Waits until the program ends.
    ///
    /// # Errors
    /// [`SandboxError::HolderGone`] where the sandbox ended first, and the program with it.
    pub async fn wait(self) -> Result<ExitStatus, SandboxError> {
        self.exit.await.map_err(|_| SandboxError::HolderGone {
            exit: "the program was killed with it".to_owned(),
        })
    }
}

/// How a holder ended, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderExit(pub String);

impl std::fmt::Display for HolderExit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
