//! Whether this host has what a plan needs.

use bootgate_scenario::{DhcpPlan, Driver, Plan};

use crate::{lan, loaders, machines};

/// Why this host cannot run the plan: the first thing that is missing, and how to get it. Starts nothing.
///
/// It looks where a run looks, so that what is told here is what would be a fault of the host there.
#[must_use]
pub fn lacks(plan: &Plan) -> Option<String> {
    for target in &plan.targets {
        if let (Driver::Qemu(_), Err(missing)) =
            (&target.driver, machines::can_run(&target.firmware))
        {
            return Some(missing.to_string());
        }
        if let Err(missing) = loaders::find(target) {
            return Some(format!("{missing}: {}", missing.hint()));
        }
    }
    let server = match plan.network.dhcp {
        DhcpPlan::Proxy(server) | DhcpPlan::Off(server) => server,
        DhcpPlan::Full => return None,
    };
    let missing = lan::installed(server).err()?;
    Some(format!("{missing}: {}", missing.hint()))
}
