//! A few cells in place of all of them.

use std::cmp::Reverse;

/// Says whether a cell is not wanted: one value's index for each axis.
pub type Forbidden<'a> = dyn Fn(&[usize]) -> bool + 'a;

/// The cells of the product of axes with so many values each, in its order (the last axis changes fastest), without
/// those that are forbidden.
pub(crate) fn product(sizes: &[usize], forbidden: &Forbidden<'_>) -> Vec<Vec<usize>> {
    let mut cells = vec![Vec::new()];
    for size in sizes {
        cells = cells
            .iter()
            .flat_map(|cell: &Vec<usize>| {
                (0..*size).map(|value| {
                    let mut longer = cell.clone();
                    longer.push(value);
                    longer
                })
            })
            .collect();
    }
    cells.retain(|cell| !forbidden(cell));
    cells
}

/// Two axes and a value of each; the same axis and value twice stands for a value alone.
type Pair = (usize, usize, usize, usize);

fn pairs(cell: &[usize]) -> impl Iterator<Item = Pair> {
    let axes = 0..cell.len();
    axes.flat_map(move |one| (one..cell.len()).map(move |two| (one, cell[one], two, cell[two])))
}

/// Cells in which every pair of values of any two axes occurs that occurs in a cell which is not forbidden. `given`
/// are cells that are there anyway; they are not in the answer.
///
/// The cell with the most new pairs is taken each time; of several, the one whose values were taken least, so that no
/// value has most of the cells; of these the first in the order of the product. The same axes give the same cells, and
/// about as few as are needed. The answer is in the order of the product.
#[must_use]
pub fn pairwise(
    sizes: &[usize],
    given: &[Vec<usize>],
    forbidden: &Forbidden<'_>,
) -> Vec<Vec<usize>> {
    let all = product(sizes, forbidden);
    let mut left: std::collections::HashSet<Pair> =
        all.iter().flat_map(|cell| pairs(cell)).collect();
    for pair in given.iter().flat_map(|cell| pairs(cell)) {
        left.remove(&pair);
    }
    let mut picked = vec![false; all.len()];
    let mut taken: Vec<Vec<usize>> = sizes.iter().map(|size| vec![0; *size]).collect();
    while !left.is_empty() {
        let news = |cell: &[usize]| pairs(cell).filter(|pair| left.contains(pair)).count();
        let uses = |cell: &[usize]| -> usize {
            let values = taken.iter().zip(cell);
            values.map(|(uses, value)| uses[*value]).sum()
        };
        let ranks = all.iter().enumerate().map(|(index, cell)| {
            let rank = (news(cell), Reverse(uses(cell)), Reverse(index));
            (rank, index)
        });
        // Each pair that is left occurs in a cell, so that there is always one with news.
        let Some(((1.., ..), index)) = ranks.max() else {
            break;
        };
        for (uses, value) in taken.iter_mut().zip(&all[index]) {
            uses[*value] += 1;
        }
        picked[index] = true;
        for pair in pairs(&all[index]) {
            left.remove(&pair);
        }
    }
    let picks = all.into_iter().zip(picked);
    picks
        .filter_map(|(cell, picked)| picked.then_some(cell))
        .collect()
}
