//! A switch port that carries one VLAN with its tag (IEEE 802.1Q).
//!
//! The host needs no VLAN driver for this: the wire takes the tag off the client's frames and puts it on the segment's.

use std::fmt;

/// The tag's EtherType (IEEE 802.1Q-2018 table 9-1).
const TPID: [u8; 2] = [0x81, 0x00];
/// Both addresses of an Ethernet frame; a tag comes behind them.
const ADDRESSES: usize = 12;
const TAG: usize = 4;
/// The part of a tag that is the VLAN's number. The others are the priority, which this port does not look at.
const VID: u16 = 0x0fff;

/// Why such a port did not carry a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VlanLoss {
    /// The client sent it without a tag, or with the tag of no VLAN (0).
    Untagged,
    /// The client sent it with the tag of this VLAN.
    Other(u16),
    /// It came from the segment with a tag: a port in one VLAN takes no VLAN inside.
    Nested,
}

/// As the end of "frame lost: ...".
impl fmt::Display for VlanLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VlanLoss::Untagged => f.write_str("the client sent it without a VLAN tag"),
            VlanLoss::Other(id) => write!(f, "the client sent it with the tag of VLAN {id}"),
            VlanLoss::Nested => f.write_str("it came from the segment with a VLAN tag"),
        }
    }
}

/// Where a wire tells of frames that its VLAN port did not carry: why, and how many for this reason so far.
pub type VlanTeller = Box<dyn FnMut(VlanLoss, u64) + Send>;

/// The port.
pub struct VlanPort {
    id: u16,
    /// Frames lost: untagged, of another VLAN, nested.
    lost: [u64; 3],
    tell: VlanTeller,
}

impl VlanPort {
    /// A port of VLAN `id` (1 to 4094; of another number only the low twelve bits count). `tell` is called on the
    /// wire's thread and must not block; of each reason it is told the first frame, the 10th, the 100th and so on.
    #[must_use]
    pub fn new(id: u16, tell: VlanTeller) -> Self {
        Self {
            id: id & VID,
            lost: [0; 3],
            tell,
        }
    }

    /// Puts the tag into the frame that begins at `start` of `bytes`, and goes to their end. `false`: it is lost.
    pub(super) fn tag(&mut self, bytes: &mut Vec<u8>, start: usize) -> bool {
        let place = start + ADDRESSES;
        if bytes
            .get(place..)
            .is_some_and(|rest| rest.starts_with(&TPID))
        {
            self.lose(VlanLoss::Nested);
            return false;
        }
        if place <= bytes.len() {
            let [high, low] = self.id.to_be_bytes();
            bytes.splice(place..place, [TPID[0], TPID[1], high, low]);
        }
        true
    }

    /// The client's frame without its tag; `None`: it is lost.
    pub(super) fn untag(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let (addresses, rest) = frame.split_at_checked(ADDRESSES)?;
        let loss = match rest.split_first_chunk::<TAG>() {
            Some(([0x81, 0x00, high, low], inner)) => {
                match u16::from_be_bytes([*high, *low]) & VID {
                    id if id == self.id => return Some([addresses, inner].concat()),
                    0 => VlanLoss::Untagged,
                    id => VlanLoss::Other(id),
                }
            }
            _ => VlanLoss::Untagged,
        };
        self.lose(loss);
        None
    }

    fn lose(&mut self, loss: VlanLoss) {
        let [untagged, other, nested] = &mut self.lost;
        let count = match loss {
            VlanLoss::Untagged => untagged,
            VlanLoss::Other(_) => other,
            VlanLoss::Nested => nested,
        };
        *count += 1;
        let count = *count;
        if 10u64.checked_pow(count.ilog10()) == Some(count) {
            (self.tell)(loss, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::{VlanLoss, VlanPort};

    type Told = Arc<Mutex<Vec<(VlanLoss, u64)>>>;

    fn port(id: u16) -> (VlanPort, Told) {
        let told = Told::default();
        let kept = Arc::clone(&told);
        let tell = Box::new(move |loss, count| kept.lock().unwrap().push((loss, count)));
        (VlanPort::new(id, tell), told)
    }

    fn frame(rest: &[u8]) -> Vec<u8> {
        [&b"destinsource"[..], rest].concat()
    }

    #[test]
    fn a_tag_goes_between_the_addresses_and_the_type_and_comes_off_again() {
        let (mut port, told) = port(0x123);
        // What is before the frame stays as it is.
        let mut bytes = [b"before", &frame(&[8, 0, 1, 2])[..]].concat();
        assert!(port.tag(&mut bytes, 6));
        let tagged = frame(&[0x81, 0, 0x01, 0x23, 8, 0, 1, 2]);
        assert_eq!(bytes, [b"before", &tagged[..]].concat());
        assert_eq!(port.untag(&tagged), Some(frame(&[8, 0, 1, 2])));
        // A priority does not matter.
        let urgent = frame(&[0x81, 0, 0xe1, 0x23, 8, 0]);
        assert_eq!(port.untag(&urgent), Some(frame(&[8, 0])));
        assert!(told.lock().unwrap().is_empty());
    }

    #[test]
    fn other_frames_are_lost_and_told_by_their_first_and_every_tenth_power() {
        let (mut port, told) = port(42);
        assert_eq!(port.untag(&frame(&[0x81, 0, 0, 43, 8, 0])), None);
        assert_eq!(port.untag(&frame(&[0x81, 0, 0, 0, 8, 0])), None);
        for _ in 0..12 {
            assert_eq!(port.untag(&frame(&[8, 0, 1])), None);
        }
        // A service provider's tag is not this one's (0x88a8).
        assert_eq!(port.untag(&frame(&[0x88, 0xa8, 0, 42, 8, 0])), None);
        let mut nested = frame(&[0x81, 0, 0, 42, 8, 0]);
        assert!(!port.tag(&mut nested, 0));
        for short in [&b""[..], b"short", b"destinsource\x81"] {
            assert_eq!(port.untag(short), None);
        }
        let told = told.lock().unwrap();
        let wanted = [
            (VlanLoss::Other(43), 1),
            (VlanLoss::Untagged, 1),
            (VlanLoss::Untagged, 10),
            (VlanLoss::Nested, 1),
        ];
        assert_eq!(told[..], wanted);
        assert_eq!(
            told[0].0.to_string(),
            "the client sent it with the tag of VLAN 43"
        );
    }
}
