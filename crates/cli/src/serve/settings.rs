//! What to put into another DHCP server, so that machines find this boot server.

use bootgate_server::settings::{self, Wanted};

use crate::args::DhcpSettings;

/// The settings for one server, as text to copy.
pub(super) fn show(wanted: &Wanted, server: DhcpSettings) -> String {
    let one = |title: &str, text: String| format!("{title}\n\n{}\n", text.trim_end());
    match server {
        DhcpSettings::All => {
            let all = [
                ("== dnsmasq ==", DhcpSettings::Dnsmasq),
                ("== ISC dhcpd ==", DhcpSettings::Isc),
                ("== Kea ==", DhcpSettings::Kea),
                ("== Windows Server ==", DhcpSettings::Windows),
                ("== OPNsense ==", DhcpSettings::Opnsense),
                ("== UniFi ==", DhcpSettings::Unifi),
            ];
            let texts = all.map(|(title, server)| one(title, show(wanted, server)));
            texts.join("\n")
        }
        DhcpSettings::Dnsmasq => settings::dnsmasq(wanted),
        DhcpSettings::Isc => settings::isc(wanted),
        DhcpSettings::Kea => settings::kea(wanted),
        DhcpSettings::Windows => settings::windows(wanted),
        DhcpSettings::Opnsense => settings::opnsense(wanted),
        DhcpSettings::Unifi => settings::unifi(wanted),
    }
}
