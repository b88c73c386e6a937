//! How quickly a job goes, and when it will have ended, by looking at it from time to time.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use eciton_jobs::run::JobStatus;

/// What was seen longer ago says nothing about now.
const WINDOW: Duration = Duration::from_secs(30);

/// What was seen of a job lately.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throughput(VecDeque<Sample>);

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    /// Shards that had ended.
    ended: u64,
    rows: u64,
    left: u64,
}

impl Throughput {
    /// Takes notice of how a job stands at `at`.
    pub(crate) fn sample(&mut self, job: &JobStatus, at: Instant) {
        let ended = job.shards.done + job.shards.failed;
        // After a retry some have not ended any more: what was before says nothing.
        if self.0.back().is_some_and(|last| last.ended > ended) {
            self.0.clear();
        }
        let left = job.shards.total.saturating_sub(ended);
        self.0.push_back(Sample {
            at,
            ended,
            rows: job.rows_read,
            left,
        });
        while self.0.len() > 2 && at.duration_since(self.0[1].at) >= WINDOW {
            self.0.pop_front();
        }
    }

    /// Rows that shards read a second, by shards that are done; known after two samples.
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

    fn span(&self) -> Option<(Sample, Sample, f64)> {
        let (first, last) = (*self.0.front()?, *self.0.back()?);
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        (seconds > 0.0).then_some((first, last, seconds))
    }
}

/// The throughputs of several jobs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Throughputs(HashMap<String, Throughput>);

impl Throughputs {
    /// Takes notice of how jobs stand at `at`, and forgets all others.
    pub(crate) fn sample(&mut self, jobs: &[JobStatus], at: Instant) {
        let mut before = std::mem::take(&mut self.0);
        for job in jobs {
            let mut throughput = before.remove(&job.name).unwrap_or_default();
            throughput.sample(job, at);
            self.0.insert(job.name.clone(), throughput);
        }
    }

    /// See [`Throughput::rows_per_second`].
    pub(crate) fn rows_per_second(&self, job: &JobStatus) -> Option<f64> {
        self.0.get(&job.name)?.rows_per_second()
    }

    /// See [`Throughput::eta_seconds`].
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
            export_to: String::new(),
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
    fn the_throughput_is_that_of_the_last_while() {
        let (mut throughput, begin) = (Throughput::default(), Instant::now());
        let after = |seconds| begin + Duration::from_secs(seconds);
        throughput.sample(&job(40, 1000), begin);
        assert_eq!(
            (throughput.rows_per_second(), throughput.eta_seconds()),
            (None, None)
        );
        throughput.sample(&job(50, 2000), after(10));
        assert_eq!(
            (throughput.rows_per_second(), throughput.eta_seconds()),
            (Some(100.0), Some(50.0))
        );
        throughput.sample(&job(50, 2000), after(40));
        assert_eq!(
            (throughput.rows_per_second(), throughput.eta_seconds()),
            (Some(0.0), None)
        );
        throughput.sample(&job(0, 0), after(50));
        assert_eq!(
            (throughput.rows_per_second(), throughput.eta_seconds()),
            (None, None),
            "begun anew"
        );
    }
}
