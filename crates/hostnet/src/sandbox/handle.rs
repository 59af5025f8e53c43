//! The handle through which everything of a sandbox is asked for.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use super::client::{Answer, Client};
use super::{
    Child, HolderExit, HostConfig, HostInfo, PortMode, SandboxConfig, SegmentConfig, SegmentInfo,
    Spawn, enter,
};
use crate::protocol::{Reply, Request, SpawnRequest, Word};
use crate::{PacketSocket, Port, SandboxError, Udp6Options, UdpOptions};

/// How long the end of everything in the sandbox may take.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// The supervisor's handle to the holder. Clones are the same sandbox; when the last one is dropped, the holder is
/// killed, and with it everything in its namespaces; the drop waits for that, a few tens of milliseconds.
#[derive(Clone, Debug)]
pub struct Sandbox {
    client: Arc<Client>,
    ports: PortMode,
}

impl Sandbox {
    /// Forks the holder into new network, PID, mount, IPC and UTS namespaces, and a new user namespace where the
    /// caller is not root. Must be called before the process has a second thread, and from the thread that lives
    /// as long as the process (the main one): the holder dies with the thread that called this.
    ///
    /// Every request below waits for the holder's answer and needs a tokio runtime with its timer on.
    ///
    /// # Errors
    /// [`SandboxError::Threaded`], [`SandboxError::NamespacesForbidden`] (with the command that allows them), or
    /// [`SandboxError::Setup`].
    pub fn enter(config: SandboxConfig) -> Result<Self, SandboxError> {
        Ok(Self {
            client: Arc::new(enter::enter(config.user_namespace)?),
            ports: config.ports,
        })
    }

    /// The holder's process id as the host sees it.
    #[must_use]
    pub fn holder_pid(&self) -> i32 {
        self.client.pid()
    }

    /// Makes a segment: a bridge with a pinned hardware address, no spanning tree, no multicast snooping, and the
    /// servers' addresses.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where the name is taken or the kernel refuses a step.
    pub async fn create_segment(&self, config: SegmentConfig) -> Result<SegmentInfo, SandboxError> {
        let action = format!("creating segment `{}`", config.name);
        match self.ask(&action, Request::Segment(config)).await?.reply {
            Reply::Segment(info) => Ok(info),
            _ => Err(unexpected(action)),
        }
    }

    /// Makes a port of a segment for one client's link.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where the segment does not exist or the kernel refuses a step.
    pub async fn create_port(&self, segment: &str, name: &str) -> Result<Port, SandboxError> {
        let action = format!("creating port `{name}`");
        let request = Request::Port {
            segment: segment.to_owned(),
            name: name.to_owned(),
            mode: self.ports,
        };
        let answer = self.ask(&action, request).await?;
        let Reply::Port { kind } = answer.reply else {
            return Err(unexpected(action));
        };
        let fd = only(answer, &action)?;
        Port::new(name.to_owned(), kind, fd)
            .map_err(|source| SandboxError::Refused { action, source })
    }

    /// Makes a UDP socket on a segment, nonblocking.
    ///
    /// # Errors
    /// [`SandboxError::Refused`], with [`io::ErrorKind::AddrInUse`] where the port is taken.
    pub async fn udp_socket(
        &self,
        segment: &str,
        options: UdpOptions,
    ) -> Result<UdpSocket, SandboxError> {
        let action = format!("binding UDP `{}`", options.bind);
        let request = Request::Udp {
            segment: segment.to_owned(),
            options,
        };
        let answer = self.ask(&action, request).await?;
        Ok(only(answer, &action)?.into())
    }

    /// Makes a listening TCP socket on a segment, nonblocking.
    ///
    /// # Errors
    /// [`SandboxError::Refused`], with [`io::ErrorKind::AddrInUse`] where the port is taken.
    pub async fn tcp_listener(
        &self,
        segment: &str,
        bind: SocketAddrV4,
    ) -> Result<TcpListener, SandboxError> {
        let action = format!("listening on TCP `{bind}`");
        let request = Request::Tcp {
            segment: segment.to_owned(),
            bind,
        };
        let answer = self.ask(&action, request).await?;
        Ok(only(answer, &action)?.into())
    }

    /// Makes an IPv6 UDP socket on a segment, nonblocking.
    ///
    /// # Errors
    /// [`SandboxError::Refused`], with [`io::ErrorKind::AddrInUse`] where the port is taken.
    pub async fn udp6_socket(
        &self,
        segment: &str,
        options: Udp6Options,
    ) -> Result<UdpSocket, SandboxError> {
        let action = format!("binding UDP `{}`", options.bind);
        let request = Request::Udp6 {
            segment: segment.to_owned(),
            options,
        };
        let answer = self.ask(&action, request).await?;
        Ok(only(answer, &action)?.into())
    }

    /// Makes a listening IPv6 TCP socket on a segment, nonblocking.
    ///
    /// # Errors
    /// [`SandboxError::Refused`], with [`io::ErrorKind::AddrInUse`] where the port is taken.
    pub async fn tcp6_listener(
        &self,
        segment: &str,
        bind: SocketAddrV6,
    ) -> Result<TcpListener, SandboxError> {
        let action = format!("listening on TCP `{bind}`");
        let request = Request::Tcp6 {
            segment: segment.to_owned(),
            bind,
        };
        let answer = self.ask(&action, request).await?;
        Ok(only(answer, &action)?.into())
    }

    /// Puts another machine on a segment. It is there until the sandbox ends.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where the name is taken, the segment does not exist or the kernel refuses a step.
    pub async fn create_host(&self, config: HostConfig) -> Result<HostInfo, SandboxError> {
        let action = format!("creating host `{}`", config.name);
        match self.ask(&action, Request::Host(config)).await?.reply {
            Reply::Host(info) => Ok(info),
            _ => Err(unexpected(action)),
        }
    }

    /// Makes a raw packet socket on a segment's bridge, nonblocking. `ethertype` in host byte order; 3
    /// (`ETH_P_ALL`) takes every frame.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where the segment does not exist or the kernel refuses a step.
    pub async fn packet_socket(
        &self,
        segment: &str,
        ethertype: u16,
    ) -> Result<PacketSocket, SandboxError> {
        let action = "opening a packet socket".to_owned();
        let request = Request::Packet {
            segment: segment.to_owned(),
            ethertype,
        };
        let answer = self.ask(&action, request).await?;
        let Reply::Packet { mac, ifindex } = answer.reply else {
            return Err(unexpected(action));
        };
        let fd = only(answer, &action)?;
        Ok(PacketSocket { fd, mac, ifindex })
    }

    /// Starts a program as a child of the holder, in its own process group, without a terminal. It sees the
    /// host's files and the sandbox's processes, and the network of the servers or of a [`Sandbox::create_host`]; it
    /// dies with the holder.
    ///
    /// # Errors
    /// [`SandboxError::Refused`], with [`io::ErrorKind::NotFound`] where there is no such program.
    pub async fn spawn(&self, spawn: Spawn) -> Result<Child, SandboxError> {
        let program = spawn.argv.first().cloned().unwrap_or_default();
        let action = format!("starting `{}`", program.display());
        let streams = [&spawn.stdin, &spawn.stdout, &spawn.stderr];
        let fds: Vec<BorrowedFd<'_>> = spawn
            .fds
            .iter()
            .map(|(fd, _)| fd.as_fd())
            .chain(streams.iter().filter_map(|fd| fd.as_ref().map(AsFd::as_fd)))
            .collect();
        let request = Request::Spawn(SpawnRequest {
            argv: spawn.argv.iter().cloned().map(Word::from).collect(),
            env: spawn.env.as_ref().map(|env| {
                let word = |(name, value): &(OsString, OsString)| {
                    (name.clone().into(), value.clone().into())
                };
                env.iter().map(word).collect()
            }),
            cwd: spawn.cwd.clone(),
            fds: spawn.fds.iter().map(|(_, target)| *target).collect(),
            stdio: streams.map(Option::is_some),
            host: spawn.host.clone(),
        });
        let mut answer = self.client.call(&action, request, &fds).await?;
        let (Reply::Spawned { pid }, Some(exit)) = (&answer.reply, answer.exit.take()) else {
            return Err(unexpected(action));
        };
        let pid = *pid;
        let pidfd = only(answer, &action)?;
        Ok(Child {
            pid,
            host_pid: host_pid(&pidfd),
            pidfd,
            exit,
        })
    }

    /// The hardware address that answers for `ip` on the segments, as the kernel learned it; `None` where it has not. Does
    /// not ask the holder.
    #[must_use]
    pub fn neighbour(&self, ip: std::net::Ipv4Addr) -> Option<bootgate_events::MacAddr> {
        let table = std::fs::read_to_string(format!("/proc/{}/net/arp", self.holder_pid())).ok()?;
        crate::neighbours::find(&table, ip, None)
    }

    /// Sends a signal to a program started by [`Sandbox::spawn`]. One that has ended already is no error.
    ///
    /// # Errors
    /// [`SandboxError::Refused`] where `signal` is not one.
    pub async fn kill(&self, pid: i32, signal: i32) -> Result<(), SandboxError> {
        let action = format!("sending signal {signal} to process {pid}");
        self.ask(&action, Request::Kill { pid, signal })
            .await
            .map(drop)
    }

    /// Waits until the holder ends, by whatever cause.
    pub async fn gone(&self) -> HolderExit {
        self.client.gone().await
    }

    /// Kills everything in the sandbox and waits until it is gone. Sockets and ports that were handed out stay
    /// open, on a network nobody else is on, until they are dropped.
    ///
    /// # Errors
    /// [`SandboxError::Timeout`] where the holder does not end.
    pub async fn shutdown(self) -> Result<(), SandboxError> {
        self.client.kill();
        match tokio::time::timeout(GONE_WITHIN, self.client.gone()).await {
            Ok(_) => Ok(()),
            Err(_) => Err(SandboxError::Timeout {
                action: "ending the sandbox".to_owned(),
                seconds: GONE_WITHIN.as_secs(),
            }),
        }
    }

    async fn ask(&self, action: &str, request: Request) -> Result<Answer, SandboxError> {
        self.client.call(action, request, &[]).await
    }
}

/// The one descriptor that came with an answer.
fn only(answer: Answer, action: &str) -> Result<OwnedFd, SandboxError> {
    answer
        .fds
        .into_iter()
        .next()
        .ok_or_else(|| unexpected(action.to_owned()))
}

fn unexpected(action: String) -> SandboxError {
    SandboxError::Refused {
        action,
        source: io::Error::new(
            io::ErrorKind::InvalidData,
            "the holder's answer makes no sense",
        ),
    }
}

/// The process id in the caller's PID namespace, as the descriptor's entry in `/proc` tells it (proc(5)); -1 and 0
/// stand for processes that ended or cannot be seen.
fn host_pid(pidfd: &OwnedFd) -> Option<i32> {
    use std::os::fd::AsRawFd;
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).ok()?;
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:"))?
        .trim()
        .parse()
        .ok()?;
    (pid > 0).then_some(pid)
}
