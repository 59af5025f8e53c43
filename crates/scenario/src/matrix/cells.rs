//! Which cells a matrix has.

use std::collections::HashSet;

use toml::Spanned;

use super::{Axis, pick};
use crate::checks::{Checks, is_name};
use crate::diagnostic::Problem;
use crate::plan::Cell;
use crate::read::{Text, shorten};
use crate::suggest;
use crate::wire::{AxisWire, CellWire, MatrixWire};

/// The largest product of all axes.
const LARGEST: usize = 4096;

/// The cells that are checked, and those that are run.
pub(crate) struct Chosen {
    /// In the order of the product, then those that were included.
    pub(crate) cells: Vec<Vec<(Axis, Text)>>,
    /// Whether each of `cells` is run: with pairs, a few of them are.
    pub(crate) run: Vec<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pick {
    All,
    Pairwise,
}

/// The matrix's cells, those that its own rules leave out aside. `None` where it has none, or is wrong.
pub(crate) fn cells(wire: &MatrixWire, checks: &Checks<'_>) -> Option<Chosen> {
    let mut sound = true;
    for axis in &wire.axes {
        sound &= distinct_values(axis, checks);
    }
    let pick = match &wire.pick {
        Some(word) => {
            let words = [("all", Pick::All), ("pairwise", Pick::Pairwise)];
            checks.word("pick", word, &words)?
        }
        None => Pick::All,
    };
    if wire.axes.is_empty() && wire.include.is_empty() {
        let hint = "add an axis: firmware = [\"bios\", \"uefi\"]";
        checks.missing(wire.span.clone(), "an axis of the matrix", hint);
        return None;
    }
    let sizes: Vec<usize> = wire.axes.iter().map(|axis| axis.values.len()).collect();
    let size = sizes
        .iter()
        .try_fold(1usize, |all, one| all.checked_mul(*one));
    if size.is_none_or(|size| size > LARGEST) {
        let message = format!("the matrix is larger than {LARGEST} cells before any is left out");
        checks.fail(
            Problem::at(wire.span.clone(), message)
                .hint("divide it into several scenarios: each of its cells is a boot"),
        );
        return None;
    }
    let excluded = excluded(wire, checks)?;
    let included = included(wire, checks)?;
    if !sound {
        return None;
    }
    let chosen = choose(wire, &sizes, pick, &excluded, included);
    within_bounds(wire, &chosen, checks).then_some(chosen)
}

fn choose(
    wire: &MatrixWire,
    sizes: &[usize],
    pick: Pick,
    excluded: &[Vec<Option<HashSet<usize>>>],
    included: Vec<Vec<(Axis, Text)>>,
) -> Chosen {
    let forbidden = |cell: &[usize]| {
        excluded.iter().any(|entry| {
            let mut axes = entry.iter().zip(cell);
            axes.all(|(values, value)| values.as_ref().is_none_or(|all| all.contains(value)))
        })
    };
    // Without an axis the product is one cell of nothing.
    let all = if sizes.is_empty() {
        Vec::new()
    } else {
        pick::product(sizes, &forbidden)
    };
    let given: Vec<Vec<usize>> = included
        .iter()
        .filter_map(|cell| indices(wire, cell))
        .collect();
    let picked: Option<HashSet<Vec<usize>>> = (pick == Pick::Pairwise).then(|| {
        pick::pairwise(sizes, &given, &forbidden)
            .into_iter()
            .collect()
    });
    let mut chosen = Chosen {
        cells: Vec::new(),
        run: Vec::new(),
    };
    for cell in all {
        let wanted = picked.as_ref().is_none_or(|picked| picked.contains(&cell));
        chosen.run.push(wanted || given.contains(&cell));
        let values = wire.axes.iter().zip(&cell);
        let values = values.map(|(axis, value)| (axis.axis, axis.values[*value].clone()));
        chosen.cells.push(values.collect());
    }
    for cell in included {
        let same = |other: &Vec<(Axis, Text)>| {
            other.len() == cell.len()
                && other
                    .iter()
                    .zip(&cell)
                    .all(|(a, b)| a.0 == b.0 && a.1.get_ref() == b.1.get_ref())
        };
        if !chosen.cells.iter().any(same) {
            chosen.run.push(true);
            chosen.cells.push(cell);
        }
    }
    chosen
}

/// Where the cell stands in the product; `None` where it does not.
fn indices(wire: &MatrixWire, cell: &[(Axis, Text)]) -> Option<Vec<usize>> {
    if cell.len() != wire.axes.len() {
        return None;
    }
    let index = |axis: &AxisWire| {
        let (_, value) = cell.iter().find(|(name, _)| *name == axis.axis)?;
        let same = |known: &Text| known.get_ref() == value.get_ref();
        axis.values.iter().position(same)
    };
    wire.axes.iter().map(index).collect()
}

fn distinct_values(axis: &AxisWire, checks: &Checks<'_>) -> bool {
    let mut sound = true;
    if axis.values.is_empty() {
        let message = format!("the axis `{}` has no value", axis.axis);
        let hint = format!(
            "name some, {} = {}, or leave the axis out",
            axis.axis,
            axis.axis.example()
        );
        checks.fail(Problem::at(axis.span.clone(), message).hint(hint));
        sound = false;
    }
    let mut seen = HashSet::new();
    for value in &axis.values {
        if !seen.insert(value.get_ref()) {
            let shown = shorten(value.get_ref());
            let message = format!("the axis `{}` has `{shown}` twice", axis.axis);
            checks.fail(
                Problem::at(value.span(), message)
                    .label("the second one")
                    .hint("leave it out"),
            );
            sound = false;
        }
    }
    sound
}

/// Each entry of `exclude` as the values' indices on each axis; an axis that it does not name is any.
fn excluded(wire: &MatrixWire, checks: &Checks<'_>) -> Option<Vec<Vec<Option<HashSet<usize>>>>> {
    let entry = |cell: &CellWire| {
        if cell.axes.is_empty() {
            let hint = "name the values that do not go together: { firmware = \"bios\", disk = \"virtio-4k\" }";
            checks.missing(cell.span.clone(), "what is excluded", hint);
        }
        let mut indices = vec![None; wire.axes.len()];
        for own in &cell.axes {
            let place = wire.axes.iter().position(|axis| axis.axis == own.axis);
            let Some(place) = place else {
                let known: Vec<&str> = wire.axes.iter().map(|axis| axis.axis.as_str()).collect();
                let message = format!(
                    "`exclude` names `{}`, which is no axis of this matrix",
                    own.axis
                );
                checks.fail(
                    Problem::at(own.span.clone(), message)
                        .hint(suggest::hint(own.axis.as_str(), &known)),
                );
                continue;
            };
            let values = own
                .values
                .iter()
                .filter_map(|value| known(value, &wire.axes[place], checks));
            indices[place] = Some(values.collect());
        }
        indices
    };
    let entries: Vec<_> = wire.exclude.iter().map(entry).collect();
    let known_axes = |cell: &CellWire| {
        !cell.axes.is_empty()
            && cell
                .axes
                .iter()
                .all(|own| wire.axes.iter().any(|axis| axis.axis == own.axis))
    };
    wire.exclude.iter().all(known_axes).then_some(entries)
}

/// The value's place on its axis.
fn known(value: &Text, axis: &AxisWire, checks: &Checks<'_>) -> Option<usize> {
    let place = axis
        .values
        .iter()
        .position(|known| known.get_ref() == value.get_ref());
    if place.is_none() {
        let known: Vec<&str> = axis
            .values
            .iter()
            .map(|known| known.get_ref().as_str())
            .collect();
        let shown = shorten(value.get_ref());
        let message = format!(
            "`exclude` names `{shown}`, which is no value of `{}` here",
            axis.axis
        );
        checks
            .fail(Problem::at(value.span(), message).hint(suggest::hint(value.get_ref(), &known)));
    }
    place
}

/// Each entry of `include` as a cell, its axes in the matrix's order, then others.
fn included(wire: &MatrixWire, checks: &Checks<'_>) -> Option<Vec<Vec<(Axis, Text)>>> {
    let mut cells: Vec<Vec<(Axis, Text)>> = Vec::with_capacity(wire.include.len());
    let mut sound = true;
    for entry in &wire.include {
        let mut cell: Vec<(Axis, Text)> = Vec::with_capacity(entry.axes.len());
        for own in &entry.axes {
            if let [value] = &own.values[..] {
                cell.push((own.axis, value.clone()));
                continue;
            }
            let message = format!(
                "`include` names `{}` values of `{}`",
                own.values.len(),
                own.axis
            );
            let hint = "an entry of `include` is one cell: give one value of each axis";
            checks.fail(Problem::at(own.span.clone(), message).hint(hint));
            sound = false;
        }
        if entry.axes.is_empty() {
            let hint = "name the values of the cell: { firmware = \"uefi\", nic = \"rtl8139\" }";
            checks.missing(entry.span.clone(), "what is included", hint);
            sound = false;
        }
        let place = |axis: &Axis| {
            let known = wire.axes.iter().position(|known| known.axis == *axis);
            (known.unwrap_or(usize::MAX), *axis)
        };
        cell.sort_by_key(|(axis, _)| place(axis));
        cells.push(cell);
    }
    sound.then_some(cells)
}

fn within_bounds(wire: &MatrixWire, chosen: &Chosen, checks: &Checks<'_>) -> bool {
    let count = chosen.run.iter().filter(|run| **run).count();
    if count == 0 {
        let message = "the matrix has no cell: `exclude` leaves none of them";
        let hint = "take an entry out of `exclude`, or add a value to an axis";
        checks.fail(
            Problem::at(wire.span.clone(), message)
                .label("an empty matrix")
                .hint(hint),
        );
        return false;
    }
    let Some(most) = &wire.at_most else {
        return true;
    };
    if count as u64 <= *most.get_ref() {
        return true;
    }
    let message = format!(
        "the matrix has `{count}` cells, and `at_most` is `{}`",
        most.get_ref()
    );
    let shorter = match wire.pick.as_ref().map(|pick| pick.get_ref().as_str()) {
        Some("pairwise") => "leave out values or pairs of them with `exclude`",
        _ => "leave some out with `exclude`, take pick = \"pairwise\"",
    };
    checks.fail(Problem::at(most.span(), message).hint(format!("{shorter}, or raise `at_most`")));
    false
}

/// The values as they are shown: a firmware profile's file by its name.
pub(crate) fn shown(cell: &[(Axis, Text)], checks: &Checks<'_>) -> Cell {
    let value = |axis: Axis, text: &Text| {
        let written = text.get_ref();
        if axis != Axis::Firmware || !written.ends_with(".toml") {
            return written.clone();
        }
        let profile = crate::profile::written("firmware", text, checks);
        profile.map_or_else(|| written.clone(), |profile| profile.name)
    };
    let values = cell
        .iter()
        .map(|(axis, text)| (axis.to_string(), value(*axis, text)));
    Cell {
        values: values.collect(),
    }
}

/// Whether the cell's name can be a folder's.
pub(crate) fn is_folder(cell: &Cell) -> bool {
    cell.values.iter().all(|(_, value)| is_name(value)) && cell.to_string().len() <= 200
}

/// The values as an entry of `exclude` is written, for the axes in question.
pub(crate) fn as_exclude(cell: &[(Axis, Text)], axes: &[Axis]) -> String {
    let named = cell.iter().filter(|(axis, _)| axes.contains(axis));
    let pairs: Vec<String> = named
        .map(|(axis, value)| format!("{axis} = {:?}", value.get_ref()))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
}

/// The text at another place.
pub(crate) fn at(value: &Text, text: &str) -> Text {
    Spanned::new(value.span(), text.to_owned())
}
