//! The keys that a transaction has read.

use bytes::Bytes;

/// Keys from which on it is looked at whether some were read more than once.
const DISTINCT_MIN: usize = 1024;

/// Keys as they were read. Nobody asks which there are before the end, so they are not kept in order; but
/// whoever reads a few keys again and again holds few.
#[derive(Default)]
pub(super) struct ReadKeys {
    keys: Vec<Bytes>,
    /// So many there were when each was there once.
    distinct: usize,
}

impl ReadKeys {
    /// Takes note of a key.
    #[inline]
    pub(super) fn insert(&mut self, key: Bytes) {
        self.keys.push(key);
        if self.keys.len() >= DISTINCT_MIN.max(2 * self.distinct) {
            self.make_distinct();
        }
    }

    fn make_distinct(&mut self) {
        self.keys.sort_unstable();
        self.keys.dedup();
        self.distinct = self.keys.len();
    }

    /// The keys, some of them more than once.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.iter()
    }

    /// The keys in ascending order, each once.
    pub(super) fn into_sorted(mut self) -> Vec<Bytes> {
        self.make_distinct();
        self.keys
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::base::entropy::SeededEntropy;

    #[test]
    fn keys_are_a_set_in_the_end_and_few_stay_few() {
        for (seed, few) in [(1, 10), (2, 1_000), (3, u64::MAX)] {
            let random = SeededEntropy::new(seed);
            let (mut reads, mut model) = (ReadKeys::default(), BTreeSet::new());
            for _ in 0..10_000 {
                let key = Bytes::from((random.next_u64() % few).to_le_bytes().to_vec());
                reads.insert(key.clone());
                model.insert(key);
                let len_max = DISTINCT_MIN.max(2 * model.len());
                assert!(reads.keys.len() <= len_max, "seed {seed}");
            }
            assert_eq!(reads.iter().cloned().collect::<BTreeSet<_>>(), model);
            assert_eq!(reads.into_sorted(), Vec::from_iter(model));
        }
    }
}
