//! The transactions that end attempts well.

use std::collections::HashSet;

use eciton_engine::merge::Operand;
use eciton_engine::{Action, Key, Transaction};
use eciton_proto::v1::{JobPhase, Outcome as ShardOutcome, ShardState};
use tracing::Instrument as _;

use super::batch::{Commitable, ComputedShard};
use crate::run::compute::error::AttemptError;
use crate::run::compute::open::OpenJob;
use crate::run::compute::results::apply_all;
use crate::run::records::error::JobError;
use crate::run::records::spans;
use crate::run::records::tally::{Tally, addend};
use crate::run::records::target;

/// How often a commit that lost is tried again before the attempt counts as failed. Every loss means
/// that someone else came further.
pub(super) const COMMIT_TRIES_MAX: u32 = 1000;

/// Whether shards may still be worked on.
pub(crate) enum Admission {
    /// They may: a transaction that has read that, and so commits only if it stays so.
    Open(Box<Transaction>),
    /// They may not, or not together.
    Refused(AdmissionRefusal),
}

/// Why shards may not be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AdmissionRefusal {
    /// One of them has ended, here or in another process, or is there twice: each has to stand for itself.
    Ended,
    /// The job was cancelled.
    Cancelled,
    /// The job was retried since this run began, so its plan may be another one; or its store is gone, and it failed; or
    /// another one has its name.
    Changed,
}

/// What came of a commit.
pub(super) enum Committed {
    /// The shards are done, durably.
    Done {
        /// Commits that lost before.
        conflicts: u32,
    },
    /// The shards may not be worked on.
    NotAdmitted(AdmissionRefusal),
    /// The commit lost, and the results are gone with it.
    Lost,
}

impl OpenJob {
    /// Begins a transaction about some shards, which has read the job's record and theirs.
    pub(crate) async fn admit(
        &self,
        shards: impl IntoIterator<Item = u64>,
    ) -> Result<Admission, JobError> {
        let mut tx = self.ledger.db.begin();
        let Some(job) = self.ledger.job_state(&mut tx, &self.name).await? else {
            return Ok(Admission::Refused(AdmissionRefusal::Cancelled));
        };
        if job.phase() == JobPhase::Cancelled {
            return Ok(Admission::Refused(AdmissionRefusal::Cancelled));
        }
        // Another one of its name, or the same one with another plan.
        if job.number != self.job_number || job.retries != self.retries {
            return Ok(Admission::Refused(AdmissionRefusal::Changed));
        }
        // The store of these results, not another one of its name. Nothing is committed into one that was dropped.
        let found = tx.store(self.store.name()).await?;
        if found.is_none_or(|store| store.id() != self.store.id()) {
            target::fail(&self.ledger, &self.name, self.job_number).await?;
            return Ok(Admission::Refused(AdmissionRefusal::Changed));
        }
        let mut seen = HashSet::new();
        for shard in shards {
            // Twice in one transaction it would count twice: its mark is looked for before either is written.
            if !seen.insert(shard) {
                return Ok(Admission::Refused(AdmissionRefusal::Ended));
            }
            let state = self.ledger.shard_state(&mut tx, &self.name, shard).await?;
            if state.outcome() != ShardOutcome::Unspecified {
                return Ok(Admission::Refused(AdmissionRefusal::Ended));
            }
        }
        Ok(Admission::Open(Box::new(tx)))
    }

    /// Commits the results of shards together with their marks: all of them or none.
    pub(super) async fn commit(
        &self,
        shards: &[ComputedShard],
        results: Commitable,
    ) -> Result<Committed, AttemptError> {
        match results {
            Commitable::Operands(operands) => self.commit_operands(shards, &operands).await,
            Commitable::Overflow(tx) => self.commit_overflow(*tx, shards).await,
        }
    }

    /// Commits results that are in memory, again and again while that loses against others.
    async fn commit_operands(
        &self,
        shards: &[ComputedShard],
        operands: &[(Key, Operand)],
    ) -> Result<Committed, AttemptError> {
        assert!(
            !shards.is_empty(),
            "{} operands of no shard",
            operands.len()
        );
        let numbers: Vec<u64> = shards.iter().map(|shard| shard.number).collect();
        for conflicts in 0..COMMIT_TRIES_MAX {
            let mut tx = match self
                .admit(numbers.iter().copied())
                .await
                .map_err(AttemptError::Fatal)?
            {
                Admission::Open(tx) => *tx,
                Admission::Refused(why) => return Ok(Committed::NotAdmitted(why)),
            };
            let change = self.pipeline.change();
            apply_all(&mut tx, &self.store, operands, change).await?;
            if self.try_commit(tx, shards, conflicts).await? {
                return Ok(Committed::Done { conflicts });
            }
        }
        Err(AttemptError::Shard {
            message: format!("its commit lost {COMMIT_TRIES_MAX} times against other transactions"),
            transient: true,
        })
    }

    /// Commits a shard whose results lie in a transaction already, which is gone if that loses.
    async fn commit_overflow(
        &self,
        tx: Transaction,
        shards: &[ComputedShard],
    ) -> Result<Committed, AttemptError> {
        assert_eq!(shards.len(), 1, "a transaction has the results of a shard");
        let won = self.try_commit(tx, shards, 0).await?;
        Ok(match won {
            true => Committed::Done { conflicts: 0 },
            false => Committed::Lost,
        })
    }

    /// Adds the marks and commits; `false` if the commit lost.
    async fn try_commit(
        &self,
        mut tx: Transaction,
        shards: &[ComputedShard],
        conflicts: u32,
    ) -> Result<bool, AttemptError> {
        self.mark(&mut tx, shards, conflicts)
            .await
            .map_err(AttemptError::Fatal)?;
        let span = spans::of_commit(&tx, shards.len(), conflicts);
        match tx.commit().instrument(span.clone()).await {
            Ok(committed) => {
                span.record("position", committed.position.0);
                Ok(true)
            }
            Err(error) => {
                spans::fail(&span, &error.to_string());
                match error.action() {
                    Action::Retry => Ok(false),
                    _ => Err(error.into()),
                }
            }
        }
    }

    /// Marks shards as done, and adds them up.
    async fn mark(
        &self,
        tx: &mut Transaction,
        shards: &[ComputedShard],
        conflicts: u32,
    ) -> Result<(), JobError> {
        let mut tally = Tally {
            conflicts: i64::from(conflicts),
            ..Tally::default()
        };
        for shard in shards {
            let number = shard.number;
            let before = self.ledger.shard_state(tx, &self.name, number).await?;
            debug_assert!(
                before.outcome() == ShardOutcome::Unspecified,
                "admitted: {before:?}"
            );
            let state = ShardState {
                outcome: ShardOutcome::Done.into(),
                attempts: match before.attempts {
                    0 => 0,
                    failed => failed + 1,
                },
                attempts_before: before.attempts_before,
                killed: before.killed,
                content_hash: shard.content_hash,
                ..ShardState::default()
            };
            self.put_state(tx, number, &state)?;
            if let Some(log) = &shard.log {
                self.ledger.put_log(tx, &self.name, log)?;
            }
            if !shard.files.is_empty() {
                self.ledger
                    .put_export(tx, &self.name, number, &shard.files)?;
            }
            if shard.checkpoint_parts > 0 {
                let parts = shard.checkpoint_parts;
                self.ledger
                    .delete_checkpoint(tx, &self.name, number, parts)?;
            }
            tally.done += 1;
            tally.attempts += 1;
            for (sum, more) in [
                (&mut tally.rows_read, shard.rows_read),
                (&mut tally.rows_skipped, shard.rows_skipped),
                (&mut tally.values_ignored, shard.values_ignored),
                (&mut tally.records_merged, shard.records_merged),
            ] {
                *sum = sum.saturating_add(addend(more));
            }
        }
        assert_eq!(
            (tally.done, tally.attempts),
            (addend(shards.len() as u64), addend(shards.len() as u64)),
            "each shard is counted once"
        );
        self.ledger.tallies.add(tx, self.job_number, &tally)
    }

    /// Writes the record of a shard.
    pub(super) fn put_state(
        &self,
        tx: &mut Transaction,
        shard: u64,
        state: &ShardState,
    ) -> Result<(), JobError> {
        let of = (self.name.as_str(), self.layout);
        self.ledger.put_shard_state(tx, of, shard, state)
    }
}
