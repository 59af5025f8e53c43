//! Capture files, read by Wireshark's tools.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "test code"
)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use bootgate_hostnet::capture::{CaptureConfig, Writer};
use bootgate_hostnet::wire::Direction;
use bootgate_testkit::require_commands;

/// What a tool prints about a file; it must find nothing to complain about.
fn tool(program: &str, file: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program);
    if program == "tshark" {
        command.arg("-r");
    } else {
        command.args(arguments);
    }
    command.arg(file);
    if program == "tshark" {
        command.args(arguments);
    }
    let output = command.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).replace(
        "Running as user \"root\" and group \"root\". This could be dangerous.\n",
        "",
    );
    assert!(output.status.success(), "{program}: {complaint}");
    assert_eq!(complaint, "", "{program} complains");
    String::from_utf8(output.stdout).unwrap()
}

fn frame(length: usize) -> Vec<u8> {
    (0..length).map(|index| index.to_le_bytes()[0]).collect()
}

#[test]
fn frames_come_back_with_time_interface_direction_and_bytes() {
    require_commands!("tshark", "capinfos");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcapng");
    let capture = Writer::create(&path, CaptureConfig::default()).unwrap();
    let ports = [capture.interface("a"), capture.interface("a longer name")];
    let start = UNIX_EPOCH + Duration::new(1_790_000_000, 123_456_789);
    for (index, length) in [(0u32, 60), (1, 61), (2, 62), (3, 1514)] {
        let direction = if index % 2 == 0 {
            Direction::FromClient
        } else {
            Direction::ToClient
        };
        let at = start + Duration::from_nanos(index.into());
        capture.frame(ports[index as usize % 2], direction, at, &frame(length));
    }
    assert_eq!((capture.stats().frames, capture.stats().skipped), (4, 0));
    let announced = capture.stats().bytes;
    drop(capture);
    // Two interface statistics blocks close the file.
    assert_eq!(std::fs::metadata(&path).unwrap().len(), announced + 2 * 52);
    let fields = [
        "frame.time_epoch",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.len",
        "frame.cap_len",
    ];
    let mut arguments = vec!["-T", "fields"];
    for field in fields {
        arguments.extend(["-e", field]);
    }
    let expected = [
        "1790000000.123456789 a 0x00000001 60 60",
        "1790000000.123456790 a longer name 0x00000002 61 61",
        "1790000000.123456791 a 0x00000001 62 62",
        "1790000000.123456792 a longer name 0x00000002 1514 1514",
    ];
    let told = tool("tshark", &path, &arguments).replace('\t', " ");
    assert_eq!(told.lines().collect::<Vec<_>>(), expected);
    let bytes = tool("tshark", &path, &["-x", "-Y", "frame.number == 4"]);
    assert!(
        bytes.contains("05e0  e0 e1 e2 e3 e4 e5 e6 e7 e8 e9                     "),
        "{bytes}"
    );
    let infos = tool("capinfos", &path, &["-M"]);
    for fact in [
        "Encapsulation = Ethernet (1 - ether)",
        "Number of packets = 2",
        "Number of interfaces in file: 2",
        "Time precision = nanoseconds (9)",
        "Name = a longer name",
    ] {
        assert!(infos.contains(fact), "no `{fact}` in\n{infos}");
    }
}

#[test]
fn a_snap_length_keeps_the_beginning_and_the_true_length() {
    require_commands!("tshark");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcapng");
    let config = CaptureConfig {
        snap_len: 70,
        ..CaptureConfig::default()
    };
    let capture = Writer::create(&path, config).unwrap();
    let port = capture.interface("a");
    for length in [60, 70, 71, 1514] {
        capture.frame(port, Direction::ToClient, UNIX_EPOCH, &frame(length));
    }
    drop(capture);
    let lengths = tool(
        "tshark",
        &path,
        &["-T", "fields", "-e", "frame.len", "-e", "frame.cap_len"],
    );
    assert_eq!(lengths, "60\t60\n70\t70\n71\t70\n1514\t70\n");
}

#[test]
fn a_full_file_is_valid_and_within_its_bound() {
    require_commands!("tshark", "capinfos");
    let folder = tempfile::tempdir().unwrap();
    for limit in [300u64, 1000, 4096, 10_001] {
        let path = folder.path().join(format!("{limit}.pcapng"));
        let config = CaptureConfig {
            max_bytes: Some(limit),
            ..CaptureConfig::default()
        };
        let capture = Writer::create(&path, config).unwrap();
        let port = capture.interface("a");
        for _ in 0..100 {
            capture.frame(port, Direction::ToClient, UNIX_EPOCH, &frame(333));
        }
        let stats = capture.stats();
        drop(capture);
        assert_eq!(stats.frames + stats.skipped, 100);
        let size = std::fs::metadata(&path).unwrap().len();
        assert!(
            size <= limit && size + 380 > limit,
            "{size} bytes of {limit}"
        );
        let packets = tool("tshark", &path, &["-T", "fields", "-e", "frame.len"]);
        assert_eq!(packets.lines().count() as u64, stats.frames);
    }
}

#[test]
fn an_open_capture_is_readable_at_any_flush() {
    require_commands!("tshark");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture.pcapng");
    let capture = Writer::create(&path, CaptureConfig::default()).unwrap();
    assert_eq!(tool("tshark", &path, &[]), "");
    let port = capture.interface("a");
    for count in 1..4 {
        capture.frame(port, Direction::ToClient, UNIX_EPOCH, &frame(100));
        capture.flush();
        let packets = tool("tshark", &path, &["-T", "fields", "-e", "frame.len"]);
        assert_eq!(packets.lines().count(), count);
    }
}

#[test]
fn a_full_disk_is_told_once_and_stops_nothing() {
    let capture = Writer::create(Path::new("/dev/full"), CaptureConfig::default());
    let error = capture.unwrap_err().to_string();
    assert!(error.contains("No space left on device"), "{error}");
}
