//! How the server is, and copies of what it stores.

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bootgate_api::LeaseState;
use bootgate_api::control::{Backup, Dropped, ForeignServer, Listening, ServerStatus, Status};
use bootgate_store::{AttemptFilter, Store, StoreError};

use super::problem::{Body, Refusal};
use super::{Control, blocking};
use crate::lab::{self, LabStatus, now};

pub(super) async fn status(State(control): State<Arc<Control>>) -> Result<Json<Status>, Refusal> {
    blocking(control, |control| {
        let store = &control.store;
        let server = control.lab.as_ref().map(|lab| lab.status()).transpose()?;
        let machines = match &server {
            Some(server) => server.machines,
            None => store.machines()?.len() as u64,
        };
        let open_attempts = match &server {
            Some(server) => server.open_attempts,
            None => open_attempts(store.as_ref())?,
        };
        let now = now();
        let leases = store.leases()?;
        let leases = leases
            .iter()
            .filter(|lease| lease.state == LeaseState::Leased && lease.ends > now);
        Ok(Json(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            machines,
            open_attempts,
            leases: leases.count() as u64,
            server: server.map(told),
        }))
    })
    .await
}

fn open_attempts(store: &dyn Store) -> Result<u64, StoreError> {
    let open = AttemptFilter {
        open: true,
        limit: usize::MAX >> 1,
        ..AttemptFilter::default()
    };
    Ok(store.attempts(&open)?.len() as u64)
}

fn told(status: LabStatus) -> ServerStatus {
    let listening = status.listening.into_iter();
    let dropped = status.dropped.into_iter();
    ServerStatus {
        started: status.started,
        listening: listening
            .map(|(interface, service, address)| Listening {
                interface,
                service,
                address,
            })
            .collect(),
        dropped: dropped
            .map(|((service, reason), count)| Dropped {
                service,
                reason,
                count,
            })
            .collect(),
        lost_events: status.lost_events,
        foreign_servers: status.foreign_servers.into_iter().map(foreign).collect(),
        storage_error: status.storage_error,
        stopping: status.stopping,
        reload: status.reload,
    }
}

fn foreign(server: lab::ForeignServer) -> ForeignServer {
    ForeignServer {
        address: server.address,
        mac: server.mac,
        interface: server.interface,
        by: server.by,
        last_seen: server.last_seen,
    }
}

pub(super) async fn backup(
    State(control): State<Arc<Control>>,
    Body(backup): Body<Backup>,
) -> Result<Json<Backup>, Refusal> {
    blocking(control, move |control| {
        let path = Path::new(&backup.path);
        if !path.is_absolute() {
            return Err(Refusal::bad(
                format!("`{}` is not an absolute path", backup.path),
                "the server's working folder is another one",
            ));
        }
        if path.symlink_metadata().is_ok() {
            return Err(Refusal::bad(
                format!(
                    "`{}` is there already, and a backup replaces nothing",
                    backup.path
                ),
                "name a file that does not exist yet, or delete that one",
            ));
        }
        let done = control.store.backup(path).map_err(Refusal::from);
        done.map_err(|refusal| {
            refusal
                .hint("name a file that does not exist yet, in a folder that the server can write")
        })?;
        Ok(Json(backup))
    })
    .await
}
