//! The shards that are still to be done, handed out in order.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Hands each shard to one worker of this process.
#[derive(Debug)]
pub(super) struct Queue {
    shards: Vec<u32>,
    next: AtomicUsize,
}

impl Queue {
    pub(super) fn new(shards: Vec<u32>) -> Queue {
        Queue {
            shards,
            next: AtomicUsize::new(0),
        }
    }

    /// The next shard, if any is left.
    pub(super) fn next(&self) -> Option<u64> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        self.shards.get(index).map(|shard| u64::from(*shard))
    }

    /// Shards that were not handed out yet.
    pub(super) fn left(&self) -> usize {
        self.shards
            .len()
            .saturating_sub(self.next.load(Ordering::Relaxed))
    }
}
