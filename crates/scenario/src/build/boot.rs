//! What a machine boots over the network.

use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::fits;
use crate::checks::Checks;
use crate::diagnostic::Problem;
use crate::read::{Text, shorten};
use crate::suggest;
use crate::wire::{BootWire, TargetWire};
use crate::{FirmwareProfile, Loader, NbpPlan, NetbootPlan, Payload, TargetPlan};

/// The longest kernel command line of an operator (COMMAND_LINE_SIZE of x86 is 2048; the rest is for what the
/// agent needs).
const CMDLINE_MAX: usize = 1536;

/// The longest file name in DHCP's `file` field with its closing NUL is 128 bytes (RFC 2131, 2).
const BOOTFILE_MAX: usize = 127;

impl NetbootPlan {
    pub(super) fn is_script(&self) -> bool {
        matches!(self.payload, Payload::Script { .. })
    }
}

/// What the target at `place` boots, where `wire` are the keys that hold for it.
pub(super) fn netboot(
    wire: &BootWire,
    place: &Range<usize>,
    firmware: &FirmwareProfile,
    checks: &Checks<'_>,
) -> Option<NetbootPlan> {
    let nbp = nbp(wire, checks);
    let cmdline = cmdline(wire.cmdline.as_ref(), firmware, checks);
    let (payload, script) = payload(wire, place, cmdline, checks)?;
    let loader = match &wire.loader {
        Some(word) => checks.word("loader", word, &Loader::WORDS)?,
        None => firmware.loader,
    };
    fits::loader(loader, wire, firmware, checks);
    Some(NetbootPlan {
        loader,
        nbp,
        payload,
        script,
    })
}

/// What is loaded, and the operator's own script for that.
fn payload(
    wire: &BootWire,
    place: &Range<usize>,
    cmdline: String,
    checks: &Checks<'_>,
) -> Option<(Payload, Option<PathBuf>)> {
    let (initrds, list) = (wire.initrd.as_ref(), wire.files.as_ref());
    match (&wire.kernel, &wire.script) {
        (Some(kernel), script) => {
            if let Some(list) = list {
                checks.fail(
                    Problem::at(list.span(), "`files` beside `kernel`")
                        .hint("leave one of them out: `files` is for a script that loads no `kernel` of the scenario"),
                );
            }
            let linux = linux_payload(kernel, initrds, cmdline, checks);
            let script = match script {
                None => None,
                Some(script) => Some(kernel_script(script, checks)?),
            };
            Some((linux?, script))
        }
        (None, Some(script)) => {
            if let Some(initrds) = initrds {
                checks.fail(
                    Problem::at(initrds.span(), "`initrd` without `kernel`")
                        .hint("add kernel = \"vmlinuz\"; or list in `files` what a script of your own loads"),
                );
            }
            Some((script_payload(script, list, cmdline, checks)?, None))
        }
        (None, None) => {
            let hint = "add [boot] with kernel = \"vmlinuz\" and initrd = \"initrd.img\", or script = \"custom.ipxe\"";
            checks.missing(place.clone(), "what the target boots", hint);
            None
        }
    }
}

fn linux_payload(
    kernel: &Text,
    initrds: Option<&toml::Spanned<Vec<Text>>>,
    cmdline: String,
    checks: &Checks<'_>,
) -> Option<Payload> {
    let initrds = initrds.map_or(&[][..], |list| list.get_ref().as_slice());
    let kernel = files("kernel", std::slice::from_ref(kernel), checks);
    let paths = files("initrd", initrds, checks);
    if let (Some(kernel), Some(paths)) = (&kernel, &paths) {
        for (text, path) in initrds.iter().zip(paths) {
            if path.file_name() == kernel[0].file_name() {
                same_name("initrd", text, checks);
            }
        }
    }
    Some(Payload::Linux {
        kernel: kernel?.pop()?,
        initrds: paths?,
        cmdline,
    })
}

/// The operator's own script beside a kernel: one that loads that kernel.
fn kernel_script(script: &Text, checks: &Checks<'_>) -> Option<PathBuf> {
    let (path, names) = template(script, &KERNEL_SCRIPT_VALUES, checks)?;
    if !names.iter().any(|name| name == "kernel_url") {
        checks.fail(
            Problem::at(script.span(), "both `kernel` and `script` are given, and the script loads another kernel")
                .label("does not name `{{kernel_url}}`")
                .hint("load {{kernel_url}} in the script; or leave `kernel` and `initrd` out and list in `files` what it loads"),
        );
    }
    Some(path)
}

/// The operator's own script alone.
fn script_payload(
    script: &Text,
    list: Option<&toml::Spanned<Vec<Text>>>,
    cmdline: String,
    checks: &Checks<'_>,
) -> Option<Payload> {
    let texts = list.map_or(&[][..], |list| list.get_ref().as_slice());
    let files = files("files", texts, checks);
    let (script, _) = template(script, &SCRIPT_VALUES, checks)?;
    Some(Payload::Script {
        script,
        files: files?,
        cmdline,
    })
}

/// Values that a script without a kernel may name.
const SCRIPT_VALUES: [&str; 3] = ["server_url", "nonce", "cmdline"];

/// Values that a script beside a kernel may name: those of `ipxe-scripts/boot.ipxe`.
const KERNEL_SCRIPT_VALUES: [&str; 6] = [
    "kernel_url",
    "initrd_lines",
    "initrd_args",
    "cmdline",
    "nonce",
    "server_url",
];

/// Reads a script of the operator's and complains about a value that it names and cannot have. Gives the path and
/// the names.
fn template(script: &Text, known: &[&str], checks: &Checks<'_>) -> Option<(PathBuf, Vec<String>)> {
    let fail = |problem: String, hint: String| {
        let shown = shorten(script.get_ref());
        checks.fail(
            Problem::at(
                script.span(),
                format!("`script` names `{shown}`: {problem}"),
            )
            .label("this file")
            .hint(hint),
        );
    };
    let (path, length) = checks.regular("script", script)?;
    if length > crate::load::MAX_FILE {
        fail(
            "longer than 1 MiB".to_owned(),
            "an iPXE script is a short text".to_owned(),
        );
        return None;
    }
    let bytes = checks.files.head(&path, crate::load::MAX_FILE);
    let bytes = bytes
        .map_err(|error| fail(crate::checks::reason(&error), String::new()))
        .ok()?;
    let Ok(text) = String::from_utf8(bytes) else {
        fail(
            "not UTF-8 text".to_owned(),
            "an iPXE script is a text that begins with `#!ipxe`".to_owned(),
        );
        return None;
    };
    let mut names = Vec::new();
    for (index, line) in text.lines().enumerate() {
        // Comments are served as they are.
        let mut rest = if line.trim_start().starts_with('#') {
            ""
        } else {
            line
        };
        while let Some((_, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").unwrap_or((after, ""));
            let name = name.trim();
            if !known.contains(&name) {
                let problem = format!(
                    "its line {} asks for `{{{{{}}}}}`",
                    index + 1,
                    shorten(name)
                );
                fail(problem, suggest::hint(name, known));
                return None;
            }
            names.push(name.to_owned());
            rest = after;
        }
    }
    Some((path, names))
}

/// The paths of regular files that a boot client asks for by name, each name once.
fn files(key: &str, list: &[Text], checks: &Checks<'_>) -> Option<Vec<PathBuf>> {
    let mut seen: Vec<PathBuf> = Vec::with_capacity(list.len());
    let mut all_found = true;
    for text in list {
        let Some((path, _)) = checks.regular(key, text) else {
            all_found = false;
            continue;
        };
        check_bootfile(key, &served_name(&path), text, checks);
        if seen
            .iter()
            .any(|other| other.file_name() == path.file_name())
        {
            same_name(key, text, checks);
        }
        seen.push(path);
    }
    all_found.then_some(seen)
}

fn same_name(key: &str, text: &Text, checks: &Checks<'_>) {
    let shown = shorten(text.get_ref());
    checks.fail(
        Problem::at(
            text.span(),
            format!("`{key}` names `{shown}`: another file has the same name"),
        )
        .label("the second one")
        .hint("files are served under their own names: rename one of them"),
    );
}

/// The command line becomes part of a line of an iPXE script: what iPXE or the script would read as its own is
/// refused (iPXE expands `${...}` and joins and splits commands at `&&`, `||` and `;`).
///
/// Where it names no console, the first serial port of such a machine is added: nothing else can be seen.
fn cmdline(text: Option<&Text>, firmware: &FirmwareProfile, checks: &Checks<'_>) -> String {
    let console = firmware.platform.console();
    let Some(text) = text else {
        return console.to_owned();
    };
    let line = text.get_ref();
    let fail = |problem: &str, hint: &str| {
        let shown = shorten(line);
        checks.fail(
            Problem::at(text.span(), format!("`cmdline` is `{shown}`: {problem}")).hint(hint),
        );
    };
    if line.len() > CMDLINE_MAX {
        fail(
            "longer than 1536 bytes",
            "the kernel reads 2048 bytes, and the agent needs some",
        );
    } else if line.chars().any(|c| !(c.is_ascii_graphic() || c == ' ')) {
        fail(
            "only printable ASCII can be passed",
            "put it on one line, without tabs",
        );
    } else if line.contains("${")
        || line
            .split(' ')
            .any(|word| matches!(word, "&&" | "||" | ";"))
    {
        fail(
            "iPXE would read a part of it as its own",
            "leave out `${`, and `&&`, `||` and `;` as words",
        );
    } else if line.split(' ').any(|word| word.starts_with('#')) {
        fail(
            "iPXE reads a word that begins with `#` as a comment",
            "leave it out",
        );
    } else if line.contains("{{") || line.split(' ').any(|word| word.starts_with("bootgate.")) {
        fail(
            "`{{` and keys that begin with `bootgate.` are the server's",
            "leave them out: they are added",
        );
    }
    if line.split(' ').any(|word| word.starts_with("console=")) {
        return line.clone();
    }
    format!("{console} {line}").trim_end().to_owned()
}

fn nbp(wire: &BootWire, checks: &Checks<'_>) -> NbpPlan {
    let bootfile = wire.bootfile.as_ref();
    NbpPlan {
        file: wire.nbp.as_ref().and_then(|text| {
            let (path, _) = checks.regular("nbp", text)?;
            check_bootfile("nbp", &served_name(&path), text, checks).then_some(path)
        }),
        bootfile: bootfile
            .filter(|text| check_bootfile("bootfile", text.get_ref(), text, checks))
            .map(|text| text.get_ref().clone()),
    }
}

fn served_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn check_bootfile(key: &str, name: &str, text: &Text, checks: &Checks<'_>) -> bool {
    let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'\\' | b'?' | b'#' | b'%');
    let fine = !name.is_empty() && name.len() <= BOOTFILE_MAX && name.bytes().all(plain);
    if !fine {
        let shown = shorten(text.get_ref());
        checks.fail(
            Problem::at(
                text.span(),
                format!("`{key}` is `{shown}`: a boot client cannot ask for that name"),
            )
            .hint("use 1 to 127 bytes of printable ASCII without blanks, `\\`, `?`, `#` and `%`"),
        );
    }
    fine
}

/// All targets fetch from one TFTP server: one name cannot be two files.
pub(super) fn distinct_bootfiles(
    targets: &[TargetPlan],
    wires: &[TargetWire],
    checks: &Checks<'_>,
) {
    let mut seen: HashMap<String, &PathBuf> = HashMap::new();
    for target in targets {
        let Some(file) = &target.boot.nbp.file else {
            continue;
        };
        let name = served_name(file);
        let other = *seen.entry(name.clone()).or_insert(file);
        if other == file {
            continue;
        }
        let wire = wires.iter().find(|wire| {
            wire.name
                .as_ref()
                .is_some_and(|name| name.get_ref() == target.name.as_str())
        });
        let own = wire.and_then(|wire| wire.own.boot.nbp.as_ref());
        let span = own.map_or_else(|| wire.map_or(0..0, |wire| wire.span.clone()), Text::span);
        checks.fail(
            Problem::at(span, format!("two boot programs are named `{name}`"))
                .label("another target has another file of this name")
                .hint("rename one of the files: it is served under its own name"),
        );
    }
}

/// Whether the target has to boot from its disk after the flash.
pub(super) fn disk_boot(wire: &BootWire, checks: &Checks<'_>) -> bool {
    match &wire.disk_boot {
        Some(flag) if *flag.get_ref() && wire.image.is_none() => {
            checks.fail(
                Problem::at(flag.span(), "`disk_boot` without `image`")
                    .hint("add the image to flash: image = \"disk.img\""),
            );
            false
        }
        Some(flag) => *flag.get_ref(),
        None => wire.image.is_some(),
    }
}
