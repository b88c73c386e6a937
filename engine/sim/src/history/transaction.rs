//! One transaction as its client saw it.

use std::fmt;

/// Names a transaction of one [`History`](super::History): its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransactionId(pub(super) usize);

impl TransactionId {
    /// Its place in [`History::transactions`](super::History::transactions).
    pub fn index(self) -> usize {
        self.0
    }
}

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "T{}", self.0)
    }
}

/// What a client was told about its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Every write took effect, at one moment between invocation and completion.
    Committed,
    /// No write took effect, and none ever will.
    Aborted,
    /// Nobody knows; if it took effect, then at any moment after the invocation, even after the
    /// client stopped waiting.
    Unknown,
}

/// How new a transaction's view has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It sees everything that completed before it was invoked.
    Fresh,
    /// It sees a consistent state that may be old, but none that begins after it completed.
    /// For transactions that only read.
    Snapshot,
}

/// What is read and written. Lists and registers are numbered apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Grows by appends; a read shows every append so far, in order.
    List(u64),
    /// Holds the last value written; a read shows just that.
    Register(u64),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::List(list) => write!(f, "l{list}"),
            Key::Register(register) => write!(f, "r{register}"),
        }
    }
}

/// One step inside a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Adds a value to the end of a list. No other append to this list ever has this value.
    Append {
        /// The list's number.
        list: u64,
        /// Unique in the list.
        value: u64,
    },
    /// The whole list as this transaction saw it, own appends before this step included.
    ReadList {
        /// The list's number.
        list: u64,
        /// All of it, oldest first.
        values: Vec<u64>,
    },
    /// Sets a register. No other write to this register ever has this value.
    Write {
        /// The register's number.
        register: u64,
        /// Unique in the register.
        value: u64,
    },
    /// The register as this transaction saw it, an own write before this step included.
    ReadRegister {
        /// The register's number.
        register: u64,
        /// `None` before the first write.
        value: Option<u64>,
    },
}

impl Operation {
    /// What it is about.
    pub fn key(&self) -> Key {
        match self {
            Operation::Append { list, .. } | Operation::ReadList { list, .. } => Key::List(*list),
            Operation::Write { register, .. } | Operation::ReadRegister { register, .. } => {
                Key::Register(*register)
            }
        }
    }

    /// The value it writes, if it writes.
    pub fn written(&self) -> Option<u64> {
        match self {
            Operation::Append { value, .. } | Operation::Write { value, .. } => Some(*value),
            Operation::ReadList { .. } | Operation::ReadRegister { .. } => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key();
        match self {
            Operation::Append { value, .. } => write!(f, "append {key} {value}"),
            Operation::ReadList { values, .. } => write!(f, "read {key} {}", ShownList(values)),
            Operation::Write { value, .. } => write!(f, "write {key} {value}"),
            Operation::ReadRegister { value, .. } => {
                write!(f, "read {key} {}", ShownValue(*value))
            }
        }
    }
}

/// A register's value for people.
pub(super) struct ShownValue(pub(super) Option<u64>);

impl fmt::Display for ShownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(value) => write!(f, "{value}"),
            None => f.write_str("nothing"),
        }
    }
}

/// A list for people: long ones lose their beginning, since anomalies sit at the end.
pub(super) struct ShownList<'a>(pub(super) &'a [u64]);

/// Elements of a list that are printed.
const SHOWN_MAX: usize = 12;

impl fmt::Display for ShownList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.0.len().saturating_sub(SHOWN_MAX);
        f.write_str("[")?;
        if hidden > 0 {
            write!(f, "{hidden} more")?;
        }
        for (at, value) in self.0[hidden..].iter().enumerate() {
            let comma = if at > 0 || hidden > 0 { ", " } else { "" };
            write!(f, "{comma}{value}")?;
        }
        f.write_str("]")
    }
}

/// One transaction as its client saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Who ran it, for people: the checkers do not look at it.
    pub process: u64,
    /// What its view has to include.
    pub freshness: Freshness,
    /// The step at which the client began.
    pub invoked: u64,
    /// The step at which the client had its answer; none if the outcome is unknown.
    pub completed: Option<u64>,
    /// The answer.
    pub outcome: Outcome,
    /// In the order in which the client did them.
    pub operations: Vec<Operation>,
}

impl fmt::Display for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}, steps {}..", self.process, self.invoked)?;
        if let Some(completed) = self.completed {
            write!(f, "{completed}")?;
        }
        f.write_str(match self.outcome {
            Outcome::Committed => ", committed",
            Outcome::Aborted => ", aborted",
            Outcome::Unknown => ", outcome unknown",
        })?;
        if self.freshness == Freshness::Snapshot {
            f.write_str(", snapshot")?;
        }
        for (at, operation) in self.operations.iter().enumerate() {
            let separator = if at == 0 { ": " } else { ", " };
            write!(f, "{separator}{operation}")?;
        }
        Ok(())
    }
}
