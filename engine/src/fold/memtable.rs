//! A stretch of the log in memory: every key with its versions, in key order.

use std::ops::Bound;

use bytes::Bytes;
use smallvec::SmallVec;

use super::memtable_filter::MemtableFilter;
use super::ops::{combine, flatten};
use crate::base::checksum::checksum64;
use crate::base::sync::{AtomicU64, AtomicUsize, Ordering, RwLock, SkipMap};
use crate::base::{Op, Position};

#[cfg(feature = "shuttle")]
use crate::base::sync::{Break, broken};

/// Bytes reckoned for a key and for a version beside their own: nodes, pointers, counters.
const ENTRY_OVERHEAD_LEN: usize = 160;

/// The writes of the slots after [`Memtable::base`] up to [`Memtable::applied`].
///
/// One task writes (the combiner, holding its lock), any number read at the same time. A reader at
/// position `p` sees the versions of slots up to `p` and so never a part of a slot.
pub struct Memtable {
    map: SkipMap<Bytes, KeyVersions>,
    sieve: MemtableFilter,
    base: Position,
    applied: AtomicU64,
    len: AtomicUsize,
}

/// The versions of a key, oldest first.
struct KeyVersions(RwLock<SmallVec<[KeyVersion; 1]>>);

struct KeyVersion {
    slot: Position,
    op: Op,
}

impl Memtable {
    /// An empty table for the slots after `base`.
    pub fn new(base: Position) -> Memtable {
        Memtable {
            map: SkipMap::new(),
            sieve: MemtableFilter::default(),
            base,
            applied: AtomicU64::new(base.0),
            len: AtomicUsize::new(0),
        }
    }

    /// The position before its first slot.
    pub fn base(&self) -> Position {
        self.base
    }

    /// The newest slot that is wholly in the table.
    pub fn applied(&self) -> Position {
        Position(self.applied.load(Ordering::Acquire))
    }

    /// Bytes of memory, about.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// How many keys were written to it.
    pub fn keys(&self) -> usize {
        self.map.len()
    }

    /// Whether no key was ever written to it.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// Applies a write of `slot`; invisible until [`Memtable::publish`].
    pub fn insert(&self, slot: Position, key: &Bytes, op: &Op) {
        #[cfg(feature = "shuttle")]
        if broken(Break::PublishedEarly) && self.applied() < slot {
            self.publish(slot);
        }
        debug_assert!(
            slot > self.base,
            "slot {slot} in a table for those after {}",
            self.base
        );
        let mut added = op.payload().len() + size_of::<KeyVersion>();
        let hash = checksum64(key);
        // Most keys are new, and the sieve tells so without a search of the list.
        let known = self.sieve.may_contain(hash).then(|| self.map.get(&key[..]));
        match known.flatten() {
            Some(entry) => entry.value().push(slot, op),
            None => {
                added += key.len() + ENTRY_OVERHEAD_LEN;
                self.sieve.insert(hash);
                self.map.insert(key.clone(), KeyVersions::new(slot, op));
            }
        }
        self.len.fetch_add(added, Ordering::Relaxed);
    }

    /// Makes everything up to `slot` visible to readers that begin from now on.
    pub fn publish(&self, slot: Position) {
        let before = self.applied.swap(slot.0, Ordering::Release);
        #[cfg(feature = "shuttle")]
        if broken(Break::PublishedEarly) {
            return;
        }
        assert!(before < slot.0, "slot {slot} applied after slot {before}");
        assert!(
            self.base.0 <= before,
            "slot {before} was published in a table for those after {}",
            self.base
        );
    }

    /// Whether the table can have the key with this hash: false is certain, for every slot that was
    /// published before.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        self.sieve.may_contain(hash)
    }

    /// The one write that does what all writes of `key` after slot `after` that a reader at `at` sees here do.
    pub fn seen(&self, key: &[u8], after: Position, at: Position) -> Option<Op> {
        self.map.get(key)?.value().seen(after, at)
    }

    /// The newest slot that wrote `key` here.
    pub fn last_write(&self, key: &[u8]) -> Option<Position> {
        self.map.get(key).map(|entry| entry.value().newest())
    }

    /// Whether `key` was put or deleted here after slot `after`, merges not counted.
    pub fn is_set_after(&self, key: &[u8], after: Position) -> bool {
        let entry = self.map.get(key);
        entry.is_some_and(|entry| entry.value().is_set_after(after))
    }

    /// A key of the range that was written after `after`.
    pub fn written_after(&self, from: &[u8], to: Bound<&[u8]>, after: Position) -> Option<Bytes> {
        let mut range = self.map.range::<[u8], _>((Bound::Included(from), to));
        range
            .find(|entry| entry.value().newest() > after)
            .map(|entry| entry.key().clone())
    }

    /// Whether a key from `first` to `last` was ever written here.
    pub fn has_key_within(&self, first: &[u8], last: &[u8]) -> bool {
        let bounds = (Bound::Included(first), Bound::Included(last));
        self.map.range::<[u8], _>(bounds).next().is_some()
    }

    /// Up to `count` keys within the bounds that a reader at `at` sees written here after slot `after`, in
    /// order (or in reverse), each with the one write that does what all of its writes here do.
    pub fn collect(
        &self,
        bounds: (Bound<&[u8]>, Bound<&[u8]>),
        reverse: bool,
        (after, at): (Position, Position),
        count: usize,
    ) -> Vec<(Bytes, Op)> {
        let see =
            |(key, chain): (&Bytes, &KeyVersions)| Some((key.clone(), chain.seen(after, at)?));
        let range = self.map.range::<[u8], _>(bounds);
        if reverse {
            let seen = range
                .rev()
                .filter_map(|entry| see((entry.key(), entry.value())));
            return seen.take(count).collect();
        }
        range
            .filter_map(|entry| see((entry.key(), entry.value())))
            .take(count)
            .collect()
    }
}

impl KeyVersions {
    fn new(slot: Position, op: &Op) -> KeyVersions {
        let mut versions = SmallVec::new();
        versions.push(KeyVersion {
            slot,
            op: op.clone(),
        });
        KeyVersions(RwLock::new(versions))
    }

    fn push(&self, slot: Position, op: &Op) {
        let mut versions = self.0.write();
        match versions.last_mut() {
            // Two records of one slot: a reader sees both or neither, so they are one version.
            Some(last) if last.slot == slot => last.op = combine(&last.op, op),
            Some(last) => {
                assert!(last.slot < slot, "slot {slot} after slot {}", last.slot);
                versions.push(KeyVersion {
                    slot,
                    op: op.clone(),
                });
            }
            None => versions.push(KeyVersion {
                slot,
                op: op.clone(),
            }),
        }
    }

    fn newest(&self) -> Position {
        self.0
            .read()
            .last()
            .map_or(Position::ZERO, |version| version.slot)
    }

    fn seen(&self, after: Position, at: Position) -> Option<Op> {
        let versions = self.0.read();
        let mut seen = versions
            .iter()
            .rev()
            .filter(|version| after < version.slot && version.slot <= at);
        let newest = &seen.next()?.op;
        if newest.hides_older() {
            return Some(newest.clone());
        }
        let mut ops = vec![newest.clone()];
        for version in seen {
            ops.push(version.op.clone());
            if version.op.hides_older() {
                break;
            }
        }
        flatten(&ops)
    }

    fn is_set_after(&self, after: Position) -> bool {
        let versions = self.0.read();
        let newer = versions
            .iter()
            .rev()
            .take_while(|version| after < version.slot);
        newer.map(|version| &version.op).any(Op::hides_older)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(value: &'static str) -> Op {
        Op::Put(Bytes::from_static(value.as_bytes()))
    }

    fn get(table: &Memtable, key: &str, at: u64) -> Option<Op> {
        table.seen(key.as_bytes(), Position::ZERO, Position(at))
    }

    #[test]
    fn a_reader_sees_only_slots_up_to_its_position() {
        let table = Memtable::new(Position(10));
        table.insert(Position(11), &Bytes::from("k"), &put("one"));
        table.insert(Position(12), &Bytes::from("k"), &Op::Delete);
        table.publish(Position(12));
        assert_eq!(get(&table, "k", 10), None);
        assert_eq!(get(&table, "k", 11), Some(put("one")));
        assert_eq!(get(&table, "k", 12), Some(Op::Delete));
        assert_eq!(table.last_write(b"k"), Some(Position(12)));
    }

    #[test]
    fn a_part_begins_after_what_was_folded() {
        let table = Memtable::new(Position(10));
        let merge = |operand: &'static str| Op::Merge(Bytes::from_static(operand.as_bytes()));
        for (slot, operand) in [(11, "one"), (12, "two"), (13, "three")] {
            table.insert(Position(slot), &Bytes::from("k"), &merge(operand));
        }
        table.publish(Position(13));
        let seen = table.seen(b"k", Position(11), Position(12));
        assert_eq!(seen, Some(merge("two")));
        let all = (Bound::Unbounded, Bound::Unbounded);
        let seen = table.collect(all, false, (Position(12), Position(13)), 9);
        assert_eq!(seen, vec![(Bytes::from("k"), merge("three"))]);
    }

    #[test]
    fn ranges_are_collected_in_both_directions() {
        let table = Memtable::new(Position(0));
        for (slot, key) in [(1, "a"), (2, "b"), (3, "c")] {
            table.insert(Position(slot), &Bytes::from(key), &put("v"));
        }
        let all = (Bound::Unbounded, Bound::Unbounded);
        let keys = |reverse, at, count| -> Vec<Bytes> {
            let seen = table.collect(all, reverse, (Position::ZERO, Position(at)), count);
            seen.into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys(false, 3, 2), vec!["a", "b"]);
        assert_eq!(keys(true, 3, 2), vec!["c", "b"]);
        assert_eq!(keys(true, 1, 9), vec!["a"]);
        assert!(table.has_key_within(b"bb", b"c") && table.has_key_within(b"a", b"a"));
        assert!(!table.has_key_within(b"aa", b"az") && !table.has_key_within(b"d", b"e"));
        let after = table.written_after(b"a", Bound::Excluded(b"c"), Position(1));
        assert_eq!(after, Some(Bytes::from("b")));
        assert_eq!(
            table.written_after(b"a", Bound::Excluded(b"c"), Position(2)),
            None
        );
    }
}
