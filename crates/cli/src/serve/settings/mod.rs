//! What to put into another DHCP server, so that machines find this boot server.

mod appliance;
mod files;

use std::net::Ipv4Addr;

use bootgate_netboot::dhcp::SubnetConfig;
use bootgate_netboot::policy::{ArchTable, Transport};
use bootgate_server::lab::LabInterface;

use crate::args::DhcpSettings;

/// What the other DHCP server must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The interface, for people.
    pub(super) interface: String,
    /// The boot server's address.
    pub(super) address: Ipv4Addr,
    /// The address of the network it is in.
    pub(super) network: Ipv4Addr,
    /// `http://ADDRESS`, with the port where it is not 80.
    pub(super) base: String,
    /// Network boot programs, by what they are for.
    pub(super) programs: Vec<Program>,
}

/// A network boot program for some architectures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// The architectures' name, for people.
    pub(super) name: String,
    /// Codes of option 93.
    pub(super) codes: Vec<u16>,
    /// Path on the TFTP server; a URL for UEFI HTTP Boot.
    pub(super) file: String,
    /// Whether it is fetched by HTTP: the client then drops every offer without option 60 = `HTTPClient`.
    pub(super) http: bool,
}

impl Wanted {
    /// What an interface's clients must be told.
    pub(super) fn new(interface: &LabInterface, table: &ArchTable) -> Self {
        let served = &interface.server;
        let (address, tftp) = (served.server_ip, served.services.tftp);
        let net = SubnetConfig::new(address, served.prefix_len, address..=address);
        let base = match served.http_port {
            80 => format!("http://{address}"),
            port => format!("http://{address}:{port}"),
        };
        let none = bootgate_netboot::policy::Bootfiles::default();
        let mut programs: Vec<Program> = Vec::new();
        for (code, row) in table.rows() {
            let Some(file) = table.bootfile(code, &none) else {
                continue;
            };
            let http = row.transport == Transport::Http;
            if !http && !tftp {
                continue;
            }
            let file = if http && !file.contains("://") {
                format!("{base}{}", bootgate_api::paths::artifact(file))
            } else {
                file.to_owned()
            };
            match programs
                .iter_mut()
                .find(|program| program.file == file && program.http == http)
            {
                Some(program) => program.codes.push(code),
                None => programs.push(Program {
                    name: row.name.to_string(),
                    codes: vec![code],
                    file,
                    http,
                }),
            }
        }
        Self {
            interface: interface.name.clone(),
            address,
            network: net.first(),
            base,
            programs,
        }
    }

    /// The boot script of the machine that asks. iPXE puts its own address in the place of `${mac}`.
    fn script(&self) -> String {
        format!("{}/boot/${{mac}}/boot.ipxe", self.base)
    }
}

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
        DhcpSettings::Dnsmasq => files::dnsmasq(wanted),
        DhcpSettings::Isc => files::isc(wanted),
        DhcpSettings::Kea => files::kea(wanted),
        DhcpSettings::Windows => appliance::windows(wanted),
        DhcpSettings::Opnsense => appliance::opnsense(wanted),
        DhcpSettings::Unifi => appliance::unifi(wanted),
    }
}
