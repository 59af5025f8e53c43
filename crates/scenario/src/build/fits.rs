//! What does not go together, whatever the host: firmware, loader, disk, network.

use std::ops::Range;

use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::matrix::Axis;
use crate::read::Text;
use crate::wire::{BootWire, ScenarioWire, TargetWire};
use crate::{
    BootPath, DhcpPlan, Driver, FirmwareProfile, Loader, NetworkPlan, Platform, TargetPlan,
};

/// Complains about a loader that such firmware does not start.
pub(super) fn loader(
    loader: Loader,
    wire: &BootWire,
    firmware: &FirmwareProfile,
    checks: &Checks<'_>,
) {
    let word = Loader::WORDS.iter().find(|(_, known)| *known == loader);
    let word = word.map_or("ipxe", |(word, _)| word);
    if let Some((why, hint)) = unfit(loader, firmware) {
        if let Some(text) = &wire.loader {
            let message = format!("loader `{word}` with firmware `{firmware}`: {why}");
            checks.fail(
                Problem::at(text.span(), message)
                    .hint(hint)
                    .between(&[Axis::Firmware, Axis::Loader]),
            );
        }
        return;
    }
    let script = wire.script.as_ref().filter(|_| loader != Loader::Ipxe);
    if let Some(script) = script {
        checks.fail(
            Problem::at(
                script.span(),
                format!("`script` is an iPXE script, and the loader is `{word}`"),
            )
            .hint("leave `script` out, or use loader = \"ipxe\"")
            .between(&[Axis::Firmware, Axis::Loader]),
        );
    }
}

/// Why such firmware does not start the loader, and what to do.
pub(crate) fn unfit(
    loader: Loader,
    firmware: &FirmwareProfile,
) -> Option<(&'static str, &'static str)> {
    let platform = firmware.platform;
    if (loader == Loader::Uboot) != (platform == Platform::UbootArm64) {
        return Some((
            "U-Boot is firmware and loader in one",
            "use firmware = \"uboot\" and loader = \"uboot\" together",
        ));
    }
    if loader == Loader::Pxelinux && platform.is_uefi() {
        return Some((
            "pxelinux.0 is a program for BIOS",
            "use loader = \"grub\" or \"ipxe\" with UEFI",
        ));
    }
    if loader == Loader::Shim && !platform.is_uefi() {
        return Some((
            "shim is a program for UEFI",
            "use loader = \"grub\", \"pxelinux\" or \"ipxe\" with BIOS",
        ));
    }
    if firmware.secure_boot && loader != Loader::Shim {
        return Some((
            "Secure Boot trusts signed programs only",
            "use loader = \"shim\"",
        ));
    }
    // The image on the stick is iPXE's.
    if firmware.path == BootPath::Usb && loader != Loader::Ipxe {
        return Some((
            "the USB stick holds iPXE",
            "use loader = \"ipxe\", or firmware that boots over the network itself",
        ));
    }
    None
}

/// SeaBIOS reads disks in sectors of 512 bytes only.
pub(super) fn bios_disk(
    wire: &TargetWire,
    firmware: &FirmwareProfile,
    driver: &Driver,
    checks: &Checks<'_>,
) {
    let Driver::Qemu(qemu) = driver else { return };
    let large = qemu.disk.is_some_and(|disk| disk.sector_size != 512);
    if firmware.platform != Platform::Bios || !large {
        return;
    }
    let message =
        format!("firmware `{firmware}` cannot boot from a disk with sectors of `4096` bytes");
    checks.fail(
        Problem::at(firmware_span(wire), message)
            .hint("use firmware = \"uefi\", or an image made for 512; disk_boot = false skips the boot from disk")
            .between(&[Axis::Firmware, Axis::Disk]),
    );
}

fn firmware_span(wire: &TargetWire) -> Range<usize> {
    wire.firmware.as_ref().map_or(wire.span.clone(), Text::span)
}

/// Complains about targets that do not get along on one segment, or with its DHCP server.
pub(super) fn network(
    targets: &[TargetPlan],
    wire: &ScenarioWire,
    network: &NetworkPlan,
    checks: &Checks<'_>,
) {
    let six = targets.iter().find(|target| target.firmware.path.is_ipv6());
    let Some(six) = six else { return };
    let written = |target: &TargetPlan| {
        wire.targets.iter().find(|wire| {
            let name = wire.name.as_ref();
            name.is_some_and(|name| name.get_ref() == target.name.as_str())
        })
    };
    let span = |target: &TargetPlan| written(target).map_or(0..0, firmware_span);
    let four = targets
        .iter()
        .find(|target| !target.firmware.path.is_ipv6());
    if let Some(four) = four {
        let message = format!(
            "firmware `{}` beside `{}`: an IPv6-only segment has no DHCPv4",
            four.firmware, six.firmware
        );
        checks.fail(
            Problem::at(span(four), message)
                .label("boots over IPv4")
                .hint("put the targets in two scenarios")
                .between(&[Axis::Firmware]),
        );
    }
    if network.dhcp != DhcpPlan::Full {
        let place = wire.network.dhcp.as_ref().map_or(span(six), Text::span);
        let message = format!(
            "`dhcp` for firmware `{}`: there is no proxyDHCP over IPv6",
            six.firmware
        );
        checks.fail(
            Problem::at(place, message)
                .hint("leave `dhcp` out: bootgate serves DHCPv6 there")
                .between(&[Axis::Firmware, Axis::Dhcp]),
        );
    }
}
