//! What was written lately: the newest write of every key, and who wrote, within a bounded past.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::limits::{WINDOW_LEN_MAX, WINDOW_SLOTS_MAX};
use crate::base::{Position, RunRef, TxId};
use crate::coord::{KeyRange, ReadSet};
use crate::fold::Table;

/// The slots after [`Window::base`] up to the newest, as far as validation needs them.
///
/// The keys are those of the tables themselves, which stay here for a while after they have been
/// folded.
pub(super) struct Window {
    /// `B` of the protocol: an intent that read an older state cannot be judged.
    base: Position,
    /// Oldest first; the last is the active one.
    tables: VecDeque<Arc<Table>>,
    /// Key ranges written by bulk records, oldest first.
    bulk: VecDeque<(Position, Bytes, Bytes)>,
    /// Who committed where.
    seen: HashMap<TxId, Position>,
    order: VecDeque<(Position, TxId)>,
}

impl Window {
    /// A window that remembers what comes after `base`.
    pub(super) fn new(base: Position, active: Arc<Table>) -> Window {
        Window {
            base,
            tables: VecDeque::from([active]),
            bulk: VecDeque::new(),
            seen: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// The oldest state that can be judged.
    pub(super) fn base(&self) -> Position {
        self.base
    }

    /// Where `txid` committed, if that is remembered.
    pub(super) fn settled(&self, txid: TxId) -> Option<Position> {
        self.seen.get(&txid).copied()
    }

    /// Remembers that `txid` committed in slot `n`.
    pub(super) fn record(&mut self, n: Position, txid: TxId) {
        let before = self.seen.insert(txid, n);
        assert!(
            before.is_none(),
            "transaction {txid} committed in {before:?} and again in {n}"
        );
        self.order.push_back((n, txid));
    }

    /// Remembers the keys that a bulk record in slot `n` may have written.
    pub(super) fn record_bulk(&mut self, n: Position, runs: &[RunRef]) {
        let ranges = runs
            .iter()
            .map(|run| (n, run.first_key.clone(), run.last_key.clone()));
        self.bulk.extend(ranges);
    }

    /// Takes note of a new active table, and forgets what is beyond the bounds.
    pub(super) fn push(&mut self, active: &Arc<Table>) {
        if self
            .tables
            .back()
            .is_some_and(|last| Arc::ptr_eq(last, active))
        {
            return;
        }
        self.tables.push_back(Arc::clone(active));
        self.trim(active.applied());
    }

    fn trim(&mut self, newest: Position) {
        let mut len: usize = self.tables.iter().map(|table| table.len()).sum();
        while self.tables.len() > 1 {
            let oldest = &self.tables[0];
            let lags = oldest.applied().0 + WINDOW_SLOTS_MAX < newest.0;
            if len <= WINDOW_LEN_MAX && !lags {
                break;
            }
            len -= oldest.len();
            self.base = oldest.applied().max(self.base);
            self.tables.pop_front();
        }
        while self.bulk.front().is_some_and(|(n, _, _)| *n <= self.base) {
            self.bulk.pop_front();
        }
        while let Some((_, txid)) = self.order.front().filter(|(n, _)| *n <= self.base) {
            self.seen.remove(txid);
            self.order.pop_front();
        }
    }

    /// A key of `reads` that was written after `read_at`.
    pub(super) fn conflict(&self, reads: &ReadSet, read_at: Position) -> Option<Bytes> {
        let key = reads
            .keys
            .iter()
            .find(|key| self.key_written_after(key, read_at))
            .cloned();
        let range = || {
            reads
                .ranges
                .iter()
                .find_map(|range| self.range_written(range, read_at))
        };
        key.or_else(range)
    }

    fn newer_tables(&self, read_at: Position) -> impl Iterator<Item = &Arc<Table>> {
        self.tables
            .iter()
            .rev()
            .take_while(move |table| table.applied() > read_at)
    }

    fn newer_bulk(&self, read_at: Position) -> impl Iterator<Item = &(Position, Bytes, Bytes)> {
        self.bulk
            .iter()
            .rev()
            .take_while(move |(n, _, _)| *n > read_at)
    }

    fn key_written_after(&self, key: &[u8], read_at: Position) -> bool {
        let written = |table: &Arc<Table>| table.last_write(key).is_some_and(|n| n > read_at);
        self.newer_tables(read_at).any(written)
            || self
                .newer_bulk(read_at)
                .any(|(_, first, last)| first <= key && key <= &last[..])
    }

    fn range_written(&self, range: &KeyRange, read_at: Position) -> Option<Bytes> {
        let to = range.end_bound();
        let key = self
            .newer_tables(read_at)
            .find_map(|table| table.written_after(&range.from, to, read_at));
        let bulk = || {
            let mut newer = self.newer_bulk(read_at);
            newer
                .find(|(_, first, last)| range.overlaps(first, last))
                .map(|(_, first, _)| first.clone())
        };
        key.or_else(bulk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Op, SegmentId};

    fn table(base: u64, writes: &[(u64, &'static str)]) -> Arc<Table> {
        let table = Table::new(Position(base));
        for (slot, key) in writes {
            table.insert(
                Position(*slot),
                &Bytes::from_static(key.as_bytes()),
                &Op::Delete,
            );
            table.publish(Position(*slot));
        }
        Arc::new(table)
    }

    fn key(text: &'static str) -> ReadSet {
        ReadSet {
            keys: vec![Bytes::from(text)],
            ranges: Vec::new(),
        }
    }

    fn range(from: &'static str, to: &'static str) -> ReadSet {
        let range = KeyRange {
            from: Bytes::from(from),
            to: Bytes::from(to),
        };
        ReadSet {
            keys: Vec::new(),
            ranges: vec![range],
        }
    }

    #[test]
    fn only_what_was_written_after_the_read_conflicts() {
        let mut window = Window::new(Position(0), table(0, &[(1, "a"), (2, "c")]));
        window.push(&table(2, &[(3, "e")]));
        assert_eq!(
            window.conflict(&key("a"), Position(0)),
            Some(Bytes::from("a"))
        );
        assert_eq!(window.conflict(&key("a"), Position(1)), None);
        assert_eq!(window.conflict(&key("b"), Position(0)), None);
        assert_eq!(
            window.conflict(&range("b", "d"), Position(1)),
            Some(Bytes::from("c"))
        );
        assert_eq!(window.conflict(&range("b", "d"), Position(2)), None);
        assert_eq!(
            window.conflict(&range("d", ""), Position(2)),
            Some(Bytes::from("e"))
        );
        assert_eq!(window.conflict(&range("d", "e"), Position(2)), None);
    }

    #[test]
    fn a_bulk_record_conflicts_over_its_whole_range() {
        let mut window = Window::new(Position(0), table(0, &[]));
        let run = RunRef {
            id: SegmentId { tag: 1, unique: 1 },
            len: 1,
            entries: 2,
            hash: 0,
            first_key: Bytes::from("f"),
            last_key: Bytes::from("m"),
        };
        window.record_bulk(Position(1), &[run]);
        assert!(window.conflict(&key("g"), Position(0)).is_some());
        assert!(window.conflict(&key("g"), Position(1)).is_none());
        assert!(window.conflict(&key("n"), Position(0)).is_none());
        assert!(window.conflict(&range("a", "f"), Position(0)).is_none());
        assert!(window.conflict(&range("m", "z"), Position(0)).is_some());
    }

    #[test]
    fn what_lags_by_more_than_the_window_is_forgotten() {
        let mut window = Window::new(Position(0), table(0, &[(1, "a")]));
        window.record(Position(1), TxId(1));
        window.push(&table(1, &[(2, "b")]));
        assert_eq!(
            (window.base(), window.settled(TxId(1))),
            (Position(0), Some(Position(1)))
        );
        let far = WINDOW_SLOTS_MAX + 5;
        window.push(&table(2, &[(far, "z")]));
        assert_eq!(
            (window.base(), window.settled(TxId(1))),
            (Position(2), None)
        );
    }
}
