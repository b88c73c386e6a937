//! Committing what workers have computed, and what becomes of shards whose commit is refused.

use std::time::Duration;

use eciton_engine::Key;
use eciton_engine::merge::Operand;
use eciton_proto::v1::Outcome;

use super::context::{Crew, Ending, Stopped};
use crate::run::records::error::JobError;
use crate::run::settle::batch::{Batch, Ready, joined};
use crate::run::settle::commit::{Admission, Settled};
use crate::run::settle::observer::Event;

impl Crew {
    /// Commits what has waited for so long, whatever the workers are at. Blocks.
    pub(crate) fn flush(&self, age_max: Duration) {
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

    /// Commits a batch. If that cannot be done as a whole, because one of its shards has ended elsewhere
    /// or has a result that no store takes, each shard is computed again, by whichever worker comes to it, and stands for
    /// itself.
    pub(crate) fn settle(&self, batch: &mut Batch) -> Result<(), Ending> {
        if batch.is_empty() {
            return Ok(());
        }
        let (shards, operands) = batch.take();
        assert!(!shards.is_empty(), "a batch that is not empty has shards");
        let committed = operands
            .map_err(Stopped::from)
            .and_then(|operands| self.commit_batch(&shards, &operands));
        match committed {
            Ok(true) => Ok(()),
            Err(Stopped::Ending(ending)) => Err(ending),
            Ok(false) | Err(Stopped::Error { .. } | Stopped::Source { .. } | Stopped::Overdue) => {
                self.again(shards.iter().map(|shard| shard.number));
                Ok(())
            }
        }
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
        for mut together in joined(open, self.results_len_max) {
            self.settle(&mut together)?;
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
        self.supply.again(&shards);
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

    /// Whether the shards have ended; `false`: they have to be computed again.
    pub(crate) fn commit_batch(
        &self,
        shards: &[Ready],
        operands: &[(Key, Operand)],
    ) -> Result<bool, Stopped> {
        let settled = self.runtime.block_on(self.job.commit(shards, operands))?;
        self.settled(shards, settled)
    }

    pub(crate) fn settled(&self, shards: &[Ready], settled: Settled) -> Result<bool, Stopped> {
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
    pub(crate) fn refused(&self, shards: &[u64], admission: Admission) -> Result<bool, Stopped> {
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
}
