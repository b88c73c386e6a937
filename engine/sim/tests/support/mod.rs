//! What the tests of the checkers share: dice, shorthands, and histories that are right.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub(crate) mod serial;

use eciton_engine::base::entropy::SeededEntropy;
use eciton_sim::history::{self, Freshness, History, Operation, Outcome, Transaction};

/// Random numbers that a seed repeats.
pub(crate) struct Dice(SeededEntropy);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(SeededEntropy::new(seed))
    }

    /// A number from 0 up to `end`, excluded.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    /// A place in something of this length.
    pub(crate) fn place(&self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    /// True so many times in a hundred.
    pub(crate) fn percent(&self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

pub(crate) fn append(list: u64, value: u64) -> Operation {
    Operation::Append { list, value }
}

pub(crate) fn list(list: u64, values: &[u64]) -> Operation {
    let values = values.to_vec();
    Operation::ReadList { list, values }
}

pub(crate) fn write(register: u64, value: u64) -> Operation {
    Operation::Write { register, value }
}

pub(crate) fn register(register: u64, value: impl Into<Option<u64>>) -> Operation {
    let value = value.into();
    Operation::ReadRegister { register, value }
}

/// A transaction that committed.
pub(crate) fn ok(invoked: u64, completed: u64, operations: Vec<Operation>) -> Transaction {
    Transaction {
        process: 0,
        freshness: Freshness::Fresh,
        invoked,
        completed: Some(completed),
        outcome: Outcome::Committed,
        operations,
    }
}

/// A transaction that aborted.
pub(crate) fn aborted(invoked: u64, completed: u64, operations: Vec<Operation>) -> Transaction {
    Transaction {
        outcome: Outcome::Aborted,
        ..ok(invoked, completed, operations)
    }
}

/// A transaction that nobody knows the outcome of.
pub(crate) fn unknown(invoked: u64, operations: Vec<Operation>) -> Transaction {
    Transaction {
        outcome: Outcome::Unknown,
        completed: None,
        ..ok(invoked, invoked + 1, operations)
    }
}

/// A snapshot, which may be old.
pub(crate) fn snapshot(invoked: u64, completed: u64, operations: Vec<Operation>) -> Transaction {
    Transaction {
        freshness: Freshness::Snapshot,
        ..ok(invoked, completed, operations)
    }
}

/// The kinds that our checker finds, sorted, each once.
pub(crate) fn ours(history: &History) -> Vec<String> {
    let found = history::check(history).err().unwrap_or_default();
    sorted(found.iter().map(|anomaly| anomaly.kind.to_string()))
}

/// The kinds that `adya` finds, sorted, each once.
pub(crate) fn adyas(history: &History) -> Vec<String> {
    let found = history::check_with_adya(history).err().unwrap_or_default();
    sorted(found.into_iter().map(|finding| finding.kind))
}

fn sorted(kinds: impl Iterator<Item = String>) -> Vec<String> {
    let mut kinds: Vec<String> = kinds.collect();
    kinds.sort();
    kinds.dedup();
    kinds
}
