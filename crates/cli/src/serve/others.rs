//! Other DHCP servers on the segments that addresses are given out on.

use std::net::Ipv4Addr;
use std::time::Duration;

use bootgate_netboot::dhcp::DhcpMode;
use bootgate_server::lab::LabConfig;
use bootgate_store::{Store, StoreError};

use super::config::Settings;
use crate::segment::{Answer, Station};

/// How long other servers have to answer. dnsmasq looks for three seconds whether an address is in use before it
/// offers it.
const WAIT: Duration = Duration::from_secs(4);

/// Another DHCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// The interface.
    pub(super) interface: String,
    /// In words: its addresses, and what it offers.
    pub(super) words: String,
}

/// The interfaces to look at before anything is given out: those in mode `full` that are not meant to share their
/// segment, where this server has not leased addresses before. Where it has, it is the segment's server, and one that
/// is new beside it is the intruder: it is told of, and stops nobody.
///
/// # Errors
/// The storage failed.
pub(super) fn strange_segments(
    settings: &Settings,
    lab: &LabConfig,
    store: &dyn Store,
) -> Result<Vec<String>, StoreError> {
    let leases = store.leases()?;
    let established = |address: Ipv4Addr| {
        let mut ours = lab.subnets.iter().filter(|subnet| subnet.contains(address));
        ours.any(|subnet| {
            leases.iter().any(|lease| match lease.ip {
                std::net::IpAddr::V4(ip) => subnet.contains(ip),
                std::net::IpAddr::V6(_) => false,
            })
        })
    };
    let interfaces = settings.interfaces.iter().zip(&lab.interfaces);
    let strange = interfaces.filter(|(settings, interface)| {
        settings.dhcp == DhcpMode::Full
            && !settings.beside_others
            && !established(interface.server.server_ip)
    });
    Ok(strange.map(|(settings, _)| settings.name.clone()).collect())
}

/// Asks on every one of these interfaces at once. Blocks for [`WAIT`]. An interface that cannot be asked on is passed
/// over: it cannot be served either, and that is told with its reason.
pub(super) fn look(interfaces: &[String]) -> Vec<Other> {
    let mut found = Vec::new();
    std::thread::scope(|scope| {
        let asked: Vec<_> = interfaces
            .iter()
            .map(|name| {
                (
                    name,
                    scope.spawn(|| Station::open(name)?.dhcp_servers(WAIT)),
                )
            })
            .collect();
        for (name, answers) in asked {
            let answers = answers
                .join()
                .unwrap_or_else(|_| Ok(Vec::new()))
                .unwrap_or_default();
            found.extend(answers.iter().map(|answer| Other {
                interface: name.clone(),
                words: words(answer),
            }));
        }
    });
    found
}

fn words(answer: &Answer) -> String {
    let (server, mac, offered) = (answer.server(), answer.mac, answer.facts.yiaddr);
    format!("{server} ({mac}) offers {offered}")
}
