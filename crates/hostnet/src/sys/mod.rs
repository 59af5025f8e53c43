//! System calls that no safe wrapper covers. Outside of here, `unsafe` is only at the two places that fork and at the one
//! that closes what a fork inherited.
#![allow(unsafe_code)]

pub(crate) mod ifaces;
pub(crate) mod link;
pub(crate) mod namespace;
pub(crate) mod process;
pub(crate) mod ring;
pub(crate) mod socket;

use std::io;

/// The outcome of a system call that returns -1 and sets `errno` on failure.
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// The size of a type as the kernel takes it.
#[allow(
    clippy::cast_possible_truncation,
    reason = "sizes of small C structures"
)]
const fn size_of_u32<T>() -> u32 {
    size_of::<T>() as u32
}
