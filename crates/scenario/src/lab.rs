//! A laboratory: the real machines that a scenario can be run on.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bootgate_events::{DiskProofKind, MacAddr};

use crate::build;
use crate::checks::Checks;
use crate::diagnostic::{Problem, ScenarioError};
use crate::read::{Reader, Text, shorten};
use crate::wire::{BoardWire, NetworkWire};
use crate::{BoardPlan, Driver, FirmwareProfile, NetworkPlan, Plan, TargetPlan};

/// The real machines of a laboratory, to run scenarios on. See [`Plan::with_lab`].
#[derive(Clone, Debug)]
pub struct Lab {
    file: PathBuf,
    text: String,
    network: NetworkPlan,
    boards: Vec<LabBoard>,
}

#[derive(Clone, Debug)]
struct LabBoard {
    name: String,
    span: Range<usize>,
    firmware: Option<FirmwareProfile>,
    mac: MacAddr,
    plan: BoardPlan,
}

impl Lab {
    /// The lab file, as it was given.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Names of the boards, in the order of the file.
    pub fn boards(&self) -> impl Iterator<Item = &str> {
        self.boards.iter().map(|board| board.name.as_str())
    }
}

/// Reads a lab file.
pub(crate) fn lab(mut root: Reader<'_, '_>, text: &str, checks: &Checks<'_>) -> Option<Lab> {
    let network = match root.table("network", "network") {
        Some(reader) => {
            let span = reader.span();
            let wire = NetworkWire::read(reader);
            if wire.interface.is_none() {
                let hint =
                    "add the interface that the boards are connected to: interface = \"enp3s0\"";
                checks.missing(span, "`interface`", hint);
            }
            build::network(&wire, 0, checks)
        }
        None => {
            let hint = "add [network] with the interface that the boards are connected to: interface = \"enp3s0\"";
            checks.fail(
                Problem::at(0..0, "the lab has no network")
                    .hint(hint)
                    .absence(),
            );
            None
        }
    };
    let mut boards = Vec::new();
    if let Some(table) = root.table("board", "board") {
        for name in table.keys() {
            let reader = table.table_of(
                name.get_ref(),
                &format!("board.{}", shorten(name.get_ref())),
            );
            boards.extend(reader.and_then(|reader| board(&name, reader, checks)));
        }
        if table.keys().is_empty() {
            checks.missing(
                table.span(),
                "a board",
                "add [board.client], named as a target is",
            );
        }
    } else {
        let hint = "add [board.client], named as a target is, with console, power and mac";
        checks.fail(
            Problem::at(0..0, "the lab has no board")
                .hint(hint)
                .absence(),
        );
    }
    distinct_macs(&boards, checks);
    root.finish();
    Some(Lab {
        file: checks.file.to_owned(),
        text: text.to_owned(),
        network: network?,
        boards,
    })
}

fn board(name: &Text, mut table: Reader<'_, '_>, checks: &Checks<'_>) -> Option<LabBoard> {
    let place = format!("board.{}", name.get_ref());
    let wire = BoardWire::take(&mut table, &place);
    let firmware = table.text("firmware", "uefi");
    let mac = table.text("mac", "00:11:22:33:44:55");
    let span = table.span();
    table.finish();
    if mac.is_none() {
        let hint = "add the address of the interface it boots from: mac = \"00:11:22:33:44:55\"";
        checks.missing(span, "the board's `mac`", hint);
    }
    let firmware = match &firmware {
        Some(text) => Some(crate::profile::written("firmware", text, checks)?),
        None => None,
    };
    let plan = build::board(&wire, checks);
    Some(LabBoard {
        name: name.get_ref().clone(),
        span: name.span(),
        firmware,
        mac: checks.mac("mac", &mac?)?,
        plan: plan?,
    })
}

fn distinct_macs(boards: &[LabBoard], checks: &Checks<'_>) {
    for (index, board) in boards.iter().enumerate() {
        let same = boards[..index].iter().find(|other| other.mac == board.mac);
        if let Some(other) = same {
            let message = format!(
                "boards `{}` and `{}` have one MAC address",
                other.name, board.name
            );
            checks.fail(Problem::at(board.span.clone(), message).label("the second one"));
        }
    }
}

impl Plan {
    /// The same plan with every target on a board of the laboratory: the one of the target's name, else the first
    /// free one whose firmware is the target's.
    ///
    /// # Errors
    /// A target finds no board, a board of its name has other firmware, or the laboratory's network is too small.
    pub fn with_lab(mut self, lab: &Lab) -> Result<Plan, ScenarioError> {
        let mut problems = Vec::new();
        let mut taken = vec![false; lab.boards.len()];
        let named = |target: &TargetPlan| {
            lab.boards
                .iter()
                .position(|board| board.name == target.name.as_str())
        };
        for index in self.targets.iter().filter_map(named) {
            taken[index] = true;
        }
        for target in &mut self.targets {
            let found = named(target).or_else(|| {
                let fits = |board: &LabBoard| board.firmware.as_ref() == Some(&target.firmware);
                let free = |(index, board): (usize, &LabBoard)| {
                    (!taken[index] && fits(board)).then_some(index)
                };
                lab.boards.iter().enumerate().find_map(free)
            });
            match found {
                None => problems.push(no_board(target)),
                Some(index) => {
                    taken[index] = true;
                    problems.extend(put_on(target, &lab.boards[index]));
                }
            }
        }
        let pool = &lab.network.pool;
        let room = u32::from(*pool.end()).saturating_sub(u32::from(*pool.start()));
        if u64::from(room) + 1 < self.targets.len() as u64 {
            let message = format!(
                "the network has `{}` addresses for `{}` targets",
                room + 1,
                self.targets.len()
            );
            problems.push(
                Problem::at(0..0, message).hint("give `[network]` a larger `pool` or `address`"),
            );
        }
        self.network = lab.network.clone();
        match ScenarioError::in_text(&lab.file, &lab.text, problems) {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }
}

fn no_board(target: &TargetPlan) -> Problem {
    let (name, firmware) = (&target.name, &target.firmware);
    Problem::at(0..0, format!("no board for target `{name}`"))
        .label("in this lab")
        .hint(format!(
            "add [board.{name}], or another board with firmware = \"{firmware}\" for it"
        ))
}

fn put_on(target: &mut TargetPlan, board: &LabBoard) -> Option<Problem> {
    if board
        .firmware
        .as_ref()
        .is_some_and(|firmware| *firmware != target.firmware)
    {
        let message = format!(
            "board `{}` has other firmware than target `{}`",
            board.name, target.name
        );
        let hint = format!("the scenario asks for `{}`", target.firmware);
        return Some(Problem::at(board.span.clone(), message).hint(hint));
    }
    target.driver = Driver::Board(board.plan.clone());
    target.mac = board.mac;
    target.rules.mac = board.mac;
    target.rules.disk_proof = target.image.is_some().then_some(DiskProofKind::Agent);
    None
}
