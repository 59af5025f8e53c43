//! Sans-IO network boot protocols: DHCP, router advertisements, TFTP, boot policy and scripts.
//!
//! Nothing here opens a socket or reads a clock. Bytes come in as arguments and go out as values, and time is an
//! argument too: a [`Time`] counted from whatever moment the caller chose as zero.

pub mod dhcp;
pub mod dhcp6;
pub mod frame;
pub mod http;
pub mod policy;
pub mod ra;
pub mod script;
pub mod tftp;

/// Time since the caller's zero, by a clock that never goes back.
pub type Time = std::time::Duration;
