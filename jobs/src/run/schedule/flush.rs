//! Handing what workers have computed over to be [settled](crate::run::settle::settlement).

use std::time::Duration;

use eciton_proto::v1::Outcome;

use super::context::{Attempted, Ending, RunContext};
use crate::run::records::error::JobError;
use crate::run::settle::batch::{Batch, joined};
use crate::run::settle::observer::Event;
use crate::run::settle::settlement::Settlement;

impl RunContext {
    /// Commits what has waited for so long, whatever the workers are at. Blocks.
    pub(crate) fn flush(&self, age_max: Duration) {
        let _entered = self.job.span.enter();
        let _flushes = self.flushing.lock();
        if self.is_ending() {
            return;
        }
        if let Err(ending) = self.settle_all(self.pool.take_due(age_max)) {
            self.end_for(ending);
        }
    }

    /// Waits for a flush that goes on: what it may have of this worker is settled then, or there to be computed again,
    /// which somebody has to stay for. Blocks.
    pub(crate) fn await_flush(&self) {
        drop(self.flushing.lock());
    }

    /// Commits computed shards, and keeps the books of this run by what became of them.
    pub(crate) fn settle(&self, batch: Batch) -> Result<Attempted, Ending> {
        let settlement = self.runtime.block_on(self.job.settle(batch))?;
        self.take(settlement)
    }

    /// Keeps the books of this run by what became of shards, and tells of it.
    pub(crate) fn take(&self, settlement: Settlement) -> Result<Attempted, Ending> {
        match &settlement {
            Settlement::Done { shards, .. } => {
                for shard in shards {
                    self.ended(shard.number);
                }
            }
            Settlement::Dropped { shard } => self.ended(*shard),
            _ => {}
        }
        settlement.tell(&*self.observer);
        match settlement {
            Settlement::Done { .. } | Settlement::Dropped { .. } => Ok(Attempted::Over),
            Settlement::Again => Ok(Attempted::Again),
            Settlement::Failed { message, transient } => Ok(Attempted::Failed {
                message,
                transient,
                of_program: false,
            }),
            Settlement::Cancelled => Err(Ending::Cancelled),
            Settlement::Changed => Err(Ending::Changed),
        }
    }

    /// Commits a batch. If that cannot be done as a whole, because one of its shards has ended elsewhere
    /// or has a result that no store takes, each shard is computed again, by whichever worker comes to it, and stands for
    /// itself.
    pub(crate) fn settle_batch(&self, batch: Batch) -> Result<(), Ending> {
        if batch.is_empty() {
            return Ok(());
        }
        let shards: Vec<u64> = batch.numbers().collect();
        if !matches!(self.settle(batch)?, Attempted::Over) {
            self.again(shards.into_iter());
        }
        Ok(())
    }

    /// Commits what several workers have left: as one batch, without those of which others have ended a shard, or as
    /// several where one would be too large.
    pub(crate) fn settle_all(&self, batches: Vec<Batch>) -> Result<(), Ending> {
        let is_looked_at = batches.len() > 1 && self.claims.is_some();
        if is_looked_at {
            // What can be seen now need not lose later.
            self.runtime
                .block_on(self.job.ledger.db.catch_up())
                .map_err(JobError::from)?;
        }
        let (taken, mut dropped) = (batches.len(), 0);
        let mut open = Vec::with_capacity(taken);
        for batch in batches {
            if is_looked_at && !self.is_open(&batch)? {
                self.again(batch.numbers());
                dropped += 1;
            } else {
                open.push(batch);
            }
        }
        assert_eq!(
            open.len() + dropped,
            taken,
            "each batch is committed, or its shards are computed again"
        );
        for together in joined(open, self.results_len_max) {
            self.settle_batch(together)?;
        }
        Ok(())
    }

    /// Leaves shards whose results are dropped to whichever worker, or other process, comes to them.
    fn again(&self, shards: impl Iterator<Item = u64>) {
        let mut shards: Vec<u64> = shards.collect();
        shards.retain(|shard| self.begun.lock().contains_key(shard));
        if let Some(claims) = &self.claims {
            let given_back = shards.iter().map(|shard| claims.give_back(*shard));
            self.runtime.block_on(futures::future::join_all(given_back));
        }
        self.alone.lock().extend(&shards);
        let mut begun = self.begun.lock();
        shards.retain(|shard| begun.remove(shard).is_some());
        drop(begun);
        for shard in &shards {
            self.observer.observe(&Event::ResultsLost { shard: *shard });
        }
        self.queue.again(&shards);
    }

    /// Whether no shard of a batch has ended, as far as can be seen.
    fn is_open(&self, batch: &Batch) -> Result<bool, JobError> {
        self.runtime.block_on(async {
            for shard in batch.numbers() {
                let state = self.job.ledger.shard_now(&self.job.name, shard).await?;
                if state.outcome() != Outcome::Unspecified {
                    return Ok(false);
                }
            }
            Ok(true)
        })
    }
}
