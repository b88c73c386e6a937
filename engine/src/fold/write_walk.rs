//! Writes in memory, a batch at a time, in the order of a walk.

use std::ops::Bound;

use bytes::Bytes;

use super::view::MemtablePart;
use super::walk_direction::WalkDirection;
use crate::base::{Op, Position};
use crate::coord::KeyRange;

/// Keys fetched from a table at first: many a walk ends after a few.
const BATCH_MIN: usize = 16;
/// And at most: a table grows while it is read, so its iterator is not held.
const BATCH_MAX: usize = 1024;

/// A walk over writes in memory: a transaction's own, or those of a table.
pub(super) struct WriteWalk {
    pairs: Vec<(Bytes, Op)>,
    i: usize,
    /// Where more comes from; `None` for writes that are all here.
    rest: Option<Rest>,
}

struct Rest {
    part: MemtablePart,
    at: Position,
    range: KeyRange,
    direction: WalkDirection,
    count: usize,
}

impl WriteWalk {
    /// Over `own` writes, sorted, as far as they lie in `range`.
    pub(super) fn of_sorted(
        own: Vec<(Bytes, Op)>,
        range: &KeyRange,
        direction: WalkDirection,
    ) -> WriteWalk {
        debug_assert!(
            own.is_sorted_by(|(a, _), (b, _)| a < b),
            "{} own writes, sorted",
            own.len()
        );
        let mut pairs = own;
        pairs.retain(|(key, _)| range.contains(key));
        if direction == WalkDirection::Reverse {
            pairs.reverse();
        }
        WriteWalk {
            pairs,
            i: 0,
            rest: None,
        }
    }

    /// Over what a reader at `at` sees in a table.
    pub(super) fn of_table(
        part: MemtablePart,
        at: Position,
        range: &KeyRange,
        direction: WalkDirection,
    ) -> WriteWalk {
        let rest = Rest {
            part,
            at,
            range: range.clone(),
            direction,
            count: BATCH_MIN,
        };
        let mut batch = WriteWalk {
            pairs: Vec::new(),
            i: 0,
            rest: Some(rest),
        };
        batch.fetch();
        batch
    }

    /// The key here; `None` at the end.
    #[inline]
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.pairs.get(self.i).map(|(key, _)| &key[..])
    }

    /// What is done to it; `None` at the end.
    #[inline]
    pub(super) fn op(&self) -> Option<&Op> {
        self.pairs.get(self.i).map(|(_, op)| op)
    }

    /// Goes to the next key.
    #[inline]
    pub(super) fn advance(&mut self) {
        self.i += 1;
        if self.i == self.pairs.len() {
            self.fetch();
        }
    }

    fn fetch(&mut self) {
        let Some(rest) = &mut self.rest else {
            return;
        };
        let last = self.pairs.last().map(|(key, _)| key.clone());
        let reverse = rest.direction == WalkDirection::Reverse;
        let mut from = Bound::Included(&rest.range.from[..]);
        let mut to = rest.range.end_bound();
        if let Some(last) = &last {
            *(if reverse { &mut to } else { &mut from }) = Bound::Excluded(&last[..]);
        }
        let seen = (rest.part.after, rest.at);
        let table = &rest.part.table;
        self.pairs = table.collect((from, to), reverse, seen, rest.count);
        self.i = 0;
        assert!(
            self.pairs.len() <= rest.count,
            "{} keys, {} were wanted",
            self.pairs.len(),
            rest.count
        );
        if let (Some(last), Some((first, _))) = (&last, self.pairs.first()) {
            assert!(
                if reverse { first < last } else { first > last },
                "the walk goes on with {first:?} after {last:?}"
            );
        }
        if self.pairs.len() < rest.count {
            // What the table has gained since lies in slots that this reader does not see.
            self.rest = None;
        } else {
            rest.count = (rest.count * 4).min(BATCH_MAX);
        }
    }
}
