//! A packet socket's receive ring (Linux `Documentation/networking/packet_mmap.rst`, TPACKET version 2).
//!
//! A plain receive buffer is bounded by `net.core.rmem_max`, which an unprivileged user cannot raise: about 180 full
//! frames, less than one TCP window. The ring is not, and costs no system call a frame.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use super::socket::receive_ring;

/// Bytes of a slot: header and one frame of an interface with the usual MTU of 1500.
const SLOT: usize = 2048;
const BLOCK: usize = 1 << 16;
const BLOCKS: usize = 64;
const SLOTS: usize = BLOCK * BLOCKS / SLOT;

/// The mapped receive ring of one packet socket.
#[derive(Debug)]
pub(crate) struct Ring {
    base: NonNull<u8>,
    next: usize,
}

// SAFETY: the mapping belongs to this value alone, and all access to it goes through `&mut self`.
unsafe impl Send for Ring {}

impl Ring {
    /// Gives `socket`, which must not be bound yet, a ring.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "constants that fit 32 bits"
    )]
    pub(crate) fn attach(socket: impl AsFd) -> io::Result<()> {
        receive_ring(
            socket,
            &libc::tpacket_req {
                tp_block_size: BLOCK as u32,
                tp_block_nr: BLOCKS as u32,
                tp_frame_size: SLOT as u32,
                tp_frame_nr: SLOTS as u32,
            },
        )
    }

    /// Maps the ring that [`Ring::attach`] gave to `socket`, from its first slot on: once a socket.
    pub(crate) fn map(socket: impl AsFd) -> io::Result<Self> {
        // SAFETY: a new shared mapping at an address the kernel chooses overlaps nothing.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                SLOTS * SLOT,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_fd().as_raw_fd(),
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, next: 0 })
    }

    /// Hands the next received frame to `take` and gives its slot back; `None` where none waits.
    pub(crate) fn next<R>(&mut self, take: impl FnOnce(&[u8]) -> R) -> Option<R> {
        // SAFETY: `next` is below SLOTS, so the slot lies within the mapping; slots are aligned to 2048.
        let slot = unsafe { self.base.add(self.next * SLOT) };
        let header = slot.cast::<libc::tpacket2_hdr>();
        // SAFETY: `tp_status` is an aligned 32-bit word that kernel and user hand over atomically.
        let status = unsafe { AtomicU32::from_ptr(&raw mut (*header.as_ptr()).tp_status) };
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: with TP_STATUS_USER set, the slot is ours until the status is given back, and the kernel has filled
        // its header. The bounds are checked before the slice is made.
        let result = unsafe {
            let (offset, length) = ((*header.as_ptr()).tp_mac, (*header.as_ptr()).tp_snaplen);
            let offset = usize::from(offset);
            let length = (length as usize).min(SLOT.saturating_sub(offset));
            take(std::slice::from_raw_parts(
                slot.as_ptr().add(offset.min(SLOT)),
                length,
            ))
        };
        fence(Ordering::SeqCst);
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % SLOTS;
        Some(result)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and nothing refers to it after this.
        unsafe {
            libc::munmap(self.base.as_ptr().cast(), SLOTS * SLOT);
        }
    }
}
