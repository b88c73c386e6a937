//! Whether what clients observed can be explained: black-box checks for strict serializability.
//!
//! A [`Recorder`] writes a [`History`] down, [`check`] judges it. The method is that of Elle
//! (Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations",
//! VLDB 2020), the names are those of Adya ("Weak Consistency: A Generalized Theory and Optimistic
//! Implementations for Distributed Transactions", MIT 2000): values are unique, so a read shows
//! whose write it saw, and a list shows the order of all appends before the read. From that
//! follows which transaction has to come before which; so does real time. Where that goes round in
//! a circle, no order explains the history.
//!
//! | what is wrong | found by |
//! |---|---|
//! | internal, unwritten value, G1a, G1b, duplicate element, lost append | looking at one read |
//! | incompatible order | two reads of a list, neither a beginning of the other |
//! | G0, G1c, lost update, G-single, G2 | a cycle of writes and reads |
//! | the same with `-realtime` | a cycle that needs real time: stale reads, lost writes |
//!
//! A transaction of unknown outcome counts once somebody has seen a write of it; until then it
//! counts for nothing. Reads of aborted transactions are not looked at: record them as a
//! [`Freshness::Snapshot`] that commits, if the system promises them a consistent view.
//!
//! Everything reported is wrong. What a list shows is also judged completely, as far as it has been
//! read. What blind writes to registers did may pass unseen, see `registers.rs`.
//!
//! [`check_with_adya`] is a second opinion by somebody else's code.

mod anomaly;
mod by_adya;
mod cycle;
mod direct;
mod explain;
mod graph;
mod index;
mod lists;
mod observed;
mod reach;
mod reads;
mod real_time;
mod recorder;
mod registers;
mod transaction;

pub use anomaly::{Anomaly, AnomalyKind, Edge, EdgeKind};
pub use by_adya::{Finding, check_with_adya};
pub use observed::History;
pub use recorder::Recorder;
pub use transaction::{Freshness, Key, Operation, Outcome, Transaction, TransactionId};

use graph::Graph;
use index::Index;
use registers::Registers;

/// Judges whether one order of the transactions explains all that they observed, and keeps to real
/// time.
///
/// The same history gives the same answer, in the same order. It takes a few microseconds a
/// transaction; registers also take some bits for each pair of transactions.
///
/// # Errors
/// What is wrong: first what single reads show, then one cycle for each tangle of transactions.
pub fn check(history: &History) -> Result<(), Vec<Anomaly>> {
    let index = Index::new(history);
    if holds(&index) {
        return Ok(());
    }
    let (mut graph, registers, mut anomalies) = linked(&index);
    // Without time first, so that what needs no time is not called an anomaly of time.
    registers.saturate(&mut graph, history.len());
    graph.round += 1;
    graph.timed_from = graph.round;
    real_time::link(&index, &mut graph);
    registers.saturate(&mut graph, history.len());

    cycle::find(&index, &graph, &mut anomalies);
    if anomalies.is_empty() {
        Ok(())
    } else {
        Err(anomalies)
    }
}

/// Whether nothing is wrong, without a name for what is. With time from the beginning most of the order is
/// known at once and few rounds find the rest: of a long history that is minutes less.
fn holds(index: &Index<'_>) -> bool {
    let (mut graph, registers, anomalies) = linked(index);
    real_time::link(index, &mut graph);
    registers.saturate(&mut graph, index.history.len());
    anomalies.is_empty() && !graph.components().cyclic()
}

/// What reads show by themselves, and the links that need no more than them.
fn linked(index: &Index<'_>) -> (Graph, Registers, Vec<Anomaly>) {
    let mut anomalies = Vec::new();
    let mut graph = Graph::new(index.history.len());
    direct::contradictions(index, &mut anomalies);
    lists::link(index, &mut graph, &mut anomalies);
    let registers = Registers::link(index, &mut graph, &mut anomalies);
    (graph, registers, anomalies)
}
