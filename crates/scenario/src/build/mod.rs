//! From what is written to a plan: defaults filled in, everything checked. Problems are collected, so that one
//! look at a file finds them all.

mod arch;
mod boot;
mod chosen;
mod disk;
mod drivers;
mod faults;
mod fits;
mod image;
mod mac;
mod machine;
mod network;
mod nics;
mod rules;

use std::collections::HashMap;

use bootgate_events::{DiskProofKind, Goal, MacAddr, TargetName, TargetRules};

pub(crate) use fits::unfit;
pub(crate) use machine::board;
pub(crate) use network::network;
pub(crate) use rules::{STAGE_DEADLINES, STALL, TOTAL_DEADLINE, allowed_names, deadlines};

use crate::checks::{Checks, is_name};
use crate::diagnostic::Problem;
use crate::plan::{Driver, Plan, TargetPlan};
use crate::read::shorten;
use crate::wire::{ScenarioWire, SharedWire, TargetWire};

/// The plan, where nothing is so wrong that there can be none. It is good only if no problem was found.
pub(crate) fn plan(wire: &ScenarioWire, checks: &Checks<'_>) -> Option<Plan> {
    let name = scenario_name(wire, checks);
    let network = network(&wire.network, wire.targets.len(), checks);
    if wire.targets.is_empty() {
        let message = "the scenario has no target";
        checks.fail(
            Problem::at(0..0, message)
                .label("no `[[target]]` in this file")
                .hint("add a machine: [[target]] with name = \"client\" and firmware = \"bios\"")
                .absence(),
        );
    }
    distinct_names(&wire.targets, checks);
    let macs = mac::distinct_macs(&name.clone().unwrap_or_default(), &wire.targets, checks);
    let targets: Vec<TargetPlan> = wire
        .targets
        .iter()
        .zip(macs)
        .filter_map(|(wire_target, mac)| target(wire_target, &wire.shared, mac, checks))
        .collect();
    let network = network?;
    one_kind(&wire.targets, &network, checks);
    boot::distinct_bootfiles(&targets, &wire.targets, checks);
    fits::network(&targets, wire, &network, checks);
    Some(Plan {
        name: name?,
        file: checks.file.to_owned(),
        network,
        targets,
        cell: None,
    })
}

fn scenario_name(wire: &ScenarioWire, checks: &Checks<'_>) -> Option<String> {
    if let Some(name) = &wire.name {
        return checks.name("name", name);
    }
    let stem = checks.file.file_stem().map(|stem| stem.to_string_lossy());
    match stem {
        Some(stem) if is_name(&stem) => Some(stem.into_owned()),
        _ => Some("scenario".to_owned()),
    }
}

fn distinct_names(targets: &[TargetWire], checks: &Checks<'_>) {
    let mut seen: HashMap<&str, ()> = HashMap::new();
    for name in targets.iter().filter_map(|target| target.name.as_ref()) {
        if seen.insert(name.get_ref(), ()).is_some() {
            checks.fail(
                Problem::at(
                    name.span(),
                    format!("two targets are named `{}`", shorten(name.get_ref())),
                )
                .label("the second one")
                .hint("give each target a name of its own"),
            );
        }
    }
}

/// Virtual machines and boards cannot share a segment: one is private, the other is a real network.
fn one_kind(targets: &[TargetWire], network: &crate::NetworkPlan, checks: &Checks<'_>) {
    let boards = targets.iter().filter(|target| target.board.is_some());
    let virtual_one = targets.iter().find(|target| target.board.is_none());
    let Some(board) = boards.filter_map(|target| target.board.as_ref()).next() else {
        return;
    };
    if let Some(other) = virtual_one {
        checks.fail(
            Problem::at(other.span.clone(), "a virtual machine beside a board")
                .label("this target has no `[target.board]`")
                .hint("run virtual machines and boards in two scenarios: only boards are on a real network"),
        );
    }
    if network.interface.is_none() {
        checks.fail(
            Problem::at(board.span.clone(), "a board needs a real network interface")
                .label("this board")
                .hint("add [network] with interface = \"enp3s0\", the interface it is connected to")
                .absence(),
        );
    }
}

fn target(
    wire: &TargetWire,
    shared: &SharedWire,
    mac: Option<MacAddr>,
    checks: &Checks<'_>,
) -> Option<TargetPlan> {
    let name = match &wire.name {
        Some(name) => checks.name("name", name),
        None => {
            let hint = "add a name for reports, like name = \"client\"";
            checks.missing(wire.span.clone(), "`name`", hint);
            None
        }
    };
    let firmware = machine::firmware(wire, checks);
    let boots = chosen::boot(wire, shared, firmware.as_ref(), checks);
    let image = image::image(boots.image.as_ref(), checks);
    let boot = firmware
        .as_ref()
        .and_then(|firmware| boot::netboot(&boots, &wire.span, firmware, checks));
    let driver = mac.and_then(|mac| machine::driver(wire, mac, image.as_ref(), checks));
    let disk_boot = boot::disk_boot(&boots, checks);
    let flashes = boots.image.is_some();
    let context = rules::Context {
        flashes,
        disk_boot,
        script: boot.as_ref().is_some_and(|boot| boot.is_script()),
        firmware: firmware.as_ref(),
        tried_before: driver.as_ref().map_or(0, nics::tried_before),
    };
    let judged = rules::rules(wire, shared, &context, checks);
    let (name, firmware, driver) = (name?, firmware?, driver?);
    if disk_boot {
        fits::bios_disk(wire, &firmware, &driver, checks);
    }
    drivers::disk(wire, &firmware, &driver, checks);
    drivers::nic(wire, &firmware, &driver, checks);
    arch::same(&boots, &firmware, image.as_ref(), boot.as_ref(), checks);
    let name = TargetName::new(name);
    let mac = mac?;
    Some(TargetPlan {
        rules: TargetRules {
            name: name.clone(),
            mac,
            expect: judged.expect,
            forbid: judged.forbid,
            keys: judged.keys,
            stage_deadlines_ms: judged.stage_deadlines_ms,
            total_deadline_ms: judged.total_deadline_ms,
            stall_ms: judged.stall_ms,
            disk_proof: flashes.then(|| disk_proof(&driver)),
            disk_boot,
            faults: judged.faults,
            goal: Goal::None,
        },
        name,
        mac,
        firmware,
        driver,
        boot: boot?,
        image,
    })
}

/// Who can look at the disk of such a machine after the flash.
pub(crate) fn disk_proof(driver: &Driver) -> DiskProofKind {
    match driver {
        Driver::Qemu(_) => DiskProofKind::Host,
        Driver::Board(_) => DiskProofKind::Agent,
    }
}
