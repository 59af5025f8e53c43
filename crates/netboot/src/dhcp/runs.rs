//! A set of numbers that finds the next one not in it at once.

use std::collections::BTreeMap;

/// Numbers as runs without gaps, first to last of each. Memory follows the number of runs, each step the logarithm
/// of it: a nearly full pool of a whole /8 is searched as fast as an empty one.
#[derive(Clone, Debug, Default)]
pub(super) struct Runs(BTreeMap<u32, u32>);

impl Runs {
    fn around(&self, number: u32) -> Option<(u32, u32)> {
        let (&first, &last) = self.0.range(..=number).next_back()?;
        (number <= last).then_some((first, last))
    }

    pub(super) fn insert(&mut self, number: u32) {
        if self.around(number).is_some() {
            return;
        }
        let before = number.checked_sub(1).and_then(|n| self.around(n));
        let first = before.map_or(number, |(first, _)| first);
        let after = number.checked_add(1).and_then(|n| self.0.remove(&n));
        self.0.insert(first, after.unwrap_or(number));
    }

    pub(super) fn remove(&mut self, number: u32) {
        let Some((first, last)) = self.around(number) else {
            return;
        };
        if first == number {
            self.0.remove(&first);
        } else {
            self.0.insert(first, number - 1);
        }
        if number < last {
            self.0.insert(number + 1, last);
        }
    }

    /// The first number from `from` on that is not in the set; `None` past the last there is.
    pub(super) fn next_free(&self, from: u32) -> Option<u32> {
        match self.around(from) {
            Some((_, last)) => last.checked_add(1),
            None => Some(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(steps in proptest::collection::vec((any::<bool>(), 0..40u32), 0..200)) {
            let mut runs = Runs::default();
            let mut plain = BTreeSet::new();
            for (add, number) in steps {
                if add {
                    runs.insert(number);
                    plain.insert(number);
                } else {
                    runs.remove(number);
                    plain.remove(&number);
                }
                for from in 0..41 {
                    let free = (from..).find(|n| !plain.contains(n));
                    prop_assert_eq!(runs.next_free(from), free);
                }
            }
            prop_assert!(runs.0.len() <= plain.len());
        }
    }

    #[test]
    fn ends_of_the_numbers() {
        let mut runs = Runs::default();
        runs.insert(u32::MAX);
        runs.insert(0);
        runs.insert(u32::MAX - 1);
        assert_eq!(runs.next_free(u32::MAX - 1), None);
        assert_eq!(runs.next_free(0), Some(1));
        runs.remove(u32::MAX);
        assert_eq!(runs.next_free(u32::MAX - 1), Some(u32::MAX));
    }
}
