//! From what an operator asks for to what is stored.

use std::collections::BTreeSet;

use bootgate_api::control::{MachineRef, MachineUpdate, ModeOrder};
use bootgate_api::{AfterFlash, BootMode, DiskSelector, FlashOrder};
use bootgate_store::MachineChange;

use super::Names;
use super::problem::{Refusal, listed};

/// The modes that can be asked for.
const MODES: &str = "`local`, `flash-once`, `flash-always`, `inventory`, `install` or `script`";
/// Longest label, key or value, in bytes.
const LABEL_MAX: usize = 255;

/// Reads a change; `names` are those of the running server's configuration, where one runs.
pub(super) fn change(
    update: MachineUpdate,
    names: Option<&Names>,
) -> Result<MachineChange, Refusal> {
    let name = match update.name {
        Some(name) if name.is_empty() => Some(None),
        Some(name) => match MachineRef::bad_name(&name) {
            Some(why) => return Err(Refusal::bad(format!("name `{name}`: {why}"), "")),
            None => Some(Some(name)),
        },
        None => None,
    };
    for (key, value) in &update.labels {
        label(key, value.as_deref().unwrap_or_default())?;
    }
    let boot = update.boot.map(|order| mode(order, names)).transpose()?;
    Ok(MachineChange {
        name,
        boot,
        local: update.local,
        labels: update.labels,
        force: update.force,
        only_from: None,
    })
}

fn label(key: &str, value: &str) -> Result<(), Refusal> {
    let bad = |why: &str| Err(Refusal::bad(format!("label `{key}`: {why}"), ""));
    if key.is_empty() || key.contains(['=', ',']) {
        return bad("a label's key is not empty and has no `=` and no `,`");
    }
    if key.len() > LABEL_MAX || value.len() > LABEL_MAX {
        return bad("a label's key and value are 255 bytes at most");
    }
    if key.chars().chain(value.chars()).any(char::is_control) {
        return bad("a label is one line of text");
    }
    Ok(())
}

/// Reads a boot mode.
pub(super) fn mode(order: ModeOrder, names: Option<&Names>) -> Result<BootMode, Refusal> {
    if let Some(why) = BootMode::not_yet(&order.mode) {
        return Err(Refusal::bad(why, format!("modes: {MODES}")));
    }
    let flashes = matches!(order.mode.as_str(), "flash-once" | "flash-always");
    let surplus = [
        (
            "an image",
            order.image.is_some(),
            flashes,
            "flash-once` and `flash-always",
        ),
        (
            "a disk",
            order.disk.is_some(),
            flashes,
            "flash-once` and `flash-always",
        ),
        (
            "what comes after",
            order.after.is_some(),
            flashes,
            "flash-once` and `flash-always",
        ),
        (
            "an installer",
            order.installer.is_some(),
            order.mode == "install",
            "install",
        ),
        (
            "a script",
            order.script.is_some(),
            order.mode == "script",
            "script",
        ),
    ];
    let mode = match order.mode.as_str() {
        "local" => BootMode::Local,
        "inventory" => BootMode::Inventory,
        "flash-once" | "flash-always" => {
            let image = wanted(order.image, "flash", "an image", "--image NAME")?;
            let disk = order.disk.unwrap_or_default();
            let flash = flash(image, disk, order.after, names)?;
            match order.mode.as_str() {
                "flash-once" => BootMode::FlashOnce(flash),
                _ => BootMode::FlashAlways(flash),
            }
        }
        "install" => {
            let installer = wanted(
                order.installer,
                "install",
                "an installer",
                "--installer NAME",
            )?;
            known(
                "installer",
                &installer,
                names.map(|names| &names.installers),
            )?;
            BootMode::Install { installer }
        }
        "script" => {
            let script = wanted(order.script, "script", "a script", "--script NAME")?;
            known("script", &script, names.map(|names| &names.scripts))?;
            BootMode::Script { script }
        }
        other => {
            return Err(Refusal::bad(
                format!("`{other}` is not a boot mode"),
                format!("modes: {MODES}"),
            ));
        }
    };
    match surplus.iter().find(|(_, given, fits, _)| *given && !fits) {
        Some((what, _, _, modes)) => Err(Refusal::bad(
            format!("{what} does not go with boot mode `{}`", order.mode),
            format!("it goes with `{modes}`"),
        )),
        None => Ok(mode),
    }
}

/// Reads an order to flash.
pub(super) fn flash(
    image: String,
    disk: DiskSelector,
    after: Option<AfterFlash>,
    names: Option<&Names>,
) -> Result<FlashOrder, Refusal> {
    known("image", &image, names.map(|names| &names.images))?;
    if disk == DiskSelector::default() {
        return Err(Refusal::bad(
            "a flash needs a disk to write",
            "--disk serial=SERIAL, --disk size=100GiB-2TiB or --disk path=/dev/sda; \
            `bootgate machine show` lists disks after an inventory",
        ));
    }
    if let Some(path) = disk
        .path
        .as_deref()
        .filter(|path| !path.starts_with("/dev/"))
    {
        return Err(Refusal::bad(
            format!("disk `{path}` is not a device"),
            "a path like /dev/sda, as the live environment names it",
        ));
    }
    if let (Some(min), Some(max)) = (disk.min_size, disk.max_size)
        && min > max
    {
        return Err(Refusal::bad(
            format!("no disk has {min} bytes at least and {max} at most"),
            "the smaller size comes first",
        ));
    }
    Ok(FlashOrder {
        image,
        disk,
        after: after.unwrap_or(AfterFlash::Reboot),
    })
}

fn wanted(given: Option<String>, mode: &str, what: &str, option: &str) -> Result<String, Refusal> {
    given.filter(|name| !name.is_empty()).ok_or_else(|| {
        Refusal::bad(
            format!("boot mode `{mode}` needs {what}"),
            format!("add {option}"),
        )
    })
}

/// The name is in the running server's configuration; where none runs, nobody can tell.
fn known(what: &str, name: &str, names: Option<&BTreeSet<String>>) -> Result<(), Refusal> {
    let Some(names) = names.filter(|names| !names.contains(name)) else {
        return Ok(());
    };
    let hint = match listed(names.iter().map(String::as_str)) {
        Some(names) => format!("{what}s in the server's configuration: {names}"),
        None => format!("the server's configuration has no {what}s"),
    };
    Err(Refusal::bad(
        format!("the server knows no {what} `{name}`"),
        hint,
    ))
}
