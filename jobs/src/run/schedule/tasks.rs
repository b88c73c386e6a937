//! What goes on beside the workers of a run: leases are prolonged, the job's record is looked at, what was computed is
//! committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_proto::v1::{JobPhase, JobState};
use tokio::sync::oneshot;

use super::claims::{Claims, IDLE_MAX, RENEWALS};
use super::context::{Ending, RunContext};
use crate::run::compute::open::lease_ms;
use crate::run::records::cancel::cancel_late;
use crate::run::records::error::JobError;
use crate::run::records::job::Job;
use crate::run::settle::observer::Event;
use crate::run::settle::report::End;

/// How often a run looks at its job's record, at least.
const LOOKS_APART: Duration = Duration::from_secs(1);
/// How often, at most.
const LOOKS_APART_MIN: Duration = Duration::from_millis(10);
/// How long a shard stays leased that nobody begins, while no worker comes for another one.
const UNBEGUN_MAX: Duration = Duration::from_millis(200);
/// How much longer than the commit interval what is computed waits for a worker to come by.
const FLUSH_AFTER: Duration = Duration::from_millis(10);

/// Prolongs leases, and looks whether the job was cancelled or retried, or has come to its deadline, so that nobody
/// computes for long what nobody wants.
pub(crate) async fn watched(context: Arc<RunContext>, job: Job) {
    let pause = Duration::from_millis(lease_ms(&job)) / RENEWALS;
    let deadline_ms = job.spec.run.as_ref().map_or(0, |run| run.deadline_ms);
    loop {
        let open = Duration::from_millis(context.session.age.now().open_ms);
        let until_deadline = match deadline_ms {
            0 => LOOKS_APART,
            _ => Duration::from_millis(deadline_ms).saturating_sub(open) + LOOKS_APART_MIN,
        };
        tokio::time::sleep(pause.min(LOOKS_APART).min(until_deadline)).await;
        if let Some(claims) = &context.claims {
            claims.renew_if_due().await;
        }
        let ending = match look(&context, &job.state, deadline_ms).await {
            Ok(ending) => ending,
            Err(error) => Some(Ending::Failed(error)),
        };
        if let Some(ending) = ending {
            context.end_for(ending);
            return;
        }
    }
}

/// Has shards at work break off that take longer than they may after the run was asked to stop.
pub(crate) async fn cut_short(context: Arc<RunContext>, grace: Option<Duration>) {
    let Some(grace) = grace else {
        return;
    };
    context.stop.cancelled().await;
    tokio::time::sleep(grace).await;
    context.overdue.cancel();
}

/// Answers what other processes ask about the job's files. Not part of [`watched`]: looking at a file may hang.
pub(crate) async fn answered(context: Arc<RunContext>) {
    while context.job.ledger.db.is_shared() {
        tokio::time::sleep(LOOKS_APART).await;
        if let Err(error) = context.answer().await {
            context.end_for(Ending::Failed(error));
            return;
        }
    }
}

/// Lets others have what was leased here and is not begun, while all workers are at shards that take longer than was
/// expected: the end of a job does not wait for short shards behind a long one. For the same reason a worker at a shard
/// that another process computes, too, breaks that off where nobody is at other shards.
pub(crate) async fn shared_out(context: Arc<RunContext>) {
    let Some(claims) = &context.claims else {
        return;
    };
    loop {
        tokio::time::sleep(UNBEGUN_MAX / 2).await;
        if let Some(copy) = context.copy_at_work(claims) {
            if context.queue.has_left(IDLE_MAX) {
                context.giving_way.lock().insert(copy);
            } else if let Err(error) = context.find_unbegun(claims).await {
                context.end_for(Ending::Failed(error));
                return;
            }
            continue;
        }
        let left = context.queue.take_back_left(UNBEGUN_MAX);
        futures::future::join_all(left.into_iter().map(|shard| claims.give_back(shard))).await;
    }
}

impl RunContext {
    /// A shard at work here that another process is at, too, and that was not yet asked to break off.
    fn copy_at_work(&self, claims: &Claims) -> Option<u64> {
        let copies = [self.queue.copies(), claims.lost()].concat();
        let giving_way = self.giving_way.lock();
        let begun = self.begun.lock();
        let at_work = |shard: &u64| begun.contains_key(shard) && !giving_way.contains(shard);
        copies.into_iter().find(at_work)
    }

    async fn find_unbegun(&self, claims: &Claims) -> Result<(), JobError> {
        let ended = |shard| {
            self.ended(shard);
            self.observer.observe(&Event::ShardDropped { shard });
        };
        let (ledger, name) = (&self.job.ledger, &self.job.name);
        self.queue.find_unbegun(ledger, name, claims, &ended).await
    }
}

/// Commits what was handed over, and what has waited for the commit interval where no worker comes to it, since all are
/// at shards that take long. Until `is_over` tells, or nobody is there to tell.
pub(crate) async fn flushed(context: Arc<RunContext>, mut is_over: oneshot::Receiver<()>) {
    let interval = context.commit_interval;
    if interval.is_zero() {
        // Nothing ever waits.
        return;
    }
    loop {
        let oldest = context.pool.oldest();
        // What is computed from now on is not due before that.
        let wait = oldest.map_or(interval, |oldest| interval.saturating_sub(oldest.elapsed()));
        let age_max = tokio::select! {
            biased;
            _ = &mut is_over => return,
            () = context.pool.handed_over() => Duration::ZERO,
            () = tokio::time::sleep(wait + FLUSH_AFTER) => interval,
        };
        let is_due = |oldest: Instant| oldest.elapsed() >= age_max;
        if !context.pool.oldest().is_some_and(is_due) {
            continue;
        }
        let flushing = Arc::clone(&context);
        if let Err(error) = tokio::task::spawn_blocking(move || flushing.flush(age_max)).await {
            context.end_for(Ending::Failed(JobError::Worker(error.to_string())));
        }
    }
}

/// Whether the job is still what this run works on.
async fn look(
    context: &RunContext,
    before: &JobState,
    deadline_ms: u64,
) -> Result<Option<Ending>, JobError> {
    if let Some(claims) = &context.claims {
        claims.look().await?;
    }
    let Some(now) = context.job.ledger.state_now(&context.job.name).await? else {
        return Ok(Some(Ending::Cancelled));
    };
    if (now.number, now.retries) != (before.number, before.retries) {
        return Ok(Some(Ending::Changed));
    }
    if now.phase() == JobPhase::Cancelled {
        return Ok(Some(Ending::Cancelled));
    }
    if now.phase() == JobPhase::Failed && !now.reason.is_empty() {
        // Its results are gone.
        return Ok(Some(Ending::Changed));
    }
    if now.crashes > 0 {
        context.session.take_care();
    }
    let computes = !context.begun.lock().is_empty();
    context.session.beat(computes).await?;
    if context.job.ledger.db.is_shared() {
        context.count_deaths().await?;
    }
    if !context.session.age.is_late(deadline_ms) || End::of(now.phase()).is_some() {
        return Ok(None);
    }
    cancel_late(&context.job.ledger, &context.job.name, deadline_ms).await?;
    Ok(Some(Ending::Cancelled))
}
