//! One input of a fuzzer as several packets.

const SEPARATOR: &[u8] = b"PKT!";

/// The packets between the separators.
pub fn split(data: &[u8]) -> Vec<&[u8]> {
    let mut packets = Vec::new();
    let mut start = 0;
    let mut at = 0;
    while at + SEPARATOR.len() <= data.len() {
        if data[at..].starts_with(SEPARATOR) {
            packets.push(&data[start..at]);
            at += SEPARATOR.len();
            start = at;
        } else {
            at += 1;
        }
    }
    packets.push(&data[start..]);
    packets
}
