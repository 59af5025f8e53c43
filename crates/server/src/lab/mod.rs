//! The boot server of a laboratory: machines with boot modes, and a record of every boot attempt.
//!
//! A [`LabServer`] serves any number of interfaces. What it must not forget stands in a
//! [`Store`]; what it knows and does is reached through [`Lab`].

mod changes;
mod config;
mod control;
mod decide;
mod desk;
mod explain;
mod interfaces;
mod known;
mod library;
mod recorder;
mod reload;
mod render;
mod shelf;

use std::sync::{Arc, PoisonError, RwLock};

use bootgate_netboot::dhcp::{DhcpConfig, Responder};
use bootgate_netboot::dhcp6;
use bootgate_store::Store;
use tokio::task::JoinSet;

pub use config::{
    DiscoveryConfig, InstallerConfig, LabConfig, LabDeadlines, LabInterface, LiveConfig,
    LocalBootDefault,
};
pub use control::{ForeignServer, Lab, LabStatus, now};
pub use explain::AskingAs;
pub use recorder::UnderWay;

use crate::depot::{self, Stored};
use crate::metrics::Metrics;
use crate::{
    Artifacts, BootServer, EventSink, Shared, SharedLookup, SharedParts, SocketSource, StartError,
};
use control::LabParts;
use desk::LabDesk;
use interfaces::{Leased, Slots};
use known::{Known, Rules};
use library::Library;
use recorder::{Health, Mailbox, Parts, RecorderThread};
use shelf::Shelf;

/// A lab's server, running. It stops when it is stopped or dropped.
pub struct LabServer {
    lab: Arc<Lab>,
    /// What it does now.
    config: LabConfig,
    slots: Slots,
    /// Servers that were replaced, with their last transfers.
    retired: JoinSet<()>,
    /// What is done now and then. It ends with this.
    chores: JoinSet<()>,
    shared: Arc<Shared>,
    leased: Arc<RwLock<Leased>>,
    recorder: RecorderThread,
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
        check_discovery(&config)?;
        let mut slots = Slots::default();
        let steps = slots.plan(&config.interfaces, sockets).await?;
        let (dhcp, dhcp6) = slots.dhcp(&config, &steps);
        let memory = Memory::read(&config, &store).await?;
        let shared = memory.share(dhcp, dhcp6, &store).await?;
        slots.carry_out(&config.interfaces, steps, &shared);
        let Memory {
            known,
            library,
            health,
            live,
            mailbox,
            recorder,
            leased,
            ..
        } = memory;
        let mut chores = JoinSet::new();
        chores.spawn(depot::tidy(Arc::clone(&store)));
        let lab = Arc::new(Lab::new(LabParts {
            store,
            live,
            known,
            library,
            health,
            mailbox,
            shared: Arc::clone(&shared),
            listening: RwLock::new(slots.listening()),
        }));
        Ok(Self {
            lab,
            config,
            slots,
            retired: JoinSet::new(),
            chores,
            shared,
            leased,
            recorder,
        })
    }

    /// What the server knows and what can be asked of it.
    #[must_use]
    pub fn control(&self) -> Arc<Lab> {
        Arc::clone(&self.lab)
    }

    /// Where the servers of each interface listen, in the order of [`LabConfig::interfaces`].
    #[must_use]
    pub fn addresses(&self) -> Vec<crate::Addresses> {
        let interfaces = self.config.interfaces.iter();
        let found = interfaces.map(|interface| {
            let mut served = self.slots.served();
            served.find(|served| served.interface.name == interface.name)
        });
        let found = found.map(|served| served.map(|served| served.server.addresses()));
        found.map(Option::unwrap_or_default).collect()
    }

    /// Stops all servers, writes what is not written yet, and waits until they are gone. Open attempts stay open and
    /// go on at the next start.
    pub async fn stop(mut self) {
        self.slots.stop().await;
        self.retired.shutdown().await;
        // They have the store in their hands.
        self.chores.shutdown().await;
        let (shared, recorder) = (self.shared, self.recorder);
        let stopped = tokio::task::spawn_blocking(move || {
            shared.close();
            recorder.stop();
        });
        if let Err(error) = stopped.await {
            tracing::error!("stop the recorder: {error}");
        }
    }
}

/// What is made before the servers start.
struct Memory {
    artifacts: Arc<Artifacts>,
    known: Arc<Known>,
    library: Arc<Shelf>,
    health: Arc<Health>,
    metrics: Option<Arc<Metrics>>,
    live: tokio::sync::broadcast::Sender<(bootgate_events::AttemptId, bootgate_events::Event)>,
    mailbox: Mailbox,
    recorder: RecorderThread,
    /// Networks whose addresses only this server gives out.
    leased: Arc<RwLock<Leased>>,
}

impl Memory {
    async fn read(config: &LabConfig, store: &Arc<dyn Store>) -> Result<Self, StartError> {
        let (config, store) = (config.clone(), Arc::clone(store));
        let read = tokio::task::spawn_blocking(move || Self::read_now(&config, store));
        let read = read.await;
        read.map_err(|error| StartError::Config(format!("read the configuration: {error}")))?
    }

    fn read_now(config: &LabConfig, store: Arc<dyn Store>) -> Result<Self, StartError> {
        let artifacts = Arc::<Artifacts>::default();
        let library = Arc::new(Shelf::new(Library::read(config, &artifacts)?));
        if let Some(depot) = store.artifacts() {
            depot.set_upload_limits(config.uploads);
        }
        let stored = Stored::read(&*store).map_err(StartError::Store)?;
        artifacts.set_stored(stored.artifacts);
        library.put_stored(&stored.images);
        let known = Known::load(&*store, Rules::of(config));
        let known = Arc::new(known.map_err(StartError::Store)?);
        let live = control::live();
        let health = Arc::<Health>::default();
        let metrics = Metrics::new().map(Arc::new);
        let parts = Parts {
            store,
            known: Arc::clone(&known),
            library: Arc::clone(&library),
            live: live.clone(),
            health: Arc::clone(&health),
            metrics: metrics.clone(),
        };
        let (recorder, mailbox) = RecorderThread::start(parts).map_err(StartError::Store)?;
        Ok(Self {
            artifacts,
            known,
            library,
            health,
            metrics,
            live,
            mailbox,
            recorder,
            leased: Arc::new(RwLock::new(Leased::of(config))),
        })
    }

    /// What the servers of all interfaces share.
    async fn share(
        &self,
        dhcp: DhcpConfig,
        dhcp6: Option<dhcp6::Responder>,
        store: &Arc<dyn Store>,
    ) -> Result<Arc<Shared>, StartError> {
        let leased = Arc::clone(&self.leased);
        let desk = Arc::new(LabDesk {
            known: Arc::clone(&self.known),
            library: Arc::clone(&self.library),
            mailbox: self.mailbox.clone(),
            leased_here: Box::new(move |ip| {
                let leased = leased.read().unwrap_or_else(PoisonError::into_inner);
                leased.has(ip)
            }),
        });
        let mailbox = self.mailbox.clone();
        let sink: EventSink = Arc::new(move |fact| mailbox.fact(fact));
        let mut parts = SharedParts::new(Responder::new(dhcp), sink);
        parts.responder6 = dhcp6;
        parts.lookup = Arc::clone(&desk) as SharedLookup;
        parts.desk = desk;
        parts.artifacts = Arc::clone(&self.artifacts);
        parts.plain_clients = false;
        parts.metrics.clone_from(&self.metrics);
        let store = Arc::clone(store);
        let shared = tokio::task::spawn_blocking(move || {
            parts.keep_leases(store)?;
            Ok(Shared::new(parts))
        });
        let shared = shared.await;
        shared.map_err(|error| StartError::Config(format!("read the leases: {error}")))?
    }
}

/// Discovery writes no disk, whatever the configuration says, and what it does is there.
fn check_discovery(config: &LabConfig) -> Result<(), StartError> {
    use bootgate_api::BootMode;
    match &config.discovery.mode {
        Some(BootMode::Inventory) if config.live.is_none() => Err(StartError::Config(
            "machines cannot be discovered into `inventory` without a live environment, which takes it"
                .to_owned(),
        )),
        Some(BootMode::Script { script }) if !config.scripts.contains_key(script) => {
            Err(StartError::Config(format!(
                "machines cannot be discovered into script `{script}`: there is no such script"
            )))
        }
        None | Some(BootMode::Local | BootMode::Inventory | BootMode::Script { .. }) => Ok(()),
        Some(mode) => Err(StartError::Config(format!(
            "machines cannot be discovered into `{}`, which writes their disks: use `local`, `inventory` or `script`",
            mode.name()
        ))),
    }
}

impl Slots {
    /// Interface, service and address of each server.
    fn listening(&self) -> Vec<(String, String, String)> {
        let all = self.served();
        let all = all.flat_map(|served| listening(&served.interface.name, &served.server));
        all.collect()
    }
}

fn listening(name: &str, server: &BootServer) -> Vec<(String, String, String)> {
    let services = server.listening().iter();
    services
        .map(|(service, address)| (name.to_owned(), service.clone(), address.clone()))
        .collect()
}
