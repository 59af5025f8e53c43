//! The packets of RFC 1350 and RFC 2347, as bytes.

use std::fmt;

pub(super) const RRQ: u16 = 1;
pub(super) const WRQ: u16 = 2;
const DATA: u16 = 3;
const ACK: u16 = 4;
const ERROR: u16 = 5;
const OACK: u16 = 6;

/// Longest text that is sent in, or kept from, an ERROR packet, in bytes.
pub const ERROR_TEXT_MAX: usize = 128;

/// The code of an ERROR packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// See the text (RFC 1350).
    pub const UNDEFINED: Self = Self(0);
    /// No such file (RFC 1350).
    pub const NOT_FOUND: Self = Self(1);
    /// The file may not be had (RFC 1350).
    pub const ACCESS: Self = Self(2);
    /// The operation is not known or not offered (RFC 1350).
    pub const ILLEGAL: Self = Self(4);
    /// The options do not please (RFC 2347). EDK2 ends its size probe with it.
    pub const OPTIONS: Self = Self(8);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// An ERROR packet to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its code.
    pub code: ErrorCode,
    /// Its text, for the client's console.
    pub text: String,
}

impl Refusal {
    /// A refusal with this code and text.
    #[must_use]
    pub fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, text }
    }

    /// The packet. Its text is cut to [`ERROR_TEXT_MAX`] bytes and made printable ASCII.
    #[must_use]
    pub fn to_packet(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(5 + self.text.len());
        packet.extend(ERROR.to_be_bytes());
        packet.extend(self.code.0.to_be_bytes());
        let printable = |c: char| {
            if c.is_ascii() && !c.is_ascii_control() {
                c
            } else {
                '?'
            }
        };
        let text = self.text.chars().map(printable).take(ERROR_TEXT_MAX);
        packet.extend(text.filter_map(|c| u8::try_from(c).ok()));
        packet.push(0);
        packet
    }
}

/// What a client sends in the course of a transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FromClient {
    Ack(u16),
    Error(ErrorCode, String),
    Other(Stray),
}

/// A packet that has no business on the port of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stray {
    /// Shorter than any packet of a transfer.
    Short,
    /// DATA: the client reads.
    Data,
    /// A request, which belongs on the server's own port.
    Request,
    /// OACK: only servers send it.
    Oack,
    /// An operation that no RFC knows.
    Unknown,
    /// An acknowledgement of a block that was not sent.
    NotSent,
    /// Anything after the transfer's end.
    Late,
}

impl Stray {
    /// Its name in counters.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Stray::Short => "truncated",
            Stray::Data => "stray-data",
            Stray::Request => "stray-request",
            Stray::Oack => "stray-oack",
            Stray::Unknown => "unknown-operation",
            Stray::NotSent => "stray-ack",
            Stray::Late => "late",
        }
    }
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stray::Short => "shorter than any packet of a transfer",
            Stray::Data => "DATA from a client that reads",
            Stray::Request => "a request on the port of a transfer",
            Stray::Oack => "OACK from a client",
            Stray::Unknown => "an unknown operation",
            Stray::NotSent => "acknowledgement of a block that was not sent",
            Stray::Late => "the transfer is over",
        })
    }
}

impl FromClient {
    pub(super) fn parse(packet: &[u8]) -> Self {
        let &[op0, op1, n0, n1, ref rest @ ..] = packet else {
            return Self::Other(Stray::Short);
        };
        let number = u16::from_be_bytes([n0, n1]);
        match u16::from_be_bytes([op0, op1]) {
            ACK => Self::Ack(number),
            ERROR => {
                let text = rest.split(|byte| *byte == 0).next().unwrap_or_default();
                let text = &text[..text.len().min(ERROR_TEXT_MAX)];
                let text = String::from_utf8_lossy(text).replace(char::is_control, "?");
                Self::Error(ErrorCode(number), text)
            }
            DATA => Self::Other(Stray::Data),
            RRQ | WRQ => Self::Other(Stray::Request),
            OACK => Self::Other(Stray::Oack),
            _ => Self::Other(Stray::Unknown),
        }
    }
}

/// The first bytes of the DATA packet of one block.
pub(super) fn data_header(block: u64) -> [u8; 4] {
    let [.., hi, lo] = block.to_be_bytes();
    let [op_hi, op_lo] = DATA.to_be_bytes();
    [op_hi, op_lo, hi, lo]
}

/// An OACK with these options, in this order.
pub(super) fn oack<'a>(options: impl Iterator<Item = (&'a str, u64)>) -> Vec<u8> {
    let mut packet = OACK.to_be_bytes().to_vec();
    for (name, value) in options {
        packet.extend(name.as_bytes());
        packet.push(0);
        packet.extend(value.to_string().as_bytes());
        packet.push(0);
    }
    packet
}
