//! The jobs whose shards are handed out, as the desk remembers them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use eciton_proto::v1::{JobPhase, OnError, Outcome, StepKind, TaskJob};
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::rows::Wanted;
use super::task::{step_of, task_job};
use crate::run::JobError;
use crate::run::compute::open::OpenJob;
use crate::run::records::inputs::{self, Inputs};
use crate::run::records::ledger::Ledger;
use crate::run::settle::lifecycle::{finish, start};
use crate::run::settle::observer::{Observer, ObserverOf};
use crate::source::Reach;

/// Jobs that are remembered at most.
const JOBS_MAX: usize = 64;
/// The records of all shards are read so often at most.
const LOOKS_APART: Duration = Duration::from_millis(500);
/// ... and so much less often than that takes.
const LOOKS_APART_FACTOR: u32 = 10;

/// A job by name, as it stands now.
pub(super) enum FoundJob {
    /// There is none.
    Missing,
    /// It has ended.
    Ended,
    /// It was cancelled.
    Cancelled,
    /// It waits for other jobs.
    Waiting,
    /// It may be worked on.
    Open(Arc<PulledJob>),
}

/// A job whose shards are handed out.
pub(super) struct PulledJob {
    pub(super) open: OpenJob,
    pub(super) told: TaskJob,
    pub(super) step: StepKind,
    /// Whether malformed records are left out.
    pub(super) skips: bool,
    pub(super) wanted: Wanted,
    pub(super) observer: Arc<dyn Observer>,
    shards: Mutex<EndedShards>,
}

/// Which shards are known to have ended: all that have not are still to be done, as far as is known.
struct EndedShards {
    /// A bit each.
    ended: Vec<u64>,
    left: u64,
    total: u64,
    /// Where the next look for one begins.
    next: u64,
    looked: Option<Instant>,
    looking_took: Duration,
}

impl EndedShards {
    fn new(total: u64) -> EndedShards {
        let words = usize::try_from(total.div_ceil(64)).unwrap_or(0);
        EndedShards {
            ended: vec![0; words],
            left: total,
            total,
            next: 0,
            looked: None,
            looking_took: Duration::ZERO,
        }
    }

    fn is_ended(&self, shard: u64) -> bool {
        let word = usize::try_from(shard / 64).ok();
        word.and_then(|word| self.ended.get(word))
            .is_none_or(|word| word >> (shard % 64) & 1 == 1)
    }

    fn end(&mut self, shard: u64) {
        if !self.is_ended(shard)
            && let Ok(word) = usize::try_from(shard / 64)
        {
            self.ended[word] |= 1 << (shard % 64);
            self.left -= 1;
        }
    }

    /// The next so many that have not ended, each once.
    fn candidates(&mut self, count: usize) -> Vec<u64> {
        let mut found = Vec::new();
        let first = self.next;
        let turn = (first..self.total).chain(0..first.min(self.total));
        for shard in turn {
            if found.len() == count {
                self.next = shard;
                return found;
            }
            if !self.is_ended(shard) {
                found.push(shard);
            }
        }
        self.next = first;
        found
    }
}

impl PulledJob {
    /// Shards to be tried, about in order.
    pub(super) fn candidates(&self, count: usize) -> Vec<u64> {
        self.shards.lock().candidates(count)
    }

    /// A shard has ended. If no other is left the job ends.
    pub(super) async fn ended(&self, shard: u64) {
        let is_last = {
            let mut shards = self.shards.lock();
            shards.end(shard);
            shards.left == 0
        };
        if is_last {
            self.finish().await;
        }
    }

    /// Looks which shards have ended meanwhile, if it is time to, and ends the job if all have.
    pub(super) async fn look(&self) -> Result<(), JobError> {
        let begun = Instant::now();
        {
            let mut shards = self.shards.lock();
            let apart = LOOKS_APART.max(shards.looking_took * LOOKS_APART_FACTOR);
            if shards.looked.is_some_and(|at| at.elapsed() < apart) {
                return Ok(());
            }
            shards.looked = Some(begun);
        }
        let mut ended = Vec::new();
        self.open
            .ledger
            .each_shard(&self.open.name, |shard, state| {
                if state.outcome() != Outcome::Unspecified {
                    ended.push(shard);
                }
                true
            })
            .await?;
        let is_over = {
            let mut shards = self.shards.lock();
            for shard in ended {
                shards.end(shard);
            }
            shards.looking_took = begun.elapsed();
            shards.left == 0
        };
        if is_over {
            self.finish().await;
        }
        Ok(())
    }

    /// Whoever looks next tries again if this comes to nothing.
    async fn finish(&self) {
        if let Err(error) = finish(&self.open, None).await {
            let name = &self.open.name;
            tracing::warn!(job = name, %error, "its end could not be recorded yet");
        }
    }
}

/// The jobs that are remembered, by their numbers.
#[derive(Default)]
pub(super) struct Jobs {
    known: Mutex<HashMap<u64, Arc<PulledJob>>>,
    /// Names by numbers, also of jobs that are not remembered.
    names: Mutex<HashMap<u64, String>>,
    /// One job is planned at a time.
    planning: AsyncMutex<()>,
}

impl Jobs {
    /// A job by its name.
    pub(super) async fn find(
        &self,
        ledger: &Ledger,
        name: &str,
        observer: &ObserverOf,
        reach: &Reach,
    ) -> Result<FoundJob, JobError> {
        let Some(state) = ledger.state_now(name).await? else {
            return Ok(FoundJob::Missing);
        };
        match state.phase() {
            JobPhase::Done | JobPhase::Failed => return Ok(FoundJob::Ended),
            JobPhase::Cancelled => return Ok(FoundJob::Cancelled),
            JobPhase::Unspecified | JobPhase::Pending | JobPhase::Running => {}
        }
        match inputs::settle(ledger, name, &state).await? {
            Inputs::Done => {}
            Inputs::Waiting(_) => return Ok(FoundJob::Waiting),
            Inputs::Broken(_) => return Ok(FoundJob::Ended),
        }
        let known = |number| {
            let found = self.known.lock().get(&number).cloned();
            found.filter(|job| job.open.retries == state.retries)
        };
        if let Some(job) = known(state.number) {
            return Ok(FoundJob::Open(job));
        }
        let _planning = self.planning.lock().await;
        if let Some(job) = known(state.number) {
            return Ok(FoundJob::Open(job));
        }
        let Some(job) = ledger.job(name).await? else {
            return Ok(FoundJob::Missing);
        };
        let open = match OpenJob::new(ledger, name, &job, reach, None).await {
            Err(JobError::StoreGone { .. }) => return Ok(FoundJob::Ended),
            opened => opened?,
        };
        if !start(&open, None).await? {
            return Ok(FoundJob::Cancelled);
        }
        let pulled = Arc::new(PulledJob {
            told: task_job(&open, &job.spec),
            step: step_of(&job.spec),
            skips: open.pipeline.source.spec().on_error() == OnError::Skip,
            wanted: Wanted::new(open.pipeline.transform.output_schema()),
            observer: observer(name),
            shards: Mutex::new(EndedShards::new(open.total)),
            open,
        });
        pulled.look().await?;
        let mut known = self.known.lock();
        if known.len() >= JOBS_MAX {
            // The oldest one: it is planned again if it is still wanted.
            if let Some(oldest) = known.keys().min().copied() {
                known.remove(&oldest);
            }
        }
        known.insert(pulled.open.job_number, Arc::clone(&pulled));
        assert!(known.len() <= JOBS_MAX, "{} jobs are known", known.len());
        Ok(FoundJob::Open(pulled))
    }

    /// Forgets the jobs that have ended. A token of one is still known by its number.
    pub(super) async fn forget_ended(&self, ledger: &Ledger) -> Result<(), JobError> {
        let known: Vec<Arc<PulledJob>> = self.known.lock().values().cloned().collect();
        for job in known {
            let state = ledger.state_now(&job.open.name).await?;
            let is_open = state.is_some_and(|state| {
                let phase = state.phase();
                let is_at_work = matches!(
                    phase,
                    JobPhase::Unspecified | JobPhase::Pending | JobPhase::Running
                );
                is_at_work && state.number == job.open.job_number
            });
            if !is_open {
                self.known.lock().remove(&job.open.job_number);
            }
        }
        Ok(())
    }

    /// The name of the job of a number.
    pub(super) async fn name(
        &self,
        ledger: &Ledger,
        number: u64,
    ) -> Result<Option<String>, JobError> {
        if let Some(name) = self.names.lock().get(&number) {
            return Ok(Some(name.clone()));
        }
        let all = ledger.numbers().await?;
        let mut names = self.names.lock();
        *names = all;
        Ok(names.get(&number).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_come_in_turn_and_without_what_has_ended() {
        let mut shards = EndedShards::new(130);
        assert_eq!(shards.candidates(2), [0, 1]);
        assert_eq!(shards.candidates(2), [2, 3]);
        (4..129).for_each(|shard| shards.end(shard));
        shards.end(4);
        assert_eq!(shards.left, 5);
        assert_eq!(shards.candidates(2), [129, 0]);
        assert_eq!(shards.candidates(9), [1, 2, 3, 129, 0]);
        (0..130).for_each(|shard| shards.end(shard));
        assert_eq!((shards.left, shards.candidates(9).len()), (0, 0));
        shards.end(1000);
        assert_eq!(EndedShards::new(0).candidates(1), [0_u64; 0]);
    }
}
