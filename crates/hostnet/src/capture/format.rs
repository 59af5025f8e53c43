//! Blocks of a pcapng file, in the writing machine's byte order as the format allows.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::wire::Direction;

/// Bytes of a frame that readers accept at most (libpcap's MAXIMUM_SNAPLEN).
pub(super) const MAX_SNAP_LEN: u32 = 262_144;
/// Length of a [`statistics`] block.
pub(super) const STATISTICS_LEN: usize = 52;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;
const LINKTYPE_ETHERNET: u16 = 1;

const OPT_END: u16 = 0;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_IFRECV: u16 = 4;
const ISB_IFDROP: u16 = 5;

/// Fixed parts of an enhanced packet block: head 28, flags option 8, end of options 4, length again 4.
const PACKET_OVERHEAD: usize = 28 + 8 + 4 + 4;

/// A time as blocks hold it: nanoseconds since 1970, as the interfaces declare.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp(u64);

impl Stamp {
    pub(super) fn of(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    #[allow(clippy::cast_possible_truncation, reason = "the low half is meant")]
    fn put(self, buffer: &mut Vec<u8>) {
        put32(buffer, (self.0 >> 32) as u32);
        put32(buffer, self.0 as u32);
    }
}

/// What an interface's statistics say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct InterfaceCounts {
    pub(super) received: u64,
    pub(super) dropped: u64,
}

pub(super) fn section_header(buffer: &mut Vec<u8>, application: &str) {
    block(buffer, SECTION_HEADER, |buffer| {
        put32(buffer, BYTE_ORDER_MAGIC);
        put16(buffer, 1);
        put16(buffer, 0);
        buffer.extend_from_slice(&u64::MAX.to_ne_bytes()); // length of the section: not given
        option(buffer, SHB_USERAPPL, application.as_bytes());
        option(buffer, OPT_END, &[]);
    });
}

pub(super) fn interface(buffer: &mut Vec<u8>, name: &str, snap_len: u32) {
    block(buffer, INTERFACE_DESCRIPTION, |buffer| {
        put16(buffer, LINKTYPE_ETHERNET);
        put16(buffer, 0);
        put32(buffer, snap_len);
        option(buffer, IF_NAME, name.as_bytes());
        option(buffer, IF_TSRESOL, &[9]); // 10^-9 s
        option(buffer, OPT_END, &[]);
    });
}

/// Length of a [`packet`] block that keeps `kept` bytes.
pub(super) fn packet_len(kept: usize) -> usize {
    PACKET_OVERHEAD + kept.next_multiple_of(4)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "frames are shorter than the snap length"
)]
pub(super) fn packet(
    buffer: &mut Vec<u8>,
    interface: u32,
    direction: Direction,
    at: Stamp,
    kept: &[u8],
    original: usize,
) {
    block(buffer, ENHANCED_PACKET, |buffer| {
        put32(buffer, interface);
        at.put(buffer);
        put32(buffer, kept.len() as u32);
        put32(buffer, original as u32);
        buffer.extend_from_slice(kept);
        pad(buffer, kept.len());
        // Seen from the segment: what clients send comes in.
        let flags: u32 = match direction {
            Direction::FromClient => 1,
            Direction::ToClient => 2,
        };
        option(buffer, EPB_FLAGS, &flags.to_ne_bytes());
        option(buffer, OPT_END, &[]);
    });
}

pub(super) fn statistics(buffer: &mut Vec<u8>, interface: u32, at: Stamp, counts: InterfaceCounts) {
    block(buffer, INTERFACE_STATISTICS, |buffer| {
        put32(buffer, interface);
        at.put(buffer);
        option(buffer, ISB_IFRECV, &counts.received.to_ne_bytes());
        option(buffer, ISB_IFDROP, &counts.dropped.to_ne_bytes());
        option(buffer, OPT_END, &[]);
    });
}

/// Writes a block around what `body` writes: its length stands at both ends.
fn block(buffer: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    put32(buffer, kind);
    put32(buffer, 0);
    body(buffer);
    let length = u32::try_from(buffer.len() - start + 4).unwrap_or_default();
    put32(buffer, length);
    if let Some(head) = buffer.get_mut(start + 4..start + 8) {
        head.copy_from_slice(&length.to_ne_bytes());
    }
}

/// Writes an option; values longer than 65535 bytes are cut.
fn option(buffer: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    let value = value.get(..usize::from(length)).unwrap_or(value);
    put16(buffer, code);
    put16(buffer, length);
    buffer.extend_from_slice(value);
    pad(buffer, value.len());
}

fn pad(buffer: &mut Vec<u8>, length: usize) {
    buffer.resize(buffer.len() + length.next_multiple_of(4) - length, 0);
}

fn put16(buffer: &mut Vec<u8>, value: u16) {
    buffer.extend_from_slice(&value.to_ne_bytes());
}

fn put32(buffer: &mut Vec<u8>, value: u32) {
    buffer.extend_from_slice(&value.to_ne_bytes());
}
