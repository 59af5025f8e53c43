//! What this host can do.

use std::process::ExitCode;

use bootgate_scenario::{NbpPlan, Platform};
use bootgate_target::accel::{self, AccelChoice};
use bootgate_target::discovery::{Arch, FirmwareKind, Needs};
use bootgate_target::{DirectLauncher, Firmware, MissingError, discovery};
use serde_json::{Value, json};

use crate::args::Format;
use crate::exit::{self, INFRA};

/// One line of the list.
struct Finding {
    name: String,
    state: State,
    detail: String,
    fix: Option<String>,
}

enum State {
    Works,
    Lacks,
    Fails,
}

impl State {
    fn sign(&self) -> &'static str {
        match self {
            State::Works => "ok  ",
            State::Lacks => "note",
            State::Fails => "FAIL",
        }
    }

    /// As `doctor --segment` calls it in JSON.
    fn level(&self) -> &'static str {
        match self {
            State::Works => "ok",
            State::Lacks => "note",
            State::Fails => "fault",
        }
    }
}

/// Says what this host can do. Fails where a boot gate cannot run.
pub(super) fn doctor(format: Format) -> ExitCode {
    let mut findings: Vec<Finding> = bootgate_hostnet::probe::findings()
        .into_iter()
        .map(|finding| Finding {
            name: finding.name.to_owned(),
            state: match (finding.ok, finding.required) {
                (true, _) => State::Works,
                (false, false) => State::Lacks,
                (false, true) => State::Fails,
            },
            detail: finding.detail,
            fix: finding.fix,
        })
        .collect();
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(programs(&mut findings)),
        Err(error) => return exit::fail(INFRA, &format!("start the runtime: {error}"), ""),
    }
    let fails = findings
        .iter()
        .any(|finding| matches!(finding.state, State::Fails));
    match format {
        Format::Json => exit::say(&json_report(&findings).to_string()),
        Format::Text => say(&findings, fails),
    }
    match fails {
        true => ExitCode::from(INFRA),
        false => ExitCode::SUCCESS,
    }
}

fn json_report(findings: &[Finding]) -> Value {
    let findings = findings.iter().map(|finding| {
        json!({
            "level": finding.state.level(),
            "about": finding.name,
            "text": finding.detail,
            "remedy": finding.fix.as_deref().unwrap_or_default(),
        })
    });
    json!({ "findings": findings.collect::<Vec<_>>() })
}

fn say(findings: &[Finding], fails: bool) {
    let width = findings
        .iter()
        .map(|finding| finding.name.len())
        .max()
        .unwrap_or(0);
    for finding in findings {
        let sign = finding.state.sign();
        exit::say(&format!(
            "{sign}  {:<width$}  {}",
            finding.name, finding.detail
        ));
        if let (State::Lacks | State::Fails, Some(fix)) = (&finding.state, &finding.fix) {
            exit::say(&format!("      {:<width$}  fix: {fix}", ""));
        }
    }
    exit::say(match fails {
        true => "\nthis host cannot run a boot gate yet; see the fixes above",
        false => "\nthis host can run a boot gate",
    });
}

/// Firmware that scenarios can ask for: the finding's name, what it is, and what its absence means.
const FIRMWARE: [(&str, FirmwareKind, State); 4] = [
    (
        "uefi-firmware",
        FirmwareKind::Uefi {
            arch: Arch::X86_64,
            secure_boot: false,
        },
        State::Fails,
    ),
    (
        "secureboot-firmware",
        FirmwareKind::Uefi {
            arch: Arch::X86_64,
            secure_boot: true,
        },
        State::Lacks,
    ),
    (
        "arm64-firmware",
        FirmwareKind::Uefi {
            arch: Arch::Aarch64,
            secure_boot: false,
        },
        State::Lacks,
    ),
    ("uboot-firmware", FirmwareKind::UbootArm64, State::Lacks),
];

/// The file of this firmware.
fn firmware(kind: FirmwareKind) -> Result<String, MissingError> {
    let needs = Needs {
        firmware: kind,
        code: None,
        vars: None,
    };
    Ok(match discovery::find_firmware(needs)? {
        Firmware::Uefi(uefi) => uefi.files.code.display().to_string(),
        Firmware::Uboot(path) => path.display().to_string(),
        Firmware::Bios => "QEMU's own".to_owned(),
    })
}

async fn programs(findings: &mut Vec<Finding>) {
    let mut add = |name: &str, state, detail: String, fix: Option<String>| {
        findings.push(Finding {
            name: name.to_owned(),
            state,
            detail,
            fix,
        });
    };
    for (name, profile, state) in FIRMWARE {
        let (state, detail, fix) = match firmware(profile) {
            Ok(file) => (State::Works, file, None),
            Err(missing) => (state, missing.to_string(), Some(missing.hint)),
        };
        add(name, state, detail, fix);
    }
    match NbpPlan::default().locate(Platform::UefiX64) {
        Ok(path) => add("ipxe", State::Works, path.display().to_string(), None),
        Err(missing) => add(
            "ipxe",
            State::Fails,
            missing.to_string(),
            Some("apt-get install ipxe".to_owned()),
        ),
    }
    let qemu = match discovery::find_qemu(Arch::X86_64, None).await {
        Ok(qemu) => qemu,
        Err(missing) => {
            return add(
                "qemu",
                State::Fails,
                missing.to_string(),
                Some(missing.hint),
            );
        }
    };
    add(
        "qemu",
        State::Works,
        format!("{} ({})", qemu.path.display(), qemu.version),
        None,
    );
    match discovery::find_qemu(Arch::Aarch64, None).await {
        Ok(qemu) => {
            let detail = format!("{} ({})", qemu.path.display(), qemu.version);
            add("qemu-arm64", State::Works, detail, None);
        }
        Err(missing) => add(
            "qemu-arm64",
            State::Lacks,
            missing.to_string(),
            Some(missing.hint),
        ),
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match accel::decide(AccelChoice::Auto, &qemu, &DirectLauncher).await {
        Ok(decision) => {
            add(
                "accelerator",
                State::Works,
                format!("{}: {}", decision.accel, decision.reason),
                None,
            );
            let cores = u32::try_from(cores).unwrap_or(u32::MAX);
            match accel::calibrate(decision.accel, &qemu, &DirectLauncher, 1, cores).await {
                Ok(speed) => {
                    let detail = format!(
                        "probe loop {} ms, deadlines × {}.{:02}, {cores} cores",
                        speed.loop_us / 1000,
                        speed.scale_milli / 1000,
                        speed.scale_milli % 1000 / 10
                    );
                    add("speed", State::Works, detail, None);
                }
                Err(error) => add("speed", State::Fails, error.to_string(), None),
            }
        }
        Err(error) => add("accelerator", State::Fails, error.to_string(), None),
    }
}
