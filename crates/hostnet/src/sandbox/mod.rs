//! The caller's handle to the holder.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bootgate_events::MacAddr;

use crate::{PacketSocket, Port, SandboxError, UdpOptions};

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

/// How a holder ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HolderExit(pub String);

/// The supervisor's handle to the holder. Clones are the same sandbox; when the last one is dropped, the holder is
/// killed, and with it everything in its namespaces.
#[derive(Clone, Debug)]
pub struct Sandbox {}

impl Sandbox {
    /// Forks the holder into new network, PID, mount, IPC and UTS namespaces, and a new user namespace where the
    /// caller is not root. Must be called before the process has a second thread, and from the thread that lives
    /// as long as the process (the main one): the holder dies with the thread that called this.
    ///
    /// # Errors
    /// [`SandboxError::Threaded`], [`SandboxError::NamespacesForbidden`] (with the command that allows them), or
    /// [`SandboxError::Setup`].
    pub fn enter(_config: SandboxConfig) -> Result<Self, SandboxError> {
        Err(unsupported("enter"))
    }

    /// The holder's process id as the host sees it.
    #[must_use]
    pub fn holder_pid(&self) -> i32 {
        0
    }

    /// Makes a segment: a bridge with a pinned hardware address, no spanning tree, no multicast snooping, no IPv6,
    /// and the servers' address.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where the name is taken or the kernel refuses a step.
    pub async fn create_segment(
        &self,
        _config: SegmentConfig,
    ) -> Result<SegmentInfo, SandboxError> {
        Err(unsupported("segment"))
    }

    /// Makes a port of a segment for one client's link.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where the segment does not exist or the kernel refuses a step.
    pub async fn create_port(&self, _segment: &str, _name: &str) -> Result<Port, SandboxError> {
        Err(unsupported("port"))
    }

    /// Makes a UDP socket on a segment, nonblocking.
    ///
    /// # Errors
    /// [`SandboxError::Refused`], with [`std::io::ErrorKind::AddrInUse`] where the port is taken.
    pub async fn udp_socket(
        &self,
        _segment: &str,
        _options: UdpOptions,
    ) -> Result<UdpSocket, SandboxError> {
        Err(unsupported("udp"))
    }

    /// Makes a listening TCP socket on a segment, nonblocking.
    ///
    /// # Errors
    /// [`SandboxError::Refused`], with [`std::io::ErrorKind::AddrInUse`] where the port is taken.
    pub async fn tcp_listener(
        &self,
        _segment: &str,
        _bind: SocketAddrV4,
    ) -> Result<TcpListener, SandboxError> {
        Err(unsupported("tcp"))
    }

    /// Makes a raw packet socket on a segment's bridge, nonblocking. `ethertype` in host byte order; 3
    /// (`ETH_P_ALL`) takes every frame.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where the segment does not exist or the kernel refuses a step.
    pub async fn packet_socket(
        &self,
        _segment: &str,
        _ethertype: u16,
    ) -> Result<PacketSocket, SandboxError> {
        Err(unsupported("packet"))
    }

    /// Starts a program as a child of the holder, in its own process group, without a terminal. It sees the
    /// host's files and the sandbox's network and processes, and dies with the holder.
    ///
    /// # Errors
    /// [`SandboxError::Refused`], with [`std::io::ErrorKind::NotFound`] where there is no such program.
    pub async fn spawn(&self, _spawn: Spawn) -> Result<Child, SandboxError> {
        Err(unsupported("spawn"))
    }

    /// Sends a signal to a program started by [`Sandbox::spawn`]. One that has ended already is no error.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where `signal` is not one.
    pub async fn kill(&self, _pid: i32, _signal: i32) -> Result<(), SandboxError> {
        Err(unsupported("kill"))
    }

    /// Waits until the holder ends, by whatever cause.
    pub async fn gone(&self) -> HolderExit {
        HolderExit(String::new())
    }

    /// Ends the sandbox and waits until everything in it is gone.
    ///
    /// # Errors
    /// [`SandboxError::Timeout`] where the holder does not end.
    pub async fn shutdown(self) -> Result<(), SandboxError> {
        Err(unsupported("shutdown"))
    }
}

fn unsupported(step: &str) -> SandboxError {
    SandboxError::Setup {
        step: step.to_owned(),
        source: std::io::ErrorKind::Unsupported.into(),
    }
}
