//! Ending a job early.

use eciton_engine::Db;

use crate::run::records::cancel::cancel as cancel_job;
use crate::run::records::error::JobError;
use crate::run::records::ledger::Ledger;
use crate::run::records::status::{JobStatus, standing};

/// Cancels a job: no result of it is committed after this returns. Results of shards that are done
/// stay. A job that was cancelled before stays so.
///
/// # Errors
/// [`JobError::NotFound`]; [`JobError::State`] if the job is done or failed; [`JobError::Engine`].
pub async fn cancel(db: &Db, name: &str) -> Result<JobStatus, JobError> {
    let (ledger, _) = Ledger::with_job(db, name).await?;
    cancel_job(&ledger, name, "").await?;
    standing(&ledger, name).await
}
