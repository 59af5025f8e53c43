//! Why a machine gets its reply.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use bootgate_api::{Attempt, BootMode, DiskState, ExplainStep, Explanation, LeaseState, Machine};
use bootgate_events::{EventKind, MacAddr};
use bootgate_store::AttemptFilter;
use serde::Deserialize;

use super::problem::{Asked, Refusal};
use super::{Control, blocking};
use crate::lab::{AskingAs, now};

/// Events read from the storage at once.
const BATCH: usize = 256;

/// What `as` may say.
const AS: &str =
    "`arch=7`, `class=PXEClient`, `ip=6`, `interface=eth1` and `relay=10.0.8.1`, joined by commas";

/// What to explain.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The machine.
    machine: String,
    /// How it asks.
    #[serde(rename = "as")]
    asking: Option<String>,
}

pub(super) async fn explain(
    State(control): State<Arc<Control>>,
    Asked(question): Asked<Question>,
) -> Result<Json<Explanation>, Refusal> {
    blocking(control, move |control| {
        let asking = asking_as(question.asking.as_deref().unwrap_or_default())?;
        let mac = control.mac_of(&question.machine)?;
        let mut explanation = match &control.lab {
            Some(lab) => lab.explain(&mac, &asking)?,
            None => stored(control, control.store.machine(&mac)?)?,
        };
        explanation.steps.extend(last_reply(control, mac)?);
        Ok(Json(explanation))
    })
    .await
}

/// Reads `arch=7,class=iPXE,interface=eth1,relay=10.0.8.1`.
fn asking_as(text: &str) -> Result<AskingAs, Refusal> {
    let mut asking = AskingAs::default();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let bad = || Refusal::bad(format!("`{part}` does not say how a machine asks"), AS);
        let (key, value) = part.split_once('=').ok_or_else(bad)?;
        match key {
            "arch" => {
                let number = match value.strip_prefix("0x") {
                    Some(digits) => u16::from_str_radix(digits, 16),
                    None => value.parse(),
                };
                let number = number.map_err(|_| {
                    Refusal::bad(
                        format!("architecture `{value}` is not a number"),
                        "option 93's number: 0 is a BIOS, 7 x86-64 UEFI, 11 arm64 UEFI",
                    )
                })?;
                asking.architecture = Some(number);
            }
            "ip" => {
                asking.over_ipv6 = match value {
                    "4" => false,
                    "6" => true,
                    _ => return Err(bad()),
                }
            }
            "class" => asking.class = Some(value.to_owned()),
            "interface" => asking.interface = Some(value.to_owned()),
            "relay" => {
                let address = value.parse().map_err(|_| {
                    Refusal::bad(
                        format!("relay `{value}` is not an address"),
                        "the relay's own address on the machine's segment (giaddr; of DHCPv6, the link address)",
                    )
                })?;
                asking.relay = Some(address);
            }
            _ => return Err(bad()),
        }
    }
    match asking.relay {
        Some(IpAddr::V4(_)) if asking.over_ipv6 => Err(Refusal::bad(
            "`relay` is an IPv4 relay, which hands on no DHCPv6",
            "with `ip=6`, the relay's IPv6 address on the machine's segment (its link address)",
        )),
        Some(IpAddr::V6(_)) if !asking.over_ipv6 => Err(Refusal::bad(
            "`relay` is an IPv6 relay, which hands on DHCPv6 alone",
            "add `ip=6`, or name the relay's IPv4 address",
        )),
        _ => Ok(asking),
    }
}

/// What can be said where no server runs: what the stored machine is set to, not how it would be told.
fn stored(control: &Control, machine: Option<Machine>) -> Result<Explanation, Refusal> {
    let mut steps = vec![step(
        "server",
        "none runs: no interface is served, and its configuration is not known here",
    )];
    let Some(machine) = machine else {
        steps.push(step("machine", "not known"));
        return Ok(Explanation {
            steps,
            outcome: "nothing now; a running server treats it as its configuration says of unknown machines"
                .to_owned(),
        });
    };
    let named = machine.name.as_deref().unwrap_or("without a name");
    steps.push(step("machine", format!("{}, {named}", machine.mac)));
    steps.push(step("mode", machine.boot.name()));
    if let Some(order) = machine.boot.flash() {
        let failed = machine.failed_flashes;
        let image = &order.image;
        let told = match failed {
            0 => format!("image `{image}`"),
            failed => format!("image `{image}`; failed in a row: {failed}"),
        };
        steps.push(step("flash", told));
    }
    if let BootMode::Install { installer } = &machine.boot {
        let told = match machine.failed_flashes {
            0 => format!("installer `{installer}`"),
            failed => format!("installer `{installer}`; never said to be done, in a row: {failed}"),
        };
        steps.push(step("installation", told));
    }
    steps.push(step("disk", disk(&machine.disk)));
    let leases = control.store.leases()?;
    let lease = leases
        .iter()
        .find(|lease| lease.mac == machine.mac && lease.state == LeaseState::Leased);
    steps.push(match lease {
        Some(lease) if lease.ends > now() => step("lease", lease.ip.to_string()),
        Some(lease) => step("lease", format!("{}, ended", lease.ip)),
        None => step("lease", "none"),
    });
    if let Some(attempt) = latest(control, machine.mac)? {
        let verdict = attempt.verdict.as_ref();
        let verdict = verdict.map_or("no verdict yet", |target| target.verdict.word());
        steps.push(step("attempt", format!("{}: {verdict}", attempt.id)));
    }
    Ok(Explanation {
        outcome: format!("nothing now; with a server: {}", outcome(&machine)),
        steps,
    })
}

/// What the machine was last told by DHCP, and why.
fn last_reply(control: &Control, mac: MacAddr) -> Result<Option<ExplainStep>, Refusal> {
    let Some(attempt) = latest(control, mac)? else {
        return Ok(None);
    };
    let (mut from, mut told) = (0, None);
    loop {
        let events = control.store.events(&attempt.id, from, BATCH)?;
        for event in &events {
            if let Some(EventKind::DhcpSent { facts, reason, .. }) = event.kind() {
                let address = facts.address.map(|address| format!(" {address}"));
                let file = facts.bootfile.as_ref().map(|file| format!(", `{file}`"));
                let (address, file) = (address.unwrap_or_default(), file.unwrap_or_default());
                let message = facts.message.to_uppercase();
                told = Some(format!("{message}{address}{file}: {reason}"));
            }
        }
        match events.last() {
            Some(last) if events.len() == BATCH => from = last.seq + 1,
            _ => break,
        }
    }
    Ok(told.map(|told| step("last reply", format!("in attempt {}: {told}", attempt.id))))
}

fn latest(control: &Control, mac: MacAddr) -> Result<Option<Attempt>, Refusal> {
    let latest = AttemptFilter {
        mac: Some(mac),
        limit: 1,
        ..AttemptFilter::default()
    };
    Ok(control.store.attempts(&latest)?.pop())
}

fn step(about: &str, found: impl Into<String>) -> ExplainStep {
    ExplainStep {
        about: about.to_owned(),
        found: found.into(),
    }
}

fn disk(disk: &DiskState) -> String {
    match disk {
        DiskState::Unknown => "not flashed from here".to_owned(),
        DiskState::Dirty { attempt } => format!("half written by attempt {attempt}"),
        DiskState::Flashed { image, .. } => format!("holds image `{image}`"),
    }
}

fn outcome(machine: &Machine) -> String {
    let dirty = matches!(machine.disk, DiskState::Dirty { .. });
    match &machine.boot {
        _ if machine.local_next => "its own disk next, since it was flashed just before".to_owned(),
        BootMode::Local if dirty => "refused, since its disk is half written".to_owned(),
        BootMode::Local => "its own disk".to_owned(),
        BootMode::FlashOnce(order) | BootMode::FlashAlways(order) => {
            format!(
                "image `{}` written to its disk, unless too many tries failed",
                order.image
            )
        }
        BootMode::Inventory => "the live environment, which tells what it is made of".to_owned(),
        BootMode::Install { installer } => {
            format!("installer `{installer}`, unless too many tries failed")
        }
        BootMode::Script { script } => format!("script `{script}`"),
    }
}
