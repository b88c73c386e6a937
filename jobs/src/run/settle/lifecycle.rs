//! The beginning and the end of a job, by its record.

use eciton_proto::v1::JobPhase;
use futures::FutureExt;

use super::conclude::{conclude, forget};
use super::report::End;
use super::session::OwnSession;
use crate::machine;
use crate::run::compute::open::OpenJob;
use crate::run::records::age::end_ms;
use crate::run::records::change::retry_on_conflict;
use crate::run::records::clock::now_ms;
use crate::run::records::error::{JobError, bounded_reason};
use crate::run::records::exports;
use crate::run::records::tally::count;
use crate::run::records::target;

/// Marks the job as running, and begins the session of whoever will run it; `false` if it was cancelled, or is gone.
pub(crate) async fn start(job: &OpenJob, session: Option<&OwnSession>) -> Result<bool, JobError> {
    retry_on_conflict(|| start_once(job, session).boxed()).await
}

async fn start_once(job: &OpenJob, session: Option<&OwnSession>) -> Result<Option<bool>, JobError> {
    let (ledger, name) = (&job.ledger, &job.name);
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        return Ok(Some(false));
    };
    if state.number != job.job_number {
        return Ok(Some(false));
    }
    let before = state.clone();
    let is_open = End::of(state.phase()).is_none();
    let has_results = job.pipeline.destination().is_some();
    if is_open && has_results && target::number_of(&state).is_none() {
        // Recorded before it was kept: from now on it has to be this one.
        state.results.get_or_insert_default().store_number = job.store.id().0;
    }
    match state.phase() {
        JobPhase::Cancelled => return Ok(Some(false)),
        JobPhase::Unspecified | JobPhase::Pending => {
            state.set_phase(JobPhase::Running);
            if state.started_ms == 0 {
                // Whoever submitted it may have a clock that is ahead of this one.
                let now_ms = now_ms();
                state.started_ms = now_ms.max(state.submitted_ms);
                state.started_clock = match now_ms < state.submitted_ms {
                    // A moment of that other clock, from which on only durations count.
                    true => 0,
                    false => machine::clock(),
                };
            }
        }
        JobPhase::Done | JobPhase::Failed => return Ok(Some(true)),
        JobPhase::Running => {}
    }
    if state != before {
        ledger.put_job_state(&mut tx, name, &state)?;
    } else if session.is_none() {
        return Ok(Some(true));
    }
    if let Some(session) = session {
        session.begin(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(Some(true))
}

/// Ends the job if all its shards have ended.
///
/// The transaction reads the job's record and its sums: shards only ever come to an end, except by a retry, which
/// changes both: then this commit conflicts. It also relies on the store that the results are in.
pub(crate) async fn finish(job: &OpenJob, session: Option<&OwnSession>) -> Result<End, JobError> {
    let end = retry_on_conflict(|| finish_once(job, session).boxed()).await?;
    if let (Finished::Here(_), Some(session)) = (&end, session) {
        session.end(true).await?;
    }
    Ok(match end {
        Finished::Here(end) | Finished::Before(end) => end,
        Finished::Not => End::Stopped,
    })
}

/// What came of looking whether a job has ended.
enum Finished {
    /// It had ended.
    Before(End),
    /// This ended it.
    Here(End),
    /// It has shards left.
    Not,
}

async fn finish_once(
    job: &OpenJob,
    session: Option<&OwnSession>,
) -> Result<Option<Finished>, JobError> {
    let (ledger, name, total) = (&job.ledger, &job.name, job.total);
    let mut tx = ledger.db.begin();
    let state = ledger.job_state(&mut tx, name).await?;
    let state = state.filter(|state| state.number == job.job_number);
    let Some(mut state) = state else {
        return Err(JobError::Removed { name: name.clone() });
    };
    if let Some(end) = End::of(state.phase()) {
        return Ok(Some(Finished::Before(end)));
    }
    if !target::stands(&mut tx, &state).await? {
        target::fail(ledger, name, state.number).await?;
        return Ok(Some(Finished::Before(End::Failed)));
    }
    let tally = ledger.tallies.read(&mut tx, name, state.number).await?;
    if tally.ended() < total {
        return Ok(Some(Finished::Not));
    }
    let recorded = ledger.job(name).await?;
    let mut end = match count(tally.failed) <= job.failures_allowed {
        true => End::Done,
        false => End::Failed,
    };
    if end == End::Done
        && let Some(recorded) = &recorded
    {
        ledger.complete_export(name, recorded).await?;
    }
    if end == End::Done
        && let Some(reason) = conclude(ledger, name, &mut tx).await?
    {
        // A transaction that has part of an answer is not committed.
        tx = ledger.db.begin();
        if ledger.job_state(&mut tx, name).await?.as_ref() != Some(&state) {
            return Ok(None);
        }
        let reason = format!("the result cannot be computed: {reason}");
        bounded_reason(&reason).clone_into(&mut state.reason);
        end = End::Failed;
    }
    let phase = match end {
        End::Done => JobPhase::Done,
        _ => JobPhase::Failed,
    };
    state.set_phase(phase);
    let mut age = ledger.age(name, &state).await?;
    if let Some(session) = session {
        age.run_ms = age.run_ms.max(session.age.now().run_ms);
        ledger.delete_session(&mut tx, (name, session.id))?;
    }
    state.finished_ms = end_ms(&state, &age);
    ledger.put_job_state(&mut tx, name, &state)?;
    tx.commit().await?;
    if end == End::Done {
        forget(ledger, name, state.number).await;
        if tally.failed == 0
            && let Some(plan) = recorded.and_then(|job| job.plan.export)
        {
            exports::sweep(&plan);
        }
    }
    Ok(Some(Finished::Here(end)))
}
