//! A worker: takes shards one after the other until there are none, on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use eciton_engine::base::clock::{Clock, SystemClock};
use eciton_engine::base::{Action, Error as EngineError, Key};
use eciton_engine::db::{Store, Transaction};
use eciton_engine::merge::Operand;
use eciton_proto::v1::Outcome;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::attempt::{Attempt, AttemptError, Computed};
use super::batch::{Batch, Ready};
use super::claims::Claims;
use super::commit::{Admission, Failure, Settled};
use super::error::JobError;
use super::last::Last;
use super::ledger::{Ledger, damaged};
use super::observer::{Event, Observer};
use super::pipeline::Pipeline;
use super::queue::Queue;
use super::slots::{Slot, Slots};
use super::stop::Stop;
use crate::source::limits::SHARDS_PER_CHUNK;
use crate::source::{Shard, shards};

/// Milliseconds before the second attempt; each further one waits twice as long.
const BACKOFF_MS_MIN: u64 = 100;
/// Milliseconds before any attempt, at most.
const BACKOFF_MS_MAX: u64 = 10_000;
/// Repeated computations, within one attempt, of a shard whose results do not fit into memory and
/// were lost with their transaction.
const REPEATS_MAX: u32 = 4;
/// Tries of a change to a job's record.
const CHANGE_TRIES_MAX: u32 = 1000;

/// What all workers of a run share.
pub(super) struct Crew {
    pub(super) ledger: Ledger,
    pub(super) name: String,
    pub(super) job_number: u64,
    /// How often the job had been retried when this run began.
    pub(super) retries: u32,
    pub(super) max_attempts: u32,
    pub(super) pipeline: Pipeline,
    pub(super) store: Store,
    pub(super) queue: Queue,
    /// `None` where no other process writes to the database.
    pub(super) claims: Option<Claims>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) runtime: Handle,
    /// [`RESULTS_LEN_MAX`](super::results::RESULTS_LEN_MAX), less in tests.
    pub(super) results_len_max: usize,
    /// How long computed shards wait for others to be committed with.
    pub(super) commit_interval: Duration,
    /// What is shared with the workers of other jobs, if anything.
    pub(super) slots: Option<Slots>,
    /// Someone outside wants the run to end.
    pub(super) stop: Stop,
    /// The run itself has to end, and why.
    pub(super) ending: Mutex<Option<Ending>>,
    /// Where workers that find no more shards leave what they have.
    pub(super) last: Last,
    /// The chunk of shards that was asked for last.
    pub(super) chunk: Mutex<Option<(u64, Arc<Vec<Shard>>)>>,
}

/// Why a run ends before its shards do.
#[derive(Debug)]
pub(super) enum Ending {
    /// The job was cancelled.
    Cancelled,
    /// The job was retried: begin again with its new plan.
    Changed,
    /// The database failed.
    Failed(JobError),
}

impl From<JobError> for Ending {
    fn from(error: JobError) -> Ending {
        Ending::Failed(error)
    }
}

impl Crew {
    /// Works until no shard is left or the run has to end. Blocks.
    pub(super) fn work(&self) {
        let working = self.last.begin();
        let mut batch = Batch::default();
        let worked = self.fill(&mut batch).and_then(|()| {
            let (patience, len_max) = (self.commit_interval, self.results_len_max);
            self.settle(&mut working.end(batch, patience, len_max))
        });
        if let Err(ending) = worked {
            // The first reason is the one that is told.
            self.ending.lock().get_or_insert(ending);
        }
    }

    fn fill(&self, batch: &mut Batch) -> Result<(), Ending> {
        while !self.stop.is_requested() && self.ending.lock().is_none() {
            let _slot = match &self.slots {
                Some(slots) => match self.slot(slots, batch)? {
                    Some(slot) => Some(slot),
                    // Asked to stop.
                    None => break,
                },
                None => None,
            };
            let Some(shard) = self.queue.next() else {
                break;
            };
            if !self.is_left(shard)? {
                continue;
            }
            self.observer.observe(&Event::ShardStarted { shard });
            self.do_shard(shard, Some(batch))?;
            if batch.is_due(self.commit_interval, self.results_len_max) {
                self.settle(batch)?;
            }
        }
        Ok(())
    }

    /// Room for the next shard; `None` once the run is asked to stop. What is computed does not wait for it.
    fn slot(&self, slots: &Slots, batch: &mut Batch) -> Result<Option<Slot>, Ending> {
        if let Some(slot) = slots.now() {
            return Ok(Some(slot));
        }
        self.settle(batch)?;
        Ok(self.runtime.block_on(slots.next(&self.stop)))
    }

    /// Whether a shard is for this process to do: nobody else is known to be at it, or to have ended it.
    fn is_left(&self, shard: u64) -> Result<bool, Ending> {
        let Some(claims) = &self.claims else {
            return Ok(true);
        };
        let taken = self.runtime.block_on(claims.take(shard));
        if !taken.map_err(JobError::from)? {
            return Ok(false);
        }
        let state = self.ledger.shard_now(&self.name, shard);
        if self.runtime.block_on(state)?.outcome() == Outcome::Unspecified {
            return Ok(true);
        }
        claims.end(shard);
        self.observer.observe(&Event::ShardDropped { shard });
        Ok(false)
    }

    /// A shard has ended, or another process has seen to that.
    fn ended(&self, shard: u64) {
        if let Some(claims) = &self.claims {
            claims.end(shard);
        }
    }

    /// Computes a shard, again and again if need be, until it is in the batch or has ended.
    fn do_shard(&self, number: u64, mut batch: Option<&mut Batch>) -> Result<(), Ending> {
        let shard = self.locate(number)?;
        let mut repeats = 0;
        loop {
            let started_ms = now_ms();
            let error = match self.attempt(shard, started_ms, batch.as_deref_mut()) {
                Ok(true) => return Ok(()),
                Ok(false) if repeats < REPEATS_MAX => {
                    repeats += 1;
                    continue;
                }
                Ok(false) => (lost_too_often(), true),
                Err(Stopped::Ending(ending)) => return Err(ending),
                Err(Stopped::Error { message, transient }) => (message, transient),
            };
            repeats = 0;
            // What is computed does not wait for what has failed.
            if let Some(batch) = &mut batch {
                self.settle(batch)?;
            }
            if self.fail(number, &error.0, error.1, started_ms)? {
                return Ok(());
            }
        }
    }

    /// One attempt; `false` if it has to be made again without counting as one. Without a batch its
    /// results are committed at once.
    fn attempt(
        &self,
        shard: Shard,
        started_ms: i64,
        mut batch: Option<&mut Batch>,
    ) -> Result<bool, Stopped> {
        let number = shard.number;
        let attempt = Attempt {
            pipeline: &self.pipeline,
            job_number: self.job_number,
            store: &self.store,
            runtime: &self.runtime,
            results_len_max: self.results_len_max,
            rows_read: &|rows| {
                self.observer.observe(&Event::RowsRead {
                    shard: number,
                    rows,
                });
            },
            admit: &|| self.admit_overflow(number),
        };
        let spare = batch.as_mut().and_then(|batch| batch.spare());
        let mut outcome = match attempt.compute(shard, spare)? {
            Computed::Results(outcome) => *outcome,
            Computed::Superfluous => {
                let admission = self
                    .runtime
                    .block_on(self.admit([number]))
                    .map_err(AttemptError::Fatal)?;
                return self.refused(&[number], admission);
            }
        };
        let overflow = outcome.results.take_overflow();
        match (overflow, batch) {
            (Some(tx), _) => {
                let mut alone = Batch::default();
                alone.add(number, outcome, started_ms);
                let (shards, _) = alone.take();
                let committed = shards.first().map(|shard| self.commit_overflow(tx, shard));
                match committed {
                    Some(committed) => self.settled(&shards, self.runtime.block_on(committed)?),
                    None => Ok(false),
                }
            }
            (None, Some(batch)) => {
                batch.add(number, outcome, started_ms);
                Ok(true)
            }
            (None, None) => {
                let mut alone = Batch::default();
                alone.add(number, outcome, started_ms);
                let (shards, operands) = alone.take();
                self.commit_batch(&shards, &operands?)
            }
        }
    }

    fn admit_overflow(&self, shard: u64) -> Result<Option<Transaction>, AttemptError> {
        match self
            .runtime
            .block_on(self.admit([shard]))
            .map_err(AttemptError::Fatal)?
        {
            Admission::Open(tx) => Ok(Some(*tx)),
            _ => Ok(None),
        }
    }

    /// Commits a batch. If that cannot be done as a whole, because one of its shards has ended elsewhere
    /// or has a result that no store takes, each shard is computed again and stands for itself.
    fn settle(&self, batch: &mut Batch) -> Result<(), Ending> {
        if batch.is_empty() {
            return Ok(());
        }
        let (shards, operands) = batch.take();
        let committed = operands
            .map_err(Stopped::from)
            .and_then(|operands| self.commit_batch(&shards, &operands));
        match committed {
            Ok(true) => Ok(()),
            Err(Stopped::Ending(ending)) => Err(ending),
            Ok(false) | Err(Stopped::Error { .. }) => {
                for shard in shards {
                    self.do_shard(shard.number, None)?;
                }
                Ok(())
            }
        }
    }

    /// Whether the shards have ended; `false`: they have to be computed again.
    fn commit_batch(&self, shards: &[Ready], operands: &[(Key, Operand)]) -> Result<bool, Stopped> {
        let settled = self.runtime.block_on(self.commit(shards, operands))?;
        self.settled(shards, settled)
    }

    fn settled(&self, shards: &[Ready], settled: Settled) -> Result<bool, Stopped> {
        match settled {
            Settled::Done { conflicts } => {
                for shard in shards {
                    self.ended(shard.number);
                    self.observer.observe(&Event::ShardDone {
                        shard: shard.number,
                        rows_read: shard.rows_read,
                        rows_skipped: shard.rows_skipped,
                        records_merged: shard.records_merged,
                        conflicts,
                    });
                }
                Ok(true)
            }
            Settled::NotAdmitted(admission) => {
                let numbers: Vec<u64> = shards.iter().map(|shard| shard.number).collect();
                self.refused(&numbers, admission)
            }
            Settled::ComputeAgain => Ok(false),
        }
    }

    /// What to do about shards that are not to be worked on; `false`: they are after all, or some are.
    fn refused(&self, shards: &[u64], admission: Admission) -> Result<bool, Stopped> {
        match (admission, shards) {
            (Admission::Ended, [shard]) => {
                self.ended(*shard);
                self.observer
                    .observe(&Event::ShardDropped { shard: *shard });
                Ok(true)
            }
            (Admission::Ended | Admission::Open(_), _) => Ok(false),
            (Admission::Cancelled, _) => Err(Stopped::Ending(Ending::Cancelled)),
            (Admission::Changed, _) => Err(Stopped::Ending(Ending::Changed)),
        }
    }

    /// Records a failed attempt and waits before the next one; `true` if there is none.
    fn fail(
        &self,
        shard: u64,
        error: &str,
        transient: bool,
        started_ms: i64,
    ) -> Result<bool, Ending> {
        let recorded = self.record_failure(shard, error, transient, started_ms);
        match self.runtime.block_on(recorded)? {
            Failure::Final(attempts) => {
                self.ended(shard);
                self.observer.observe(&Event::ShardFailed {
                    shard,
                    attempts,
                    error,
                });
                Ok(true)
            }
            Failure::Again(attempt) => {
                let retry_in_ms = backoff_ms(attempt);
                self.observer.observe(&Event::AttemptFailed {
                    shard,
                    attempt,
                    error,
                    retry_in_ms,
                });
                self.runtime.block_on(async {
                    tokio::select! {
                        () = tokio::time::sleep(Duration::from_millis(retry_in_ms)) => {}
                        () = self.stop.requested() => {}
                    }
                });
                // A shard between two attempts is not at work: it goes on with the next run.
                Ok(self.stop.is_requested())
            }
            Failure::NotAdmitted(admission) => {
                self.refused(&[shard], admission)
                    .map_err(|stopped| match stopped {
                        Stopped::Ending(ending) => ending,
                        Stopped::Error { message, .. } => Ending::Failed(JobError::Worker(message)),
                    })
            }
        }
    }

    /// A shard by its number.
    fn locate(&self, number: u64) -> Result<Shard, JobError> {
        let wanted = number / SHARDS_PER_CHUNK as u64;
        let known = self.chunk.lock().clone();
        let chunk = match known {
            Some((chunk, shards)) if chunk == wanted => shards,
            _ => {
                let chunk = self
                    .runtime
                    .block_on(self.ledger.shard_chunk(&self.name, wanted))?;
                let loaded = Arc::new(shards(&chunk)?);
                *self.chunk.lock() = Some((wanted, Arc::clone(&loaded)));
                loaded
            }
        };
        chunk
            .iter()
            .find(|shard| shard.number == number)
            .copied()
            .ok_or_else(|| {
                damaged(
                    &self.name,
                    &format!("chunk {wanted} of its shards"),
                    "a shard is missing",
                )
            })
    }
}

/// Why an attempt did not end well.
enum Stopped {
    /// The run has to end.
    Ending(Ending),
    /// The attempt failed.
    Error { message: String, transient: bool },
}

impl From<AttemptError> for Stopped {
    fn from(error: AttemptError) -> Stopped {
        match error {
            AttemptError::Shard { message, transient } => Stopped::Error { message, transient },
            AttemptError::Fatal(error) => Stopped::Ending(Ending::Failed(error)),
        }
    }
}

fn lost_too_often() -> String {
    format!(
        "its results were lost {REPEATS_MAX} times, because other transactions came in between while \
         it was computed; expected a smaller shard"
    )
}

/// How long to wait after the `attempt`-th failed attempt.
fn backoff_ms(attempt: u32) -> u64 {
    let doublings = attempt.saturating_sub(1).min(16);
    (BACKOFF_MS_MIN << doublings).min(BACKOFF_MS_MAX)
}

/// Milliseconds since the Unix epoch, for people.
pub(super) fn now_ms() -> i64 {
    i64::try_from(SystemClock::new().wall_ms()).unwrap_or(i64::MAX)
}

/// Makes a change again and again while it loses against others. `None` from the change: it saw an
/// old state, and wants another try.
pub(super) async fn retry_on_conflict<'a, T>(
    change: impl Fn() -> BoxFuture<'a, Result<Option<T>, JobError>>,
) -> Result<T, JobError> {
    let mut lost = EngineError::Invalid("a change saw an old state".to_owned());
    for _ in 0..CHANGE_TRIES_MAX {
        match change().await {
            Ok(Some(changed)) => return Ok(changed),
            Ok(None) => {}
            Err(JobError::Engine(error)) if error.action() == Action::Retry => lost = error,
            Err(error) => return Err(error),
        }
    }
    Err(lost.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_limit() {
        assert_eq!([1, 2, 3, 4].map(backoff_ms), [100, 200, 400, 800]);
        assert_eq!([8, 100, u32::MAX].map(backoff_ms), [BACKOFF_MS_MAX; 3]);
    }
}
