//! The shards of a job that a process has not looked at so far, in the order in which it will.
//!
//! A job may have millions of shards, and each process that works on it has an order of them: so it is kept as one bit
//! a shard, and an order of blocks of consecutive ones, which lie near each other.

use eciton_engine::entropy::Entropy;

/// Shards in a block, at most: one process does them one after the other.
const BLOCK_MAX: u64 = 64;
/// Into how many blocks a job is cut, at least, if it has so many shards.
const BLOCKS_MIN: u64 = 256;
/// Bits in a word.
const WORD: u64 = 64;

/// Shards that have not ended, as far as is known.
#[derive(Debug)]
pub(crate) struct OpenShards {
    /// Of shard `n`, bit `n % WORD` of word `n / WORD`.
    words: Vec<u64>,
    count: u64,
}

impl OpenShards {
    /// So many shards, from 0 on.
    pub(crate) fn all(total: u64) -> OpenShards {
        let word = |first: u64| match total - first {
            rest if rest < WORD => (1 << rest) - 1,
            _ => u64::MAX,
        };
        let firsts = (0..total.div_ceil(WORD)).map(|n| n * WORD);
        let words: Vec<u64> = firsts.map(word).collect();
        let bits: u64 = words.iter().map(|word| u64::from(word.count_ones())).sum();
        assert_eq!(bits, total, "a bit a shard");
        OpenShards {
            words,
            count: total,
        }
    }

    /// A shard has ended.
    pub(crate) fn remove(&mut self, shard: u64) {
        let word = usize::try_from(shard / WORD).unwrap_or(usize::MAX);
        let bit = 1 << (shard % WORD);
        if let Some(word) = self.words.get_mut(word).filter(|word| **word & bit != 0) {
            *word &= !bit;
            assert!(self.count > 0, "shard {shard} was open, and none is");
            self.count -= 1;
        }
    }

    /// The first of them in `from..to`.
    fn first_in(&self, from: u64, to: u64) -> Option<u64> {
        let mut at = from;
        while at < to {
            let word = self.words.get(usize::try_from(at / WORD).ok()?)?;
            let rest = word >> (at % WORD);
            if rest != 0 {
                let found = at + u64::from(rest.trailing_zeros());
                assert!(found >= from, "shard {found} comes before {from}");
                return (found < to).then_some(found);
            }
            at = (at / WORD + 1) * WORD;
        }
        None
    }

    fn total(&self) -> u64 {
        self.words.len() as u64 * WORD
    }
}

/// Shards, each of which is handed out once.
#[derive(Debug)]
pub(crate) struct UntriedShards {
    /// These come first, the next one last.
    back: Vec<u64>,
    open: OpenShards,
    /// Shards in a block.
    block: u64,
    /// Blocks with open shards that were not begun, the next one last.
    blocks: Vec<u32>,
    /// What is left of the block that was begun.
    begun: (u64, u64),
}

impl UntriedShards {
    /// In their order.
    pub(crate) fn in_order(open: OpenShards) -> UntriedShards {
        let block = (open.count / BLOCKS_MIN).clamp(1, BLOCK_MAX);
        let blocks = (0..open.total().div_ceil(block)).rev();
        let has_open = |n: &u64| open.first_in(n * block, (n + 1) * block).is_some();
        let blocks = blocks.filter(has_open);
        UntriedShards {
            blocks: blocks.filter_map(|n| u32::try_from(n).ok()).collect(),
            back: Vec::new(),
            block,
            open,
            begun: (0, 0),
        }
    }

    /// Block by block, the blocks in a drawn order, so that processes do not ask for the same ones.
    pub(crate) fn in_own_order(open: OpenShards, entropy: &dyn Entropy) -> UntriedShards {
        let mut untried = UntriedShards::in_order(open);
        let count = untried.blocks.len();
        for last in (1..untried.blocks.len()).rev() {
            let chosen = entropy.next_u128() % (last as u128 + 1);
            untried
                .blocks
                .swap(last, usize::try_from(chosen).unwrap_or(last));
        }
        assert_eq!(
            untried.blocks.len(),
            count,
            "the same blocks in another order"
        );
        untried
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        let open = usize::try_from(self.open.count).unwrap_or(usize::MAX);
        self.back.len().saturating_add(open)
    }

    /// The next one.
    pub(crate) fn pop(&mut self) -> Option<u64> {
        if let Some(shard) = self.back.pop() {
            return Some(shard);
        }
        loop {
            let (from, to) = self.begun;
            if let Some(shard) = self.open.first_in(from, to) {
                let before = self.open.count;
                self.open.remove(shard);
                assert_eq!(self.open.count + 1, before, "shard {shard} was open");
                self.begun.0 = shard + 1;
                assert!(self.begun.0 <= to, "shard {shard} of a block up to {to}");
                return Some(shard);
            }
            let first = u64::from(self.blocks.pop()?) * self.block;
            self.begun = (first, first + self.block);
        }
    }

    /// These come next, in this order.
    pub(crate) fn put_back(&mut self, shards: &[u64]) {
        let before = self.back.len();
        self.back.extend(shards.iter().rev());
        assert_eq!(
            self.back.len(),
            before + shards.len(),
            "{shards:?} are put back"
        );
    }
}

#[cfg(test)]
mod tests {
    use eciton_engine::entropy::SeededEntropy;

    use super::*;

    fn drain(mut untried: UntriedShards) -> Vec<u64> {
        let mut shards = Vec::new();
        loop {
            let len = untried.len();
            let Some(shard) = untried.pop() else {
                assert_eq!(len, 0);
                return shards;
            };
            assert_eq!(untried.len(), len - 1);
            shards.push(shard);
        }
    }

    /// All but those of which it says so.
    fn open(total: u64, has_ended: impl Fn(u64) -> bool) -> OpenShards {
        let mut open = OpenShards::all(total);
        for shard in (0..total).filter(|shard| has_ended(*shard)) {
            open.remove(shard);
            open.remove(shard);
        }
        open.remove(total);
        open.remove(u64::MAX);
        open
    }

    #[test]
    fn what_has_not_ended_comes_once_and_in_order() {
        for total in [0, 1, 2, 63, 64, 65, 255, 256, 1000, 100_003] {
            for every in [1, 2, 7, 1000] {
                let has_ended = |shard| shard % every == every / 2;
                let left: Vec<u64> = (0..total).filter(|shard| !has_ended(*shard)).collect();
                assert_eq!(drain(UntriedShards::in_order(open(total, has_ended))), left);
                let mut own = drain(UntriedShards::in_own_order(
                    open(total, has_ended),
                    &SeededEntropy::new(7),
                ));
                assert!(left.len() < 7 || own != left, "an order of its own");
                own.sort_unstable();
                assert_eq!(own, left, "{total} shards, every {every} has ended");
            }
        }
    }

    #[test]
    fn an_order_of_its_own_keeps_neighbours_together() {
        let shards = drain(UntriedShards::in_own_order(
            OpenShards::all(100_000),
            &SeededEntropy::new(7),
        ));
        let neighbours = shards.windows(2).filter(|two| two[0] + 1 == two[1]).count();
        assert!(neighbours > 98_000, "{neighbours}");
    }

    #[test]
    fn what_is_put_back_comes_next() {
        let mut untried = UntriedShards::in_order(OpenShards::all(4));
        assert_eq!(
            (untried.pop(), untried.pop(), untried.pop()),
            (Some(0), Some(1), Some(2))
        );
        untried.put_back(&[0, 2]);
        assert_eq!(untried.len(), 3);
        assert_eq!(drain(untried), [0, 2, 3]);
    }
}
