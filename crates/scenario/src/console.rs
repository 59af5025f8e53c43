//! Console bytes to lines that markers can be matched on.

/// A line of a console, cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Number of the logical line, from 0. Lines that a terminal of 80 columns wrapped share one number.
    pub number: u64,
    /// Offset of the line's first byte in the raw console log.
    pub offset: u64,
    /// Offset past the line's last byte in the raw console log, line end included where it has come.
    pub end: u64,
    /// The line, with the wrapped lines before it in front: the second view.
    pub joined: String,
    /// Where in `joined` this line alone begins, in bytes.
    pub start: usize,
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

/// Turns console bytes into lines.
#[derive(Clone, Debug, Default)]
pub struct Cleaner {
    offset: u64,
}

impl Cleaner {
    /// A cleaner at offset 0 of a console log.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes of the console and returns the lines that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        self.offset += bytes.len() as u64;
        Vec::new()
    }

    /// The line that is not complete yet, where it has any text: a prompt, say.
    #[must_use]
    pub fn partial(&self) -> Option<Line> {
        None
    }

    /// Completes the line that is not complete yet, because what follows belongs to another life of the machine.
    pub fn finish(&mut self) -> Option<Line> {
        None
    }

    /// Number of raw bytes taken so far.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }
}
