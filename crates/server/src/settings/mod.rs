//! What to put into another DHCP server, so that machines find this boot server.

mod appliance;
mod files;

use std::net::Ipv4Addr;

use bootgate_netboot::dhcp::SubnetConfig;
use bootgate_netboot::policy::{ArchTable, Transport};

use crate::ServerConfig;

pub use appliance::{opnsense, unifi, windows};
pub use files::{dnsmasq, isc, kea};

/// What the other DHCP server must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The interface, for people.
    pub interface: String,
    /// The boot server's address.
    pub address: Ipv4Addr,
    /// The address of the network it is in.
    pub network: Ipv4Addr,
    /// `http://ADDRESS`, with the port where it is not 80.
    pub base: String,
    /// Network boot programs, by what they are for.
    pub programs: Vec<Program>,
}

/// A network boot program for some architectures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// The architectures' name, for people.
    pub name: String,
    /// Codes of option 93.
    pub codes: Vec<u16>,
    /// Path on the TFTP server; a URL for UEFI HTTP Boot.
    pub file: String,
    /// Whether it is fetched by HTTP: the client then drops every offer without option 60 = `HTTPClient`.
    pub http: bool,
}

impl Wanted {
    /// What the clients of the interface `name` must be told, which `served` serves, with the boot programs of `table`.
    #[must_use]
    pub fn new(name: &str, served: &ServerConfig, table: &ArchTable) -> Self {
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
            interface: name.to_owned(),
            address,
            network: net.first(),
            base,
            programs,
        }
    }

    /// The boot script of the machine that asks. iPXE puts its own address in the place of `${mac}`.
    #[must_use]
    pub fn script(&self) -> String {
        format!("{}/boot/${{mac}}/boot.ipxe", self.base)
    }
}
