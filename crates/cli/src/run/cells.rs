//! `--cell`: some cells of a matrix.

use bootgate_scenario::{Cell, Plan};

/// The plans whose cell one of the filters names; all of them where there is no filter.
///
/// # Errors
/// A filter names no cell: what is wrong, and what to do.
pub(super) fn chosen(plans: Vec<Plan>, filters: &[String]) -> Result<Vec<Plan>, (String, String)> {
    if filters.is_empty() {
        return Ok(plans);
    }
    for filter in filters {
        if !plans.iter().any(|plan| names(filter, plan)) {
            return Err((
                format!("no cell is named by --cell `{filter}`"),
                hint(&plans),
            ));
        }
    }
    let named = |plan: &Plan| filters.iter().any(|filter| names(filter, plan));
    Ok(plans.into_iter().filter(named).collect())
}

fn hint(plans: &[Plan]) -> String {
    const SHOWN: usize = 5;
    let cells: Vec<String> = plans
        .iter()
        .filter_map(|plan| plan.cell.as_ref().map(Cell::to_string))
        .collect();
    match cells.len() {
        0 => "the scenario has no matrix".to_owned(),
        count if count > SHOWN => {
            format!(
                "there are {} and {} more",
                cells[..SHOWN].join(", "),
                count - SHOWN
            )
        }
        _ => format!("there are {}", cells.join(", ")),
    }
}

fn names(filter: &str, plan: &Plan) -> bool {
    let Some(cell) = &plan.cell else { return false };
    if !filter.contains('=') {
        return fits(filter, &cell.to_string());
    }
    filter.split(',').all(|part| {
        let (axis, pattern) = part.split_once('=').unwrap_or((part, ""));
        let mut values = cell.values.iter();
        values.any(|(name, value)| name == axis.trim() && fits(pattern.trim(), value))
    })
}

/// Whether the text fits the pattern, in which `*` stands for any characters.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(before) else {
        return false;
    };
    let mut starts = (0..=rest.len()).filter(|at| rest.is_char_boundary(*at));
    starts.any(|at| fits(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_anything() {
        assert!(fits("uefi+e1000+nvme", "uefi+e1000+nvme"));
        assert!(fits("uefi*", "uefi-http+e1000"));
        assert!(fits("*+e1000+*", "bios+e1000+virtio"));
        assert!(fits("*", ""));
        assert!(!fits("uefi", "uefi-http"));
        assert!(!fits("*e1000", "bios+e1000e"));
    }
}
