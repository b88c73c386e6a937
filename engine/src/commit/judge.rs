//! Decides which intents of a batch commit in the next slot (S5 of the protocol). No I/O: the same
//! window and batch give the same verdicts.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::window::Window;
use crate::base::limits::WINDOW_SLOTS_MAX;
use crate::base::{Error, Key, Position, TxId};
use crate::coord::{Intent, ReadSet, Writes};

/// What becomes of an intent.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes into the next slot.
    Accept,
    /// It committed before, in this slot.
    Settled(Position),
    /// It cannot commit as it is.
    Reject(Error),
    /// It read a state that this process has not reached: it stays for later.
    Later,
}

/// The keys that accepted members of the batch write: later members conflict with them too.
#[derive(Default)]
struct Batch {
    keys: BTreeSet<Bytes>,
    bulk: Vec<(Bytes, Bytes)>,
    seen: HashSet<TxId>,
}

/// Judges intents for slot `applied + 1`, in the order given.
pub(super) fn judge(window: &Window, applied: Position, intents: &[Arc<Intent>]) -> Vec<Verdict> {
    let mut batch = Batch::default();
    let judged = intents.iter().map(|intent| {
        let verdict = judge_one(window, applied, &batch, intent);
        if matches!(verdict, Verdict::Accept) {
            batch.accept(intent);
        }
        verdict
    });
    judged.collect()
}

fn judge_one(window: &Window, applied: Position, batch: &Batch, intent: &Intent) -> Verdict {
    let read_at = intent.read_at;
    if read_at > applied {
        return Verdict::Later;
    }
    let oldest = window
        .base()
        .max(Position(applied.next().0.saturating_sub(WINDOW_SLOTS_MAX)));
    if read_at < oldest {
        return Verdict::Reject(Error::TooOld { read_at, oldest });
    }
    if let Some(n) = window.settled(intent.txid) {
        return Verdict::Settled(n);
    }
    if batch.seen.contains(&intent.txid) {
        return Verdict::Settled(applied.next());
    }
    let conflict = window
        .conflict(&intent.reads, read_at)
        .or_else(|| batch.conflict(&intent.reads));
    match conflict {
        Some(key) => Verdict::Reject(Error::Conflict {
            what: describe(&key),
            read_at,
        }),
        None => Verdict::Accept,
    }
}

impl Batch {
    fn accept(&mut self, intent: &Intent) {
        self.seen.insert(intent.txid);
        match &intent.writes {
            Writes::Small(writes) => self.keys.extend(writes.iter().map(|(key, _)| key.clone())),
            Writes::Bulk(runs) => {
                let ranges = runs
                    .iter()
                    .map(|run| (run.first_key.clone(), run.last_key.clone()));
                self.bulk.extend(ranges);
            }
        }
    }

    fn conflict(&self, reads: &ReadSet) -> Option<Bytes> {
        if self.keys.is_empty() && self.bulk.is_empty() {
            return None;
        }
        let in_bulk = |key: &Bytes| {
            self.bulk
                .iter()
                .any(|(first, last)| first <= key && key <= last)
        };
        let written = |key: &&Bytes| self.keys.contains(*key) || in_bulk(key);
        let key = reads.keys.iter().find(written).cloned();
        key.or_else(|| {
            reads.ranges.iter().find_map(|range| {
                let bounds = (Bound::Included(&range.from[..]), range.end_bound());
                let key = self.keys.range::<[u8], _>(bounds).next().cloned();
                let bulk = || {
                    self.bulk
                        .iter()
                        .find(|(first, last)| range.overlaps(first, last))
                };
                key.or_else(|| bulk().map(|(first, _)| first.clone()))
            })
        })
    }
}

/// Names a key, its store's number included, for people.
fn describe(key: &[u8]) -> String {
    let Some((store, key)) = key.split_first_chunk::<4>() else {
        return "a key".to_owned();
    };
    let store = u32::from_be_bytes(*store);
    match Key::from_encoded(key.to_vec()).to_json() {
        Ok(json) => format!("key {json} of store {store}"),
        Err(_) => format!("a key of store {store}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Op;
    use crate::coord::KeyRange;
    use crate::fold::Table;

    fn intent(
        id: u128,
        read_at: u64,
        reads: &[&'static str],
        writes: &[&'static str],
    ) -> Arc<Intent> {
        let keys = reads
            .iter()
            .map(|key| Bytes::from_static(key.as_bytes()))
            .collect();
        let writes = writes
            .iter()
            .map(|key| (Bytes::from_static(key.as_bytes()), Op::Delete));
        Arc::new(Intent {
            txid: TxId(id),
            read_at: Position(read_at),
            reads: ReadSet {
                keys,
                ranges: Vec::new(),
            },
            writes: Writes::Small(writes.collect()),
            len: 0,
        })
    }

    fn window(writes: &[(u64, &'static str)]) -> (Window, Position) {
        let table = Table::new(Position(0));
        let mut applied = Position(0);
        for (slot, key) in writes {
            applied = Position(*slot);
            table.insert(applied, &Bytes::from_static(key.as_bytes()), &Op::Delete);
            table.publish(applied);
        }
        (Window::new(Position(0), Arc::new(table)), applied)
    }

    fn verdicts(window: &Window, applied: Position, intents: &[Arc<Intent>]) -> String {
        let letter = |verdict: &Verdict| match verdict {
            Verdict::Accept => 'A',
            Verdict::Settled(_) => 'S',
            Verdict::Reject(Error::Conflict { .. }) => 'C',
            Verdict::Reject(Error::TooOld { .. }) => 'O',
            Verdict::Reject(_) => '?',
            Verdict::Later => 'L',
        };
        judge(window, applied, intents).iter().map(letter).collect()
    }

    #[test]
    fn writes_of_a_member_conflict_with_later_reads_in_the_same_batch() {
        let (window, applied) = window(&[]);
        let batch = [
            intent(1, 0, &["x"], &["x"]),
            intent(2, 0, &["x"], &["x"]),
            intent(3, 0, &["y"], &["y"]),
            intent(4, 0, &[], &["x"]),
        ];
        assert_eq!(verdicts(&window, applied, &batch), "ACAA");
    }

    #[test]
    fn a_range_meets_a_new_key_of_the_same_batch() {
        let (window, applied) = window(&[]);
        let mut reader = Intent::clone(&intent(2, 0, &[], &["z"]));
        reader.reads.ranges = vec![KeyRange {
            from: Bytes::from("a"),
            to: Bytes::from("c"),
        }];
        let batch = [intent(1, 0, &[], &["b"]), Arc::new(reader.clone())];
        assert_eq!(verdicts(&window, applied, &batch), "AC");
        reader.reads.ranges = vec![KeyRange {
            from: Bytes::from("c"),
            to: Bytes::new(),
        }];
        let batch = [intent(1, 0, &[], &["b"]), Arc::new(reader)];
        assert_eq!(verdicts(&window, applied, &batch), "AA");
    }

    #[test]
    fn settled_late_and_early_intents_are_told_apart() {
        let (mut window, applied) = window(&[(1, "x")]);
        window.record(Position(1), TxId(1));
        let batch = [
            intent(1, 0, &["x"], &["x"]),
            intent(2, 9, &[], &[]),
            intent(3, 0, &["x"], &[]),
            intent(4, 1, &["x"], &["q"]),
            intent(4, 1, &["x"], &["q"]),
        ];
        assert_eq!(verdicts(&window, applied, &batch), "SLCAS");
    }

    #[test]
    fn what_read_before_the_window_is_too_old() {
        let (window, _) = window(&[]);
        let far = Position(WINDOW_SLOTS_MAX + 3);
        let batch = [intent(1, 3, &[], &[]), intent(2, 4, &[], &[])];
        assert_eq!(verdicts(&window, far, &batch), "OA");
    }
}
