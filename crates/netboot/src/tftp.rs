//! TFTP, the server's side of reading a file: RFC 1350 with options (RFC 2347), block size (RFC 2348), transfer
//! size and timeout (RFC 2349) and window size (RFC 7440).
//!
//! A datagram that came to the server's port goes through [`ReadRequest::parse`]; its path names an artifact and
//! never becomes part of a file system path. A [`Transfer`] then says what to send and when to wake it. No file
//! bytes pass through it: it names a block's place in the file, and the caller reads and sends it.

mod packet;
mod path;
mod request;
mod transfer;

pub use packet::{ERROR_TEXT_MAX, ErrorCode, Refusal, Stray};
pub use path::{PATH_MAX, PathError, RelPath, sanitize_path};
pub use request::{Agreed, BadRequest, Limits, OptionKind, ReadRequest, RequestedOption};
pub use transfer::{End, Handled, Transfer, Transmit};

pub use crate::Time;
