//! Writes a history down while it happens.

use super::observed::History;
use super::transaction::{Freshness, Operation, Outcome, Transaction, TransactionId};

/// Writes a history down while it happens.
///
/// ```
/// use eciton_sim::history::{self, Freshness, Operation, Outcome, Recorder};
///
/// let mut recorder = Recorder::new();
/// let writer = recorder.begin(0, Freshness::Fresh, 1);
/// recorder.op(writer, Operation::Append { list: 7, value: 1 });
/// recorder.finish(writer, Outcome::Committed, 2);
/// let reader = recorder.begin(1, Freshness::Fresh, 3);
/// recorder.op(reader, Operation::ReadList { list: 7, values: vec![] });
/// recorder.finish(reader, Outcome::Committed, 4);
///
/// // The append was acknowledged before the read began, and the read does not show it.
/// let anomalies = history::check(&recorder.into_history()).unwrap_err();
/// assert_eq!(anomalies[0].kind.name(), "G-single-realtime");
/// println!("{}", anomalies[0]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    transactions: Vec<Transaction>,
}

impl Recorder {
    /// Nothing observed yet.
    pub fn new() -> Recorder {
        Recorder::default()
    }

    /// A client begins a transaction. Until it finishes, its outcome counts as unknown: so a
    /// client that crashes needs no call.
    pub fn begin(&mut self, process: u64, freshness: Freshness, step: u64) -> TransactionId {
        self.transactions.push(Transaction {
            process,
            freshness,
            invoked: step,
            completed: None,
            outcome: Outcome::Unknown,
            operations: Vec::new(),
        });
        TransactionId(self.transactions.len() - 1)
    }

    /// The transaction did this. A write belongs here before it can reach anybody else.
    pub fn op(&mut self, id: TransactionId, operation: Operation) {
        let transaction = &mut self.transactions[id.0];
        assert!(
            transaction.completed.is_none(),
            "{id} did `{operation}` after its end"
        );
        transaction.operations.push(operation);
    }

    /// The transaction only reads, of a state that may be old.
    pub fn is_snapshot(&mut self, id: TransactionId) {
        self.transactions[id.0].freshness = Freshness::Snapshot;
    }

    /// The client has its answer. An unknown outcome leaves the end open, so that it may be
    /// followed by a better answer.
    pub fn finish(&mut self, id: TransactionId, outcome: Outcome, step: u64) {
        let transaction = &mut self.transactions[id.0];
        assert!(transaction.completed.is_none(), "{id} ends twice");
        transaction.outcome = outcome;
        transaction.completed = (outcome != Outcome::Unknown).then_some(step);
    }

    /// How many transactions have begun.
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether no transaction has begun.
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// The whole run.
    pub fn into_history(self) -> History {
        History::new(self.transactions)
    }
}
