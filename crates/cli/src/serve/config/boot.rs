//! Network boot programs, discovery, images, installers, scripts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use bootgate_api::BootMode;
use bootgate_media::ipxe::Prepared;
use bootgate_netboot::policy::{ArchRow, ArchTable, Firmware, Transport, arch};
use bootgate_scenario::file::{Checks, Problem, Spanned, Text, shorten, word_hint};
use bootgate_server::lab::{
    DiscoveryConfig, InstallerConfig, LabConfig, LiveConfig, LocalBootDefault,
};

use super::number;
use super::wire::{ArchWire, DiscoveryWire, ImageWire, LinuxWire, ScriptWire, ServeWire};

/// Longest name of a network boot program: what fits the `file` field with its closing NUL, or a URL in option 67.
const BOOTFILE_MAX: usize = 255;

/// Reads all that is booted into `lab`. Gives the folder of network boot programs.
pub(super) fn boot(wire: &ServeWire, lab: &mut LabConfig, checks: &Checks<'_>) -> Option<PathBuf> {
    let words = [
        ("script", LocalBootDefault::Script),
        ("silent", LocalBootDefault::Silent),
    ];
    if let Some(text) = &wire.boot.local {
        lab.local_boot = checks.word("local", text, &words).unwrap_or_default();
    }
    let tries = wire.boot.flash_tries.as_ref();
    lab.flash_tries = number("flash_tries", tries, 1..=100, lab.flash_tries, checks);
    lab.scripts = scripts(&wire.scripts, checks);
    lab.images = images(&wire.images, checks);
    lab.live = wire.live.as_ref().and_then(|wire| live(wire, checks));
    lab.installers = installers(&wire.installers, checks);
    lab.discovery = discovery(&wire.discovery, lab, checks);
    lab.architectures = architectures(wire, checks);
    let folder = wire.boot.folder.as_ref();
    folder.and_then(|text| folder_there("folder", text, checks))
}

/// The folder that `bootgate ipxe prepare` made.
pub(super) fn ipxe(wire: &ServeWire, checks: &Checks<'_>) -> Option<Prepared> {
    let text = wire.boot.ipxe.as_ref()?;
    let folder = folder_there("ipxe", text, checks)?;
    let prepared = Prepared::load(&folder).and_then(|prepared| {
        prepared.verify()?;
        Ok(prepared)
    });
    match prepared {
        Ok(prepared) => Some(prepared),
        Err(error) => {
            let shown = shorten(text.get_ref());
            let problem = Problem::at(text.span(), format!("`ipxe` names `{shown}`: {error}"));
            let hint = "`bootgate ipxe prepare --out DIR` makes such a folder";
            checks.fail(problem.label("this folder").hint(hint));
            None
        }
    }
}

/// The table of architectures with what the file says of them, and no programs that it does not name.
fn architectures(wire: &ServeWire, checks: &Checks<'_>) -> ArchTable {
    let folder = wire.boot.folder.as_ref();
    let mut table = ArchTable::iana();
    for (code, key, text) in [
        (arch::BIOS, "bios", &wire.boot.bios),
        (arch::UEFI_X64, "uefi", &wire.boot.uefi),
    ] {
        let file = text
            .as_ref()
            .and_then(|text| bootfile(key, text, folder, checks));
        if let (Some(file), Some(row)) = (file, table.row(code).cloned()) {
            table = table.with(code, row.with_bootfile(file));
        }
    }
    let mut seen = Vec::new();
    for wire in &wire.archs {
        let Some((code, row)) = row(wire, &table, folder, checks) else {
            continue;
        };
        if seen.contains(&code) {
            let message = format!("architecture `{code}` is there twice");
            checks.fail(Problem::at(wire.span.clone(), message).label("the second one"));
        }
        seen.push(code);
        table = table.with(code, row);
    }
    table
}

/// A folder that is there.
fn folder_there(key: &str, text: &Text, checks: &Checks<'_>) -> Option<PathBuf> {
    let path = checks.path(text);
    if path.is_dir() {
        return Some(path);
    }
    let message = format!(
        "`{key}` names `{}`: there is no such folder",
        shorten(text.get_ref())
    );
    let hint = format!(
        "looked for `{}`; paths begin at the folder of this file",
        path.display()
    );
    checks.fail(
        Problem::at(text.span(), message)
            .label("this folder")
            .hint(hint),
    );
    None
}

/// The name of a network boot program: a file below the folder, or a URL.
fn bootfile(key: &str, text: &Text, folder: Option<&Text>, checks: &Checks<'_>) -> Option<String> {
    let name = text.get_ref();
    let shown = shorten(name);
    let fail = |problem: &str, hint: &str| {
        let message = format!("`{key}` is `{shown}`: {problem}");
        checks.fail(Problem::at(text.span(), message).hint(hint));
        None
    };
    if name.is_empty() || name.len() > BOOTFILE_MAX || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return fail(
            "no firmware can ask for it",
            "1 to 255 letters, digits and signs, no blanks",
        );
    }
    if name.starts_with("http://") || name.starts_with("https://") {
        return Some(name.clone());
    }
    if name.starts_with('/') || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return fail(
            "not a path below the folder",
            "like \"snponly.efi\" or \"arm64/grub.efi\"",
        );
    }
    let Some(folder) = folder else {
        return fail(
            "there is no folder to give it out of",
            "name the folder in which it lies: [boot] with folder = \"/srv/boot\"",
        );
    };
    if !checks.path(folder).is_dir() {
        // Said at the folder.
        return None;
    }
    let path = Spanned::new(text.span(), format!("{}/{name}", folder.get_ref()));
    checks.regular(key, &path)?;
    Some(name.clone())
}

fn row(
    wire: &ArchWire,
    table: &ArchTable,
    folder: Option<&Text>,
    checks: &Checks<'_>,
) -> Option<(u16, ArchRow)> {
    let Some(code) = &wire.code else {
        let hint = "add the number that the client sends in DHCP option 93: code = 11";
        checks.missing(wire.span.clone(), "`code`", hint);
        return None;
    };
    let Ok(number) = u16::try_from(*code.get_ref()) else {
        let message = format!("`code` cannot be `{}`", code.get_ref());
        checks.fail(Problem::at(code.span(), message).hint("from 0 to 65535"));
        return None;
    };
    let unknown = || {
        let name = format!("architecture {number}");
        ArchRow::new(name, Firmware::Uefi, Transport::Tftp)
    };
    let mut row = table.row(number).cloned().unwrap_or_else(unknown);
    if let Some(name) = &wire.name {
        row.name = shorten(name.get_ref()).into();
    }
    let words = [("tftp", Transport::Tftp), ("http", Transport::Http)];
    if let Some(loads) = &wire.loads {
        row.transport = checks.word("loads", loads, &words)?;
    }
    if let Some(text) = &wire.bootfile {
        row = row.with_bootfile(bootfile("bootfile", text, folder, checks)?);
    }
    Some((number, row))
}

fn discovery(wire: &DiscoveryWire, lab: &LabConfig, checks: &Checks<'_>) -> DiscoveryConfig {
    let usual = DiscoveryConfig::default();
    let mode = wire.mode.as_ref().map_or("local", |mode| mode.get_ref());
    let span = wire.mode.as_ref().map_or(0..0, Text::span);
    if let Some(script) = &wire.script
        && mode != "script"
    {
        let message = format!("`script` says nothing where `mode` is `{}`", shorten(mode));
        checks.fail(
            Problem::at(script.span(), message).hint("set mode = \"script\", or take it away"),
        );
    }
    DiscoveryConfig {
        mode: discovered_mode(mode, span, wire, lab, checks),
        per_second: number(
            "per_second",
            wire.per_second.as_ref(),
            1..=10_000,
            usual.per_second,
            checks,
        ),
        limit: number(
            "limit",
            wire.limit.as_ref(),
            0..=1_000_000,
            usual.limit,
            checks,
        ),
    }
}

fn discovered_mode(
    mode: &str,
    span: Range<usize>,
    wire: &DiscoveryWire,
    lab: &LabConfig,
    checks: &Checks<'_>,
) -> Option<BootMode> {
    let fail = |hint: String| {
        let message = format!("`mode` cannot be `{}`", shorten(mode));
        checks.fail(
            Problem::at(span.clone(), message)
                .label("for machines nobody knows")
                .hint(hint),
        );
        None
    };
    match mode {
        "off" => None,
        "local" => Some(BootMode::Local),
        "inventory" if lab.live.is_some() => Some(BootMode::Inventory),
        "inventory" => fail(
            "an inventory is taken by the live environment: add [live] with its kernel and initrd"
                .to_owned(),
        ),
        "script" => {
            let Some(script) = &wire.script else {
                return fail("say which: script = \"NAME\" of a [[script]]".to_owned());
            };
            if !lab.scripts.contains_key(script.get_ref()) {
                let known: Vec<&str> = lab.scripts.keys().map(String::as_str).collect();
                let hint = if known.is_empty() {
                    "add [[script]] with this name and a path".to_owned()
                } else {
                    word_hint(script.get_ref(), &known)
                };
                let message = format!("there is no script `{}`", shorten(script.get_ref()));
                checks.fail(Problem::at(script.span(), message).hint(hint));
                return None;
            }
            Some(BootMode::Script {
                script: script.get_ref().clone(),
            })
        }
        "flash-once" | "flash-always" | "flash" | "install" => fail(format!(
            "a machine that anybody plugs in must not lose its disk: discover it into `local` or `inventory`, then order the rest with `bootgate machine set MAC --mode {}`",
            if mode == "install" {
                "install"
            } else {
                "flash-once"
            }
        )),
        other => match BootMode::not_yet(other) {
            Some(why) => fail(why.to_owned()),
            None => fail(word_hint(other, &["local", "inventory", "script", "off"])),
        },
    }
}

fn scripts(wires: &[ScriptWire], checks: &Checks<'_>) -> BTreeMap<String, PathBuf> {
    let mut all = BTreeMap::new();
    for wire in wires {
        let name = name(wire.name.as_ref(), &wire.span, "script", all.keys(), checks);
        let Some(text) = &wire.path else {
            checks.missing(
                wire.span.clone(),
                "`path`",
                "add the iPXE script: path = \"menu.ipxe\"",
            );
            continue;
        };
        if let (Some(name), Some((path, _))) = (name, checks.regular("path", text)) {
            all.insert(name, path);
        }
    }
    all
}

fn images(wires: &[ImageWire], checks: &Checks<'_>) -> BTreeMap<String, PathBuf> {
    let mut all = BTreeMap::new();
    for wire in wires {
        let name = name(wire.name.as_ref(), &wire.span, "image", all.keys(), checks);
        let Some(text) = &wire.folder else {
            let hint =
                "add the folder that `bootgate media chunks` wrote: folder = \"images/debian-12\"";
            checks.missing(wire.span.clone(), "`folder`", hint);
            continue;
        };
        if let (Some(name), Some(folder)) = (name, image(text, checks)) {
            all.insert(name, folder);
        }
    }
    all
}

fn name<'a>(
    text: Option<&Text>,
    span: &Range<usize>,
    kind: &str,
    mut others: impl Iterator<Item = &'a String>,
    checks: &Checks<'_>,
) -> Option<String> {
    let Some(text) = text else {
        let hint = format!("add a name by which machines get this {kind}: name = \"...\"");
        checks.missing(span.clone(), "`name`", &hint);
        return None;
    };
    let name = checks.name("name", text)?;
    if others.any(|other| *other == name) {
        let message = format!("two {kind}s are named `{name}`");
        checks.fail(Problem::at(text.span(), message).label("the second one"));
        return None;
    }
    Some(name)
}

/// The folder of an image, which `bootgate media chunks` wrote.
fn image(text: &Text, checks: &Checks<'_>) -> Option<PathBuf> {
    let folder = folder_there("folder", text, checks)?;
    for file in ["index.json", "image.zst"] {
        if checks.files.length(&folder.join(file)).is_err() {
            let shown = shorten(text.get_ref());
            let message = format!("`folder` names `{shown}`: no `{file}` is in it");
            let hint =
                "`bootgate media chunks disk.img --out DIR` makes such a folder of a disk image";
            let problem = Problem::at(text.span(), message).label("this folder");
            checks.fail(problem.hint(hint));
            return None;
        }
    }
    Some(folder)
}

/// Kernel and initial RAM disks.
fn linux(wire: &LinuxWire, what: &str, checks: &Checks<'_>) -> Option<(PathBuf, Vec<PathBuf>)> {
    let kernel = match &wire.kernel {
        Some(text) => checks.regular("kernel", text),
        None => {
            checks.missing(
                wire.span.clone(),
                &format!("{what}'s `kernel`"),
                "add its path: kernel = \"vmlinuz\"",
            );
            None
        }
    };
    let texts = wire
        .initrd
        .as_ref()
        .map_or(&[][..], |texts| texts.get_ref());
    let initrds: Vec<_> = texts
        .iter()
        .map(|text| Some(checks.regular("initrd", text)?.0))
        .collect();
    Some((kernel?.0, initrds.into_iter().collect::<Option<_>>()?))
}

fn cmdline(wire: &LinuxWire, usual: &str) -> String {
    wire.cmdline
        .as_ref()
        .map_or(usual, |text| text.get_ref())
        .to_owned()
}

fn live(wire: &LinuxWire, checks: &Checks<'_>) -> Option<LiveConfig> {
    let (kernel, initrds) = linux(wire, "the live environment", checks)?;
    Some(LiveConfig {
        kernel,
        initrds,
        cmdline: cmdline(wire, "console=tty0 console=ttyS0"),
    })
}

fn installers(wires: &[LinuxWire], checks: &Checks<'_>) -> BTreeMap<String, InstallerConfig> {
    let mut all = BTreeMap::new();
    for wire in wires {
        let name = name(
            wire.name.as_ref(),
            &wire.span,
            "installer",
            all.keys(),
            checks,
        );
        let linux = linux(wire, "the installer", checks);
        let answer = wire
            .answer
            .as_ref()
            .map(|text| checks.regular("answer", text));
        let (Some(name), Some((kernel, initrds))) = (name, linux) else {
            continue;
        };
        if let Some(None) = answer {
            continue;
        }
        let installer = InstallerConfig {
            kernel,
            initrds,
            cmdline: cmdline(wire, ""),
            answer: answer.flatten().map(|(path, _)| path),
        };
        all.insert(name, installer);
    }
    all
}
