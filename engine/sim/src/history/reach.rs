//! Who comes before whom, over any number of links.

use super::graph::{Components, Graph};

/// Who comes before whom, over any number of links: for each node the set of transactions that
/// come after it, and the set of those before it.
pub(super) struct Reach {
    words: usize,
    after: Vec<u64>,
    before: Vec<u64>,
    rank: Vec<usize>,
}

impl Reach {
    /// Of a graph without cycles, whose components these are.
    pub(super) fn new(graph: &Graph, components: &Components, transactions: usize) -> Reach {
        assert!(!components.cyclic(), "in a cycle all comes before all");
        let nodes = components.of.len();
        let words = words(transactions);
        let mut reach = Reach {
            words,
            after: vec![0; nodes * words],
            before: vec![0; nodes * words],
            rank: vec![0; nodes],
        };
        for node in &components.successors_first {
            for (_, link) in graph.out(*node) {
                spread(&mut reach.after, words, link.to, *node);
                if !graph.is_instant(link.to) {
                    put(&mut reach.after[node * words..], link.to);
                }
            }
        }
        for (at, node) in components.successors_first.iter().rev().enumerate() {
            reach.rank[*node] = at;
            for (_, link) in graph.out(*node) {
                spread(&mut reach.before, words, *node, link.to);
                if !graph.is_instant(*node) {
                    put(&mut reach.before[link.to * words..], *node);
                }
            }
        }
        reach
    }

    /// The set of transactions that come after the node.
    pub(super) fn after(&self, node: usize) -> &[u64] {
        &self.after[node * self.words..][..self.words]
    }

    /// The set of transactions that come before the node.
    pub(super) fn before(&self, node: usize) -> &[u64] {
        &self.before[node * self.words..][..self.words]
    }

    /// Whether `from` comes before `to`.
    pub(super) fn leads(&self, from: usize, to: usize) -> bool {
        self.after(from)[to / 64] >> (to % 64) & 1 == 1
    }

    /// A place for each node, such that links lead from lower to higher ones.
    pub(super) fn rank(&self, node: usize) -> usize {
        self.rank[node]
    }
}

/// Adds the row of `from` to that of `to`.
fn spread(rows: &mut [u64], words: usize, from: usize, to: usize) {
    for word in 0..words {
        rows[to * words + word] |= rows[from * words + word];
    }
}

/// How many words hold a set of transactions.
pub(super) fn words(transactions: usize) -> usize {
    transactions.div_ceil(64)
}

/// Puts a transaction into a set.
pub(super) fn put(set: &mut [u64], transaction: usize) {
    set[transaction / 64] |= 1 << (transaction % 64);
}

/// The members of one word of a set.
pub(super) fn members(word: usize, mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
        bits &= bits - 1;
        Some(word * 64 + bit)
    })
}
