//! What was written lately: the newest write of every key, and who wrote, within a bounded past.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::base::limits::WINDOW_TXIDS_MAX;
use crate::base::metric::Met;
use crate::base::{Bounds, ManifestId, Mutant, Position, RunRef, TxId};
use crate::coord::{KeyRange, ReadSet};
use crate::fold::Memtable;
use crate::log::{Body, LogRecord};

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TxOutcome {
    /// It stands in this slot.
    Committed(Position),
    /// This slot says that it never will.
    Cancelled(Position),
}

/// The slots after [`Window::base`] up to the newest, as far as validation needs them.
///
/// The keys are those of the tables themselves, which stay here for a while after they have been
/// folded.
pub(super) struct Window {
    /// `B` of the protocol: an intent that read an older state cannot be validated.
    base: Position,
    /// Oldest first; the last is the active one.
    tables: VecDeque<Arc<Memtable>>,
    /// Key ranges written by bulk records, oldest first.
    bulk: VecDeque<(Position, Bytes, Bytes)>,
    /// What became of whom, after [`Window::seen_base`].
    seen: HashMap<TxId, TxOutcome>,
    order: VecDeque<(Position, TxId)>,
    /// Whoever is not in `seen` stands in no slot after this one. At or before the base: outcomes are
    /// small and remembered for longer than keys.
    seen_base: Position,
    /// The largest manifest that a collect record has named.
    collected: ManifestId,
    bounds: Bounds,
}

impl Window {
    /// A window that remembers what comes after `base`.
    pub(super) fn new(base: Position, active: Arc<Memtable>, bounds: Bounds) -> Window {
        Window {
            base,
            tables: VecDeque::from([active]),
            bulk: VecDeque::new(),
            seen: HashMap::new(),
            order: VecDeque::new(),
            seen_base: base,
            collected: ManifestId(0),
            bounds,
        }
    }

    /// Forgets everything: the process goes on from a later state and has not seen what lies between.
    pub(super) fn reset(&mut self, base: Position, active: Arc<Memtable>) {
        let collected = self.collected;
        *self = Window::new(base, active, self.bounds);
        self.collected = collected;
    }

    /// Up to where whoever is not remembered certainly stands in no slot.
    pub(super) fn seen_base(&self) -> Position {
        self.seen_base
    }

    /// How far transactions may lag, among other bounds.
    pub(super) fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// The largest manifest up to which unused segments may be gone.
    pub(super) fn collected(&self) -> ManifestId {
        self.collected
    }

    /// Takes note of what a manifest says has been collected.
    pub(super) fn collect(&mut self, manifest: ManifestId) {
        self.collected = self.collected.max(manifest);
    }

    /// The oldest state that can be validated.
    pub(super) fn base(&self) -> Position {
        self.base
    }

    /// What became of `txid`, if that is remembered.
    pub(super) fn settled(&self, txid: TxId) -> Option<TxOutcome> {
        self.seen.get(&txid).copied()
    }

    /// Remembers a record of slot `n`; the keys of its writes are in the tables.
    pub(super) fn record(&mut self, n: Position, record: &LogRecord) {
        self.settle(n, record.txid, TxOutcome::Committed(n));
        match &record.body {
            Body::Bulk(runs) => self.record_bulk(n, runs),
            Body::Cancel(target) if !Mutant::CancelIgnored.on() => {
                self.settle(n, *target, TxOutcome::Cancelled(n));
            }
            Body::Collect(manifest) if Mutant::CollectLast.on() => self.collected = *manifest,
            Body::Collect(manifest) => self.collect(*manifest),
            Body::Writes(_) | Body::Generation { .. } | Body::Seal { .. } | Body::Cancel(_) => {}
        }
    }

    /// A transaction to which `records` would give a second outcome: whoever wrote them kept no rule.
    pub(super) fn contradiction(&self, records: &[LogRecord]) -> Option<TxId> {
        let mut new = HashSet::new();
        records.iter().find_map(|record| {
            let target = match &record.body {
                Body::Cancel(target) if !Mutant::CancelIgnored.on() => Some(*target),
                _ => None,
            };
            let mut settled = std::iter::once(record.txid).chain(target);
            settled.find(|txid| self.seen.contains_key(txid) || !new.insert(*txid))
        })
    }

    fn settle(&mut self, n: Position, txid: TxId, outcome: TxOutcome) {
        let before = self.seen.insert(txid, outcome);
        assert!(
            before.is_none(),
            "transaction {txid} has two outcomes: {before:?} and {outcome:?}"
        );
        self.order.push_back((n, txid));
    }

    /// Says that slot `n` is wholly recorded, and forgets outcomes that nobody may ask for any more.
    pub(super) fn advance(&mut self, n: Position) {
        if Mutant::NoWmax.on() {
            return;
        }
        let lag = Position(n.0.saturating_sub(self.bounds.window_slots_max));
        while let Some((at, txid)) = self.order.front().copied() {
            if at > lag && self.order.len() <= WINDOW_TXIDS_MAX {
                break;
            }
            self.seen.remove(&txid);
            self.order.pop_front();
            self.seen_base = self.seen_base.max(at);
        }
        self.seen_base = self.seen_base.max(lag);
        self.base = self.base.max(self.seen_base);
    }

    /// Remembers the keys that a bulk record in slot `n` may have written.
    fn record_bulk(&mut self, n: Position, runs: &[RunRef]) {
        let ranges = runs
            .iter()
            .map(|run| (n, run.first_key.clone(), run.last_key.clone()));
        self.bulk.extend(ranges);
    }

    /// Takes note of a new active table, and forgets what is beyond the bounds.
    pub(super) fn push(&mut self, active: &Arc<Memtable>) {
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
            let lags = oldest.applied().0 + self.bounds.window_slots_max < newest.0;
            if len <= self.bounds.window_len_max && !lags {
                break;
            }
            len -= oldest.len();
            self.base = oldest.applied().max(self.base);
            self.tables.pop_front();
        }
        while self.bulk.front().is_some_and(|(n, _, _)| *n <= self.base) {
            self.bulk.pop_front();
        }
    }

    /// A key of `reads` that was written after `read_at`, and how it was read.
    pub(super) fn conflict(&self, reads: &ReadSet, read_at: Position) -> Option<(Met, Bytes)> {
        let mut keys = reads.keys.iter();
        let key = keys.find(|key| self.key_written_after(key, read_at));
        let key = key.map(|key| (Met::Key, key.clone()));
        let range = || {
            if Mutant::RangeIgnored.on() {
                return None;
            }
            let mut ranges = reads.ranges.iter();
            let key = ranges.find_map(|range| self.range_written(range, read_at));
            key.map(|key| (Met::Range, key))
        };
        key.or_else(range)
    }

    fn newer_tables(&self, read_at: Position) -> impl Iterator<Item = &Arc<Memtable>> {
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
        let written = |table: &Arc<Memtable>| {
            if Mutant::MergeNoConflict.on() {
                return table.is_set_after(key, read_at);
            }
            table.last_write(key).is_some_and(|n| n > read_at)
        };
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
    use crate::base::limits::WINDOW_SLOTS_MAX;
    use crate::base::{Op, SegmentId};

    fn table(base: u64, writes: &[(u64, &'static str)]) -> Arc<Memtable> {
        let table = Memtable::new(Position(base));
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

    fn record(id: u128, body: Body) -> LogRecord {
        LogRecord {
            txid: TxId(id),
            read_at: Position(0),
            body,
        }
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
        let mut window = Window::new(
            Position(0),
            table(0, &[(1, "a"), (2, "c")]),
            Bounds::default(),
        );
        window.push(&table(2, &[(3, "e")]));
        assert_eq!(
            window.conflict(&key("a"), Position(0)),
            Some((Met::Key, Bytes::from("a")))
        );
        assert_eq!(window.conflict(&key("a"), Position(1)), None);
        assert_eq!(window.conflict(&key("b"), Position(0)), None);
        assert_eq!(
            window.conflict(&range("b", "d"), Position(1)),
            Some((Met::Range, Bytes::from("c")))
        );
        assert_eq!(window.conflict(&range("b", "d"), Position(2)), None);
        assert_eq!(
            window.conflict(&range("d", ""), Position(2)),
            Some((Met::Range, Bytes::from("e")))
        );
        assert_eq!(window.conflict(&range("d", "e"), Position(2)), None);
    }

    #[test]
    fn a_bulk_record_conflicts_over_its_whole_range() {
        let mut window = Window::new(Position(0), table(0, &[]), Bounds::default());
        let run = RunRef {
            id: SegmentId { tag: 1, unique: 1 },
            len: 1,
            entries: 2,
            hash: 0,
            first_key: Bytes::from("f"),
            last_key: Bytes::from("m"),
        };
        window.record(Position(1), &record(1, Body::Bulk(vec![run])));
        assert!(window.conflict(&key("g"), Position(0)).is_some());
        assert!(window.conflict(&key("g"), Position(1)).is_none());
        assert!(window.conflict(&key("n"), Position(0)).is_none());
        assert!(window.conflict(&range("a", "f"), Position(0)).is_none());
        assert!(window.conflict(&range("m", "z"), Position(0)).is_some());
    }

    #[test]
    fn what_lags_by_more_than_the_window_is_forgotten() {
        let mut window = Window::new(Position(0), table(0, &[(1, "a")]), Bounds::default());
        window.record(Position(1), &record(1, Body::Writes(Vec::new())));
        window.push(&table(1, &[(2, "b")]));
        assert_eq!(
            (window.base(), window.settled(TxId(1))),
            (Position(0), Some(TxOutcome::Committed(Position(1))))
        );
        let far = WINDOW_SLOTS_MAX + 5;
        window.push(&table(2, &[(far, "z")]));
        window.advance(Position(far));
        assert_eq!(
            (window.base(), window.settled(TxId(1))),
            (Position(far - WINDOW_SLOTS_MAX), None)
        );
    }
}
