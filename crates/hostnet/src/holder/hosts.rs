//! Other machines on the segments: network namespaces of their own, each with one interface.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, OwnedFd};

use bootgate_events::MacAddr;
use rtnetlink::{AddressMessageBuilder, LinkUnspec};

use super::links::{Links, UP_WITHIN, quiet};
use super::netlink::Netlink;
use super::setup::write_existing;
use crate::protocol::{During, Failure};
use crate::sys::namespace;
use crate::{HostConfig, HostInfo};

/// The network namespaces of the machines, by name.
#[derive(Default)]
pub(super) struct Hosts(HashMap<String, OwnedFd>);

impl Hosts {
    pub(super) fn create(
        &mut self,
        links: &mut Links,
        config: &HostConfig,
    ) -> Result<HostInfo, Failure> {
        let action = || format!("creating host `{}`", config.name);
        if self.0.contains_key(&config.name) {
            return Err(Failure::invalid(action(), "there is one of this name"));
        }
        let interface = format!("host{}", self.0.len());
        // Locally administered and made from the address, as that of the segment.
        let [a, b, c, d] = config.address.octets();
        let mac = MacAddr([0x02, 0x62, a, b, c, d]);
        let namespace = namespace::make().during(action)?;
        links.create_cable(&config.segment, &interface, namespace.as_fd())?;
        namespace::within(namespace.as_fd(), || set_up(&interface, mac, config))
            .and_then(|done| done)
            .during(action)?;
        self.0.insert(config.name.clone(), namespace);
        Ok(HostInfo { interface, mac })
    }

    /// Does `work` on the network of a machine.
    pub(super) fn within<T>(&self, host: &str, work: impl FnOnce() -> T) -> Result<T, Failure> {
        let action = || format!("starting a program on host `{host}`");
        let namespace = self
            .0
            .get(host)
            .ok_or_else(|| Failure::invalid(action(), "there is no such host in this sandbox"))?;
        namespace::within(namespace.as_fd(), work).during(action)
    }
}

/// In the machine's namespace: gives the interface its addresses and waits until it passes frames.
fn set_up(interface: &str, mac: MacAddr, config: &HostConfig) -> io::Result<()> {
    let _ = write_existing("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    let mut netlink = Netlink::open()?;
    netlink.change_link(LinkUnspec::new_with_name("lo").up().build())?;
    let index = netlink.index(interface)?;
    let link = quiet(LinkUnspec::new_with_index(index)).address(mac.0.to_vec());
    netlink.change_link(link.up().build())?;
    netlink.add_address(
        AddressMessageBuilder::<Ipv4Addr>::new()
            .index(index)
            .address(config.address, config.prefix_len)
            .build(),
    )?;
    netlink.await_passing(&[index], UP_WITHIN)
}
