//! The machine: firmware, address, and what it consists of.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::{disk, nics};
use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::matrix::Axis;
use crate::read::{Text, shorten};
use crate::wire::{BoardWire, PowerWire, TargetWire};
use crate::{BoardPlan, Driver, FirmwareProfile, ImagePlan, PowerPlan, QemuPlan};
use bootgate_events::MacAddr;

/// Memory of a virtual machine where the scenario does not say: what the live environment needs.
const DEFAULT_MEMORY_MIB: u32 = 512;

/// Bits per second of a board's console where the file does not say.
const DEFAULT_BAUD: u32 = 115_200;

/// Longest time for a power command where the file does not say.
const DEFAULT_POWER_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn firmware(wire: &TargetWire, checks: &Checks<'_>) -> Option<FirmwareProfile> {
    let Some(text) = &wire.firmware else {
        let hint = "add firmware = \"bios\" or firmware = \"uefi\", or several in [matrix]";
        checks.missing(wire.span.clone(), "`firmware`", hint);
        return None;
    };
    let firmware = crate::profile::written("firmware", text, checks)?;
    let Some(arch) = &wire.arch else {
        return Some(firmware);
    };
    let words = [("x86_64", "x86_64"), ("aarch64", "aarch64")];
    let written = checks.word("arch", arch, &words)?;
    if written == firmware.platform.arch() {
        return Some(firmware);
    }
    let message = format!("firmware `{firmware}` does not exist for arch `{written}`");
    checks.fail(
        Problem::at(arch.span(), message)
            .hint("leave `arch` out: the firmware says it; arm64 is the UEFI of aarch64")
            .between(&[Axis::Firmware]),
    );
    None
}

pub(super) fn driver(
    wire: &TargetWire,
    mac: MacAddr,
    image: Option<&ImagePlan>,
    checks: &Checks<'_>,
) -> Option<Driver> {
    match &wire.board {
        None => qemu(wire, mac, image, checks).map(Driver::Qemu),
        Some(board_wire) => {
            no_virtual_keys(wire, checks);
            if wire.mac.is_none() {
                let hint =
                    "add the address of the interface it boots from: mac = \"00:11:22:33:44:55\"";
                checks.missing(wire.span.clone(), "the board's `mac`", hint);
            }
            board(board_wire, checks).map(Driver::Board)
        }
    }
}

fn no_virtual_keys(wire: &TargetWire, checks: &Checks<'_>) {
    let keys: [(&str, Option<Range<usize>>); 6] = [
        ("memory", wire.memory.as_ref().map(Text::span)),
        ("cpus", wire.cpus.as_ref().map(Spanned::span)),
        ("nic", wire.nic.as_ref().map(|nics| nics.span.clone())),
        ("rom", wire.rom.as_ref().map(Text::span)),
        ("qemu_args", wire.qemu_args.as_ref().map(Spanned::span)),
        ("disk", wire.disk.as_ref().map(|disk| disk.span.clone())),
    ];
    for (key, span) in keys {
        if let Some(span) = span {
            checks.fail(
                Problem::at(span, format!("`{key}` beside `[target.board]`"))
                    .hint("the key describes a virtual machine; a board is what it is")
                    .between(&[Axis::Nic, Axis::Disk, Axis::Memory, Axis::Cpus]),
            );
        }
    }
}

fn qemu(
    wire: &TargetWire,
    mac: MacAddr,
    image: Option<&ImagePlan>,
    checks: &Checks<'_>,
) -> Option<QemuPlan> {
    let memory_mib = match &wire.memory {
        Some(text) => memory(text, checks),
        None => Some(DEFAULT_MEMORY_MIB),
    };
    let cpus = match &wire.cpus {
        Some(count) => cpus(count, checks),
        None => Some(1),
    };
    let nics = nics::nics(wire, mac, checks);
    let disk = match (&wire.disk, image) {
        (None, None) => Some(None),
        (None, Some(image)) => Some(Some(disk::of_image(image))),
        (Some(disk_wire), image) => disk::disk(disk_wire, image, checks).map(Some),
    };
    Some(QemuPlan {
        memory_mib: memory_mib?,
        cpus: cpus?,
        nics: nics?,
        disk: disk?,
        extra_args: plain_texts(wire.qemu_args.as_ref()),
    })
}

fn plain_texts(list: Option<&Spanned<Vec<Text>>>) -> Vec<String> {
    list.map_or_else(Vec::new, |list| {
        list.get_ref()
            .iter()
            .map(|text| text.get_ref().clone())
            .collect()
    })
}

fn memory(text: &Text, checks: &Checks<'_>) -> Option<u32> {
    let bytes = checks.size("memory", text)?;
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    if (128..=1 << 20).contains(&mib) && bytes.is_multiple_of(1 << 20) {
        return Some(mib);
    }
    let shown = shorten(text.get_ref());
    checks.fail(
        Problem::at(text.span(), format!("`memory` cannot be `{shown}`")).hint(
            "use whole MiB, from \"128MiB\" to \"1TiB\"; the live environment needs \"512MiB\"",
        ),
    );
    None
}

fn cpus(count: &Spanned<u64>, checks: &Checks<'_>) -> Option<u32> {
    let number = u32::try_from(*count.get_ref()).ok();
    let number = number.filter(|number| (1..=64).contains(number));
    if number.is_none() {
        let message = format!("`cpus` cannot be `{}`", count.get_ref());
        checks.fail(Problem::at(count.span(), message).hint("use 1 to 64"));
    }
    number
}

/// A board: its console, its power.
pub(crate) fn board(wire: &BoardWire, checks: &Checks<'_>) -> Option<BoardPlan> {
    let console = match &wire.console {
        Some(console) if !console.get_ref().is_empty() => Some(checks.path(console)),
        _ => {
            let hint = "add the tty of its serial line: console = \"/dev/ttyUSB0\"";
            checks.missing(wire.span.clone(), "the board's `console`", hint);
            None
        }
    };
    let baud = match &wire.baud {
        Some(baud) => {
            let number = u32::try_from(*baud.get_ref()).ok();
            let number = number.filter(|number| (50..=4_000_000).contains(number));
            if number.is_none() {
                let message = format!("`baud` cannot be `{}`", baud.get_ref());
                checks
                    .fail(Problem::at(baud.span(), message).hint("use 50 to 4000000, like 115200"));
            }
            number
        }
        None => Some(DEFAULT_BAUD),
    };
    let power = match &wire.power {
        Some(power_wire) => power(power_wire, checks),
        None => {
            let hint = "add the commands that switch its power: power = { on = [\"relay\", \"on\"], off = [\"relay\", \"off\"] }";
            checks.missing(wire.span.clone(), "the board's `power`", hint);
            None
        }
    };
    Some(BoardPlan {
        tty: console?,
        baud: baud?,
        power: power?,
        disk: wire.disk.as_ref().map(|disk| disk.get_ref().clone()),
    })
}

fn power(wire: &PowerWire, checks: &Checks<'_>) -> Option<PowerPlan> {
    let on = command("on", wire.on.as_ref(), &wire.span, checks);
    let off = command("off", wire.off.as_ref(), &wire.span, checks);
    let cycle = match &wire.cycle {
        Some(cycle) => Some(command("cycle", Some(cycle), &wire.span, checks)?),
        None => None,
    };
    let timeout = match &wire.timeout {
        Some(text) => Duration::from_millis(checks.duration("timeout", text)?),
        None => DEFAULT_POWER_TIMEOUT,
    };
    Some(PowerPlan {
        on: on?,
        off: off?,
        cycle,
        timeout,
        cwd: working_folder(checks.folder),
    })
}

/// The folder as a working directory: an empty path is none.
fn working_folder(folder: &Path) -> std::path::PathBuf {
    if folder.as_os_str().is_empty() {
        return ".".into();
    }
    folder.to_owned()
}

fn command(
    key: &str,
    words: Option<&Spanned<Vec<Text>>>,
    place: &Range<usize>,
    checks: &Checks<'_>,
) -> Option<Vec<String>> {
    let hint = format!("give a program and its arguments: {key} = [\"relay\", \"{key}\"]");
    let Some(words) = words else {
        checks.missing(place.clone(), &format!("the power command `{key}`"), &hint);
        return None;
    };
    let argv = plain_texts(Some(words));
    if argv.first().is_none_or(String::is_empty) {
        checks.fail(
            Problem::at(words.span(), format!("the power command `{key}` is empty")).hint(hint),
        );
        return None;
    }
    Some(argv)
}
