//! The operators' door: machines, leases and attempts over a socket that only the server's user can open.
//!
//! A [`Control`] makes a router. A running server offers it on a unix socket ([`ControlServer`]); the command line
//! calls the same router in its own process where no server runs, so that every rule has one home.

mod accounts;
mod artifacts;
mod attempts;
mod explain;
mod follow;
mod images;
mod leases;
mod machines;
mod mode;
mod problem;
mod reload;
mod socket;
mod sse;
mod state;

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, Uri};
use axum::routing::{delete, get, patch, post, put};
use bootgate_api::artifact::paths as artifact_paths;
use bootgate_api::control::{MachineRef, Problem, paths};
use bootgate_api::{FlashOrder, Machine};
use bootgate_events::MacAddr;
use bootgate_store::{MachineChange, Store};

use crate::BoxFuture;
use crate::door::Accounts;
use crate::lab::{Lab, LabConfig, now};
pub(crate) use problem::{Body, Refusal};
pub use socket::{ControlError, ControlServer};

/// Longest body of a request, in bytes.
const BODY_MAX: usize = 64 << 10;

/// Sends magic packets for a machine to an interface's segment.
pub type Waker = Arc<dyn Fn(&str, MacAddr) -> io::Result<()> + Send + Sync>;

/// Reads the configuration again: what changed, a line for each thing, or why it was refused.
pub type Reloader = Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<String>, Problem>> + Send + Sync>;

/// What operators may ask of.
#[derive(Clone)]
pub struct Control {
    store: Arc<dyn Store>,
    lab: Option<Arc<Lab>>,
    names: Option<Names>,
    waker: Option<Waker>,
    accounts: Option<Arc<Accounts>>,
    reloader: Option<Reloader>,
}

/// The names that boot modes may refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Images.
    pub images: BTreeSet<String>,
    /// Installers.
    pub installers: BTreeSet<String>,
    /// Scripts.
    pub scripts: BTreeSet<String>,
}

impl Names {
    /// The names in a lab's configuration.
    #[must_use]
    pub fn of(config: &LabConfig) -> Self {
        Self {
            images: config.images.keys().cloned().collect(),
            installers: config.installers.keys().cloned().collect(),
            scripts: config.scripts.keys().cloned().collect(),
        }
    }
}

impl Control {
    /// A running lab, whose configuration has these names.
    #[must_use]
    pub fn running(lab: Arc<Lab>, names: Names) -> Self {
        Self {
            store: Arc::clone(lab.store()),
            lab: Some(lab),
            names: Some(names),
            waker: None,
            accounts: None,
            reloader: None,
        }
    }

    /// What a server left behind; none runs. Names of images, installers and scripts are not known, and taken as they
    /// come.
    #[must_use]
    pub fn stored(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            lab: None,
            names: None,
            waker: None,
            accounts: None,
            reloader: None,
        }
    }

    /// The same, where the names that boot modes may refer to are known.
    #[must_use]
    pub fn with_names(self, names: Names) -> Self {
        Self {
            names: Some(names),
            ..self
        }
    }

    /// The same, and machines can be woken.
    #[must_use]
    pub fn with_waker(self, waker: Waker) -> Self {
        Self {
            waker: Some(waker),
            ..self
        }
    }

    /// The same, and the configuration can be read again.
    #[must_use]
    pub fn with_reloader(self, reloader: Reloader) -> Self {
        Self {
            reloader: Some(reloader),
            ..self
        }
    }

    /// The names that boot modes may refer to now.
    fn names(&self) -> Option<Names> {
        match &self.lab {
            Some(lab) => Some(lab.names()),
            None => self.names.clone(),
        }
    }

    /// The same, with users and tokens.
    #[must_use]
    pub fn with_accounts(self, accounts: Arc<Accounts>) -> Self {
        Self {
            accounts: Some(accounts),
            ..self
        }
    }

    /// The routes, as `bootgate_api::control` describes them.
    pub fn router(self) -> Router {
        let machine = format!("{}/{{who}}", paths::MACHINES);
        let attempt = format!("{}/{{id}}", paths::ATTEMPTS);
        let monitor = self
            .lab
            .clone()
            .map(crate::monitor_router)
            .unwrap_or_default();
        Router::new()
            .route(paths::MACHINES, get(machines::list))
            .route(
                &machine,
                get(machines::show)
                    .patch(machines::set)
                    .put(machines::set)
                    .delete(machines::forget),
            )
            .route(&format!("{machine}/arm"), post(machines::arm))
            .route(&format!("{machine}/retry"), post(machines::retry))
            .route(&format!("{machine}/wake"), post(machines::wake))
            .route(paths::LEASES, get(leases::list))
            .route(&format!("{}/{{ip}}", paths::LEASES), delete(leases::forget))
            .route(paths::ATTEMPTS, get(attempts::list))
            .route(&attempt, get(attempts::show))
            .route(&format!("{attempt}/events"), get(attempts::events))
            .route(paths::EVENTS, get(attempts::all_events))
            .merge(depot_routes())
            .route(paths::EXPLAIN, get(explain::explain))
            .route(paths::STATUS, get(state::status))
            .route(paths::BACKUP, post(state::backup))
            .route(paths::RELOAD, post(reload::reload))
            .route(paths::OPENAPI, get(accounts::openapi))
            .route(paths::USERS, get(accounts::users).post(accounts::add_user))
            .route(
                &format!("{}/{{name}}", paths::USERS),
                patch(accounts::change_user).delete(accounts::remove_user),
            )
            .route(
                paths::TOKENS,
                get(accounts::tokens).post(accounts::add_token),
            )
            .route(
                &format!("{}/{{name}}", paths::TOKENS),
                delete(accounts::revoke),
            )
            .fallback(unknown)
            .method_not_allowed_fallback(wrong_method)
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .with_state(Arc::new(self))
            .merge(monitor)
    }

    /// Changes a machine: by way of the running server, so that it takes effect at once.
    fn set_machine(&self, mac: &MacAddr, change: &MachineChange) -> Result<Machine, Refusal> {
        Ok(match &self.lab {
            Some(lab) => lab.set_machine(mac, change)?,
            None => self.store.set_machine(mac, change, now())?,
        })
    }

    fn arm_flash(
        &self,
        mac: &MacAddr,
        order: &FlashOrder,
        always: bool,
    ) -> Result<Machine, Refusal> {
        Ok(match &self.lab {
            Some(lab) => lab.arm_flash(mac, order, always)?,
            None => self.store.arm_flash(mac, order, always, now())?,
        })
    }

    fn forget_machine(&self, mac: &MacAddr) -> Result<bool, Refusal> {
        Ok(match &self.lab {
            Some(lab) => lab.forget_machine(mac)?,
            None => self.store.forget_machine(mac)?,
        })
    }

    fn forget_lease(&self, ip: IpAddr) -> Result<bool, Refusal> {
        Ok(match &self.lab {
            Some(lab) => lab.forget_lease(ip)?,
            None => self.store.forget_lease(ip)?,
        })
    }

    /// The hardware address of a machine that is named by it or by its name.
    fn mac_of(&self, who: &str) -> Result<MacAddr, Refusal> {
        let name = match MachineRef::read(who) {
            MachineRef::Mac(mac) => return Ok(mac),
            MachineRef::Name(name) => name,
        };
        let machines = self.store.machines()?;
        let found = machines
            .iter()
            .find(|machine| machine.name.as_deref() == Some(&name));
        match found {
            Some(machine) => Ok(machine.mac),
            None => {
                let names = machines
                    .iter()
                    .filter_map(|machine| machine.name.as_deref());
                Err(Refusal::no_machine(&name, names))
            }
        }
    }

    /// The same for what makes a machine known: its address is one that an interface can have.
    fn mac_of_a_machine(&self, who: &str) -> Result<MacAddr, Refusal> {
        let mac = self.mac_of(who)?;
        if mac.is_multicast() || mac.0 == [0; 6] {
            return Err(Refusal::bad(
                format!("`{mac}` is not the address of a network interface"),
                "the address of the interface that the machine boots from",
            ));
        }
        Ok(mac)
    }

    /// A machine that is known.
    fn machine(&self, who: &str) -> Result<Machine, Refusal> {
        let mac = self.mac_of(who)?;
        let found = self.store.machine(&mac)?;
        found.ok_or_else(|| Refusal::unknown_machine(&mac))
    }
}

/// The routes of artifacts and images, as `bootgate_api::artifact` describes them.
fn depot_routes() -> Router<Arc<Control>> {
    let named = |path: &str| format!("{path}/{{name}}");
    let artifact = named(artifact_paths::ARTIFACTS);
    let upload = format!("{}/{{id}}", artifact_paths::UPLOADS);
    Router::new()
        .route(artifact_paths::ARTIFACTS, get(artifacts::list))
        .route(
            &artifact,
            get(artifacts::show)
                .put(artifacts::name)
                .delete(artifacts::delete),
        )
        .route(&format!("{artifact}/content"), get(artifacts::content))
        .route(&named(artifact_paths::ALIASES), put(artifacts::alias))
        .route(artifact_paths::COLLECT, post(artifacts::collect))
        .route(
            artifact_paths::UPLOADS,
            get(artifacts::uploads).post(artifacts::begin),
        )
        .route(
            &upload,
            get(artifacts::upload)
                .patch(artifacts::append)
                .delete(artifacts::cancel),
        )
        .route(&format!("{upload}/finish"), post(artifacts::finish))
        .route(artifact_paths::IMAGES, get(images::list))
        .route(
            &named(artifact_paths::IMAGES),
            get(images::show).put(images::add).delete(images::remove),
        )
}

/// Does what blocks for the storage on a thread that may wait.
async fn blocking<T: Send + 'static>(
    control: Arc<Control>,
    work: impl FnOnce(&Control) -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(move || work(&control)).await {
        Ok(done) => done,
        Err(error) => Err(Refusal::broken(&format!("answer the request: {error}"))),
    }
}

async fn unknown(uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::NOT_FOUND,
        format!("nothing is served under `{}`", uri.path()),
        "the command line and the server may be of different versions",
    )
}

async fn wrong_method(method: Method, uri: Uri) -> Refusal {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("method `{method}` is not served under `{}`", uri.path()),
        "the command line and the server may be of different versions",
    )
}
