//! Whatever comes in: no panic, a verdict in words, and a reply that a client can read.

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use std::net::SocketAddrV4;

use bootgate_netboot::dhcp::{ClientFacts, Datagram, Outcome, Port, ServerFacts};
use common::*;
use proptest::collection::vec;
use proptest::prelude::*;

const FIXTURES: [&str; 8] = [
    "edk2-x64-discover",
    "edk2-x64-request",
    "ipxe-bios-discover",
    "ipxe-bios-request",
    "ipxe-efi-discover",
    "uboot-arm64-discover",
    "uboot-arm64-request",
    "udhcpc-discover",
];

/// What holds for every outcome.
fn check(lab: &Lab, outcome: &Outcome) {
    match (&outcome.reply, &outcome.dropped) {
        (Some(reply), None) => {
            let (mac, _) = outcome.received.as_ref().expect("a reply to somebody");
            assert_eq!(*mac, reply.mac);
            assert!(reply.bytes.len() >= 300);
            assert!(!reply.reason.is_empty());
            if let Some(nak) = reply.nak("taken") {
                assert!(outcome.grant.is_some() && nak.bytes.len() >= 300);
            } else {
                assert_eq!(outcome.grant, None);
            }
            assert!(ServerFacts::parse(&reply.bytes).is_ok());
            let end = reply.bytes.iter().rposition(|byte| *byte != 0);
            assert_eq!(end.map(|at| reply.bytes[at]), Some(255), "options end");
        }
        (None, Some(reason)) => assert!(!reason.detail.is_empty()),
        (None, None) => assert!(outcome.ended.is_some(), "{outcome:?}"),
        other => panic!("neither reply nor reason, or both: {other:?}"),
    }
    assert!(lab.server.tracked() <= lab.server.config().subnets[0].max_leases);
}

/// Sends to servers that have state already, so that each branch has something to decide: to every port, in every mode,
/// by a relay and without one.
fn send_everywhere(bytes: &[u8]) {
    let mut lab = Lab::new(config());
    lab.lease(CAPTURED);
    lab.lease(mac(2));
    for seconds in [1, 1800, 3700] {
        let answer = lab.at(seconds).send_bytes(bytes);
        check(&lab, &answer.0);
        if let Some(grant) = &answer.0.grant {
            lab.server.undo(grant);
        }
    }
    for config in [config(), proxy()] {
        let mut lab = Lab::new(config);
        for (port, from) in [(Port::Dhcp, ip(0)), (Port::Pxe, ip(50)), (Port::Pxe, ip(0))] {
            let answer = lab.give(&Datagram {
                port,
                from: SocketAddrV4::new(from, 68),
                ..Datagram::new(bytes)
            });
            check(&lab, &answer.0);
        }
    }
    let mut relayed = bytes.to_vec();
    if let Some(giaddr) = relayed.get_mut(24..28) {
        giaddr.copy_from_slice(&ip(250).octets());
        let answer = lab.send_bytes(&relayed);
        check(&lab, &answer.0);
    }
    let _ = ServerFacts::parse(bytes);
}

fn options_packet(message_type: u8, options: Vec<(u8, Vec<u8>)>) -> Vec<u8> {
    let mut packet = Packet::new(CAPTURED, message_type);
    packet.options.extend(options);
    packet.bytes()
}

proptest! {
    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..700)) {
        let _ = ClientFacts::parse(&bytes);
        send_everywhere(&bytes);
    }

    #[test]
    fn random_bytes_behind_a_sound_header(tail in vec(any::<u8>(), 0..400)) {
        let mut bytes = Packet::new(CAPTURED, 1).fixed;
        bytes.extend([53, 1, 3]);
        bytes.extend(tail);
        send_everywhere(&bytes);
    }

    #[test]
    fn captured_packets_with_bytes_changed_and_cut_off(
        which in 0..FIXTURES.len(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = fixture(FIXTURES[which]);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        send_everywhere(&bytes);
    }

    #[test]
    fn random_options_of_every_message_type(
        message_type in 0..20u8,
        options in vec((any::<u8>(), vec(any::<u8>(), 0..255)), 0..8),
        overload in 0..4u8,
    ) {
        let mut bytes = options_packet(message_type, options);
        bytes.splice(240..240, [52, 1, overload]);
        send_everywhere(&bytes);
    }

    #[test]
    fn replies_of_servers(
        message_type in 0..20u8,
        options in vec((any::<u8>(), vec(any::<u8>(), 0..255)), 0..8),
        overload in 0..4u8,
        file in vec(any::<u8>(), 128),
    ) {
        let mut bytes = options_packet(message_type, options);
        bytes[0] = 2;
        bytes[108..236].copy_from_slice(&file);
        bytes.splice(240..240, [52, 1, overload]);
        let _ = ServerFacts::parse(&bytes);
        send_everywhere(&bytes);
    }

    #[test]
    fn one_malformed_option_does_not_hide_the_others(
        code in prop::sample::select(vec![50u8, 52, 57, 80, 81, 94, 97, 116, 119, 121]),
        value in vec(any::<u8>(), 0..40),
    ) {
        let bytes = options_packet(1, vec![(code, value), (60, b"PXEClient".to_vec()), (93, vec![0, 7])]);
        let facts = ClientFacts::parse(&bytes).expect("a DISCOVER");
        prop_assert_eq!(&facts.architectures, &[7]);
        prop_assert!(facts.vendor_class_is("PXEClient"));
    }
}

#[test]
fn every_cut_of_a_captured_packet() {
    for name in FIXTURES {
        let bytes = fixture(name);
        for length in 0..bytes.len() {
            send_everywhere(&bytes[..length]);
        }
    }
}

#[test]
fn hardware_addresses_that_no_station_has_are_refused() {
    let mut lab = Lab::new(config());
    for hlen in [0, 5, 7, 16, 17, 255] {
        let packet = discover(mac(1)).byte(2, hlen);
        lab.send(&packet)
            .silent(&format!("address length `{hlen}` is not Ethernet"));
    }
    lab.send(&discover(mac(1)).byte(1, 32))
        .silent("hardware type `32`");
    lab.send(&discover(mac(1)).byte(28, 0x53))
        .silent("no station's address");
    lab.send(&discover(bootgate_events::MacAddr([0; 6])))
        .silent("no station's address");
    lab.send(&discover(mac(1)).byte(236, 0)).silent("BOOTP");
    let mut bootp = discover(mac(1));
    bootp.options.clear();
    lab.send(&bootp).silent("BOOTP");
    assert_eq!(lab.server.tracked(), 0);
}

#[test]
fn text_from_the_wire_reaches_events_without_control_characters() {
    let packet = discover(mac(1))
        .with(60, b"PXE\x1b[2J\nClient\xff\0")
        .with(77, "a\u{7}b");
    let (_, said) = Lab::new(config())
        .send(&packet)
        .0
        .received
        .expect("readable");
    for text in [said.vendor_class, said.user_class] {
        let text = text.expect("text");
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
}
