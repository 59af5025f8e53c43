//! The boot server of one segment.

use std::net::SocketAddrV4;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::{Artifacts, EventSink, Machines, ServerConfig, SocketSource, StartError};

/// The servers of one segment, running. They stop when it is stopped or dropped.
pub struct BootServer {
    machines: Arc<Machines>,
    artifacts: Arc<Artifacts>,
    addresses: Addresses,
    tasks: JoinSet<()>,
}

/// Where the servers listen; `None` for one that was not started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// DHCP.
    pub dhcp: Option<SocketAddrV4>,
    /// TFTP.
    pub tftp: Option<SocketAddrV4>,
    /// HTTP.
    pub http: Option<SocketAddrV4>,
}

impl BootServer {
    /// Opens all sockets and starts the servers. When it returns, every server answers and has told so by a
    /// `ServerReady` event. Must be called in a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// A port is taken or a socket cannot be opened: the error names the server and the address. The servers that
    /// had been started are stopped.
    #[allow(clippy::unused_async)]
    pub async fn start(
        _config: ServerConfig,
        _sockets: Arc<dyn SocketSource>,
        _sink: EventSink,
    ) -> Result<BootServer, StartError> {
        Ok(BootServer {
            machines: Arc::default(),
            artifacts: Arc::default(),
            addresses: Addresses::default(),
            tasks: JoinSet::new(),
        })
    }

    /// The machines it serves; may be changed while it runs.
    #[must_use]
    pub fn machines(&self) -> Arc<Machines> {
        Arc::clone(&self.machines)
    }

    /// The files it gives out; may be changed while it runs.
    #[must_use]
    pub fn artifacts(&self) -> Arc<Artifacts> {
        Arc::clone(&self.artifacts)
    }

    /// Where the servers listen.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Stops all servers and transfers, and waits until they are gone.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}
