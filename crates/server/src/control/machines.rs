//! Machines.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use bootgate_api::control::{ArmFlash, Forgotten, MachineUpdate, WakeOrder, Woken};
use bootgate_api::{BootMode, DiskState, Machine};
use bootgate_store::MachineChange;
use serde::Deserialize;

use super::problem::{Asked, Body, Refusal};
use super::{Control, blocking, mode};

/// Which machines to list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Of this mode.
    mode: Option<String>,
    /// With these labels: `K=V` joined by commas; `K` alone asks for any value.
    label: Option<String>,
}

impl Filter {
    fn passes(&self, machine: &Machine) -> bool {
        let mode = self.mode.as_deref();
        let labels = self.label.as_deref().unwrap_or_default();
        let has = |label: &str| match label.split_once('=') {
            Some((key, value)) => machine.labels.get(key).is_some_and(|has| has == value),
            None => machine.labels.contains_key(label),
        };
        mode.is_none_or(|mode| machine.boot.name() == mode)
            && labels.split(',').filter(|label| !label.is_empty()).all(has)
    }
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Asked(filter): Asked<Filter>,
) -> Result<Json<Vec<Machine>>, Refusal> {
    blocking(control, move |control| {
        let mut machines = control.store.machines()?;
        machines.retain(|machine| filter.passes(machine));
        Ok(Json(machines))
    })
    .await
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path(who): Path<String>,
) -> Result<Json<Machine>, Refusal> {
    blocking(control, move |control| control.machine(&who).map(Json)).await
}

pub(super) async fn set(
    State(control): State<Arc<Control>>,
    Path(who): Path<String>,
    Body(update): Body<MachineUpdate>,
) -> Result<Json<Machine>, Refusal> {
    blocking(control, move |control| {
        let change = mode::change(update, control.names().as_ref())?;
        let mac = control.mac_of_a_machine(&who)?;
        let set = control.set_machine(&mac, &change);
        set.map(Json).map_err(|refusal| why_not(refusal, &change))
    })
    .await
}

/// What to do where the store refuses a change.
fn why_not(refusal: Refusal, change: &MachineChange) -> Refusal {
    let local = matches!(change.boot, Some(BootMode::Local)) && !change.force;
    match refusal {
        refusal if refusal.is_conflict() && local => refusal.hint(
            "flash it again (`bootgate machine retry`), or `--force` where you know that the disk boots",
        ),
        refusal if refusal.is_conflict() && change.name.is_some() => {
            refusal.hint("`bootgate machine list` shows which names are given")
        }
        refusal if refusal.is_conflict() => {
            refusal.hint("the server's configuration says what it can boot")
        }
        refusal => refusal,
    }
}

pub(super) async fn forget(
    State(control): State<Arc<Control>>,
    Path(who): Path<String>,
) -> Result<Json<Forgotten>, Refusal> {
    blocking(control, move |control| {
        let mac = control.mac_of(&who)?;
        let known = control.forget_machine(&mac)?;
        Ok(Json(Forgotten { known }))
    })
    .await
}

pub(super) async fn arm(
    State(control): State<Arc<Control>>,
    Path(who): Path<String>,
    Body(order): Body<ArmFlash>,
) -> Result<Json<Machine>, Refusal> {
    blocking(control, move |control| {
        let names = control.names();
        let flash = mode::flash(order.image, order.disk, order.after, names.as_ref())?;
        let mac = control.mac_of_a_machine(&who)?;
        control.arm_flash(&mac, &flash, order.always).map(Json)
    })
    .await
}

/// Ordering the same flash or installation again makes the failures so far forgotten.
pub(super) async fn retry(
    State(control): State<Arc<Control>>,
    Path(who): Path<String>,
) -> Result<Json<Machine>, Refusal> {
    blocking(control, move |control| {
        let machine = control.machine(&who)?;
        if let BootMode::Install { .. } = machine.boot {
            let again = MachineChange {
                boot: Some(machine.boot),
                ..MachineChange::default()
            };
            return control.set_machine(&machine.mac, &again).map(Json);
        }
        let Some(order) = machine.boot.flash() else {
            let error = format!(
                "boot mode `{}` of `{}` has no flash or installation to try again",
                machine.boot.name(),
                machine.mac
            );
            let hint = match machine.disk {
                DiskState::Dirty { .. } => {
                    "its disk is half written: order a flash with `bootgate machine arm`"
                }
                _ => "order a flash with `bootgate machine arm`",
            };
            return Err(Refusal::new(StatusCode::CONFLICT, error, hint));
        };
        let always = matches!(machine.boot, BootMode::FlashAlways(_));
        control.arm_flash(&machine.mac, order, always).map(Json)
    })
    .await
}

pub(super) async fn wake(
    State(control): State<Arc<Control>>,
    Path(who): Path<String>,
    Body(order): Body<WakeOrder>,
) -> Result<Json<Woken>, Refusal> {
    blocking(control, move |control| {
        let mac = control.mac_of(&who)?;
        let Some(waker) = &control.waker else {
            return Err(Refusal::new(
                StatusCode::NOT_IMPLEMENTED,
                "nobody here sends wake-up packets",
                "",
            ));
        };
        let interfaces = match order.interface {
            Some(interface) => vec![interface],
            None => served(control)?,
        };
        let (mut woken, mut failures) = (Vec::new(), Vec::new());
        for interface in interfaces {
            match waker(&interface, mac) {
                Ok(()) => woken.push(interface),
                Err(error) => failures.push(format!("wake `{mac}` on `{interface}`: {error}")),
            }
        }
        if woken.is_empty() {
            return Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                failures.join("; "),
                "the interface must be up, and the program may need to run as root",
            ));
        }
        Ok(Json(Woken {
            mac,
            interfaces: woken,
        }))
    })
    .await
}

/// The interfaces that are served.
fn served(control: &Control) -> Result<Vec<String>, Refusal> {
    let Some(lab) = &control.lab else {
        return Err(Refusal::new(
            StatusCode::CONFLICT,
            "no server runs, so its interfaces are not known",
            "add --interface NAME, the interface on the machine's segment",
        ));
    };
    let mut interfaces: Vec<String> = Vec::new();
    for (interface, _, _) in lab.status()?.listening {
        if !interfaces.contains(&interface) {
            interfaces.push(interface);
        }
    }
    Ok(interfaces)
}
