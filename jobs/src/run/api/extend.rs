//! Submitting an incremental job again: files that it has not seen become shards of it.
//!
//! The files that a job has seen are those of its plan. One transaction adds the new ones with their shards, and makes a
//! job that was done run again: so each file is added once, whoever submits the job at the same time, and each of its
//! shards is done once as any other. It counts as a retry, so that whoever works on the job looks at its plan again.

use std::collections::HashMap;

use eciton_engine::Transaction;
use eciton_proto::v1::{FileChunk, JobPhase, Plan, ShardChunk, SourceFile};
use futures::FutureExt;

use crate::run::records::change::retry_on_conflict;
use crate::run::records::error::JobError;
use crate::run::records::exports;
use crate::run::records::job::Job;
use crate::run::records::ledger::Ledger;
use crate::run::records::needs;
use crate::run::records::target;
use crate::source::limits::{FILES_PER_CHUNK, SHARDS_PER_CHUNK};
use crate::source::{Planned, Shard, is_same_file, shards};
use crate::spec::limits::{FILES_MAX, SHARDS_MAX};
use crate::spec::{JobFile, SpecError};

/// The key that names the files.
const KEY: &str = "source.paths";

/// Adds the files of a plan that a recorded job has not seen; the number of them. Durable when it returns.
///
/// # Errors
/// [`JobError::JobFile`] naming a file that changed since the job has seen it, or that has other columns;
/// [`JobError::State`] for a job that was cancelled. Nothing was written then.
pub(crate) async fn extend(
    ledger: &Ledger,
    file: &JobFile,
    planned: &Planned,
) -> Result<u64, JobError> {
    retry_on_conflict(|| extend_once(ledger, file, planned).boxed()).await
}

async fn extend_once(
    ledger: &Ledger,
    file: &JobFile,
    planned: &Planned,
) -> Result<Option<u64>, JobError> {
    let name = &file.spec().name;
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        return Err(JobError::Removed { name: name.clone() });
    };
    let job = ledger.job(name).await?.filter(|job| job.state == state);
    let Some(mut job) = job else {
        return Ok(None);
    };
    needs::check(name, &job)?;
    let recorded = ledger.source(name, &job).await?;
    let seen = recorded.files().to_vec();
    let new = unseen(file, &seen, planned)?;
    if new.is_empty() {
        return Ok(Some(0));
    }
    if state.phase() == JobPhase::Cancelled {
        return Err(JobError::State {
            name: name.clone(),
            state: "cancelled",
            expected: "new files are added to a job that goes on: `eciton job retry` takes it up again",
        });
    }
    if !target::stands(&mut tx, &state).await? {
        let found = ledger.db.store(&state.store).await?;
        return Err(target::gone(name, &state, found.as_ref()));
    }
    check_columns(file, &job.plan, &planned.plan)?;
    let count = new.len() as u64;
    put(ledger, &mut tx, file, (&mut job, seen, new), planned).await?;
    if let Some(plan) = &mut job.plan.export {
        if state.phase() == JobPhase::Done
            && let Some(place) = exports::place(file)?
        {
            // Whoever has ended the job may be about to remove the folder of before.
            plan.staging = place.staging;
        }
        exports::create(file, plan)?;
    }
    ledger.put_plan(&mut tx, name, &job.plan)?;
    // A shard that ends meanwhile adds to the sums, and whoever ends the job reads them.
    ledger.tallies.read(&mut tx, name, state.number).await?;
    state.shards = job.plan.shards;
    state.retries += 1;
    state.reason.clear();
    state.finished_ms = 0;
    state.set_phase(match state.started_ms {
        0 => JobPhase::Pending,
        _ => JobPhase::Running,
    });
    ledger.put_job_state(&mut tx, name, &state)?;
    tx.commit().await?;
    Ok(Some(count))
}

/// The numbers, in a plan, of the files that are not among those that were seen.
///
/// # Errors
/// [`SpecError`] naming a file that was seen and is another one now.
fn unseen(
    file: &JobFile,
    seen: &[SourceFile],
    planned: &Planned,
) -> Result<HashMap<u32, SourceFile>, SpecError> {
    let known: HashMap<&str, &SourceFile> =
        seen.iter().map(|file| (file.path.as_str(), file)).collect();
    let mut new = HashMap::new();
    let files = planned.files.iter().flat_map(|chunk| &chunk.files);
    for (number, found) in (0_u32..).zip(files) {
        match known.get(found.path.as_str()) {
            None => {
                new.insert(number, found.clone());
            }
            Some(seen) if is_same_file(seen, found) => {}
            Some(_) => {
                let message = format!(
                    "`{}` changed since the job has seen it; an incremental job reads each file once: expected it as it \
                     was, or new rows in a file of another name",
                    found.display
                );
                return Err(file.error(KEY, message));
            }
        }
    }
    if seen.len() + new.len() > FILES_MAX {
        let message = format!(
            "expected at most {FILES_MAX} files, found {} and {} that are new",
            seen.len(),
            new.len()
        );
        return Err(file.error(KEY, message));
    }
    Ok(new)
}

/// Checks that the columns are those that the job was recorded with: its results are made of these.
fn check_columns(file: &JobFile, recorded: &Plan, found: &Plan) -> Result<(), SpecError> {
    let columns = |plan: &Plan| -> Vec<(String, String)> {
        let fields = plan.schema.iter().chain(&plan.output);
        fields
            .map(|field| (field.name.clone(), field.r#type.clone()))
            .collect()
    };
    let (recorded, found) = (columns(recorded), columns(found));
    if recorded == found {
        return Ok(());
    }
    let told = |columns: &[(String, String)]| {
        let other = columns
            .iter()
            .find(|column| !recorded.contains(column) || !found.contains(column));
        other.map_or("others".to_owned(), |(name, kind)| {
            format!("`{name}` {kind}")
        })
    };
    let message = format!(
        "the new files have other columns than those that the job has seen: expected {}, found {}; submit them to a job \
         of another name",
        told(&recorded),
        told(&found)
    );
    Err(file.error(KEY, message))
}

/// Writes the chunks of files and shards that are new or longer, and counts them in the plan.
async fn put(
    ledger: &Ledger,
    tx: &mut Transaction,
    file: &JobFile,
    (job, seen, new): (&mut Job, Vec<SourceFile>, HashMap<u32, SourceFile>),
    planned: &Planned,
) -> Result<(), JobError> {
    let name = &file.spec().name;
    let mut order: Vec<u32> = new.keys().copied().collect();
    order.sort_unstable();
    let numbers: HashMap<u32, u32> = order.iter().copied().zip(job.plan.files..).collect();
    let added: Vec<SourceFile> = order
        .iter()
        .filter_map(|number| new.get(number).cloned())
        .collect();
    assert_eq!(seen.len(), job.plan.files as usize, "files of the plan");
    let first = seen.len() / FILES_PER_CHUNK;
    let files: Vec<SourceFile> = seen
        .into_iter()
        .skip(first * FILES_PER_CHUNK)
        .chain(added)
        .collect();
    for (chunk, files) in (first..).zip(files.chunks(FILES_PER_CHUNK)) {
        let record = FileChunk {
            first: u32::try_from(chunk * FILES_PER_CHUNK).unwrap_or(u32::MAX),
            files: files.to_vec(),
        };
        ledger.put_file_chunk(tx, name, chunk as u64, &record)?;
    }
    let per_chunk = SHARDS_PER_CHUNK as u64;
    let (first, total) = (job.plan.shards / per_chunk, job.plan.shards);
    let mut all = match total % per_chunk {
        0 => Vec::new(),
        _ => shards(&ledger.shard_chunk(name, first).await?)?,
    };
    let mut next = total;
    for shard in planned.shards()? {
        if let Some(number) = numbers.get(&shard.file) {
            all.push(Shard {
                number: next,
                file: *number,
                ..shard
            });
            next += 1;
        }
    }
    if next > SHARDS_MAX {
        let message =
            format!("expected at most {SHARDS_MAX} shards with those that are done, found {next}");
        return Err(file.error("source.shard_size", message).into());
    }
    for (chunk, shards) in (first..).zip(all.chunks(SHARDS_PER_CHUNK)) {
        ledger.put_shard_chunk(tx, name, chunk, &encoded(chunk * per_chunk, shards))?;
    }
    job.plan.files += u32::try_from(order.len()).unwrap_or(u32::MAX);
    job.plan.shards = next;
    Ok(())
}

/// A chunk of shards as it is recorded.
fn encoded(first: u64, all: &[Shard]) -> ShardChunk {
    let mut chunk = ShardChunk {
        first,
        ..ShardChunk::default()
    };
    let (mut file, mut end) = (0, 0);
    for shard in all {
        let delta = shard.file - file;
        let base = if delta == 0 { end } else { 0 };
        chunk.file_delta.push(delta);
        chunk.gap.push(shard.start - base);
        chunk.len.push(shard.len);
        (file, end) = (shard.file, shard.start + shard.len);
    }
    if all.iter().any(|shard| shard.content_hash != 0) {
        chunk.content_hash = all.iter().map(|shard| shard.content_hash).collect();
    }
    assert_eq!(chunk.len.len(), all.len(), "shards from {first}");
    chunk
}
