//! The scenario as it is written: every key with its place in the file, nothing checked but types and names.

mod boot;
mod machine;
mod matrix;

use std::ops::Range;

use toml::Spanned;

pub(crate) use boot::{BootForWire, BootWire, ImageWire};
pub(crate) use machine::{BoardWire, DiskWire, NicWire, NicsWire, PowerWire, TargetWire};
pub(crate) use matrix::{AxisWire, CellWire, MatrixWire};

use crate::read::{Reader, Text};

#[derive(Clone, Debug)]
pub(crate) struct ScenarioWire {
    pub(crate) name: Option<Text>,
    pub(crate) network: NetworkWire,
    pub(crate) shared: SharedWire,
    pub(crate) targets: Vec<TargetWire>,
    pub(crate) matrix: Option<MatrixWire>,
}

/// What can stand at the top level for all targets, and in one target for it alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedWire {
    pub(crate) timeout: Option<Text>,
    pub(crate) boot: BootWire,
    /// `[[boot.for]]`, in the order of the file.
    pub(crate) boot_for: Vec<BootForWire>,
    pub(crate) deadlines: Vec<(Text, Option<Text>)>,
    pub(crate) expect: Option<Vec<ExpectWire>>,
    pub(crate) forbid: Vec<ForbidWire>,
    pub(crate) forbid_defaults: Option<Spanned<bool>>,
    pub(crate) skip_prompts: Option<Spanned<bool>>,
    pub(crate) allow: Option<Spanned<Vec<Text>>>,
    pub(crate) faults: Vec<FaultWire>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct NetworkWire {
    pub(crate) address: Option<Text>,
    pub(crate) pool: Option<Text>,
    pub(crate) interface: Option<Text>,
    pub(crate) dhcp: Option<Text>,
    pub(crate) lan: Option<Text>,
}

#[derive(Clone, Debug)]
pub(crate) struct ExpectWire {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<Text>,
    pub(crate) pattern: Option<Text>,
    pub(crate) stage: Option<Text>,
}

#[derive(Clone, Debug)]
pub(crate) struct ForbidWire {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<Text>,
    pub(crate) pattern: Option<Text>,
    pub(crate) stages: Option<Spanned<Vec<Text>>>,
    pub(crate) hint: Option<Text>,
}

#[derive(Clone, Debug)]
pub(crate) struct FaultWire {
    pub(crate) span: Range<usize>,
    pub(crate) serve: Option<Text>,
    pub(crate) enter: Option<Text>,
    pub(crate) action: Option<Text>,
}

impl ScenarioWire {
    pub(crate) fn read(mut root: Reader<'_, '_>) -> Self {
        let name = root.text("name", "bios-flash");
        let network = root.table("network", "network").map(NetworkWire::read);
        let shared = SharedWire::read(&mut root, "");
        let targets = root
            .tables("target", "target")
            .map_or_else(Vec::new, |list| {
                list.into_inner()
                    .into_iter()
                    .map(TargetWire::read)
                    .collect()
            });
        let matrix = root.table("matrix", "matrix").map(MatrixWire::read);
        root.finish();
        Self {
            name,
            network: network.unwrap_or_default(),
            shared,
            targets,
            matrix,
        }
    }
}

impl SharedWire {
    fn read(table: &mut Reader<'_, '_>, under: &str) -> Self {
        let place = |key: &str| format!("{under}{key}");
        let limits = table.table("deadlines", &place("deadlines"));
        let (boot, boot_for) = table
            .table("boot", &place("boot"))
            .map(|reader| BootWire::read(reader, &place("boot")))
            .unwrap_or_default();
        Self {
            timeout: table.text("timeout", "120s"),
            boot,
            boot_for,
            deadlines: limits.map_or_else(Vec::new, deadlines),
            expect: table.tables("expect", &place("expect")).map(|list| {
                list.into_inner()
                    .into_iter()
                    .map(ExpectWire::read)
                    .collect()
            }),
            forbid: table
                .tables("forbid", &place("forbid"))
                .map_or_else(Vec::new, |list| {
                    list.into_inner()
                        .into_iter()
                        .map(ForbidWire::read)
                        .collect()
                }),
            forbid_defaults: table.flag("forbid_defaults"),
            skip_prompts: table.flag("skip_prompts"),
            allow: table.list("allow", "a list of names of default markers"),
            faults: table
                .tables("fault", &place("fault"))
                .map_or_else(Vec::new, |list| {
                    list.into_inner().into_iter().map(FaultWire::read).collect()
                }),
        }
    }
}

/// The keys of `[deadlines]`, which are looked at later.
pub(crate) fn deadlines(table: Reader<'_, '_>) -> Vec<(Text, Option<Text>)> {
    let read = |key: Text| {
        let value = table.text_of(key.get_ref(), "30s");
        (key, value)
    };
    table.keys().into_iter().map(read).collect()
}

impl NetworkWire {
    pub(crate) fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            address: table.text("address", "10.77.0.1/24"),
            pool: table.text("pool", "10.77.0.100-10.77.0.199"),
            interface: table.text("interface", "enp3s0"),
            dhcp: table.text("dhcp", "full"),
            lan: table.text("lan", "dnsmasq"),
        };
        table.finish();
        wire
    }
}

impl ExpectWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            name: table.text("name", "agent"),
            pattern: table.text("pattern", "bootgate-agent: started"),
            stage: table.text("stage", "live"),
        };
        table.finish();
        wire
    }
}

impl ForbidWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            name: table.text("name", "oops"),
            pattern: table.text("pattern", "Oops:"),
            stages: table.texts("stages", "a list of stages like [\"live\", \"flash\"]"),
            hint: table.text("hint", "see the driver's log"),
        };
        table.finish();
        wire
    }
}

impl FaultWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            serve: table.text("serve", "kernel"),
            enter: table.text("enter", "flash"),
            action: table.text("action", "not-found"),
        };
        table.finish();
        wire
    }
}
