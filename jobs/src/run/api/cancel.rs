//! Ending a job early.

use eciton_engine::Db;
use eciton_proto::v1::JobPhase;
use futures::FutureExt;

use crate::run::records::age::end_ms;
use crate::run::records::error::JobError;
use crate::run::records::ledger::Ledger;
use crate::run::records::status::{JobStatus, phase_name, standing};
use crate::run::schedule::worker::retry_on_conflict;

/// Cancels a job: no result of it is committed after this returns. Results of shards that are done
/// stay. A job that was cancelled before stays so.
///
/// # Errors
/// [`JobError::NotFound`]; [`JobError::State`] if the job is done or failed; [`JobError::Engine`].
pub async fn cancel(db: &Db, name: &str) -> Result<JobStatus, JobError> {
    let (ledger, _) = Ledger::with_job(db, name).await?;
    retry_on_conflict(|| cancel_once(&ledger, name, "").boxed()).await?;
    standing(&ledger, name).await
}

/// Cancels a job of itself, for a reason; one that has ended stays as it is.
pub(crate) async fn cancel_for(ledger: &Ledger, name: &str, reason: &str) -> Result<(), JobError> {
    match retry_on_conflict(|| cancel_once(ledger, name, reason).boxed()).await {
        Ok(()) | Err(JobError::State { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn cancel_once(ledger: &Ledger, name: &str, reason: &str) -> Result<Option<()>, JobError> {
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        return Ok(None);
    };
    match state.phase() {
        JobPhase::Cancelled => return Ok(Some(())),
        JobPhase::Done | JobPhase::Failed => {
            return Err(JobError::State {
                name: name.to_owned(),
                state: phase_name(state.phase()),
                expected: "expected one that has not ended",
            });
        }
        JobPhase::Unspecified | JobPhase::Pending | JobPhase::Running => {}
    }
    state.set_phase(JobPhase::Cancelled);
    state.finished_ms = end_ms(&state, &ledger.age(name, &state).await?);
    reason.clone_into(&mut state.reason);
    ledger.put_job_state(&mut tx, name, &state)?;
    tx.commit().await?;
    Ok(Some(()))
}
