//! Network interfaces of virtual machines.

use bootgate_events::MacAddr;
use toml::Spanned;

use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::read::Text;
use crate::wire::{NicWire, NicsWire, TargetWire};
use crate::{Driver, NicLink, NicPlan, NicRom};

/// The scenario's word and QEMU's device.
const MODELS: [(&str, &str); 5] = [
    ("virtio-net", "virtio-net-pci"),
    ("e1000", "e1000"),
    ("e1000e", "e1000e"),
    ("rtl8139", "rtl8139"),
    ("vmxnet3", "vmxnet3"),
];

/// Most interfaces of one machine.
const MOST: usize = 8;

/// VLAN identifiers that a tag can have (IEEE 802.1Q, 9.6: 0 and 4095 are reserved).
const VLANS: std::ops::RangeInclusive<u64> = 1..=4094;

/// What an interface is connected to, as it is written.
#[derive(Clone, Copy)]
enum Cable {
    Segment,
    Down,
    Dead,
}

/// The machine's interfaces: the one on the segment has the address `mac`.
pub(super) fn nics(wire: &TargetWire, mac: MacAddr, checks: &Checks<'_>) -> Option<Vec<NicPlan>> {
    let Some(written) = &wire.nic else {
        return Some(vec![NicPlan {
            model: MODELS[0].1.to_owned(),
            rom: rom(wire.rom.as_ref(), checks)?,
            mac,
            link: NicLink::Segment,
        }]);
    };
    let plans: Vec<Option<NicPlan>> = written
        .list
        .iter()
        .enumerate()
        .map(|(index, one)| nic(one, index, wire, mac, checks))
        .collect();
    one_on_the_segment(written, checks)?;
    plans.into_iter().collect()
}

fn nic(
    wire: &NicWire,
    index: usize,
    target: &TargetWire,
    mac: MacAddr,
    checks: &Checks<'_>,
) -> Option<NicPlan> {
    let model = match &wire.model {
        Some(model) => checks.word("nic", model, &MODELS)?,
        None => MODELS[0].1,
    };
    let link = link(wire, checks)?;
    let on_segment = matches!(link, NicLink::Segment | NicLink::Tagged(_));
    let shared = target.rom.as_ref().filter(|_| on_segment);
    if let (Some(_), Some(own)) = (shared, &wire.rom) {
        checks.fail(
            Problem::at(own.span(), "`rom` is given twice for this interface")
                .hint("leave the target's own `rom` out"),
        );
    }
    Some(NicPlan {
        model: model.to_owned(),
        rom: rom(wire.rom.as_ref().or(shared), checks)?,
        mac: if on_segment {
            mac
        } else {
            other_mac(mac, index)
        },
        link,
    })
}

/// An address for an interface that is not on the segment: locally administered, and never one that is derived for a
/// target.
fn other_mac(mac: MacAddr, index: usize) -> MacAddr {
    let [.., a, b, c] = mac.0;
    MacAddr([0x56, 0x54, u8::try_from(index).unwrap_or(u8::MAX), a, b, c])
}

fn link(wire: &NicWire, checks: &Checks<'_>) -> Option<NicLink> {
    let words = [
        ("segment", Cable::Segment),
        ("down", Cable::Down),
        ("dead", Cable::Dead),
    ];
    let cable = match &wire.link {
        Some(link) => checks.word("link", link, &words)?,
        None => Cable::Segment,
    };
    match (cable, &wire.vlan) {
        (Cable::Segment, None) => Some(NicLink::Segment),
        (Cable::Segment, Some(vlan)) => tagged(vlan, checks),
        (Cable::Down, None) => Some(NicLink::Down),
        (Cable::Dead, None) => Some(NicLink::Dead),
        (_, Some(vlan)) => {
            checks.fail(
                Problem::at(
                    vlan.span(),
                    "`vlan` of an interface that is not on the segment",
                )
                .hint("leave one of them out: a VLAN is a part of the segment"),
            );
            None
        }
    }
}

fn tagged(vlan: &Spanned<u64>, checks: &Checks<'_>) -> Option<NicLink> {
    let number = *vlan.get_ref();
    let id = u16::try_from(number)
        .ok()
        .filter(|_| VLANS.contains(&number));
    if id.is_none() {
        let message = format!("`vlan` cannot be `{number}`");
        checks.fail(Problem::at(vlan.span(), message).hint("use 1 to 4094"));
    }
    id.map(NicLink::Tagged)
}

fn one_on_the_segment(nics: &NicsWire, checks: &Checks<'_>) -> Option<()> {
    let on_segment: Vec<&NicWire> = nics.list.iter().filter(|nic| nic.is_on_segment()).collect();
    match on_segment[..] {
        [_] if nics.list.len() <= MOST => Some(()),
        [_] => {
            let message = format!("the machine has `{}` interfaces", nics.list.len());
            let hint = format!("it has room for {MOST}");
            checks.fail(Problem::at(nics.span.clone(), message).hint(hint));
            None
        }
        [] => {
            checks.fail(
                Problem::at(nics.span.clone(), "no interface is on the segment")
                    .hint("leave `link` out of the one that the machine boots from"),
            );
            None
        }
        [_, second, ..] => {
            checks.fail(
                Problem::at(second.span.clone(), "two interfaces are on the segment")
                    .label("the second one")
                    .hint("the others are link = \"down\" (no cable) or link = \"dead\" (a cable that leads nowhere)"),
            );
            None
        }
    }
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

/// How many interfaces of a machine come before the one on the segment: firmware tries each in turn, and nobody answers.
pub(super) fn tried_before(driver: &Driver) -> u32 {
    let Driver::Qemu(machine) = driver else {
        return 0;
    };
    let silent = |nic: &&NicPlan| matches!(nic.link, NicLink::Down | NicLink::Dead);
    let count = machine.nics.iter().take_while(silent).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}
