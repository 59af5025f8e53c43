//! The network interface.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use bootgate_events::MacAddr;

use super::modules::Modules;
use super::netlink::{self, Events};
use super::{dhcp, disks, say, vlan};
use crate::cmdline::{Address, BootArgs};
use crate::nics::{Nic, list};
use crate::sysfs::attribute;

/// How long the interface may take to appear after PID 1 started.
const APPEARS: Duration = Duration::from_secs(20);
/// How long the link may take to come up; negotiation and a switch's port take some seconds.
const LINK: Duration = Duration::from_secs(45);
const FOLDER: &str = "/sys/class/net";

/// Brings up the interface that booted, with the address the loader got or one of its own.
pub(super) fn bring_up(args: &BootArgs, modules: &Modules, events: &Events) -> Result<Nic, String> {
    let mut nic = appear(args.mac, events)?;
    set_up(&nic)?;
    if let Some(id) = args.vlan {
        // Its link follows the other's, which is there before anything is sent.
        wait_for_link(&nic, events)?;
        // VLANs have a module of their own, which may come after the interface's.
        modules.wait();
        nic = vlan::add(&nic, id)?;
        set_up(&nic)?;
    }
    let named = |what: &str, error: io::Error| format!("{what} of `{}`: {error}", nic.name);
    if let Some(address) = args.address {
        set_address(&nic, address).map_err(|error| named("set address", error))?;
    }
    wait_for_link(&nic, events)?;
    if args.address.is_none() {
        let address = dhcp::acquire(&nic)?;
        set_address(&nic, address).map_err(|error| named("set address", error))?;
        say!("address {} by DHCP", address.ip);
    }
    Ok(nic)
}

fn set_up(nic: &Nic) -> Result<(), String> {
    let set = netlink::set_up(nic.index);
    set.map_err(|error| format!("set link state of `{}`: {error}", nic.name))
}

fn set_address(nic: &Nic, address: Address) -> io::Result<()> {
    netlink::add_address(nic.index, address.ip, address.prefix_len)?;
    address.gateway.map_or(Ok(()), netlink::add_gateway)
}

fn appear(mac: Option<MacAddr>, events: &Events) -> Result<Nic, String> {
    let deadline = Instant::now() + APPEARS;
    loop {
        let present = list(Path::new(FOLDER));
        let wanted = |nic: &&Nic| mac.is_none_or(|mac| nic.mac == mac);
        if let Some(nic) = present.iter().find(wanted) {
            return Ok(nic.clone());
        }
        let waited = events.wait(deadline);
        if !waited.map_err(|error| format!("wait for a network interface: {error}"))? {
            let mac = mac.map_or("any address".to_owned(), |mac| mac.to_string());
            let names: Vec<_> = present
                .iter()
                .map(|nic| format!("{} {}", nic.name, nic.mac))
                .collect();
            return Err(format!(
                "no network interface with `{mac}` within {} s; there is [{}]{}",
                APPEARS.as_secs(),
                names.join(", "),
                disks::without_driver("02")
            ));
        }
    }
}

/// Packets sent before the transmit queue is active are lost, and the first retransmission of a SYN costs a second.
///
/// With a carrier at the moment it is set up, an interface is active at once (`dev_activate` in net/sched/sch_generic.c),
/// while its operational state may follow as much as a second later: link events of an interface that is not up are
/// handled once a second only (net/core/link_watch.c). A carrier that comes later is handled at once, and both follow it.
fn wait_for_link(nic: &Nic, events: &Events) -> Result<(), String> {
    let deadline = Instant::now() + LINK;
    let folder = Path::new(FOLDER).join(&nic.name);
    let carrier = || attribute(&folder, "carrier").as_deref() == Some("1");
    let active = || {
        matches!(
            attribute(&folder, "operstate").as_deref(),
            Some("up" | "unknown")
        )
    };
    if carrier() {
        return Ok(());
    }
    while !(carrier() && active()) {
        let waited = events.wait(deadline);
        if !waited.map_err(|error| format!("wait for the link: {error}"))? {
            let limit = LINK.as_secs();
            return Err(format!("no link on `{}` within {limit} s", nic.name));
        }
    }
    Ok(())
}
