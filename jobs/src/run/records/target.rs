//! The store that takes a job's results.
//!
//! A job keeps the number of its store from the moment it is recorded, in one transaction with its creation. Every
//! transaction of the job looks whether the store of that name still has this number, so that nothing is committed into
//! a store that was dropped, or into another one that took its name; the job fails then as a whole, and says why.
//!
//! # Whose results a store holds
//! Results of two jobs in one store are added up, or replace each other. That is only done where the later job says so:
//! `into_existing = true`. A store is taken by every recorded job that writes to it, in whatever state it is, and by
//! whatever records it has that are of no recorded job: of one that was removed without its results, or put by hand. What
//! a decision rests on is read by the transaction that records the job, so of two that are submitted at the same time
//! one comes first, and the other one finds it.

use eciton_engine::{Error as EngineError, ScanRange, Store, StoreSchema, Transaction};
use eciton_proto::v1::{JobPhase, JobResults, JobState};
use futures::FutureExt;

use super::change::retry_on_conflict;
use super::clock::now_ms;
use super::error::{JobError, bounded_reason, named};
use super::job::Job;
use super::ledger::Ledger;
use super::needs::adds_to_others;
use super::tally::count;
use crate::spec::{JobFile, SpecError};

/// The store that takes the results of a job, as its plan says.
pub(crate) struct Destination {
    /// Its name.
    pub(crate) store: String,
    /// What it must be.
    pub(crate) schema: StoreSchema,
    /// The key of the job file that names it.
    pub(crate) key: &'static str,
}

/// The number of the store that a job writes to; `None` where it was not kept.
pub(crate) fn number_of(state: &JobState) -> Option<u32> {
    let number = state.results.map_or(0, |results| results.store_number);
    (number != 0).then_some(number)
}

/// Whether the job is being removed.
pub(crate) fn is_removed(state: &JobState) -> bool {
    state.results.is_some_and(|results| results.removing)
}

/// Whether a job of this state writes to this store.
fn writes_to(state: &JobState, store: &Store) -> bool {
    state.store == store.name()
        && !is_removed(state)
        && number_of(state).is_none_or(|number| number == store.id().0)
}

/// The jobs that write to a store, without the one of the name `except`, by name.
pub(crate) async fn writers(
    ledger: &Ledger,
    store: &Store,
    except: Option<&str>,
) -> Result<Vec<String>, JobError> {
    let mut names = Vec::new();
    ledger
        .each_job(|name, state| {
            let is_other = except != Some(name.as_str());
            if is_other && state.is_ok_and(|state| writes_to(&state, store)) {
                names.push(name);
            }
        })
        .await?;
    Ok(names)
}

/// Whether a job may be recorded that writes to the store that there is, if there is one.
///
/// # Errors
/// [`JobError::JobFile`] with the key that names the store, where that takes results of other jobs.
pub(crate) async fn look(
    ledger: Option<&Ledger>,
    tx: &mut Transaction,
    file: &JobFile,
    destination: &Destination,
) -> Result<Option<(Store, JobResults)>, JobError> {
    let Some(store) = tx.store(&destination.store).await? else {
        return Ok(None);
    };
    let adds = adds_to_others(file.spec());
    let others = match ledger {
        Some(ledger) => writers(ledger, &store, Some(&file.spec().name)).await?,
        None => Vec::new(),
    };
    if !adds && !others.is_empty() {
        return Err(taken(file, destination, &others).into());
    }
    let first = ScanRange {
        limit: Some(1),
        keys_only: true,
        ..ScanRange::all()
    };
    // It relies on an empty store. One that has records has them: whoever adds more does not matter.
    let has_records = match adds {
        true => {
            let snapshot = match ledger {
                Some(ledger) => ledger.db.snapshot(),
                None => return Ok(None),
            };
            snapshot.scan(&store, &first).next().await?.is_some()
        }
        false => !tx.scan(&store, &first).await?.is_empty(),
    };
    if !adds && has_records {
        return Err(left_behind(file, destination).into());
    }
    let results = JobResults {
        store_number: store.id().0,
        found_records: has_records || !others.is_empty(),
        removing: false,
        removing_files: false,
    };
    Ok(Some((store, results)))
}

/// Finds or creates the store of a job that the transaction records.
///
/// # Errors
/// As [`look`]; [`JobError::JobFile`] where the store that there is is different.
pub(crate) async fn claim(
    ledger: &Ledger,
    tx: &mut Transaction,
    file: &JobFile,
    destination: &Destination,
) -> Result<JobResults, JobError> {
    let found = look(Some(ledger), tx, file, destination).await?;
    // One that there is has to be equal.
    let created = tx
        .create_store(&destination.store, &destination.schema)
        .await;
    let created = created.map_err(|error| match error {
        EngineError::StoreDiffers { .. } | EngineError::Invalid(_) => {
            JobError::from(file.error(destination.key, error))
        }
        error => error.into(),
    })?;
    let number = created.id().0;
    let results = found.map_or(
        JobResults {
            store_number: number,
            ..JobResults::default()
        },
        |(_, results)| results,
    );
    assert_eq!(results.store_number, number, "the store that was looked at");
    assert!(!results.removing, "a job that begins is not being removed");
    Ok(results)
}

fn taken(file: &JobFile, destination: &Destination, others: &[String]) -> SpecError {
    let (key, store) = (destination.key, &destination.store);
    assert!(!others.is_empty(), "store `{store}` is taken by somebody");
    let jobs = named(others);
    let first = &others[0];
    file.error(
        key,
        format!(
            "store `{store}` takes the results of {jobs}; expected another store, {}or no such job: `eciton job rm {first} \
             --with-results` removes one",
            both(key)
        ),
    )
}

fn left_behind(file: &JobFile, destination: &Destination) -> SpecError {
    let (key, store) = (destination.key, &destination.store);
    file.error(
        key,
        format!(
            "store `{store}` holds records that are of no job, but of one that was removed or put by hand; expected \
             another store, {}or an empty one: `eciton store drop {store}` drops it",
            both(key)
        ),
    )
}

/// How the job file of a sink that can add to a store says so. An answer is whole only in a store of its own.
fn both(key: &str) -> String {
    match key.split('.').next() {
        Some(section @ ("merge" | "upsert")) => {
            format!("`into_existing = true` in `[{section}]` to have both in it, ")
        }
        _ => String::new(),
    }
}

/// The store of a job that somebody is about to work on, as it was when the job was recorded.
///
/// # Errors
/// [`JobError::StoreGone`] where it was dropped: the job has failed then, and its record says so.
pub(crate) async fn open(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    destination: &Destination,
) -> Result<Store, JobError> {
    let db = &ledger.db;
    let found = db.store(&destination.store).await?;
    let number = number_of(&job.state);
    if let Some(store) = &found
        && number.is_none_or(|number| number == store.id().0)
        && *store.schema() == destination.schema
    {
        return Ok(store.clone());
    }
    if number.is_none() && found.is_none() {
        // Versions from before the number was kept created it apart from the job.
        let snapshot = db.snapshot();
        let tally = ledger.tallies.seen(&snapshot, name, job.state.number);
        if count(tally.await?.done) == 0 {
            let schema = destination.schema.clone();
            return Ok(db.create_store(&destination.store, schema).await?);
        }
    }
    fail(ledger, name, job.state.number).await?;
    Err(gone(name, &job.state, found.as_ref()))
}

/// Whether the store of a job is there, by the number that the job knows it by.
pub(crate) async fn stands(tx: &mut Transaction, state: &JobState) -> Result<bool, JobError> {
    let Some(number) = number_of(state) else {
        return Ok(true);
    };
    let found = tx.store(&state.store).await?;
    Ok(found.is_some_and(|store| store.id().0 == number))
}

/// Whether the store of a job is gone, as far as can be seen now.
pub(crate) async fn is_gone(ledger: &Ledger, state: &JobState) -> Result<bool, JobError> {
    let Some(number) = number_of(state) else {
        return Ok(false);
    };
    let found = ledger.db.store(&state.store).await?;
    Ok(found.is_none_or(|store| store.id().0 != number))
}

/// Ends a job as failed whose store is gone, and so what it had done. One that was cancelled, removed or replaced
/// meanwhile stays as it is.
pub(crate) async fn fail(ledger: &Ledger, name: &str, number: u64) -> Result<(), JobError> {
    retry_on_conflict(|| fail_once(ledger, name, number).boxed()).await
}

async fn fail_once(ledger: &Ledger, name: &str, number: u64) -> Result<Option<()>, JobError> {
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        return Ok(Some(()));
    };
    let has_ended = matches!(state.phase(), JobPhase::Failed | JobPhase::Cancelled);
    let found = tx.store(&state.store).await?;
    let is_there = found
        .as_ref()
        .is_some_and(|store| number_of(&state) == Some(store.id().0));
    if state.number != number || has_ended || is_there {
        return Ok(Some(()));
    }
    let reason = why(&state, found.as_ref());
    assert_eq!(state.number, number, "the job whose store is gone");
    assert!(!reason.is_empty(), "a job that fails as a whole says why");
    put_failed(ledger, &mut tx, name, &mut state, &reason)?;
    tx.commit().await?;
    Ok(Some(()))
}

/// Writes that a job has failed as a whole.
pub(crate) fn put_failed(
    ledger: &Ledger,
    tx: &mut Transaction,
    name: &str,
    state: &mut JobState,
    reason: &str,
) -> Result<(), JobError> {
    if state.phase() != JobPhase::Cancelled {
        state.set_phase(JobPhase::Failed);
    }
    if state.finished_ms == 0 {
        state.finished_ms = now_ms();
    }
    bounded_reason(reason).clone_into(&mut state.reason);
    ledger.put_job_state(tx, name, state)
}

fn why(state: &JobState, found: Option<&Store>) -> String {
    let store = &state.store;
    match found {
        None => format!("its store `{store}` was dropped, and its results with it"),
        Some(_) => format!(
            "its store `{store}` was dropped, and its results with it; another one has the name now"
        ),
    }
}

/// The error that says so.
pub(crate) fn gone(name: &str, state: &JobState, found: Option<&Store>) -> JobError {
    JobError::StoreGone {
        name: name.to_owned(),
        why: why(state, found),
    }
}
