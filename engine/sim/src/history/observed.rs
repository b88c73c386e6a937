//! All that clients observed in one run.

use std::fmt;

use super::transaction::{Freshness, Outcome, Transaction, TransactionId};

/// All that clients observed in one run. Prints one transaction a line.
///
/// Steps are a clock that everybody shares: if one transaction completed at a lower step than
/// another was invoked at, it was over before the other began. Equal steps say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    transactions: Vec<Transaction>,
}

impl History {
    /// Takes transactions in any order; their place becomes their id.
    ///
    /// Asserts that every answered transaction has a completion after its invocation, that those
    /// with an unknown outcome have none, and that snapshots only read.
    pub fn new(transactions: Vec<Transaction>) -> History {
        for (at, transaction) in transactions.iter().enumerate() {
            assert_well_formed(TransactionId(at), transaction);
        }
        History { transactions }
    }

    /// The transactions; a [`TransactionId`] is a place here.
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// How many transactions it has.
    pub fn len(&self) -> usize {
        self.transactions.len()
    }

    /// Whether nothing was observed.
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }
}

fn assert_well_formed(id: TransactionId, transaction: &Transaction) {
    let open = transaction.outcome == Outcome::Unknown;
    assert_eq!(
        transaction.completed.is_none(),
        open,
        "{id}: a completion stands for an answer: {transaction}"
    );
    assert!(
        transaction
            .completed
            .is_none_or(|completed| completed > transaction.invoked),
        "{id}: completed before it was invoked: {transaction}"
    );
    let writes = || {
        transaction
            .operations
            .iter()
            .any(|op| op.written().is_some())
    };
    assert!(
        transaction.freshness == Freshness::Fresh || !writes(),
        "{id}: a snapshot writes: {transaction}"
    );
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, transaction) in self.transactions.iter().enumerate() {
            writeln!(f, "{} {transaction}", TransactionId(at))?;
        }
        Ok(())
    }
}
