//! How jobs stand.

use eciton_engine::Db;
use eciton_proto::v1::{JobPhase, JobSpec, Outcome};
use serde::Serialize;

use super::age::wall_ms;
use super::error::JobError;
use super::inputs;
use super::job::Job;
use super::ledger::Ledger;
use super::tally::{Tally, count};
use crate::source::limits::SHARDS_PER_CHUNK;
use crate::source::shards;

/// Failed shards that a status describes; it counts all.
pub const FAILURES_SHOWN_MAX: usize = 100;

/// How a job stands. Times are milliseconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JobStatus {
    /// Its id, which is its name.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its number in the database, in the order of submission.
    pub number: u64,
    /// `pending`, `running`, `done`, `failed` or `cancelled`. A job is running from its first run on,
    /// also while no process works on it.
    pub state: &'static str,
    /// The store that takes its results.
    pub store: String,
    /// The folder that takes the files that it writes; empty where it writes none, and where a peer tells of it.
    pub export_to: String,
    /// Its shards.
    pub shards: ShardCounts,
    /// Rows read by shards that are done.
    pub rows_read: u64,
    /// Malformed records that shards that are done left out.
    pub rows_skipped: u64,
    /// Values of members of JSON objects that are no columns of the job, which they left out.
    pub values_ignored: u64,
    /// Operands that shards that are done committed.
    pub records_merged: u64,
    /// Attempts that ended, well or not.
    pub attempts: u64,
    /// Times a commit lost against another transaction and was tried again.
    pub conflicts: u64,
    /// Times failed shards were given back.
    pub retries: u32,
    /// When it was submitted.
    pub submitted_at: i64,
    /// When it was first run.
    pub started_at: Option<i64>,
    /// When its last shard ended, or when it was cancelled.
    pub finished_at: Option<i64>,
    /// Why it was cancelled, where nobody asked for it; else empty.
    pub reason: String,
    /// What is odd about it, for people; usually empty.
    pub note: String,
    /// Seconds from start to end, or to now.
    pub wall_seconds: f64,
    /// The first [`FAILURES_SHOWN_MAX`] failed shards.
    pub failures: Vec<ShardFailure>,
}

/// Shards by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShardCounts {
    /// All.
    pub total: u64,
    /// Their results are in the store.
    pub done: u64,
    /// They ended in an error.
    pub failed: u64,
    /// At work, as far as whoever says this has heard: the database has nothing of it, so that [`status`] says 0.
    pub running: u64,
    /// The rest.
    pub pending: u64,
}

impl ShardCounts {
    /// Takes so many of those that have not ended to be at work, all of them at most.
    pub fn set_running(&mut self, running: u64) {
        let left = self.total.saturating_sub(self.done + self.failed);
        self.running = running.min(left);
        self.pending = left - self.running;
    }
}

/// A shard that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardFailure {
    /// Its number.
    pub shard: u64,
    /// Its file, as the job file names it; empty where there are none.
    pub file: String,
    /// Where it begins, in `unit`s.
    pub start: u64,
    /// Where it ends, in `unit`s, excluded.
    pub end: u64,
    /// `bytes`, `row groups`, `record batches` or `values`.
    pub unit: &'static str,
    /// Attempts.
    pub attempts: u32,
    /// Why.
    pub error: String,
}

/// The state's name in the contract.
pub(crate) fn phase_name(phase: JobPhase) -> &'static str {
    match phase {
        JobPhase::Unspecified | JobPhase::Pending => "pending",
        JobPhase::Running => "running",
        JobPhase::Done => "done",
        JobPhase::Failed => "failed",
        JobPhase::Cancelled => "cancelled",
    }
}

/// How a job stands; `None` if there is no job of this name. Reads a few records, however many shards it has, unless
/// shards have failed: then those of its shards in order, until it has [`FAILURES_SHOWN_MAX`] of them.
///
/// # Errors
/// [`JobError::Damaged`] and [`JobError::Engine`].
pub async fn status(db: &Db, name: &str) -> Result<Option<JobStatus>, JobError> {
    let Some(ledger) = Ledger::find(db).await? else {
        return Ok(None);
    };
    match ledger.tallied(name).await? {
        Some((job, tally)) => of_job(&ledger, name, &job, &tally).await.map(Some),
        None => Ok(None),
    }
}

/// How all jobs stand, by name.
///
/// # Errors
/// As [`status`].
pub async fn list(db: &Db) -> Result<Vec<JobStatus>, JobError> {
    let Some(ledger) = Ledger::find(db).await? else {
        return Ok(Vec::new());
    };
    let mut jobs = Vec::new();
    for name in ledger.names().await? {
        if let Some((job, tally)) = ledger.tallied(&name).await? {
            jobs.push(of_job(&ledger, &name, &job, &tally).await?);
        }
    }
    Ok(jobs)
}

/// How a job stands after its state or its shards were changed.
pub(crate) async fn standing(ledger: &Ledger, name: &str) -> Result<JobStatus, JobError> {
    match ledger.tallied(name).await? {
        Some((job, tally)) => of_job(ledger, name, &job, &tally).await,
        None => Err(JobError::NotFound {
            name: name.to_owned(),
            known: ledger.names().await?,
        }),
    }
}

/// How a job that was found stands.
async fn of_job(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    tally: &Tally,
) -> Result<JobStatus, JobError> {
    let failures = match tally.failed {
        0 => Vec::new(),
        _ => failures(ledger, name, job).await?,
    };
    let started_at = some(job.state.started_ms);
    let finished_at = some(job.state.finished_ms);
    let wall_ms = wall_ms(&job.state, &ledger.age(name, &job.state).await?);
    let total = job.plan.shards;
    #[allow(clippy::cast_precision_loss, reason = "seconds for people")]
    let wall_seconds = wall_ms as f64 / 1000.0;
    Ok(JobStatus {
        id: name.to_owned(),
        name: name.to_owned(),
        number: job.state.number,
        state: phase_name(job.state.phase()),
        store: store_of(&job.spec),
        export_to: match &job.plan.export {
            Some(plan) => plan.folder.clone(),
            None => String::new(),
        },
        shards: ShardCounts {
            total,
            done: count(tally.done),
            failed: count(tally.failed),
            running: 0,
            pending: total.saturating_sub(tally.ended()),
        },
        rows_read: count(tally.rows_read),
        rows_skipped: count(tally.rows_skipped),
        values_ignored: count(tally.values_ignored),
        records_merged: count(tally.records_merged),
        attempts: count(tally.attempts),
        conflicts: count(tally.conflicts),
        retries: job.state.retries,
        submitted_at: job.state.submitted_ms,
        started_at,
        finished_at,
        reason: job.state.reason.clone(),
        note: match inputs::note(ledger, &job.state).await? {
            waits if !waits.is_empty() => waits,
            _ => note(job, tally),
        },
        wall_seconds,
        failures,
    })
}

/// What is odd about a job, for people; usually nothing.
fn note(job: &Job, tally: &Tally) -> String {
    let is_open = matches!(job.state.phase(), JobPhase::Pending | JobPhase::Running);
    let needs = job.spec.run.iter().flat_map(|run| &run.needs);
    let needs: Vec<String> = needs
        .map(|need| format!("{}={}", need.name, need.amount))
        .collect();
    match is_open && !needs.is_empty() {
        true => format!(
            "each shard needs {}: only workers whose `--resources` and `--slots` have that much take it",
            needs.join(", ")
        ),
        false => tally.note().to_owned(),
    }
}

fn some(ms: i64) -> Option<i64> {
    (ms != 0).then_some(ms)
}

/// The store that takes the results of a job.
pub(crate) fn store_of(spec: &JobSpec) -> String {
    use eciton_proto::v1::job_spec::Sink;
    match &spec.sink {
        Some(Sink::Merge(merge)) => merge.store.clone(),
        Some(Sink::Upsert(upsert)) => upsert.store.clone(),
        Some(Sink::Delete(delete)) => delete.store.clone(),
        Some(Sink::Answer(answer)) => answer.store.clone(),
        Some(Sink::Export(_)) | None => String::new(),
    }
}

/// The first failed shards, with their places. Reads the records of shards in order until there are enough.
pub(crate) async fn failures(
    ledger: &Ledger,
    name: &str,
    job: &Job,
) -> Result<Vec<ShardFailure>, JobError> {
    let mut failed = Vec::new();
    ledger
        .each_shard(name, |number, state| {
            if state.outcome() == Outcome::Failed {
                failed.push((number, state));
            }
            failed.len() < FAILURES_SHOWN_MAX
        })
        .await?;
    let source = ledger.source(name, job).await?;
    let mut failures = Vec::with_capacity(failed.len());
    let mut chunk = (u64::MAX, Vec::new());
    for (number, state) in &failed {
        let wanted = number / SHARDS_PER_CHUNK as u64;
        if chunk.0 != wanted {
            chunk = (wanted, shards(&ledger.shard_chunk(name, wanted).await?)?);
        }
        let shard = chunk.1.iter().find(|shard| shard.number == *number);
        let (start, len) = shard.map_or((0, 0), |shard| (shard.start, shard.len));
        let file = shard.and_then(|shard| source.files().get(shard.file as usize));
        failures.push(ShardFailure {
            shard: *number,
            file: file.map(|file| file.display.clone()).unwrap_or_default(),
            start,
            end: start.saturating_add(len),
            unit: source.unit(),
            attempts: state.attempts,
            error: state.error.clone(),
        });
    }
    Ok(failures)
}
