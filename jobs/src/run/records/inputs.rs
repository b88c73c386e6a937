//! The jobs that a job comes after: `run.after`.
//!
//! A job starts once all of them are done. Its record keeps the number of each as it was seen last, so that one that was
//! removed is told from one that was not submitted so far: the job fails in the first case and waits in the second. A job
//! of the same name that takes the place of an input is the input from then on. Once the job has started, nothing that
//! becomes of its inputs matters to it.

use eciton_proto::v1::{JobInput, JobPhase, JobSpec, JobState};
use futures::FutureExt;

use super::change::retry_on_conflict;
use super::error::JobError;
use super::ledger::Ledger;
use super::target::{is_removed, put_failed};
use crate::spec::JobFile;

/// The key of the job file that names them.
const KEY: &str = "run.after";

/// Whether a job may start, by its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Inputs {
    /// It may: all are done, or it has none, or it has started before.
    Done,
    /// These are not done yet, each with its state, for people.
    Waiting(Vec<String>),
    /// One of them will never be done; why, for people.
    Broken(String),
}

/// The names of the jobs that a job comes after.
pub(crate) fn names(spec: &JobSpec) -> &[String] {
    spec.run.as_ref().map_or(&[], |run| &run.after)
}

/// The inputs of a job that is about to be recorded, with the numbers of those that are there.
///
/// # Errors
/// What reading the ledger refuses.
pub(crate) async fn seen(ledger: &Ledger, spec: &JobSpec) -> Result<Vec<JobInput>, JobError> {
    let mut inputs = Vec::new();
    for name in names(spec) {
        let state = ledger.state_now(name).await?;
        inputs.push(JobInput {
            name: name.clone(),
            number: state
                .filter(|state| !is_removed(state))
                .map_or(0, |state| state.number),
        });
    }
    Ok(inputs)
}

/// Looks whether a job of this state may start. Changes nothing.
///
/// # Errors
/// What reading the ledger refuses.
pub(crate) async fn look(ledger: &Ledger, state: &JobState) -> Result<Inputs, JobError> {
    Ok(look_closely(ledger, state).await?.0)
}

/// The same, with the inputs as they were seen now.
async fn look_closely(
    ledger: &Ledger,
    state: &JobState,
) -> Result<(Inputs, Vec<JobInput>), JobError> {
    let mut seen = state.inputs.clone();
    if !matches!(state.phase(), JobPhase::Pending | JobPhase::Unspecified) {
        return Ok((Inputs::Done, seen));
    }
    let (mut waiting, mut broken) = (Vec::new(), None);
    for input in &mut seen {
        let name = &input.name;
        let found = ledger.state_now(name).await?;
        let Some(found) = found.filter(|found| !is_removed(found)) else {
            match input.number {
                0 => waiting.push(format!("job `{name}` (not submitted yet)")),
                _ => {
                    broken =
                        broken.or_else(|| Some(format!("its input, job `{name}`, was removed")));
                }
            }
            continue;
        };
        input.number = found.number;
        match found.phase() {
            JobPhase::Done => {}
            JobPhase::Failed => {
                broken = broken.or_else(|| Some(format!("its input, job `{name}`, has failed")));
            }
            JobPhase::Cancelled => {
                broken = broken.or_else(|| Some(format!("its input, job `{name}`, is cancelled")));
            }
            JobPhase::Unspecified | JobPhase::Pending => {
                waiting.push(format!("job `{name}` (pending)"));
            }
            JobPhase::Running => waiting.push(format!("job `{name}` (running)")),
        }
    }
    assert_eq!(seen.len(), state.inputs.len(), "inputs keep their places");
    let inputs = match (broken, waiting.is_empty()) {
        (Some(reason), _) => Inputs::Broken(reason),
        (None, true) => Inputs::Done,
        (None, false) => Inputs::Waiting(waiting),
    };
    Ok((inputs, seen))
}

/// Looks whether a job may start, and records what was seen: which inputs are there, and that the job has failed where one
/// of them will never be done. Its record says so when this returns [`Inputs::Broken`].
///
/// # Errors
/// What the database refuses.
pub(crate) async fn settle(
    ledger: &Ledger,
    name: &str,
    state: &JobState,
) -> Result<Inputs, JobError> {
    let (inputs, seen) = look_closely(ledger, state).await?;
    if seen != state.inputs || matches!(inputs, Inputs::Broken(_)) {
        let (inputs, seen) = (&inputs, &seen);
        retry_on_conflict(|| settle_once(ledger, name, state, inputs, seen).boxed()).await?;
    }
    Ok(inputs)
}

async fn settle_once(
    ledger: &Ledger,
    name: &str,
    before: &JobState,
    inputs: &Inputs,
    seen: &[JobInput],
) -> Result<Option<()>, JobError> {
    let mut tx = ledger.db.begin();
    let state = ledger.job_state(&mut tx, name).await?;
    // Another process has seen the same, or the job was cancelled, retried or replaced: whoever asks looks again.
    let Some(mut state) = state.filter(|state| state == before) else {
        return Ok(Some(()));
    };
    state.inputs = seen.to_vec();
    match inputs {
        Inputs::Broken(reason) => put_failed(ledger, &mut tx, name, &mut state, reason)?,
        Inputs::Done | Inputs::Waiting(_) => ledger.put_job_state(&mut tx, name, &state)?,
    }
    tx.commit().await?;
    Ok(Some(()))
}

/// Checks that no input of a job that is about to be recorded comes after it, directly or through others. Whoever records a
/// job changes the registry: of two that would close a circle together the second looks again.
///
/// # Errors
/// [`JobError::JobFile`] naming the jobs of the circle.
pub(crate) async fn check(ledger: &Ledger, file: &JobFile) -> Result<(), JobError> {
    let own = &file.spec().name;
    // The way to each job that was found.
    let mut ways: Vec<Vec<String>> = Vec::new();
    ways.extend(names(file.spec()).iter().map(|name| vec![name.clone()]));
    let mut at = 0;
    while at < ways.len() {
        let way = ways[at].clone();
        at += 1;
        let Some(last) = way.last() else { continue };
        let Some(spec) = ledger.spec(last).await? else {
            continue;
        };
        for next in names(&spec) {
            if next == own {
                let all = way.iter().chain([own]).map(|name| format!("`{name}`"));
                let told = all.collect::<Vec<_>>().join(", which comes after ");
                let message = format!(
                    "a circle, in which no job ever starts: `{own}` would come after {told}; expected jobs that do not \
                     wait for this one"
                );
                return Err(file.error(KEY, message).into());
            }
            if !ways.iter().any(|way| way.last() == Some(next)) {
                ways.push(way.iter().chain([next]).cloned().collect());
            }
        }
    }
    Ok(())
}

/// What is to be known of a job that waits, for people; empty where it does not.
///
/// # Errors
/// What reading the ledger refuses.
pub(crate) async fn note(ledger: &Ledger, state: &JobState) -> Result<String, JobError> {
    Ok(match look(ledger, state).await? {
        Inputs::Waiting(waiting) => format!("waits for {}", waiting.join(", ")),
        Inputs::Broken(reason) => format!("fails when a worker looks at it: {reason}"),
        Inputs::Done => String::new(),
    })
}
