//! A second opinion, by the crate `adya`.

use std::fmt;

use adya::history::{Interner, Mop, Op, OpType, ReadValue, Scalar};
use adya::{Opts, Workload};

use super::observed::History;
use super::transaction::{Freshness, Key, Operation, Outcome, Transaction, TransactionId};

/// What `adya` found to be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its name, as `adya` and Elle spell it.
    pub kind: String,
    /// Who takes part.
    pub transactions: Vec<TransactionId>,
    /// The reason, for people. Its `T3` is our transaction 3; its "index" is that number too.
    pub explanation: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.kind, self.explanation.trim_end())
    }
}

/// Has the crate `adya` judge the history, which shares no code with [`check`](super::check).
///
/// It knows real time, and all anomalies that Elle has. It judges lists and registers each for
/// itself, so it does not see a cycle that needs both. Reads of transactions with an unknown
/// outcome are withheld from it: it would believe them even where the transaction took no effect.
/// For registers it trusts that versions follow real time and that a write follows the read before
/// it in its transaction. Each call leaks some hundred bytes inside the crate.
///
/// # Errors
/// What it found to be wrong.
pub fn check_with_adya(history: &History) -> Result<(), Vec<Finding>> {
    let mut findings = judge(history, Workload::ListAppend);
    findings.extend(judge(history, Workload::RwRegister));
    if findings.is_empty() {
        Ok(())
    } else {
        Err(findings)
    }
}

fn judge(history: &History, workload: Workload) -> Vec<Finding> {
    let translated = translate(history, workload);
    if translated.ops.is_empty() {
        return Vec::new();
    }
    let options = Opts {
        wfr_keys: true,
        linearizable_keys: true,
        ..Opts::default()
    };
    let report = adya::check(&translated, workload, &options);
    let mut findings = Vec::new();
    for anomaly in report.anomalies.into_values().flatten() {
        // No anomaly: it says that nobody met anybody.
        if anomaly.kind == "empty-transaction-graph" {
            continue;
        }
        let places = anomaly
            .ops
            .iter()
            .filter_map(|at| usize::try_from(*at).ok());
        findings.push(Finding {
            kind: anomaly.kind,
            transactions: places.map(TransactionId).collect(),
            explanation: anomaly.explanation,
        });
    }
    findings
}

/// The part of the history that is about lists, or about registers.
fn translate(history: &History, workload: Workload) -> adya::History {
    let mut interner = Interner::default();
    // At one step invocations stand first: what happens at once has no order.
    let mut events: Vec<(u64, bool, Op)> = Vec::new();
    for (at, transaction) in history.transactions().iter().enumerate() {
        let operations: Vec<&Operation> = (transaction.operations.iter())
            .filter(|operation| match operation.key() {
                Key::List(_) => workload == Workload::ListAppend,
                Key::Register(_) => workload == Workload::RwRegister,
            })
            .collect();
        if operations.is_empty() {
            continue;
        }
        let kind = match transaction.outcome {
            Outcome::Committed => OpType::Ok,
            Outcome::Aborted => OpType::Fail,
            Outcome::Unknown => OpType::Info,
        };
        let begin = op(at, OpType::Invoke, &operations, &mut interner);
        let end = op(at, kind, &operations, &mut interner);
        events.push((invoked(transaction), false, begin));
        events.push((transaction.completed.unwrap_or(u64::MAX), true, end));
    }
    events.sort_by_key(|(step, end, op)| (*step, *end, op.index));
    let ops = events.into_iter().map(|(_, _, op)| op).collect();
    adya::History::from_ops(ops, interner)
}

/// A snapshot may be as old as the history, which is what an early invocation says.
fn invoked(transaction: &Transaction) -> u64 {
    match transaction.freshness {
        Freshness::Fresh => transaction.invoked,
        Freshness::Snapshot => 0,
    }
}

/// Every transaction is a process of its own, since some of ours have several at once.
fn op(at: usize, kind: OpType, operations: &[&Operation], interner: &mut Interner) -> Op {
    let value = (operations.iter())
        .map(|operation| mop(kind, operation, interner))
        .collect();
    Op {
        index: at as u64,
        kind,
        process: i64::try_from(at).ok(),
        value,
        time: None,
    }
}

fn mop(kind: OpType, operation: &Operation, interner: &mut Interner) -> Mop {
    let blind = matches!(kind, OpType::Invoke | OpType::Info);
    let mut id = |number: u64| interner.intern(scalar(number));
    match operation {
        Operation::Append { list, value } => Mop::Append {
            key: id(*list),
            value: id(*value),
        },
        Operation::Write { register, value } => Mop::Write {
            key: id(*register),
            value: id(*value),
        },
        Operation::ReadList { list, values } => Mop::Read {
            key: id(*list),
            value: if blind {
                ReadValue::Nil
            } else {
                ReadValue::List(values.iter().map(|value| id(*value)).collect())
            },
        },
        Operation::ReadRegister { register, value } => Mop::Read {
            key: id(*register),
            value: match value {
                Some(value) if !blind => ReadValue::Scalar(id(*value)),
                _ => ReadValue::Nil,
            },
        },
    }
}

/// Its numbers are signed; a text stands for one that does not fit.
fn scalar(number: u64) -> Scalar {
    match i64::try_from(number) {
        Ok(number) => Scalar::Int(number),
        Err(_) => Scalar::Str(number.to_string()),
    }
}
