//! What is served where, for people.

use bootgate_netboot::dhcp::{DhcpMode, InterfaceId};
use bootgate_server::lab::{LabConfig, LabInterface};
use serde_json::{Value, json};

/// A line for each interface, under a line of titles.
pub(super) fn served(lab: &LabConfig) -> Vec<String> {
    let mut rows =
        vec![["interface", "address", "dhcp", "tftp", "http", "gives out"].map(str::to_owned)];
    for (index, interface) in lab.interfaces.iter().enumerate() {
        let server = &interface.server;
        rows.push([
            interface.name.clone(),
            addresses(interface),
            interface.dhcp.to_string(),
            if server.services.tftp {
                server.tftp_port.to_string()
            } else {
                "off".to_owned()
            },
            server.http_port.to_string(),
            gives(lab, index, interface),
        ]);
    }
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let cells: Vec<String> = cells.collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// The server's addresses: over IPv4, IPv6 or both.
fn addresses(interface: &LabInterface) -> String {
    let server = &interface.server;
    let four = format!("{}/{}", server.server_ip, server.prefix_len);
    match &server.ip6 {
        None => four,
        Some(six) if server.server_ip.is_unspecified() => six.address.to_string(),
        Some(six) => format!("{four} {}", six.address),
    }
}

fn gives(lab: &LabConfig, index: usize, interface: &LabInterface) -> String {
    let four = gives4(lab, index, interface);
    let six = interface.server.ip6.as_ref().filter(|six| six.dhcp);
    let range = six.and_then(|six| six.subnet.as_ref()?.range.as_ref());
    let six = range.map(|range| format!("{}-{}", range.start(), range.end()));
    let words = [Some(four).filter(|four| !four.is_empty()), six];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn gives4(lab: &LabConfig, index: usize, interface: &LabInterface) -> String {
    match interface.dhcp {
        DhcpMode::Off => "boot files; see --dhcp-settings".to_owned(),
        DhcpMode::Proxy => "boot files, beside the DHCP server that is there".to_owned(),
        DhcpMode::Full => {
            let subnets = lab.subnets.iter().filter(|subnet| {
                subnet.interfaces.contains(&InterfaceId(index)) || subnet.interfaces.is_empty()
            });
            let words = subnets.map(|subnet| {
                let ranges: Vec<String> = subnet
                    .ranges
                    .iter()
                    .map(|range| format!("{}-{}", range.start(), range.end()))
                    .collect();
                match ranges.as_slice() {
                    [] => format!("{} reservations of {subnet}", subnet.reservations.len()),
                    ranges => ranges.join(", "),
                }
            });
            words.collect::<Vec<_>>().join(", ")
        }
    }
}

/// A line for each kind of thing that machines can boot.
pub(super) fn known(lab: &LabConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let programs = lab.architectures.rows();
    let programs: Vec<String> = programs
        .filter_map(|(_, row)| Some(format!("{} for {}", row.bootfile.as_ref()?, row.name)))
        .collect();
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<Vec<_>>();
    let discovered = match &lab.discovery.mode {
        Some(mode) => format!("become known as `{}`", mode.name()),
        None => "stay unknown".to_owned(),
    };
    for (title, words) in [
        ("boot programs", programs),
        ("images", names(lab.images.keys().collect())),
        ("installers", names(lab.installers.keys().collect())),
        ("scripts", names(lab.scripts.keys().collect())),
        ("new machines", vec![discovered]),
    ] {
        if !words.is_empty() {
            lines.push(format!("{title}: {}", words.join(", ")));
        }
    }
    lines
}

/// What is served where, for programs.
pub(super) fn json(lab: &LabConfig, state: &str) -> Value {
    let interfaces: Vec<Value> = lab
        .interfaces
        .iter()
        .map(|interface| {
            let server = &interface.server;
            json!({
                "name": interface.name,
                "address": server.server_ip,
                "prefix_len": server.prefix_len,
                "address6": server.ip6.as_ref().map(|six| six.address),
                "dhcp": interface.dhcp.as_str(),
                "tftp": server.services.tftp,
                "http_port": server.http_port,
            })
        })
        .collect();
    json!({ "serving": interfaces, "state": state })
}
