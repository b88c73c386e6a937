//! The filter of a run: says of most absent keys that they are absent, in one cache line.
//!
//! A blocked Bloom filter (Putze, Sanders, Singler, "Cache-, Hash- and Space-Efficient Bloom
//! Filters", 2007): the upper half of a key's hash chooses one block of 512 bits, seven groups of
//! nine bits, from the hash times an odd constant, choose the bits within. About 12 bits a key, and
//! fewer than one of a hundred absent keys passes.

use crate::base::huge::wish_huge;

/// Bits of filter for each key.
const KEY_BITS: u64 = 12;
/// Bytes of a block: one line of a processor's cache.
pub(super) const BLOCK_LEN: usize = 64;
/// Bits that a key sets in its block.
const PROBES: u32 = 7;
/// Makes the bits within the block independent of the block's choice (the fraction of the golden
/// ratio, as Fibonacci hashing takes it).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A block; aligned so that a look costs one cache line and never two.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Block([u64; 8]);

/// The filter of one run, in memory.
pub(super) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// The filter that knows exactly `hashes`.
    pub(super) fn build(hashes: &[u64]) -> Filter {
        let bits = (hashes.len() as u64).saturating_mul(KEY_BITS);
        let len = bits
            .div_ceil(BLOCK_LEN as u64 * 8)
            .clamp(1, u64::from(u32::MAX));
        let mut blocks = vec![Block::default(); usize::try_from(len).unwrap_or(usize::MAX)];
        for &hash in hashes {
            let at = block_of(hash, blocks.len());
            for bit in bits_of(hash) {
                blocks[at].0[bit / 64] |= 1 << (bit % 64);
            }
        }
        Filter { blocks }
    }

    /// The filter that was stored as `bytes`: whole blocks, at least one.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Filter> {
        let (stored, rest) = bytes.as_chunks::<BLOCK_LEN>();
        let countable = u32::try_from(stored.len()).is_ok();
        (countable && !stored.is_empty() && rest.is_empty()).then(|| {
            let mut blocks = Vec::with_capacity(stored.len());
            wish_huge(blocks.spare_capacity_mut());
            blocks.extend(stored.iter().map(Block::from_bytes));
            Filter { blocks }
        })
    }

    /// The stored form: the blocks as numbers of 64 bits, little-endian.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let words = self.blocks.iter().flat_map(|block| block.0);
        words.flat_map(u64::to_le_bytes).collect()
    }

    /// False only for the hash of a key that the run does not have.
    #[inline]
    pub(super) fn contains(&self, hash: u64) -> bool {
        let Block(words) = &self.blocks[block_of(hash, self.blocks.len())];
        // All bits are looked at before the one answer: no branch to predict between them.
        bits_of(hash).fold(1, |all, bit| all & (words[bit / 64] >> (bit % 64))) != 0
    }
}

impl Block {
    fn from_bytes(bytes: &[u8; BLOCK_LEN]) -> Block {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Block(words)
    }
}

#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "below `blocks`, which is a usize"
)]
fn block_of(hash: u64, blocks: usize) -> usize {
    // The upper half of the hash as a fraction of 2^32, of `blocks`.
    (((hash >> 32) * blocks as u64) >> 32) as usize
}

#[inline]
#[allow(clippy::cast_possible_truncation, reason = "nine bits are kept")]
fn bits_of(hash: u64) -> impl Iterator<Item = usize> {
    let spread = hash.wrapping_mul(SPREAD);
    (0..PROBES).map(move |probe| (spread >> (1 + 9 * probe)) as usize & 511)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::key_hash;

    fn hashes(from: u64, n: u64) -> Vec<u64> {
        (from..from + n)
            .map(|i| key_hash(&i.to_be_bytes()))
            .collect()
    }

    #[test]
    fn knows_every_key_and_few_others() {
        let known = hashes(0, 100_000);
        let filter = Filter::build(&known);
        assert!(known.iter().all(|&hash| filter.contains(hash)));
        assert_eq!(filter.blocks.len(), 2344, "12 bits a key, rounded up");
        let wrong = hashes(1 << 40, 100_000)
            .iter()
            .filter(|&&h| filter.contains(h))
            .count();
        assert!(wrong < 1_000, "{wrong} of 100,000 absent keys pass");
    }

    #[test]
    fn is_stored_and_read_again() {
        let filter = Filter::build(&hashes(0, 1000));
        let bytes = filter.to_bytes();
        assert_eq!(bytes.len(), 24 * BLOCK_LEN);
        let again = Filter::from_bytes(&bytes).unwrap();
        assert!(hashes(0, 1000).iter().all(|&hash| again.contains(hash)));
        assert!(Filter::from_bytes(&bytes[1..]).is_none());
        assert!(Filter::from_bytes(&[]).is_none());
    }

    #[test]
    fn the_last_block_is_reached_and_not_passed() {
        assert_eq!(block_of(u64::MAX, 1), 0);
        assert_eq!(block_of(u64::MAX, 7), 6);
        assert_eq!(block_of(0, 7), 0);
    }
}
