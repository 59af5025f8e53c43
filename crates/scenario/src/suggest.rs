//! "Did you mean": the known word nearest to a misspelt one.

/// Longest word that is compared; a longer one is no slip of the hand.
const MAX_LEN: usize = 48;

/// The known word that `word` is most likely a misspelling of.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', ' ', '.'], "-");
    let wanted = plain(word);
    if wanted.len() > MAX_LEN {
        return None;
    }
    let (distance, best) = known
        .iter()
        .map(|candidate| (distance(&wanted, &plain(candidate)), *candidate))
        .min_by_key(|(distance, _)| *distance)?;
    let allowed = (wanted.len().max(best.len()) / 3).max(1);
    (distance <= allowed).then_some(best)
}

/// A hint for a word that is none of the known ones: the nearest one, or all of them.
#[must_use]
pub fn hint(word: &str, known: &[&str]) -> String {
    if let Some(best) = nearest(word, known) {
        return format!("did you mean `{best}`?");
    }
    let list: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    format!("known are {}", list.join(", "))
}

/// Number of insertions, deletions, replacements and swaps of neighbours between two words (the restricted
/// Damerau-Levenshtein distance).
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i; right.len() + 1];
        for j in 1..=right.len() {
            let replaced = above[j - 1] + usize::from(left[i - 1] != right[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            let swapped =
                i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1];
            if swapped {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_hand_finds_its_word() {
        let known = ["memory", "cpus", "firmware", "sector_size"];
        assert_eq!(nearest("memroy", &known), Some("memory"));
        assert_eq!(nearest("sector-size", &known), Some("sector_size"));
        assert_eq!(nearest("Firmware", &known), Some("firmware"));
        assert_eq!(nearest("cpu", &known), Some("cpus"));
        assert_eq!(nearest("banana", &known), None);
        assert_eq!(nearest(&"m".repeat(500), &known), None);
    }

    #[test]
    fn distances_count_single_slips() {
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("abc", "ab"), 1);
        assert_eq!(distance("", "abc"), 3);
    }
}
