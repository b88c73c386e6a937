//! Removing a job, and on request its results.
//!
//! A job may have millions of records, so removing it takes any number of transactions. The first one decides: it says
//! in the job's record that the job is being removed, and drops the store where that was asked for. From then on nothing
//! of the job is committed by anybody, since every commit reads that record; the job is listed as cancelled, with the
//! reason. The others delete its records, bounded many at a time, and the last one deletes the job's record with the
//! rest. Whoever was killed in between left a job that is being removed: removing it again goes on, and so does
//! submitting a job of its name. A job of few records that nobody works on goes in one transaction.

use eciton_engine::{Db, Transaction};
use eciton_proto::v1::{JobPhase, JobState};
use futures::FutureExt;

use crate::run::compute::pipeline::operand_store;
use crate::run::records::change::retry_on_conflict;
use crate::run::records::clock::now_ms;
use crate::run::records::error::{JobError, named};
use crate::run::records::ledger::{LAYOUT, Ledger};
use crate::run::records::needs::EXPORT;
use crate::run::records::status::phase_name;
use crate::run::records::target::{is_removed, number_of, writers};

/// Records that one transaction deletes, at most.
const RECORDS_MAX: usize = 4096;

/// What is removed with a job, and in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// The store that it wrote to is dropped, too.
    pub with_results: bool,
    /// It may be running. Workers that are at it drop what they compute.
    pub force: bool,
}

/// A job that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// What its name was.
    pub name: String,
    /// What its number was.
    pub number: u64,
    /// The store that took its results.
    pub store: String,
    /// That store was dropped.
    pub results_dropped: bool,
}

/// Removes a job: its specification, its plan, the records of its shards and their sums. Its results stay in their
/// store unless they are to be removed, too. Durable when it returns; where it is interrupted, the job is listed as
/// cancelled, nothing of it is committed any more, and calling it again goes on.
///
/// # Errors
/// [`JobError::NotFound`]; [`JobError::State`] for a running job without [`Removal::force`]; [`JobError::Shared`] where
/// the results cannot be removed alone. Nothing was written then. [`JobError::Engine`] if the database fails.
pub async fn remove(db: &Db, name: &str, of: Removal) -> Result<Removed, JobError> {
    let not_found = |known| JobError::NotFound {
        name: name.to_owned(),
        known,
    };
    let Some(ledger) = Ledger::find(db).await? else {
        return Err(not_found(Vec::new()));
    };
    let begun = retry_on_conflict(|| begin_once(&ledger, name, of).boxed()).await?;
    let Some((removed, is_over)) = begun else {
        return Err(not_found(ledger.names().await?));
    };
    if !is_over {
        go_on(&ledger, name, removed.number).await?;
    }
    Ok(removed)
}

/// The first transaction: the job, and whether it is gone already; `None` if there is none.
async fn begin_once(
    ledger: &Ledger,
    name: &str,
    of: Removal,
) -> Result<Option<Option<(Removed, bool)>>, JobError> {
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        return Ok(Some(None));
    };
    let (results_dropped, is_over) = begin(ledger, &mut tx, name, &mut state, of).await?;
    tx.commit().await?;
    let removed = Removed {
        name: name.to_owned(),
        number: state.number,
        store: state.store,
        results_dropped,
    };
    Ok(Some(Some((removed, is_over))))
}

/// Writes into a transaction that a job is removed, with the store where that is asked for. Gives whether that was
/// dropped, and whether nothing of the job is left.
///
/// # Errors
/// As [`remove`].
pub(crate) async fn begin(
    ledger: &Ledger,
    tx: &mut Transaction,
    name: &str,
    state: &mut JobState,
    of: Removal,
) -> Result<(bool, bool), JobError> {
    let phase = state.phase();
    if phase == JobPhase::Running && !of.force {
        return Err(JobError::State {
            name: name.to_owned(),
            state: phase_name(phase),
            expected: "expected one that has ended; cancel it first with `eciton job cancel`, or remove it with `--force`",
        });
    }
    let dropped = match of.with_results {
        true => drop_results(ledger, tx, name, state).await?,
        false => {
            leave_results(ledger, tx, name, state).await?;
            false
        }
    };
    // While others work on it, records come: those it has are read once none do. Files go after the decision.
    let exports = state.needs.iter().any(|need| need == EXPORT);
    if !exports && phase != JobPhase::Running && purge(ledger, tx, name, state.number).await? {
        return Ok((dropped, true));
    }
    state.set_phase(JobPhase::Cancelled);
    if state.finished_ms == 0 {
        state.finished_ms = now_ms();
    }
    // A version that knows nothing of removing must not take the job up again.
    state.layout = LAYOUT;
    "it is being removed; removing it again goes on".clone_into(&mut state.reason);
    let results = state.results.get_or_insert_default();
    results.removing = true;
    results.removing_files |= exports && of.with_results;
    assert!(is_removed(state), "job {} is being removed", state.number);
    assert!(!dropped || of.with_results, "its results were to stay");
    ledger.put_job_state(tx, name, state)?;
    Ok((dropped || (exports && of.with_results), false))
}

/// Goes on with a job of this name that is being removed, if there is one.
pub(crate) async fn finish(ledger: &Ledger, name: &str) -> Result<(), JobError> {
    match ledger.state_now(name).await? {
        Some(state) if is_removed(&state) => go_on(ledger, name, state.number).await,
        _ => Ok(()),
    }
}

/// Deletes what is left of a job that is being removed. Others may do the same at the same time.
async fn go_on(ledger: &Ledger, name: &str, number: u64) -> Result<(), JobError> {
    let with_files = match ledger.state_now(name).await? {
        Some(state) if state.number == number => {
            state.results.is_some_and(|results| results.removing_files)
        }
        _ => return Ok(()),
    };
    if let Some(job) = ledger.job(name).await? {
        ledger.remove_export(name, &job, with_files).await?;
    }
    while !retry_on_conflict(|| go_on_once(ledger, name, number).boxed()).await? {}
    Ok(())
}

/// Whether nothing is left.
async fn go_on_once(ledger: &Ledger, name: &str, number: u64) -> Result<Option<bool>, JobError> {
    let mut tx = ledger.db.begin();
    match ledger.job_state(&mut tx, name).await? {
        Some(state) if state.number == number && is_removed(&state) => {}
        // Somebody else has ended it, and its name may be another job's.
        _ => return Ok(Some(true)),
    }
    let is_over = purge(ledger, &mut tx, name, number).await?;
    tx.commit().await?;
    Ok(Some(is_over))
}

/// Deletes as many of a job's records as a transaction takes; whether that were all, the job's own among them.
pub(crate) async fn purge(
    ledger: &Ledger,
    tx: &mut Transaction,
    name: &str,
    number: u64,
) -> Result<bool, JobError> {
    let parts = ledger.parts(tx, name, RECORDS_MAX).await?;
    let count = parts.len();
    assert!(count <= RECORDS_MAX, "{count} records in a transaction");
    for key in &parts {
        ledger.delete(tx, key)?;
    }
    if parts.len() == RECORDS_MAX {
        return Ok(false);
    }
    tx.drop_store(&operand_store(number)).await?;
    ledger.delete_job(tx, name, number)?;
    Ok(true)
}

/// Drops the store that a job wrote to, if it is there and holds nothing else; whether it was.
async fn drop_results(
    ledger: &Ledger,
    tx: &mut Transaction,
    name: &str,
    state: &JobState,
) -> Result<bool, JobError> {
    let Some(store) = tx.store(&state.store).await? else {
        return Ok(false);
    };
    if number_of(state).is_some_and(|number| number != store.id().0) {
        // Another one by now: nothing of this job is in it.
        return Ok(false);
    }
    let shared = |with: String| JobError::Shared {
        name: name.to_owned(),
        store: state.store.clone(),
        with,
    };
    let others = writers(ledger, &store, Some(name)).await?;
    if !others.is_empty() {
        return Err(shared(format!("those of {}", named(&others))));
    }
    if state.results.is_some_and(|results| results.found_records) {
        return Err(shared("records that are not of this job".to_owned()));
    }
    Ok(tx.drop_store(&state.store).await?)
}

/// Tells the jobs that write to the same store of what is left there.
async fn leave_results(
    ledger: &Ledger,
    tx: &mut Transaction,
    name: &str,
    state: &JobState,
) -> Result<(), JobError> {
    let Some(store) = tx.store(&state.store).await? else {
        return Ok(());
    };
    if number_of(state).is_some_and(|number| number != store.id().0) {
        return Ok(());
    }
    for other in writers(ledger, &store, Some(name)).await? {
        let Some(mut state) = ledger.job_state(tx, &other).await? else {
            continue;
        };
        let results = state.results.get_or_insert_default();
        results.store_number = store.id().0;
        if !results.found_records {
            results.found_records = true;
            ledger.put_job_state(tx, &other, &state)?;
        }
    }
    Ok(())
}
