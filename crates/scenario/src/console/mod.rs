//! Console bytes to lines that markers can be matched on.
//!
//! Firmware and boot programs paint a terminal: colours, cleared screens, prompts that are erased again, words cut in
//! two where 80 columns end. The [`Cleaner`] undoes that byte by byte, so that the same bytes give the same lines
//! however the reads were cut.

mod vt;

use vt::{Op, Parser};

/// Longest line, in characters; a longer one is cut there and goes on as if wrapped.
pub const LINE_LIMIT: usize = 4096;

/// Longest [`Line::joined`], in bytes, before wrapped lines are no longer put in front of the next one.
pub const JOINED_LIMIT: usize = 16 * 1024;

/// Where SeaBIOS's serial console wraps: it puts CR LF into the middle of words there.
const COLUMNS: usize = 80;

/// The farthest column a cursor movement can reach.
const CURSOR_LIMIT: usize = 512;

/// A line of a console, cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Grows with every line. Lines that a terminal of 80 columns wrapped share one number; a line of which
    /// something is erased goes on under a new number.
    pub number: u64,
    /// Offset of the line's first printed byte in the raw console log.
    pub offset: u64,
    /// Offset past the line's last byte in the raw console log, line end included where it has come.
    pub end: u64,
    /// The line, with the wrapped lines before it in front: the second view.
    pub joined: String,
    /// Where in `joined` this line alone begins, in bytes.
    pub start: usize,
    /// So many bytes at the front of `joined` were there under the number before already. 0 for a fresh line.
    pub kept: usize,
    /// Whether the line can still grow.
    pub open: bool,
}

impl Line {
    /// The line as it stood on the screen, without the wrapped lines before it.
    #[must_use]
    pub fn text(&self) -> &str {
        self.joined.get(self.start..).unwrap_or_default()
    }
}

/// Turns console bytes into lines, with bounded memory.
///
/// - ANSI, VT and OSC sequences are dropped; colour does not end a line, moving the cursor elsewhere or clearing the
///   screen does.
/// - CR CR LF is one line end. CR followed by text begins a new line, so that nothing overprinted is lost.
/// - Backspace goes back and lets the next character overwrite. Before that, the line is given as it stood: a prompt
///   that is erased at once was there all the same.
/// - NUL and other control characters are dropped, a tab is spaces up to the next stop, broken UTF-8 is U+FFFD.
/// - Lines without any text are not given.
#[derive(Clone, Debug, Default)]
pub struct Cleaner {
    parser: Parser,
    line: Growing,
}

impl Cleaner {
    /// A cleaner at offset 0 of a console log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the console. Returns the lines that they complete, and those as they stood before
    /// something in them was erased.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        let Self { parser, line } = self;
        for byte in bytes {
            line.byte_at = line.taken - parser.pending() as u64;
            line.taken += 1;
            parser.advance(*byte, &mut |op| line.apply(op, &mut lines));
        }
        lines
    }

    /// The line that is not complete yet, where it has any text: a prompt, say.
    #[must_use]
    pub fn partial(&self) -> Option<Line> {
        self.line.view(true)
    }

    /// Completes the line that is not complete yet, because what follows belongs to another life of the machine.
    pub fn finish(&mut self) -> Option<Line> {
        let mut lines = Vec::new();
        self.parser = Parser::default();
        self.line.complete(End::Break, &mut lines);
        lines.pop()
    }

    /// Number of raw bytes taken so far.
    #[must_use]
    #[allow(clippy::misnamed_getters, reason = "the line has an offset of its own")]
    pub fn offset(&self) -> u64 {
        self.line.taken
    }
}

/// How a line ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Line feed.
    Newline,
    /// [`LINE_LIMIT`].
    Limit,
    /// Anything after which the next text has nothing to do with this line.
    Break,
}

/// The line under the cursor.
#[derive(Clone, Debug, Default)]
struct Growing {
    cells: Vec<char>,
    cursor: usize,
    /// The wrapped lines before this one.
    prefix: String,
    number: u64,
    kept: usize,
    offset: u64,
    taken: u64,
    byte_at: u64,
    /// CR came; what follows decides whether it was part of a line end.
    returned: bool,
    /// Something was printed since the line was last given or erased from.
    printed: bool,
}

impl Growing {
    fn apply(&mut self, op: Op, lines: &mut Vec<Line>) {
        if self.returned && !matches!(op, Op::Return | Op::Newline) {
            self.complete(End::Break, lines);
        }
        match op {
            Op::Print(c) => self.print(c, lines),
            Op::Tab => {
                for _ in 0..8 - self.cursor % 8 {
                    self.print(' ', lines);
                }
            }
            Op::Return => self.returned = true,
            Op::Newline => self.complete(End::Newline, lines),
            Op::Elsewhere => self.complete(End::Break, lines),
            Op::Backspace => self.back_to(self.cursor.saturating_sub(1), lines),
            Op::Left(columns) => self.back_to(self.cursor.saturating_sub(columns), lines),
            Op::Right(columns) => self.cursor_to(self.cursor.saturating_add(columns), lines),
            Op::Column(column) => self.cursor_to(column, lines),
            Op::EraseRight if self.cursor >= self.cells.len() => {}
            Op::EraseRight => {
                self.back_to(self.cursor, lines);
                self.change_from(self.cursor);
                self.cells.truncate(self.cursor);
            }
            Op::EraseLine => {
                let cursor = self.cursor;
                self.back_to(0, lines);
                self.change_from(0);
                self.cells.clear();
                self.cursor = cursor;
            }
        }
    }

    fn print(&mut self, c: char, lines: &mut Vec<Line>) {
        if self.cursor == 0 && c != ' ' && self.cells.iter().all(|cell| *cell == ' ') {
            // Whatever stood here is erased: the line begins anew.
            self.cells.clear();
        }
        if self.cells.is_empty() {
            self.offset = self.byte_at;
        }
        if self.cursor > self.cells.len() {
            self.cells.resize(self.cursor, ' ');
        }
        if self.cursor < self.cells.len() {
            // A space over something is how BS SP BS erases: nothing new to see.
            self.printed |= c != ' ';
            self.change_from(self.cursor);
            self.cells[self.cursor] = c;
        } else {
            self.printed = true;
            self.cells.push(c);
        }
        self.cursor += 1;
        if self.cells.len() >= LINE_LIMIT {
            self.complete(End::Limit, lines);
        }
    }

    fn cursor_to(&mut self, column: usize, lines: &mut Vec<Line>) {
        let column = column.min(CURSOR_LIMIT);
        if column < self.cursor {
            self.back_to(column, lines);
        } else {
            self.cursor = column;
        }
    }

    /// Moves left; whatever stands there may be overwritten now, so the line is given as it is before that.
    fn back_to(&mut self, column: usize, lines: &mut Vec<Line>) {
        if self.printed {
            if let Some(line) = self.view(false) {
                lines.push(line);
                self.number += 1;
                self.kept = usize::MAX;
            }
            self.printed = false;
        }
        self.cursor = column;
    }

    /// What stands at this column and after it is about to change.
    fn change_from(&mut self, column: usize) {
        let before: usize = self.cells.iter().take(column).map(|c| c.len_utf8()).sum();
        self.kept = self.kept.min(self.prefix.len() + before);
    }

    fn complete(&mut self, end: End, lines: &mut Vec<Line>) {
        let wrapped = end == End::Limit || (end == End::Newline && self.cells.len() == COLUMNS);
        let line = self.view(false);
        self.prefix.clear();
        if let Some(line) = line {
            if wrapped && line.joined.len() < JOINED_LIMIT {
                self.prefix.push_str(&line.joined);
            }
            lines.push(line);
        }
        if self.prefix.is_empty() {
            self.number += 1;
            self.kept = 0;
        }
        self.cells.clear();
        self.cursor = 0;
        self.returned = false;
        self.printed = false;
    }

    /// The line as it stands: trailing spaces only up to the cursor, so that `login: ` keeps its own.
    fn view(&self, open: bool) -> Option<Line> {
        let inked = self.cells.iter().rposition(|c| *c != ' ')? + 1;
        let shown = inked.max(self.cursor.min(self.cells.len()));
        let mut joined = String::with_capacity(self.prefix.len() + shown);
        joined.push_str(&self.prefix);
        joined.extend(self.cells.iter().take(shown));
        Some(Line {
            number: self.number,
            offset: self.offset,
            end: self.taken,
            start: self.prefix.len(),
            kept: self.kept.min(joined.len()),
            joined,
            open,
        })
    }
}
