//! Faults that a scenario asks for.

use bootgate_events::{ArtifactRole, FaultAction, FaultRule, FaultTrigger, Stage};

use super::rules::Context;
use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::read::{Text, shorten};
use crate::wire::FaultWire;

/// What can be served wrongly.
const SERVED: [(&str, ArtifactRole); 6] = [
    ("nbp", ArtifactRole::Nbp),
    ("script", ArtifactRole::Script),
    ("kernel", ArtifactRole::Kernel),
    ("initrd", ArtifactRole::Initrd),
    ("image-index", ArtifactRole::ImageIndex),
    ("image", ArtifactRole::Image),
];

/// What a fault does.
const ACTIONS: [(&str, FaultAction); 3] = [
    ("not-found", FaultAction::NotFound),
    ("corrupt", FaultAction::Corrupt),
    ("power-off", FaultAction::PowerOff),
];

pub(super) fn fault(
    wire: &FaultWire,
    context: &Context<'_>,
    checks: &Checks<'_>,
) -> Option<FaultRule> {
    let Some(action_text) = &wire.action else {
        let hint =
            "add action = \"not-found\" or \"corrupt\" with `serve`, \"power-off\" with `enter`";
        checks.missing(wire.span.clone(), "the fault's `action`", hint);
        return None;
    };
    let action = checks.word("action", action_text, &ACTIONS)?;
    let (trigger, on) = match (&wire.serve, &wire.enter) {
        (Some(text), None) => (
            FaultTrigger::Serve(checks.word("serve", text, &SERVED)?),
            text,
        ),
        (None, Some(text)) => (FaultTrigger::Enter(checks.stage(text)?), text),
        _ => {
            checks.fail(
                Problem::at(wire.span.clone(), "a fault needs either `serve` or `enter`")
                    .label("this fault")
                    .hint("say when it comes: serve = \"kernel\" (a file is asked for) or enter = \"flash\" (a stage begins)"),
            );
            return None;
        }
    };
    if matches!(trigger, FaultTrigger::Serve(_)) == (action == FaultAction::PowerOff) {
        let (key, other) = match action {
            FaultAction::PowerOff => ("serve", "enter"),
            _ => ("enter", "serve"),
        };
        let shown = shorten(action_text.get_ref());
        checks.fail(
            Problem::at(
                action_text.span(),
                format!("action `{shown}` cannot go with `{key}`"),
            )
            .hint(format!("use it with `{other}`")),
        );
        return None;
    }
    let fault = FaultRule {
        on: trigger,
        action,
    };
    can_come(fault.clone(), on, context, checks).then_some(fault)
}

fn can_come(fault: FaultRule, on: &Text, context: &Context<'_>, checks: &Checks<'_>) -> bool {
    let shown = shorten(on.get_ref());
    let never = |why: &str| {
        checks.fail(
            Problem::at(
                on.span(),
                format!("a fault on `{shown}` can never come: {why}"),
            )
            .hint("a fault that never comes would let the scenario pass for the wrong reason")
            .absence(),
        );
        false
    };
    match fault.on {
        FaultTrigger::Enter(Stage::Power | Stage::Done) => {
            never("the target has no power in that stage")
        }
        FaultTrigger::Serve(ArtifactRole::Kernel | ArtifactRole::Initrd) if context.script => {
            never("a script of your own fetches `files`")
        }
        FaultTrigger::Enter(Stage::DiskBoot) if !context.disk_boot => {
            never("the target does not boot from its disk")
        }
        _ if needs_flash(&fault) && !context.flashes => never("no image is flashed"),
        _ => true,
    }
}

/// Whether the fault can come at all in a run that flashes, or does not.
fn needs_flash(fault: &FaultRule) -> bool {
    use ArtifactRole::{Image, ImageIndex};
    matches!(
        fault.on,
        FaultTrigger::Serve(Image | ImageIndex)
            | FaultTrigger::Enter(Stage::Flash | Stage::Verify | Stage::DiskBoot)
    )
}
