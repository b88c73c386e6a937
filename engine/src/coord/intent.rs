//! A transaction as its submitter hands it over: what it read, and what it would write.

use std::ops::Bound;

use bytes::Bytes;

use crate::base::{Generation, ManifestId, Op, Position, RunRef, TxId};

/// A transaction on its way to a slot. Immutable once published.
#[derive(Clone, Debug)]
pub struct Intent {
    /// Its name.
    pub txid: TxId,
    /// The position whose state it read.
    pub read_at: Position,
    /// The hash of that slot: who knows another history drops the intent.
    pub read_hash: u128,
    /// What it read, to be validated against what was written since.
    pub reads: ReadSet,
    /// What it writes.
    pub writes: Writes,
    /// Bytes its record takes in a slot, at most.
    pub len: usize,
    /// Who may combine it.
    pub origin: Origin,
}

/// Who may combine an intent: whether a refusal by this process settles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This process alone: what it decides is final.
    Alone,
    /// This process published it, and others may combine it too.
    Own,
    /// Another process published it.
    Foreign,
}

/// The writes of an intent.
#[derive(Clone, Debug)]
pub enum Writes {
    /// In ascending key order, each key once.
    Small(Vec<(Bytes, Op)>),
    /// Sorted runs that are already durable, oldest first.
    Bulk {
        /// The runs.
        runs: Vec<RunRef>,
        /// The generation under which they were written: under another one they need not be on every
        /// path.
        generation: Generation,
    },
    /// No writes: that another transaction will never commit. It stood in no slot through `read_at`.
    Cancel(TxId),
    /// No writes: that segments tagged up to this manifest are about to be collected.
    Collect(ManifestId),
}

impl Writes {
    /// Whether nothing is written.
    pub fn is_empty(&self) -> bool {
        match self {
            Writes::Small(writes) => writes.is_empty(),
            Writes::Bulk { runs, .. } => runs.is_empty(),
            Writes::Cancel(_) | Writes::Collect(_) => true,
        }
    }
}

/// What a transaction read: keys, and ranges with every key that is or might be in them.
#[derive(Clone, Debug, Default)]
pub struct ReadSet {
    /// Keys, whether they were there or not.
    pub keys: Vec<Bytes>,
    /// Ranges, as far as they were read.
    pub ranges: Vec<KeyRange>,
}

/// Keys from `from` (included) to `to` (excluded; empty means without end).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key.
    pub from: Bytes,
    /// The end, excluded.
    pub to: Bytes,
}

impl KeyRange {
    /// All keys there are.
    pub fn everything() -> KeyRange {
        KeyRange {
            from: Bytes::new(),
            to: Bytes::new(),
        }
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        !self.to.is_empty() && self.from >= self.to
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.from <= key && (self.to.is_empty() || key < &self.to[..])
    }

    /// The end as a bound.
    pub fn end_bound(&self) -> Bound<&[u8]> {
        if self.to.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(&self.to[..])
        }
    }

    /// Whether any key of `first..=last` lies in the range.
    pub fn overlaps(&self, first: &[u8], last: &[u8]) -> bool {
        last >= &self.from[..] && (self.to.is_empty() || first < &self.to[..])
    }
}
