//! The console cleaner, on recorded consoles and on what they taught.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may stop so")]

use std::fs;
use std::path::{Path, PathBuf};

use bootgate_scenario::console::{Cleaner, JOINED_LIMIT, LINE_LIMIT, Line};
use proptest::prelude::*;

fn transcripts() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/transcripts");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "raw"));
    paths.sort();
    assert!(paths.len() >= 8, "transcripts are missing");
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    paths
        .iter()
        .map(|path| (name(path), fs::read(path).unwrap()))
        .collect()
}

/// Everything the cleaner gives for these reads, the line left open at the end included.
fn clean<'a>(reads: impl IntoIterator<Item = &'a [u8]>) -> Vec<Line> {
    let mut cleaner = Cleaner::new();
    let mut lines = Vec::new();
    for read in reads {
        lines.extend(cleaner.push(read));
    }
    lines.extend(cleaner.partial());
    lines
}

fn texts(bytes: &[u8]) -> Vec<String> {
    clean([bytes])
        .iter()
        .map(|line| line.text().to_owned())
        .collect()
}

/// Splits where a line or a sequence could be cut: all of the firmware's and boot program's output, and the last
/// bytes. The kernel's lines between are plain.
fn worth_splitting(bytes: &[u8]) -> Vec<&[u8]> {
    let head = bytes.get(..bytes.len().min(3000)).unwrap();
    let tail = bytes.get(bytes.len().saturating_sub(600)..).unwrap();
    vec![head, tail]
}

#[test]
fn a_split_at_any_byte_changes_nothing() {
    for (name, bytes) in transcripts() {
        for part in worth_splitting(&bytes) {
            let whole = clean([part]);
            for at in 0..=part.len() {
                let (before, after) = part.split_at(at);
                assert_eq!(clean([before, after]), whole, "{name} split at {at}");
            }
        }
        assert_eq!(
            clean(bytes.chunks(1)),
            clean([&bytes[..]]),
            "{name} byte by byte"
        );
        assert_eq!(
            clean(bytes.chunks(2)),
            clean([&bytes[..]]),
            "{name} in pairs"
        );
    }
}

#[test]
fn recorded_consoles_read_as_a_person_sees_them() {
    for (name, bytes) in transcripts() {
        let kernel = |line: &Line| line.text().starts_with("[    ");
        let lines: Vec<String> = clean([&bytes[..]])
            .iter()
            .filter(|line| !kernel(line) || line.start > 0 || line.text().contains("panic"))
            .map(|line| {
                let mark = if line.start > 0 { "+ " } else { "| " };
                format!("{mark}{}", line.text())
            })
            .collect();
        insta::assert_snapshot!(name, lines.join("\n"));
    }
}

#[test]
fn offsets_lead_back_to_the_raw_bytes() {
    for (name, bytes) in transcripts() {
        let lines = clean([&bytes[..]]);
        for line in &lines {
            let raw = bytes
                .get(usize::try_from(line.offset).unwrap()..usize::try_from(line.end).unwrap())
                .unwrap();
            let first = line.text().chars().next().unwrap();
            assert!(
                raw.starts_with(first.to_string().as_bytes()),
                "{name}: {line:?}"
            );
        }
        assert!(
            lines.is_sorted_by_key(|line| (line.number, line.end)),
            "{name}"
        );
    }
}

#[test]
fn words_cut_at_eighty_columns_are_joined_in_the_second_view() {
    let cut = format!("{}MARK\r\nER one\r\nnext\r\n", "x".repeat(76));
    let lines = clean([cut.as_bytes()]);
    assert_eq!(lines[1].text(), "ER one");
    assert!(lines[1].joined.ends_with("xxMARKER one"));
    assert_eq!(lines[0].number, lines[1].number);
    assert_eq!(lines[2].joined, "next");
    assert_ne!(lines[1].number, lines[2].number);
    let longer = format!("{}\r\nown line\r\n", "x".repeat(81));
    assert_eq!(clean([longer.as_bytes()])[1].joined, "own line");
}

#[test]
fn an_erased_prompt_was_there_and_is_gone() {
    let lines = clean([&b"Press Ctrl-B...\x08 \x08\x08 \x08\x08 \x08net0\r\n"[..]]);
    let shown: Vec<&str> = lines.iter().map(Line::text).collect();
    assert_eq!(shown, ["Press Ctrl-B...", "Press Ctrl-Bnet0"]);
    assert_eq!(lines[1].kept, "Press Ctrl-B".len());
    assert_ne!(lines[0].number, lines[1].number);
}

#[test]
fn returns_are_line_ends_and_hide_nothing() {
    assert_eq!(texts(b"one\r\r\ntwo\r\nthree\n"), ["one", "two", "three"]);
    assert_eq!(texts(b"10%\r20%\rdone\n"), ["10%", "20%", "done"]);
    assert_eq!(texts(b"one\r\x1b[0m\ntwo"), ["one", "two"]);
}

#[test]
fn sequences_leave_the_text_whole() {
    assert_eq!(
        texts(b"\x1b[1m\x1b[31mFa\x1b[0mil\x1b[0;36med\x1b]0;title\x07!\x1b(B\n"),
        ["Failed!"]
    );
    assert_eq!(texts(b"a\x1b]0;title\x1b\\b\x1bPq#1\x1b\\c\n"), ["abc"]);
    assert_eq!(texts(b"left\x1b[2J\x1b[01;01Hright\n"), ["left", "right"]);
    assert_eq!(texts(b"wrong\x1b[5Dright\x1b[K\n"), ["wrong", "right"]);
    assert_eq!(texts(b"a\x1b[3Cb\n"), ["a   b"]);
    assert_eq!(texts(b"nul\0l\x07\x7f\n"), ["null"]);
    assert_eq!(texts(b"a\tb\n"), ["a       b"]);
}

#[test]
fn noise_that_begins_a_sequence_does_not_swallow_what_follows() {
    assert_eq!(texts(b"\x1b]no end\r\nMARKER\r\n"), ["MARKER"]);
    let digits = [&b"\x1b["[..], &b"1;".repeat(100), b"\r\nMARKER\r\n"].concat();
    assert_eq!(texts(&digits).last().unwrap(), "MARKER");
    assert_eq!(texts(b"\x1b[12\r\nMARKER\r\n"), ["MARKER"]);
}

#[test]
fn broken_characters_become_replacements() {
    let bytes = b"gr\xc3\xbc\xc3 \xff\xf0\x9f\x92x\xe2\x82\xac\n";
    assert_eq!(
        texts(bytes),
        [String::from_utf8_lossy(&bytes[..bytes.len() - 1]).into_owned()]
    );
}

#[test]
fn a_prompt_without_line_end_is_seen_with_its_space() {
    let mut cleaner = Cleaner::new();
    assert!(cleaner.push(b"\r\nhost login: ").is_empty());
    let open = cleaner.partial().unwrap();
    assert_eq!(
        (open.text(), open.open, open.offset),
        ("host login: ", true, 2)
    );
    assert_eq!(cleaner.finish().unwrap().text(), "host login: ");
    assert_eq!(cleaner.partial(), None);
}

#[test]
fn memory_is_bounded() {
    let mut cleaner = Cleaner::new();
    for _ in 0..100 {
        for line in cleaner.push(&[b'x'; 5000]) {
            assert!(
                line.text().len() <= LINE_LIMIT && line.joined.len() <= JOINED_LIMIT + LINE_LIMIT
            );
        }
        assert!(cleaner.partial().unwrap().text().len() <= LINE_LIMIT);
    }
}

proptest! {
    #[test]
    fn any_bytes_in_any_reads_give_the_same(
        bytes in proptest::collection::vec(
            prop_oneof![
                8 => Just(b'x'), 2 => Just(b' '), 2 => Just(0x08u8), 1 => Just(b'\r'), 1 => Just(b'\n'),
                2 => Just(0x1b), 2 => Just(b'['), 1 => Just(b'K'), 1 => Just(b'D'), 2 => any::<u8>(),
            ],
            0..600,
        ),
        sizes in proptest::collection::vec(1usize..7, 1..50),
    ) {
        let mut reads = Vec::new();
        let mut rest = &bytes[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (read, more) = rest.split_at((*size).min(rest.len()));
            reads.push(read);
            rest = more;
        }
        prop_assert_eq!(clean(reads), clean([&bytes[..]]));
    }
}
