//! What a target is judged by: deadlines, markers, faults.

use std::collections::BTreeMap;
use std::ops::Range;

use bootgate_events::{FaultRule, ForbidRule, KeyRule, MarkerRule, Stage};
use regex::Regex;

use super::faults;
use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::read::{Text, shorten};
use crate::suggest;
use crate::wire::{ExpectWire, ForbidWire, SharedWire, TargetWire};
use crate::{FirmwareProfile, Platform};

/// Longest time in each stage where the scenario does not say: several times what a machine translated by software
/// takes on two cores.
pub(crate) const STAGE_DEADLINES: [(Stage, u64); 11] = [
    (Stage::Firmware, 40_000),
    (Stage::Dhcp, 30_000),
    (Stage::Nbp, 30_000),
    (Stage::Ipxe, 30_000),
    (Stage::Script, 15_000),
    (Stage::Kernel, 30_000),
    (Stage::Initrd, 30_000),
    (Stage::Live, 60_000),
    (Stage::Flash, 120_000),
    (Stage::Verify, 60_000),
    (Stage::DiskBoot, 60_000),
];

/// Longest time for everything where the scenario does not say.
pub(crate) const TOTAL_DEADLINE: u64 = 300_000;

/// Longest silence where the scenario does not say.
pub(crate) const STALL: u64 = 60_000;

/// How much longer the stage `firmware` takes for each interface that is tried before the one on the segment, on a BIOS
/// machine, where iPXE gives up after some 20 s, and on another: EDK2 tries PXE and HTTP Boot over IPv4 and HTTP Boot over
/// IPv6, and its DHCP client gives up after 4 + 8 + 16 + 32 s each time (`DhcpDefaultTimeout` in Dhcp4Impl.c).
const INTERFACE_MS: (u64, u64) = (30_000, 260_000);

/// How long EDK2 says nothing meanwhile.
const SILENCE_MS: u64 = 65_000;

/// What the rules must fit to.
pub(super) struct Context<'a> {
    /// An image is flashed.
    pub(super) flashes: bool,
    /// The machine boots from its disk afterwards.
    pub(super) disk_boot: bool,
    /// The operator's own script is booted.
    pub(super) script: bool,
    /// What the machine starts with, where that is known.
    pub(super) firmware: Option<&'a FirmwareProfile>,
    /// Interfaces without anybody at the other end that are tried before the one on the segment.
    pub(super) tried_before: u32,
}

/// The rules of one target, without its name.
pub(super) struct Rules {
    pub(super) expect: Vec<MarkerRule>,
    pub(super) forbid: Vec<ForbidRule>,
    pub(super) keys: Vec<KeyRule>,
    pub(super) stage_deadlines_ms: BTreeMap<Stage, u64>,
    pub(super) total_deadline_ms: u64,
    pub(super) stall_ms: u64,
    pub(super) faults: Vec<FaultRule>,
}

/// The times of a target where its scenario does not say.
struct Usual {
    stages: BTreeMap<Stage, u64>,
    stall_ms: u64,
    total_ms: u64,
}

impl Usual {
    fn of(context: &Context<'_>) -> Self {
        let mut usual = match context.firmware {
            None => Self {
                stages: STAGE_DEADLINES.into(),
                stall_ms: STALL,
                total_ms: TOTAL_DEADLINE,
            },
            Some(own) => Self {
                stages: own.deadlines_ms.clone(),
                stall_ms: own.stall_ms,
                total_ms: own.timeout_ms,
            },
        };
        if context.tried_before > 0 {
            let bios = context
                .firmware
                .is_some_and(|own| own.platform == Platform::Bios);
            let each = if bios { INTERFACE_MS.0 } else { INTERFACE_MS.1 };
            let longer_ms = u64::from(context.tried_before) * each;
            if let Some(firmware_ms) = usual.stages.get_mut(&Stage::Firmware) {
                *firmware_ms += longer_ms;
            }
            usual.total_ms += longer_ms;
            usual.stall_ms += SILENCE_MS;
        }
        usual
    }
}

pub(super) fn rules(
    wire: &TargetWire,
    shared: &SharedWire,
    context: &Context<'_>,
    checks: &Checks<'_>,
) -> Rules {
    let timeout = wire.own.timeout.as_ref().or(shared.timeout.as_ref());
    let total = timeout.and_then(|text| checks.duration("timeout", text));
    let usual = Usual::of(context);
    let written = shared.deadlines.iter().chain(&wire.own.deadlines);
    let (stage_deadlines_ms, stall_ms) = deadlines(usual.stages, usual.stall_ms, written, checks);
    let list = wire.own.expect.as_ref().or(shared.expect.as_ref());
    let list = list.map_or(&[][..], Vec::as_slice);
    if list.is_empty() && !context.flashes {
        checks.fail(
            Problem::at(wire.span.clone(), "the target has nothing to prove")
                .label("neither `image` nor `expect`")
                .hint("add an image to flash, or a marker to wait for: [[expect]] with pattern = \"login:\"").absence(),
        );
    }
    let expected = expect(list, context, checks);
    if context.disk_boot {
        disk_boot_is_seen(wire, list, checks);
    }
    Rules {
        expect: expected,
        forbid: forbid(wire, shared, context, checks),
        keys: keys(wire, shared),
        stage_deadlines_ms,
        total_deadline_ms: total.unwrap_or(usual.total_ms),
        stall_ms,
        faults: shared
            .faults
            .iter()
            .chain(&wire.own.faults)
            .filter_map(|fault_wire| faults::fault(fault_wire, context, checks))
            .collect(),
    }
}

fn keys(wire: &TargetWire, shared: &SharedWire) -> Vec<KeyRule> {
    let flag = wire
        .own
        .skip_prompts
        .as_ref()
        .or(shared.skip_prompts.as_ref());
    match flag {
        Some(flag) if !*flag.get_ref() => Vec::new(),
        _ => crate::defaults::default_keys(),
    }
}

/// The times of the stages and the longest silence, as they are written over the usual ones.
pub(crate) fn deadlines<'a>(
    mut stages: BTreeMap<Stage, u64>,
    mut stall: u64,
    written: impl IntoIterator<Item = &'a (Text, Option<Text>)>,
    checks: &Checks<'_>,
) -> (BTreeMap<Stage, u64>, u64) {
    for (key, value) in written {
        let name = key.get_ref().as_str();
        let stage = stages.keys().copied().find(|stage| stage.as_str() == name);
        let Some(value) = value else { continue };
        if name == "stall" {
            stall = match value.get_ref().as_str() {
                "off" => 0,
                _ => checks.duration("stall", value).unwrap_or(stall),
            };
        } else if let Some(stage) = stage {
            if let Some(ms) = checks.duration(name, value) {
                stages.insert(stage, ms);
            }
        } else {
            let mut known: Vec<&str> = STAGE_DEADLINES.iter().map(|(s, _)| s.as_str()).collect();
            known.push("stall");
            let hint = match name {
                "total" => "the time for everything is `timeout`, beside `name`".to_owned(),
                _ => suggest::hint(name, &known),
            };
            checks.fail(
                Problem::at(
                    key.span(),
                    format!("there is no deadline for `{}`", shorten(name)),
                )
                .label("no stage that takes time")
                .hint(hint),
            );
        }
    }
    (stages, stall)
}

/// A pattern that compiles and that an empty line does not match.
fn pattern(text: Option<&Text>, place: &Range<usize>, checks: &Checks<'_>) -> Option<String> {
    let Some(text) = text else {
        let hint =
            "add the text to look for on the console, a regular expression: pattern = \"login:\"";
        checks.missing(place.clone(), "`pattern`", hint);
        return None;
    };
    let shown = shorten(text.get_ref());
    match Regex::new(text.get_ref()) {
        Err(error) => {
            checks.fail(
                Problem::at(text.span(), format!("the pattern `{shown}` is no regular expression: {}", first_fault(&error)))
                    .label("this pattern")
                    .hint("write \\\\ before characters to be taken as they are, or put the pattern between '...'"),
            );
            None
        }
        Ok(regex) if regex.is_match("") => {
            checks.fail(
                Problem::at(
                    text.span(),
                    format!("the pattern `{shown}` matches an empty line"),
                )
                .label("anything on the console would do")
                .hint("name a text that only this marker has"),
            );
            None
        }
        Ok(_) => Some(text.get_ref().clone()),
    }
}

/// The name for reports: the marker's own, else its pattern.
fn marker_name(name: Option<&Text>, pattern: &str, checks: &Checks<'_>) -> String {
    let Some(name) = name else {
        return pattern.to_owned();
    };
    let text = name.get_ref();
    if text.trim().is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
        checks.fail(
            Problem::at(
                name.span(),
                format!("a marker cannot be named `{}`", shorten(text)),
            )
            .hint(
                "use 1 to 64 characters on one line; without `name`, the pattern names the marker",
            ),
        );
    }
    text.clone()
}

/// The last line of the regex crate's message: the fault without the drawing above it.
fn first_fault(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().rfind(|line| !line.trim().is_empty());
    let line = line.unwrap_or("unknown fault").trim();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn expect(list: &[ExpectWire], context: &Context<'_>, checks: &Checks<'_>) -> Vec<MarkerRule> {
    let mut rules: Vec<MarkerRule> = Vec::with_capacity(list.len());
    let mut latest: Option<(Stage, String)> = None;
    for wire in list {
        let Some(pattern) = pattern(wire.pattern.as_ref(), &wire.span, checks) else {
            continue;
        };
        let stage = wire.stage.as_ref().and_then(|text| checks.stage(text));
        let name = marker_name(wire.name.as_ref(), &pattern, checks);
        if let (Some(stage), Some(text)) = (stage, &wire.stage) {
            possible(stage, text, latest.as_ref(), context, checks);
            if latest.as_ref().is_none_or(|(before, _)| *before <= stage) {
                latest = Some((stage, name.clone()));
            }
        }
        if rules.iter().any(|rule| rule.name == name) {
            let text = wire.name.as_ref().or(wire.pattern.as_ref());
            checks.fail(
                Problem::at(
                    text.map_or(wire.span.clone(), Text::span),
                    format!("two markers are named `{}`", shorten(&name)),
                )
                .label("the second one")
                .hint("give each marker a `name` of its own"),
            );
        }
        rules.push(MarkerRule {
            name,
            pattern,
            stage,
        });
    }
    rules
}

/// The last marker must be one that the flashed disk prints, or nothing shows that it boots.
fn disk_boot_is_seen(wire: &TargetWire, list: &[ExpectWire], checks: &Checks<'_>) {
    let last = list.last();
    let stage = last.and_then(|expect| expect.stage.as_ref());
    let seen = match (last, stage) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(_), Some(stage)) => stage.get_ref() == Stage::DiskBoot.as_str(),
    };
    if seen {
        return;
    }
    let span = last.map_or_else(|| wire.span.clone(), |expect| expect.span.clone());
    checks.fail(
        Problem::at(span, "no marker shows that the flashed disk boots")
            .label(last.map_or("this target has no marker", |_| "the last marker comes before `disk-boot`"))
            .hint("add what the disk prints when it is up: [[expect]] with stage = \"disk-boot\", or set disk_boot = false").absence(),
    );
}

/// Complains about a marker whose stage cannot be reached, or not after the markers before it.
fn possible(
    stage: Stage,
    text: &Text,
    latest: Option<&(Stage, String)>,
    context: &Context<'_>,
    checks: &Checks<'_>,
) {
    let never = |why: &str, hint: &str| {
        checks.fail(
            Problem::at(
                text.span(),
                format!("a marker in stage `{stage}` can never come: {why}"),
            )
            .hint(hint)
            .absence(),
        );
    };
    if matches!(stage, Stage::Power | Stage::Done) {
        return never(
            "nothing runs in that stage",
            "use a stage from `firmware` to `disk-boot`",
        );
    }
    if matches!(stage, Stage::Flash | Stage::Verify) && !context.flashes {
        return never(
            "no image is flashed",
            "add the image to flash: image = \"disk.img\"",
        );
    }
    if stage == Stage::DiskBoot && !context.disk_boot {
        return never(
            "the target does not boot from its disk",
            "add the image to flash: image = \"disk.img\"",
        );
    }
    if let Some((before, name)) = latest.filter(|(before, _)| *before > stage) {
        checks.fail(
            Problem::at(
                text.span(),
                format!("a marker in stage `{stage}` stands behind one in stage `{before}`"),
            )
            .label("too late for this stage")
            .hint(format!(
                "markers come in the order of the file, and no stage comes twice: move it before `{}`",
                shorten(name)
            )),
        );
    }
}

fn forbid(
    wire: &TargetWire,
    shared: &SharedWire,
    context: &Context<'_>,
    checks: &Checks<'_>,
) -> Vec<ForbidRule> {
    let defaults = wire
        .own
        .forbid_defaults
        .as_ref()
        .or(shared.forbid_defaults.as_ref());
    let mut rules = match defaults {
        Some(flag) if !*flag.get_ref() => Vec::new(),
        _ => crate::defaults::default_forbidden(),
    };
    for name in allowed(wire, shared) {
        known_marker(name, &rules, checks);
    }
    rules.retain(|rule| !allowed(wire, shared).any(|name| *name.get_ref() == rule.name));
    let firmware = context.firmware;
    rules.retain(|rule| firmware.is_none_or(|own| !own.allow.contains(&rule.name)));
    if context.tried_before > 0 {
        crate::defaults::allow_interfaces_that_fail(&mut rules);
    }
    // The first that matches a line names the cause: what the scenario says of its own machine comes first.
    let written = shared.forbid.iter().chain(&wire.own.forbid);
    let mut all: Vec<ForbidRule> = written
        .filter_map(|wire| forbid_rule(wire, checks))
        .collect();
    all.append(&mut rules);
    all
}

fn known_marker(name: &Text, rules: &[ForbidRule], checks: &Checks<'_>) {
    let known: Vec<&str> = rules.iter().map(|rule| rule.name.as_str()).collect();
    if !known.contains(&name.get_ref().as_str()) {
        let message = format!(
            "`allow` names `{}`: no default marker",
            shorten(name.get_ref())
        );
        let hint = allow_hint(name.get_ref(), &known);
        checks.fail(Problem::at(name.span(), message).hint(hint));
    }
}

/// The names in a firmware profile's `allow`.
pub(crate) fn allowed_names(
    list: Option<&toml::Spanned<Vec<Text>>>,
    checks: &Checks<'_>,
) -> Vec<String> {
    let Some(list) = list else { return Vec::new() };
    let rules = crate::defaults::default_forbidden();
    for name in list.get_ref() {
        known_marker(name, &rules, checks);
    }
    list.get_ref()
        .iter()
        .map(|name| name.get_ref().clone())
        .collect()
}

fn allow_hint(name: &str, known: &[&str]) -> String {
    match suggest::nearest(name, known) {
        Some(best) => format!("did you mean `{best}`?"),
        None => "docs/scenario.md lists the default markers by name".to_owned(),
    }
}

/// Names of default markers that are not forbidden here.
fn allowed<'a>(wire: &'a TargetWire, shared: &'a SharedWire) -> impl Iterator<Item = &'a Text> {
    let lists = shared.allow.iter().chain(&wire.own.allow);
    lists.flat_map(|list| list.get_ref())
}

fn forbid_rule(wire: &ForbidWire, checks: &Checks<'_>) -> Option<ForbidRule> {
    let pattern = pattern(wire.pattern.as_ref(), &wire.span, checks)?;
    let stages = match &wire.stages {
        None => Stage::ALL.to_vec(),
        Some(list) if list.get_ref().is_empty() => {
            checks.fail(
                Problem::at(
                    list.span(),
                    "`stages` is empty: the marker would never be fatal",
                )
                .hint("name the stages in which it is fatal, or leave the key out for all"),
            );
            return None;
        }
        Some(list) => {
            let stages: Vec<_> = list
                .get_ref()
                .iter()
                .map(|text| checks.stage(text))
                .collect();
            stages.into_iter().collect::<Option<Vec<Stage>>>()?
        }
    };
    let hint = wire.hint.as_ref().map(|hint| hint.get_ref().clone());
    let name = marker_name(wire.name.as_ref(), &pattern, checks);
    Some(ForbidRule {
        name,
        pattern,
        stages,
        hint: hint.unwrap_or_default(),
    })
}
