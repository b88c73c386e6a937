//! Changing records of jobs by transactions that may lose against others.

use eciton_engine::{Action, Error as EngineError};
use futures::future::BoxFuture;

use super::error::JobError;

/// Tries of a change to a job's record.
const CHANGE_TRIES_MAX: u32 = 1000;

/// Makes a change again and again while it loses against others. `None` from the change: it saw an
/// old state, and wants another try.
pub(crate) async fn retry_on_conflict<'a, T>(
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
