//! The order of pending writes: a walk over what they do to each key.

use bytes::Bytes;

use crate::base::Op;
use crate::fold::combine;
use crate::tree::OpKind;

/// Writes looked at ahead of the one that is asked for: they lie anywhere in memory, and waiting for
/// many at once takes no longer than waiting for one.
const AHEAD: usize = 32;

/// A write, looked at where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    pub(super) key: &'a [u8],
    pub(super) kind: OpKind,
    pub(super) payload: &'a [u8],
}

/// Writes that are found by their places.
pub(super) trait WritesAt {
    /// The write at a place, which is one.
    fn at(&self, place: u64) -> Written<'_>;
}

/// A walk over what pending writes do to each key, in the order of keys.
pub(super) struct Sorted<'a, W> {
    pending: &'a W,
    /// Of each write the head of its key, and its place below that.
    lines: Vec<u128>,
    /// The first of `lines` that has not been looked at.
    next: usize,
    /// What was looked at, of which so many have been taken.
    ahead: Vec<(u64, Written<'a>)>,
    taken: usize,
}

/// What pending writes do to one key.
pub(super) enum Done<'a> {
    /// It was written once, or what was before does not matter.
    Written(Written<'a>),
    /// All writes of the key together.
    Combined(&'a [u8], Op),
}

impl<'a, W: WritesAt> Sorted<'a, W> {
    /// Sorts `writes` of `pending`, the oldest first, each with its place: so many, whose keys share so many
    /// leading bytes, and which may be in order already.
    pub(super) fn new(
        pending: &'a W,
        writes: impl Iterator<Item = (u64, Written<'a>)>,
        (count, shared, ascends): (usize, usize, bool),
    ) -> Sorted<'a, W> {
        let line = |(place, written): (u64, Written<'_>)| {
            let head = head_of(written.key.get(shared..).unwrap_or_default());
            u128::from(head) << 64 | u128::from(place)
        };
        let mut lines = Vec::with_capacity(count);
        lines.extend(writes.map(line));
        if !ascends {
            // Of equal heads, and so of equal keys, the oldest comes first, and stays first.
            lines.sort_unstable();
            let key = |line: &u128| pending.at(place_of(*line)).key;
            for tied in lines.chunk_by_mut(|a, b| head_part(*a) == head_part(*b)) {
                if tied.len() > 1 {
                    tied.sort_by(|a, b| key(a).cmp(key(b)));
                }
            }
        }
        Sorted {
            pending,
            lines,
            next: 0,
            ahead: Vec::with_capacity(AHEAD),
            taken: 0,
        }
    }

    fn peek(&mut self) -> Option<(u64, Written<'a>)> {
        if self.taken == self.ahead.len() {
            let until = self.lines.len().min(self.next + AHEAD);
            let lines = &self.lines[self.next..until];
            let look = |line: &u128| (head_part(*line), self.pending.at(place_of(*line)));
            self.ahead.clear();
            self.ahead.extend(lines.iter().map(look));
            (self.next, self.taken) = (until, 0);
        }
        self.ahead.get(self.taken).copied()
    }

    /// The next key, and what is done to it.
    pub(super) fn next(&mut self) -> Option<Done<'a>> {
        let (head, first) = self.peek()?;
        self.taken += 1;
        let mut newest = first;
        let mut older: Option<Op> = None;
        while let Some((other, written)) = self.peek() {
            if other != head || written.key != newest.key {
                break;
            }
            self.taken += 1;
            if written.kind == OpKind::Merge {
                let before = older.take().unwrap_or_else(|| newest.op());
                older = Some(combine(&before, &written.op()));
            } else {
                older = None;
            }
            newest = written;
        }
        Some(match older {
            Some(op) => Done::Combined(newest.key, op),
            None => Done::Written(newest),
        })
    }
}

impl<'a> Done<'a> {
    pub(super) fn key(&self) -> &'a [u8] {
        match self {
            Done::Written(written) => written.key,
            Done::Combined(key, _) => key,
        }
    }

    /// What it does, and with which bytes.
    pub(super) fn parts(&self) -> (OpKind, &[u8]) {
        match self {
            Done::Written(written) => (written.kind, written.payload),
            Done::Combined(_, op) => (op.into(), op.payload()),
        }
    }

    /// As a write of its own.
    pub(super) fn op(&self) -> Op {
        match self {
            Done::Written(written) => written.op(),
            Done::Combined(_, op) => op.clone(),
        }
    }
}

impl Written<'_> {
    fn op(&self) -> Op {
        self.kind.op(|| Bytes::copy_from_slice(self.payload))
    }
}

/// The first eight bytes as a number that orders as they do; fewer are filled with zeros, so equal heads
/// say nothing and greater ones everything.
#[inline]
fn head_of(bytes: &[u8]) -> u64 {
    if let Some(head) = bytes.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    let mut head = [0; 8];
    head[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(head)
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the lower half is the place"
)]
fn place_of(line: u128) -> u64 {
    line as u64
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "the upper half is the head"
)]
fn head_part(line: u128) -> u64 {
    (line >> 64) as u64
}
