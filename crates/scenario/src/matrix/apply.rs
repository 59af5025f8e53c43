//! From a cell to the scenario as if it were written so, and to its plan.

use std::collections::HashSet;

use toml::Spanned;

use super::Axis;
use super::cells::{Chosen, as_exclude, at, is_folder, shown};
use crate::DiskBus;
use crate::build;
use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::plan::Plan;
use crate::read::{Problems, Text, shorten};
use crate::wire::{DiskWire, NicWire, NicsWire, ScenarioWire, TargetWire};

/// Suffix of a disk with sectors of 4096 bytes.
const LARGE_SECTORS: &str = "-4k";

/// The plans of the cells that are run. Cells that are not are checked, too: which of them are picked is nothing that
/// a person can foresee.
pub(crate) fn applied(wire: &ScenarioWire, chosen: &Chosen, checks: &Checks<'_>) -> Vec<Plan> {
    let mut plans = Vec::new();
    let mut names = HashSet::new();
    let mut idle = HashSet::new();
    for (cell, run) in chosen.cells.iter().zip(&chosen.run) {
        let problems = Problems::default();
        let own = Checks {
            problems: &problems,
            ..*checks
        };
        let mut written = wire.clone();
        for (axis, value) in cell {
            let taken = set(*axis, value, &mut written, &own) || wire.targets.is_empty();
            if !taken && idle.insert(*axis) {
                own.fail(changes_nothing(*axis, value));
            }
        }
        let name = shown(cell, &own);
        let plan = build::plan(&written, &own);
        for problem in problems.into_inner() {
            checks.fail(of_cell(problem, cell));
        }
        if !is_folder(&name) || !names.insert(name.to_string()) {
            let span = cell.first().map_or(0..0, |(_, value)| value.span());
            checks.fail(
                Problem::at(
                    span,
                    format!(
                        "two cells cannot be told apart: `{}`",
                        shorten(&name.to_string())
                    ),
                )
                .hint("give each value of the matrix a name of its own"),
            );
        }
        if let (true, Some(mut plan)) = (*run, plan) {
            plan.cell = Some(name);
            plans.push(plan);
        }
    }
    plans
}

/// The problem as one of the matrix, where it is the matrix that has put together what does not fit.
fn of_cell(mut problem: Problem, cell: &[(Axis, Text)]) -> Problem {
    let axes = std::mem::take(&mut problem.axes);
    let values: Vec<String> = cell
        .iter()
        .filter(|(axis, _)| axes.contains(axis))
        .map(|(_, value)| format!("`{}`", shorten(value.get_ref())))
        .collect();
    if values.is_empty() {
        return problem;
    }
    let exclude = as_exclude(cell, &axes);
    problem.message = format!(
        "the matrix has {}: {}",
        values.join(" with "),
        problem.message
    );
    let exclude = format!("exclude = [{exclude}] leaves it out");
    problem.hint = match problem.hint.as_str() {
        "" => exclude,
        hint => format!("{exclude}; {hint}"),
    };
    problem
}

/// Writes the value where the scenario says nothing of its own, and says whether there was such a place.
fn set(axis: Axis, value: &Text, wire: &mut ScenarioWire, checks: &Checks<'_>) -> bool {
    match axis {
        Axis::Dhcp => dhcp(value, wire, checks),
        Axis::Firmware => each(wire, |target| fill(&mut target.firmware, value)),
        Axis::Loader => {
            let free = wire.shared.boot.loader.is_none();
            free && each(wire, |target| fill(&mut target.own.boot.loader, value))
        }
        Axis::Nic => each(wire, |target| nic(value, target)),
        Axis::Disk => each(wire, |target| disk(value, target, checks)),
        Axis::Memory => each(wire, |target| fill(&mut target.memory, value)),
        Axis::Cpus => {
            let Ok(count) = value.get_ref().parse::<u64>() else {
                let message = format!("`cpus` cannot be `{}`", shorten(value.get_ref()));
                checks.fail(Problem::at(value.span(), message).hint("use 1 to 64"));
                return true;
            };
            let count = Spanned::new(value.span(), count);
            each(wire, |target| {
                let free = target.cpus.is_none();
                target.cpus.get_or_insert_with(|| count.clone());
                free
            })
        }
    }
}

fn changes_nothing(axis: Axis, value: &Text) -> Problem {
    let message = format!("the axis `{axis}` changes nothing: the scenario has its own `{axis}`");
    Problem::at(value.span(), message)
        .label("on this axis")
        .hint(format!("leave `{axis}` out of one of them"))
}

/// Whether some target took the value.
fn each(wire: &mut ScenarioWire, mut take: impl FnMut(&mut TargetWire) -> bool) -> bool {
    let mut taken = false;
    for target in &mut wire.targets {
        taken |= take(target);
    }
    taken
}

fn fill(slot: &mut Option<Text>, value: &Text) -> bool {
    let free = slot.is_none();
    slot.get_or_insert_with(|| value.clone());
    free
}

/// The model of the interface on the segment.
fn nic(value: &Text, target: &mut TargetWire) -> bool {
    let Some(nics) = &mut target.nic else {
        target.nic = Some(NicsWire {
            span: value.span(),
            list: vec![NicWire::of(value.clone())],
        });
        return true;
    };
    let on_segment = nics.list.iter_mut().find(|nic| nic.is_on_segment());
    on_segment.is_some_and(|nic| fill(&mut nic.model, value))
}

/// Bus and sector size; what is written of the disk stays.
fn disk(value: &Text, target: &mut TargetWire, checks: &Checks<'_>) -> bool {
    let written = value.get_ref().as_str();
    let (bus, sector_size) = match written.strip_suffix(LARGE_SECTORS) {
        Some(bus) => (bus, 4096),
        None => (written, 512),
    };
    if !DiskBus::WORDS.iter().any(|(word, _)| *word == bus) {
        let known = DiskBus::WORDS.map(|(word, _)| word);
        let hint = crate::suggest::hint(bus, &known);
        let message = format!("the matrix's `disk` cannot be `{}`", shorten(written));
        let hint = format!("{hint}; `-4k` behind it stands for sectors of 4096 bytes");
        checks.fail(Problem::at(value.span(), message).hint(hint));
        return true;
    }
    let disk = target
        .disk
        .get_or_insert_with(|| DiskWire::at(value.span()));
    if disk.bus.is_some() || disk.sector_size.is_some() {
        return false;
    }
    disk.bus = Some(at(value, bus));
    disk.sector_size = Some(Spanned::new(value.span(), sector_size));
    true
}

/// `full`, or `proxy` or `off` with the server behind a `-` where the scenario's `lan` does not name it.
fn dhcp(value: &Text, wire: &mut ScenarioWire, checks: &Checks<'_>) -> bool {
    if wire.network.dhcp.is_some() {
        return false;
    }
    let written = value.get_ref().as_str();
    if let Some((dhcp, server)) = written.split_once('-') {
        if wire.network.lan.is_some() {
            let message = format!(
                "the matrix's `dhcp` is `{}`, and `lan` is given",
                shorten(written)
            );
            checks.fail(Problem::at(value.span(), message).hint("leave `lan` out of [network]"));
        }
        wire.network.dhcp = Some(at(value, dhcp));
        wire.network.lan = Some(at(value, server));
    } else {
        wire.network.dhcp = Some(value.clone());
        if written == "full" {
            wire.network.lan = None;
        }
    }
    true
}
