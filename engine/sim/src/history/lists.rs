//! Lists: every read shows the order of all appends before it.

use std::collections::BTreeMap;

use hashbrown::HashSet;

use super::anomaly::{Anomaly, AnomalyKind, EdgeKind};
use super::direct;
use super::explain::together;
use super::graph::{Because, Graph};
use super::index::Index;
use super::reads::ListRead;
use super::transaction::{Key, ShownList, TransactionId};

/// What is known of one list.
#[derive(Default)]
struct List<'h> {
    reads: Vec<ListRead<'h>>,
    /// Appends that took effect: who, what.
    appends: Vec<(usize, u64)>,
}

/// Finds what reads of lists show to be wrong, and links transactions by what they did to lists.
pub(super) fn link(index: &Index<'_>, graph: &mut Graph, anomalies: &mut Vec<Anomaly>) {
    let mut lists: BTreeMap<u64, List<'_>> = BTreeMap::new();
    for read in &index.reads.lists {
        lists.entry(read.list).or_default().reads.push(*read);
    }
    for (writer, key, value) in index.effects() {
        if let Key::List(list) = key {
            let appends = &mut lists.entry(list).or_default().appends;
            appends.push((writer, value));
        }
    }
    for (list, known) in &lists {
        let order = Order::of(index, *list, &known.reads);
        if let Some(holder) = order.holder {
            direct::list_values(index, &holder, anomalies);
        }
        order.link_appends(graph);
        for read in &known.reads {
            direct::list_end(index, read, anomalies);
            link_write(index, graph, read);
            if order.values.starts_with(read.values) {
                order.link_missed(graph, read);
            } else {
                direct::list_values(index, read, anomalies);
                anomalies.push(incompatible(index, &order, read));
            }
        }
        order.link_unseen(graph, known);
    }
}

/// The order of a list's appends, as far as reads show it: the longest read. All others have to
/// be its beginnings.
struct Order<'h> {
    list: u64,
    holder: Option<ListRead<'h>>,
    values: &'h [u64],
    /// Who appended each value; none if nobody did with effect, or it has stood there before.
    writers: Vec<Option<usize>>,
    /// The first place from here on that has a writer.
    next: Vec<usize>,
}

impl<'h> Order<'h> {
    fn of(index: &Index<'h>, list: u64, reads: &[ListRead<'h>]) -> Order<'h> {
        // The first of the longest, so that a history is judged the same way every time.
        let longest = reads.iter().rev().max_by_key(|read| read.values.len());
        let values = longest.map_or(&[][..], |read| read.values);
        let mut seen: HashSet<u64> = HashSet::with_capacity(values.len());
        let writers: Vec<Option<usize>> = (values.iter())
            .map(|value| {
                let first = seen.insert(*value);
                let write = index.counted_write(Key::List(list), *value);
                write.filter(|_| first).map(|write| write.writer)
            })
            .collect();
        let mut next = vec![values.len(); values.len() + 1];
        for at in (0..values.len()).rev() {
            next[at] = if writers[at].is_some() {
                at
            } else {
                next[at + 1]
            };
        }
        Order {
            list,
            holder: longest.copied(),
            values,
            writers,
            next,
        }
    }

    /// From each append to the next one.
    fn link_appends(&self, graph: &mut Graph) {
        let mut last: Option<(usize, u64)> = None;
        for (value, writer) in self.values.iter().zip(&self.writers) {
            let Some(writer) = *writer else {
                continue;
            };
            if let Some((before, earlier)) = last.filter(|(before, _)| *before != writer) {
                let because = Because::Appended {
                    list: self.list,
                    earlier,
                    later: *value,
                };
                graph.link(before, writer, EdgeKind::WriteWrite, because);
            }
            last = Some((writer, *value));
        }
    }

    /// From a read to the first append that it does not show.
    fn link_missed(&self, graph: &mut Graph, read: &ListRead<'_>) {
        let at = self.next[read.external];
        if at < self.values.len()
            && let Some(writer) = self.writers[at]
        {
            self.link_missing(graph, read.reader, (writer, self.values[at]));
        }
    }

    /// No link to an own append: whoever appended next is linked from there.
    fn link_missing(&self, graph: &mut Graph, reader: usize, missed: (usize, u64)) {
        if reader != missed.0 {
            let because = Because::MissedAppend {
                list: self.list,
                missed: missed.1,
            };
            graph.link(reader, missed.0, EdgeKind::ReadWrite, because);
        }
    }

    /// Appends that took effect and that no read shows stand after all that one does show, in an
    /// order of their own that nobody knows.
    fn link_unseen(&self, graph: &mut Graph, known: &List<'h>) {
        let seen: HashSet<u64> = self.values.iter().copied().collect();
        let mut unseen: Vec<(usize, u64)> = (known.appends.iter().copied())
            .filter(|(_, value)| !seen.contains(value))
            .collect();
        // Appends stand by transaction: the first of each is enough.
        unseen.dedup_by_key(|(writer, _)| *writer);
        let last = (self.writers.iter().zip(self.values).rev())
            .find_map(|(writer, value)| Some(((*writer)?, *value)));
        let at_end: Vec<usize> = (known.reads.iter())
            .filter(|read| self.values.starts_with(read.values))
            .filter(|read| self.next[read.external] == self.values.len())
            .map(|read| read.reader)
            .collect();
        for unseen in unseen {
            if let Some((before, last)) = last.filter(|(before, _)| *before != unseen.0) {
                let because = Because::Unseen {
                    list: self.list,
                    last,
                    unseen: unseen.1,
                };
                graph.link(before, unseen.0, EdgeKind::WriteWrite, because);
            }
            for reader in &at_end {
                self.link_missing(graph, *reader, unseen);
            }
        }
    }
}

/// From the last append that a read shows to the read; the earlier ones lead there by themselves.
fn link_write(index: &Index<'_>, graph: &mut Graph, read: &ListRead<'_>) {
    let Some(value) = read.values[..read.external].last() else {
        return;
    };
    let key = Key::List(read.list);
    let write = index.counted_write(key, *value);
    // An own append may stand among those of others, if it was applied twice.
    if let Some(write) = write.filter(|write| write.writer != read.reader) {
        let because = Because::Saw { key, value: *value };
        graph.link(write.writer, read.reader, EdgeKind::WriteRead, because);
    }
}

fn incompatible(index: &Index<'_>, order: &Order<'_>, read: &ListRead<'_>) -> Anomaly {
    let holder = order.holder.map_or(read.reader, |holder| holder.reader);
    let summary = format!(
        "{} read l{} as {}, which is no beginning of {}, as {} read it",
        TransactionId(read.reader),
        read.list,
        ShownList(read.values),
        ShownList(order.values),
        TransactionId(holder),
    );
    together(
        index.history,
        AnomalyKind::IncompatibleOrder,
        &[read.reader, holder],
        summary,
    )
}
