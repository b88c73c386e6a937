//! What the slots of this process are at: shards at work and shards done, of all jobs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use eciton_jobs::run::{Event, Observer};
use eciton_proto::limits::ASIDE_LEN_MAX;
use parking_lot::Mutex;

/// Counts what the slots of this process do.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    at_work: Mutex<AtWork>,
    /// Shards that ended here with their results in a store.
    done: AtomicU64,
}

#[derive(Debug, Default)]
struct AtWork {
    /// The number of the last run.
    last: u64,
    runs: HashMap<u64, RunActivity>,
}

/// A run of a job, here.
#[derive(Debug)]
struct RunActivity {
    job: String,
    /// Its shards at work.
    shards: HashSet<u64>,
    /// Why none are taken for a while; empty if they are.
    aside: String,
}

impl Activity {
    /// Takes notice of a job from now on: a run of it begins here. What an earlier one left unfinished is at work no
    /// more, nor is what this one leaves once nobody tells of it. Whatever is told goes on to `next`.
    pub(crate) fn of(
        self: &Arc<Activity>,
        job: &str,
        next: Arc<dyn Observer>,
    ) -> Arc<dyn Observer> {
        let mut at_work = self.at_work.lock();
        at_work.runs.retain(|_, run| run.job != job);
        at_work.last += 1;
        let run = at_work.last;
        let begun = RunActivity {
            job: job.to_owned(),
            shards: HashSet::new(),
            aside: String::new(),
        };
        at_work.runs.insert(run, begun);
        Arc::new(OfRun {
            activity: Arc::clone(self),
            run,
            next,
        })
    }

    /// How many shards of each job are at work here, for those of which any are.
    pub(super) fn running(&self) -> BTreeMap<String, u32> {
        let at_work = self.at_work.lock();
        let busy = at_work.runs.values().filter(|run| !run.shards.is_empty());
        let told = busy.map(|run| {
            let shards = u32::try_from(run.shards.len()).unwrap_or(u32::MAX);
            (run.job.clone(), shards)
        });
        told.collect()
    }

    /// How many shards of each job are at work here, for all jobs that are worked on.
    pub(crate) fn jobs(&self) -> BTreeMap<String, u32> {
        let at_work = self.at_work.lock();
        let told = at_work.runs.values().map(|run| {
            let shards = u32::try_from(run.shards.len()).unwrap_or(u32::MAX);
            (run.job.clone(), shards)
        });
        told.collect()
    }

    /// The jobs of which no shard is taken here for a while, and why.
    pub(super) fn asides(&self) -> BTreeMap<String, String> {
        let at_work = self.at_work.lock();
        let aside = at_work.runs.values().filter(|run| !run.aside.is_empty());
        let told = aside.map(|run| (run.job.clone(), run.aside.clone()));
        told.collect()
    }

    /// Shards that ended here with their results in a store.
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}

struct OfRun {
    activity: Arc<Activity>,
    run: u64,
    next: Arc<dyn Observer>,
}

impl OfRun {
    /// Changes what the run is at, unless a later one of its job has begun.
    fn change(&self, change: impl FnOnce(&mut HashSet<u64>)) {
        if let Some(run) = self.activity.at_work.lock().runs.get_mut(&self.run) {
            change(&mut run.shards);
        }
    }

    /// Takes notice of why no shard of the job is taken for a while; of nothing once they are again.
    fn put_aside(&self, why: &str) {
        if let Some(run) = self.activity.at_work.lock().runs.get_mut(&self.run) {
            why[..why.floor_char_boundary(ASIDE_LEN_MAX)].clone_into(&mut run.aside);
        }
    }
}

impl Observer for OfRun {
    fn observe(&self, event: &Event<'_>) {
        match event {
            Event::ShardStarted { shard } => self.change(|shards| {
                shards.insert(*shard);
            }),
            // One that failed, or whose results were lost, may be tried again anywhere.
            Event::ShardDone { shard, .. }
            | Event::ShardDropped { shard }
            | Event::ResultsLost { shard }
            | Event::AttemptFailed { shard, .. }
            | Event::ShardGivenBack { shard }
            | Event::ShardFailed { shard, .. } => self.change(|shards| {
                shards.remove(shard);
            }),
            Event::SourceMissing { error, .. } => self.put_aside(error),
            Event::SourceBack => self.put_aside(""),
            _ => {}
        }
        if matches!(event, Event::ShardDone { .. }) {
            self.activity.done.fetch_add(1, Ordering::Relaxed);
        }
        self.next.observe(event);
    }
}

impl Drop for OfRun {
    fn drop(&mut self) {
        self.activity.at_work.lock().runs.remove(&self.run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eciton_jobs::run::Silent;

    fn running(activity: &Activity) -> Vec<(String, u32)> {
        activity.running().into_iter().collect()
    }

    #[test]
    fn shards_come_and_go() {
        let activity = Arc::new(Activity::default());
        let told = activity.of("a", Arc::new(Silent));
        let other = activity.of("b", Arc::new(Silent));
        assert_eq!(running(&activity), []);
        other.observe(&Event::ShardStarted { shard: 1 });
        for shard in 1..=3 {
            told.observe(&Event::ShardStarted { shard });
        }
        assert_eq!(running(&activity), [("a".into(), 3), ("b".into(), 1)]);
        let done = Event::ShardDone {
            shard: 1,
            rows_read: 0,
            rows_skipped: 0,
            records_merged: 0,
            conflicts: 0,
        };
        told.observe(&done);
        let failed = Event::AttemptFailed {
            shard: 2,
            attempt: 1,
            error: "",
            retry_in_ms: 1,
        };
        told.observe(&failed);
        assert_eq!(running(&activity), [("a".into(), 1), ("b".into(), 1)]);
        told.observe(&Event::ResultsLost { shard: 3 });
        assert_eq!(running(&activity), [("b".into(), 1)]);
        assert_eq!(activity.done(), 1);
    }

    /// A job that was cancelled stops in the middle of its shards, and tells of none of them.
    #[test]
    fn a_run_that_is_over_has_nothing_at_work() {
        let activity = Arc::new(Activity::default());
        let first = activity.of("a", Arc::new(Silent));
        first.observe(&Event::ShardStarted { shard: 1 });
        drop(first);
        assert_eq!(running(&activity), []);
        let second = activity.of("a", Arc::new(Silent));
        second.observe(&Event::ShardStarted { shard: 1 });
        let third = activity.of("a", Arc::new(Silent));
        assert_eq!(running(&activity), [], "another run begins");
        third.observe(&Event::ShardStarted { shard: 2 });
        second.observe(&Event::ShardStarted { shard: 3 });
        drop(second);
        assert_eq!(running(&activity), [("a".into(), 1)]);
    }

    #[test]
    fn a_job_whose_files_are_missing_is_told_of_until_they_are_back() {
        let activity = Arc::new(Activity::default());
        let told = activity.of("a", Arc::new(Silent));
        told.observe(&Event::ShardStarted { shard: 1 });
        told.observe(&Event::ShardGivenBack { shard: 1 });
        let long = "é".repeat(ASIDE_LEN_MAX);
        told.observe(&Event::SourceMissing {
            pause: std::time::Duration::from_secs(1),
            error: &long,
        });
        assert_eq!(running(&activity), []);
        assert_eq!(activity.asides()["a"].len(), ASIDE_LEN_MAX);
        told.observe(&Event::SourceBack);
        assert!(activity.asides().is_empty());
    }
}
