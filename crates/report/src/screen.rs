//! The terminal that live lines are drawn on, also while its width changes.
//!
//! The drawing library fills every line with blanks up to the edge and goes on in the next row by itself. A terminal
//! that is made narrower takes such rows for one long line and breaks it anew, so that the rows to be cleared are not
//! where they were. Here each line ends with a line feed, and the rows are counted with the width of the moment.

use std::fmt::Debug;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::TermLike;

/// Columns and rows of a terminal.
pub(crate) type Size = fn() -> (u16, u16);

/// A terminal; clones draw on the same one.
#[derive(Debug)]
pub(crate) struct Screen<W: Write + Send + Debug> {
    state: Arc<Mutex<State<W>>>,
    size: Size,
}

impl<W: Write + Send + Debug> Clone for Screen<W> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
            size: self.size,
        }
    }
}

#[derive(Debug)]
struct State<W> {
    out: W,
    /// Columns of the lines drawn last.
    drawn: Vec<usize>,
    /// Whether the next text is what fills the line before.
    filler_next: bool,
    /// Whether the cursor stands behind a line.
    behind_line: bool,
    /// How far the library went up, until it clears or writes.
    up: Option<usize>,
}

/// The terminal at standard error.
pub(crate) fn stderr() -> Screen<io::Stderr> {
    Screen::new(io::stderr(), || {
        rustix::termios::tcgetwinsize(io::stderr()).map_or((80, 24), |size| match size.ws_col {
            0 => (80, 24),
            columns => (columns, size.ws_row),
        })
    })
}

impl<W: Write + Send + Debug> Screen<W> {
    pub(crate) fn new(out: W, size: Size) -> Self {
        let state = State {
            out,
            drawn: Vec::new(),
            filler_next: false,
            behind_line: false,
            up: None,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
            size,
        }
    }

    /// Ends the last line, so that what is printed next begins a new one.
    pub(crate) fn end(&self) {
        let _ = self.with(|state| {
            if std::mem::take(&mut state.behind_line) {
                state.out.write_all(b"\r\n")?;
            }
            state.drawn.clear();
            state.out.flush()
        });
    }

    fn with<T>(&self, action: impl FnOnce(&mut State<W>) -> T) -> T {
        action(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<W: Write> State<W> {
    /// Clears the last `count` lines, wherever a change of the width has put them.
    fn clear(&mut self, count: usize, columns: usize) -> io::Result<()> {
        let kept = self.drawn.len().saturating_sub(count);
        let old = self.drawn.get(kept..).unwrap_or_default();
        let rows: usize = old
            .iter()
            .map(|width| width.div_ceil(columns.max(1)).max(1))
            .sum();
        self.drawn.clear();
        if rows == 0 {
            return Ok(());
        }
        self.behind_line = false;
        if rows > 1 {
            write!(self.out, "\r\u{1b}[{}A\u{1b}[J", rows - 1)
        } else {
            write!(self.out, "\r\u{1b}[J")
        }
    }

    fn text(&mut self, text: &str, columns: usize) -> io::Result<()> {
        if self.up.take().is_some() {
            // It cleared nothing, so that none of the old lines is its own any more.
            self.drawn.clear();
        }
        if std::mem::take(&mut self.filler_next) {
            let line = self.drawn.last_mut();
            if let Some(width) = line {
                // The library has told how wide the line is by what is missing to full rows.
                *width = width.div_ceil(columns.max(1)).max(1) * columns - text.len().min(columns);
            }
            self.behind_line = true;
            return Ok(());
        }
        if std::mem::take(&mut self.behind_line) {
            self.out.write_all(b"\r\n")?;
        }
        self.filler_next = true;
        self.drawn.push(console_width(text));
        self.out.write_all(text.as_bytes())
    }
}

/// Columns of a text: its characters without control sequences. The library's filler corrects it for wide letters.
fn console_width(text: &str) -> usize {
    let mut inside = false;
    text.chars()
        .filter(|letter| {
            let escape = *letter == '\u{1b}';
            let counts = !inside && !escape;
            inside = escape || (inside && !letter.is_ascii_alphabetic());
            counts
        })
        .count()
}

impl<W: Write + Send + Debug> TermLike for Screen<W> {
    fn width(&self) -> u16 {
        (self.size)().0
    }

    fn height(&self) -> u16 {
        (self.size)().1
    }

    /// The library goes up to the first of its old lines, clears them one by one, and goes up again. All is cleared
    /// with the first of them; where it clears none, it had none.
    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.with(|state| state.up = Some(n));
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.write_str(s)?;
        self.write_str("")
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        let columns = usize::from(self.width());
        self.with(|state| state.text(s, columns))
    }

    fn clear_line(&self) -> io::Result<()> {
        let columns = usize::from(self.width());
        self.with(|state| match state.up.take() {
            Some(up) => state.clear(up + 1, columns),
            None => Ok(()),
        })
    }

    fn flush(&self) -> io::Result<()> {
        self.with(|state| state.out.flush())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Draws two lines of 30 columns as the library does, `old` lines having been drawn before.
    fn draw(screen: &Screen<Vec<u8>>, old: usize) -> String {
        let columns = usize::from(screen.width());
        screen.move_cursor_up(old.saturating_sub(1)).unwrap();
        for _ in 0..old {
            screen.clear_line().unwrap();
        }
        screen.move_cursor_up(old.saturating_sub(1)).unwrap();
        for name in ["one", "two"] {
            let line: String = format!("{name:.<30}").chars().take(columns).collect();
            screen.write_str(&line).unwrap();
            screen.write_str(&" ".repeat(columns - line.len())).unwrap();
        }
        screen.flush().unwrap();
        screen.with(|state| String::from_utf8(std::mem::take(&mut state.out)).unwrap())
    }

    #[test]
    fn lines_are_drawn_over_themselves() {
        let screen = Screen::new(Vec::new(), || (80, 24));
        let lines = format!("{:.<30}\r\n{:.<30}", "one", "two");
        assert_eq!(draw(&screen, 0), lines);
        assert_eq!(draw(&screen, 2), format!("\r\u{1b}[1A\u{1b}[J{lines}"));
        screen.end();
        let end = screen.with(|state| std::mem::take(&mut state.out));
        assert_eq!(end, b"\r\n");
    }

    #[test]
    fn rows_are_counted_with_the_width_of_the_moment() {
        let mut screen = Screen::new(Vec::new(), || (80, 24));
        draw(&screen, 0);
        screen.size = || (20, 24);
        let narrow = draw(&screen, 2);
        assert!(narrow.starts_with("\r\u{1b}[3A\u{1b}[J"), "{narrow:?}");
        screen.size = || (80, 24);
        let wide = draw(&screen, 2);
        assert!(wide.starts_with("\r\u{1b}[1A\u{1b}[J"), "{wide:?}");
    }
}
