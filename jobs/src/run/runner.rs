//! Running a job to its end.

use std::sync::Arc;
use std::time::Duration;

use eciton_engine::db::Db;
use eciton_proto::v1::{JobPhase, Outcome};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::claims::{Claims, idle, in_own_order};
use super::error::JobError;
use super::last::Last;
use super::ledger::{Job, Ledger, damaged};
use super::observer::{Event, Observer, Silent};
use super::pipeline::Pipeline;
use super::queue::Queue;
use super::report::{End, JobReport};
use super::results::RESULTS_LEN_MAX;
use super::slots::Slots;
use super::status::{ShardCounts, Tally, of_job};
use super::stop::Stop;
use super::worker::{Crew, Ending, now_ms, retry_on_conflict};
use crate::spec::limits::LEASE_MS_DEFAULT;

/// How long computed shards wait for others to be committed with, unless the options say otherwise: what
/// a killed process has to compute again.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(500);

/// How a job is run.
#[derive(Clone)]
pub struct RunOptions {
    /// Shards computed at the same time, each on a thread of its own; at least 1.
    pub workers: usize,
    /// What the workers of several runs have to share, if anything: each shard takes room there.
    pub slots: Option<Slots>,
    /// A worker commits what it has computed once that has waited so long, and when nothing is left to
    /// compute. Zero: each shard by itself.
    pub commit_interval: Duration,
    /// Told what happens.
    pub observer: Arc<dyn Observer>,
    /// Ends the run early: no new shards, those at work finish and commit.
    pub stop: Stop,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        RunOptions {
            workers,
            slots: None,
            commit_interval: COMMIT_INTERVAL,
            observer: Arc::new(Silent),
            stop: Stop::new(),
        }
    }
}

/// Runs a job that was [submitted](super::submit()) until all its shards have ended, it is asked to
/// stop, or the database fails. Running it again goes on where it stopped; a job that has ended is
/// left as it is. Failed shards stay failed until a [retry](super::retry()).
///
/// In a shared database other processes may run it too: they share its shards, and each returns when the whole
/// job has ended.
///
/// Needs a tokio runtime with time; computing takes its blocking threads.
///
/// # Errors
/// [`JobError::NotFound`]. [`JobError::Engine`] if the database fails (a full disk, for instance):
/// what was committed stays, and running again goes on. A shard that fails is no error of the run:
/// see [`End::Failed`].
pub async fn run(db: &Db, name: &str, options: RunOptions) -> Result<JobReport, JobError> {
    let mut had_ended = true;
    loop {
        if db.is_shared() {
            db.refresh().await?;
        }
        let (ledger, job) = Ledger::with_job(db, name).await?;
        let end = match ended(job.state.phase()) {
            Some(end) => end,
            None => {
                had_ended = false;
                let Some(end) = run_plan(&ledger, name, &job, &options).await? else {
                    continue;
                };
                if end == End::Stopped && db.is_shared() && !options.stop.is_requested() {
                    // Others are at what is left, or were when they were killed.
                    let idle = idle(lease_ms(&job));
                    tokio::select! {
                        () = tokio::time::sleep(idle) => {}
                        () = options.stop.requested() => {}
                    }
                    continue;
                }
                end
            }
        };
        let (ledger, job) = Ledger::with_job(db, name).await?;
        let status = of_job(&ledger, name, &job).await?;
        return Ok(JobReport {
            end,
            had_ended,
            status,
        });
    }
}

fn lease_ms(job: &Job) -> u64 {
    job.spec.run.map_or(LEASE_MS_DEFAULT, |run| run.lease_ms)
}

fn ended(phase: JobPhase) -> Option<End> {
    match phase {
        JobPhase::Unspecified | JobPhase::Pending | JobPhase::Running => None,
        JobPhase::Done => Some(End::Done),
        JobPhase::Failed => Some(End::Failed),
        JobPhase::Cancelled => Some(End::Cancelled),
    }
}

/// Runs the job by the plan that it has now; `None` if it got another one meanwhile.
async fn run_plan(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    options: &RunOptions,
) -> Result<Option<End>, JobError> {
    let crew = Arc::new(crew(ledger, name, job, options).await?);
    if !start(ledger, name).await? {
        return Ok(Some(End::Cancelled));
    }
    let workers = options.workers.clamp(1, crew.queue.left().max(1));
    let prolonging = Arc::clone(&crew);
    let mut prolonging = std::pin::pin!(async move {
        match &prolonging.claims {
            Some(claims) => claims.renew().await,
            None => std::future::pending().await,
        }
    });
    let mut threads = JoinSet::new();
    for _ in 0..workers {
        let crew = Arc::clone(&crew);
        threads.spawn_blocking(move || crew.work());
    }
    loop {
        let joined = tokio::select! {
            joined = threads.join_next() => joined,
            () = &mut prolonging => continue,
        };
        let Some(joined) = joined else { break };
        if let Err(error) = joined {
            // The others finish their shards first.
            let failed = Ending::Failed(JobError::Worker(error.to_string()));
            crew.ending.lock().get_or_insert(failed);
        }
    }
    match crew.ending.lock().take() {
        Some(Ending::Failed(error)) => return Err(error),
        Some(Ending::Cancelled) => return Ok(Some(End::Cancelled)),
        Some(Ending::Changed) => return Ok(None),
        None => {}
    }
    finish(ledger, name, job.plan.shards).await.map(Some)
}

/// Plans the job and finds what is left of it to do.
pub(super) async fn crew(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    options: &RunOptions,
) -> Result<Crew, JobError> {
    let source = ledger.source(name, job).await?;
    let pipeline = Pipeline::plan(&job.spec, source)
        .map_err(|misfit| damaged(name, &misfit.key, &misfit.message))?;
    let store = ledger
        .db
        .create_store(&pipeline.store_name, pipeline.store_schema())
        .await?;
    let mut tally = Tally::default();
    let mut ended = Vec::new();
    ledger
        .each_shard(name, |number, state| {
            if state.outcome() != Outcome::Unspecified {
                ended.push(number);
            }
            tally.add(number, state);
        })
        .await?;
    let total = job.plan.shards;
    let counts = tally.counts;
    let pending = total.saturating_sub(counts.done + counts.failed);
    options.observer.observe(&Event::Started {
        shards: ShardCounts {
            total,
            pending,
            ..counts
        },
    });
    let number = (job.state.number, job.state.retries);
    let claims = Claims::new(&ledger.db, number, lease_ms(job));
    Ok(Crew {
        ledger: ledger.clone(),
        name: name.to_owned(),
        job_number: job.state.number,
        retries: job.state.retries,
        max_attempts: job.spec.run.map_or(1, |run| run.max_attempts).max(1),
        pipeline,
        store,
        queue: Queue::new(match claims {
            Some(_) => in_own_order(left(total, &ended)),
            None => left(total, &ended),
        }),
        claims,
        observer: Arc::clone(&options.observer),
        runtime: Handle::current(),
        results_len_max: RESULTS_LEN_MAX,
        commit_interval: options.commit_interval,
        slots: options.slots.clone(),
        stop: options.stop.clone(),
        ending: Mutex::new(None),
        last: Last::default(),
        chunk: Mutex::new(None),
    })
}

/// The shards that have not ended; `ended` is ascending.
fn left(total: u64, ended: &[u64]) -> Vec<u32> {
    let mut ended = ended.iter().peekable();
    (0..total)
        .filter(|shard| ended.next_if_eq(&shard).is_none())
        .filter_map(|shard| u32::try_from(shard).ok())
        .collect()
}

/// Marks the job as running; `false` if it was cancelled.
async fn start(ledger: &Ledger, name: &str) -> Result<bool, JobError> {
    retry_on_conflict(|| start_once(ledger, name).boxed()).await
}

async fn start_once(ledger: &Ledger, name: &str) -> Result<Option<bool>, JobError> {
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        return Ok(None);
    };
    match state.phase() {
        JobPhase::Cancelled => return Ok(Some(false)),
        JobPhase::Unspecified | JobPhase::Pending => {}
        JobPhase::Running | JobPhase::Done | JobPhase::Failed => return Ok(Some(true)),
    }
    state.set_phase(JobPhase::Running);
    if state.started_ms == 0 {
        state.started_ms = now_ms();
    }
    ledger.put_job_state(&mut tx, name, &state)?;
    tx.commit().await?;
    Ok(Some(true))
}

/// Ends the job if all its shards have ended.
///
/// The transaction reads the job's record first and the shards' afterwards. Shards only ever come to
/// an end, except by a retry, which changes the job's record: then this commit conflicts.
async fn finish(ledger: &Ledger, name: &str, total: u64) -> Result<End, JobError> {
    retry_on_conflict(|| finish_once(ledger, name, total).boxed()).await
}

async fn finish_once(ledger: &Ledger, name: &str, total: u64) -> Result<Option<End>, JobError> {
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        return Ok(None);
    };
    if let Some(end) = ended(state.phase()) {
        return Ok(Some(end));
    }
    let mut tally = Tally::default();
    ledger
        .each_shard(name, |number, state| tally.add(number, state))
        .await?;
    if tally.counts.done + tally.counts.failed < total {
        return Ok(Some(End::Stopped));
    }
    let (phase, end) = match tally.counts.failed {
        0 => (JobPhase::Done, End::Done),
        _ => (JobPhase::Failed, End::Failed),
    };
    state.set_phase(phase);
    state.finished_ms = now_ms();
    ledger.put_job_state(&mut tx, name, &state)?;
    tx.commit().await?;
    Ok(Some(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_leaves_out_what_has_ended() {
        assert_eq!(left(5, &[]), [0, 1, 2, 3, 4]);
        assert_eq!(left(5, &[0, 3, 4]), [1, 2]);
        assert_eq!(left(2, &[0, 1]), [0u32; 0]);
        assert_eq!(left(0, &[]), [0u32; 0]);
    }
}
