//! The scenario as it is written: every key with its place in the file, nothing checked but types and names.

use std::ops::Range;

use toml::Spanned;

use crate::read::{Reader, Text};

#[derive(Debug)]
pub(crate) struct ScenarioWire {
    pub(crate) name: Option<Text>,
    pub(crate) network: NetworkWire,
    pub(crate) shared: SharedWire,
    pub(crate) targets: Vec<TargetWire>,
}

/// What can stand at the top level for all targets, and in one target for it alone.
#[derive(Debug, Default)]
pub(crate) struct SharedWire {
    pub(crate) timeout: Option<Text>,
    pub(crate) boot: BootWire,
    pub(crate) deadlines: Vec<(Text, Option<Text>)>,
    pub(crate) expect: Option<Vec<ExpectWire>>,
    pub(crate) forbid: Vec<ForbidWire>,
    pub(crate) forbid_defaults: Option<Spanned<bool>>,
    pub(crate) skip_prompts: Option<Spanned<bool>>,
    pub(crate) allow: Option<Spanned<Vec<Text>>>,
    pub(crate) faults: Vec<FaultWire>,
}

#[derive(Debug, Default)]
pub(crate) struct NetworkWire {
    pub(crate) address: Option<Text>,
    pub(crate) pool: Option<Text>,
    pub(crate) interface: Option<Text>,
}

#[derive(Debug, Default)]
pub(crate) struct BootWire {
    pub(crate) kernel: Option<Text>,
    pub(crate) initrd: Option<Spanned<Vec<Text>>>,
    pub(crate) cmdline: Option<Text>,
    pub(crate) script: Option<Text>,
    pub(crate) files: Option<Spanned<Vec<Text>>>,
    pub(crate) image: Option<ImageWire>,
    pub(crate) disk_boot: Option<Spanned<bool>>,
    pub(crate) nbp: Option<Text>,
    pub(crate) bootfile: Option<Text>,
}

#[derive(Clone, Debug)]
pub(crate) struct ImageWire {
    pub(crate) span: Range<usize>,
    pub(crate) path: Option<Text>,
    pub(crate) sector_size: Option<Spanned<u64>>,
}

#[derive(Debug)]
pub(crate) struct TargetWire {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<Text>,
    pub(crate) firmware: Option<Text>,
    pub(crate) arch: Option<Text>,
    pub(crate) mac: Option<Text>,
    pub(crate) memory: Option<Text>,
    pub(crate) cpus: Option<Spanned<u64>>,
    pub(crate) nic: Option<Text>,
    pub(crate) rom: Option<Text>,
    pub(crate) qemu_args: Option<Spanned<Vec<Text>>>,
    pub(crate) disk: Option<DiskWire>,
    pub(crate) board: Option<BoardWire>,
    pub(crate) own: SharedWire,
}

#[derive(Debug)]
pub(crate) struct DiskWire {
    pub(crate) span: Range<usize>,
    pub(crate) size: Option<Text>,
    pub(crate) sector_size: Option<Spanned<u64>>,
}

#[derive(Debug)]
pub(crate) struct BoardWire {
    pub(crate) span: Range<usize>,
    pub(crate) console: Option<Text>,
    pub(crate) baud: Option<Spanned<u64>>,
    pub(crate) disk: Option<Text>,
    pub(crate) power: Option<PowerWire>,
}

#[derive(Debug)]
pub(crate) struct PowerWire {
    pub(crate) span: Range<usize>,
    pub(crate) on: Option<Spanned<Vec<Text>>>,
    pub(crate) off: Option<Spanned<Vec<Text>>>,
    pub(crate) cycle: Option<Spanned<Vec<Text>>>,
    pub(crate) timeout: Option<Text>,
}

#[derive(Debug)]
pub(crate) struct ExpectWire {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<Text>,
    pub(crate) pattern: Option<Text>,
    pub(crate) stage: Option<Text>,
}

#[derive(Debug)]
pub(crate) struct ForbidWire {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<Text>,
    pub(crate) pattern: Option<Text>,
    pub(crate) stages: Option<Spanned<Vec<Text>>>,
    pub(crate) hint: Option<Text>,
}

#[derive(Debug)]
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
        root.finish();
        Self {
            name,
            network: network.unwrap_or_default(),
            shared,
            targets,
        }
    }
}

impl SharedWire {
    fn read(table: &mut Reader<'_, '_>, under: &str) -> Self {
        let place = |key: &str| format!("{under}{key}");
        let deadlines = table.table("deadlines", &place("deadlines"));
        Self {
            timeout: table.text("timeout", "120s"),
            boot: table
                .table("boot", &place("boot"))
                .map(|reader| BootWire::read(reader, &place("boot")))
                .unwrap_or_default(),
            deadlines: deadlines.map_or_else(Vec::new, |reader| {
                let read = |key: Text| {
                    let value = reader.text_of(key.get_ref(), "30s");
                    (key, value)
                };
                reader.keys().into_iter().map(read).collect()
            }),
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

impl NetworkWire {
    pub(crate) fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            address: table.text("address", "10.77.0.1/24"),
            pool: table.text("pool", "10.77.0.100-10.77.0.199"),
            interface: table.text("interface", "enp3s0"),
        };
        table.finish();
        wire
    }
}

impl BootWire {
    fn read(mut table: Reader<'_, '_>, place: &str) -> Self {
        let wire = Self {
            kernel: table.text("kernel", "vmlinuz"),
            initrd: table.texts("initrd", "a path or a list of paths"),
            cmdline: table.text("cmdline", "console=ttyS0"),
            script: table.text("script", "custom.ipxe"),
            files: table.list("files", "a list of paths"),
            image: ImageWire::read(&mut table, place),
            disk_boot: table.flag("disk_boot"),
            nbp: table.text("nbp", "snponly.efi"),
            bootfile: table.text("bootfile", "snponly.efi"),
        };
        table.finish();
        wire
    }
}

impl ImageWire {
    fn read(table: &mut Reader<'_, '_>, under: &str) -> Option<Self> {
        let place = format!("{under}.image");
        match table.table_or_text("image", &place, "disk.img")? {
            Err(path) => Some(Self {
                span: path.span(),
                path: Some(path),
                sector_size: None,
            }),
            Ok(mut reader) => {
                let wire = Self {
                    span: reader.span(),
                    path: reader.text("path", "disk.img"),
                    sector_size: reader.number("sector_size", "512"),
                };
                reader.finish();
                Some(wire)
            }
        }
    }
}

impl TargetWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            name: table.text("name", "client"),
            firmware: table.text("firmware", "bios"),
            arch: table.text("arch", "x86_64"),
            mac: table.text("mac", "52:54:00:12:34:56"),
            memory: table.text("memory", "512MiB"),
            cpus: table.number("cpus", "1"),
            nic: table.text("nic", "virtio-net"),
            rom: table.text("rom", "standard"),
            qemu_args: table.list("qemu_args", "a list of texts"),
            disk: DiskWire::read(&mut table),
            board: table
                .table("board", "target.board")
                .map(|reader| BoardWire::read(reader, "target.board")),
            own: SharedWire::read(&mut table, "target."),
        };
        table.finish();
        wire
    }
}

impl DiskWire {
    fn read(table: &mut Reader<'_, '_>) -> Option<Self> {
        match table.table_or_text("disk", "target.disk", "64MiB")? {
            Err(size) => Some(Self {
                span: size.span(),
                size: Some(size),
                sector_size: None,
            }),
            Ok(mut reader) => {
                let wire = Self {
                    span: reader.span(),
                    size: reader.text("size", "64MiB"),
                    sector_size: reader.number("sector_size", "512"),
                };
                reader.finish();
                Some(wire)
            }
        }
    }
}

impl BoardWire {
    fn read(mut table: Reader<'_, '_>, place: &str) -> Self {
        let wire = Self::take(&mut table, place);
        table.finish();
        wire
    }

    /// Reads the keys of a board and leaves the table open for others.
    pub(crate) fn take(table: &mut Reader<'_, '_>, place: &str) -> Self {
        Self {
            span: table.span(),
            console: table.text("console", "/dev/ttyUSB0"),
            baud: table.number("baud", "115200"),
            disk: table.text("disk", "/dev/nvme0n1"),
            power: table
                .table("power", &format!("{place}.power"))
                .map(PowerWire::read),
        }
    }
}

impl PowerWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wanted = "a list of texts: a program and its arguments";
        let wire = Self {
            span: table.span(),
            on: table.list("on", wanted),
            off: table.list("off", wanted),
            cycle: table.list("cycle", wanted),
            timeout: table.text("timeout", "30s"),
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
