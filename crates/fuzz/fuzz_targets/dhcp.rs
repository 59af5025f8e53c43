//! Conversations with the DHCP server, on an interface of its own and on one beside another server. An input is one
//! packet, or several with `PKT!` between them; the clock moves on by as many seconds as each packet has bytes, so that
//! offers and leases expire now and then.
#![no_main]

use std::net::Ipv4Addr;
use std::time::Duration;

use bootgate_events::MacAddr;
use bootgate_netboot::dhcp::{
    Datagram, DhcpConfig, DhcpMode, InterfaceConfig, InterfaceId, Port, Responder, ServerFacts,
};
use bootgate_netboot::policy::{BootMachine, Bootfiles, MachineLookup};
use libfuzzer_sys::fuzz_target;
use packets::split;

mod packets;

const MAX_LEASES: usize = 8;

/// Every second machine may boot from the network.
struct Machines;

impl MachineLookup for Machines {
    fn machine(&self, mac: &MacAddr) -> Option<BootMachine> {
        Some(BootMachine {
            netboot: mac.0[5] & 1 == 0,
            bootfiles: Bootfiles::pc(
                Some("undionly.kpxe".to_owned()),
                Some("snponly.efi".to_owned()),
            ),
            ..BootMachine::default()
        })
    }
}

fuzz_target!(|data: &[u8]| {
    let pool = Ipv4Addr::new(10, 77, 0, 10)..=Ipv4Addr::new(10, 77, 0, 99);
    let mut config = DhcpConfig::new(Ipv4Addr::new(10, 77, 0, 1), 24, pool);
    config.subnets[0].max_leases = MAX_LEASES;
    config.subnets[0].lease = Duration::from_secs(1000);
    config.authoritative = data.len() % 2 == 0;
    config.limits.burst = 0;
    let beside = InterfaceConfig {
        name: "beside".to_owned(),
        mode: DhcpMode::Proxy,
        ..config.interfaces[0].clone()
    };
    config.interfaces.push(beside);
    let mut server = Responder::new(config);
    let mut now = Duration::ZERO;
    for packet in split(data) {
        now += Duration::from_secs(packet.len() as u64);
        let port = match packet.len() % 3 {
            0 => Port::Pxe,
            _ => Port::Dhcp,
        };
        let datagram = Datagram {
            port,
            interface: InterfaceId(packet.len() % 2),
            ..Datagram::new(packet)
        };
        let outcome = server.handle(now, &datagram, &Machines);
        let answered = [
            outcome.reply.is_some(),
            outcome.dropped.is_some(),
            outcome.ended.is_some(),
        ];
        assert_eq!(answered.iter().filter(|some| **some).count(), 1);
        if let Some(grant) = outcome.grant.filter(|_| packet.len() % 5 == 0) {
            server.undo(&grant);
        }
        let _ = ServerFacts::parse(packet);
        assert!(server.tracked() <= MAX_LEASES);
        assert!(server.poll_at().is_none_or(|next| next > now));
        if let Some(reply) = outcome.reply {
            assert!(reply.bytes.len() >= 300);
        }
    }
});
