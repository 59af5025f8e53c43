//! The TFTP machine, driven by packets and a clock of the test's own.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a test"
)]

use std::time::Duration;

use bootgate_netboot::tftp::{
    End, Handled, Limits, OptionKind, ReadRequest, Refusal, Time, Transfer, Transmit, sanitize_path,
};

const START: Time = Duration::from_secs(100);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn rrq(fields: &[&str]) -> Vec<u8> {
    request(1, fields)
}

fn request(opcode: u8, fields: &[&str]) -> Vec<u8> {
    let mut packet = vec![0, opcode];
    for field in fields {
        packet.extend(field.as_bytes());
        packet.push(0);
    }
    packet
}

fn ack(block: u16) -> Vec<u8> {
    let [hi, lo] = block.to_be_bytes();
    vec![0, 4, hi, lo]
}

fn error(code: u8, text: &str) -> Vec<u8> {
    let mut packet = vec![0, 5, 0, code];
    packet.extend(text.as_bytes());
    packet.push(0);
    packet
}

fn start(size: u64, options: &[&str]) -> Transfer {
    start_with(size, options, &Limits::default())
}

fn start_with(size: u64, options: &[&str], limits: &Limits) -> Transfer {
    let fields: Vec<&str> = ["vmlinuz", "octet"]
        .iter()
        .chain(options)
        .copied()
        .collect();
    let request = ReadRequest::parse(&rrq(&fields)).expect("a read request");
    Transfer::start(START, &request, size, limits)
}

/// Everything the machine sends now, as block numbers; 0 stands for a whole packet.
fn sent(transfer: &mut Transfer, now: Time) -> Vec<u16> {
    let mut blocks = Vec::new();
    while let Some(transmit) = transfer.next_packet(now) {
        blocks.push(match transmit {
            Transmit::Packet(_) => 0,
            Transmit::Data { header, .. } => u16::from_be_bytes([header[2], header[3]]),
        });
    }
    blocks
}

fn packet(transfer: &mut Transfer, now: Time) -> Vec<u8> {
    match transfer.next_packet(now) {
        Some(Transmit::Packet(bytes)) => bytes,
        other => panic!("not a whole packet: {other:?}"),
    }
}

/// A client without loss that acknowledges each window; gives the bytes it got and the packets it took.
fn download(size: u64, options: &[&str], limits: &Limits) -> (u64, u64) {
    let mut transfer = start_with(size, options, limits);
    let (mut expected, mut bytes, mut packets) = (1u16, 0u64, 0u64);
    if transfer.agreed().oack.is_some() {
        packet(&mut transfer, START);
        transfer.handle(START, &ack(0));
    }
    loop {
        while let Some(transmit) = transfer.next_packet(START) {
            let Transmit::Data {
                header,
                offset,
                len,
            } = transmit
            else {
                panic!("{transmit:?}");
            };
            assert_eq!(header, [0, 3, (expected >> 8) as u8, expected as u8]);
            assert_eq!(offset, bytes, "blocks follow each other");
            expected = expected.wrapping_add(1);
            bytes += len as u64;
            packets += 1;
        }
        let handled = transfer.handle(START, &ack(expected.wrapping_sub(1)));
        assert_eq!(handled, Handled::Progress);
        if let Some(end) = transfer.end() {
            assert_eq!(*end, End::Completed);
            assert_eq!(transfer.acked_bytes(), size);
            return (bytes, packets);
        }
    }
}

#[test]
fn a_file_ends_with_the_first_short_block() {
    for (size, blocks) in [(0, 1), (1, 1), (511, 1), (512, 2), (513, 2), (1024, 3)] {
        assert_eq!(download(size, &[], &Limits::default()), (size, blocks));
    }
    for (size, blocks) in [(1428 * 7, 8), (1428 * 7 + 1, 8), (1427, 1)] {
        let got = download(size, &["blksize", "1428"], &Limits::default());
        assert_eq!(got, (size, blocks));
    }
}

#[test]
fn block_numbers_wrap_to_zero_also_inside_a_window() {
    let size = 512 * 140_000 + 3;
    assert_eq!(download(size, &[], &Limits::default()), (size, 140_001));
    let windowed = download(size, &["windowsize", "7"], &Limits::default());
    assert_eq!(windowed, (size, 140_001));
}

#[test]
fn a_file_over_90_megabytes_wraps_the_block_number_at_blksize_1428() {
    let size = 1428 * 65_536 + 5;
    for options in [
        &["blksize", "1428"][..],
        &["blksize", "1428", "windowsize", "16"],
    ] {
        let got = download(size, options, &Limits::default());
        assert_eq!(got, (size, 65_537));
    }
}

#[test]
fn blksize_is_clamped_to_what_fits_the_mtu() {
    let mtu: u16 = 1400;
    let limits = Limits {
        max_block: mtu - 32,
        ..Limits::default()
    };
    for (asked, agreed) in [
        ("65464", 1368),
        ("1369", 1368),
        ("1368", 1368),
        ("512", 512),
    ] {
        let transfer = start_with(70_000, &["blksize", asked], &limits);
        assert_eq!(transfer.agreed().block, agreed, "{asked}");
    }
}

#[test]
fn the_oack_repeats_names_as_spelled_and_raises_nothing() {
    let options = [
        "TSize",
        "0",
        "BLKSIZE",
        "9000",
        "multicast",
        "",
        "windowsize",
        "4",
        "timeout",
        "3",
    ];
    let mut transfer = start(70_000, &options);
    let oack = packet(&mut transfer, START);
    let text = String::from_utf8(oack[2..].to_vec()).expect("ASCII");
    assert_eq!(oack[..2], [0, 6]);
    assert_eq!(
        text,
        "TSize\x0070000\0BLKSIZE\x001468\0windowsize\x004\0timeout\x003\0"
    );
}

#[test]
fn a_smaller_value_of_the_client_is_kept() {
    let transfer = start(70_000, &["blksize", "8", "windowsize", "1"]);
    assert_eq!(transfer.agreed().block, 8);
    assert_eq!(transfer.agreed().window, 1);
}

#[test]
fn unlawful_options_are_as_if_not_asked_for() {
    for options in [
        ["blksize", "7"],
        ["blksize", "65465"],
        ["blksize", "-1"],
        ["blksize", ""],
        ["blksize", "99999999999999999999999"],
        ["timeout", "0"],
        ["timeout", "256"],
        ["windowsize", "0"],
        ["utimeout", "1000"],
    ] {
        let mut transfer = start(1000, &options);
        assert_eq!(transfer.agreed().oack, None, "{options:?}");
        assert_eq!(sent(&mut transfer, START), [1], "data at once: {options:?}");
    }
}

#[test]
fn an_option_counts_once_and_a_torn_list_harms_nothing() {
    let mut bytes = rrq(&["f", "octet", "blksize", "600", "blksize", "1200", "tsize"]);
    bytes.extend(b"0 without an end");
    let request = ReadRequest::parse(&bytes).expect("a read request");
    assert_eq!(request.option(OptionKind::BlockSize), Some(600));
    assert_eq!(request.option(OptionKind::TransferSize), None);
}

#[test]
fn the_window_is_bounded_by_its_bytes() {
    let limits = Limits::default();
    let mut transfer = start(100 << 20, &["windowsize", "65535", "blksize", "1468"]);
    sent(&mut transfer, START);
    transfer.handle(START, &ack(0));
    let burst = sent(&mut transfer, START).len();
    assert!(burst * 1468 <= limits.max_window_bytes, "{burst} blocks");
    assert!(burst > 100, "{burst} blocks");

    let narrow = Limits {
        max_window_bytes: 100,
        ..limits
    };
    let transfer = start_with(1000, &["windowsize", "9"], &narrow);
    assert_eq!(transfer.agreed().window, 1, "one block is always allowed");
}

#[test]
fn a_repeated_acknowledgement_makes_no_sorcerers_apprentice_in_lockstep() {
    let mut transfer = start(5000, &[]);
    assert_eq!(sent(&mut transfer, START), [1]);
    assert_eq!(transfer.handle(START, &ack(1)), Handled::Progress);
    assert_eq!(sent(&mut transfer, START), [2]);
    for _ in 0..3 {
        assert_eq!(transfer.handle(START, &ack(1)), Handled::Repeated);
        assert_eq!(sent(&mut transfer, START), [0u16; 0]);
    }
    assert_eq!(transfer.poll_at(), Some(START + ms(1000)), "nor sooner");
    assert_eq!(transfer.handle(START, &ack(0)), Handled::Repeated);
    assert_eq!(transfer.handle(START, &ack(9)), Handled::Repeated);
    assert_eq!(transfer.handle(START, &ack(2)), Handled::Progress);
    assert_eq!(sent(&mut transfer, START), [3]);
}

#[test]
fn an_acknowledgement_inside_the_window_asks_for_the_rest_again() {
    let mut transfer = start(512 * 20, &["windowsize", "4"]);
    sent(&mut transfer, START);
    transfer.handle(START, &ack(0));
    assert_eq!(sent(&mut transfer, START), [1, 2, 3, 4]);
    transfer.handle(START, &ack(2));
    assert_eq!(sent(&mut transfer, START), [3, 4, 5, 6]);
    transfer.handle(START, &ack(6));
    assert_eq!(sent(&mut transfer, START), [7, 8, 9, 10]);
}

#[test]
fn the_loss_of_a_windows_first_block_is_mended_soon_and_once() {
    let mut transfer = start(512 * 20, &["windowsize", "4"]);
    sent(&mut transfer, START);
    transfer.handle(START, &ack(0));
    assert_eq!(sent(&mut transfer, START), [1, 2, 3, 4]);
    transfer.handle(START, &ack(4));
    assert_eq!(sent(&mut transfer, START), [5, 6, 7, 8]);
    // Block 5 is lost: the client answers each of 6, 7 and 8 with its last good block.
    for _ in 0..3 {
        assert_eq!(transfer.handle(START + ms(1), &ack(4)), Handled::Repeated);
        assert_eq!(sent(&mut transfer, START + ms(1)), [0u16; 0], "not at once");
    }
    assert_eq!(transfer.poll_at(), Some(START + ms(100)));
    transfer.poll(START + ms(100));
    assert_eq!(sent(&mut transfer, START + ms(100)), [5, 6, 7, 8]);
    transfer.handle(START + ms(101), &ack(4));
    assert!(
        transfer.poll_at() > Some(START + ms(1000)),
        "only once a window"
    );
}

#[test]
fn a_late_repetition_asks_for_the_window_now_and_not_in_the_past() {
    let mut transfer = start(512 * 20, &["windowsize", "4"]);
    sent(&mut transfer, START);
    transfer.handle(START, &ack(0));
    assert_eq!(sent(&mut transfer, START), [1, 2, 3, 4]);
    transfer.handle(START + ms(500), &ack(0));
    assert_eq!(transfer.poll_at(), Some(START + ms(500)));
    transfer.poll(START + ms(500));
    assert_eq!(sent(&mut transfer, START + ms(500)), [1, 2, 3, 4]);
}

#[test]
fn retransmissions_back_off_and_end() {
    let mut transfer = start(5000, &[]);
    assert_eq!(sent(&mut transfer, START), [1]);
    let mut now = START;
    let mut waits = Vec::new();
    while transfer.end().is_none() {
        let at = transfer.poll_at().expect("a live transfer has a deadline");
        transfer.poll(at - ms(1));
        assert_eq!(sent(&mut transfer, at - ms(1)), [0u16; 0], "not early");
        waits.push((at - now).as_secs());
        now = at;
        transfer.poll(now);
        if transfer.end().is_none() {
            assert_eq!(sent(&mut transfer, now), [1]);
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
    assert!(matches!(
        transfer.end(),
        Some(End::Aborted { benign: false, .. })
    ));
    assert_eq!(
        packet(&mut transfer, now)[..4],
        [0, 5, 0, 0],
        "the client is told"
    );
    assert_eq!(transfer.next_packet(now), None);
    assert_eq!(transfer.poll_at(), None);
}

#[test]
fn the_oack_is_sent_again_and_progress_resets_the_back_off() {
    let mut transfer = start(5000, &["tsize", "0"]);
    assert_eq!(sent(&mut transfer, START), [0]);
    transfer.poll(START + ms(1000));
    assert_eq!(sent(&mut transfer, START + ms(1000)), [0]);
    assert_eq!(transfer.poll_at(), Some(START + ms(3000)));
    transfer.handle(START + ms(1500), &ack(0));
    assert_eq!(sent(&mut transfer, START + ms(1500)), [1]);
    assert_eq!(transfer.poll_at(), Some(START + ms(2500)));
}

#[test]
fn the_timeout_the_client_asked_for_is_used() {
    let mut transfer = start(5000, &["timeout", "20"]);
    sent(&mut transfer, START);
    assert_eq!(transfer.poll_at(), Some(START + ms(20_000)));
    transfer.poll(START + ms(20_000));
    sent(&mut transfer, START + ms(20_000));
    assert_eq!(
        transfer.poll_at(),
        Some(START + ms(40_000)),
        "kept, not doubled past the limit"
    );
}

#[test]
fn a_size_probe_is_a_benign_end_at_once() {
    let mut transfer = start(5000, &["tsize", "0", "blksize", "1468"]);
    sent(&mut transfer, START);
    let probe = error(8, "User aborted the transfer");
    assert_eq!(transfer.handle(START, &probe), Handled::Progress);
    let end = transfer.end().expect("ended");
    assert!(
        matches!(end, End::Aborted { reason, benign: true } if reason.contains("User aborted"))
    );
    assert_eq!(
        transfer.next_packet(START),
        None,
        "an ERROR is not answered"
    );
    assert_eq!(transfer.poll_at(), None);

    let mut intel = start(5000, &["tsize", "0"]);
    sent(&mut intel, START);
    intel.handle(START, &error(0, "TFTP Aborted"));
    assert!(matches!(
        intel.end(),
        Some(End::Aborted { benign: true, .. })
    ));
}

#[test]
fn an_error_in_the_middle_is_not_benign() {
    for code in [0, 3, 8] {
        let mut transfer = start(5000, &["tsize", "0"]);
        sent(&mut transfer, START);
        transfer.handle(START, &ack(0));
        sent(&mut transfer, START);
        transfer.handle(START, &ack(1));
        transfer.handle(START, &error(code, "disk full"));
        assert!(matches!(
            transfer.end(),
            Some(End::Aborted { benign: false, .. })
        ));
        assert_eq!(transfer.acked_bytes(), 512);
    }
}

#[test]
fn senseless_packets_change_nothing() {
    let mut transfer = start(5000, &["tsize", "0"]);
    sent(&mut transfer, START);
    for bytes in [
        &[][..],
        &[0],
        &[0, 4, 0],
        &[0, 3, 0, 1, 7],
        &[0, 6, 0, 0],
        &[9, 9, 9, 9],
    ] {
        assert!(
            matches!(transfer.handle(START, bytes), Handled::Ignored(_)),
            "{bytes:?}"
        );
    }
    assert!(
        matches!(transfer.handle(START, &ack(5)), Handled::Ignored(_)),
        "before data"
    );
    assert_eq!(transfer.end(), None);
    assert_eq!(sent(&mut transfer, START), [0u16; 0]);
}

#[test]
fn a_file_that_cannot_be_read_is_told_to_the_client() {
    let mut transfer = start(5000, &[]);
    sent(&mut transfer, START);
    let refusal = Refusal::new(bootgate_netboot::tftp::ErrorCode::UNDEFINED, "read\nfailed");
    transfer.fail(&refusal, "disk error");
    assert_eq!(packet(&mut transfer, START), b"\0\x05\0\0read?failed\0");
    assert!(matches!(transfer.end(), Some(End::Aborted { reason, .. }) if reason == "disk error"));
}

fn refusal_of(bytes: &[u8]) -> Option<(u16, String)> {
    let bad = ReadRequest::parse(bytes).expect_err("refused");
    bad.refusal.map(|refusal| (refusal.code.0, refusal.text))
}

#[test]
fn other_modes_and_writes_are_refused_in_words() {
    let (code, text) = refusal_of(&rrq(&["f", "NetASCII"])).expect("an answer");
    assert_eq!(code, 4);
    assert!(
        text.contains("NetASCII") && text.contains("octet"),
        "{text}"
    );
    assert_eq!(refusal_of(&rrq(&["f", "mail"])).expect("an answer").0, 4);
    assert_eq!(
        refusal_of(&request(2, &["f", "octet"]))
            .expect("an answer")
            .0,
        2
    );
    assert_eq!(refusal_of(&rrq(&["f"])).expect("an answer").0, 4);
    assert_eq!(refusal_of(b"\0\x01").expect("an answer").0, 4);
}

#[test]
fn every_refusal_has_a_name_for_counters() {
    let long = "x".repeat(300);
    for (bytes, slug) in [
        (&b""[..], "truncated"),
        (b"\0", "truncated"),
        (b"\0\x01", "truncated"),
        (b"\0\x01name", "truncated"),
        (b"\0\x04\0\x01", "not-a-request"),
        (&rrq(&["f", "mail"]), "unsupported-mode"),
        (&request(2, &["f", "octet"]), "write-request"),
        (&rrq(&["../../etc/shadow", "octet"]), "hostile-path"),
        (&rrq(&[&long, "octet"]), "hostile-path"),
    ] {
        let bad = ReadRequest::parse(bytes).expect_err("refused");
        assert_eq!(bad.slug, slug, "{bytes:?}");
    }
}

#[test]
fn what_is_no_request_gets_no_answer() {
    for bytes in [
        &b""[..],
        b"\0",
        b"\0\x03\0\x01data",
        b"\0\x04\0\x01",
        b"\0\x05\0\x01no\0",
        b"xx",
    ] {
        assert_eq!(refusal_of(bytes), None, "{bytes:?}");
    }
}

#[test]
fn modes_and_option_names_are_read_in_any_case() {
    let request = ReadRequest::parse(&rrq(&["f", "OcTeT", "BlkSize", "1024"])).expect("a request");
    assert_eq!(request.option(OptionKind::BlockSize), Some(1024));
}

#[test]
fn paths_stay_below_the_root() {
    let fine = [
        ("vmlinuz", "vmlinuz"),
        ("/vmlinuz", "vmlinuz"),
        ("\\boot\\x64\\wdsmgfw.efi", "boot/x64/wdsmgfw.efi"),
        ("//a/./b//c", "a/b/c"),
        ("a..b/...", "a..b/..."),
    ];
    for (text, path) in fine {
        assert_eq!(
            sanitize_path(text).map(|p| p.to_string()),
            Ok(path.to_owned())
        );
    }
    let long = "x".repeat(256);
    let refused = [
        "",
        "/",
        ".",
        "..",
        "../x",
        "a/..",
        "a\\..\\b",
        "\\..\\x",
        "/../etc/passwd",
        "C:\\x",
        "/c:/x",
        "a\nb",
        "a\u{0}b",
        "a\u{7f}",
        &long,
    ];
    for text in refused {
        assert!(sanitize_path(text).is_err(), "{text:?}");
    }
    let mut raw = vec![0, 1, 0xff, 0xfe, 0];
    raw.extend(b"octet\0");
    assert_eq!(refusal_of(&raw).expect("an answer").0, 2);
}
