//! Whatever comes in: no panic, and a reply or a reason.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

#[path = "common/lab6.rs"]
mod lab6;

use lab6::*;
use proptest::collection::vec;
use proptest::prelude::*;

/// Sends to a server that has state already, so that each branch has something to decide.
fn send_everywhere(bytes: &[u8]) {
    let mut lab = Lab::new(config());
    lab.lease(1);
    lab.lease(2);
    for _ in 0..3 {
        let outcome = lab.send_bytes(bytes, link_local(1)).0;
        assert!(
            outcome.reply.is_some() != outcome.dropped.is_some(),
            "{outcome:?}"
        );
        assert!(lab.server.tracked() <= 2 * 4096);
        assert!(lab.server.poll_at().is_none_or(|next| next > lab.now));
        if let Some(reply) = outcome.reply {
            assert!(!reply.reason.is_empty() && reply.bytes.len() >= 4);
        }
        lab.now += HOUR / 2;
    }
}

fn samples() -> Vec<Vec<u8>> {
    let ip = ip6(9);
    let inner = solicit(1).pxe(7).bytes();
    vec![
        solicit(1).pxe(7).bytes(),
        solicit(1).http(16).with(14, []).ia(2, &[ip, ip]).bytes(),
        request(1, ip).with(15, b"\0\x04iPXE").bytes(),
        renew(2, ip).bytes(),
        rebind(3, ip).bytes(),
        release(1, ip).bytes(),
        decline(2, ip).bytes(),
        confirm(1, ip).bytes(),
        Packet::new(11, 1).with(6, [0, 23]).bytes(),
        relayed(
            &relayed(&inner, 0, SERVER, link_local(1), &[(18, vec![1])]),
            1,
            SERVER,
            SERVER,
            &[],
        ),
    ]
}

proptest! {
    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..400)) {
        send_everywhere(&bytes);
    }

    #[test]
    fn random_options_of_every_message_type(
        kind in 0..15u8,
        options in vec((0..140u16, vec(any::<u8>(), 0..60)), 0..8),
    ) {
        let mut packet = Packet::new(kind, 1);
        for (code, value) in options {
            packet = packet.with(code, value);
        }
        send_everywhere(&packet.bytes());
    }

    #[test]
    fn messages_with_bytes_changed_and_cut_off(
        which in 0..10usize,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = samples().swap_remove(which);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        send_everywhere(&bytes);
    }
}

#[test]
fn every_cut_of_every_message() {
    for bytes in samples() {
        for length in 0..=bytes.len() {
            send_everywhere(&bytes[..length]);
        }
    }
}
