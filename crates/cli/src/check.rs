//! `bootgate check`.

use std::path::Path;
use std::process::ExitCode;

use bootgate_scenario::{Driver, Payload, Plan, ScenarioError, TargetPlan};

use crate::args::CheckArgs;
use crate::exit::{self, USAGE};

/// Reads scenarios and says what they would do.
pub(crate) fn check(args: &CheckArgs) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for path in &args.scenarios {
        match load(path, args.lab.as_deref()) {
            Ok(plans) => {
                let told: Vec<String> = plans.iter().map(describe).collect();
                if let [first, _, ..] = &plans[..] {
                    exit::say(&format!("{}: {} cells", first.name, plans.len()));
                }
                exit::say(told.concat().trim_end());
            }
            Err(error) => {
                show(error);
                code = ExitCode::from(USAGE);
            }
        }
    }
    code
}

/// Reads a scenario and its matrix, on the boards of a lab where one is given.
pub(crate) fn load(path: &Path, lab: Option<&Path>) -> Result<Vec<Plan>, ScenarioError> {
    let plans = bootgate_scenario::load_all(path)?;
    let Some(lab) = lab else { return Ok(plans) };
    let lab = bootgate_scenario::load_lab(lab)?;
    plans.into_iter().map(|plan| plan.with_lab(&lab)).collect()
}

/// Shows a diagnostic with file, line and hint.
pub(crate) fn show(error: ScenarioError) {
    use std::io::Write;
    let report = miette::Report::new(error);
    let _ = writeln!(std::io::stderr().lock(), "{report:?}");
}

fn describe(plan: &Plan) -> String {
    let network = &plan.network;
    let place = network.interface.as_deref().unwrap_or("a private bridge");
    let mut text = format!(
        "{}: {} on {place}, servers at {}/{}\n",
        plan.title(),
        count(plan.targets.len()),
        network.server_ip,
        network.prefix_len
    );
    for target in &plan.targets {
        text.push_str(&describe_target(target));
    }
    text
}

fn count(targets: usize) -> String {
    if targets == 1 {
        "1 target".to_owned()
    } else {
        format!("{targets} targets")
    }
}

/// A path without the detours that a scenario's relative path leaves in it.
fn shown(path: &Path) -> String {
    let real = path.canonicalize();
    real.as_deref().unwrap_or(path).display().to_string()
}

fn describe_target(target: &TargetPlan) -> String {
    let mut text = format!(
        "  {} ({}, {}, {})\n",
        target.name,
        target.driver.as_str(),
        target.firmware,
        target.mac
    );
    match &target.boot.payload {
        Payload::Linux {
            kernel,
            initrds,
            cmdline,
        } => {
            text.push_str(&format!("    boots {}", shown(kernel)));
            for initrd in initrds {
                text.push_str(&format!(" + {}", shown(initrd)));
            }
            text.push_str(&format!(" [{cmdline}]\n"));
        }
        Payload::Script { script, .. } => {
            text.push_str(&format!("    runs {}\n", shown(script)));
        }
    }
    if let Some(image) = &target.image {
        text.push_str(&format!(
            "    flashes {} ({} bytes)\n",
            shown(&image.path),
            image.size
        ));
    }
    if let Driver::Board(board) = &target.driver {
        text.push_str(&format!(
            "    console {} at {} baud\n",
            board.tty.display(),
            board.baud
        ));
    }
    let rules = &target.rules;
    for marker in &rules.expect {
        let stage = marker
            .stage
            .map(|stage| format!(" in {stage}"))
            .unwrap_or_default();
        text.push_str(&format!(
            "    expects `{}`{stage}: /{}/\n",
            marker.name, marker.pattern
        ));
    }
    text.push_str(&format!(
        "    forbids {} markers, gives up after {} s, or {} s of silence\n",
        rules.forbid.len(),
        rules.total_deadline_ms / 1000,
        rules.stall_ms / 1000
    ));
    text
}
