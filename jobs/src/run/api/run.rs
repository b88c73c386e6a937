//! Running a job to its end.

use std::sync::Arc;
use std::time::Duration;

use eciton_engine::Db;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::run::records::error::{JobError, damaged};
use crate::run::records::exports;
use crate::run::records::inputs::{self, Inputs};
use crate::run::records::job::Job;
use crate::run::records::ledger::Ledger;
use crate::run::records::spans;
use crate::run::records::status::standing;
use crate::run::records::target;
use crate::run::schedule::context::{Ending, RunContext};
use crate::run::schedule::options::RunOptions;
use crate::run::schedule::tasks::{answered, cut_short, flushed, shared_out, watched};
use crate::run::settle::lifecycle::{finish, start};
use crate::run::settle::observer::Event;
use crate::run::settle::report::{End, JobReport};

/// How often a run looks whether the inputs of its job are done.
const INPUTS_APART: Duration = Duration::from_millis(250);

/// Runs a job that was [submitted](crate::run::submit()) until all its shards have ended, it is asked to
/// stop, or the database fails. Running it again goes on where it stopped; a job that has ended is
/// left as it is. Failed shards stay failed until a [retry](crate::run::retry()).
///
/// In a shared database other processes may run it too: they share its shards, and each returns when the whole
/// job has ended. A job that comes after others starts once these are done, and fails where one of them will never be.
///
/// Needs a tokio runtime with time; computing takes its blocking threads. Where the future is dropped, shards at work
/// break off between batches of rows, and what was computed may or may not be committed.
///
/// # Errors
/// [`JobError::NotFound`]. [`JobError::Waits`] if the job comes after others that no other process can do. [`JobError::Engine`] if the database fails (a full disk, for instance):
/// what was committed stays, and running again goes on. A shard that fails is no error of the run:
/// see [`End::Failed`].
pub async fn run(db: &Db, name: &str, options: RunOptions) -> Result<JobReport, JobError> {
    let mut had_ended = true;
    let mut number = None;
    loop {
        if db.is_shared() {
            db.refresh().await?;
        }
        let removed = || JobError::Removed {
            name: name.to_owned(),
        };
        let (ledger, job) = match Ledger::with_job(db, name).await {
            Err(JobError::NotFound { .. }) if number.is_some() => return Err(removed()),
            found => found?,
        };
        if *number.get_or_insert(job.state.number) != job.state.number {
            return Err(removed());
        }
        let end = match End::of(job.state.phase()) {
            Some(End::Done) if target::is_gone(&ledger, &job.state).await? => {
                had_ended = false;
                target::fail(&ledger, name, job.state.number).await?;
                continue;
            }
            Some(end) => end,
            None => {
                had_ended = false;
                match may_start(&ledger, name, &job, &options).await? {
                    MayStart::Yes => {}
                    // Its record says so, or it is looked at again.
                    MayStart::Later => continue,
                    MayStart::Stopped => {
                        return Ok(JobReport {
                            end: End::Stopped,
                            had_ended,
                            status: standing(&ledger, name).await?,
                        });
                    }
                }
                let end = match run_plan(&ledger, name, &job, &options).await {
                    // Its record says so.
                    Ok(None) | Err(JobError::StoreGone { .. }) => continue,
                    ended => ended?,
                };
                let Some(end) = end else { continue };
                if end == End::Stopped && !options.stop.is_cancelled() {
                    // Something is left after all.
                    continue;
                }
                end
            }
        };
        let status = match standing(&ledger, name).await {
            Err(JobError::NotFound { .. }) => return Err(removed()),
            Ok(status) if status.number != job.state.number => return Err(removed()),
            status => status?,
        };
        if end == End::Done
            && status.shards.failed == 0
            && let Some(plan) = &job.plan.export
        {
            // Whoever ended the job may have been killed before that.
            exports::sweep(plan);
        }
        return Ok(JobReport {
            end,
            had_ended,
            status,
        });
    }
}

/// Whether a run may begin now.
enum MayStart {
    Yes,
    /// The job is to be looked at again.
    Later,
    /// The run was asked to stop.
    Stopped,
}

/// Waits a while for the inputs of a job that is to start.
///
/// # Errors
/// [`JobError::Waits`] where no other process can do them.
async fn may_start(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    options: &RunOptions,
) -> Result<MayStart, JobError> {
    let waiting = match inputs::settle(ledger, name, &job.state).await? {
        Inputs::Done => return Ok(MayStart::Yes),
        Inputs::Broken(_) => return Ok(MayStart::Later),
        Inputs::Waiting(waiting) => waiting.join(", "),
    };
    if options.stop.is_cancelled() {
        return Ok(MayStart::Stopped);
    }
    // Other processes may be at its inputs, or another run of this one.
    if !ledger.db.is_shared() && options.permits.is_none() {
        return Err(JobError::Waits {
            name: name.to_owned(),
            waiting,
        });
    }
    options.observer.observe(&Event::Waits { on: &waiting });
    tokio::select! {
        () = tokio::time::sleep(INPUTS_APART) => {}
        () = options.stop.cancelled() => {}
    }
    Ok(MayStart::Later)
}

/// Runs the job by the plan that it has now; `None` if it got another one meanwhile.
async fn run_plan(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    options: &RunOptions,
) -> Result<Option<End>, JobError> {
    let context = Arc::new(RunContext::open(ledger, name, job, options).await?);
    if !start(&context.job, Some(&context.session)).await? {
        return Ok(Some(End::Cancelled));
    }
    let ended = run_with(ledger, name, job, options, &context).await;
    match &ended {
        Ok(Some(end)) => spans::end(&context.job.span, end.word()),
        Ok(None) => spans::end(&context.job.span, "changed"),
        Err(error) => spans::fail(&context.job.span, &error.to_string()),
    }
    let end = ended?;
    context.session.end(false).await?;
    Ok(end)
}

/// Works until the job ends, or the run.
async fn run_with(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    options: &RunOptions,
    context: &Arc<RunContext>,
) -> Result<Option<End>, JobError> {
    let _ends = EndOnDrop(Arc::clone(context));
    let left = context.queue.left();
    let workers = options.workers.clamp(1, left.max(1));
    // A task of its own, which ends with this: see `serve`.
    let mut watch = JoinSet::new();
    watch.spawn(watched(Arc::clone(context), job.clone()));
    watch.spawn(answered(Arc::clone(context)));
    watch.spawn(shared_out(Arc::clone(context)));
    watch.spawn(cut_short(Arc::clone(context), options.grace));
    let (over, is_over) = oneshot::channel();
    let mut flushes = JoinSet::new();
    flushes.spawn(flushed(Arc::clone(context), is_over));
    let mut threads = JoinSet::new();
    for _ in 0..workers {
        let context = Arc::clone(context);
        threads.spawn_blocking(move || context.work());
    }
    while let Some(joined) = threads.join_next().await {
        if let Err(error) = joined {
            // The others finish their shards first.
            context.end_for(Ending::Failed(JobError::Worker(error.to_string())));
        }
    }
    // A commit that has begun is part of the run.
    drop(over);
    flushes.join_all().await;
    watch.shutdown().await;
    if let Err(error) = context.withdraw_doubt().await {
        // It is answered, or left unanswered, and does no harm.
        tracing::debug!(job = name, %error, "a question about files stays");
    }
    match context.ending.lock().take() {
        Some(Ending::Failed(error)) => return Err(error),
        Some(Ending::Cancelled) => return Ok(Some(End::Cancelled)),
        Some(Ending::Changed) => return Ok(None),
        None => {}
    }
    let end = finish(&context.job, Some(&context.session)).await?;
    if end == End::Stopped && left == 0 && !was_retried(ledger, name, job).await? {
        return Err(damaged(
            name,
            "its sums",
            "they say that shards are left, and all have ended",
        ));
    }
    // All had ended when this run looked, and some are to be done again: it begins anew.
    Ok((end != End::Stopped || left > 0).then_some(end))
}

/// Whether a job has been retried since this run looked at it.
async fn was_retried(ledger: &Ledger, name: &str, job: &Job) -> Result<bool, JobError> {
    if ledger.db.is_shared() {
        ledger.db.refresh().await?;
    }
    let now = ledger.state_now(name).await?;
    Ok(now.is_none_or(|now| now.retries != job.state.retries))
}

/// Ends a run when it is dropped. Threads that compute are not ended with the future that waits for them.
struct EndOnDrop(Arc<RunContext>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end_for(Ending::Changed);
    }
}
