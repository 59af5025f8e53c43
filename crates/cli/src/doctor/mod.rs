//! `bootgate doctor`.

mod host;
mod segment;

use std::process::ExitCode;

use crate::args::DoctorArgs;

/// Looks at this host, or at a segment.
pub(crate) fn doctor(args: &DoctorArgs) -> ExitCode {
    match &args.segment {
        Some(interface) => segment::doctor(interface, args),
        None => host::doctor(args.format),
    }
}
