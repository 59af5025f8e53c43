//! Leases.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use bootgate_api::Lease;
use bootgate_api::control::Forgotten;
use serde::Deserialize;

use super::problem::{Asked, Refusal};
use super::{Control, blocking};

/// Which leases to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Of this machine.
    machine: Option<String>,
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<Vec<Lease>>, Refusal> {
    blocking(control, move |control| {
        let who = filter.machine.as_deref();
        let mac = who.map(|who| control.mac_of(who)).transpose()?;
        let mut leases = control.store.leases()?;
        leases.retain(|lease| mac.is_none_or(|mac| lease.mac == mac));
        Ok(Json(leases))
    })
    .await
}

pub(super) async fn forget(
    State(control): State<Arc<Control>>,
    Path(ip): Path<String>,
) -> Result<Json<Forgotten>, Refusal> {
    let Ok(ip) = ip.parse::<IpAddr>() else {
        return Err(Refusal::bad(
            format!("`{ip}` is not an IP address"),
            "`bootgate lease list` shows the addresses",
        ));
    };
    blocking(control, move |control| {
        let known = control.forget_lease(ip)?;
        Ok(Json(Forgotten { known }))
    })
    .await
}
