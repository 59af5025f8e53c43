//! Terminal control sequences (ECMA-48) to the few operations that change what a line says.

/// What a byte does to the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// A printable character at the cursor.
    Print(char),
    /// Back one column.
    Backspace,
    /// To the first column.
    Return,
    /// To the next line.
    Newline,
    /// To the next stop, every eight columns.
    Tab,
    /// Left by so many columns.
    Left(usize),
    /// Right by so many columns.
    Right(usize),
    /// To this column, from 0.
    Column(usize),
    /// Everything from the cursor to the end of the line is erased.
    EraseRight,
    /// The whole line is erased.
    EraseLine,
    /// The cursor goes elsewhere on the screen, or the screen is cleared.
    Elsewhere,
}

/// Longest control sequence. Noise on a serial line begins sequences that never end; text after it must not be lost.
const SEQUENCE_LIMIT: u16 = 48;

/// Longest control string (a window title, say). Line ends abort it as well.
const STRING_LIMIT: u16 = 256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Ground,
    Escape,
    Intermediate,
    Csi,
    Text,
    TextEscape,
}

/// The state between two bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Parser {
    state: State,
    length: u16,
    params: [u16; 2],
    param: usize,
    private: bool,
    utf8: Vec<u8>,
}

impl Parser {
    /// Takes one byte.
    pub(super) fn advance(&mut self, byte: u8, out: &mut impl FnMut(Op)) {
        match self.state {
            State::Ground => self.ground(byte, out),
            State::Escape => self.escape(byte, out),
            State::Intermediate => self.intermediate(byte, out),
            State::Csi => self.csi(byte, out),
            State::Text => self.text(byte, out),
            State::TextEscape => {
                if byte == b'\\' {
                    self.state = State::Ground;
                } else {
                    self.state = State::Escape;
                    self.escape(byte, out);
                }
            }
        }
    }

    /// Number of bytes kept back because a character is not complete.
    pub(super) fn pending(&self) -> usize {
        self.utf8.len()
    }

    fn ground(&mut self, byte: u8, out: &mut impl FnMut(Op)) {
        if !self.utf8.is_empty() || byte >= 0x80 {
            return self.multibyte(byte, out);
        }
        match byte {
            0x08 => out(Op::Backspace),
            b'\t' => out(Op::Tab),
            b'\n' => out(Op::Newline),
            0x0b | 0x0c => out(Op::Elsewhere),
            b'\r' => out(Op::Return),
            0x1b => self.begin(State::Escape),
            0x20..=0x7e => out(Op::Print(char::from(byte))),
            _ => {}
        }
    }

    /// One byte of a character outside ASCII; broken ones become U+FFFD as in [`String::from_utf8_lossy`].
    fn multibyte(&mut self, byte: u8, out: &mut impl FnMut(Op)) {
        self.utf8.push(byte);
        match std::str::from_utf8(&self.utf8) {
            Ok(text) => {
                text.chars()
                    .filter(|c| !c.is_control())
                    .for_each(|c| out(Op::Print(c)));
                self.utf8.clear();
            }
            Err(error) => {
                let Some(broken) = error.error_len() else {
                    return;
                };
                out(Op::Print(char::REPLACEMENT_CHARACTER));
                let rest: Vec<u8> = self.utf8.drain(..).skip(broken).collect();
                for byte in rest {
                    self.advance(byte, out);
                }
            }
        }
    }

    fn begin(&mut self, state: State) {
        self.state = state;
        self.length = 0;
        self.params = [0; 2];
        self.param = 0;
        self.private = false;
    }

    /// Gives the sequence up; `byte` counts as if no sequence had been.
    fn abort(&mut self, byte: u8, out: &mut impl FnMut(Op)) {
        self.state = State::Ground;
        self.ground(byte, out);
    }

    fn escape(&mut self, byte: u8, out: &mut impl FnMut(Op)) {
        self.state = State::Ground;
        match byte {
            b'[' => self.begin(State::Csi),
            // OSC, DCS, SOS, PM and APC: strings that are not shown.
            b']' | b'P' | b'X' | b'^' | b'_' => self.begin(State::Text),
            0x20..=0x2f => self.state = State::Intermediate,
            // RIS, IND, NEL, RI.
            b'c' | b'D' | b'E' | b'M' => out(Op::Elsewhere),
            0x30..=0x7e => {}
            _ => self.abort(byte, out),
        }
    }

    fn intermediate(&mut self, byte: u8, out: &mut impl FnMut(Op)) {
        match byte {
            0x20..=0x2f if self.length < SEQUENCE_LIMIT => self.length += 1,
            0x20..=0x7e => self.state = State::Ground,
            _ => self.abort(byte, out),
        }
    }

    fn csi(&mut self, byte: u8, out: &mut impl FnMut(Op)) {
        self.length += 1;
        if self.length > SEQUENCE_LIMIT {
            return self.abort(byte, out);
        }
        match byte {
            b'0'..=b'9' => {
                if let Some(param) = self.params.get_mut(self.param) {
                    *param = param
                        .saturating_mul(10)
                        .saturating_add(u16::from(byte - b'0'));
                }
            }
            b';' | b':' => self.param += 1,
            b'<'..=b'?' | 0x20..=0x2f => self.private = true,
            0x40..=0x7e => {
                self.state = State::Ground;
                if !self.private {
                    self.csi_final(byte, out);
                }
            }
            _ => self.abort(byte, out),
        }
    }

    fn csi_final(&self, byte: u8, out: &mut impl FnMut(Op)) {
        let first = usize::from(self.params[0]);
        match byte {
            b'C' => out(Op::Right(first.max(1))),
            b'D' => out(Op::Left(first.max(1))),
            b'G' | b'`' => out(Op::Column(first.max(1) - 1)),
            b'K' if first == 0 => out(Op::EraseRight),
            b'K' => out(Op::EraseLine),
            b'J' if first == 0 => out(Op::EraseRight),
            b'A' | b'B' | b'E' | b'F' | b'H' | b'J' | b'd' | b'f' => out(Op::Elsewhere),
            _ => {}
        }
    }

    fn text(&mut self, byte: u8, out: &mut impl FnMut(Op)) {
        self.length += 1;
        match byte {
            0x07 | 0x18 | 0x1a => self.state = State::Ground,
            0x1b => self.state = State::TextEscape,
            b'\n' | b'\r' => self.abort(byte, out),
            _ if self.length >= STRING_LIMIT => self.state = State::Ground,
            _ => {}
        }
    }
}
