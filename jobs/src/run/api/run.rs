//! Running a job to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_engine::Db;
use eciton_proto::v1::{JobPhase, JobState, Outcome};
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::cancel::cancel_for;
use crate::run::compute::open::{OpenJob, lease_ms};
use crate::run::compute::results::RESULTS_LEN_MAX;
use crate::run::records::age::{Age, end_ms};
use crate::run::records::error::JobError;
use crate::run::records::ledger::{Job, Ledger, damaged};
use crate::run::records::machine;
use crate::run::records::status::{ShardCounts, standing};
use crate::run::records::tally::count;
use crate::run::records::target;
use crate::run::schedule::care::tell_killed;
use crate::run::schedule::claims::{Claims, RENEWALS};
use crate::run::schedule::doubt::Doubts;
use crate::run::schedule::health::Health;
use crate::run::schedule::leases::Leases;
use crate::run::schedule::permits::Slots;
use crate::run::schedule::shard_order::Open;
use crate::run::schedule::shard_queue::Supply;
use crate::run::schedule::stop::Stop;
use crate::run::schedule::worker::{Crew, Ending, now_ms, retry_on_conflict};
use crate::run::settle::conclude::{conclude, forget};
use crate::run::settle::observer::{Event, Observer, Silent};
use crate::run::settle::pool::Pool;
use crate::run::settle::report::{End, JobReport};
use crate::run::settle::session::OwnSession;
use crate::source::Reach;

/// How long computed shards wait for others to be committed with, unless the options say otherwise: what
/// a killed process has to compute again.
pub const COMMIT_INTERVAL: Duration = Duration::from_millis(500);

/// How long another process may be at a shard, at least, before it is computed a second time, unless the options say
/// otherwise.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How often a run looks at its job's record, at least.
const LOOKS_APART: Duration = Duration::from_secs(1);
/// How often, at most.
const LOOKS_APART_MIN: Duration = Duration::from_millis(10);
/// How long a shard stays leased that nobody begins, while no worker comes for another one.
const UNBEGUN_MAX: Duration = Duration::from_millis(200);
/// How much longer than the commit interval what is computed waits for a worker to come by.
const FLUSH_AFTER: Duration = Duration::from_millis(10);

/// How a job is run.
#[derive(Clone)]
pub struct RunOptions {
    /// Shards computed at the same time, each on a thread of its own; at least 1.
    pub workers: usize,
    /// What the workers of several runs have to share, if anything: each shard takes room there.
    pub slots: Option<Slots>,
    /// Whether this process gets anything done, of all runs together.
    pub health: Health,
    /// Who else of this process takes shards, if anybody does: see [`Leases`].
    pub leases: Option<Leases>,
    /// How long another process may be at a shard, at least, before it is computed here, too, once nothing else is left.
    /// Where shards take long, it waits longer.
    pub patience: Duration,
    /// What is computed is committed once it has waited about so long, whatever the workers are at, and when nothing is
    /// left to compute. Zero: each shard by itself.
    pub commit_interval: Duration,
    /// Which files are read of a job that was submitted over gRPC; of others any.
    pub reach: Reach,
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
            health: Health::new(),
            leases: None,
            patience: PATIENCE,
            commit_interval: COMMIT_INTERVAL,
            reach: Reach::anywhere(),
            observer: Arc::new(Silent),
            stop: Stop::new(),
        }
    }
}

/// Runs a job that was [submitted](crate::run::submit()) until all its shards have ended, it is asked to
/// stop, or the database fails. Running it again goes on where it stopped; a job that has ended is
/// left as it is. Failed shards stay failed until a [retry](crate::run::retry()).
///
/// In a shared database other processes may run it too: they share its shards, and each returns when the whole
/// job has ended.
///
/// Needs a tokio runtime with time; computing takes its blocking threads. Where the future is dropped, shards at work
/// break off between batches of rows, and what was computed may or may not be committed.
///
/// # Errors
/// [`JobError::NotFound`]. [`JobError::Engine`] if the database fails (a full disk, for instance):
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
        let end = match ended(job.state.phase()) {
            Some(End::Done) if target::is_gone(&ledger, &job.state).await? => {
                had_ended = false;
                target::fail(&ledger, name, job.state.number).await?;
                continue;
            }
            Some(end) => end,
            None => {
                had_ended = false;
                let end = match run_plan(&ledger, name, &job, &options).await {
                    // Its record says so.
                    Ok(None) | Err(JobError::StoreGone { .. }) => continue,
                    ended => ended?,
                };
                let Some(end) = end else { continue };
                if end == End::Stopped && !options.stop.is_requested() {
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
        return Ok(JobReport {
            end,
            had_ended,
            status,
        });
    }
}

pub(crate) fn ended(phase: JobPhase) -> Option<End> {
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
    if !start(&crew.job, Some(&crew.session)).await? {
        return Ok(Some(End::Cancelled));
    }
    let end = run_crew(ledger, name, job, options, &crew).await?;
    crew.session.end(false).await?;
    Ok(end)
}

/// Works until the job ends, or the run.
async fn run_crew(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    options: &RunOptions,
    crew: &Arc<Crew>,
) -> Result<Option<End>, JobError> {
    let _ends = Ends(Arc::clone(crew));
    let left = crew.supply.left();
    let workers = options.workers.clamp(1, left.max(1));
    // A task of its own, which ends with this: see `serve`.
    let mut watch = JoinSet::new();
    watch.spawn(watched(Arc::clone(crew), job.clone()));
    watch.spawn(answered(Arc::clone(crew)));
    watch.spawn(shared_out(Arc::clone(crew)));
    let (over, is_over) = oneshot::channel();
    let mut flushes = JoinSet::new();
    flushes.spawn(flushed(Arc::clone(crew), is_over));
    let mut threads = JoinSet::new();
    for _ in 0..workers {
        let crew = Arc::clone(crew);
        threads.spawn_blocking(move || crew.work());
    }
    while let Some(joined) = threads.join_next().await {
        if let Err(error) = joined {
            // The others finish their shards first.
            crew.end_for(Ending::Failed(JobError::Worker(error.to_string())));
        }
    }
    // A commit that has begun is part of the run.
    drop(over);
    flushes.join_all().await;
    watch.shutdown().await;
    if let Err(error) = crew.withdraw_doubt().await {
        // It is answered, or left unanswered, and does no harm.
        tracing::debug!(job = name, %error, "a question about files stays");
    }
    match crew.ending.lock().take() {
        Some(Ending::Failed(error)) => return Err(error),
        Some(Ending::Cancelled) => return Ok(Some(End::Cancelled)),
        Some(Ending::Changed) => return Ok(None),
        None => {}
    }
    let end = finish(&crew.job, Some(&crew.session)).await?;
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

/// Ends the work of a crew when it is dropped. Threads that compute are not ended with the future that waits for them.
struct Ends(Arc<Crew>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end_for(Ending::Changed);
    }
}

/// Prolongs leases, and looks whether the job was cancelled or retried, or has come to its deadline, so that nobody
/// computes for long what nobody wants.
async fn watched(crew: Arc<Crew>, job: Job) {
    let pause = Duration::from_millis(lease_ms(&job)) / RENEWALS;
    let deadline_ms = job.spec.run.map_or(0, |run| run.deadline_ms);
    loop {
        let open = Duration::from_millis(crew.session.age.now().open_ms);
        let until_deadline = match deadline_ms {
            0 => LOOKS_APART,
            _ => Duration::from_millis(deadline_ms).saturating_sub(open) + LOOKS_APART_MIN,
        };
        tokio::time::sleep(pause.min(LOOKS_APART).min(until_deadline)).await;
        if let Some(claims) = &crew.claims {
            claims.renew_if_due().await;
        }
        let ending = match look(&crew, &job.state, deadline_ms).await {
            Ok(ending) => ending,
            Err(error) => Some(Ending::Failed(error)),
        };
        if let Some(ending) = ending {
            crew.end_for(ending);
            return;
        }
    }
}

/// Answers what other processes ask about the job's files. Not part of [`watched`]: looking at a file may hang.
async fn answered(crew: Arc<Crew>) {
    while crew.ledger.db.is_shared() {
        tokio::time::sleep(LOOKS_APART).await;
        if let Err(error) = crew.answer().await {
            crew.end_for(Ending::Failed(error));
            return;
        }
    }
}

/// Lets others have what was leased here and is not begun, while all workers are at shards that take longer than was
/// expected: the end of a job does not wait for short shards behind a long one.
async fn shared_out(crew: Arc<Crew>) {
    let Some(claims) = &crew.claims else {
        return;
    };
    loop {
        tokio::time::sleep(UNBEGUN_MAX / 2).await;
        let left = crew.supply.take_back_left(UNBEGUN_MAX);
        futures::future::join_all(left.into_iter().map(|shard| claims.give_back(shard))).await;
    }
}

/// Commits what was handed over, and what has waited for the commit interval where no worker comes to it, since all are
/// at shards that take long. Until `is_over` tells, or nobody is there to tell.
async fn flushed(crew: Arc<Crew>, mut is_over: oneshot::Receiver<()>) {
    let interval = crew.commit_interval;
    if interval.is_zero() {
        // Nothing ever waits.
        return;
    }
    loop {
        let oldest = crew.pool.oldest();
        // What is computed from now on is not due before that.
        let wait = oldest.map_or(interval, |oldest| interval.saturating_sub(oldest.elapsed()));
        let age_max = tokio::select! {
            biased;
            _ = &mut is_over => return,
            () = crew.pool.handed_over() => Duration::ZERO,
            () = tokio::time::sleep(wait + FLUSH_AFTER) => interval,
        };
        let is_due = |oldest: Instant| oldest.elapsed() >= age_max;
        if !crew.pool.oldest().is_some_and(is_due) {
            continue;
        }
        let flushing = Arc::clone(&crew);
        if let Err(error) = tokio::task::spawn_blocking(move || flushing.flush(age_max)).await {
            crew.end_for(Ending::Failed(JobError::Worker(error.to_string())));
        }
    }
}

/// Whether the job is still what this run works on.
async fn look(
    crew: &Crew,
    before: &JobState,
    deadline_ms: u64,
) -> Result<Option<Ending>, JobError> {
    if let Some(claims) = &crew.claims {
        claims.look().await?;
    }
    let Some(now) = crew.ledger.state_now(&crew.name).await? else {
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
        crew.session.take_care();
    }
    let computes = !crew.begun.lock().is_empty();
    crew.session.beat(computes).await?;
    if crew.ledger.db.is_shared() {
        crew.judge().await?;
    }
    if !is_late(&crew.session.age, deadline_ms) || ended(now.phase()).is_some() {
        return Ok(None);
    }
    cancel_late(&crew.ledger, &crew.name, deadline_ms).await?;
    Ok(Some(Ending::Cancelled))
}

/// Whether a job has been open for as long as it may be.
pub(crate) fn is_late(age: &Age, deadline_ms: u64) -> bool {
    deadline_ms > 0 && age.now().open_ms >= deadline_ms
}

/// Cancels a job that has come to its deadline.
pub(crate) async fn cancel_late(
    ledger: &Ledger,
    name: &str,
    deadline_ms: u64,
) -> Result<(), JobError> {
    let reason = format!("it did not end within its deadline of {deadline_ms} ms");
    cancel_for(ledger, name, &reason).await
}

/// Plans the job and finds what is left of it to do.
pub(crate) async fn crew(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    options: &RunOptions,
) -> Result<Crew, JobError> {
    let planned = OpenJob::new(ledger, name, job, &options.reach).await?;
    let total = job.plan.shards;
    let deadline_ms = job.spec.run.map_or(0, |run| run.deadline_ms);
    let age = Age::new(ledger.age(name, &job.state).await?, true, deadline_ms);
    let bounds = (
        planned.max_attempts,
        Duration::from_millis(planned.lease_ms),
    );
    let session = OwnSession::new(ledger, name, &job.state, bounds, age);
    // Before shards are looked at: some may end by this.
    for killed in session.judge().await? {
        tell_killed(&*options.observer, &killed);
    }
    let mut open = Open::all(total);
    let (mut done, mut failed) = (0, 0);
    ledger
        .each_shard(name, |number, state| {
            match state.outcome() {
                Outcome::Unspecified => return true,
                Outcome::Done => done += 1,
                Outcome::Failed => failed += 1,
            }
            open.remove(number);
            true
        })
        .await?;
    options.observer.observe(&Event::Started {
        shards: ShardCounts {
            total,
            done,
            failed,
            running: 0,
            pending: total.saturating_sub(done + failed),
        },
    });
    let number = (job.state.number, job.state.retries);
    let claims = Claims::new(
        &ledger.db,
        number,
        planned.lease_ms,
        options.leases.as_ref(),
    );
    Ok(Crew {
        job: planned,
        session,
        supply: Supply::new(open, ledger.db.is_shared(), options.patience),
        claims,
        observer: Arc::clone(&options.observer),
        runtime: Handle::current(),
        results_len_max: RESULTS_LEN_MAX,
        commit_interval: options.commit_interval,
        slots: options.slots.clone(),
        health: options.health.clone(),
        doubts: Doubts::default(),
        stop: options.stop.clone(),
        ending: Arc::default(),
        pool: Pool::default(),
        alone: Mutex::default(),
        begun: Mutex::default(),
        flushing: Mutex::default(),
    })
}

/// Marks the job as running, and begins the session of whoever will run it; `false` if it was cancelled, or is gone.
pub(crate) async fn start(job: &OpenJob, session: Option<&OwnSession>) -> Result<bool, JobError> {
    retry_on_conflict(|| start_once(job, session).boxed()).await
}

async fn start_once(job: &OpenJob, session: Option<&OwnSession>) -> Result<Option<bool>, JobError> {
    let (ledger, name) = (&job.ledger, &job.name);
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        return Ok(Some(false));
    };
    if state.number != job.job_number {
        return Ok(Some(false));
    }
    let before = state.clone();
    let is_open = ended(state.phase()).is_none();
    if is_open && target::number_of(&state).is_none() {
        // Recorded before it was kept: from now on it has to be this one.
        state.results.get_or_insert_default().store_number = job.store.id().0;
    }
    match state.phase() {
        JobPhase::Cancelled => return Ok(Some(false)),
        JobPhase::Unspecified | JobPhase::Pending => {
            state.set_phase(JobPhase::Running);
            if state.started_ms == 0 {
                // Whoever submitted it may have a clock that is ahead of this one.
                let now_ms = now_ms();
                state.started_ms = now_ms.max(state.submitted_ms);
                state.started_clock = match now_ms < state.submitted_ms {
                    // A moment of that other clock, from which on only durations count.
                    true => 0,
                    false => machine::clock(),
                };
            }
        }
        JobPhase::Done | JobPhase::Failed => return Ok(Some(true)),
        JobPhase::Running => {}
    }
    if state != before {
        ledger.put_job_state(&mut tx, name, &state)?;
    } else if session.is_none() {
        return Ok(Some(true));
    }
    if let Some(session) = session {
        session.begin(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(Some(true))
}

/// Ends the job if all its shards have ended.
///
/// The transaction reads the job's record and its sums: shards only ever come to an end, except by a retry, which
/// changes both: then this commit conflicts. It also relies on the store that the results are in.
pub(crate) async fn finish(job: &OpenJob, session: Option<&OwnSession>) -> Result<End, JobError> {
    let end = retry_on_conflict(|| finish_once(job, session).boxed()).await?;
    if let (Finished::Here(_), Some(session)) = (&end, session) {
        session.end(true).await?;
    }
    Ok(match end {
        Finished::Here(end) | Finished::Before(end) => end,
        Finished::Not => End::Stopped,
    })
}

/// What came of looking whether a job has ended.
enum Finished {
    /// It had ended.
    Before(End),
    /// This ended it.
    Here(End),
    /// It has shards left.
    Not,
}

async fn finish_once(
    job: &OpenJob,
    session: Option<&OwnSession>,
) -> Result<Option<Finished>, JobError> {
    let (ledger, name, total) = (&job.ledger, &job.name, job.total);
    let mut tx = ledger.db.begin();
    let state = ledger.job_state(&mut tx, name).await?;
    let state = state.filter(|state| state.number == job.job_number);
    let Some(mut state) = state else {
        return Err(JobError::Removed { name: name.clone() });
    };
    if let Some(end) = ended(state.phase()) {
        return Ok(Some(Finished::Before(end)));
    }
    if !target::stands(&mut tx, &state).await? {
        target::fail(ledger, name, state.number).await?;
        return Ok(Some(Finished::Before(End::Failed)));
    }
    let tally = ledger.tallies.read(&mut tx, name, state.number).await?;
    if tally.ended() < total {
        return Ok(Some(Finished::Not));
    }
    let mut end = match count(tally.failed) {
        0 => End::Done,
        _ => End::Failed,
    };
    if end == End::Done
        && let Some(reason) = conclude(ledger, name, &mut tx).await?
    {
        // A transaction that has part of an answer is not committed.
        tx = ledger.db.begin();
        if ledger.job_state(&mut tx, name).await?.as_ref() != Some(&state) {
            return Ok(None);
        }
        state.reason = format!("the result cannot be computed: {reason}");
        end = End::Failed;
    }
    let phase = match end {
        End::Done => JobPhase::Done,
        _ => JobPhase::Failed,
    };
    state.set_phase(phase);
    let mut age = ledger.age(name, &state).await?;
    if let Some(session) = session {
        age.run_ms = age.run_ms.max(session.age.now().run_ms);
        ledger.delete_session(&mut tx, (name, session.id))?;
    }
    state.finished_ms = end_ms(&state, &age);
    ledger.put_job_state(&mut tx, name, &state)?;
    tx.commit().await?;
    if end == End::Done {
        forget(ledger, name, state.number).await;
    }
    Ok(Some(Finished::Here(end)))
}
