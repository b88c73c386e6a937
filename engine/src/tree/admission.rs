//! Which pages a full cache takes in: those that lookups missed twice within a while.
//!
//! Reads that are spread over far more pages than the cache holds gain nothing from a page that is kept: it is evicted
//! before the next lookup needs it. Keeping it costs memory that is in no cache of the processor, an entry, and the
//! eviction of another page, which was worth as much. This is the doorkeeper of `TinyLFU` (Einziger, Friedman, Manes:
//! "`TinyLFU`: A Highly Efficient Cache Admission Policy", 2017), with marks that are overwritten instead of
//! filters that are reset.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Misses that are remembered for each page that the cache has room for, about: a page that is missed again within
/// so many rounds of the cache comes in.
const ROUNDS: usize = 2;

/// Remembers which pages were missed lately.
#[derive(Debug)]
pub(super) struct Admission {
    /// The mark of the page that was missed last of all that share this place. Created by the first miss.
    marks: OnceLock<Box<[AtomicU32]>>,
    len: u32,
}

impl Admission {
    /// For a cache with room for so many pages: eight bytes for each.
    pub(super) fn new(pages: usize) -> Admission {
        let len = pages.saturating_mul(ROUNDS);
        Admission {
            marks: OnceLock::new(),
            len: u32::try_from(len).unwrap_or(u32::MAX).max(1),
        }
    }

    /// Notes a miss of the page with this hash. Returns whether it was missed before within a while.
    #[inline]
    pub(super) fn is_again(&self, hash: u64) -> bool {
        let marks = self
            .marks
            .get_or_init(|| (0..self.len).map(|_| AtomicU32::new(0)).collect());
        let [a, b, c, d, upper @ ..] = hash.to_le_bytes();
        // Zero is the mark of no page.
        let mark = u32::from_le_bytes([a, b, c, d]) | 1;
        // The upper half of the hash, as a fraction, of the number of marks.
        let place = (u64::from(u32::from_le_bytes(upper)) * u64::from(self.len)) >> 32;
        let Some(place) = usize::try_from(place)
            .ok()
            .and_then(|place| marks.get(place))
        else {
            return false;
        };
        // Two threads that note at once lose a note, which costs one more miss.
        let is_again = place.load(Ordering::Relaxed) == mark;
        if !is_again {
            place.store(mark, Ordering::Relaxed);
        }
        is_again
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::checksum::checksum64;

    fn hash(page: u64) -> u64 {
        checksum64(&page.to_le_bytes())
    }

    #[test]
    fn the_second_miss_comes_in_and_the_first_does_not() {
        let admission = Admission::new(100);
        for page in 0..20 {
            assert!(!admission.is_again(hash(page)), "page {page}");
        }
        let again = (0..20)
            .filter(|page| admission.is_again(hash(*page)))
            .count();
        assert!(again >= 17, "{again} of 20");
    }

    #[test]
    fn a_miss_is_forgotten_after_a_while() {
        let admission = Admission::new(100);
        let again = |pages: std::ops::Range<u64>| {
            pages.filter(|page| admission.is_again(hash(*page))).count()
        };
        assert_eq!(again(0..50), 0);
        let wrongly = again(1000..4000);
        assert!(wrongly < 5, "{wrongly} pages were taken for others");
        assert_eq!(again(0..50), 0);
    }

    #[test]
    fn no_cache_is_too_small_or_too_large() {
        assert!(!Admission::new(0).is_again(7));
        assert_eq!(Admission::new(8192).len, 16_384);
        assert_eq!(Admission::new(usize::MAX).len, u32::MAX);
    }
}
