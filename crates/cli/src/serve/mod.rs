//! `bootgate serve`.

use std::process::ExitCode;

use crate::args::ServeArgs;

/// Serves the machines of a laboratory.
pub(crate) fn serve(args: &ServeArgs) -> ExitCode {
    let _ = (&args.config, args.check, args.dhcp_settings, args.format);
    crate::exit::fail(crate::exit::INFRA, "serving is not there yet", "")
}
