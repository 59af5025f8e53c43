//! What the configuration means on this host: interfaces, addresses, network boot programs.

use std::io;
use std::net::Ipv6Addr;

use bootgate_hostnet::host::HostInterface;
use bootgate_media::ipxe::{Arch, Prepared};
use bootgate_netboot::dhcp::{DhcpMode, InterfaceId, SubnetConfig};
use bootgate_netboot::dhcp6;
use bootgate_netboot::policy::{ArchTable, arch};
use bootgate_scenario::{NbpPlan, Platform};
use bootgate_server::lab::{LabConfig, LabInterface};
use bootgate_server::{Ip6Config, ServerConfig, Services};

use super::config::{Interface, Ipv6, Settings};

/// A configuration that fits this host.
pub(super) struct Resolved {
    /// For the server.
    pub(super) lab: LabConfig,
    /// The interfaces, in the configuration's order.
    pub(super) hosts: Vec<HostInterface>,
    /// What will not work though nothing is wrong.
    pub(super) notes: Vec<String>,
}

/// Why this host cannot serve it.
#[derive(Debug)]
pub(super) struct Unusable {
    /// What is wrong.
    pub(super) error: String,
    /// What to do about it.
    pub(super) hint: String,
}

impl Unusable {
    fn new(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            error: error.into(),
            hint: hint.into(),
        }
    }
}

/// Looks at this host's interfaces and files.
///
/// # Errors
/// An interface is missing, down, or without the address.
pub(super) fn resolve(settings: &Settings) -> Result<Resolved, Unusable> {
    let mut lab = settings.lab.clone();
    let mut hosts = Vec::new();
    for interface in &settings.interfaces {
        let (host, served) = served(interface, settings)?;
        hosts.push(host);
        lab.interfaces.push(served);
    }
    subnets(settings, &mut lab)?;
    ipv6(settings, &mut lab, &hosts)?;
    // With another server beside it, nobody is in charge: what it does not know is left to the other.
    lab.authoritative = !settings
        .interfaces
        .iter()
        .any(|interface| interface.beside_others);
    let mut notes = programs(settings, &mut lab);
    notes.extend(same_network(&lab.interfaces));
    let over6 = lab.interfaces.iter().any(|one| one.server.ip6.is_some());
    if let (Some(subnet), false) = (lab.relayed6.first(), over6) {
        notes.push(format!(
            "`{subnet}` is not served: DHCPv6 relays need an interface in a subnet that has ipv6"
        ));
    }
    Ok(Resolved { lab, hosts, notes })
}

fn served(
    interface: &Interface,
    settings: &Settings,
) -> Result<(HostInterface, LabInterface), Unusable> {
    let name = &interface.name;
    let host = HostInterface::open(name).map_err(|error| {
        let hint = match error.kind() {
            io::ErrorKind::NotFound => not_there(name),
            _ => {
                "a boot server serves Ethernet segments: cards, bridges, VLAN interfaces".to_owned()
            }
        };
        Unusable::new(format!("serve `{name}`: {error}"), hint)
    })?;
    if !host.up {
        let error = format!("serve `{name}`: it is down");
        return Err(Unusable::new(error, format!("ip link set {name} up")));
    }
    let (address, prefix_len) = match interface.address {
        None => host.addresses.first().copied().ok_or_else(|| {
            Unusable::new(
                format!("serve `{name}`: it has no IPv4 address"),
                format!("give it one that stays: ip address add 10.0.0.1/24 dev {name}"),
            )
        })?,
        Some(address) => {
            let found = host.addresses.iter().find(|(have, _)| *have == address);
            *found.ok_or_else(|| {
                Unusable::new(
                    format!("serve `{name}`: it does not have the address `{address}`"),
                    format!("ip address add {address}/24 dev {name}, or take `address` out of the configuration"),
                )
            })?
        }
    };
    if !(1..=30).contains(&prefix_len) {
        let error =
            format!("serve `{name}`: its address `{address}/{prefix_len}` is of no segment");
        let hint = format!(
            "give it an address with the segment's prefix: ip address add {address}/24 dev {name}"
        );
        return Err(Unusable::new(error, hint));
    }
    let server = ServerConfig {
        http_port: interface.http_port,
        tftp_ports: interface.tftp_ports.clone(),
        tftp_single_port: interface.tftp_single_port,
        mtu: host.mtu().unwrap_or(1500),
        pxe: interface.dhcp != DhcpMode::Off,
        services: Services {
            dhcp: interface.dhcp != DhcpMode::Off,
            ra: false,
            tftp: interface.tftp,
            http: true,
        },
        limits: settings.limits,
        ..ServerConfig::new(address, prefix_len, address..=address)
    };
    let served = LabInterface {
        name: name.clone(),
        dhcp: interface.dhcp,
        server,
    };
    Ok((host, served))
}

/// What to do about an interface that is not there.
fn not_there(name: &str) -> String {
    match name.rsplit_once('.') {
        Some((parent, id)) if id.parse::<u16>().is_ok() => {
            format!("make it: ip link add link {parent} name {name} type vlan id {id}")
        }
        _ => "list this host's interfaces with: ip link".to_owned(),
    }
}

/// Interfaces with addresses of one network: the servers themselves answer by the interface that was asked, all
/// else on this host finds the network by one of them only.
fn same_network(interfaces: &[LabInterface]) -> Vec<String> {
    let mut notes = Vec::new();
    for (index, one) in interfaces.iter().enumerate() {
        for other in interfaces.iter().skip(index + 1) {
            let (a, b) = (&one.server, &other.server);
            let len = u32::from(a.prefix_len.min(b.prefix_len));
            let mask = u32::MAX.checked_shl(32 - len).unwrap_or(0);
            if (a.server_ip.to_bits() ^ b.server_ip.to_bits()) & mask == 0 {
                notes.push(format!(
                    "{} ({}/{}) and {} ({}/{}) are in overlapping networks: this host finds machines there by one of the two only; \
                     give each segment a network of its own, or join the interfaces in a bridge and serve that",
                    one.name, a.server_ip, a.prefix_len, other.name, b.server_ip, b.prefix_len
                ));
            }
        }
    }
    notes
}

/// Finds the interfaces of each subnet.
fn subnets(settings: &Settings, lab: &mut LabConfig) -> Result<(), Unusable> {
    for subnet in &settings.subnets {
        let mut v4 = subnet.v4.clone();
        if v4.interfaces.is_empty() {
            let inside = lab.interfaces.iter().enumerate();
            let inside = inside.filter(|(_, interface)| v4.contains(interface.server.server_ip));
            v4.interfaces = inside.map(|(index, _)| InterfaceId(index)).collect();
        }
        lab.subnets.push(v4);
    }
    for (index, interface) in lab.interfaces.iter().enumerate() {
        let served = |subnet: &SubnetConfig| subnet.interfaces.contains(&InterfaceId(index));
        if interface.dhcp == DhcpMode::Full && !lab.subnets.iter().any(served) {
            let (name, address) = (&interface.name, interface.server.server_ip);
            return Err(Unusable::new(
                format!(
                    "serve `{name}`: its address `{address}` is in no subnet of the configuration"
                ),
                format!(
                    "add [[subnet]] with its network, or name the interface in one: interface = \"{name}\""
                ),
            ));
        }
    }
    Ok(())
}

/// Serves IPv6 on the interfaces of the subnets that have it.
fn ipv6(settings: &Settings, lab: &mut LabConfig, hosts: &[HostInterface]) -> Result<(), Unusable> {
    for (index, subnet) in settings.subnets.iter().enumerate() {
        let Some(v6) = &subnet.v6 else {
            continue;
        };
        let interfaces = lab
            .subnets
            .get(index)
            .map_or(&[][..], |subnet| &subnet.interfaces)
            .to_vec();
        if interfaces.is_empty() {
            lab.relayed6.push(v6_subnet(v6, &subnet.v4));
        }
        for InterfaceId(number) in interfaces {
            let (Some(host), Some(interface)) = (hosts.get(number), lab.interfaces.get_mut(number))
            else {
                continue;
            };
            let of_prefix =
                |address: &&Ipv6Addr| address.to_bits() >> 64 == v6.prefix.to_bits() >> 64;
            let mut addresses = host.addresses6.iter().map(|(address, _)| address);
            let Some(address) = addresses.find(of_prefix) else {
                let (name, prefix) = (&host.name, v6.prefix);
                return Err(Unusable::new(
                    format!(
                        "serve `{name}`: it has no address of `{prefix}/{}`",
                        v6.prefix_len
                    ),
                    format!(
                        "ip address add {prefix}1/64 dev {name}, or take `ipv6` out of the subnet"
                    ),
                ));
            };
            let mut ip6 = Ip6Config::new(*address, v6.prefix_len, Some(v6.pool.clone()));
            ip6.link_local = host.link_local();
            ip6.subnet = Some(v6_subnet(v6, &subnet.v4));
            if let Some(advertise) = &mut ip6.advertise {
                advertise.dns.clone_from(&v6.dns);
            }
            interface.server.ip6 = Some(ip6);
            interface.server.services.ra = true;
        }
    }
    Ok(())
}

/// The prefix for DHCPv6, with what IPv4 and IPv6 of a subnet have in common.
fn v6_subnet(v6: &Ipv6, v4: &SubnetConfig) -> dhcp6::SubnetConfig {
    dhcp6::SubnetConfig {
        dns: v6.dns.clone(),
        search: v4.domain.iter().cloned().collect(),
        relays: v6.relays.clone(),
        lease: v4.lease,
        max_leases: v4.max_leases,
        ..dhcp6::SubnetConfig::new(v6.prefix, v6.prefix_len, Some(v6.pool.clone()))
    }
}

/// Finds the network boot programs that the configuration does not name. Says what is missing.
fn programs(settings: &Settings, lab: &mut LabConfig) -> Vec<String> {
    let lacks =
        |table: &ArchTable, code: u16| table.row(code).is_some_and(|row| row.bootfile.is_none());
    let mut table = lab.architectures.clone();
    let mut notes = Vec::new();
    if let Some(prepared) = &settings.ipxe {
        lab.artifacts.push((String::new(), prepared.dir.clone()));
        for (code, arch) in [
            (arch::BIOS, Arch::Bios),
            (arch::UEFI_X64, Arch::UefiX64),
            (arch::UEFI_ARM64, Arch::UefiArm64),
        ] {
            let file = prepared.bootfile(arch);
            let name = file.as_deref().and_then(|path| path.file_name()?.to_str());
            if let (Some(name), true) = (name, lacks(&table, code)) {
                table = named(table, code, name);
            }
        }
        notes.extend(other_ports(prepared, &lab.interfaces));
    }
    if let Some(folder) = &settings.folder {
        lab.artifacts.push((String::new(), folder.clone()));
        for (code, usual) in ArchTable::with_ipxe().rows() {
            if let Some(file) = &usual.bootfile
                && lacks(&table, code)
                && folder.join(file.as_ref()).is_file()
            {
                table = named(table, code, file);
            }
        }
    }
    for (code, firmware) in [
        (arch::BIOS, Platform::Bios),
        (arch::UEFI_X64, Platform::UefiX64),
    ] {
        if !lacks(&table, code) {
            continue;
        }
        let found = NbpPlan::default().locate(firmware).ok();
        let named_file = found.and_then(|path| {
            let name = path.file_name()?.to_str()?.to_owned();
            Some((name, path))
        });
        let Some((name, path)) = named_file else {
            notes.push(format!(
                "no network boot program for {}: install iPXE (apt-get install ipxe), or name a file in [boot]",
                table.name(code)
            ));
            continue;
        };
        table = named(table, code, &name);
        lab.artifacts.push((name, path));
    }
    lab.architectures = table;
    notes
}

/// Interfaces whose HTTP port the prepared script does not ask.
fn other_ports(prepared: &Prepared, interfaces: &[LabInterface]) -> Vec<String> {
    let asked = prepared.manifest.port;
    let other = interfaces
        .iter()
        .filter(|one| one.server.http_port != asked);
    let note = |one: &LabInterface| {
        let (name, port) = (&one.name, one.server.http_port);
        format!(
            "the scripts of [boot] ipxe ask for HTTP port {asked}, and {name} has {port}: prepare the folder with --port {port}"
        )
    };
    other.map(note).collect()
}

fn named(table: ArchTable, code: u16, file: &str) -> ArchTable {
    match table.row(code).cloned() {
        Some(row) => table.with(code, row.with_bootfile(file.to_owned())),
        None => table,
    }
}
