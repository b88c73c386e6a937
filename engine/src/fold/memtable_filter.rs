//! Which keys a table cannot have: most lookups pass the tail of the log by, and a search of its list
//! costs a miss of the processor's cache at each level.

use std::sync::OnceLock;

use crate::base::sync::{AtomicU64, Ordering};

/// Words of a sieve, 64 KiB: at the usual length of a tail, some 30,000 keys, one lookup in some hundreds
/// passes wrongly.
#[cfg(not(feature = "shuttle"))]
const WORDS: usize = 8 * 1024;
/// A schedule creates each word anew.
#[cfg(feature = "shuttle")]
const WORDS: usize = 4;
/// Bits that a key sets, all in one word.
const BITS: u32 = 4;

/// A Bloom filter of one word a key, which grows no more: the fuller, the more passes.
///
/// Register-blocked, as in Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom Filters" (2007).
#[derive(Default)]
pub(super) struct MemtableFilter {
    /// Made for the first key.
    words: OnceLock<Box<[AtomicU64]>>,
}

impl MemtableFilter {
    /// Adds the key with this hash. Who has seen a slot published sees the keys that were added before.
    pub(super) fn insert(&self, hash: u64) {
        let words = self
            .words
            .get_or_init(|| (0..WORDS).map(|_| AtomicU64::new(0)).collect());
        let (i, mask) = place(hash);
        words[i].fetch_or(mask, Ordering::Relaxed);
        debug_assert!(self.may_contain(hash), "key {hash:x} was just added");
    }

    /// False is certain.
    #[inline]
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        let (i, mask) = place(hash);
        let words = self.words.get();
        words.is_some_and(|words| words[i].load(Ordering::Relaxed) & mask == mask)
    }
}

#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the remainder is less than the number of words"
)]
fn place(hash: u64) -> (usize, u64) {
    let i = ((hash >> 32) % WORDS as u64) as usize;
    let bits = (0..BITS).map(|bit| 1 << ((hash >> (6 * bit)) & 63));
    (i, bits.fold(0, |mask, bit: u64| mask | bit))
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::base::checksum::checksum64;

    #[test]
    fn what_was_added_passes_and_hardly_anything_else() {
        let sieve = MemtableFilter::default();
        let hash = |i: u32| checksum64(&i.to_be_bytes());
        assert!(!sieve.may_contain(hash(0)));
        for i in 0..30_000 {
            sieve.insert(hash(i));
        }
        assert!((0..30_000).all(|i| sieve.may_contain(hash(i))));
        let wrongly = (30_000..130_000)
            .filter(|i| sieve.may_contain(hash(*i)))
            .count();
        assert!(wrongly < 1_000, "{wrongly} of 100,000");
    }
}
