//! The boot server of a laboratory: machines with boot modes, and a record of every boot attempt.
//!
//! A [`LabServer`] serves any number of interfaces. What it must not forget stands in a
//! [`Store`]; what it knows and does is reached through [`Lab`].

mod config;
mod control;
mod decide;
mod desk;
mod explain;
mod known;
mod library;
mod recorder;
mod render;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bootgate_netboot::dhcp::{
    DhcpConfig, DhcpMode, InterfaceConfig, InterfaceId, Responder, SubnetConfig,
};
use bootgate_netboot::dhcp6;
use bootgate_store::Store;

pub use config::{
    DiscoveryConfig, InstallerConfig, LabConfig, LabDeadlines, LabInterface, LiveConfig,
    LocalBootDefault,
};
pub use control::{ForeignServer, Lab, LabStatus, now};
pub use explain::AskingAs;

use crate::{
    Artifacts, BootServer, Bound, EventSink, Shared, SharedLookup, SharedParts, SocketSource,
    StartError, dhcp6_responder,
};
use control::LabParts;
use desk::LabDesk;
use known::{Known, Rules};
use library::Library;
use recorder::{Health, Mailbox, Parts, RecorderThread};

/// A lab's server, running. It stops when it is stopped or dropped.
pub struct LabServer {
    lab: Arc<Lab>,
    servers: Vec<BootServer>,
    shared: Arc<Shared>,
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
        let mut bound = Vec::new();
        for (number, (interface, sockets)) in config.interfaces.iter().zip(sockets).enumerate() {
            let mut server = interface.server.clone();
            server.interface = InterfaceId(number);
            server.services.dhcp &= interface.dhcp != DhcpMode::Off;
            bound.push(BootServer::bind(server, sockets).await?);
        }
        let memory = Memory::read(&config, &store).await?;
        let dhcp = dhcp_config(&config, &bound);
        let dhcp6 = dhcp6(&config, &bound);
        let shared = memory.share(dhcp, dhcp6, &store).await?;
        let names = config.interfaces.iter().map(|interface| &interface.name);
        let servers: Vec<_> = bound
            .into_iter()
            .map(|bound| bound.start(Arc::clone(&shared)))
            .collect();
        let listening = names
            .zip(&servers)
            .flat_map(|(name, server)| listening(name, server));
        let Memory {
            known,
            library,
            health,
            live,
            recorder,
            ..
        } = memory;
        let lab = Arc::new(Lab::new(LabParts {
            store,
            live,
            known,
            library,
            health,
            shared: Arc::clone(&shared),
            listening: listening.collect(),
        }));
        Ok(Self {
            lab,
            servers,
            shared,
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
        self.servers.iter().map(BootServer::addresses).collect()
    }

    /// Stops all servers, writes what is not written yet, and waits until they are gone. Open attempts stay open and
    /// go on at the next start.
    pub async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
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
    library: Arc<Library>,
    health: Arc<Health>,
    live: tokio::sync::broadcast::Sender<(bootgate_events::AttemptId, bootgate_events::Event)>,
    mailbox: Mailbox,
    recorder: RecorderThread,
    /// Networks whose addresses only this server gives out.
    leased: Vec<SubnetConfig>,
    /// The same of IPv6.
    leased6: Vec<dhcp6::SubnetConfig>,
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
        let library = Arc::new(Library::read(config, &artifacts)?);
        let known = Known::load(&*store, Rules::of(config));
        let known = Arc::new(known.map_err(StartError::Store)?);
        let live = control::live();
        let health = Arc::<Health>::default();
        let parts = Parts {
            store,
            known: Arc::clone(&known),
            library: Arc::clone(&library),
            live: live.clone(),
            health: Arc::clone(&health),
            deadlines: config.deadlines.clone(),
            discoveries_per_second: config.discovery.per_second,
            discovered_limit: config.discovery.limit,
            keep_attempts: config.keep_attempts.max(1),
        };
        let (recorder, mailbox) = RecorderThread::start(parts).map_err(StartError::Store)?;
        Ok(Self {
            artifacts,
            known,
            library,
            health,
            live,
            mailbox,
            recorder,
            leased: leased_subnets(config),
            leased6: leased_prefixes(config),
        })
    }

    /// What the servers of all interfaces share.
    async fn share(
        &self,
        dhcp: DhcpConfig,
        dhcp6: Option<dhcp6::Responder>,
        store: &Arc<dyn Store>,
    ) -> Result<Arc<Shared>, StartError> {
        let (leased, leased6) = (self.leased.clone(), self.leased6.clone());
        let desk = Arc::new(LabDesk {
            known: Arc::clone(&self.known),
            library: Arc::clone(&self.library),
            mailbox: self.mailbox.clone(),
            leased_here: Box::new(move |ip| match ip {
                IpAddr::V4(ip) => leased.iter().any(|subnet| subnet.contains(ip)),
                // Boot loaders' link-local addresses tell their hardware address; others are no machine's.
                IpAddr::V6(ip) if ip.is_unicast_link_local() => !leased6.is_empty(),
                IpAddr::V6(ip) => leased6.iter().any(|subnet| subnet.contains(ip)),
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

fn dhcp_config(config: &LabConfig, bound: &[Bound]) -> DhcpConfig {
    let nowhere = Ipv4Addr::UNSPECIFIED;
    let mut dhcp = DhcpConfig::new(nowhere, 0, nowhere..=nowhere);
    let interfaces = config.interfaces.iter().zip(bound);
    dhcp.interfaces = interfaces
        .map(|(interface, bound)| InterfaceConfig {
            name: interface.name.clone(),
            address: interface.server.server_ip,
            prefix_len: interface.server.prefix_len,
            mode: interface.dhcp,
            http_port: bound.http().port(),
        })
        .collect();
    dhcp.subnets.clone_from(&config.subnets);
    dhcp.authoritative = config.authoritative;
    dhcp.architectures = config.architectures.clone();
    dhcp.limits = config.dhcp_limits.clone();
    dhcp
}

/// The DHCPv6 server of the interfaces that are served over IPv6.
fn dhcp6(config: &LabConfig, bound: &[Bound]) -> Option<dhcp6::Responder> {
    let interfaces: Vec<_> = bound.iter().map(Bound::config).collect();
    let ports = bound.iter().map(|bound| bound.http().port());
    let interfaces: Vec<_> = interfaces.into_iter().zip(ports).collect();
    dhcp6_responder(
        &interfaces,
        config.relayed6.clone(),
        config.architectures.clone(),
        config.authoritative,
        config.dhcp_limits.clone(),
    )
}

/// The subnets whose addresses nobody else gives out: those of interfaces in the mode `full`.
fn leased_subnets(config: &LabConfig) -> Vec<SubnetConfig> {
    let full = |id: &InterfaceId| {
        config
            .interfaces
            .get(id.0)
            .is_some_and(|interface| interface.dhcp == DhcpMode::Full)
    };
    let ours = |subnet: &&SubnetConfig| config.authoritative && subnet.interfaces.iter().any(full);
    config.subnets.iter().filter(ours).cloned().collect()
}

/// The prefixes whose addresses nobody else gives out.
fn leased_prefixes(config: &LabConfig) -> Vec<dhcp6::SubnetConfig> {
    let own = config.interfaces.iter().filter_map(|interface| {
        let ip6 = interface.server.ip6.as_ref().filter(|ip6| ip6.dhcp)?;
        ip6.subnet.as_ref()
    });
    let all = own.chain(&config.relayed6);
    let ours = |subnet: &&dhcp6::SubnetConfig| config.authoritative && subnet.range.is_some();
    all.filter(ours).cloned().collect()
}

fn listening(name: &str, server: &BootServer) -> Vec<(String, String, String)> {
    let services = server.listening().iter();
    services
        .map(|(service, address)| (name.to_owned(), service.clone(), address.clone()))
        .collect()
}
