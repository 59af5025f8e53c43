//! Hardware addresses.

use std::collections::HashMap;

use bootgate_events::MacAddr;

use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::read::{Text, shorten};
use crate::wire::TargetWire;

/// An address for each target: its own, or one made of the scenario's and its name. `None` where a written one is
/// wrong.
pub(super) fn distinct_macs(
    scenario: &str,
    targets: &[TargetWire],
    checks: &Checks<'_>,
) -> Vec<Option<MacAddr>> {
    let mut owner: HashMap<MacAddr, String> = HashMap::new();
    let mut macs = Vec::with_capacity(targets.len());
    for wire in targets {
        let name = wire.name.as_ref().map_or("", |name| name.get_ref());
        let written = wire.mac.as_ref().and_then(|text| {
            let mac = checks.mac("mac", text)?;
            if let Some(other) = owner.insert(mac, name.to_owned()) {
                duplicate_mac(text, mac, &other, checks);
            }
            Some(mac)
        });
        macs.push(written);
    }
    for (wire, slot) in targets.iter().zip(&mut macs) {
        if wire.mac.is_none() {
            let name = wire.name.as_ref().map_or("", |name| name.get_ref());
            let free = |mac: &MacAddr| !owner.contains_key(mac);
            let mac = (0..)
                .map(|round| derived_mac(scenario, name, round))
                .find(free);
            if let Some(mac) = mac {
                owner.insert(mac, name.to_owned());
            }
            *slot = mac;
        }
    }
    macs
}

fn duplicate_mac(text: &Text, mac: MacAddr, other: &str, checks: &Checks<'_>) {
    checks.fail(
        Problem::at(
            text.span(),
            format!("two targets have the MAC address `{mac}`"),
        )
        .label("the second one")
        .hint(format!(
            "target `{}` has it already; leave `mac` out of virtual machines to get one for each",
            shorten(other)
        )),
    );
}

/// An address that is the same for the same names: 52:54:00 (locally administered, QEMU's) and three bytes of the
/// names' FNV-1a hash.
fn derived_mac(scenario: &str, target: &str, round: u32) -> MacAddr {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let bytes = scenario.bytes().chain([0]).chain(target.bytes());
    for byte in bytes.chain(round.to_be_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let [.., a, b, c] = (hash ^ (hash >> 32)).to_be_bytes();
    MacAddr([0x52, 0x54, 0x00, a, b, c])
}
