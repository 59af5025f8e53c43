//! `bootgate machine`.

mod read;

use std::process::ExitCode;

use bootgate_api::control::{
    ArmFlash, Forgotten, MachineUpdate, ModeOrder, WakeOrder, Woken, paths,
};
use bootgate_api::{AfterFlash, BootMode, DiskSelector, DiskState, FlashOrder, LocalBoot, Machine};
use bootgate_report::words::bytes;
use bootgate_scenario::file::show_size;

use crate::args::{Format, MachineCommand, SetArgs};
use crate::client::{Client, Done, Trouble};
use crate::exit;
use crate::table::{self, Cell, Facts, Style, Table};
use read::{after, label, local_boot, selector};

/// Lists, shows and changes machines.
pub(crate) async fn machine(command: MachineCommand) -> Done {
    match command {
        MachineCommand::List { mode, label, reach } => {
            let client = Client::reach(&reach).await?;
            let mut path = format!(
                "{}?label={}",
                paths::MACHINES,
                paths::escaped(&label.join(","))
            );
            if let Some(mode) = mode {
                path.push_str(&format!("&mode={}", paths::escaped(&mode)));
            }
            let machines: Vec<Machine> = client.get(&path).await?;
            match reach.format {
                Format::Json => table::json(&machines)?,
                Format::Text => list(&machines),
            }
        }
        MachineCommand::Show { machine, reach } => {
            let client = Client::reach(&reach).await?;
            let machine = client.get(&paths::machine(&machine.machine)).await?;
            table::print(reach.format, &machine, show)?;
        }
        MachineCommand::Set(args) => set(*args).await?,
        MachineCommand::Arm {
            machine,
            image,
            disk,
            always,
            reach,
        } => {
            let order = ArmFlash {
                image,
                after: after(&disk),
                disk: selector(&disk)?.unwrap_or_default(),
                always,
            };
            let client = Client::reach_or_make(&reach).await?;
            let machine = client.post(&paths::arm(&machine.machine), &order).await?;
            table::print(reach.format, &machine, changed)?;
        }
        MachineCommand::Retry { machine, reach } => {
            let client = Client::reach(&reach).await?;
            let machine = client.post(&paths::retry(&machine.machine), &()).await?;
            table::print(reach.format, &machine, changed)?;
        }
        MachineCommand::Forget { machine, reach } => {
            let client = Client::reach(&reach).await?;
            let who = machine.machine;
            let forgotten: Forgotten = client.delete(&paths::machine(&who)).await?;
            if !forgotten.known {
                return Err(Trouble::usage(
                    format!("no machine `{who}` is known"),
                    "`bootgate machine list` shows the machines",
                ));
            }
            table::print(reach.format, &forgotten, |_| {
                exit::say(&format!("forgot {who}; its attempts stay"));
            })?;
        }
        MachineCommand::Wake {
            machine,
            interface,
            reach,
        } => {
            let client = Client::reach(&reach).await?;
            let order = WakeOrder { interface };
            let woken: Woken = client.post(&paths::wake(&machine.machine), &order).await?;
            table::print(reach.format, &woken, |woken| {
                let interfaces = woken.interfaces.join(", ");
                exit::say(&format!("woke {} on {interfaces}", woken.mac));
            })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn set(args: SetArgs) -> Result<(), Trouble> {
    let disk = selector(&args.disk)?;
    let boot = match args.mode {
        Some(mode) => Some(ModeOrder {
            mode,
            image: args.image,
            disk,
            after: after(&args.disk),
            installer: args.installer,
            script: args.script,
        }),
        None if disk.is_some() || args.disk.after.is_some() => {
            let error = "--disk and --after say how a mode flashes, and no mode is given";
            return Err(Trouble::usage(error, "add --mode flash-once --image NAME"));
        }
        None => None,
    };
    let update = MachineUpdate {
        name: args.name,
        boot,
        local: args.local_boot.as_deref().map(local_boot).transpose()?,
        labels: args.label.iter().map(|text| label(text)).collect(),
        force: args.force,
    };
    let nothing = MachineUpdate {
        force: update.force,
        ..MachineUpdate::default()
    };
    if update == nothing {
        return Err(Trouble::usage(
            "nothing to set is given",
            "--mode, --name, --label or --local-boot; see `bootgate machine set --help`",
        ));
    }
    let client = Client::reach_or_make(&args.reach).await?;
    let path = paths::machine(&args.machine.machine);
    let machine = client.patch(&path, &update).await?;
    table::print(args.reach.format, &machine, changed)
}

fn list(machines: &[Machine]) {
    let mut table = Table::new(["MACHINE", "NAME", "BOOTS", "DISK", "SEEN", "LABELS"]);
    for machine in machines {
        let labels = machine.labels.iter();
        let labels: Vec<_> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let seen = match machine.last_seen.0 {
            0 => "never".to_owned(),
            _ => table::ago(machine.last_seen),
        };
        table.row([
            machine.mac.to_string().into(),
            machine.name.as_deref().unwrap_or("-").into(),
            boots(machine),
            disk(&machine.disk),
            seen.into(),
            labels.join(" ").into(),
        ]);
    }
    table.print("no machines");
}

/// The mode and what goes with it, in short.
fn boots(machine: &Machine) -> Cell {
    let mode = machine.boot.name();
    match &machine.boot {
        BootMode::Local | BootMode::Inventory => mode.into(),
        BootMode::FlashOnce(order) | BootMode::FlashAlways(order) => {
            tried(machine, &format!("{mode} {}", order.image))
        }
        BootMode::Install { installer } => tried(machine, &format!("{mode} {installer}")),
        BootMode::Script { script } => format!("{mode} {script}").into(),
    }
}

/// What writes a disk, with how often it failed.
fn tried(machine: &Machine, text: &str) -> Cell {
    match machine.failed_flashes {
        0 => Cell::styled(text, Style::Odd),
        failed => Cell::styled(&format!("{text} ({failed} failed)"), Style::Bad),
    }
}

fn disk(disk: &DiskState) -> Cell {
    match disk {
        DiskState::Unknown => "-".into(),
        DiskState::Dirty { .. } => Cell::styled("half written", Style::Bad),
        DiskState::Flashed { image, .. } => image.into(),
    }
}

fn show(machine: &Machine) {
    let mut facts = Facts::default();
    facts.add("machine", machine.mac.to_string());
    facts.add("name", machine.name.as_deref().unwrap_or("-"));
    facts.add("boots", boots(machine));
    if let Some(order) = machine.boot.flash() {
        facts.add("onto", target(order));
    }
    if machine.local_next {
        facts.add("next", "its own disk, once: it was flashed just before");
    }
    if let Some(mode) = &machine.after_inventory {
        facts.add("then", mode.name());
    }
    facts.add("local boot", how_local(&machine.local));
    facts.add(
        "disk",
        match &machine.disk {
            DiskState::Unknown => "not flashed from here".into(),
            DiskState::Dirty { attempt } => {
                Cell::styled(&format!("half written by attempt {attempt}"), Style::Bad)
            }
            DiskState::Flashed { image, sha256, at } => {
                format!("{image}, {sha256}, {}", table::when(*at)).into()
            }
        },
    );
    if machine.failed_flashes > 0 {
        let failed = format!("{} in a row", machine.failed_flashes);
        let what = match machine.boot {
            BootMode::Install { .. } => "failed installations",
            _ => "failed flashes",
        };
        facts.add(what, Cell::styled(&failed, Style::Bad));
    }
    for (key, value) in &machine.labels {
        facts.add("label", format!("{key}={value}"));
    }
    if let Some(architecture) = machine.architecture {
        let table = bootgate_netboot::policy::ArchTable::with_ipxe();
        let name = table.name(architecture);
        facts.add("architecture", format!("{name} ({architecture})"));
    }
    let how = if machine.discovered {
        ", by itself"
    } else {
        ""
    };
    facts.add(
        "first seen",
        format!("{}{how}", table::when(machine.first_seen)),
    );
    facts.add("last seen", table::when(machine.last_seen));
    inventory(machine, &mut facts);
    facts.print();
}

fn inventory(machine: &Machine, facts: &mut Facts) {
    let Some(inventory) = &machine.inventory else {
        return;
    };
    for (key, value) in &inventory.system {
        facts.add("system", format!("{key}: {value}"));
    }
    facts.add(
        "processor",
        format!("{} x {}", inventory.cpus, inventory.cpu),
    );
    facts.add("memory", bytes(inventory.memory));
    facts.add("firmware", &inventory.firmware);
    for disk in &inventory.disks {
        let serial = disk
            .serial
            .as_deref()
            .map(|serial| format!(", serial={serial}"));
        let model = disk.model.as_deref().map(|model| format!(", {model}"));
        let (serial, model) = (serial.unwrap_or_default(), model.unwrap_or_default());
        facts.add(
            "disk",
            format!("{}, {}{serial}{model}", disk.path, bytes(disk.size)),
        );
    }
    for nic in &inventory.nics {
        let driver = nic.driver.as_deref().map(|driver| format!(", {driver}"));
        let driver = driver.unwrap_or_default();
        facts.add("interface", format!("{}, {}{driver}", nic.name, nic.mac));
    }
}

/// What is written, and what comes then.
fn target(order: &FlashOrder) -> String {
    let DiskSelector {
        path,
        serial,
        min_size,
        max_size,
    } = &order.disk;
    let mut rules = Vec::new();
    rules.extend(path.iter().map(|path| format!("path={path}")));
    rules.extend(serial.iter().map(|serial| format!("serial={serial}")));
    if min_size.is_some() || max_size.is_some() {
        let size = |size: &Option<u64>| size.map(show_size).unwrap_or_default();
        rules.push(format!("size={}-{}", size(min_size), size(max_size)));
    }
    let after = match order.after {
        AfterFlash::Reboot => "then reboots",
        AfterFlash::PowerOff => "then switches off",
    };
    format!("the disk with {}, {after}", rules.join(", "))
}

fn how_local(local: &LocalBoot) -> String {
    match local {
        LocalBoot::Auto => "auto".to_owned(),
        LocalBoot::Exit => "exit".to_owned(),
        LocalBoot::Drive(drive) => format!("drive:{drive:#04x}"),
    }
}

/// One line for a machine that was changed.
fn changed(machine: &Machine) {
    let name = machine.name.as_deref().map(|name| format!(" ({name})"));
    let name = name.unwrap_or_default();
    let what = match &machine.boot {
        BootMode::Local => "its own disk".to_owned(),
        BootMode::Inventory => "the live environment, to tell what it is made of".to_owned(),
        BootMode::FlashOnce(order) => {
            format!("image {} once, onto {}", order.image, target(order))
        }
        BootMode::FlashAlways(order) => {
            format!("image {} each time, onto {}", order.image, target(order))
        }
        BootMode::Install { installer } => format!("installer {installer}"),
        BootMode::Script { script } => format!("script {script}"),
    };
    exit::say(&bootgate_report::words::harmless(&format!(
        "{}{name} boots {what}",
        machine.mac
    )));
}
