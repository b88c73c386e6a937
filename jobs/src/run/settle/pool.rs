//! The batches of a run's workers, put together.
//!
//! A commit costs much the same however little is in it, so workers that have little leave it here and go on: whoever
//! comes by once the oldest has waited long enough commits what all have left. When no shard is left, each worker holds
//! a batch with much the same groups. Who ends while others still compute leaves it to them, so that there is one
//! commit with one operand a group.
//!
//! What a worker has computed and not left yet lies here, too, so that nothing has to wait for the shard that a worker
//! is at: where no worker comes by, the run itself [takes](Pool::take_due) what has waited long enough. Where shards take
//! long, workers [hand over](Working::hand_over) each as soon as it is computed: the run commits it at once, and the
//! worker goes on meanwhile, since storage may take long, too.
//!
//! Batches stay apart until they are committed: one with a shard that others have ended meanwhile must not take the
//! others with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::batch::{BATCH_SHARDS_MAX, Batch};

/// Batches of so many bytes are worth a commit of their own.
const ALONE_LEN_MIN: usize = 256 << 10;

/// Where workers leave their batches.
#[derive(Default)]
pub(crate) struct Pool {
    left: Mutex<LeftBatches>,
    changed: Condvar,
    /// Something was handed over.
    handed_over: Notify,
}

#[derive(Default)]
struct LeftBatches {
    /// Workers that still compute: what each has computed since it last left something. Locked after this, and by
    /// its worker without it.
    working: Vec<Arc<Mutex<Batch>>>,
    batches: Vec<Batch>,
    /// Bytes in them, about.
    len: usize,
    /// Shards in them.
    shards: usize,
    /// When the first of their shards came.
    begun: Option<Instant>,
    /// How often they were taken.
    rounds: u64,
}

/// A worker that computes, until this is dropped.
pub(crate) struct Working<'a> {
    pool: &'a Pool,
    /// What it has computed.
    batch: Arc<Mutex<Batch>>,
}

impl Pool {
    /// One more worker computes.
    pub(crate) fn begin(&self) -> Working<'_> {
        let batch = Arc::default();
        let mut left = self.left.lock();
        left.working.push(Arc::clone(&batch));
        assert_eq!(
            Arc::strong_count(&batch),
            2,
            "what a worker computes is its own and the pool's"
        );
        drop(left);
        Working { pool: self, batch }
    }

    /// Waits until something is [handed over](Working::hand_over).
    pub(crate) async fn handed_over(&self) {
        self.handed_over.notified().await;
    }

    /// When the oldest shard came that waits here; `None` where none does.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let left = self.left.lock();
        let held = left.working.iter().map(|batch| batch.lock().begun());
        held.chain([left.begun]).flatten().min()
    }

    /// What is to be committed now, whatever the workers are at: where something is older than `age_max`, all that is
    /// about to be.
    pub(crate) fn take_due(&self, age_max: Duration) -> Vec<Batch> {
        if self
            .oldest()
            .is_none_or(|oldest| oldest.elapsed() < age_max)
        {
            return Vec::new();
        }
        let mut left = self.left.lock();
        let mut taken = left.take();
        for batch in &left.working {
            let mut batch = batch.lock();
            if batch.is_due(age_max / 2, usize::MAX) {
                taken.push(std::mem::take(&mut *batch));
            }
        }
        self.changed.notify_all();
        taken
    }
}

impl Working<'_> {
    /// What this worker has computed and not left. Whoever locks it is quick.
    pub(crate) fn batch(&self) -> &Mutex<Batch> {
        &self.batch
    }

    fn take(&self) -> Batch {
        std::mem::take(&mut *self.batch.lock())
    }

    /// Leaves its batch and goes on computing. Gives what this worker is to commit now: what all have left, if some of
    /// that is older than `age_max` or it is enough for a commit; else the batch alone if it is large, or nothing.
    pub(crate) fn leave(&self, age_max: Duration, len_max: usize) -> Vec<Batch> {
        let batch = self.take();
        let mut left = self.pool.left.lock();
        if batch.len() >= ALONE_LEN_MIN && !left.is_due(age_max) {
            return vec![batch];
        }
        let is_enough =
            left.len + batch.len() > len_max || left.shards + batch.shards() > BATCH_SHARDS_MAX;
        if is_enough || left.is_due(age_max) || batch.is_due(age_max, len_max) {
            let mut taken = left.take();
            self.pool.changed.notify_all();
            drop(left);
            taken.push(batch);
            return taken;
        }
        left.put(batch);
        Vec::new()
    }

    /// Leaves its batch to the run, which commits it at once, and goes on computing. Gives what this worker is to commit
    /// itself: all, where as many shards wait as there are workers, so that storage that cannot keep up holds them back.
    pub(crate) fn hand_over(&self, len_max: usize) -> Vec<Batch> {
        let batch = self.take();
        let mut left = self.pool.left.lock();
        let is_enough = left.len + batch.len() > len_max || left.shards >= left.working.len();
        left.put(batch);
        if is_enough {
            self.pool.changed.notify_all();
            return left.take();
        }
        self.pool.handed_over.notify_one();
        Vec::new()
    }

    /// Whether it is time to leave: some of what is left is older than `age_max`, or its own batch is half as old or
    /// enough for a commit.
    pub(crate) fn is_due(&self, age_max: Duration, len_max: usize) -> bool {
        // Not both locks at once: others take them in the other order.
        let is_due = self.batch.lock().is_due(age_max / 2, len_max);
        is_due || self.pool.left.lock().is_due(age_max)
    }

    /// Ends computing. Gives what this worker is to commit: what all have left, if it is the last one or
    /// if nobody took it before some of it is older than `patience`; nothing, if somebody did. Where that is more than
    /// `len_max` bytes, nobody is waited for.
    pub(crate) fn end(self, patience: Duration, len_max: usize) -> Vec<Batch> {
        let pool = self.pool;
        let batch = self.take();
        let mut left = pool.left.lock();
        if left.len + batch.len() > len_max {
            let mut taken = left.take();
            pool.changed.notify_all();
            taken.push(batch);
            return taken;
        }
        left.put(batch);
        let age = left.begun.map_or(Duration::ZERO, |begun| begun.elapsed());
        let patience = patience.saturating_sub(age);
        let round = left.rounds;
        drop(left);
        drop(self);
        let mut left = pool.left.lock();
        let waits = |left: &mut LeftBatches| left.rounds == round && !left.working.is_empty();
        pool.changed.wait_while_for(&mut left, waits, patience);
        assert!(left.rounds >= round, "round {} after {round}", left.rounds);
        if left.rounds != round {
            return Vec::new();
        }
        pool.changed.notify_all();
        left.take()
    }
}

impl LeftBatches {
    fn is_due(&self, age_max: Duration) -> bool {
        self.begun.is_some_and(|begun| begun.elapsed() >= age_max)
    }

    fn put(&mut self, batch: Batch) {
        if !batch.is_empty() {
            self.begun = match (self.begun, batch.begun()) {
                (Some(before), Some(begun)) => Some(before.min(begun)),
                (before, begun) => before.or(begun),
            };
            self.len += batch.len();
            self.shards += batch.shards();
            self.batches.push(batch);
        }
        assert_eq!(
            self.begun.is_some(),
            self.shards > 0,
            "{} shards wait",
            self.shards
        );
        assert!(
            self.batches.len() <= self.shards,
            "{} batches of {} shards",
            self.batches.len(),
            self.shards
        );
    }

    fn take(&mut self) -> Vec<Batch> {
        let shards: usize = self.batches.iter().map(Batch::shards).sum();
        assert_eq!(self.shards, shards, "shards that wait to be committed");
        assert_eq!(self.begun.is_some(), shards > 0, "{shards} shards wait");
        self.rounds += 1;
        (self.len, self.shards, self.begun) = (0, 0, None);
        std::mem::take(&mut self.batches)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        let mut left = self.pool.left.lock();
        let before = left.working.len();
        left.working
            .retain(|batch| !Arc::ptr_eq(batch, &self.batch));
        debug_assert_eq!(left.working.len() + 1, before, "a worker computes once");
        self.pool.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn batch(shard: u64) -> Batch {
        Batch::of(shard, 10)
    }

    fn numbers(batches: Vec<Batch>) -> Vec<u64> {
        let taken = batches.into_iter().flat_map(|mut batch| batch.take().0);
        taken.map(|shard| shard.number).collect()
    }

    fn leave(working: &Working<'_>, batch: Batch, age_max: Duration, len_max: usize) -> Vec<Batch> {
        *working.batch().lock() = batch;
        working.leave(age_max, len_max)
    }

    fn end(working: Working<'_>, batch: Batch, patience: Duration, len_max: usize) -> Vec<Batch> {
        *working.batch().lock() = batch;
        working.end(patience, len_max)
    }

    const FOREVER: Duration = Duration::from_hours(1);

    #[test]
    fn the_last_worker_takes_what_the_others_left() {
        let pool = Pool::default();
        let (first, second) = (pool.begin(), pool.begin());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| end(first, batch(1), FOREVER, usize::MAX));
            while pool.left.lock().batches.is_empty() {
                std::thread::yield_now();
            }
            // Whichever of the two stops computing last takes both.
            let taken = end(second, batch(2), FOREVER, usize::MAX);
            let left = waiting.join().unwrap();
            assert!(taken.is_empty() != left.is_empty());
            let all = [numbers(taken), numbers(left)].concat();
            assert_eq!(all, [1, 2]);
        });
    }

    #[test]
    fn nothing_is_left_behind_by_workers_that_break_off_or_take_long() {
        let pool = Pool::default();
        let (first, second) = (pool.begin(), pool.begin());
        assert_eq!(
            numbers(end(first, batch(1), Duration::ZERO, usize::MAX)),
            [1],
            "the other one still computes"
        );
        let third = pool.begin();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| end(third, batch(3), FOREVER, usize::MAX));
            while pool.left.lock().batches.is_empty() {
                std::thread::yield_now();
            }
            drop(second);
            assert_eq!(numbers(waiting.join().unwrap()), [3]);
        });
    }

    #[test]
    fn what_is_too_long_waits_for_nobody_and_takes_what_was_left() {
        let pool = Pool::default();
        let (first, _second) = (pool.begin(), pool.begin());
        assert!(leave(&first, batch(1), FOREVER, 15).is_empty());
        assert_eq!(numbers(end(first, batch(2), FOREVER, 15)), [1, 2]);
    }

    #[test]
    fn what_is_left_is_taken_by_whoever_comes_once_it_is_old() {
        let pool = Pool::default();
        let (first, second) = (pool.begin(), pool.begin());
        assert!(leave(&first, batch(1), FOREVER, usize::MAX).is_empty());
        assert!(leave(&second, batch(2), FOREVER, usize::MAX).is_empty());
        assert!(first.is_due(Duration::ZERO, 99) && !first.is_due(FOREVER, 99));
        let taken = leave(&first, Batch::default(), Duration::ZERO, usize::MAX);
        assert_eq!(numbers(taken), [1, 2]);
        assert!(!first.is_due(Duration::ZERO, 99), "nothing is left");
        assert!(numbers(leave(&second, Batch::default(), Duration::ZERO, usize::MAX)).is_empty());
        assert!(leave(&second, batch(3), FOREVER, usize::MAX).is_empty());
        assert_eq!(
            numbers(end(first, batch(4), Duration::ZERO, usize::MAX)),
            [3, 4]
        );
    }

    #[test]
    fn no_more_is_left_than_a_commit_may_have() {
        let pool = Pool::default();
        let first = pool.begin();
        for shard in 0..BATCH_SHARDS_MAX as u64 {
            assert!(leave(&first, batch(shard), FOREVER, usize::MAX).is_empty());
        }
        let taken = leave(&first, batch(9), FOREVER, usize::MAX);
        assert_eq!(numbers(taken).len(), BATCH_SHARDS_MAX + 1);
        assert!(leave(&first, batch(1), FOREVER, 19).is_empty());
        assert_eq!(numbers(leave(&first, batch(2), FOREVER, 19)), [1, 2]);
        let large = |shard| Batch::of(shard, ALONE_LEN_MIN);
        assert!(leave(&first, batch(3), FOREVER, usize::MAX).is_empty());
        assert_eq!(numbers(leave(&first, large(5), FOREVER, usize::MAX)), [5]);
        // What is small does not stay behind what is large.
        let taken = leave(&first, large(6), Duration::ZERO, usize::MAX);
        assert_eq!(numbers(taken), [3, 6]);
        assert!(!first.is_due(Duration::ZERO, 99));
    }

    #[test]
    fn what_is_handed_over_is_the_runs_until_it_does_not_keep_up() {
        let pool = Pool::default();
        let (first, second) = (pool.begin(), pool.begin());
        let hand_over = |working: &Working<'_>, shard| {
            *working.batch().lock() = batch(shard);
            numbers(working.hand_over(25))
        };
        let told = || pool.handed_over().now_or_never().is_some();
        assert!(hand_over(&first, 1).is_empty() && told() && !told());
        assert_eq!(numbers(pool.take_due(Duration::ZERO)), [1]);
        // As many as there are workers wait, and nobody has come for them.
        assert!(hand_over(&first, 2).is_empty() && hand_over(&second, 3).is_empty());
        assert_eq!(hand_over(&first, 4), [2, 3, 4]);
        // Bytes count, too.
        let _third = pool.begin();
        assert!(hand_over(&first, 5).is_empty() && hand_over(&first, 6).is_empty());
        assert_eq!(hand_over(&second, 7), [5, 6, 7]);
    }

    #[test]
    fn who_ends_waits_no_longer_than_what_it_has_may() {
        let pool = Pool::default();
        let (first, _second) = (pool.begin(), pool.begin());
        let old = Batch::of(1, 10).aged(Duration::from_millis(1));
        assert!(leave(&first, old, FOREVER, usize::MAX).is_empty());
        // A wait of an hour would be noticed.
        let patience = Duration::from_millis(1);
        assert_eq!(numbers(end(first, batch(2), patience, usize::MAX)), [1, 2]);
    }

    #[test]
    fn what_has_waited_long_is_taken_while_its_workers_compute() {
        let pool = Pool::default();
        let (first, second) = (pool.begin(), pool.begin());
        assert!(pool.oldest().is_none() && pool.take_due(Duration::ZERO).is_empty());
        assert!(leave(&first, batch(1), FOREVER, usize::MAX).is_empty());
        // Computed, and left to nobody.
        *first.batch().lock() = batch(2);
        assert!(pool.take_due(FOREVER).is_empty());
        *second.batch().lock() = batch(3).aged(Duration::from_mins(2));
        assert_eq!(pool.oldest(), second.batch().lock().begun());
        assert_eq!(numbers(pool.take_due(Duration::from_mins(2))), [1, 3]);
        // It was computed a moment ago.
        assert_eq!(first.batch().lock().shards(), 1);
        assert_eq!(numbers(pool.take_due(Duration::ZERO)), [2]);
        // Who ended and left something is told that somebody took it.
        drop(second);
        let third = pool.begin();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| end(third, batch(4), FOREVER, usize::MAX));
            let taken = loop {
                let taken = pool.take_due(Duration::ZERO);
                if !taken.is_empty() {
                    break taken;
                }
                std::thread::yield_now();
            };
            assert_eq!(numbers(taken), [4]);
            drop(first);
            assert!(waiting.join().unwrap().is_empty());
        });
    }
}
