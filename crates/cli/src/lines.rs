//! Lines of runs that go on side by side.

use std::io::{self, Write};

/// Puts a name before every line, and hands on whole lines only, so that lines of several writers do not mix.
pub(crate) struct Named<W: Write> {
    prefix: Vec<u8>,
    line: Vec<u8>,
    out: W,
}

impl<W: Write> Named<W> {
    /// Lines on `out`, each with `name` in a column of `width` before it.
    pub(crate) fn new(name: &str, width: usize, out: W) -> Self {
        Self {
            prefix: format!("{name:<width$} |").into_bytes(),
            line: Vec::new(),
            out,
        }
    }

    fn end_line(&mut self) -> io::Result<()> {
        let mut whole = self.prefix.clone();
        if self.line != b"\n" {
            whole.push(b' ');
        }
        whole.append(&mut self.line);
        self.out.write_all(&whole)
    }
}

impl<W: Write> Write for Named<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.end_line()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn lines_are_whole_and_named() {
        let mut out = Vec::new();
        let mut lines = Named::new("bios", 6, &mut out);
        for piece in ["one", " line\ntwo\n", "\n", "unfinished"] {
            lines.write_all(piece.as_bytes()).unwrap();
        }
        drop(lines);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, "bios   | one line\nbios   | two\nbios   |\n");
    }
}
