//! Another configuration while the server runs.

use std::sync::{Arc, PoisonError};

use super::changes::changes;
use super::interfaces::{Leased, reconfigure};
use super::known::Rules;
use super::library::Library;
use super::{LabConfig, LabServer, check_discovery};
use crate::{Artifacts, SocketSource, StartError};

impl LabServer {
    /// What the server does now.
    #[must_use]
    pub fn config(&self) -> &LabConfig {
        &self.config
    }

    /// Goes on with another configuration (`sockets` in the order of its interfaces), and says what changed, a line for
    /// each thing. All of its files are read anew. Interfaces whose sockets stay the same are not touched; transfers
    /// under way go on to their end with what they began with, everywhere. Open attempts keep their deadlines.
    ///
    /// # Errors
    /// As for [`LabServer::start`]; then nothing has changed.
    pub async fn reload(
        &mut self,
        config: LabConfig,
        sockets: Vec<Arc<dyn SocketSource>>,
    ) -> Result<Vec<String>, StartError> {
        if config.interfaces.is_empty() || config.interfaces.len() != sockets.len() {
            return Err(StartError::Config("no interface is given".to_owned()));
        }
        check_discovery(&config)?;
        let (read, store) = (config.clone(), Arc::clone(&self.lab.parts.store));
        let read = tokio::task::spawn_blocking(move || {
            let artifacts = Artifacts::default();
            let library = Library::read(&read, &artifacts)?;
            let leases = store.leases().map_err(StartError::Store)?;
            Ok((artifacts, library, leases))
        });
        let (artifacts, library, leases) = read
            .await
            .map_err(|error| StartError::Config(format!("read the configuration: {error}")))??;
        let steps = self.slots.plan(&config.interfaces, sockets).await?;
        // From here on nothing fails.
        let parts = &self.lab.parts;
        let changed = changes(&self.config, &config, &parts.library.now(), &library);
        let (dhcp, dhcp6) = self.slots.dhcp(&config, &steps);
        self.shared.artifacts.replace(artifacts);
        parts.library.put(library);
        if let Some(depot) = parts.store.artifacts() {
            depot.set_upload_limits(config.uploads);
        }
        parts.known.set_rules(Rules::of(&config));
        *self.leased.write().unwrap_or_else(PoisonError::into_inner) = Leased::of(&config);
        reconfigure(&self.shared, dhcp, dhcp6, &leases);
        let old = self
            .slots
            .carry_out(&config.interfaces, steps, &self.shared);
        for server in old {
            let ended = server.retire().await;
            self.retired.spawn(ended);
        }
        // Those that ended are nobody's any more.
        while self.retired.try_join_next().is_some() {}
        let listening = self.slots.listening();
        *parts
            .listening
            .write()
            .unwrap_or_else(PoisonError::into_inner) = listening;
        self.config = config;
        Ok(changed)
    }
}
