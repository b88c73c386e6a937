//! The transactions that end an attempt.

use eciton_engine::base::{Action, Error as EngineError};
use eciton_engine::db::Transaction;
use eciton_proto::v1::{JobPhase, Outcome as ShardOutcome, ShardState};

use super::attempt::{AttemptError, Outcome};
use super::error::JobError;
use super::worker::{Crew, now_ms};

/// How often a commit that lost is tried again before the attempt counts as failed. Every loss means
/// that someone else came further.
const COMMIT_TRIES_MAX: u32 = 1000;

/// Whether a shard may still be worked on.
pub(super) enum Admission {
    /// It may: a transaction that has read that, and so commits only if it stays so.
    Open(Box<Transaction>),
    /// It has ended, here or in another process.
    Ended,
    /// The job was cancelled.
    Cancelled,
    /// The job was retried since this run began: its plan may be another one.
    Changed,
}

/// What became of a computed shard.
pub(super) enum Settled {
    /// It is done, durably.
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
    /// Begins a transaction about a shard, which has read the job's and the shard's record.
    pub(super) async fn admit(&self, shard: u64) -> Result<Admission, JobError> {
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
        let state = self.ledger.shard_state(&mut tx, &self.name, shard).await?;
        Ok(match state.outcome() {
            ShardOutcome::Unspecified => Admission::Open(Box::new(tx)),
            ShardOutcome::Done | ShardOutcome::Failed => Admission::Ended,
        })
    }

    /// Commits a shard's results together with its mark.
    pub(super) async fn commit(
        &self,
        shard: u64,
        outcome: &mut Outcome,
        started_ms: i64,
    ) -> Result<Settled, AttemptError> {
        if let Some(tx) = outcome.results.take_overflow() {
            return match self.try_commit(tx, shard, outcome, started_ms, 0).await? {
                true => Ok(Settled::Done { conflicts: 0 }),
                false => Ok(Settled::ComputeAgain),
            };
        }
        for conflicts in 0..COMMIT_TRIES_MAX {
            let mut tx = match self.admit(shard).await.map_err(AttemptError::Fatal)? {
                Admission::Open(tx) => *tx,
                refused => return Ok(Settled::NotAdmitted(refused)),
            };
            outcome.results.merge_into(&mut tx, &self.store).await?;
            if self
                .try_commit(tx, shard, outcome, started_ms, conflicts)
                .await?
            {
                return Ok(Settled::Done { conflicts });
            }
        }
        Err(AttemptError::Shard {
            message: format!("its commit lost {COMMIT_TRIES_MAX} times against other transactions"),
            transient: true,
        })
    }

    /// Adds the mark and commits; `false` if the commit lost.
    async fn try_commit(
        &self,
        mut tx: Transaction,
        shard: u64,
        outcome: &Outcome,
        started_ms: i64,
        conflicts: u32,
    ) -> Result<bool, AttemptError> {
        let before = self
            .ledger
            .shard_state(&mut tx, &self.name, shard)
            .await
            .map_err(AttemptError::Fatal)?;
        debug_assert!(
            before.outcome() == ShardOutcome::Unspecified,
            "admitted: {before:?}"
        );
        let state = ShardState {
            outcome: ShardOutcome::Done.into(),
            attempts: before.attempts + 1,
            attempts_before: before.attempts_before,
            rows_read: outcome.rows_read,
            rows_skipped: outcome.rows_skipped,
            records_merged: outcome.results.count(),
            bytes_hash: outcome.bytes_hash.to_be_bytes().to_vec(),
            started_ms,
            finished_ms: now_ms(),
            error: String::new(),
            conflicts: before.conflicts.saturating_add(conflicts),
        };
        self.ledger
            .put_shard_state(&mut tx, &self.name, shard, &state)
            .map_err(AttemptError::Fatal)?;
        match tx.commit().await {
            Ok(_) => Ok(true),
            Err(error) if error.action() == Action::Retry => Ok(false),
            Err(error) => Err(error.into()),
        }
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
            let mut tx = match self.admit(shard).await? {
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
