//! What is wrong on a network segment.

use std::process::ExitCode;

use crate::args::DoctorArgs;

/// Plays a client on the segment.
pub(super) fn doctor(interface: &str, args: &DoctorArgs) -> ExitCode {
    let _ = (interface, args.wait, args.format);
    crate::exit::fail(
        crate::exit::INFRA,
        "looking at segments is not there yet",
        "",
    )
}
