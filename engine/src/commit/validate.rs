//! Decides which intents of a batch commit in the next slot (S5 of the protocol). No I/O: the same
//! window and batch give the same verdicts.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::window::{TxOutcome, Window};
use crate::base::metric::Met;
use crate::base::{Error, Generation, Key, Mutant, Op, Position, RunRef, TxId};
use crate::coord::{Intent, Origin, ReadSet, Writes};

/// What becomes of an intent.
#[derive(Debug)]
pub(super) enum Verdict {
    /// It goes into the next slot.
    Accept,
    /// It committed before, in this slot.
    Settled(Position),
    /// It cannot commit as it is.
    Reject(Refusal),
    /// A member of the same batch decides it, once the batch is written; if another process writes the
    /// slot instead, nothing is decided.
    IfWritten(Result<Position, Refusal>),
    /// It can no longer be validated here, and others may still commit it; but it stands in no slot so far. A
    /// cancel in the next slot settles it.
    Withdraw,
    /// It read a state that this process has not reached: it stays for later.
    Later,
}

/// Why an intent cannot commit.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: Error,
    /// Where it conflicts: with what.
    pub(super) met: Option<Met>,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal { error, met: None }
    }
}

/// The keys that accepted members of the batch write: later members conflict with them too.
#[derive(Default)]
struct BatchWrites {
    keys: BTreeSet<Bytes>,
    bulk: Vec<(Bytes, Bytes)>,
    seen: HashSet<TxId>,
    cancelled: HashSet<TxId>,
}

/// Where the next slot stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct NextSlot {
    /// The slot before it.
    pub(super) applied: Position,
    /// Its generation.
    pub(super) generation: Generation,
}

/// Judges intents for the slot after `place.applied`, in the order given. Cancels come first, so that they
/// win over what they cancel.
pub(super) fn validate(window: &Window, place: NextSlot, intents: &[Arc<Intent>]) -> Vec<Verdict> {
    let mut batch = BatchWrites::default();
    let last = intents.len().saturating_sub(1);
    let validated = intents.iter().enumerate().map(|(index, intent)| {
        let verdict = validate_one(window, place, &batch, intent);
        match verdict {
            // What the last one writes nobody asks about.
            _ if index == last => {}
            Verdict::Accept => batch.accept(intent),
            Verdict::Withdraw => drop(batch.cancelled.insert(intent.txid)),
            _ => {}
        }
        verdict
    });
    validated.collect()
}

fn validate_one(window: &Window, place: NextSlot, batch: &BatchWrites, intent: &Intent) -> Verdict {
    let read_at = intent.read_at;
    if read_at > place.applied {
        return Verdict::Later;
    }
    if let Some(verdict) = settled(window, place, batch, intent) {
        return verdict;
    }
    if let Writes::Cancel(target) = intent.writes {
        return cancel(window, batch, read_at, target);
    }
    if let Some(verdict) = too_old(window, place, intent) {
        return verdict;
    }
    if let Writes::Bulk { runs, generation } = &intent.writes
        && let Some(gone) = gone(window, place, runs, *generation)
    {
        return Verdict::Reject(gone.into());
    }
    let conflict = |(met, key): (Met, Bytes)| Refusal {
        error: Error::Conflict {
            what: describe(&key),
            read_at,
        },
        met: Some(met),
    };
    if let Some(met) = window.conflict(&intent.reads, read_at) {
        return Verdict::Reject(conflict(met));
    }
    match batch.conflict(&intent.reads) {
        Some(met) => Verdict::IfWritten(Err(conflict(met))),
        None => Verdict::Accept,
    }
}

/// What is known of this very transaction already.
fn settled(
    window: &Window,
    place: NextSlot,
    batch: &BatchWrites,
    intent: &Intent,
) -> Option<Verdict> {
    let txid = intent.txid;
    if batch.seen.contains(&txid) {
        return Some(Verdict::IfWritten(Ok(place.applied.next())));
    }
    if batch.cancelled.contains(&txid) {
        return Some(Verdict::IfWritten(Err(Error::Cancelled { txid }.into())));
    }
    match window.settled(txid)? {
        TxOutcome::Committed(_) if Mutant::NoDedup.on() => None,
        TxOutcome::Committed(n) => Some(Verdict::Settled(n)),
        TxOutcome::Cancelled(n) if Mutant::CancelAnsweredCommitted.on() => {
            Some(Verdict::Settled(n))
        }
        TxOutcome::Cancelled(_) => Some(Verdict::Reject(Error::Cancelled { txid }.into())),
    }
}

/// A cancel is validated like anything else: `read_at` is a position through which its target is known to
/// be absent, and what came after must be remembered.
fn cancel(window: &Window, batch: &BatchWrites, read_at: Position, target: TxId) -> Verdict {
    let oldest = window.seen_base();
    if read_at < oldest && !Mutant::CancelNoWindow.on() {
        return Verdict::Reject(Error::TooOld { read_at, oldest }.into());
    }
    let known = || {
        Refusal::from(Error::Invalid(format!(
            "transaction {target} is settled already"
        )))
    };
    if window.settled(target).is_some() {
        return Verdict::Reject(known());
    }
    if batch.cancelled.contains(&target) || batch.seen.contains(&target) {
        return Verdict::IfWritten(Err(known()));
    }
    Verdict::Accept
}

fn too_old(window: &Window, place: NextSlot, intent: &Intent) -> Option<Verdict> {
    if Mutant::NoWindow.on() {
        return None;
    }
    let read_at = intent.read_at;
    let slots_max = window.bounds().window_slots_max;
    let lag = Position(place.applied.next().0.saturating_sub(slots_max));
    let is_let_in = intent.origin == Origin::Foreign && Mutant::NoWmax.on();
    let everybody_refuses = read_at < lag && !is_let_in;
    if read_at >= window.base() && !everybody_refuses {
        return None;
    }
    let oldest = window.base().max(lag);
    let reject = Verdict::Reject(Error::TooOld { read_at, oldest }.into());
    let is_absent = read_at >= window.seen_base();
    Some(match intent.origin {
        Origin::Own if Mutant::GapDead.on() => reject,
        Origin::Own if !is_absent => Verdict::Reject(
            Error::CommitUnknown {
                txid: intent.txid,
                cause: format!("slots after {read_at}, which may hold it, were not read"),
            }
            .into(),
        ),
        Origin::Own if !everybody_refuses => Verdict::Withdraw,
        // To others this is a hint; who asks alone needs no more.
        _ => reject,
    })
}

/// The run that may be gone by the time the slot is read, or is not on every path.
fn gone(
    window: &Window,
    place: NextSlot,
    runs: &[RunRef],
    written_under: Generation,
) -> Option<Error> {
    let collected = window.collected();
    let is_gone = |run: &&RunRef| {
        let tag_is_low = run.id.tag <= collected.0 && !Mutant::CollectUnchecked.on();
        tag_is_low || written_under != place.generation
    };
    let run = runs.iter().find(is_gone)?;
    Some(Error::SnapshotTooOld {
        object: format!("the run {} of the transaction", run.id),
    })
}

impl BatchWrites {
    fn accept(&mut self, intent: &Intent) {
        self.seen.insert(intent.txid);
        if Mutant::SameBatch.on() {
            return;
        }
        match &intent.writes {
            Writes::Small(writes) => {
                let counts = |op: &Op| op.hides_older() || !Mutant::MergeNoConflict.on();
                let written = writes.iter().filter(|(_, op)| counts(op));
                self.keys.extend(written.map(|(key, _)| key.clone()));
            }
            Writes::Bulk { runs, .. } => {
                let ranges = runs
                    .iter()
                    .map(|run| (run.first_key.clone(), run.last_key.clone()));
                self.bulk.extend(ranges);
            }
            Writes::Cancel(target) => drop(self.cancelled.insert(*target)),
            Writes::Collect(_) => {}
        }
    }

    fn conflict(&self, reads: &ReadSet) -> Option<(Met, Bytes)> {
        if self.keys.is_empty() && self.bulk.is_empty() {
            return None;
        }
        let in_bulk = |key: &Bytes| {
            self.bulk
                .iter()
                .any(|(first, last)| first <= key && key <= last)
        };
        let written = |key: &&Bytes| self.keys.contains(*key) || in_bulk(key);
        let key = reads.keys.iter().find(written);
        let key = key.map(|key| (Met::Key, key.clone()));
        key.or_else(|| {
            if Mutant::RangeIgnored.on() {
                return None;
            }
            let key = reads.ranges.iter().find_map(|range| {
                let bounds = (Bound::Included(&range.from[..]), range.end_bound());
                let key = self.keys.range::<[u8], _>(bounds).next().cloned();
                let bulk = || {
                    self.bulk
                        .iter()
                        .find(|(first, last)| range.overlaps(first, last))
                };
                key.or_else(|| bulk().map(|(first, _)| first.clone()))
            });
            key.map(|key| (Met::Range, key))
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
    use crate::base::limits::WINDOW_SLOTS_MAX;
    use crate::base::{Bounds, ManifestId, SegmentId};
    use crate::coord::KeyRange;
    use crate::fold::Memtable;
    use crate::log::{Body, LogRecord};

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
            read_hash: 0,
            origin: Origin::Alone,
            reads: ReadSet {
                keys,
                ranges: Vec::new(),
            },
            writes: Writes::Small(writes.collect()),
            len: 0,
        })
    }

    fn record(id: u128, body: Body) -> LogRecord {
        LogRecord {
            txid: TxId(id),
            read_at: Position(0),
            body,
        }
    }

    fn window(writes: &[(u64, &'static str)]) -> (Window, Position) {
        let table = Memtable::new(Position(0));
        let mut applied = Position(0);
        for (slot, key) in writes {
            applied = Position(*slot);
            table.insert(applied, &Bytes::from_static(key.as_bytes()), &Op::Delete);
            table.publish(applied);
        }
        let mut window = Window::new(Position(0), Arc::new(table), Bounds::default());
        window.advance(applied);
        (window, applied)
    }

    fn verdicts(window: &Window, applied: Position, intents: &[Arc<Intent>]) -> String {
        let letter = |verdict: &Verdict| match verdict {
            Verdict::Accept => 'A',
            Verdict::Settled(_) => 'S',
            Verdict::Reject(refusal) => match (&refusal.error, refusal.met) {
                (Error::Conflict { .. }, Some(Met::Key)) => 'K',
                (Error::Conflict { .. }, Some(Met::Range)) => 'R',
                (Error::TooOld { .. }, None) => 'O',
                _ => '?',
            },
            Verdict::IfWritten(Ok(_)) => 's',
            Verdict::IfWritten(Err(refusal)) => match (&refusal.error, refusal.met) {
                (Error::Conflict { .. }, Some(Met::Key)) => 'k',
                (Error::Conflict { .. }, Some(Met::Range)) => 'r',
                _ => '!',
            },
            Verdict::Withdraw => 'W',
            Verdict::Later => 'L',
        };
        let place = NextSlot {
            applied,
            generation: Generation(0),
        };
        validate(window, place, intents)
            .iter()
            .map(letter)
            .collect()
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
        assert_eq!(verdicts(&window, applied, &batch), "AkAA");
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
        assert_eq!(verdicts(&window, applied, &batch), "Ar");
        // The same once it is written.
        let (written, at) = self::window(&[(1, "b")]);
        assert_eq!(verdicts(&written, at, &batch[1..]), "R");
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
        window.record(Position(1), &record(1, Body::Writes(Vec::new())));
        let batch = [
            intent(1, 0, &["x"], &["x"]),
            intent(2, 9, &[], &[]),
            intent(3, 0, &["x"], &[]),
            intent(4, 1, &["x"], &["q"]),
            intent(4, 1, &["x"], &["q"]),
        ];
        assert_eq!(verdicts(&window, applied, &batch), "SLKAs");
    }

    #[test]
    fn what_read_before_the_window_is_too_old() {
        let (window, _) = window(&[]);
        let far = Position(WINDOW_SLOTS_MAX + 3);
        let batch = [intent(1, 3, &[], &[]), intent(2, 4, &[], &[])];
        assert_eq!(verdicts(&window, far, &batch), "OA");
    }

    fn of(origin: Origin, intent: &Arc<Intent>) -> Arc<Intent> {
        Arc::new(Intent {
            origin,
            ..Intent::clone(intent)
        })
    }

    fn cancel_of(id: u128, read_at: u64, target: u128) -> Arc<Intent> {
        Arc::new(Intent {
            writes: Writes::Cancel(TxId(target)),
            ..Intent::clone(&intent(id, read_at, &[], &[]))
        })
    }

    #[test]
    fn a_cancel_wins_over_what_it_cancels_and_comes_too_late_for_what_committed() {
        let (mut window, applied) = window(&[(1, "x")]);
        window.record(Position(1), &record(1, Body::Writes(Vec::new())));
        let batch = [
            cancel_of(10, 0, 1),
            cancel_of(11, 0, 2),
            cancel_of(12, 0, 2),
            intent(2, 1, &[], &["y"]),
        ];
        assert_eq!(verdicts(&window, applied, &batch), "?A!!");
        window.record(Position(2), &record(11, Body::Cancel(TxId(2))));
        assert_eq!(verdicts(&window, Position(2), &batch[3..]), "?");
    }

    #[test]
    fn what_others_may_still_commit_is_withdrawn_and_not_just_refused() {
        let bounds = Bounds {
            window_slots_max: 10,
            window_len_max: 0,
            ..Bounds::default()
        };
        let table = |base: u64| {
            let table = Memtable::new(Position(base));
            table.insert(Position(base + 1), &Bytes::from("k"), &Op::Delete);
            table.publish(Position(base + 1));
            Arc::new(table)
        };
        let mut window = Window::new(Position(0), table(4), bounds);
        window.push(&table(5));
        window.push(&table(6));
        window.advance(Position(7));
        assert_eq!(window.base(), Position(6));
        let read = intent(1, 2, &["x"], &["x"]);
        let applied = Position(7);
        assert_eq!(verdicts(&window, applied, &[of(Origin::Alone, &read)]), "O");
        assert_eq!(
            verdicts(&window, applied, &[of(Origin::Foreign, &read)]),
            "O"
        );
        assert_eq!(verdicts(&window, applied, &[of(Origin::Own, &read)]), "W");
        // Where every process refuses it, no cancel is needed.
        window.advance(Position(12));
        let late = intent(1, 2, &[], &[]);
        assert_eq!(
            verdicts(&window, Position(12), &[of(Origin::Own, &late)]),
            "O"
        );
        // What was not read without a gap may have committed.
        window.reset(Position(20), table(20));
        assert_eq!(
            verdicts(&window, Position(20), &[of(Origin::Own, &late)]),
            "?"
        );
    }

    #[test]
    fn a_run_that_may_have_been_collected_is_refused() {
        let (mut window, applied) = window(&[]);
        let run = |tag| RunRef {
            id: SegmentId { tag, unique: 1 },
            len: 1,
            entries: 1,
            hash: 0,
            first_key: Bytes::from("a"),
            last_key: Bytes::from("b"),
        };
        let bulk = |tag, generation| {
            Arc::new(Intent {
                writes: Writes::Bulk {
                    runs: vec![run(tag)],
                    generation: Generation(generation),
                },
                ..Intent::clone(&intent(9, 0, &[], &[]))
            })
        };
        window.record(Position(0), &record(3, Body::Collect(ManifestId(5))));
        window.record(Position(0), &record(4, Body::Collect(ManifestId(4))));
        assert_eq!(verdicts(&window, applied, &[bulk(5, 0)]), "?");
        assert_eq!(verdicts(&window, applied, &[bulk(6, 0)]), "A");
        assert_eq!(verdicts(&window, applied, &[bulk(6, 1)]), "?");
    }
}
