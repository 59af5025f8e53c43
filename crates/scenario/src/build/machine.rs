//! The machine: firmware, address, and what it consists of.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::image;
use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::read::{Text, shorten};
use crate::units::show_size;
use crate::wire::{BoardWire, DiskWire, PowerWire, TargetWire};
use crate::{
    BoardPlan, DiskBus, DiskPlan, Driver, FirmwareProfile, ImagePlan, NicLink, NicPlan, NicRom,
    PowerPlan, QemuPlan,
};
use bootgate_events::MacAddr;

/// Network interfaces of virtual machines: the scenario's word and QEMU's device.
const NICS: [(&str, &str); 5] = [
    ("virtio-net", "virtio-net-pci"),
    ("e1000", "e1000"),
    ("e1000e", "e1000e"),
    ("rtl8139", "rtl8139"),
    ("vmxnet3", "vmxnet3"),
];

/// Memory of a virtual machine where the scenario does not say: what the live environment needs.
const DEFAULT_MEMORY_MIB: u32 = 512;

/// A disk is rounded up to whole units of this where the scenario does not say its size: 1 MiB.
const DISK_STEP: u64 = 1 << 20;

/// Bits per second of a board's console where the file does not say.
const DEFAULT_BAUD: u32 = 115_200;

/// Longest time for a power command where the file does not say.
const DEFAULT_POWER_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn firmware(wire: &TargetWire, checks: &Checks<'_>) -> Option<FirmwareProfile> {
    let Some(text) = &wire.firmware else {
        let hint = "add firmware = \"bios\" or firmware = \"uefi\"";
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
            .hint("leave `arch` out: the firmware says it; arm64 is the UEFI of aarch64"),
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
        ("nic", wire.nic.as_ref().map(Text::span)),
        ("rom", wire.rom.as_ref().map(Text::span)),
        ("qemu_args", wire.qemu_args.as_ref().map(Spanned::span)),
        ("disk", wire.disk.as_ref().map(|disk| disk.span.clone())),
    ];
    for (key, span) in keys {
        if let Some(span) = span {
            checks.fail(
                Problem::at(span, format!("`{key}` beside `[target.board]`"))
                    .hint("the key describes a virtual machine; a board is what it is"),
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
    let nic = match &wire.nic {
        Some(text) => checks.word("nic", text, &NICS),
        None => Some(NICS[0].1),
    };
    let disk = match (&wire.disk, image) {
        (None, None) => Some(None),
        (None, Some(image)) => Some(Some(DiskPlan {
            size: image.size.div_ceil(DISK_STEP).saturating_mul(DISK_STEP),
            sector_size: image.sector_size,
            bus: DiskBus::Virtio,
        })),
        (Some(disk_wire), image) => disk(disk_wire, image, checks).map(Some),
    };
    Some(QemuPlan {
        memory_mib: memory_mib?,
        cpus: cpus?,
        nics: vec![NicPlan {
            model: nic?.to_owned(),
            rom: rom(wire.rom.as_ref(), checks)?,
            mac,
            link: NicLink::Segment,
        }],
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

fn rom(text: Option<&Text>, checks: &Checks<'_>) -> Option<NicRom> {
    let Some(text) = text else {
        return Some(NicRom::Standard);
    };
    match text.get_ref().as_str() {
        "standard" => Some(NicRom::Standard),
        "qemu" => Some(NicRom::Qemu),
        _ => checks
            .regular("rom", text)
            .map(|(path, _)| NicRom::File(path)),
    }
}

fn disk(wire: &DiskWire, image: Option<&ImagePlan>, checks: &Checks<'_>) -> Option<DiskPlan> {
    let sector_size = match (&wire.sector_size, image) {
        (Some(written), _) => image::known_sector_size(written, checks)?,
        (None, Some(image)) => image.sector_size,
        (None, None) => 512,
    };
    if let (Some(written), Some(image)) = (&wire.sector_size, image)
        && image.sector_size != sector_size
    {
        checks.fail(
            Problem::at(
                written.span(),
                format!("the disk's `sector_size` is `{sector_size}`, the image's is `{}`", image.sector_size),
            )
            .label("not the image's")
            .hint("an image boots only from a disk of its own sector size; leave the key out to get that"),
        );
        return None;
    }
    let Some(text) = &wire.size else {
        let Some(image) = image else {
            let hint = "add the size of the disk: disk = { size = \"64MiB\" }";
            checks.missing(wire.span.clone(), "the disk's `size`", hint);
            return None;
        };
        let size = image.size.div_ceil(DISK_STEP).saturating_mul(DISK_STEP);
        return Some(DiskPlan {
            size,
            sector_size,
            bus: DiskBus::Virtio,
        });
    };
    let size = checks.size("size", text)?;
    let fail = |problem: String, hint: &str| {
        let shown = shorten(text.get_ref());
        checks.fail(
            Problem::at(
                text.span(),
                format!("the disk's `size` is `{shown}`: {problem}"),
            )
            .hint(hint),
        );
        None
    };
    if size == 0 || !size.is_multiple_of(u64::from(sector_size)) {
        let problem = format!("no multiple of its sector size, {sector_size}");
        return fail(problem, "use whole sectors, like \"64MiB\"");
    }
    match image {
        Some(image) if image.size > size => {
            let problem = format!("smaller than the image, {}", show_size(image.size));
            fail(
                problem,
                "make the disk larger, or leave `size` out to get the image's",
            )
        }
        _ => Some(DiskPlan {
            size,
            sector_size,
            bus: DiskBus::Virtio,
        }),
    }
}

/// SeaBIOS reads virtio disks in sectors of 512 bytes only.
pub(super) fn bios_can_boot(wire: &TargetWire, driver: &Driver, checks: &Checks<'_>) {
    let Driver::Qemu(qemu) = driver else { return };
    if qemu.disk.is_none_or(|disk| disk.sector_size == 512) {
        return;
    }
    let span = wire.firmware.as_ref().map_or(wire.span.clone(), Text::span);
    checks.fail(
        Problem::at(span, "firmware `bios` cannot boot from a disk with sectors of `4096` bytes")
            .hint("use firmware = \"uefi\", or an image made for 512; disk_boot = false skips the boot from disk"),
    );
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
