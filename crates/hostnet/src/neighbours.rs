//! Who answers for an IPv4 address, as the kernel learned it (ARP).

use std::net::Ipv4Addr;

use bootgate_events::MacAddr;

/// `ATF_COM` of `linux/if_arp.h`: the entry has its hardware address.
const COMPLETE: u32 = 2;

/// The hardware address of `ip` in a table as `/proc/net/arp` has it (proc(5)), on `interface` where one is named.
pub(crate) fn find(table: &str, ip: Ipv4Addr, interface: Option<&str>) -> Option<MacAddr> {
    table.lines().skip(1).find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let address: Ipv4Addr = words.next()?.parse().ok()?;
        let (_kind, flags, mac) = (words.next()?, words.next()?, words.next()?);
        let (_mask, device) = (words.next()?, words.next()?);
        let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
        let here = interface.is_none_or(|interface| interface == device);
        (address == ip && here && flags & COMPLETE != 0).then(|| mac.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
10.77.0.10       0x1         0x2         52:54:00:12:34:56     *        bg0
10.77.0.11       0x1         0x0         00:00:00:00:00:00     *        bg0
";

    #[test]
    fn only_complete_entries_of_the_interface_count() {
        let mac = Some(MacAddr([0x52, 0x54, 0, 0x12, 0x34, 0x56]));
        let ip = |last| Ipv4Addr::new(10, 77, 0, last);
        assert_eq!(find(TABLE, ip(10), None), mac);
        assert_eq!(find(TABLE, ip(10), Some("bg0")), mac);
        assert_eq!(find(TABLE, ip(10), Some("eth0")), None);
        assert_eq!(find(TABLE, ip(11), None), None);
        assert_eq!(find(TABLE, ip(12), None), None);
        assert_eq!(find("", ip(10), None), None);
    }
}
