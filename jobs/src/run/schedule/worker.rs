//! A worker: takes shards one after the other until there are none, on a thread of its own.

use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_engine::Transaction;
use eciton_proto::v1::{Outcome, ProgramLog};
use parking_lot::Mutex;
use tracing::Span;

use super::context::{Attempted, Ending, RunContext};
use super::doubts::Doubted;
use super::permits::Permit;
use super::resources::{Resources, TakenResources};
use super::shard_queue::NextShard;
use crate::command::limits::stderr_kept;
use crate::run::compute::attempt::{Attempt, Computed};
use crate::run::compute::error::AttemptError;
use crate::run::compute::program_context::ProgramContext;
use crate::run::records::checkpoints::CheckpointOf;
use crate::run::records::error::JobError;
use crate::run::records::spans;
use crate::run::settle::batch::Batch;
use crate::run::settle::commit::Admission;
use crate::run::settle::failure::{Failure, bounded};
use crate::run::settle::observer::Event;
use crate::run::settle::pool::Working;
use crate::run::settle::settlement::Settlement;
use crate::source::Shard;
use crate::transform::Interrupt;

/// Repeated computations, within one attempt, of a shard whose results do not fit into memory and
/// were lost with their transaction.
const REPEATS_MAX: u32 = 4;
/// How long a worker sleeps without looking whether its run has to end.
const SLEEP_MAX: Duration = Duration::from_secs(1);

impl RunContext {
    /// Works until no shard is left or the run has to end. Blocks.
    pub(crate) fn work(&self) {
        let _entered = self.job.span.enter();
        loop {
            let working = self.pool.begin();
            let worked = self.fill(&working).and_then(|()| {
                let (patience, len_max) = (self.commit_interval, self.results_len_max);
                self.settle_all(working.end(patience, len_max))
            });
            if let Err(ending) = worked {
                self.end_for(ending);
            }
            self.await_flush();
            // What was lost with the last batch is there again.
            if self.stop.is_cancelled() || self.is_ending() || self.queue.left() == 0 {
                return;
            }
        }
    }

    fn fill(&self, working: &Working<'_>) -> Result<(), Ending> {
        // What this worker has and what others have left; at once, or as soon as some of it is old enough.
        let settle = |age_max| self.settle_all(working.leave(age_max, self.results_len_max));
        let mut permit = None;
        loop {
            if self.stop.is_cancelled() || self.is_ending() {
                break;
            }
            if let Some(pause) = self.health.quarantine() {
                drop(permit.take());
                settle(Duration::ZERO)?;
                self.give_back();
                self.sleep(pause);
                continue;
            }
            if let Some(pause) = self.undoubt()? {
                drop(permit.take());
                settle(Duration::ZERO)?;
                self.give_back();
                self.sleep(pause);
                continue;
            }
            if permit.as_ref().is_some_and(Permit::is_wanted) {
                // What is leased is for others while other jobs go on here.
                self.give_back();
                permit = None;
            }
            if let (None, Some(permits)) = (&permit, &self.permits) {
                permit = permits.now(self.job.priority);
                if permit.is_none() {
                    // What is computed does not wait for room.
                    settle(Duration::ZERO)?;
                    let next = permits.next(self.job.priority, &self.stop);
                    permit = self.runtime.block_on(next);
                }
                if permit.is_none() {
                    // Asked to stop.
                    break;
                }
            }
            match self.next_shard()? {
                // At work here already, or computed and not committed yet.
                NextShard::Shard(shard) if self.begun.lock().contains_key(&shard) => {}
                NextShard::Shard(shard) => {
                    self.observer.observe(&Event::ShardStarted { shard });
                    let is_alone = self.alone.lock().remove(&shard);
                    self.do_shard(shard, (!is_alone).then_some(working.batch()))?;
                    // The next shard may take longer than what is computed is to wait.
                    let expected = self.queue.expected();
                    let is_long = expected.is_some_and(|expected| expected >= self.commit_interval);
                    if is_long && self.commit_interval.is_zero() {
                        settle(Duration::ZERO)?;
                    } else if is_long {
                        self.settle_all(working.hand_over(self.results_len_max))?;
                    } else if working.is_due(self.commit_interval, self.results_len_max) {
                        settle(self.commit_interval)?;
                    }
                }
                NextShard::Wait(pause) => {
                    drop(permit.take());
                    settle(Duration::ZERO)?;
                    // What was lost with it is there again.
                    if self.queue.left() == 0 {
                        self.sleep(pause);
                    }
                }
                NextShard::Nothing => return Ok(()),
            }
        }
        self.give_back();
        Ok(())
    }

    fn next_shard(&self) -> Result<NextShard, JobError> {
        let ended = |shard| {
            self.ended(shard);
            self.observer.observe(&Event::ShardDropped { shard });
        };
        let claims = self.claims.as_ref();
        let next = self
            .queue
            .next(&self.job.ledger, &self.job.name, claims, &ended);
        self.runtime.block_on(next)
    }

    /// Waits, or less long: until the run is asked to stop, or until it is time to look whether it has to end.
    fn sleep(&self, pause: Duration) {
        self.runtime.block_on(async {
            tokio::select! {
                () = tokio::time::sleep(pause.min(SLEEP_MAX)) => {}
                () = self.stop.cancelled() => {}
            }
        });
    }

    /// Gives back what is leased and not begun.
    fn give_back(&self) {
        let unbegun = self.queue.take_back();
        if let Some(claims) = &self.claims {
            let given_back = unbegun.into_iter().map(|shard| claims.give_back(shard));
            self.runtime.block_on(futures::future::join_all(given_back));
        }
    }

    /// Whether an attempt is to break off: it has taken too long, the run ends, or it gives way to other shards.
    fn interrupt(&self, shard: u64, until: Option<Instant>) -> Interrupt {
        let (ending, overdue) = (Arc::clone(&self.ending), self.overdue.clone());
        let giving_way = Arc::clone(&self.giving_way);
        Arc::new(move || {
            let late = until.is_some_and(|until| Instant::now() >= until);
            let gives_way = || giving_way.lock().contains(&shard);
            late || overdue.is_cancelled() || ending.lock().is_some() || gives_way()
        })
    }

    /// Computes a shard, again and again if need be, until it is in the batch or has ended.
    fn do_shard(&self, number: u64, batch: Option<&Mutex<Batch>>) -> Result<(), Ending> {
        let is_wanted = || !self.is_ending() && !self.overdue.is_cancelled();
        let take = |all: &Resources| all.take(&self.job.needs, is_wanted);
        let taken: Option<Option<TakenResources>> = self.resources.as_ref().map(take);
        if matches!(taken, Some(None)) {
            self.give_back_begun(number);
            return Ok(());
        }
        let shard = self.runtime.block_on(self.job.locate(number))?;
        self.begun.lock().insert(number, Instant::now());
        self.giving_way.lock().remove(&number);
        let Some(care) = self.care_for(number)? else {
            self.ended(number);
            self.observer
                .observe(&Event::ShardDropped { shard: number });
            return Ok(());
        };
        // What is computed alone is committed before anything else begins: what comes then is not of its making.
        let batch = batch.filter(|_| !care.is_alone());
        let begun = Instant::now();
        self.begun.lock().insert(number, begun);
        let mut repeats = 0;
        loop {
            let span = spans::of_shard(number);
            let entered = span.enter();
            let mut of_program = false;
            let (message, transient) = match self.attempt(shard, batch)? {
                Attempted::Over => {
                    self.queue.computed(begun.elapsed());
                    self.health.succeeded();
                    self.doubts.computed();
                    return Ok(());
                }
                Attempted::Again if repeats < REPEATS_MAX => {
                    repeats += 1;
                    self.observer.observe(&Event::ResultsLost { shard: number });
                    self.observer
                        .observe(&Event::ShardStarted { shard: number });
                    continue;
                }
                Attempted::Again => (lost_too_often(), true),
                Attempted::Overdue => {
                    tracing::info!(
                        job = self.job.name,
                        shard = number,
                        "given up: it did not end in time"
                    );
                    self.begun.lock().remove(&number);
                    if let Some(claims) = &self.claims {
                        self.runtime.block_on(claims.give_back(number));
                    }
                    return Ok(());
                }
                Attempted::GaveWay => {
                    tracing::info!(
                        job = self.job.name,
                        shard = number,
                        "left to the other process that computes it: nobody is at other shards"
                    );
                    self.leave_to_others(number);
                    return match care.is_alone() {
                        true => self.unlist(),
                        false => Ok(()),
                    };
                }
                Attempted::Failed {
                    message,
                    transient,
                    of_program: its_program,
                } => {
                    of_program = its_program;
                    (message, transient)
                }
                Attempted::SourceFailed { message, transient } => {
                    match self.doubt(shard, &message) {
                        Doubted::GivenBack => {
                            self.give_back_begun(number);
                            return Ok(());
                        }
                        Doubted::Counts { transient: among } => (message, transient || among),
                    }
                }
            };
            spans::fail(&span, bounded(&message));
            drop(entered);
            // What is computed does not wait for what has failed.
            if let Some(batch) = batch {
                let computed = std::mem::take(&mut *batch.lock());
                self.settle_batch(computed)?;
            }
            span.in_scope(|| self.fail(number, &message, transient, of_program))?;
            return match care.is_alone() {
                true => self.unlist(),
                false => Ok(()),
            };
        }
    }

    /// Gives a shard back that cannot be computed here now.
    fn give_back_begun(&self, shard: u64) {
        self.begun.lock().remove(&shard);
        self.observer.observe(&Event::ShardGivenBack { shard });
        self.queue.hold_back(shard, SLEEP_MAX);
        if let Some(claims) = &self.claims {
            self.runtime.block_on(claims.give_back(shard));
        }
    }

    /// Breaks off a shard that another process computes, too.
    fn leave_to_others(&self, shard: u64) {
        self.begun.lock().remove(&shard);
        self.observer.observe(&Event::ShardGivenBack { shard });
        if let Some(claims) = &self.claims {
            self.runtime.block_on(claims.leave_to_others(shard));
        }
        self.queue.watch(shard);
        self.giving_way.lock().remove(&shard);
    }

    /// One attempt. Without a batch its results are committed at once.
    fn attempt(&self, shard: Shard, batch: Option<&Mutex<Batch>>) -> Result<Attempted, Ending> {
        let number = shard.number;
        let until = self.job.timeout.map(|timeout| Instant::now() + timeout);
        let attempts = match self.job.program {
            Some(_) => self.attempts_before(number)?,
            None => 0,
        };
        let save = |log: &ProgramLog| self.save_log(log);
        let is_wanted = || !self.is_ended_elsewhere(number);
        let checkpoint = || {
            let found = self.job.ledger.checkpoint(&self.job.name, number);
            self.runtime.block_on(found)
        };
        let save_checkpoint = |content: &[u8]| self.save_checkpoint(number, attempts + 1, content);
        let attempt = Attempt {
            pipeline: &self.job.pipeline,
            job_number: self.job.job_number,
            store: &self.job.store,
            runtime: &self.runtime,
            results_len_max: self.results_len_max,
            until,
            interrupt: self.interrupt(number, until),
            rows_read: &|rows| {
                self.observer.observe(&Event::RowsRead {
                    shard: number,
                    rows,
                });
            },
            program: self.job.program.as_ref().map(|program| ProgramContext {
                program,
                job: &self.job.name,
                shards: self.job.total,
                attempt: attempts + 1,
                has_others: self.claims.is_some() && self.job.ledger.db.is_shared(),
                stderr_kept: stderr_kept(self.job.total),
                retry: &self.job.retry,
                save: &save,
                checkpoint: &checkpoint,
                save_checkpoint: &save_checkpoint,
                is_wanted: &is_wanted,
            }),
            admit: &|| self.admit_overflow(number),
        };
        let spare = batch.and_then(|batch| batch.lock().spare());
        let outcome = match attempt.compute(shard, spare) {
            Ok(Computed::Results(outcome)) => *outcome,
            // Given up since the run ends: that is no failure of the shard. The first reason is the one that counts.
            Ok(Computed::Superfluous) if self.is_ending() => return Err(Ending::Changed),
            Ok(Computed::Superfluous) if self.overdue.is_cancelled() => {
                return Ok(Attempted::Overdue);
            }
            Ok(Computed::Superfluous) if self.giving_way.lock().contains(&number) => {
                return Ok(Attempted::GaveWay);
            }
            Ok(Computed::Superfluous) => {
                let settlement = self.job.settle_given_up(number);
                return self.take(self.runtime.block_on(settlement)?);
            }
            Err(error) => return Attempted::of_error(error),
        };
        Span::current().record("rows", outcome.rows_read);
        match batch {
            Some(batch) if !outcome.results.has_overflow() => {
                // One that has ended elsewhere meanwhile would have the whole batch computed again.
                if !self.has_ended_elsewhere(number)? {
                    batch.lock().add(number, outcome);
                }
                Ok(Attempted::Over)
            }
            _ => self.settle(Batch::alone(number, outcome)),
        }
    }

    /// Whether another process has ended a shard that was computed here, as far as can be seen; it is done with then.
    fn has_ended_elsewhere(&self, shard: u64) -> Result<bool, JobError> {
        let Some(claims) = &self.claims else {
            return Ok(false);
        };
        let state = self.runtime.block_on(async {
            claims.look().await?;
            self.job.ledger.shard_now(&self.job.name, shard).await
        });
        if state?.outcome() == Outcome::Unspecified {
            return Ok(false);
        }
        self.ended(shard);
        self.observer.observe(&Event::ShardDropped { shard });
        Ok(true)
    }

    /// How many attempts at a shard have failed, in all.
    fn attempts_before(&self, shard: u64) -> Result<u32, JobError> {
        let state = self.job.ledger.shard_now(&self.job.name, shard);
        Ok(self.runtime.block_on(state)?.attempts)
    }

    /// Stores what is kept of a program. The attempt counts the same where that fails.
    fn save_log(&self, log: &ProgramLog) {
        let saved = self
            .job
            .ledger
            .save_log(&self.job.name, self.job.job_number, log);
        if let Err(error) = self.runtime.block_on(saved) {
            let (job, shard) = (&self.job.name, log.shard);
            tracing::warn!(job, shard, %error, "what its program wrote cannot be stored");
        }
    }

    /// Stores a checkpoint; the number of records that have it. The program goes on the same where that fails.
    fn save_checkpoint(&self, shard: u64, attempt: u32, content: &[u8]) -> Option<u32> {
        let of = CheckpointOf {
            name: &self.job.name,
            job_number: self.job.job_number,
            shard,
        };
        let saved = self.job.ledger.save_checkpoint(of, attempt, content);
        match self.runtime.block_on(saved) {
            Ok(parts) => Some(parts),
            Err(error) => {
                let job = &self.job.name;
                tracing::warn!(job, shard, %error, "its checkpoint cannot be stored");
                None
            }
        }
    }

    /// Whether another process has ended a shard that is computed here, as far as can be seen.
    fn is_ended_elsewhere(&self, shard: u64) -> bool {
        let Some(claims) = &self.claims else {
            return false;
        };
        let state = self.runtime.block_on(async {
            claims.look().await.ok()?;
            let state = self.job.ledger.shard_now(&self.job.name, shard);
            state.await.ok()
        });
        state.is_some_and(|state| state.outcome() != Outcome::Unspecified)
    }

    fn admit_overflow(&self, shard: u64) -> Result<Option<Transaction>, AttemptError> {
        match self
            .runtime
            .block_on(self.job.admit([shard]))
            .map_err(AttemptError::Fatal)?
        {
            Admission::Open(tx) => Ok(Some(*tx)),
            Admission::Refused(_) => Ok(None),
        }
    }

    /// Records a failed attempt. The shard has ended then, or is due again after a while, here or elsewhere.
    /// What its program did says nothing about this process.
    fn fail(
        &self,
        shard: u64,
        error: &str,
        transient: bool,
        of_program: bool,
    ) -> Result<(), Ending> {
        let error = bounded(error);
        let recorded = self.job.record_failure(shard, None, error, transient);
        let failure = self.runtime.block_on(recorded)?;
        match &failure {
            Failure::Final(_) => {
                self.ended(shard);
                failure.tell(&*self.observer, shard, error);
            }
            Failure::Again { wait, .. } => {
                failure.tell(&*self.observer, shard, error);
                self.begun.lock().remove(&shard);
                match &self.claims {
                    // Others come first: what failed here may succeed there.
                    Some(claims) => {
                        self.queue.hold_back(shard, *wait * 3 / 2);
                        self.runtime.block_on(claims.give_back(shard));
                    }
                    None => self.queue.hold_back(shard, *wait),
                }
            }
            Failure::NotAdmitted(refusal) => {
                self.take(Settlement::of_refused(&[shard], *refusal))?;
            }
        }
        if transient
            && !of_program
            && let Some(pause) = self.health.failed()
        {
            let seconds = pause.as_secs();
            tracing::warn!(
                job = self.job.name,
                seconds,
                error,
                "every attempt here fails; this process takes no shard for a while"
            );
            self.observer.observe(&Event::Quarantined { pause, error });
        }
        Ok(())
    }
}

fn lost_too_often() -> String {
    format!(
        "its results were lost {REPEATS_MAX} times, because other transactions came in between while \
         it was computed; expected a smaller shard"
    )
}
