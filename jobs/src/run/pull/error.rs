//! Why a program's call was not answered.

use tokio::task::JoinError;

use super::token::Token;
use crate::run::JobError;
use crate::run::compute::error::AttemptError;

/// Why a call came to nothing. Each says what the caller is to do, and nothing was counted as an attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The request is wrong: `INVALID_ARGUMENT`.
    #[error("{0}")]
    Invalid(String),
    /// The lease was lost, or has ended: drop the rows (`ABORTED`).
    #[error("{0}")]
    Lost(String),
    /// The job was cancelled, retried or removed: drop the rows (`FAILED_PRECONDITION`).
    #[error(
        "job `{0}` was cancelled, retried or removed since the shard was taken; expected its rows to be dropped"
    )]
    Stopped(String),
    /// Something is too large: `RESOURCE_EXHAUSTED`.
    #[error("{0}")]
    TooLarge(String),
    /// The stream of rows took too long, or kept others waiting: send it again (`DEADLINE_EXCEEDED`).
    #[error("{0}")]
    Slow(String),
    /// Not now: try again, here or at another peer (`UNAVAILABLE`).
    #[error("{0}")]
    Unavailable(String),
    /// Something about a job or the database.
    #[error(transparent)]
    Job(#[from] JobError),
}

impl From<eciton_engine::Error> for PullError {
    fn from(error: eciton_engine::Error) -> PullError {
        PullError::Job(error.into())
    }
}

impl From<AttemptError> for PullError {
    /// What is not the rows' fault.
    fn from(error: AttemptError) -> PullError {
        match error {
            AttemptError::Shard { message, .. } | AttemptError::Program { message, .. } => {
                PullError::Unavailable(message)
            }
            AttemptError::Source(error) => PullError::Unavailable(error.to_string()),
            AttemptError::Fatal(error) => PullError::Job(error),
        }
    }
}

/// Work that broke off: a bug.
#[allow(clippy::needless_pass_by_value, reason = "it is what joining gives")]
pub(super) fn broken(error: JoinError) -> PullError {
    PullError::Job(JobError::Worker(error.to_string()))
}

/// The lease is another's by now.
pub(super) fn lost(token: &Token) -> PullError {
    PullError::Lost(format!(
        "the lease of shard {} was lost or has ended; expected its rows to be dropped",
        token.shard_id.shard
    ))
}
