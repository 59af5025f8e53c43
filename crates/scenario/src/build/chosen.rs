//! Which keys of `[boot]` hold for a target.

use crate::FirmwareProfile;
use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::read::Text;
use crate::wire::{BootForWire, BootWire, SharedWire, TargetWire};

/// The keys that hold for the target: its own, then those of all targets; in either the last `[[boot.for]]` that fits
/// before the table itself.
pub(super) fn boot(
    wire: &TargetWire,
    shared: &SharedWire,
    firmware: Option<&FirmwareProfile>,
    checks: &Checks<'_>,
) -> BootWire {
    let disk = wire.disk.as_ref();
    let sector_size = disk.and_then(|disk| disk.sector_size.as_ref());
    let sector_size = sector_size.map_or(512, |size| *size.get_ref());
    [shared, &wire.own]
        .into_iter()
        .fold(BootWire::default(), |all, level| {
            let own = level.boot.clone().over(all);
            level.boot_for.iter().fold(own, |all, one| {
                let fits = fits(one, firmware, sector_size, checks);
                if fits {
                    one.boot.clone().over(all)
                } else {
                    all
                }
            })
        })
}

fn fits(
    wire: &BootForWire,
    firmware: Option<&FirmwareProfile>,
    sector_size: u64,
    checks: &Checks<'_>,
) -> bool {
    if wire.firmware.is_none() && wire.arch.is_none() && wire.sector_size.is_none() {
        let hint = "add firmware = [\"arm64\"], arch = \"aarch64\" or sector_size = 4096";
        checks.missing(wire.span.clone(), "which targets these keys are for", hint);
    }
    let named = |text: &Text| {
        let known = crate::profile::written("firmware", text, checks);
        known.zip(firmware).is_some_and(|(one, own)| one == *own)
    };
    // Every name is looked at, so that a wrong one behind a right one is told, too.
    let names = wire.firmware.as_ref().map(|list| {
        let fitting: Vec<bool> = list.get_ref().iter().map(named).collect();
        fitting.contains(&true)
    });
    let words = [("x86_64", "x86_64"), ("aarch64", "aarch64")];
    let arch = wire.arch.as_ref().map(|text| {
        let written = checks.word("arch", text, &words);
        written
            .zip(firmware)
            .is_some_and(|(word, own)| word == own.platform.arch())
    });
    let sectors = wire.sector_size.as_ref().map(|size| {
        if !matches!(size.get_ref(), 512 | 4096) {
            let message = format!("`sector_size` cannot be `{}`", size.get_ref());
            checks.fail(Problem::at(size.span(), message).hint("use 512 or 4096"));
        }
        *size.get_ref() == sector_size
    });
    [names, arch, sectors]
        .into_iter()
        .flatten()
        .all(|fits| fits)
}
