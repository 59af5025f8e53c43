//! A TFTP transfer. The first four bytes of an input are the file's size; then comes the request, then what the client
//! sends, with `PKT!` between them. An empty packet lets the deadline pass; `+` acknowledges the last block that was
//! sent.
#![no_main]

use std::time::Duration;

use bootgate_netboot::tftp::{Limits, ReadRequest, Transfer, Transmit};
use libfuzzer_sys::fuzz_target;
use packets::split;

mod packets;

/// Takes all that is to be sent now; the number of the last block.
fn drain(transfer: &mut Transfer, now: Duration, size: u64) -> Option<[u8; 2]> {
    let (block, window) = (transfer.agreed().block, transfer.agreed().window);
    let mut last = None;
    let mut sent = 0u32;
    while let Some(transmit) = transfer.next_packet(now) {
        sent += 1;
        match transmit {
            Transmit::Packet(packet) => assert!(packet.len() >= 4),
            Transmit::Data {
                header,
                offset,
                len,
            } => {
                assert!(len <= usize::from(block));
                assert!(offset + len as u64 <= size);
                last = Some([header[2], header[3]]);
            }
        }
        assert!(sent <= u32::from(window), "a burst is one window");
    }
    last
}

fuzz_target!(|data: &[u8]| {
    let Some((size, data)) = data.split_first_chunk::<4>() else {
        return;
    };
    let size = u64::from(u32::from_be_bytes(*size));
    let packets = split(data);
    let limits = Limits {
        max_window_bytes: 16 << 10,
        ..Limits::default()
    };
    let request = match ReadRequest::parse(packets[0]) {
        Ok(request) => request,
        Err(bad) => {
            assert!(!bad.reason.is_empty());
            if let Some(refusal) = bad.refusal {
                assert!(refusal.to_packet().ends_with(&[0]));
            }
            return;
        }
    };
    let path = request.path.as_str();
    assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")));
    assert!(!path.chars().any(char::is_control));

    let mut now = Duration::from_secs(1);
    let mut transfer = Transfer::start(now, &request, size, &limits);
    let agreed = transfer.agreed();
    let window_bytes = usize::from(agreed.window) * usize::from(agreed.block);
    assert!(agreed.window == 1 || window_bytes <= limits.max_window_bytes);
    assert!((8..=1468).contains(&agreed.block));
    let mut last = drain(&mut transfer, now, size).unwrap_or_default();
    let mut acked = 0;
    for packet in &packets[1..] {
        let Some(deadline) = transfer.poll_at() else {
            break;
        };
        assert!(deadline > now, "every wait has an end");
        now += Duration::from_millis(packet.len() as u64).min(deadline - now);
        match packet {
            [] => {
                now = deadline;
                transfer.poll(now);
            }
            [b'+'] => {
                transfer.handle(now, &[0, 4, last[0], last[1]]);
            }
            _ => {
                transfer.handle(now, packet);
            }
        }
        if transfer.poll_at().is_some_and(|deadline| deadline <= now) {
            transfer.poll(now);
        }
        last = drain(&mut transfer, now, size).unwrap_or(last);
        assert!(transfer.acked_bytes() >= acked && transfer.acked_bytes() <= size);
        acked = transfer.acked_bytes();
    }
    // A client that says nothing any more is given up in the end.
    for _ in 0..=limits.max_retries {
        if let Some(deadline) = transfer.poll_at() {
            now = deadline;
            transfer.poll(now);
            drain(&mut transfer, now, size);
        }
    }
    assert!(transfer.end().is_some());
    assert_eq!(transfer.next_packet(now), None);
});
