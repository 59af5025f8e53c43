//! A target's console log as lines with times, bounded.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bootgate_events::{Event, EventKind, TargetName};

/// Bytes read from the start of a console log.
const HEAD: u64 = 100_000;
/// Bytes read from its end: what came last says most.
const TAIL: u64 = 300_000;
/// Lines kept of the start and of the end.
const LINES: (usize, usize) = (1000, 3000);
/// Longest line in characters.
const LINE_LIMIT: usize = 1000;

/// A line of a console and when it began.
pub(crate) struct Line {
    /// Milliseconds since the run started.
    pub(crate) at_ms: u64,
    /// What it says, without control sequences.
    pub(crate) text: String,
}

/// What a console said.
#[derive(Default)]
pub(crate) struct Console {
    /// The lines from its start.
    pub(crate) head: Vec<Line>,
    /// The lines up to its end, where something between is left out.
    pub(crate) tail: Vec<Line>,
    /// Whether something is left out between the two.
    pub(crate) cut: bool,
    /// Whether the log could not be read though the events tell of bytes in it.
    pub(crate) missing: bool,
}

impl Console {
    /// The console of `target` in the run folder, timed by the events.
    pub(crate) fn read(folder: &Path, target: &TargetName, events: &[Event]) -> Self {
        let chunks = chunks(events, target);
        let Some((head, tail)) = path(folder, target).and_then(|path| pieces(&path).ok()) else {
            return Self {
                missing: !chunks.is_empty(),
                ..Self::default()
            };
        };
        let mut console = Self {
            head: lines(&head.0, head.1, &chunks),
            ..Self::default()
        };
        if let Some((bytes, offset)) = tail {
            console.tail = lines(&bytes, offset, &chunks);
            console.cut = true;
        }
        console.bound();
        console
    }

    /// The last lines, at most `count`.
    pub(crate) fn last(&self, count: usize) -> Vec<&Line> {
        let all: Vec<&Line> = self.head.iter().chain(&self.tail).collect();
        all.get(all.len().saturating_sub(count)..)
            .unwrap_or_default()
            .to_vec()
    }

    fn bound(&mut self) {
        let (head, tail) = LINES;
        if !self.cut && self.head.len() > head + tail {
            self.tail = self.head.split_off(self.head.len() - tail);
            self.cut = true;
        }
        if self.cut {
            self.head.truncate(head);
            self.tail.drain(..self.tail.len().saturating_sub(tail));
        }
    }
}

/// Where the log is; none for a name that would lead out of the folder.
fn path(folder: &Path, target: &TargetName) -> Option<PathBuf> {
    let name = target.as_str();
    let plain = !name.is_empty() && !name.contains(['/', '\\', '\0']);
    plain.then(|| folder.join("console").join(format!("{name}.log")))
}

/// Bytes of a file and the offset of the first.
type Piece = (Vec<u8>, u64);

/// The file's start, and its end where it is longer than both together.
fn pieces(path: &Path) -> std::io::Result<(Piece, Option<Piece>)> {
    let mut file = std::fs::File::open(path)?;
    let size = file.metadata()?.len();
    let whole = size <= HEAD + TAIL;
    let mut head = Vec::new();
    file.by_ref()
        .take(if whole { HEAD + TAIL } else { HEAD })
        .read_to_end(&mut head)?;
    if whole {
        return Ok(((head, 0), None));
    }
    let offset = file.seek(SeekFrom::Start(size - TAIL))?;
    let mut tail = Vec::new();
    file.take(TAIL).read_to_end(&mut tail)?;
    Ok(((head, 0), Some((tail, offset))))
}

/// Offset and time of every chunk, by offset.
fn chunks(events: &[Event], target: &TargetName) -> Vec<(u64, u64)> {
    events
        .iter()
        .filter(|event| event.target.as_ref() == Some(target))
        .filter_map(|event| match event.kind() {
            Some(EventKind::ConsoleChunk { offset, .. }) => Some((*offset, event.mono_ms())),
            _ => None,
        })
        .collect()
}

/// The lines of a piece that say something.
fn lines(bytes: &[u8], offset: u64, chunks: &[(u64, u64)]) -> Vec<Line> {
    let mut lines = Vec::new();
    for range in split(bytes) {
        let start = offset + range.start as u64;
        let chunk = chunks.partition_point(|(first, _)| *first <= start);
        let at_ms = chunk
            .checked_sub(1)
            .and_then(|index| chunks.get(index))
            .map_or(0, |(_, at)| *at);
        let text = printable(&String::from_utf8_lossy(
            bytes.get(range).unwrap_or_default(),
        ));
        if !text.trim().is_empty() {
            lines.push(Line {
                at_ms,
                text: crate::text::short(text.trim_end(), LINE_LIMIT),
            });
        }
    }
    lines
}

/// Where lines end: after a line feed, and before a cursor movement to an absolute place or a cleared screen, by which
/// firmware begins new lines too.
fn split(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let end = match byte {
            b'\n' => Some(at + 1),
            0x1b if moves(bytes.get(at + 1..).unwrap_or_default()) => Some(at),
            _ => None,
        };
        if let Some(end) = end.filter(|end| *end > start) {
            ranges.push(start..end);
            start = end;
        }
        at += 1;
    }
    if start < bytes.len() {
        ranges.push(start..bytes.len());
    }
    ranges
}

/// Whether what follows an escape byte is CSI `H`, `f` (cursor position) or `J` (erase in display), ECMA-48.
fn moves(rest: &[u8]) -> bool {
    let Some(parameters) = rest.strip_prefix(b"[") else {
        return false;
    };
    let last = parameters
        .iter()
        .take(16)
        .find(|byte| (0x40..=0x7e).contains(*byte));
    matches!(last, Some(b'H' | b'f' | b'J'))
}

/// The text without control sequences, as a person saw it: backspaces take back, a carriage return begins anew.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => skip_sequence(&mut letters),
            '\u{8}' => {
                out.pop();
            }
            '\r' if !matches!(letters.peek(), None | Some('\n' | '\r')) => out.clear(),
            '\t' => out.push('\t'),
            letter if !letter.is_control() => out.push(letter),
            _ => {}
        }
    }
    out
}

/// Skips a control sequence (CSI), a string (OSC, ended by BEL or ST), or an escape of two characters.
fn skip_sequence(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match letters.next() {
        Some('[') => {
            letters.find(|letter| ('\u{40}'..='\u{7e}').contains(letter));
        }
        Some(']') => {
            letters.find(|letter| matches!(letter, '\u{7}' | '\u{1b}'));
            letters.next_if_eq(&'\\');
        }
        _ => {}
    }
}
