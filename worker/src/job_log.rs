//! What the log of a worker says of the shards of a job.

use std::sync::Arc;

use eciton_jobs::run::{Event, Observer};

/// Logs what happens to the shards of one job, and hands it on.
pub(crate) struct JobLog {
    job: String,
    next: Arc<dyn Observer>,
}

impl JobLog {
    /// Logs for the job of that name.
    pub(crate) fn new(job: &str, next: Arc<dyn Observer>) -> JobLog {
        JobLog {
            job: job.to_owned(),
            next,
        }
    }
}

impl Observer for JobLog {
    fn observe(&self, event: &Event<'_>) {
        let job = self.job.as_str();
        match event {
            Event::ShardStarted { shard } => tracing::debug!(job, shard, "shard started"),
            Event::ShardDone {
                shard,
                rows_read,
                records_merged,
                conflicts,
                ..
            } => tracing::debug!(
                job,
                shard,
                rows_read,
                records_merged,
                conflicts,
                "shard done"
            ),
            Event::ShardDropped { shard } => {
                tracing::debug!(job, shard, "shard dropped: another process has done it");
            }
            Event::ResultsLost { shard } => {
                tracing::debug!(job, shard, "results lost: the shard is computed again");
            }
            Event::AttemptFailed {
                shard,
                attempt,
                error,
                retry_in_ms,
            } => tracing::warn!(job, shard, attempt, retry_in_ms, error, "attempt failed"),
            Event::ShardFailed {
                shard,
                attempts,
                error,
            } => tracing::warn!(job, shard, attempts, error, "shard failed"),
            _ => {}
        }
        self.next.observe(event);
    }
}
