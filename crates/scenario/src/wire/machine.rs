//! `[[target]]`: the machine.

use std::ops::Range;

use toml::Spanned;

use super::SharedWire;
use crate::read::{Reader, Text};

#[derive(Clone, Debug)]
pub(crate) struct TargetWire {
    pub(crate) span: Range<usize>,
    pub(crate) name: Option<Text>,
    pub(crate) firmware: Option<Text>,
    pub(crate) arch: Option<Text>,
    pub(crate) mac: Option<Text>,
    pub(crate) memory: Option<Text>,
    pub(crate) cpus: Option<Spanned<u64>>,
    pub(crate) nic: Option<NicsWire>,
    pub(crate) rom: Option<Text>,
    pub(crate) qemu_args: Option<Spanned<Vec<Text>>>,
    pub(crate) disk: Option<DiskWire>,
    pub(crate) board: Option<BoardWire>,
    pub(crate) own: SharedWire,
}

/// The interfaces of a virtual machine.
#[derive(Clone, Debug)]
pub(crate) struct NicsWire {
    pub(crate) span: Range<usize>,
    pub(crate) list: Vec<NicWire>,
}

#[derive(Clone, Debug)]
pub(crate) struct NicWire {
    pub(crate) span: Range<usize>,
    pub(crate) model: Option<Text>,
    pub(crate) rom: Option<Text>,
    pub(crate) link: Option<Text>,
    pub(crate) vlan: Option<Spanned<u64>>,
}

#[derive(Clone, Debug)]
pub(crate) struct DiskWire {
    pub(crate) span: Range<usize>,
    pub(crate) size: Option<Text>,
    pub(crate) sector_size: Option<Spanned<u64>>,
    pub(crate) bus: Option<Text>,
}

#[derive(Clone, Debug)]
pub(crate) struct BoardWire {
    pub(crate) span: Range<usize>,
    pub(crate) console: Option<Text>,
    pub(crate) baud: Option<Spanned<u64>>,
    pub(crate) disk: Option<Text>,
    pub(crate) power: Option<PowerWire>,
}

#[derive(Clone, Debug)]
pub(crate) struct PowerWire {
    pub(crate) span: Range<usize>,
    pub(crate) on: Option<Spanned<Vec<Text>>>,
    pub(crate) off: Option<Spanned<Vec<Text>>>,
    pub(crate) cycle: Option<Spanned<Vec<Text>>>,
    pub(crate) timeout: Option<Text>,
}

impl TargetWire {
    pub(super) fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            name: table.text("name", "client"),
            firmware: table.text("firmware", "bios"),
            arch: table.text("arch", "x86_64"),
            mac: table.text("mac", "52:54:00:12:34:56"),
            memory: table.text("memory", "512MiB"),
            cpus: table.number("cpus", "1"),
            nic: NicsWire::read(&mut table),
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
                bus: None,
            }),
            Ok(mut reader) => {
                let wire = Self {
                    span: reader.span(),
                    size: reader.text("size", "64MiB"),
                    sector_size: reader.number("sector_size", "512"),
                    bus: reader.text("bus", "nvme"),
                };
                reader.finish();
                Some(wire)
            }
        }
    }

    /// A disk of which nothing is said but what the matrix says at this place.
    pub(crate) fn at(span: Range<usize>) -> Self {
        Self {
            span,
            size: None,
            sector_size: None,
            bus: None,
        }
    }
}

impl NicsWire {
    fn read(table: &mut Reader<'_, '_>) -> Option<Self> {
        let wanted = "a model like \"virtio-net\", or a list of tables `{ model = \"e1000\", link = \"dead\" }`";
        let items = table.texts_or_tables("nic", "target.nic", wanted)?;
        let span = items.span();
        let list = items.into_inner().into_iter().map(|item| match item {
            Err(model) => NicWire::of(model),
            Ok(reader) => NicWire::read(reader),
        });
        Some(Self {
            span,
            list: list.collect(),
        })
    }
}

impl NicWire {
    /// An interface of which only the model is said.
    pub(crate) fn of(model: Text) -> Self {
        Self {
            span: model.span(),
            model: Some(model),
            rom: None,
            link: None,
            vlan: None,
        }
    }

    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            model: table.text("model", "e1000"),
            rom: table.text("rom", "standard"),
            link: table.text("link", "segment"),
            vlan: table.number("vlan", "42"),
        };
        table.finish();
        wire
    }

    /// Whether it has a link to the segment, as far as it is written.
    pub(crate) fn is_on_segment(&self) -> bool {
        let link = self.link.as_ref().map(|link| link.get_ref().as_str());
        matches!(link, None | Some("segment"))
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
