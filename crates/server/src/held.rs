//! Sockets that outlive the server that opened them: one that is set up anew goes on with them, so that no packet and no
//! connection is lost, and no port is free in between.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bootgate_events::MacAddr;

use crate::{BoxFuture, PacketSocket, SocketSource};

/// What a socket is, and where it is bound.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Udp(SocketAddrV4, bool),
    Tcp(SocketAddrV4),
    Udp6(SocketAddrV6, Vec<Ipv6Addr>),
    Tcp6(SocketAddrV6),
}

type Sockets = Arc<Mutex<BTreeMap<Place, OwnedFd>>>;

/// The sockets of one interface, each held once more.
#[derive(Default)]
pub(crate) struct Held {
    sockets: Sockets,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    /// A source that gives what is held, and asks `source` for what is not. What it gives is held from now on.
    pub(crate) fn source(&self, source: Arc<dyn SocketSource>) -> Arc<HoldingSource> {
        Arc::new(HoldingSource {
            held: Arc::clone(&self.sockets),
            source,
            asked: Mutex::default(),
        })
    }

    /// Lets go of what this source was not asked for.
    pub(crate) fn keep_only(&self, source: &HoldingSource) {
        let asked = locked(&source.asked);
        locked(&self.sockets).retain(|place, _| asked.contains(place));
    }
}

/// See [`Held::source`].
pub(crate) struct HoldingSource {
    held: Sockets,
    source: Arc<dyn SocketSource>,
    asked: Mutex<BTreeSet<Place>>,
}

impl HoldingSource {
    /// One that is held. A port that the kernel chooses is another one each time.
    fn held<T: From<OwnedFd>>(&self, place: &Place) -> io::Result<Option<T>> {
        locked(&self.asked).insert(place.clone());
        let held = locked(&self.held);
        let socket = held.get(place).map(OwnedFd::try_clone).transpose()?;
        Ok(socket.map(T::from))
    }

    fn hold<T>(&self, place: Place, port: u16, socket: &T) -> io::Result<()>
    where
        T: std::os::fd::AsFd,
    {
        if port != 0 {
            let copy = socket.as_fd().try_clone_to_owned()?;
            locked(&self.held).insert(place, copy);
        }
        Ok(())
    }
}

impl SocketSource for HoldingSource {
    fn udp(&self, bind: SocketAddrV4, broadcast: bool) -> BoxFuture<'_, io::Result<UdpSocket>> {
        Box::pin(async move {
            let place = Place::Udp(bind, broadcast);
            if let Some(socket) = self.held(&place)? {
                return Ok(socket);
            }
            let socket = self.source.udp(bind, broadcast).await?;
            self.hold(place, bind.port(), &socket)?;
            Ok(socket)
        })
    }

    fn tcp_listener(&self, bind: SocketAddrV4) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(async move {
            let place = Place::Tcp(bind);
            if let Some(socket) = self.held(&place)? {
                return Ok(socket);
            }
            let socket = self.source.tcp_listener(bind).await?;
            self.hold(place, bind.port(), &socket)?;
            Ok(socket)
        })
    }

    // Packet sockets share an interface with others of their kind.
    fn packet(&self, ethertype: u16) -> BoxFuture<'_, io::Result<PacketSocket>> {
        self.source.packet(ethertype)
    }

    fn dhcp_replies(&self) -> BoxFuture<'_, io::Result<PacketSocket>> {
        self.source.dhcp_replies()
    }

    fn neighbour(&self, ip: Ipv4Addr) -> Option<MacAddr> {
        self.source.neighbour(ip)
    }

    fn udp6(
        &self,
        bind: SocketAddrV6,
        groups: &[Ipv6Addr],
    ) -> BoxFuture<'_, io::Result<UdpSocket>> {
        let groups = groups.to_vec();
        Box::pin(async move {
            let place = Place::Udp6(bind, groups.clone());
            if let Some(socket) = self.held(&place)? {
                return Ok(socket);
            }
            let socket = self.source.udp6(bind, &groups).await?;
            self.hold(place, bind.port(), &socket)?;
            Ok(socket)
        })
    }

    fn tcp6_listener(&self, bind: SocketAddrV6) -> BoxFuture<'_, io::Result<TcpListener>> {
        Box::pin(async move {
            let place = Place::Tcp6(bind);
            if let Some(socket) = self.held(&place)? {
                return Ok(socket);
            }
            let socket = self.source.tcp6_listener(bind).await?;
            self.hold(place, bind.port(), &socket)?;
            Ok(socket)
        })
    }
}
