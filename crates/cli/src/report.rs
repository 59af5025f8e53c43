//! `bootgate report`.

use std::process::ExitCode;

use crate::args::ReportArgs;
use crate::exit::{self, INFRA, USAGE};

/// Judges a run again from its log and writes its reports anew. The exit code is the verdict's.
pub(crate) fn report(args: &ReportArgs) -> ExitCode {
    let replay = match bootgate_harness::replay(&args.replay) {
        Ok(replay) => replay,
        Err(error) => {
            let code = if error.is_usage() { USAGE } else { INFRA };
            return exit::fail(code, &error.to_string(), &error.hint());
        }
    };
    let file = &replay.file;
    exit::say(&format!("{}: {}", file.scenario, file.outcome.verdict));
    if let Some(detail) = &file.outcome.detail {
        let stage = file
            .outcome
            .stage
            .map(|stage| format!("{stage}: "))
            .unwrap_or_default();
        exit::say(&format!("  {stage}{detail}"));
    }
    for difference in &replay.differences {
        exit::complain(
            &format!("the log's conclusions do not follow from its facts: {difference}"),
            "the log was changed, or another version of bootgate wrote it",
        );
    }
    if replay.differences.is_empty() {
        ExitCode::from(replay.verdict.exit_code())
    } else {
        ExitCode::from(INFRA)
    }
}
