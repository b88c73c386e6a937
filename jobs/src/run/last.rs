//! The last batches of a run's workers, put together.
//!
//! When no shard is left, each worker holds a batch with much the same groups. Who ends while others
//! still compute leaves it to them, so that there is one commit with one operand a group. Nothing waits
//! here longer than batches may wait anyway.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::batch::Batch;

/// Where workers leave their last batches.
#[derive(Default)]
pub(super) struct Last {
    left: Mutex<Left>,
    changed: Condvar,
}

#[derive(Default)]
struct Left {
    /// Workers that still compute.
    working: usize,
    batch: Batch,
    /// How often the batch was taken.
    rounds: u64,
}

/// A worker that computes, until this is dropped.
pub(super) struct Working<'a>(&'a Last);

impl Last {
    /// One more worker computes.
    pub(super) fn begin(&self) -> Working<'_> {
        self.left.lock().working += 1;
        Working(self)
    }
}

impl Working<'_> {
    /// Ends computing. Gives what this worker is to commit: what all have left, if it is the last one or
    /// if nobody took it within `patience`; nothing, if somebody did. What would make more than `len_max`
    /// bytes together stays with its worker.
    pub(super) fn end(self, batch: Batch, patience: Duration, len_max: usize) -> Batch {
        let last = self.0;
        let mut left = last.left.lock();
        if left.batch.len() + batch.len() > len_max {
            return batch;
        }
        left.batch.join(batch);
        let round = left.rounds;
        drop(left);
        drop(self);
        let mut left = last.left.lock();
        let waits = |left: &mut Left| left.rounds == round && left.working > 0;
        last.changed.wait_while_for(&mut left, waits, patience);
        if left.rounds != round {
            return Batch::default();
        }
        left.rounds += 1;
        last.changed.notify_all();
        std::mem::take(&mut left.batch)
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

    fn numbers(mut batch: Batch) -> Vec<u64> {
        let (shards, _) = batch.take();
        shards.iter().map(|shard| shard.number).collect()
    }

    const FOREVER: Duration = Duration::from_hours(1);

    #[test]
    fn the_last_worker_takes_what_the_others_left() {
        let last = Last::default();
        let (first, second) = (last.begin(), last.begin());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| first.end(batch(1), FOREVER, usize::MAX));
            while last.left.lock().batch.is_empty() {
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
        let last = Last::default();
        let (first, second) = (last.begin(), last.begin());
        assert_eq!(
            numbers(first.end(batch(1), Duration::ZERO, usize::MAX)),
            [1],
            "the other one still computes"
        );
        let third = last.begin();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| third.end(batch(3), FOREVER, usize::MAX));
            while last.left.lock().batch.is_empty() {
                std::thread::yield_now();
            }
            drop(second);
            assert_eq!(numbers(waiting.join().unwrap()), [3]);
        });
    }

    #[test]
    fn what_is_too_long_stays_with_its_worker() {
        let last = Last::default();
        let (first, _second) = (last.begin(), last.begin());
        assert_eq!(numbers(first.end(batch(1), FOREVER, 9)), [1]);
    }
}
