//! Deterministic builders: the live environment, bootable disk images, and images cut into chunks.
//!
//! The same input gives the same bytes: nothing is taken from the clock, from random numbers, from file times, owners
//! or modes on the host, or from the order in which a folder lists its files. The one time that is written is the
//! caller's, by convention [`source_date_epoch`].
//!
//! Nothing here needs root, a mount, or a loop device.

mod arch;
pub mod chunks;
pub mod cpio;
mod digest;
pub mod disk;
mod elf;
mod error;
mod files;
pub mod firmware;
pub mod ipxe;
mod iso;
pub mod kernel;
pub mod live;
pub mod modules;
mod recipe;

pub use arch::Arch;
pub use digest::sha256_file;
pub use error::MediaError;
pub use files::source_date_epoch;
