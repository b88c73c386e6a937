//! Cancelling a job by its record.

use eciton_proto::v1::JobPhase;
use futures::FutureExt;

use super::age::end_ms;
use super::change::retry_on_conflict;
use super::error::JobError;
use super::ledger::Ledger;
use super::status::phase_name;

/// Cancels a job that has come to its deadline.
pub(crate) async fn cancel_late(
    ledger: &Ledger,
    name: &str,
    deadline_ms: u64,
) -> Result<(), JobError> {
    let reason = format!("it did not end within its deadline of {deadline_ms} ms");
    cancel_for(ledger, name, &reason).await
}

/// Cancels a job of itself, for a reason; one that has ended stays as it is.
pub(crate) async fn cancel_for(ledger: &Ledger, name: &str, reason: &str) -> Result<(), JobError> {
    match cancel(ledger, name, reason).await {
        Ok(()) | Err(JobError::State { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Cancels a job, for a reason if there is one. One that was cancelled before stays so.
///
/// # Errors
/// [`JobError::State`] if it is done or failed; what the database refuses.
pub(crate) async fn cancel(ledger: &Ledger, name: &str, reason: &str) -> Result<(), JobError> {
    retry_on_conflict(|| cancel_once(ledger, name, reason).boxed()).await
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
