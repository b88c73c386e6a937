//! What a peer tells, as the commands print it.

use std::time::{SystemTime, UNIX_EPOCH};

use eciton_jobs::run::{JobStatus, ShardCounts, ShardFailure};
use eciton_proto::v1::{self, JobPhase, ShardUnit};

/// How a job stands, by a message of any view.
pub(crate) fn status(job: v1::JobStatus) -> JobStatus {
    let counts = job.counts.unwrap_or_default();
    let some = |ms: i64| (ms != 0).then_some(ms);
    let state = match job.phase() {
        JobPhase::Unspecified | JobPhase::Pending => "pending",
        JobPhase::Running => "running",
        JobPhase::Done => "done",
        JobPhase::Failed => "failed",
        JobPhase::Cancelled => "cancelled",
    };
    let (started_at, finished_at) = (some(job.started_ms), some(job.finished_ms));
    let now = some(job.as_of_ms).unwrap_or_else(now_ms);
    let wall_ms = started_at.map_or(0, |start| finished_at.unwrap_or(now).saturating_sub(start));
    #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
    let wall_seconds = wall_ms.max(0) as f64 / 1000.0;
    let others = counts
        .done
        .saturating_add(counts.failed)
        .saturating_add(counts.running);
    JobStatus {
        id: job.name.clone(),
        name: job.name,
        number: job.number,
        state,
        store: job.store,
        export_to: String::new(),
        shards: ShardCounts {
            total: job.shards,
            done: counts.done,
            failed: counts.failed,
            running: counts.running,
            pending: job.shards.saturating_sub(others),
        },
        rows_read: counts.rows_read,
        rows_skipped: counts.rows_skipped,
        values_ignored: counts.values_ignored,
        records_merged: counts.records_merged,
        attempts: counts.attempts,
        conflicts: counts.conflicts,
        retries: job.retries,
        submitted_at: job.submitted_ms,
        started_at,
        finished_at,
        reason: job.reason,
        note: job.note,
        wall_seconds,
        failures: job.failures.into_iter().map(failure).collect(),
    }
}

fn failure(failure: v1::ShardFailure) -> ShardFailure {
    let unit = match failure.unit() {
        ShardUnit::Bytes => "bytes",
        ShardUnit::RowGroups => "row groups",
        ShardUnit::RecordBatches => "record batches",
        ShardUnit::Unspecified | ShardUnit::Values => "values",
    };
    ShardFailure {
        shard: failure.shard,
        file: failure.file,
        start: failure.start,
        end: failure.end,
        unit,
        attempts: failure.attempts,
        error: failure.error,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
