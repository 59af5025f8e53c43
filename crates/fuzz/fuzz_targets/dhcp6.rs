//! Conversations with the DHCPv6 server, on a link of its own and behind relays. An input is one packet, or several with
//! `PKT!` between them; the clock moves on by as many seconds as each packet has bytes, so that leases expire now
//! and then.
#![no_main]

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use bootgate_events::MacAddr;
use bootgate_netboot::dhcp::InterfaceId;
use bootgate_netboot::dhcp6::{Datagram, DhcpConfig, InterfaceConfig, Responder, SubnetConfig};
use bootgate_netboot::policy::{BootMachine, Bootfiles, MachineLookup};
use libfuzzer_sys::fuzz_target;
use packets::split;

mod packets;

const MAX_LEASES: usize = 8;
const SERVER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);

/// Every second machine may boot from the network.
struct Machines;

impl MachineLookup for Machines {
    fn machine(&self, mac: &MacAddr) -> Option<BootMachine> {
        Some(BootMachine {
            netboot: mac.0[5] & 1 == 0,
            bootfiles: Bootfiles::pc(None, Some("snponly.efi".to_owned())),
            ..BootMachine::default()
        })
    }
}

fn config(authoritative: bool) -> DhcpConfig {
    let mut config = DhcpConfig::new(SERVER);
    config.authoritative = authoritative;
    config.interfaces.push(InterfaceConfig {
        id: InterfaceId(0),
        address: SERVER,
        http_port: 80,
        tftp_port: 69,
    });
    let last = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0x20);
    let mut subnet = SubnetConfig::new(SERVER, 64, Some(SERVER..=last));
    subnet.interfaces.push(InterfaceId(0));
    subnet.max_leases = MAX_LEASES;
    subnet.lease = Duration::from_secs(1000);
    config.subnets.push(subnet);
    config
}

fuzz_target!(|data: &[u8]| {
    let mut server = Responder::new(config(data.len() % 2 == 0));
    let mut now = Duration::ZERO;
    for packet in split(data) {
        now += Duration::from_secs(packet.len() as u64);
        let peer = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x5054, 0xff, 0xfe00, 7);
        let datagram = Datagram {
            bytes: packet,
            interface: InterfaceId(0),
            from: SocketAddrV6::new(peer, 546, 0, 1),
        };
        let kept = server.leases(now);
        let outcome = server.handle(now, &datagram, &Machines);
        assert!(outcome.reply.is_some() != outcome.dropped.is_some());
        assert!(server.tracked() <= MAX_LEASES);
        assert!(server.poll_at().is_none_or(|next| next > now));
        for lease in server.leases(now) {
            assert!(lease.ip != SERVER, "its own address");
        }
        // What could not be written was never granted.
        if packet.len() % 3 == 0 && !outcome.grants.is_empty() {
            for grant in outcome.grants.into_iter().rev() {
                server.undo(grant);
            }
            assert!(server.tracked() <= kept.len());
        }
    }
});
