//! `[matrix]`: the axes, and which cells there are.

use std::ops::Range;

use toml::Spanned;

use crate::matrix::Axis;
use crate::read::{Reader, Text};

#[derive(Clone, Debug)]
pub(crate) struct MatrixWire {
    pub(crate) span: Range<usize>,
    /// In the order of the file.
    pub(crate) axes: Vec<AxisWire>,
    pub(crate) exclude: Vec<CellWire>,
    pub(crate) include: Vec<CellWire>,
    pub(crate) pick: Option<Text>,
    pub(crate) at_most: Option<Spanned<u64>>,
}

/// An axis and its values.
#[derive(Clone, Debug)]
pub(crate) struct AxisWire {
    pub(crate) axis: Axis,
    pub(crate) span: Range<usize>,
    pub(crate) values: Vec<Text>,
}

/// An entry of `exclude` or `include`: some axes, and one or more values of each.
#[derive(Clone, Debug)]
pub(crate) struct CellWire {
    pub(crate) span: Range<usize>,
    pub(crate) axes: Vec<AxisWire>,
}

impl MatrixWire {
    pub(super) fn read(mut table: Reader<'_, '_>) -> Self {
        let span = table.span();
        let axes = axes(&mut table);
        let mut cells = |key| {
            let list = table.tables(key, &format!("matrix.{key}"));
            list.map_or_else(Vec::new, |list| {
                list.into_inner().into_iter().map(CellWire::read).collect()
            })
        };
        let (exclude, include) = (cells("exclude"), cells("include"));
        let wire = Self {
            span,
            axes,
            exclude,
            include,
            pick: table.text("pick", "pairwise"),
            at_most: table.number("at_most", "40"),
        };
        table.finish();
        wire
    }
}

impl CellWire {
    fn read(mut table: Reader<'_, '_>) -> Self {
        let wire = Self {
            span: table.span(),
            axes: axes(&mut table),
        };
        table.finish();
        wire
    }
}

/// The axes that the table names, in its order.
fn axes(table: &mut Reader<'_, '_>) -> Vec<AxisWire> {
    let mut axes: Vec<AxisWire> = Axis::ALL
        .into_iter()
        .filter_map(|axis| {
            let wanted = format!("a value or a list of values like {}", axis.example());
            let values = table.words(axis.as_str(), &wanted)?;
            Some(AxisWire {
                axis,
                span: values.span(),
                values: values.into_inner(),
            })
        })
        .collect();
    axes.sort_by_key(|axis| axis.span.start);
    axes
}
