//! Options as they lie on the wire: a code and a length of two bytes each, then the value (RFC 8415 section 21.1).

use std::net::Ipv6Addr;

/// Codes of the options read or written here (RFC 8415 unless noted).
pub(super) mod code {
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_TA: u16 = 4;
    pub const IA_ADDR: u16 = 5;
    pub const WANTED: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const RELAY_MESSAGE: u16 = 9;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const USER_CLASS: u16 = 15;
    pub const VENDOR_CLASS: u16 = 16;
    pub const INTERFACE_ID: u16 = 18;
    /// RFC 3646.
    pub const DNS: u16 = 23;
    /// RFC 3646.
    pub const SEARCH: u16 = 24;
    pub const IA_PD: u16 = 25;
    pub const REFRESH_TIME: u16 = 32;
    /// RFC 4649.
    pub const REMOTE_ID: u16 = 37;
    /// RFC 5970.
    pub const BOOTFILE_URL: u16 = 59;
    /// RFC 5970.
    pub const BOOTFILE_PARAM: u16 = 60;
    /// RFC 5970.
    pub const ARCHITECTURES: u16 = 61;
    /// RFC 5970.
    pub const NETWORK_INTERFACE: u16 = 62;
    /// RFC 6939.
    pub const CLIENT_LINK_LAYER: u16 = 79;
    /// RFC 8357.
    pub const RELAY_PORT: u16 = 135;
}

/// No message of a client or a relay has more options than this in one place; the rest is left out.
const MAX_OPTIONS: usize = 128;

/// The options of one message, one IA or one relay: borrowed, in the order of the wire.
#[derive(Debug, Default)]
pub(super) struct Options<'a> {
    all: Vec<(u16, &'a [u8])>,
    /// What was cut short, in words.
    pub(super) oddity: Option<String>,
}

impl<'a> Options<'a> {
    /// Reads options until the end. One whose length goes past the end is left out, and with it what follows, since
    /// nobody can tell where that begins; what came before stays.
    pub(super) fn read(mut bytes: &'a [u8]) -> Self {
        let mut options = Self::default();
        while let Some((code, rest)) = take_u16(bytes) {
            let Some((value, rest)) = take_prefixed(rest) else {
                options.oddity = Some(format!("option {code} goes past the end"));
                return options;
            };
            if options.all.len() == MAX_OPTIONS {
                options.oddity = Some(format!("more than {MAX_OPTIONS} options"));
                return options;
            }
            options.all.push((code, value));
            bytes = rest;
        }
        if !bytes.is_empty() {
            options.oddity = Some("a byte after the last option".to_owned());
        }
        options
    }

    /// The first option of this code.
    pub(super) fn first(&self, code: u16) -> Option<&'a [u8]> {
        self.all(code).next()
    }

    /// Every option of this code.
    pub(super) fn all(&self, code: u16) -> impl Iterator<Item = &'a [u8]> {
        let same = self.all.iter().filter(move |(known, _)| *known == code);
        same.map(|(_, value)| *value)
    }

    /// Whether the option is there in any form.
    pub(super) fn has(&self, code: u16) -> bool {
        self.first(code).is_some()
    }
}

/// Splits a number off the front.
pub(super) fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*number), rest))
}

/// Splits a length of two bytes and so many bytes of value off the front.
pub(super) fn take_prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = take_u16(bytes)?;
    rest.split_at_checked(usize::from(length))
}

/// An address at a place.
pub(super) fn address_at(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    let octets = bytes.get(at..)?.first_chunk::<16>()?;
    Some(Ipv6Addr::from(*octets))
}

/// A row of length-prefixed strings (user and vendor classes). A value that is not exactly such a row is one bare
/// string, as some firmware sends it.
pub(super) fn classes(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut classes = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        match take_prefixed(rest) {
            Some((class, after)) if !class.is_empty() => {
                classes.push(class.to_vec());
                rest = after;
            }
            _ => return vec![bytes.to_vec()],
        }
    }
    classes
}

/// Options being written.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    /// Appends an option. Values longer than 65535 bytes do not come up: whole messages are shorter.
    pub(super) fn put(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(usize::from(u16::MAX))];
        self.0.extend(code.to_be_bytes());
        self.number(value.len());
        self.0.extend(value);
    }

    /// Appends a length or another small number, in two bytes.
    pub(super) fn number(&mut self, number: usize) {
        let number = u16::try_from(number).unwrap_or(u16::MAX);
        self.0.extend(number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_cut_short_leaves_the_ones_before_it() {
        let options = Options::read(&[0, 1, 0, 2, 7, 8, 0, 2, 0, 9, 1]);
        assert_eq!(options.first(1), Some(&[7, 8][..]));
        assert!(!options.has(2));
        assert_eq!(
            options.oddity.as_deref(),
            Some("option 2 goes past the end")
        );
    }

    #[test]
    fn both_forms_of_classes_are_read() {
        assert_eq!(classes(b"iPXE"), [b"iPXE".to_vec()]);
        assert_eq!(classes(b"\0\x04iPXE"), [b"iPXE".to_vec()]);
        let two = classes(b"\0\x04iPXE\0\x03lab");
        assert_eq!(two, [b"iPXE".to_vec(), b"lab".to_vec()]);
        assert_eq!(classes(b"\0\0"), [b"\0\0".to_vec()]);
        assert!(classes(b"").is_empty());
    }
}
