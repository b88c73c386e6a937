//! The order that real time gives.

use super::anomaly::EdgeKind;
use super::graph::{Because, Graph};
use super::index::Index;
use super::transaction::Freshness;

/// Links every transaction to those that began after it was over.
///
/// Completions form a chain of instants; a transaction leads to its own instant, and the last
/// instant before an invocation leads to that transaction. So there are at most three links a
/// transaction, where pairs would be quadratic.
///
/// A transaction of unknown outcome has no instant: it may take effect at any later time. A
/// snapshot may be older than its invocation, so no instant leads to it; but what began after it
/// was over cannot be in it.
pub(super) fn link(index: &Index<'_>, graph: &mut Graph) {
    let transactions = index.history.transactions();
    let counted = || (0..transactions.len()).filter(|at| index.counts(*at));
    let mut completions: Vec<(u64, usize)> = counted()
        .filter_map(|at| Some((transactions[at].completed?, at)))
        .collect();
    completions.sort_unstable();

    let mut instants: Vec<usize> = Vec::with_capacity(completions.len());
    for (_, transaction) in &completions {
        let instant = graph.add_instant();
        graph.link(*transaction, instant, EdgeKind::RealTime, Because::Time);
        if let Some(earlier) = instants.last() {
            graph.link(*earlier, instant, EdgeKind::RealTime, Because::Time);
        }
        instants.push(instant);
    }
    for at in counted().filter(|at| transactions[*at].freshness == Freshness::Fresh) {
        let invoked = transactions[at].invoked;
        let earlier = completions.partition_point(|(completed, _)| *completed < invoked);
        if earlier > 0 {
            graph.link(instants[earlier - 1], at, EdgeKind::RealTime, Because::Time);
        }
    }
}
