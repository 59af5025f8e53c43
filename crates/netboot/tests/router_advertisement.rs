//! Router solicitations and what they get (RFC 4861).

#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::net::Ipv6Addr;

use bootgate_events::MacAddr;
use bootgate_netboot::ra::{Advertisement, Sender, answer_frame, link_local};
use proptest::collection::vec;
use proptest::prelude::*;

const OURS: [u8; 6] = [2, 0xb6, 0, 0, 0, 1];
const CLIENT: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// The solicitation of QEMU's iPXE BIOS ROM (Debian 12), captured with tshark on a tap.
fn captured() -> Vec<u8> {
    let mut frame = vec![0x33, 0x33, 0, 0, 0, 2];
    frame.extend(CLIENT);
    frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 58, 255]);
    frame.extend([
        0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0x50, 0x54, 0, 0xff, 0xfe, 0x12, 0x34, 0x56,
    ]);
    frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    frame.extend([133, 0, 0x71, 0xb5, 0, 0, 0, 0, 1, 1]);
    frame.extend(CLIENT);
    frame
}

/// Fills in the ICMPv6 checksum of a frame whose message reaches to its end.
fn with_checksum(mut frame: Vec<u8>) -> Vec<u8> {
    frame[56..58].copy_from_slice(&[0, 0]);
    let sum = !sum(&frame);
    frame[56..58].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// The ones' complement sum over pseudo-header and message; all ones where the checksum is right.
fn sum(frame: &[u8]) -> u16 {
    let message = &frame[54..];
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    let covered = [&frame[22..54], &length, &[0, 0, 0, 58], message].concat();
    let words = covered.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    });
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    u16::try_from(total).expect("folded")
}

fn source(frame: &mut [u8], source: Ipv6Addr) {
    frame[22..38].copy_from_slice(&source.octets());
}

#[test]
fn a_captured_solicitation_is_answered_to_its_station() {
    let (who, reply) = answer_frame(&captured(), OURS).expect("an answer");
    assert_eq!(who, MacAddr(CLIENT));
    assert_eq!(reply[..6], CLIENT);
    assert_eq!(reply[6..12], OURS);
    assert_eq!(reply[12..14], [0x86, 0xdd]);
    assert_eq!(
        reply[18..22],
        [0, 24, 58, 255],
        "length, next header, hop limit"
    );
    assert_eq!(reply[22..38], link_local(OURS).octets());
    assert_eq!(reply[38..54], captured()[22..38]);
    assert_eq!(sum(&reply), 0xffff, "checksum");
    assert_eq!(reply[54..56], [134, 0]);
    assert_eq!(reply[59], 0, "neither M nor O: no DHCPv6");
    assert_eq!(
        reply[60..62],
        [0, 0],
        "router lifetime 0: no default router"
    );
    assert_eq!(
        reply[70..78],
        [1, 1, 2, 0xb6, 0, 0, 0, 1],
        "one option: our address; no prefix"
    );
    assert_eq!(reply.len(), 78);
}

#[test]
fn a_station_without_an_address_is_answered_to_all_nodes() {
    let mut frame = captured();
    source(&mut frame, Ipv6Addr::UNSPECIFIED);
    frame.truncate(62);
    frame[19] = 8;
    let (who, reply) = answer_frame(&with_checksum(frame), OURS).expect("an answer");
    assert_eq!(who, MacAddr(CLIENT));
    assert_eq!(reply[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(
        reply[38..54],
        "ff02::1".parse::<Ipv6Addr>().unwrap().octets()
    );
}

#[test]
fn the_link_local_address_follows_from_the_hardware_address() {
    assert_eq!(link_local(CLIENT).to_string(), "fe80::5054:ff:fe12:3456");
    assert_eq!(link_local(OURS).to_string(), "fe80::b6:ff:fe00:1");
}

#[test]
fn ethernet_padding_does_not_matter() {
    let mut frame = captured();
    frame.extend([0xaa; 20]);
    assert!(answer_frame(&frame, OURS).is_some());
}

#[test]
fn invalid_solicitations_get_no_answer() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 14] = [
        ("hop limit 64: passed on by a router", |f| f[21] = 64),
        ("another ethertype", |f| f[12] = 8),
        ("version 4", |f| f[14] = 0x40),
        ("another next header", |f| f[20] = 17),
        ("code 1", |f| f[55] = 1),
        ("a neighbour solicitation", |f| f[54] = 135),
        ("to another group", |f| f[53] = 0x16),
        ("length past the end", |f| f[19] = 17),
        ("length shorter than the message", |f| f[19] = 4),
        ("option of length zero", |f| f[63] = 0),
        ("option cut short", |f| f[63] = 2),
        ("source address option without a source", |f| {
            source(f, Ipv6Addr::UNSPECIFIED);
        }),
        ("group source", |f| source(f, "ff02::1".parse().unwrap())),
        ("our own frame", |f| f[6..12].copy_from_slice(&OURS)),
    ];
    for (what, change) in changes {
        let mut frame = captured();
        change(&mut frame);
        assert_eq!(answer_frame(&with_checksum(frame), OURS), None, "{what}");
    }
    let mut flipped = captured();
    flipped[57] ^= 1;
    assert_eq!(answer_frame(&flipped, OURS), None, "checksum");
}

#[test]
fn every_cut_is_harmless() {
    let frame = captured();
    for length in 0..frame.len() {
        assert_eq!(answer_frame(&frame[..length], OURS), None, "{length}");
    }
}

proptest! {
    #[test]
    fn random_frames(frame in vec(any::<u8>(), 0..200)) {
        let _ = answer_frame(&frame, OURS);
    }

    #[test]
    fn changed_frames_get_a_sound_answer_or_none(
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        fix in any::<bool>(),
    ) {
        let mut frame = captured();
        for (at, value) in changes {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        let frame = if fix { with_checksum(frame) } else { frame };
        if let Some((_, reply)) = answer_frame(&frame, OURS) {
            prop_assert_eq!(sum(&reply), 0xffff);
        }
    }
}

const SERVED: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);

#[test]
fn a_served_prefix_is_on_link_and_its_addresses_are_had_by_dhcpv6() {
    let said = Advertisement {
        mtu: Some(9000),
        dns: vec![SERVED],
        ..Advertisement::managed(SERVED, 64)
    };
    let (_, frame) = Sender::new(OURS)
        .answer(&captured(), &said)
        .expect("an answer");
    assert_eq!(sum(&frame), 0xffff, "the checksum is right");
    let message = &frame[54..];
    assert_eq!(message[5], 0xc0, "M and O");
    assert_eq!(message[6..8], [0, 0], "no default router");
    let mut options = Vec::new();
    let mut rest = &message[16..];
    while let [kind, units, ..] = rest {
        let (option, after) = rest.split_at(8 * usize::from(*units));
        options.push((*kind, option));
        rest = after;
    }
    let option = |code| {
        options
            .iter()
            .find(|(kind, _)| *kind == code)
            .expect("there")
            .1
    };
    assert_eq!(option(5)[4..], 9000u32.to_be_bytes());
    let prefix = option(3);
    assert_eq!(prefix[2..4], [64, 0x80], "on the link, and not autonomous");
    assert_eq!(prefix[4..8], (30 * 86_400u32).to_be_bytes());
    let network = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 0);
    assert_eq!(prefix[16..32], network.octets());
    assert_eq!(option(25)[8..24], SERVED.octets());
}

#[test]
fn flags_and_lifetime_are_as_configured() {
    let mut said = Advertisement::managed(SERVED, 64);
    said.managed = false;
    said.router_lifetime = 1800;
    said.prefixes[0].autonomous = true;
    let frame = Sender::new(OURS).to_all(&said);
    assert_eq!(sum(&frame), 0xffff);
    let message = &frame[54..];
    assert_eq!(
        (message[5], &message[6..8]),
        (0x40, &1800u16.to_be_bytes()[..])
    );
    assert_eq!(message[16 + 8 + 3], 0xc0, "L and A of the prefix");
}

#[test]
fn unsolicited_ones_go_to_all_nodes_from_the_interfaces_own_address() {
    let address = "fe80::77".parse().expect("an address");
    let sender = Sender { mac: OURS, address };
    let frame = sender.to_all(&Advertisement::default());
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(frame[22..38], address.octets());
    assert_eq!(
        frame[38..54],
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).octets()
    );
    assert_eq!(frame[21], 255, "hop limit");
    let intervals: Vec<_> = (0..5)
        .map(|sent| Advertisement::interval(sent).as_secs())
        .collect();
    assert_eq!(intervals, [0, 16, 16, 200, 200]);
}
