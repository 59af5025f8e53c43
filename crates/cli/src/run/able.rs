//! Whether this host has what a cell needs.

use std::path::PathBuf;

use bootgate_scenario::{DhcpPlan, Driver, LanServer, Loader, Plan, Platform};
use bootgate_target::discovery;

/// Why this host cannot run the plan: the first thing that is missing, and how to get it. Starts nothing.
pub(super) fn lacks(plan: &Plan) -> Option<String> {
    let targets = plan.targets.iter();
    let virtual_ones = targets.filter(|target| matches!(target.driver, Driver::Qemu(_)));
    for target in virtual_ones {
        if let Err(missing) = bootgate_harness::can_run(&target.firmware) {
            return Some(missing.to_string());
        }
        let platform = target.firmware.platform;
        // A BIOS machine of ours has an iPXE in its ROM.
        let wanted = target.boot.loader == Loader::Ipxe && platform != Platform::Bios;
        if let (true, Err(missing)) = (wanted, target.boot.nbp.locate(platform)) {
            return Some(missing.to_string());
        }
    }
    match plan.network.dhcp {
        DhcpPlan::Proxy(server) | DhcpPlan::Off(server) => lan_server(server),
        DhcpPlan::Full => None,
    }
}

fn lan_server(server: LanServer) -> Option<String> {
    let (program, package) = match server {
        LanServer::Dnsmasq => ("dnsmasq", "dnsmasq-base"),
        LanServer::Kea => ("kea-dhcp4", "kea-dhcp4-server"),
        LanServer::Existing => return None,
    };
    // Daemons are often outside of a person's search path.
    let found = discovery::in_path(program)
        .or_else(|| Some(PathBuf::from("/usr/sbin").join(program)).filter(|path| path.is_file()));
    match found {
        Some(_) => None,
        None => Some(format!(
            "{program} is not installed: apt-get install {package}"
        )),
    }
}
