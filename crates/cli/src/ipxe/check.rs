//! `bootgate ipxe check`: what programs are, and that they run our script.
//!
//! Each program is booted by a scenario of its own, in the sandbox of `bootgate run`: the script that it must run says a
//! word that is made for this one check.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bootgate_media::ipxe::{self, Arch, Format, Inspection, MANIFEST, Prepared, Role};
use bootgate_target::discovery::{self, FirmwareKind, Needs};
use clap::{Parser, ValueEnum};

use crate::args::{AccelArg, Cli, Command};
use crate::exit::{self, INFRA, USAGE};
use crate::table::{Style, Table};

/// Where BIOS machines of a check get an iPXE from that plays the ROM: QEMU's own ROMs are iPXE, which our server gives
/// a script and no program.
const HOST_LKRN: &str = "/usr/lib/ipxe/ipxe.lkrn";

/// A program that no firmware starts.
const NOTHING: &str = "nothing.efi";

/// A check asks whether, not how fast: several DHCP exchanges and a prompt are in one stage here.
const DEADLINES: &str = "timeout = \"400s\"\n\n[deadlines]\nfirmware = \"120s\"\ndhcp = \"120s\"\nnbp = \"90s\"\n\
                         ipxe = \"90s\"\nscript = \"60s\"\n";

/// A file that is looked at.
struct Subject {
    name: String,
    path: PathBuf,
    /// What was seen in it; `None` for the image, which is no program.
    seen: Option<Inspection>,
    /// Why it is not what it should be.
    wrong: Option<String>,
    boots: Vec<Boot>,
}

/// One boot of a subject.
struct Boot {
    /// As the table calls it.
    how: &'static str,
    /// The scenario's name.
    scenario: String,
    /// Why it is not tried.
    skip: Option<String>,
}

/// Looks at a program or a prepared folder, boots what this host can, and prints a table.
pub(crate) fn check(path: &Path, no_boot: bool, accel: AccelArg) -> ExitCode {
    let work = match tempfile::tempdir() {
        Ok(work) => work,
        Err(error) => return exit::fail(INFRA, &format!("make a folder: {error}"), ""),
    };
    let mut subjects = match subjects(path) {
        Ok(subjects) => subjects,
        Err(error) => return exit::fail(INFRA, &error, ""),
    };
    let mut code = ExitCode::SUCCESS;
    if !no_boot {
        let scenarios = match scenarios(&mut subjects, work.path()) {
            Ok(scenarios) => scenarios,
            Err(error) => return exit::fail(INFRA, &error, ""),
        };
        if !scenarios.is_empty() {
            // One scenario has its run folder where it is told, several have one inside it each.
            let out = match &scenarios[..] {
                [one] => work.path().join("out").join(stem(one)),
                _ => work.path().join("out"),
            };
            code = run(&scenarios, &out, accel);
            exit::say("");
        }
    }
    show(&subjects, no_boot, &work.path().join("out"));
    match subjects.iter().any(|subject| subject.wrong.is_some()) {
        true => ExitCode::from(1),
        false => code,
    }
}

/// `bootgate run`, as a user would call it.
fn run(scenarios: &[PathBuf], out: &Path, accel: AccelArg) -> ExitCode {
    let accel = accel.to_possible_value();
    let accel = accel.map_or_else(String::new, |value| value.get_name().to_owned());
    let mut arguments: Vec<OsString> = ["bootgate", "run", "--accel"].map(Into::into).into();
    arguments.extend([accel.into(), "--out".into(), out.into()]);
    arguments.extend(scenarios.iter().map(Into::into));
    match Cli::try_parse_from(arguments) {
        Ok(Cli {
            command: Command::Run(args),
        }) => crate::run::run(args),
        Ok(_) => ExitCode::from(USAGE),
        Err(error) => exit::fail(USAGE, &error.to_string(), ""),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// The programs and the image of a folder, or the one file.
fn subjects(path: &Path) -> Result<Vec<Subject>, String> {
    if !path.is_dir() {
        return Ok(vec![subject(path)?]);
    }
    if !path.join(MANIFEST).is_file() {
        let path = path.display();
        return Err(format!(
            "check `{path}`: it has no `{MANIFEST}`; `bootgate ipxe prepare` makes such folders, and single files can be checked"
        ));
    }
    let prepared = Prepared::load(path).map_err(|error| error.to_string())?;
    let mut subjects = Vec::new();
    for file in &prepared.manifest.files {
        if file.role.arch().is_none() && file.role != Role::Iso {
            continue;
        }
        let mut one = subject(&path.join(&file.path))?;
        let sha256 = bootgate_media::sha256_file(&one.path).map_err(|error| error.to_string())?;
        if sha256.to_string() != file.sha256 {
            one.wrong = Some(format!("it is not what `{MANIFEST}` says"));
        }
        subjects.push(one);
    }
    Ok(subjects)
}

fn subject(path: &Path) -> Result<Subject, String> {
    let bytes = fs::read(path).map_err(|error| format!("read `{}`: {error}", path.display()))?;
    let name = path.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let (seen, wrong) = match ipxe::inspect(&bytes) {
        _ if is_iso(&bytes) => (None, None),
        Ok(seen) => (Some(seen), None),
        Err(unknown) => (None, Some(unknown.to_string())),
    };
    let path = path.canonicalize();
    let path = path.map_err(|error| format!("find `{name}`: {error}"))?;
    Ok(Subject {
        name,
        path,
        seen,
        wrong,
        boots: Vec::new(),
    })
}

/// ECMA-119, section 8.1: the first volume descriptor is in sector 16.
fn is_iso(bytes: &[u8]) -> bool {
    bytes.get(0x8001..0x8006) == Some(b"CD001")
}

/// Writes a scenario for each boot.
fn scenarios(subjects: &mut [Subject], work: &Path) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    let lkrn = lkrn(subjects);
    for (number, subject) in subjects.iter_mut().enumerate() {
        if subject.wrong.is_some() {
            continue;
        }
        for machine in machines(subject, lkrn.as_deref()) {
            let (how, machine) = machine;
            let scenario = format!("check-{number}-{}", how.replace(' ', "-"));
            let skip = match machine {
                Ok(machine) => {
                    let folder = work.join(&scenario);
                    paths.push(write(subject, &machine, &scenario, &folder)?);
                    None
                }
                Err(reason) => Some(reason),
            };
            subject.boots.push(Boot {
                how,
                scenario,
                skip,
            });
        }
    }
    Ok(paths)
}

/// What plays the ROM for PXE programs: the folder's own `ipxe.lkrn`, else the host's.
fn lkrn(subjects: &[Subject]) -> Option<PathBuf> {
    let is_lkrn = |subject: &&Subject| {
        let seen = subject.seen.as_ref();
        subject.wrong.is_none() && seen.is_some_and(|seen| seen.format == Format::Lkrn)
    };
    let own = subjects.iter().find(is_lkrn);
    let own = own.map(|subject| subject.path.clone());
    own.or_else(|| Some(PathBuf::from(HOST_LKRN)).filter(|path| path.is_file()))
}

/// The machine of a check.
struct Machine {
    firmware: &'static str,
    /// Loaded over the network by the name that DHCP gives.
    nbp: bool,
    /// QEMU's arguments; `{work}` stands for the scenario's folder.
    arguments: Vec<String>,
    /// Whether our script must be what found the server.
    ours: bool,
}

/// On which machines a subject is booted; an error says why one cannot be tried here.
fn machines(
    subject: &Subject,
    lkrn: Option<&Path>,
) -> Vec<(&'static str, Result<Machine, String>)> {
    let Some(seen) = &subject.seen else {
        return image(&subject.path);
    };
    match (seen.format, seen.arch) {
        (Format::Efi, arch) => {
            let machine = |firmware| Machine {
                firmware,
                nbp: true,
                arguments: Vec::new(),
                ours: seen.autoexec == Some(true),
            };
            match arch {
                Arch::UefiArm64 => vec![("arm64", arm64().map(|()| machine("arm64")))],
                _ => vec![("uefi", Ok(machine("uefi")))],
            }
        }
        (Format::Lkrn, _) => vec![(
            "bios",
            Ok(Machine {
                firmware: "bios",
                nbp: false,
                arguments: kernel(&subject.path, ipxe::SCRIPT),
                ours: true,
            }),
        )],
        (Format::Pxe, _) => {
            let machine = lkrn.map(|lkrn| Machine {
                firmware: "bios",
                nbp: true,
                arguments: kernel(lkrn, "rom.ipxe"),
                ours: false,
            });
            let missing = "it needs an ipxe.lkrn that plays the ROM: apt-get install ipxe";
            vec![("bios", machine.ok_or_else(|| missing.to_owned()))]
        }
    }
}

/// The machines that boot the image: as a CD and from a stick; arm64's have no place for a CD.
fn image(path: &Path) -> Vec<(&'static str, Result<Machine, String>)> {
    let drive = format!(
        "if=none,id=medium,format=raw,readonly=on,file={}",
        path.display()
    );
    let machine = |firmware, devices: &[&str]| {
        let devices = devices.iter().flat_map(|device| ["-device", device]);
        let arguments = ["-drive", &drive].into_iter().chain(devices);
        Machine {
            firmware,
            nbp: false,
            arguments: arguments.map(str::to_owned).collect(),
            ours: true,
        }
    };
    let cd = ["ide-cd,drive=medium,bootindex=0"];
    let stick = ["qemu-xhci", "usb-storage,drive=medium,bootindex=0"];
    vec![
        ("bios cd", Ok(machine("bios", &cd))),
        ("bios usb", Ok(machine("bios", &stick))),
        ("uefi cd", Ok(machine("uefi", &cd))),
        ("uefi usb", Ok(machine("uefi", &stick))),
        ("arm64 usb", arm64().map(|()| machine("arm64", &stick))),
    ]
}

/// Whether this host can boot arm64 machines; an error says what is missing.
fn arm64() -> Result<(), String> {
    let needs = Needs {
        firmware: FirmwareKind::Uefi {
            arch: discovery::Arch::Aarch64,
            secure_boot: false,
        },
        code: None,
        vars: None,
    };
    discovery::can_run(needs).map_err(|missing| missing.to_string())
}

/// A bzImage with a script as its RAM disk.
fn kernel(lkrn: &Path, script: &str) -> Vec<String> {
    let lkrn = lkrn.display().to_string();
    vec![
        "-kernel".to_owned(),
        lkrn,
        "-initrd".to_owned(),
        format!("{{work}}/{script}"),
    ]
}

/// Writes a scenario and its scripts; the scenario's path.
fn write(
    subject: &Subject,
    machine: &Machine,
    name: &str,
    folder: &Path,
) -> Result<PathBuf, String> {
    let word = word(name, &subject.path);
    let program = folder.join(&subject.name);
    let scripts = [
        (NOTHING, String::new()),
        (
            "check.ipxe",
            format!("#!ipxe\necho {word} ${{version}}\nexit 1\n"),
        ),
        (ipxe::SCRIPT, ipxe::script(80)),
        (
            "rom.ipxe",
            format!(
                "#!ipxe\ndhcp\nchain tftp://${{next-server}}/{}\n",
                subject.name
            ),
        ),
    ];
    let fail = |path: &Path, error: std::io::Error| format!("write `{}`: {error}", path.display());
    fs::create_dir_all(folder).map_err(|error| fail(folder, error))?;
    for (name, text) in scripts {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|error| fail(&path, error))?;
    }
    fs::copy(&subject.path, &program).map_err(|error| fail(&program, error))?;
    let path = folder.with_extension("toml");
    let text = scenario(machine, &word, folder, &program);
    fs::write(&path, text).map_err(|error| fail(&path, error))?;
    Ok(path)
}

/// Said by one machine of one check only.
fn word(name: &str, path: &Path) -> String {
    let seed = format!("{name} {} {}", path.display(), std::process::id());
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in seed.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("bootgate-check-{hash:016x}")
}

fn scenario(machine: &Machine, word: &str, folder: &Path, program: &Path) -> String {
    let quoted = |path: &Path| serde_json::Value::from(path.display().to_string()).to_string();
    let work = folder.display().to_string();
    let arguments = machine.arguments.iter();
    let arguments: Vec<String> = arguments
        .map(|argument| serde_json::Value::from(argument.replace("{work}", &work)).to_string())
        .collect();
    let mut text = format!("{DEADLINES}\n[boot]\n");
    text += &format!("script = {}\n", quoted(&folder.join("check.ipxe")));
    // Beside the program, where iPXE looks for it.
    let mut files = vec![quoted(&folder.join(ipxe::SCRIPT))];
    match (machine.nbp, machine.firmware) {
        // Named by the script that plays the ROM, and not by DHCP.
        (true, "bios") => files.push(quoted(program)),
        (true, _) => text += &format!("nbp = {}\n", quoted(program)),
        (false, "bios") => {}
        // A machine that goes past the medium must not pass by the network.
        (false, _) => text += &format!("nbp = {}\n", quoted(&folder.join(NOTHING))),
    }
    text += &format!("files = [{}]\n", files.join(", "));
    if machine.ours {
        text += "\n[[expect]]\nname = \"our script\"\npattern = 'bootgate: [0-9a-f:]+ asks '\n";
    }
    text += &format!("\n[[expect]]\nname = \"the server's script\"\npattern = '{word}'\n");
    text += &format!(
        "\n[[target]]\nname = \"client\"\nfirmware = \"{}\"\nqemu_args = [{}]\n",
        machine.firmware,
        arguments.join(", ")
    );
    text
}

fn show(subjects: &[Subject], no_boot: bool, out: &Path) {
    let mut table = Table::new([
        "FILE", "FORMAT", "FOR", "VERSION", "AUTOEXEC", "BOOT", "RESULT",
    ]);
    for subject in subjects {
        let seen = subject.seen.as_ref();
        let format = seen.map_or("iso", |seen| seen.format.as_str());
        let arch = seen.map_or("", |seen| seen.arch.as_str());
        let version = seen.and_then(|seen| seen.version.as_deref());
        let autoexec = match seen.and_then(|seen| seen.autoexec) {
            Some(true) => "yes",
            Some(false) => "too old",
            None => "",
        };
        let mut row = |boot: &str, result: &str, style| {
            let result = crate::table::Cell::styled(result, style);
            table.row([
                subject.name.as_str().into(),
                if subject.wrong.is_some() { "?" } else { format }.into(),
                arch.into(),
                version.unwrap_or_default().into(),
                autoexec.into(),
                boot.into(),
                result,
            ]);
        };
        if let Some(wrong) = &subject.wrong {
            row("", wrong, Style::Bad);
        } else if no_boot {
            row("not tried", "looks right", Style::Plain);
        }
        for boot in &subject.boots {
            let (result, style) = match &boot.skip {
                Some(reason) => (format!("skipped: {reason}"), Style::Odd),
                None => verdict(&out.join(&boot.scenario)),
            };
            row(boot.how, &result, style);
        }
    }
    table.print("there is nothing to check");
}

/// A run's verdict, from its folder.
fn verdict(folder: &Path) -> (String, Style) {
    let text = fs::read_to_string(folder.join("verdict.json")).unwrap_or_default();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let verdict = value["verdict"].as_str().unwrap_or("not run");
    let style = match verdict {
        "passed" => Style::Good,
        "failed" => Style::Bad,
        _ => Style::Odd,
    };
    match value["detail"].as_str() {
        Some(detail) => (format!("{verdict}: {detail}"), style),
        None => (verdict.to_owned(), style),
    }
}
