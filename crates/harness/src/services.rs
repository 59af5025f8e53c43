//! Which servers a run needs on its segment, and at which addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bootgate_scenario::{BootPath, DhcpPlan, Plan};
use bootgate_server::{DhcpMode, Ip6Config, ServerConfig};

use crate::HarnessError;

/// The servers' address where a segment has no IPv4: a unique local one (RFC 4193), on no other network's path.
const ADDRESS6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xb007, 0x6a7e, 0, 0, 0, 0, 1);
const PREFIX6: u8 = 64;
/// Addresses that DHCPv6 gives out.
const FIRST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xb007, 0x6a7e, 0, 0, 0, 0, 0x1000);
const LAST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xb007, 0x6a7e, 0, 0, 0, 0, 0x1fff);

/// What is served on a run's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Serving {
    /// Whether it is served over IPv6, and over nothing else.
    ipv6: bool,
    /// Whether a target fetches by TFTP.
    tftp: bool,
}

impl Serving {
    /// What the plan's targets need.
    ///
    /// # Errors
    /// One target boots over IPv6 alone and another over IPv4.
    pub(crate) fn of(plan: &Plan) -> Result<Self, HarnessError> {
        let ipv6 = |path: BootPath| path.is_ipv6();
        let mut paths = plan.targets.iter().map(|target| target.firmware.path);
        let over6 = paths.clone().any(ipv6);
        if over6 && !paths.clone().all(ipv6) {
            return Err(HarnessError::infra(
                "segment-unsuitable",
                "serve one target over IPv6 alone and another over IPv4 on one segment",
                "give each a scenario of its own",
            ));
        }
        let http = |path: BootPath| matches!(path, BootPath::Http4 | BootPath::Http6);
        Ok(Self {
            ipv6: over6,
            tftp: !paths.all(http),
        })
    }

    /// The servers' IPv6 address with its prefix, where the segment has one.
    pub(crate) fn address6(self) -> Option<(Ipv6Addr, u8)> {
        self.ipv6.then_some((ADDRESS6, PREFIX6))
    }

    /// The servers' address.
    pub(crate) fn address(self, server_ip: Ipv4Addr) -> IpAddr {
        match self.ipv6 {
            true => ADDRESS6.into(),
            false => server_ip.into(),
        }
    }

    /// What the servers are told.
    pub(crate) fn config(self, plan: &Plan) -> ServerConfig {
        let network = &plan.network;
        let mut config =
            ServerConfig::new(network.server_ip, network.prefix_len, network.pool.clone());
        config.services.tftp = self.tftp;
        config.mode = match network.dhcp {
            DhcpPlan::Full => DhcpMode::Full,
            DhcpPlan::Proxy(_) => DhcpMode::Proxy,
            DhcpPlan::Off(_) => DhcpMode::Off,
        };
        // A proxy's offers send firmware to port 4011.
        config.pxe = config.mode == DhcpMode::Proxy;
        if self.ipv6 {
            config.server_ip = Ipv4Addr::UNSPECIFIED;
            config.ip6 = Some(Ip6Config::new(ADDRESS6, PREFIX6, Some(FIRST6..=LAST6)));
        }
        config
    }
}
