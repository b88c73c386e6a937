//! The transactions that end an attempt.

use eciton_engine::base::{Action, Error as EngineError, Key};
use eciton_engine::db::Transaction;
use eciton_engine::merge::Operand;
use eciton_proto::v1::{JobPhase, Outcome as ShardOutcome, ShardState};

use super::attempt::AttemptError;
use super::batch::Ready;
use super::error::JobError;
use super::results::merge_all;
use super::worker::{Crew, now_ms};

/// How often a commit that lost is tried again before the attempt counts as failed. Every loss means
/// that someone else came further.
const COMMIT_TRIES_MAX: u32 = 1000;

/// Whether shards may still be worked on.
pub(super) enum Admission {
    /// They may: a transaction that has read that, and so commits only if it stays so.
    Open(Box<Transaction>),
    /// One of them has ended, here or in another process.
    Ended,
    /// The job was cancelled.
    Cancelled,
    /// The job was retried since this run began: its plan may be another one.
    Changed,
}

/// What became of computed shards.
pub(super) enum Settled {
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
pub(super) enum Failure {
    /// It is tried again: this many attempts were made.
    Again(u32),
    /// It failed for good, after this many attempts.
    Final(u32),
    /// See [`Admission`].
    NotAdmitted(Admission),
}

impl Crew {
    /// Begins a transaction about some shards, which has read the job's record and theirs.
    pub(super) async fn admit(
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
        if job.retries != self.retries {
            return Ok(Admission::Changed);
        }
        for shard in shards {
            let state = self.ledger.shard_state(&mut tx, &self.name, shard).await?;
            if state.outcome() != ShardOutcome::Unspecified {
                return Ok(Admission::Ended);
            }
        }
        Ok(Admission::Open(Box::new(tx)))
    }

    /// Commits the results of shards together with their marks: all of them or none.
    pub(super) async fn commit(
        &self,
        shards: &[Ready],
        operands: &[(Key, Operand)],
    ) -> Result<Settled, AttemptError> {
        for conflicts in 0..COMMIT_TRIES_MAX {
            let numbers = shards.iter().map(|shard| shard.number);
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
    pub(super) async fn commit_overflow(
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
        for shard in shards {
            self.mark(&mut tx, shard, conflicts)
                .await
                .map_err(AttemptError::Fatal)?;
        }
        match tx.commit().await {
            Ok(_) => Ok(true),
            Err(error) if error.action() == Action::Retry => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Marks a shard as done.
    async fn mark(
        &self,
        tx: &mut Transaction,
        shard: &Ready,
        conflicts: u32,
    ) -> Result<(), JobError> {
        let before = self
            .ledger
            .shard_state(tx, &self.name, shard.number)
            .await?;
        debug_assert!(
            before.outcome() == ShardOutcome::Unspecified,
            "admitted: {before:?}"
        );
        let state = ShardState {
            outcome: ShardOutcome::Done.into(),
            attempts: before.attempts + 1,
            attempts_before: before.attempts_before,
            rows_read: shard.rows_read,
            rows_skipped: shard.rows_skipped,
            records_merged: shard.records_merged,
            bytes_hash: shard.bytes_hash.to_be_bytes().to_vec(),
            started_ms: shard.started_ms,
            finished_ms: now_ms(),
            error: String::new(),
            conflicts: before.conflicts.saturating_add(conflicts),
        };
        self.ledger
            .put_shard_state(tx, &self.name, shard.number, &state)
    }

    /// Records that an attempt failed, and whether that was the last one.
    pub(super) async fn record_failure(
        &self,
        shard: u64,
        message: &str,
        transient: bool,
        started_ms: i64,
    ) -> Result<Failure, JobError> {
        let mut lost = EngineError::Invalid("no try".to_owned());
        for _ in 0..COMMIT_TRIES_MAX {
            let mut tx = match self.admit([shard]).await? {
                Admission::Open(tx) => *tx,
                refused => return Ok(Failure::NotAdmitted(refused)),
            };
            let mut state = self.ledger.shard_state(&mut tx, &self.name, shard).await?;
            state.attempts += 1;
            let this_round = state.attempts.saturating_sub(state.attempts_before);
            let last = !transient || this_round >= self.max_attempts;
            if last {
                state.set_outcome(ShardOutcome::Failed);
            }
            state.error = message.to_owned();
            state.started_ms = started_ms;
            state.finished_ms = now_ms();
            self.ledger
                .put_shard_state(&mut tx, &self.name, shard, &state)?;
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
