//! Giving failed shards another chance, after their files were mended.

use std::collections::HashMap;

use eciton_engine::{Db, Transaction};
use eciton_proto::v1::job_spec::Sink;
use eciton_proto::v1::{JobPhase, Outcome, ShardChunk};
use futures::FutureExt;

use crate::run::compute::open::source_of;
use crate::run::records::change::retry_on_conflict;
use crate::run::records::error::JobError;
use crate::run::records::job::Job;
use crate::run::records::ledger::Ledger;
use crate::run::records::marks::kept_hash;
use crate::run::records::needs;
use crate::run::records::status::{JobStatus, phase_name, standing};
use crate::run::records::tally::{Tally, addend};
use crate::run::records::target;
use crate::source::limits::SHARDS_PER_CHUNK;
use crate::source::{KeptHash, Planned, Reach, Source, SourceError, mend, shards};

/// What a retry did.
#[derive(Clone, Debug)]
pub struct Retried {
    /// Failed shards that are untried again.
    pub shards: u64,
    /// Files that were found changed, as the job file names them.
    pub files: Vec<String>,
    /// How the job stands now.
    pub status: JobStatus,
}

/// Makes the failed shards of a job untried again, with a full number of attempts, and a cancelled
/// job runnable. Durable when it returns; [`run`](crate::run::run) then goes on.
///
/// Files may have changed where shards failed: shards that are done are found again by the hashes of
/// their bytes, even where those moved, and what now lies between them is cut anew into the shards
/// that were there. Nothing else may have changed.
///
/// # Errors
/// [`JobError::NotFound`]; [`JobError::State`] if no shard failed; [`JobError::Changed`] naming the
/// file that changed elsewhere; [`JobError::Source`] if a file cannot be read. Nothing was written
/// then. [`JobError::Engine`] if the database fails.
pub async fn retry(db: &Db, name: &str) -> Result<Retried, JobError> {
    retry_within(db, name, &Reach::anywhere()).await
}

/// [`retry`], which looks at the files of a job that was submitted over gRPC no further than `reach`.
///
/// # Errors
/// As [`retry`]; [`JobError::Source`] where that excludes a file.
pub async fn retry_within(db: &Db, name: &str, reach: &Reach) -> Result<Retried, JobError> {
    let (shards, files) = retry_on_conflict(|| retry_once(db, name, reach).boxed()).await?;
    let (ledger, _) = Ledger::with_job(db, name).await?;
    let status = standing(&ledger, name).await?;
    Ok(Retried {
        shards,
        files,
        status,
    })
}

/// One try of the change; `None` if the job changed meanwhile.
async fn retry_once(
    db: &Db,
    name: &str,
    reach: &Reach,
) -> Result<Option<(u64, Vec<String>)>, JobError> {
    let Some(prepared) = prepare(db, name, reach).await? else {
        return Ok(None);
    };
    prepared.tx.commit().await?;
    Ok(Some((prepared.shards, prepared.files)))
}

/// A retry that is not committed.
pub(crate) struct Prepared {
    pub(crate) tx: Transaction,
    /// As in [`Retried`].
    pub(crate) shards: u64,
    pub(crate) files: Vec<String>,
}

/// Looks at the shards and the files, and writes what follows into a transaction; `None` if the job changed meanwhile.
pub(crate) async fn prepare(
    db: &Db,
    name: &str,
    reach: &Reach,
) -> Result<Option<Prepared>, JobError> {
    let (ledger, job) = Ledger::with_job(db, name).await?;
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        return Ok(None);
    };
    if (state.number, state.retries) != (job.state.number, job.state.retries) {
        return Ok(None);
    }
    needs::check(name, &job)?;
    if target::is_removed(&state) {
        return Err(JobError::State {
            name: name.to_owned(),
            state: "being removed",
            expected: "expected one that stays; `eciton job rm` goes on with it",
        });
    }
    if !target::stands(&mut tx, &state).await? {
        let found = ledger.db.store(&state.store).await?;
        return Err(target::gone(name, &state, found.as_ref()));
    }
    let layout = state.layout;
    let mut ended = Ended::default();
    ledger
        .each_shard(name, |number, state| {
            match state.outcome() {
                Outcome::Done => {
                    let hash = kept_hash(layout, &state);
                    ended.done.insert(number, hash);
                }
                Outcome::Failed => ended.failed.push(number),
                Outcome::Unspecified => {}
            }
            true
        })
        .await?;
    // The answer is there, and its operands are gone.
    let is_answered =
        state.phase() == JobPhase::Done && matches!(job.spec.sink, Some(Sink::Answer(_)));
    // One whose input failed, which has shards that nobody has tried.
    let is_unstarted = state.phase() == JobPhase::Failed && state.started_ms == 0;
    let is_open = state.phase() == JobPhase::Cancelled || is_unstarted;
    if (ended.failed.is_empty() && !is_open) || is_answered {
        return Err(JobError::State {
            name: name.to_owned(),
            state: phase_name(state.phase()),
            expected: "expected one with failed shards, or a cancelled one",
        });
    }
    let source = source_of(&ledger, name, &job, reach).await?;
    let (files, has_moved) = put_mended(&ledger, &mut tx, &job, source, ended.done).await?;
    if has_moved || !files.is_empty() {
        // The job may be at work: a shard that ends after it was looked at would stay done at a place that the new plan
        // cuts anew. Whatever ends adds to the sums, so that this commit conflicts.
        ledger.tallies.read(&mut tx, name, state.number).await?;
    }
    for shard in &ended.failed {
        let mut record = ledger.shard_state(&mut tx, name, *shard).await?;
        record.set_outcome(Outcome::Unspecified);
        record.attempts_before = record.attempts;
        ledger.put_shard_state(&mut tx, (name, layout), *shard, &record)?;
    }
    let tally = Tally {
        failed: -addend(ended.failed.len() as u64),
        ..Tally::default()
    };
    ledger.tallies.add(&mut tx, state.number, &tally)?;
    state.retries += 1;
    state.reason.clear();
    // One that was removed may be submitted again.
    for input in &mut state.inputs {
        input.number = 0;
    }
    state.finished_ms = 0;
    state.set_phase(if state.started_ms == 0 {
        JobPhase::Pending
    } else {
        JobPhase::Running
    });
    ledger.put_job_state(&mut tx, name, &state)?;
    Ok(Some(Prepared {
        tx,
        shards: ended.failed.len() as u64,
        files,
    }))
}

/// Shards that have ended.
#[derive(Default)]
struct Ended {
    /// With what is kept of the hashes of their bytes. Without any it is found nowhere, and so may not have moved.
    done: HashMap<u64, KeptHash>,
    failed: Vec<u64>,
}

/// Looks at the job's files again and writes what changed of its plan. Gives the names of the files
/// that changed, and whether shards are elsewhere now.
async fn put_mended(
    ledger: &Ledger,
    tx: &mut Transaction,
    job: &Job,
    source: Source,
    done: HashMap<u64, KeptHash>,
) -> Result<(Vec<String>, bool), JobError> {
    let name = &job.spec.name;
    let mut chunks = Vec::new();
    for chunk in 0..job.plan.shards.div_ceil(SHARDS_PER_CHUNK as u64) {
        chunks.push(ledger.shard_chunk(name, chunk).await?);
    }
    let before = source.files().to_vec();
    let (mended, chunks) = tokio::task::spawn_blocking(move || {
        let mut all = Vec::new();
        for chunk in &chunks {
            all.extend(shards(chunk)?);
        }
        mend(&source, &all, |shard| done.get(&shard).copied()).map(|mended| (mended, chunks))
    })
    .await
    .map_err(|error| JobError::Worker(error.to_string()))?
    .map_err(|error| match error {
        changed @ (SourceError::Changed { .. } | SourceError::Stale { .. }) => {
            JobError::Changed(changed)
        }
        other => JobError::Source(other),
    })?;
    let (was, is) = (job.plan.shards, mended.plan.shards);
    debug_assert_eq!(was, is, "shards of job `{name}`, which keep their numbers");
    debug_assert_eq!(chunks.len(), mended.shards.len(), "chunks of {is} shards");
    let mut names = Vec::new();
    for (number, chunk) in (0u64..).zip(&mended.files) {
        let old = before.iter().skip(chunk.first as usize);
        let changed: Vec<&str> = old
            .zip(&chunk.files)
            .filter(|(old, new)| old != new)
            .map(|(old, _)| old.display.as_str())
            .collect();
        if !changed.is_empty() {
            ledger.put_file_chunk(tx, name, number, chunk)?;
            names.extend(changed.into_iter().map(str::to_owned));
        }
    }
    let has_moved = put_moved(ledger, tx, name, &chunks, &mended)?;
    Ok((names, has_moved))
}

/// Writes the chunks of shards that differ from those there were; whether any does.
fn put_moved(
    ledger: &Ledger,
    tx: &mut Transaction,
    name: &str,
    before: &[ShardChunk],
    mended: &Planned,
) -> Result<bool, JobError> {
    let mut has_moved = false;
    for (number, (old, new)) in (0u64..).zip(before.iter().zip(&mended.shards)) {
        if old != new {
            has_moved = true;
            ledger.put_shard_chunk(tx, name, number, new)?;
        }
    }
    Ok(has_moved)
}
