//! What a single read shows to be wrong.

use hashbrown::HashSet;

use super::anomaly::{Anomaly, AnomalyKind};
use super::explain::together;
use super::index::Index;
use super::reads::{ListRead, RegisterRead};
use super::transaction::{Key, Outcome, TransactionId};

/// Transactions that contradict themselves.
pub(super) fn contradictions(index: &Index<'_>, anomalies: &mut Vec<Anomaly>) {
    for (at, how) in &index.contradictions {
        let summary = format!("{} contradicts itself: {how}", TransactionId(*at));
        anomalies.push(together(
            index.history,
            AnomalyKind::Internal,
            &[*at],
            summary,
        ));
    }
}

/// Every value of one read of a list. Other reads that are its beginnings need no look.
pub(super) fn list_values(index: &Index<'_>, read: &ListRead<'_>, anomalies: &mut Vec<Anomaly>) {
    let key = Key::List(read.list);
    let mut seen: HashSet<u64> = HashSet::with_capacity(read.values.len());
    for value in read.values {
        if !seen.insert(*value) {
            let what = format!("{key} with {value} in it twice");
            anomalies.push(of_read(
                index,
                AnomalyKind::DuplicateElement,
                read.reader,
                &what,
            ));
            continue;
        }
        if !written_and_stands(index, read.reader, key, *value, anomalies) {
            continue;
        }
        let write = index.write(key, *value);
        let missing = write.and_then(|write| write.previous.map(|previous| (write, previous)));
        if let Some((write, previous)) = missing
            && !seen.contains(&previous)
        {
            let summary = format!(
                "{} read {key} with {value} but without {previous}, which {} appended before",
                TransactionId(read.reader),
                TransactionId(write.writer)
            );
            let who = [read.reader, write.writer];
            anomalies.push(together(
                index.history,
                AnomalyKind::LostAppend,
                &who,
                summary,
            ));
        }
    }
}

/// The end of what a list read shows of others: it must not stand in the middle of a transaction.
pub(super) fn list_end(index: &Index<'_>, read: &ListRead<'_>, anomalies: &mut Vec<Anomaly>) {
    if let Some(value) = read.values[..read.external].last() {
        final_value(index, read.reader, Key::List(read.list), *value, anomalies);
    }
}

/// The value of a register.
pub(super) fn register(index: &Index<'_>, read: RegisterRead, anomalies: &mut Vec<Anomaly>) {
    let key = Key::Register(read.register);
    if let Some(value) = read.value
        && written_and_stands(index, read.reader, key, value, anomalies)
    {
        final_value(index, read.reader, key, value, anomalies);
    }
}

/// Whether somebody wrote the value who did not abort.
fn written_and_stands(
    index: &Index<'_>,
    reader: usize,
    key: Key,
    value: u64,
    anomalies: &mut Vec<Anomaly>,
) -> bool {
    let Some(write) = index.write(key, value) else {
        let what = format!("{value} in {key}, and nobody wrote that");
        anomalies.push(of_read(index, AnomalyKind::UnwrittenValue, reader, &what));
        return false;
    };
    let writer = &index.history.transactions()[write.writer];
    if writer.outcome == Outcome::Aborted {
        let summary = format!(
            "{} read {value} in {key}, which {} wrote, and that aborted",
            TransactionId(reader),
            TransactionId(write.writer)
        );
        let who = [reader, write.writer];
        anomalies.push(together(index.history, AnomalyKind::G1a, &who, summary));
        return false;
    }
    true
}

fn final_value(
    index: &Index<'_>,
    reader: usize,
    key: Key,
    value: u64,
    anomalies: &mut Vec<Anomaly>,
) {
    let write = index.write(key, value);
    // An own append may stand among those of others, if it was applied twice.
    if let Some(write) = write.filter(|write| !write.last && write.writer != reader) {
        let summary = format!(
            "{} read {key} up to {value}, after which {} wrote it again",
            TransactionId(reader),
            TransactionId(write.writer)
        );
        let who = [reader, write.writer];
        anomalies.push(together(index.history, AnomalyKind::G1b, &who, summary));
    }
}

fn of_read(index: &Index<'_>, kind: AnomalyKind, reader: usize, what: &str) -> Anomaly {
    let summary = format!("{} read {what}", TransactionId(reader));
    together(index.history, kind, &[reader], summary)
}
