//! The transactions that end an attempt.

use std::collections::HashSet;

use eciton_engine::merge::Operand;
use eciton_engine::{Action, Error as EngineError, Key, Transaction};
use eciton_proto::v1::{JobPhase, Outcome as ShardOutcome, ShardState};

use super::batch::Ready;
use crate::run::compute::error::AttemptError;
use crate::run::compute::open::OpenJob;
use crate::run::compute::results::merge_all;
use crate::run::records::clock::now_ms;
use crate::run::records::error::JobError;
use crate::run::records::tally::{Tally, addend};
use crate::run::records::target;

/// How often a commit that lost is tried again before the attempt counts as failed. Every loss means
/// that someone else came further.
const COMMIT_TRIES_MAX: u32 = 1000;

/// Whether shards may still be worked on.
pub(crate) enum Admission {
    /// They may: a transaction that has read that, and so commits only if it stays so.
    Open(Box<Transaction>),
    /// One of them has ended, here or in another process, or is there twice: each has to stand for itself.
    Ended,
    /// The job was cancelled.
    Cancelled,
    /// The job was retried since this run began, so its plan may be another one; or its store is gone, and it failed; or
    /// another one has its name.
    Changed,
}

/// What became of computed shards.
pub(crate) enum Settled {
    /// They are done, durably.
    Done {
        /// Commits that lost before.
        conflicts: u32,
    },
    /// See [`Admission`].
    NotAdmitted(Admission),
    /// The commit lost and the results are gone with it: compute again.
    ComputeAgain,
}

/// What became of a shard whose attempt failed.
pub(crate) enum Failure {
    /// It is tried again: this many attempts were made.
    Again(u32),
    /// It failed for good, after this many attempts.
    Final(u32),
    /// See [`Admission`].
    NotAdmitted(Admission),
}

impl OpenJob {
    /// Begins a transaction about some shards, which has read the job's record and theirs.
    pub(crate) async fn admit(
        &self,
        shards: impl IntoIterator<Item = u64>,
    ) -> Result<Admission, JobError> {
        let mut tx = self.ledger.db.begin();
        let Some(job) = self.ledger.job_state(&mut tx, &self.name).await? else {
            return Ok(Admission::Cancelled);
        };
        if job.phase() == JobPhase::Cancelled {
            return Ok(Admission::Cancelled);
        }
        // Another one of its name, or the same one with another plan.
        if job.number != self.job_number || job.retries != self.retries {
            return Ok(Admission::Changed);
        }
        // The store of these results, not another one of its name. Nothing is committed into one that was dropped.
        let found = tx.store(self.store.name()).await?;
        if found.is_none_or(|store| store.id() != self.store.id()) {
            target::fail(&self.ledger, &self.name, self.job_number).await?;
            return Ok(Admission::Changed);
        }
        let mut seen = HashSet::new();
        for shard in shards {
            // Twice in one transaction it would count twice: its mark is looked for before either is written.
            if !seen.insert(shard) {
                return Ok(Admission::Ended);
            }
            let state = self.ledger.shard_state(&mut tx, &self.name, shard).await?;
            if state.outcome() != ShardOutcome::Unspecified {
                return Ok(Admission::Ended);
            }
        }
        Ok(Admission::Open(Box::new(tx)))
    }

    /// Commits the results of shards together with their marks: all of them or none.
    pub(crate) async fn commit(
        &self,
        shards: &[Ready],
        operands: &[(Key, Operand)],
    ) -> Result<Settled, AttemptError> {
        let numbers: Vec<u64> = shards.iter().map(|shard| shard.number).collect();
        assert!(
            !numbers.is_empty(),
            "{} operands of no shard",
            operands.len()
        );
        for conflicts in 0..COMMIT_TRIES_MAX {
            let numbers = numbers.iter().copied();
            let mut tx = match self.admit(numbers).await.map_err(AttemptError::Fatal)? {
                Admission::Open(tx) => *tx,
                refused => return Ok(Settled::NotAdmitted(refused)),
            };
            merge_all(&mut tx, &self.store, operands).await?;
            if self.try_commit(tx, shards, conflicts).await? {
                return Ok(Settled::Done { conflicts });
            }
        }
        Err(AttemptError::Shard {
            message: format!("its commit lost {COMMIT_TRIES_MAX} times against other transactions"),
            transient: true,
        })
    }

    /// Commits a shard whose results lie in a transaction already.
    pub(crate) async fn commit_overflow(
        &self,
        tx: Transaction,
        shard: &Ready,
    ) -> Result<Settled, AttemptError> {
        let won = self.try_commit(tx, std::slice::from_ref(shard), 0).await?;
        Ok(match won {
            true => Settled::Done { conflicts: 0 },
            false => Settled::ComputeAgain,
        })
    }

    /// Adds the marks and commits; `false` if the commit lost.
    async fn try_commit(
        &self,
        mut tx: Transaction,
        shards: &[Ready],
        conflicts: u32,
    ) -> Result<bool, AttemptError> {
        self.mark(&mut tx, shards, conflicts)
            .await
            .map_err(AttemptError::Fatal)?;
        match tx.commit().await {
            Ok(_) => Ok(true),
            Err(error) if error.action() == Action::Retry => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Marks shards as done, and adds them up.
    async fn mark(
        &self,
        tx: &mut Transaction,
        shards: &[Ready],
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

    fn put_state(
        &self,
        tx: &mut Transaction,
        shard: u64,
        state: &ShardState,
    ) -> Result<(), JobError> {
        let of = (self.name.as_str(), self.layout);
        self.ledger.put_shard_state(tx, of, shard, state)
    }

    /// Records that an attempt failed, and whether that was the last one. With `attempts`, only if so many were
    /// counted before; else somebody else has ended this one, or this is said twice.
    pub(crate) async fn record_failure(
        &self,
        shard: u64,
        attempts: Option<u32>,
        message: &str,
        transient: bool,
    ) -> Result<Failure, JobError> {
        let mut lost = EngineError::Invalid("no try".to_owned());
        for _ in 0..COMMIT_TRIES_MAX {
            let mut tx = match self.admit([shard]).await? {
                Admission::Open(tx) => *tx,
                refused => return Ok(Failure::NotAdmitted(refused)),
            };
            let mut state = self.ledger.shard_state(&mut tx, &self.name, shard).await?;
            if attempts.is_some_and(|attempts| attempts != state.attempts) {
                return Ok(Failure::NotAdmitted(Admission::Ended));
            }
            state.attempts += 1;
            let this_round = state.attempts.saturating_sub(state.attempts_before);
            let last = !transient || this_round >= self.max_attempts;
            if last {
                state.set_outcome(ShardOutcome::Failed);
            }
            state.error = message.to_owned();
            state.finished_ms = now_ms();
            self.put_state(&mut tx, shard, &state)?;
            let tally = Tally {
                failed: i64::from(last),
                attempts: 1,
                ..Tally::default()
            };
            self.ledger.tallies.add(&mut tx, self.job_number, &tally)?;
            match tx.commit().await {
                Ok(_) if last => return Ok(Failure::Final(state.attempts)),
                Ok(_) => return Ok(Failure::Again(this_round)),
                Err(error) if error.action() == Action::Retry => lost = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(lost.into())
    }
}
