//! Options as they lie on the wire: code, length, value.

/// Codes of the options read or written here (RFC 2132 unless noted).
pub(crate) mod code {
    pub const PAD: u8 = 0;
    pub const NETMASK: u8 = 1;
    pub const ROUTERS: u8 = 3;
    pub const DNS: u8 = 6;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const BROADCAST: u8 = 28;
    pub const NTP: u8 = 42;
    pub const VENDOR_INFO: u8 = 43;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const WANTED: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAX_SIZE: u8 = 57;
    pub const RENEWAL: u8 = 58;
    pub const REBINDING: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_ID: u8 = 61;
    pub const TFTP_SERVER_NAME: u8 = 66;
    pub const BOOTFILE: u8 = 67;
    /// RFC 3004.
    pub const USER_CLASS: u8 = 77;
    /// RFC 3046.
    pub const RELAY_INFO: u8 = 82;
    /// RFC 4578.
    pub const ARCHITECTURES: u8 = 93;
    /// RFC 4578.
    pub const INTERFACE_ID: u8 = 94;
    /// RFC 4578.
    pub const MACHINE_ID: u8 = 97;
    /// RFC 3011.
    pub const SUBNET_SELECTION: u8 = 118;
    /// RFC 5859.
    pub const TFTP_SERVERS: u8 = 150;
    /// iPXE's encapsulated options (<https://ipxe.org/howto/dhcpd>).
    pub const IPXE: u8 = 175;
    pub const END: u8 = 255;
}

/// Message types (option 53; RFC 2132 section 9.6).
pub(crate) mod message {
    pub const DISCOVER: u8 = 1;
    pub const OFFER: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const DECLINE: u8 = 4;
    pub const ACK: u8 = 5;
    pub const NAK: u8 = 6;
    pub const RELEASE: u8 = 7;
    pub const INFORM: u8 = 8;
}

/// Where the fields that may be overloaded with options lie in a message (RFC 2131 section 2).
pub(crate) const SNAME: std::ops::Range<usize> = 44..108;
pub(crate) const FILE: std::ops::Range<usize> = 108..236;
/// Where the options begin, after the magic cookie.
const OPTIONS: usize = 240;

/// The options of one message.
#[derive(Debug, Default)]
pub(crate) struct Options<'a> {
    /// Every instance of every option, in order.
    instances: Vec<(u8, &'a [u8])>,
    /// What was cut short, in words.
    pub(crate) oddities: Vec<String>,
}

impl<'a> Options<'a> {
    /// Reads the options of a message, those in an overloaded `file` and `sname` too (option 52, RFC 2131
    /// section 4.1: first the options field, then `file`, then `sname`).
    pub(crate) fn read(packet: &'a [u8]) -> Self {
        let mut options = Self {
            instances: Vec::with_capacity(24),
            oddities: Vec::new(),
        };
        options.take_from("options", packet.get(OPTIONS..).unwrap_or_default());
        let overload = options.overload();
        if overload & 1 != 0 {
            options.take_from("file", packet.get(FILE).unwrap_or_default());
        }
        if overload & 2 != 0 {
            options.take_from("sname", packet.get(SNAME).unwrap_or_default());
        }
        options
    }

    /// Which fields carry options: bit 0 `file`, bit 1 `sname`.
    pub(crate) fn overload(&self) -> u8 {
        self.fixed::<1>(code::OVERLOAD).map_or(0, |[bits]| bits)
    }

    /// Reads one field. An option whose length goes past the field's end is left out, and with it what follows,
    /// since nobody can tell where that begins; what came before stays.
    fn take_from(&mut self, field: &str, mut bytes: &'a [u8]) {
        while let Some((&code, rest)) = bytes.split_first() {
            bytes = match code {
                code::PAD => rest,
                code::END => return,
                _ => {
                    let Some((value, rest)) = split_value(rest) else {
                        self.oddities
                            .push(format!("option {code} goes past the end of `{field}`"));
                        return;
                    };
                    self.instances.push((code, value));
                    rest
                }
            };
        }
    }

    fn of(&self, code: u8) -> impl Iterator<Item = &'a [u8]> {
        let found = self
            .instances
            .iter()
            .filter(move |(known, _)| *known == code);
        found.map(|(_, value)| *value)
    }

    /// The whole value of an option: its instances laid end to end (RFC 3396). `None` where absent or empty.
    pub(crate) fn bytes(&self, code: u8) -> Option<Vec<u8>> {
        let mut value = self.of(code).next()?.to_vec();
        for more in self.of(code).skip(1) {
            value.extend(more);
        }
        (!value.is_empty()).then_some(value)
    }

    /// An option of fixed length: its first instance of just that length, so that a client that says the same
    /// thing twice is understood.
    pub(crate) fn fixed<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        self.of(code).find_map(|value| value.try_into().ok())
    }

    /// Whether the option is there in any form.
    pub(crate) fn has(&self, code: u8) -> bool {
        self.of(code).next().is_some()
    }
}

/// Splits a length byte and so many bytes of value off the front.
fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(length))
}

/// Encapsulated options (RFC 2132 section 8.4, and iPXE's option 175): what can be read before the first that is cut
/// short.
pub(crate) fn encapsulated(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((&code, rest)) = bytes.split_first() {
        match code {
            code::PAD => bytes = rest,
            code::END => break,
            _ => {
                let Some((value, rest)) = split_value(rest) else {
                    break;
                };
                found.push((code, value.to_vec()));
                bytes = rest;
            }
        }
    }
    found
}

/// User classes. RFC 3004 puts a length before each; iPXE (and other clients) send one bare string instead. A value
/// that is not exactly a row of length-prefixed strings is a bare string.
pub(crate) fn user_classes(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut classes = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        match split_value(rest) {
            Some((class, after)) if !class.is_empty() => {
                classes.push(class.to_vec());
                rest = after;
            }
            _ => return vec![bytes.to_vec()],
        }
    }
    classes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; OPTIONS];
        packet.extend(options);
        packet
    }

    #[test]
    fn an_option_cut_short_leaves_the_ones_before_it() {
        let cut = message(&[53, 1, 1, 50, 4, 10, 0]);
        let options = Options::read(&cut);
        assert_eq!(options.fixed(53), Some([1]));
        assert!(!options.has(50));
        assert_eq!(
            options.oddities,
            ["option 50 goes past the end of `options`"]
        );
    }

    #[test]
    fn overloaded_fields_are_read_in_order_file_then_sname() {
        let mut packet = message(&[52, 1, 3, 60, 1, b'a', 255]);
        packet[FILE.start..FILE.start + 4].copy_from_slice(&[60, 1, b'b', 255]);
        packet[SNAME.start..SNAME.start + 4].copy_from_slice(&[60, 1, b'c', 255]);
        assert_eq!(Options::read(&packet).bytes(60), Some(b"abc".to_vec()));
        packet[OPTIONS + 2] = 2;
        assert_eq!(Options::read(&packet).bytes(60), Some(b"ac".to_vec()));
    }

    #[test]
    fn both_forms_of_user_class_are_read() {
        assert_eq!(user_classes(b"iPXE"), [b"iPXE".to_vec()]);
        assert_eq!(user_classes(b"\x04iPXE"), [b"iPXE".to_vec()]);
        assert_eq!(
            user_classes(b"\x04iPXE\x03lab"),
            [b"iPXE".to_vec(), b"lab".to_vec()]
        );
        assert_eq!(user_classes(b"\x00"), [b"\x00".to_vec()]);
        assert!(user_classes(b"").is_empty());
    }

    #[test]
    fn a_repeated_fixed_option_counts_once() {
        let twice = message(&[53, 1, 3, 53, 1, 3, 57, 1, 9, 57, 2, 5, 220]);
        let options = Options::read(&twice);
        assert_eq!(options.fixed(53), Some([3]));
        assert_eq!(options.fixed(57), Some([5, 220]));
    }
}
