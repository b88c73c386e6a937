//! The batches of a run's workers, put together.
//!
//! A commit costs much the same however little is in it, so workers that have little leave it here and go on: whoever
//! comes by once the oldest has waited long enough commits what all have left. When no shard is left, each worker holds
//! a batch with much the same groups. Who ends while others still compute leaves it to them, so that there is one
//! commit with one operand a group. Only workers commit: what is here waits for the next of them that ends a shard.
//!
//! Batches stay apart until they are committed: one with a shard that others have ended meanwhile must not take the
//! others with it.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::batch::{BATCH_SHARDS_MAX, Batch};

/// Batches of so many bytes are worth a commit of their own.
const ALONE_LEN_MIN: usize = 256 << 10;

/// Where workers leave their batches.
#[derive(Default)]
pub(super) struct Pool {
    left: Mutex<Left>,
    changed: Condvar,
}

#[derive(Default)]
struct Left {
    /// Workers that still compute.
    working: usize,
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
pub(super) struct Working<'a>(&'a Pool);

impl Pool {
    /// One more worker computes.
    pub(super) fn begin(&self) -> Working<'_> {
        self.left.lock().working += 1;
        Working(self)
    }
}

impl Working<'_> {
    /// Leaves a batch and goes on computing. Gives what this worker is to commit now: what all have left, if some of
    /// that is older than `age_max` or it is enough for a commit; else the batch alone if it is large, or nothing.
    pub(super) fn leave(&self, batch: Batch, age_max: Duration, len_max: usize) -> Vec<Batch> {
        let mut left = self.0.left.lock();
        if batch.len() >= ALONE_LEN_MIN && !left.is_due(age_max) {
            return vec![batch];
        }
        let is_enough =
            left.len + batch.len() > len_max || left.shards + batch.shards() > BATCH_SHARDS_MAX;
        if is_enough || left.is_due(age_max) || batch.is_due(age_max, len_max) {
            let mut taken = left.take();
            self.0.changed.notify_all();
            drop(left);
            taken.push(batch);
            return taken;
        }
        left.put(batch);
        Vec::new()
    }

    /// Whether some of what is left is older than `age_max`.
    pub(super) fn is_due(&self, age_max: Duration) -> bool {
        self.0.left.lock().is_due(age_max)
    }

    /// Ends computing. Gives what this worker is to commit: what all have left, if it is the last one or
    /// if nobody took it before some of it is older than `patience`; nothing, if somebody did. Where that is more than
    /// `len_max` bytes, nobody is waited for.
    pub(super) fn end(self, batch: Batch, patience: Duration, len_max: usize) -> Vec<Batch> {
        let pool = self.0;
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
        let waits = |left: &mut Left| left.rounds == round && left.working > 0;
        pool.changed.wait_while_for(&mut left, waits, patience);
        if left.rounds != round {
            return Vec::new();
        }
        pool.changed.notify_all();
        left.take()
    }
}

impl Left {
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
    }

    fn take(&mut self) -> Vec<Batch> {
        self.rounds += 1;
        (self.len, self.shards, self.begun) = (0, 0, None);
        std::mem::take(&mut self.batches)
    }
}

impl Drop for Working<'_> {
    fn drop(&mut self) {
        self.0.left.lock().working -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(shard: u64) -> Batch {
        Batch::of(shard, 10)
    }

    fn numbers(batches: Vec<Batch>) -> Vec<u64> {
        let taken = batches.into_iter().flat_map(|mut batch| batch.take().0);
        taken.map(|shard| shard.number).collect()
    }

    const FOREVER: Duration = Duration::from_hours(1);

    #[test]
    fn the_last_worker_takes_what_the_others_left() {
        let pool = Pool::default();
        let (first, second) = (pool.begin(), pool.begin());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| first.end(batch(1), FOREVER, usize::MAX));
            while pool.left.lock().batches.is_empty() {
                std::thread::yield_now();
            }
            // Whichever of the two stops computing last takes both.
            let taken = second.end(batch(2), FOREVER, usize::MAX);
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
            numbers(first.end(batch(1), Duration::ZERO, usize::MAX)),
            [1],
            "the other one still computes"
        );
        let third = pool.begin();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| third.end(batch(3), FOREVER, usize::MAX));
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
        assert!(first.leave(batch(1), FOREVER, 15).is_empty());
        assert_eq!(numbers(first.end(batch(2), FOREVER, 15)), [1, 2]);
    }

    #[test]
    fn what_is_left_is_taken_by_whoever_comes_once_it_is_old() {
        let pool = Pool::default();
        let (first, second) = (pool.begin(), pool.begin());
        assert!(first.leave(batch(1), FOREVER, usize::MAX).is_empty());
        assert!(second.leave(batch(2), FOREVER, usize::MAX).is_empty());
        assert!(first.is_due(Duration::ZERO) && !first.is_due(FOREVER));
        let taken = first.leave(Batch::default(), Duration::ZERO, usize::MAX);
        assert_eq!(numbers(taken), [1, 2]);
        assert!(!first.is_due(Duration::ZERO), "nothing is left");
        assert!(numbers(second.leave(Batch::default(), Duration::ZERO, usize::MAX)).is_empty());
        assert!(second.leave(batch(3), FOREVER, usize::MAX).is_empty());
        assert_eq!(
            numbers(first.end(batch(4), Duration::ZERO, usize::MAX)),
            [3, 4]
        );
    }

    #[test]
    fn no_more_is_left_than_a_commit_may_have() {
        let pool = Pool::default();
        let first = pool.begin();
        for shard in 0..BATCH_SHARDS_MAX as u64 {
            assert!(first.leave(batch(shard), FOREVER, usize::MAX).is_empty());
        }
        let taken = first.leave(batch(9), FOREVER, usize::MAX);
        assert_eq!(numbers(taken).len(), BATCH_SHARDS_MAX + 1);
        assert!(first.leave(batch(1), FOREVER, 19).is_empty());
        assert_eq!(numbers(first.leave(batch(2), FOREVER, 19)), [1, 2]);
        let large = |shard| Batch::of(shard, ALONE_LEN_MIN);
        assert!(first.leave(batch(3), FOREVER, usize::MAX).is_empty());
        assert_eq!(numbers(first.leave(large(5), FOREVER, usize::MAX)), [5]);
        // What is small does not stay behind what is large.
        let taken = first.leave(large(6), Duration::ZERO, usize::MAX);
        assert_eq!(numbers(taken), [3, 6]);
        assert!(!first.is_due(Duration::ZERO));
    }

    #[test]
    fn who_ends_waits_no_longer_than_what_it_has_may() {
        let pool = Pool::default();
        let (first, _second) = (pool.begin(), pool.begin());
        let old = Batch::of(1, 10).aged(Duration::from_millis(1));
        assert!(first.leave(old, FOREVER, usize::MAX).is_empty());
        // A wait of an hour would be noticed.
        let patience = Duration::from_millis(1);
        assert_eq!(numbers(first.end(batch(2), patience, usize::MAX)), [1, 2]);
    }
}
