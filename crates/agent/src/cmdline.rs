//! The agent's part of the kernel command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bootgate_api::cmdline::{ADDRESS, GATEWAY, MAC, NONCE, SERVER, VLAN};
use bootgate_events::{AttemptId, MacAddr};

/// What the boot script told the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootArgs {
    /// The attempt's nonce.
    pub nonce: AttemptId,
    /// Where the server is.
    pub server: SocketAddr,
    /// The interface that booted; absent: the first that has a device.
    pub mac: Option<MacAddr>,
    /// The VLAN whose frames have a tag at that interface, 1 to 4094; absent: none have.
    pub vlan: Option<u16>,
    /// The address the loader got; absent: the agent asks DHCP.
    pub address: Option<Address>,
}

/// An interface's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// The address itself.
    pub ip: IpAddr,
    /// Length of the network prefix, 0 to 32 bits; 0 to 128 of IPv6.
    pub prefix_len: u8,
    /// Where packets for other networks go, over IPv4.
    pub gateway: Option<Ipv4Addr>,
}

/// A key is missing or has a value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CmdlineError {
    /// The key is not there.
    #[error("kernel command line has no `{0}`")]
    Missing(&'static str),
    /// The value is not of the key's form.
    #[error("kernel command line: `{key}={value}` is not {wanted}")]
    Bad {
        /// The key.
        key: &'static str,
        /// The value as given.
        value: String,
        /// What it should have been.
        wanted: &'static str,
    },
}

impl BootArgs {
    /// Reads the text of `/proc/cmdline`. A key given more than once counts by its last value, as in the kernel.
    ///
    /// # Errors
    /// Nonce or server missing, or a value that is not of its form.
    pub fn parse(text: &str) -> Result<Self, CmdlineError> {
        let value = |key: &'static str| {
            let mut values = text.split_ascii_whitespace().filter_map(|word| {
                let (name, value) = word.split_once('=')?;
                (name == key && !value.is_empty()).then_some(value)
            });
            values.next_back()
        };
        let nonce = value(NONCE).ok_or(CmdlineError::Missing(NONCE))?;
        let server = value(SERVER).ok_or(CmdlineError::Missing(SERVER))?;
        Ok(Self {
            nonce: parse_nonce(nonce)?,
            server: parse_server(server)?,
            mac: value(MAC).map(parse_mac).transpose()?,
            vlan: value(VLAN).map(parse_vlan).transpose()?,
            address: match value(ADDRESS) {
                Some(address) => Some(parse_address(address, value(GATEWAY))?),
                None => None,
            },
        })
    }
}

fn bad(key: &'static str, value: &str, wanted: &'static str) -> CmdlineError {
    CmdlineError::Bad {
        key,
        value: value.to_owned(),
        wanted,
    }
}

/// The nonce becomes part of paths, so nothing but letters, digits, `-` and `_` may be in it.
fn parse_nonce(value: &str) -> Result<AttemptId, CmdlineError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if value.len() <= 64 && value.bytes().all(plain) {
        Ok(AttemptId::new(value))
    } else {
        Err(bad(NONCE, value, "up to 64 letters and digits"))
    }
}

/// An IP literal: there is no resolver in the live environment.
fn parse_server(value: &str) -> Result<SocketAddr, CmdlineError> {
    let fail = || bad(SERVER, value, "an http:// URL with an IP address");
    let host = value.strip_prefix("http://").ok_or_else(fail)?;
    let host = host.strip_suffix('/').unwrap_or(host);
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let ip: IpAddr = bare.unwrap_or(host).parse().map_err(|_| fail())?;
    Ok(SocketAddr::new(ip, 80))
}

fn parse_mac(value: &str) -> Result<MacAddr, CmdlineError> {
    let fail = |_| bad(MAC, value, "an Ethernet address");
    value.parse().map_err(fail)
}

fn parse_vlan(value: &str) -> Result<u16, CmdlineError> {
    let id = value.parse().ok().filter(|id| (1..=4094).contains(id));
    id.ok_or_else(|| bad(VLAN, value, "a VLAN, 1 to 4094"))
}

/// `10.77.0.10/255.255.255.0` (what iPXE's `${net0/ip}/${net0/netmask}` prints), `10.77.0.10/24`, or `fd00::10/64`
/// (`${net0/ip6}/${net0/len6}`).
fn parse_address(value: &str, gateway: Option<&str>) -> Result<Address, CmdlineError> {
    let fail = || bad(ADDRESS, value, "an address and a netmask");
    let (ip, mask) = value.split_once('/').ok_or_else(fail)?;
    let gateway = match gateway {
        // iPXE prints an absent router as nothing or as zeros.
        None | Some("0.0.0.0") => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| bad(GATEWAY, text, "an IPv4 address"))?,
        ),
    };
    let ip: IpAddr = ip.parse().map_err(|_| fail())?;
    let length = match ip {
        IpAddr::V4(_) => prefix_len(mask),
        IpAddr::V6(_) => mask.parse().ok().filter(|bits| *bits <= 128),
    };
    Ok(Address {
        ip,
        prefix_len: length.ok_or_else(fail)?,
        gateway,
    })
}

/// The length of the prefix that a netmask (or a plain number) stands for, if its ones come first.
pub(crate) fn prefix_len(mask: &str) -> Option<u8> {
    if let Ok(bits) = mask.parse::<u8>() {
        return (bits <= 32).then_some(bits);
    }
    let bits = u32::from(mask.parse::<Ipv4Addr>().ok()?);
    if bits.leading_ones() + bits.trailing_zeros() < 32 {
        return None;
    }
    u8::try_from(bits.leading_ones()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = "console=ttyS0 bootgate.nonce=0123456789abcdef0123456789abcdef \
        bootgate.server=http://10.77.0.1 bootgate.mac=52-54-00-12-34-56 \
        bootgate.ip=10.77.0.10/255.255.255.0 bootgate.gw=10.77.0.1\n";

    #[test]
    fn everything_is_read() {
        let args = BootArgs::parse(FULL).unwrap();
        assert_eq!(args.nonce.as_str(), "0123456789abcdef0123456789abcdef");
        assert_eq!(args.server, "10.77.0.1:80".parse().unwrap());
        assert_eq!(args.mac.unwrap().to_string(), "52:54:00:12:34:56");
        let address = args.address.unwrap();
        assert_eq!(address.ip.to_string(), "10.77.0.10");
        assert_eq!(address.prefix_len, 24);
        assert_eq!(address.gateway, Some(Ipv4Addr::new(10, 77, 0, 1)));
    }

    #[test]
    fn a_port_and_a_last_value_count() {
        let text =
            "bootgate.nonce=a bootgate.nonce=b bootgate.server=http://10.0.2.2:8080/ bootgate.ip=";
        let args = BootArgs::parse(text).unwrap();
        assert_eq!(args.nonce.as_str(), "b");
        assert_eq!(args.server, "10.0.2.2:8080".parse().unwrap());
        assert_eq!((args.mac, args.vlan, args.address), (None, None, None));
    }

    #[test]
    fn a_vlan_is_one_that_there_can_be() {
        let text = "bootgate.nonce=a bootgate.server=http://10.0.0.1 bootgate.vlan=";
        let vlan = |id: &str| BootArgs::parse(&format!("{text}{id}")).map(|args| args.vlan);
        assert_eq!(vlan("4094"), Ok(Some(4094)));
        for wrong in ["0", "4095", "-1", "x"] {
            let error = vlan(wrong).unwrap_err().to_string();
            assert!(error.contains("bootgate.vlan"), "{error}");
        }
    }

    #[test]
    fn an_address_and_a_server_of_ipv6_are_read() {
        let text = "bootgate.nonce=a bootgate.server=http://[fd00::1] bootgate.ip=fd00::1000/64";
        let args = BootArgs::parse(text).unwrap();
        assert_eq!(args.server, "[fd00::1]:80".parse().unwrap());
        let address = args.address.unwrap();
        assert_eq!(address.ip.to_string(), "fd00::1000");
        assert_eq!((address.prefix_len, address.gateway), (64, None));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let fails = |text: &str| BootArgs::parse(text).unwrap_err().to_string();
        assert_eq!(
            fails("quiet"),
            "kernel command line has no `bootgate.nonce`"
        );
        assert!(fails("bootgate.nonce=a").contains("bootgate.server"));
        let rest = "bootgate.server=http://10.0.0.1";
        assert!(fails(&format!("bootgate.nonce=../x {rest}")).contains("`bootgate.nonce=../x`"));
        assert!(
            fails("bootgate.nonce=a bootgate.server=http://lab.example").contains("IP address")
        );
        assert!(fails("bootgate.nonce=a bootgate.server=https://10.0.0.1").contains("IP address"));
        for ip in [
            "10.0.0.9",
            "10.0.0.9/255.0.255.0",
            "10.0.0.9/33",
            "x/24",
            "fd00::9/129",
            "fd00::9/ffff::",
        ] {
            let text = format!("bootgate.nonce=a {rest} bootgate.ip={ip}");
            assert!(fails(&text).contains("netmask"), "{ip}");
        }
    }
}
