//! Other DHCP servers on the segments that addresses are given out on.

use std::net::Ipv4Addr;
use std::time::Duration;

use bootgate_netboot::dhcp::{DhcpMode, SERVER_PORT};
use bootgate_server::lab::LabConfig;
use bootgate_store::{Store, StoreError};

use super::config::Settings;
use super::holders::holders;
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
    let asked = ask(interfaces).into_iter();
    let others = asked.flat_map(|(name, answers)| {
        let others = answers.into_iter().map(move |answer| Other {
            interface: name.clone(),
            words: words(&answer),
        });
        others.collect::<Vec<_>>()
    });
    others.collect()
}

/// Those of the interfaces on which nobody answers, neither on the segment nor, as far as can be told, on this host,
/// which does not hear its own servers. Blocks for [`WAIT`].
pub(super) fn silent(interfaces: &[String]) -> Vec<String> {
    let own = std::process::id();
    let here = holders(SERVER_PORT, false);
    let ours = format!("(process {own})");
    if here.iter().any(|holder| !holder.ends_with(&ours)) {
        return Vec::new();
    }
    let asked = ask(interfaces).into_iter();
    let silent = asked.filter(|(_, answers)| answers.is_empty());
    silent.map(|(name, _)| name).collect()
}

/// The answers on each interface that can be asked on.
fn ask(interfaces: &[String]) -> Vec<(String, Vec<Answer>)> {
    std::thread::scope(|scope| {
        let ask = |name: &str| Station::open(name)?.dhcp_servers(WAIT);
        let asked: Vec<_> = interfaces
            .iter()
            .map(|name| (name, scope.spawn(move || ask(name))))
            .collect();
        let heard = asked.into_iter().filter_map(|(name, answers)| {
            let answers = answers.join().ok()?.ok()?;
            Some((name.clone(), answers))
        });
        heard.collect()
    })
}

fn words(answer: &Answer) -> String {
    let (server, mac, offered) = (answer.server(), answer.mac, answer.facts.yiaddr);
    format!("{server} ({mac}) offers {offered}")
}
