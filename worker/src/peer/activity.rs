//! What this process is at: shards at work and shards done, of all jobs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eciton_jobs::run::{Event, Observer};
use parking_lot::Mutex;

/// Counts what the slots of this process do.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Shards at work, by job.
    at_work: Mutex<HashMap<String, HashSet<u64>>>,
    /// Shards that ended here with their results in a store.
    done: AtomicU64,
}

impl Activity {
    /// Takes notice of a job from now on: a run of it begins here. What an earlier one left unfinished is at work no
    /// more. Whatever is told goes on to `next`.
    pub(crate) fn of(self: &Arc<Activity>, job: &str, next: impl Observer) -> Arc<dyn Observer> {
        self.at_work.lock().remove(job);
        Arc::new(OfJob {
            activity: Arc::clone(self),
            job: job.to_owned(),
            next,
        })
    }

    /// Shards of a job that are at work here.
    pub(super) fn running(&self, job: &str) -> u64 {
        self.at_work
            .lock()
            .get(job)
            .map_or(0, |shards| shards.len() as u64)
    }

    /// Shards that are at work here.
    pub(super) fn busy(&self) -> u32 {
        let shards = self
            .at_work
            .lock()
            .values()
            .map(HashSet::len)
            .sum::<usize>();
        u32::try_from(shards).unwrap_or(u32::MAX)
    }

    /// Shards that ended here with their results in a store.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

struct OfJob<O> {
    activity: Arc<Activity>,
    job: String,
    next: O,
}

impl<O: Observer> Observer for OfJob<O> {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::ShardStarted { shard } => {
                let mut at_work = self.activity.at_work.lock();
                at_work.entry(self.job.clone()).or_default().insert(*shard);
            }
            Event::ShardDone { shard, .. }
            | Event::ShardDropped { shard }
            | Event::ShardFailed { shard, .. } => {
                let mut at_work = self.activity.at_work.lock();
                if let Some(shards) = at_work.get_mut(&self.job) {
                    shards.remove(shard);
                    if shards.is_empty() {
                        at_work.remove(&self.job);
                    }
                }
                if matches!(event, Event::ShardDone { .. }) {
                    self.activity.done.fetch_add(1, Ordering::Relaxed);
                }
            }
            _ => {}
        }
        self.next.observe(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eciton_jobs::run::Silent;

    #[test]
    fn shards_come_and_go() {
        let activity = Arc::new(Activity::default());
        let told = activity.of("a", Silent);
        told.observe(&Event::ShardStarted { shard: 1 });
        told.observe(&Event::ShardStarted { shard: 2 });
        assert_eq!((activity.running("a"), activity.busy()), (2, 2));
        let done = Event::ShardDone {
            shard: 1,
            rows_read: 0,
            rows_skipped: 0,
            records_merged: 0,
            conflicts: 0,
        };
        told.observe(&done);
        assert_eq!((activity.running("a"), activity.done()), (1, 1));
        activity.of("a", Silent);
        assert_eq!(
            activity.running("a"),
            0,
            "a run that ended has nothing at work"
        );
    }
}
