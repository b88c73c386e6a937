//! How quickly a job goes, and when it will have ended, by looking at it from time to time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use eciton_jobs::run::JobStatus;

/// What was seen longer ago says nothing about now.
const WINDOW: Duration = Duration::from_secs(30);

/// What was seen of a job lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(VecDeque<Look>);

#[derive(Clone, Copy, Debug)]
struct Look {
    at: Instant,
    /// Shards that had ended.
    ended: u64,
    rows: u64,
    left: u64,
}

impl Pace {
    /// Takes notice of how a job stands at `at`.
    pub(crate) fn look(&mut self, job: &JobStatus, at: Instant) {
        let ended = job.shards.done + job.shards.failed;
        // After a retry some have not ended any more: what was before says nothing.
        if self.0.back().is_some_and(|last| last.ended > ended) {
            self.0.clear();
        }
        let left = job.shards.total.saturating_sub(ended);
        self.0.push_back(Look {
            at,
            ended,
            rows: job.rows_read,
            left,
        });
        while self.0.len() > 2 && at.duration_since(self.0[1].at) >= WINDOW {
            self.0.pop_front();
        }
    }

    /// Rows that shards read a second, by shards that are done; known after two looks.
    pub(crate) fn rows_per_second(&self) -> Option<f64> {
        let (first, last, seconds) = self.span()?;
        #[allow(clippy::cast_precision_loss, reason = "a speed for people")]
        Some(last.rows.saturating_sub(first.rows) as f64 / seconds)
    }

    /// Seconds until all shards will have ended, where some have ended meanwhile and some are left.
    pub(crate) fn eta_seconds(&self) -> Option<f64> {
        let (first, last, seconds) = self.span()?;
        let ended = last.ended - first.ended;
        #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
        (ended > 0 && last.left > 0).then(|| seconds * last.left as f64 / ended as f64)
    }

    fn span(&self) -> Option<(Look, Look, f64)> {
        let (first, last) = (*self.0.front()?, *self.0.back()?);
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        (seconds > 0.0).then_some((first, last, seconds))
    }
}

/// The paces of several jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paces(HashMap<String, Pace>);

impl Paces {
    /// Takes notice of how jobs stand at `at`, and forgets all others.
    pub(crate) fn look(&mut self, jobs: &[JobStatus], at: Instant) {
        let mut before = std::mem::take(&mut self.0);
        for job in jobs {
            let mut pace = before.remove(&job.name).unwrap_or_default();
            pace.look(job, at);
            self.0.insert(job.name.clone(), pace);
        }
    }

    /// See [`Pace::rows_per_second`].
    pub(crate) fn rows_per_second(&self, job: &JobStatus) -> Option<f64> {
        self.0.get(&job.name)?.rows_per_second()
    }

    /// See [`Pace::eta_seconds`].
    pub(crate) fn eta_seconds(&self, job: &JobStatus) -> Option<f64> {
        self.0.get(&job.name)?.eta_seconds()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eciton_jobs::run::ShardCounts;

    fn job(done: u64, rows_read: u64) -> JobStatus {
        JobStatus {
            id: "j".into(),
            name: "j".into(),
            number: 1,
            state: "running",
            store: "s".into(),
            shards: ShardCounts {
                total: 100,
                done,
                ..ShardCounts::default()
            },
            rows_read,
            rows_skipped: 0,
            values_ignored: 0,
            records_merged: 0,
            attempts: 0,
            conflicts: 0,
            retries: 0,
            submitted_at: 0,
            started_at: None,
            finished_at: None,
            reason: String::new(),
            note: String::new(),
            wall_seconds: 0.0,
            failures: vec![],
        }
    }

    #[test]
    fn the_pace_is_that_of_the_last_while() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        pace.look(&job(40, 1000), begin);
        assert_eq!((pace.rows_per_second(), pace.eta_seconds()), (None, None));
        pace.look(&job(50, 2000), after(10));
        assert_eq!(
            (pace.rows_per_second(), pace.eta_seconds()),
            (Some(100.0), Some(50.0))
        );
        pace.look(&job(50, 2000), after(40));
        assert_eq!(
            (pace.rows_per_second(), pace.eta_seconds()),
            (Some(0.0), None)
        );
        pace.look(&job(0, 0), after(50));
        assert_eq!(
            (pace.rows_per_second(), pace.eta_seconds()),
            (None, None),
            "begun anew"
        );
    }
}
