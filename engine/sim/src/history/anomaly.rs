//! What a history shows to be wrong.

use std::fmt;

use super::transaction::TransactionId;

/// What is wrong, by the names of Adya (2000) and of Elle where they have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AnomalyKind {
    /// A transaction does not see its own writes, or sees one that it makes only later, or what
    /// it read changes under it.
    Internal,
    /// A read shows a value that nobody wrote.
    UnwrittenValue,
    /// A read shows a value whose transaction aborted.
    G1a,
    /// A read shows a value that its own transaction had already replaced or added to.
    G1b,
    /// A list shows one append twice.
    DuplicateElement,
    /// A list shows a later append of a transaction and lacks an earlier one.
    LostAppend,
    /// Two reads of one list, neither a beginning of the other.
    IncompatibleOrder,
    /// Writes alone form a cycle.
    G0,
    /// Writes and reads of them form a cycle.
    G1c,
    /// A transaction wrote a key on the ground of a version that was no longer the last.
    LostUpdate,
    /// A cycle with a single read of something already replaced: a read skew, a torn view.
    GSingle,
    /// A cycle with several of those: a write skew.
    G2,
    /// As [`G0`](AnomalyKind::G0), if real time counts.
    G0RealTime,
    /// As [`G1c`](AnomalyKind::G1c), if real time counts.
    G1cRealTime,
    /// As [`GSingle`](AnomalyKind::GSingle), if real time counts: a stale read, a lost write.
    GSingleRealTime,
    /// As [`G2`](AnomalyKind::G2), if real time counts.
    G2RealTime,
}

impl AnomalyKind {
    /// The name for people and for scripts.
    pub fn name(self) -> &'static str {
        match self {
            AnomalyKind::Internal => "internal",
            AnomalyKind::UnwrittenValue => "unwritten value",
            AnomalyKind::G1a => "G1a",
            AnomalyKind::G1b => "G1b",
            AnomalyKind::DuplicateElement => "duplicate element",
            AnomalyKind::LostAppend => "lost append",
            AnomalyKind::IncompatibleOrder => "incompatible order",
            AnomalyKind::G0 => "G0",
            AnomalyKind::G1c => "G1c",
            AnomalyKind::LostUpdate => "lost update",
            AnomalyKind::GSingle => "G-single",
            AnomalyKind::G2 => "G2",
            AnomalyKind::G0RealTime => "G0-realtime",
            AnomalyKind::G1cRealTime => "G1c-realtime",
            AnomalyKind::GSingleRealTime => "G-single-realtime",
            AnomalyKind::G2RealTime => "G2-realtime",
        }
    }
}

impl fmt::Display for AnomalyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why one transaction comes before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeKind {
    /// The other wrote a later version of a key.
    WriteWrite,
    /// The other read what this one wrote.
    WriteRead,
    /// The other replaced what this one had read.
    ReadWrite,
    /// This one was over before the other began.
    RealTime,
}

impl EdgeKind {
    /// The name for people and for scripts.
    pub fn name(self) -> &'static str {
        match self {
            EdgeKind::WriteWrite => "ww",
            EdgeKind::WriteRead => "wr",
            EdgeKind::ReadWrite => "rw",
            EdgeKind::RealTime => "realtime",
        }
    }
}

impl fmt::Display for EdgeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One step of a cycle: `from` has to come before `to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The earlier one.
    pub from: TransactionId,
    /// The later one.
    pub to: TransactionId,
    /// The sort of reason.
    pub kind: EdgeKind,
    /// The reason, for people.
    pub because: String,
}

/// One thing that is wrong. Prints as several lines that can be read without the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// Its name.
    pub kind: AnomalyKind,
    /// Who takes part; in a cycle in its order.
    pub transactions: Vec<TransactionId>,
    /// The cycle, if it is one: each edge leads to the beginning of the next.
    pub edges: Vec<Edge>,
    /// What is wrong, in a sentence.
    pub summary: String,
    /// The transactions as the history shows them, in the order of `transactions`.
    pub(super) shown: Vec<String>,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.kind, self.summary)?;
        for (id, shown) in self.transactions.iter().zip(&self.shown) {
            writeln!(f, "  {id} {shown}")?;
        }
        for edge in &self.edges {
            let Edge {
                from,
                to,
                kind,
                because,
            } = edge;
            writeln!(f, "  {from} before {to} ({kind}): {because}")?;
        }
        Ok(())
    }
}
