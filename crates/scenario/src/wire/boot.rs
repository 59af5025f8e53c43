//! `[boot]`: what is booted.

use std::ops::Range;

use toml::Spanned;

use crate::read::{Reader, Text};

#[derive(Clone, Debug, Default)]
pub(crate) struct BootWire {
    pub(crate) loader: Option<Text>,
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

/// `[[boot.for]]`: what some targets boot in place of what all do.
#[derive(Clone, Debug)]
pub(crate) struct BootForWire {
    pub(crate) span: Range<usize>,
    pub(crate) firmware: Option<Spanned<Vec<Text>>>,
    pub(crate) arch: Option<Text>,
    pub(crate) sector_size: Option<Spanned<u64>>,
    pub(crate) boot: BootWire,
}

impl BootForWire {
    fn read(mut table: Reader<'_, '_>, place: &str) -> Self {
        let wanted = "a firmware or a list of them";
        let wire = Self {
            span: table.span(),
            firmware: table.texts("firmware", wanted),
            arch: table.text("arch", "aarch64"),
            sector_size: table.number("sector_size", "4096"),
            boot: BootWire::keys(&mut table, place),
        };
        table.finish();
        wire
    }
}

impl BootWire {
    /// The table, and the tables of `for` in it.
    pub(super) fn read(mut table: Reader<'_, '_>, place: &str) -> (Self, Vec<BootForWire>) {
        let wire = Self::keys(&mut table, place);
        let inner = format!("{place}.for");
        let others = table.tables("for", &inner).map_or_else(Vec::new, |list| {
            let read = |reader| BootForWire::read(reader, &inner);
            list.into_inner().into_iter().map(read).collect()
        });
        table.finish();
        (wire, others)
    }

    /// The keys that a target can have of its own and by `[[boot.for]]`.
    fn keys(table: &mut Reader<'_, '_>, place: &str) -> Self {
        Self {
            loader: table.text("loader", "ipxe"),
            kernel: table.text("kernel", "vmlinuz"),
            initrd: table.texts("initrd", "a path or a list of paths"),
            cmdline: table.text("cmdline", "console=ttyS0"),
            script: table.text("script", "custom.ipxe"),
            files: table.list("files", "a list of paths"),
            image: ImageWire::read(table, place),
            disk_boot: table.flag("disk_boot"),
            nbp: table.text("nbp", "snponly.efi"),
            bootfile: table.text("bootfile", "snponly.efi"),
        }
    }

    /// These keys where they are written, else those of `other`.
    pub(crate) fn over(self, other: Self) -> Self {
        Self {
            loader: self.loader.or(other.loader),
            kernel: self.kernel.or(other.kernel),
            initrd: self.initrd.or(other.initrd),
            cmdline: self.cmdline.or(other.cmdline),
            script: self.script.or(other.script),
            files: self.files.or(other.files),
            image: self.image.or(other.image),
            disk_boot: self.disk_boot.or(other.disk_boot),
            nbp: self.nbp.or(other.nbp),
            bootfile: self.bootfile.or(other.bootfile),
        }
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
