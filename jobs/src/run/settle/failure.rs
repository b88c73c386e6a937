//! What becomes of failed attempts: counted in the record of the shard, and repeated or not.

use std::time::Duration;

use eciton_engine::{Action, Error as EngineError};
use eciton_proto::limits::ERROR_LEN_MAX;
use eciton_proto::v1::{Outcome, ShardState};

use super::backoff::backoff;
use super::commit::{Admission, AdmissionRefusal, COMMIT_TRIES_MAX};
use super::observer::{Event, Observer};
use crate::run::compute::open::OpenJob;
use crate::run::records::clock::now_ms;
use crate::run::records::error::JobError;
use crate::run::records::tally::Tally;

/// What became of a shard whose attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It is tried again.
    Again {
        /// How many attempts were made since the last retry.
        attempt: u32,
        /// How long it waits for the next one.
        wait: Duration,
    },
    /// It failed for good, after this many attempts.
    Final(u32),
    /// The shard may not be worked on.
    NotAdmitted(AdmissionRefusal),
}

impl Failure {
    /// Tells of it.
    pub(crate) fn tell(&self, observer: &dyn Observer, shard: u64, error: &str) {
        match self {
            Failure::Final(attempts) => observer.observe(&Event::ShardFailed {
                shard,
                attempts: *attempts,
                error,
            }),
            Failure::Again { attempt, wait } => observer.observe(&Event::AttemptFailed {
                shard,
                attempt: *attempt,
                error,
                retry_in_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            }),
            Failure::NotAdmitted(_) => {}
        }
    }
}

/// An error as it is kept and told: no more of it than a record and an answer take.
pub(crate) fn bounded(error: &str) -> &str {
    &error[..error.floor_char_boundary(ERROR_LEN_MAX)]
}

/// Failed attempts that were counted in the record of a shard.
pub(super) struct CountedFailure {
    /// Attempts since the last retry.
    pub(super) this_round: u32,
    /// No further attempt is made.
    pub(super) is_final: bool,
    /// What they add to the sums of the job.
    pub(super) tally: Tally,
}

/// Counts `more` failed attempts in the record of a shard that has not ended. The last one is the last of all if
/// `is_final` says so, given how many were made since the last retry.
pub(super) fn count_failed(
    state: &mut ShardState,
    more: u32,
    is_final: impl FnOnce(u32) -> bool,
) -> CountedFailure {
    debug_assert!(
        state.outcome() == Outcome::Unspecified,
        "it has ended: {state:?}"
    );
    assert!(more > 0, "no attempt failed");
    state.attempts += more;
    let this_round = state.attempts.saturating_sub(state.attempts_before);
    let is_final = is_final(this_round);
    if is_final {
        state.set_outcome(Outcome::Failed);
    }
    state.finished_ms = now_ms();
    CountedFailure {
        this_round,
        is_final,
        tally: Tally {
            failed: i64::from(is_final),
            attempts: i64::from(more),
            ..Tally::default()
        },
    }
}

impl OpenJob {
    /// Records that an attempt failed, and whether that was the last one. With `attempts`, only if so many were
    /// counted before; else somebody else has ended this one, or this is said twice. The message is kept
    /// [as far as it goes](bounded).
    ///
    /// # Errors
    /// What the database refuses.
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
                Admission::Refused(why) => return Ok(Failure::NotAdmitted(why)),
            };
            let mut state = self.ledger.shard_state(&mut tx, &self.name, shard).await?;
            if attempts.is_some_and(|attempts| attempts != state.attempts) {
                return Ok(Failure::NotAdmitted(AdmissionRefusal::Ended));
            }
            let is_final = |this_round| !transient || this_round >= self.max_attempts;
            let counted = count_failed(&mut state, 1, is_final);
            bounded(message).clone_into(&mut state.error);
            self.put_state(&mut tx, shard, &state)?;
            self.ledger
                .tallies
                .add(&mut tx, self.job_number, &counted.tally)?;
            match tx.commit().await {
                Ok(_) if counted.is_final => return Ok(Failure::Final(state.attempts)),
                Ok(_) => {
                    return Ok(Failure::Again {
                        attempt: counted.this_round,
                        wait: backoff(counted.this_round),
                    });
                }
                Err(error) if error.action() == Action::Retry => lost = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(lost.into())
    }
}
