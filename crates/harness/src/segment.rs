//! The layer-2 network of a run, and the sockets the servers get on it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::path::Path;
use std::sync::{Arc, Mutex};

use bootgate_events::{EventKind, MacAddr, TargetName};
use bootgate_hostnet::capture::{CaptureConfig, CaptureHandle, SocketCapture, Writer};
use bootgate_hostnet::host::HostInterface;
use bootgate_hostnet::wire::{VlanPort, Wire, WireConfig, WireHandle, client_pair};
use bootgate_hostnet::{Port, Sandbox, SegmentConfig, Udp6Options};
use bootgate_server::{BoxFuture, PacketSocket, SocketSource};
use bootgate_target::{LinkSource, NetLink};

use crate::HarnessError;
use crate::launcher::to_io;
use crate::sockets::{InterfaceSockets, udp_options};

/// EtherType by which a packet socket takes every frame (`ETH_P_ALL`, linux/if_ether.h).
const EVERY_FRAME: u16 = 3;

pub(crate) const SEGMENT: &str = "boot";

/// Takes a fact about a target's link, from any thread.
pub(crate) type Tell = Arc<dyn Fn(EventKind) + Send + Sync>;

/// Where the run's network is.
pub(crate) enum Segment {
    /// A bridge in the sandbox.
    Bridge(Bridge),
    /// An interface of the host.
    Interface(Interface),
}

pub(crate) struct Bridge {
    sandbox: Sandbox,
    interface: String,
    capture: CaptureHandle,
}

pub(crate) struct Interface {
    interface: HostInterface,
    _capture: SocketCapture,
    handle: CaptureHandle,
}

impl Segment {
    /// Makes the bridge with the servers' address, and starts the capture.
    pub(crate) async fn bridge(
        sandbox: &Sandbox,
        address: Ipv4Addr,
        prefix_len: u8,
        address6: Option<(Ipv6Addr, u8)>,
        capture: &Path,
    ) -> Result<Self, HarnessError> {
        let config = SegmentConfig {
            name: SEGMENT.to_owned(),
            address,
            prefix_len,
            address6,
        };
        let info = sandbox.create_segment(config).await.map_err(|error| {
            HarnessError::infra("segment-failed", &error, error.hint().unwrap_or_default())
        })?;
        let capture = open_capture(capture)?;
        Ok(Self::Bridge(Bridge {
            sandbox: sandbox.clone(),
            interface: info.interface,
            capture,
        }))
    }

    /// Looks at the interface, which must be up and have the servers' address, and starts the capture.
    pub(crate) fn interface(
        name: &str,
        address: Ipv4Addr,
        capture: &Path,
    ) -> Result<Self, HarnessError> {
        let fail =
            |error: String, hint: String| HarnessError::infra("interface-unusable", error, hint);
        let interface = HostInterface::open(name).map_err(|error| {
            fail(
                format!("use interface `{name}`: {error}"),
                "list interfaces with: ip link".into(),
            )
        })?;
        if !interface.up {
            return Err(fail(
                format!("use interface `{name}`: it is down"),
                format!("ip link set {name} up"),
            ));
        }
        if !interface.has_address(address) {
            return Err(fail(
                format!("use interface `{name}`: it does not have the address `{address}`"),
                format!("ip address add {address}/24 dev {name}"),
            ));
        }
        let handle = open_capture(capture)?;
        let id = handle.interface(name);
        let socket = interface.packet_socket(EVERY_FRAME).map_err(|error| {
            fail(
                format!("capture on `{name}`: {error}"),
                "run as root, or with the capabilities NET_RAW and NET_BIND_SERVICE".into(),
            )
        })?;
        let capture = SocketCapture::start(socket, handle.clone(), id)
            .map_err(|error| fail(format!("capture on `{name}`: {error}"), String::new()))?;
        Ok(Self::Interface(Interface {
            interface,
            _capture: capture,
            handle,
        }))
    }

    /// The fact that the segment is up.
    pub(crate) fn ready(&self, address: IpAddr) -> EventKind {
        let (interface, mode) = match self {
            Self::Bridge(bridge) => (bridge.interface.clone(), "bridge"),
            Self::Interface(interface) => (interface.interface.name.clone(), "interface"),
        };
        EventKind::SegmentReady {
            interface,
            mode: mode.to_owned(),
            address,
        }
    }

    /// Where the servers get their sockets.
    pub(crate) fn sockets(&self) -> Arc<dyn SocketSource> {
        match self {
            Self::Bridge(bridge) => Arc::new(BridgeSockets(bridge.sandbox.clone())),
            Self::Interface(interface) => {
                Arc::new(InterfaceSockets::new(interface.interface.clone()))
            }
        }
    }

    /// Makes a port for a virtual target and what gives its link at every power-on. With a `vlan` the port carries
    /// frames with its tag only; `tell` gets the facts about those that it does not carry.
    pub(crate) async fn plug(
        &self,
        target: &TargetName,
        vlan: Option<u16>,
        tell: Tell,
    ) -> Result<LinkSource, HarnessError> {
        let Self::Bridge(bridge) = self else {
            return Err(HarnessError::infra(
                "segment-unsuitable",
                format!("plug virtual target `{target}` into an interface of the host"),
                "give the scenario boards for all its targets, or leave out the interface",
            ));
        };
        let port = bridge
            .sandbox
            .create_port(SEGMENT, target.as_str())
            .await
            .map_err(|error| {
                HarnessError::infra("segment-failed", &error, error.hint().unwrap_or_default())
            })?;
        Ok(link_source(port, bridge.capture.clone(), vlan, tell))
    }

    /// Hands all captured frames to the file.
    pub(crate) fn flush_capture(&self) {
        match self {
            Self::Bridge(bridge) => bridge.capture.flush(),
            Self::Interface(interface) => interface.handle.flush(),
        }
    }
}

fn open_capture(path: &Path) -> Result<CaptureHandle, HarnessError> {
    Writer::create(path, CaptureConfig::default())
        .map_err(HarnessError::io("create the capture", path))
}

/// A new wire for every power-on: the one before ends when its QEMU does, and the port is free again.
fn link_source(port: Port, capture: CaptureHandle, vlan: Option<u16>, tell: Tell) -> LinkSource {
    let interface = capture.interface(port.name());
    let last: Arc<Mutex<Option<WireHandle>>> = Arc::default();
    Arc::new(move || {
        let (port, last) = (port.clone(), Arc::clone(&last));
        let mut config = WireConfig::default().capture(capture.clone(), interface);
        if let Some(id) = vlan {
            config = config.vlan(vlan_port(id, Arc::clone(&tell)));
        }
        Box::pin(async move {
            let earlier = last
                .lock()
                .unwrap_or_else(|broken| broken.into_inner())
                .take();
            if let Some(wire) = earlier {
                wire.stop().await;
            }
            let (client, ours) = client_pair()?;
            let wire = Wire::spawn(ours, &port, config)?;
            *last.lock().unwrap_or_else(|broken| broken.into_inner()) = Some(wire);
            Ok(NetLink::Socket { fd: client })
        })
    })
}

/// A port of one VLAN, which tells of the frames that it does not carry.
fn vlan_port(id: u16, tell: Tell) -> VlanPort {
    let lost = move |loss, count| {
        tell(EventKind::PacketDropped {
            service: "wire".to_owned(),
            reason: format!("frame {count} of its kind: {loss}, and the port is in VLAN {id}"),
        });
    };
    VlanPort::new(id, Box::new(lost))
}

/// Sockets that the holder opens in its network namespace.
struct BridgeSockets(Sandbox);

impl SocketSource for BridgeSockets {
    fn udp(
        &self,
        bind: SocketAddrV4,
        broadcast: bool,
    ) -> BoxFuture<'_, io::Result<std::net::UdpSocket>> {
        let options = udp_options(bind, broadcast);
        Box::pin(async move { self.0.udp_socket(SEGMENT, options).await.map_err(to_io) })
    }

    fn tcp_listener(&self, bind: SocketAddrV4) -> BoxFuture<'_, io::Result<std::net::TcpListener>> {
        Box::pin(async move { self.0.tcp_listener(SEGMENT, bind).await.map_err(to_io) })
    }

    fn udp6(
        &self,
        bind: SocketAddrV6,
        groups: &[Ipv6Addr],
    ) -> BoxFuture<'_, io::Result<std::net::UdpSocket>> {
        let options = Udp6Options {
            groups: groups.to_vec(),
            ..Udp6Options::new(bind)
        };
        Box::pin(async move { self.0.udp6_socket(SEGMENT, options).await.map_err(to_io) })
    }

    fn tcp6_listener(
        &self,
        bind: SocketAddrV6,
    ) -> BoxFuture<'_, io::Result<std::net::TcpListener>> {
        Box::pin(async move { self.0.tcp6_listener(SEGMENT, bind).await.map_err(to_io) })
    }

    fn neighbour(&self, ip: Ipv4Addr) -> Option<MacAddr> {
        self.0.neighbour(ip)
    }

    fn packet(&self, ethertype: u16) -> BoxFuture<'_, io::Result<PacketSocket>> {
        Box::pin(async move {
            let socket = self
                .0
                .packet_socket(SEGMENT, ethertype)
                .await
                .map_err(to_io)?;
            Ok(PacketSocket {
                fd: socket.fd,
                mac: socket.mac.0,
                ifindex: socket.ifindex,
            })
        })
    }
}
