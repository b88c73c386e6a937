//! Recording a job in the place of the one of its name.
//!
//! The old job is [removed](crate::run::remove()) with its results, and the new one recorded by the transaction that deletes
//! the last of it: where few records and no worker are in the way, that is one transaction in all. Killed at any moment
//! there is the old job with its results, or one that is being removed and whose results are gone, or the new one; the
//! same call then goes on. Workers that still are at the old one commit nothing: they look for a job of its number.

use eciton_engine::Db;
use eciton_proto::v1::{JobPhase, JobState};
use futures::FutureExt;

use super::remove::{self, Removal, begin};
use super::submit::{Checked, Submitted, check_within};
use crate::run::records::change::retry_on_conflict;
use crate::run::records::error::JobError;
use crate::run::records::job::Job;
use crate::run::records::ledger::Ledger;
use crate::run::records::target::{is_gone, is_removed};
use crate::source::{Reach, is_same_file};
use crate::spec::{JobFile, fingerprint};

/// A job that took the place of another one, or joined it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The job that is recorded now.
    pub submitted: Submitted,
    /// The number of the job that was removed; `None` if there was none of that name, or it was joined.
    pub replaced: Option<u64>,
}

/// Records a job as [`submit`](crate::run::submit()) does. One of the same name that has another specification or other
/// files, or that failed or was cancelled, is removed with its results first; any other one is joined, so that calling
/// this again after an interruption goes on.
///
/// # Errors
/// As [`check`](crate::run::check()) and [`Checked::submit`], without [`JobError::Differs`]; [`JobError::Shared`] where results of others would
/// be removed with those of the job. Nothing was written then. [`JobError::Engine`] if the database fails.
pub async fn replace(db: &Db, file: &JobFile) -> Result<Replaced, JobError> {
    replace_within(db, file, &Reach::anywhere()).await
}

/// [`replace`] for an author who may not read every file that this process may: see
/// [`submit_within`](crate::run::submit_within).
///
/// # Errors
/// As [`replace`]; [`JobError::JobFile`] for files out of reach, whether or not they are there.
pub async fn replace_within(db: &Db, file: &JobFile, reach: &Reach) -> Result<Replaced, JobError> {
    check_within(Some(db), file, reach).await?.replace(db).await
}

impl Checked {
    /// Records the job as [`replace`] does, by the plan that was made.
    ///
    /// # Errors
    /// As [`replace`].
    pub async fn replace(self, db: &Db) -> Result<Replaced, JobError> {
        let ledger = Ledger::create(db).await?;
        let mut replaced = None;
        loop {
            let step = retry_on_conflict(|| step_once(&ledger, &self).boxed()).await?;
            match step {
                Step::Recorded(submitted, number) => {
                    return Ok(Replaced {
                        submitted,
                        replaced: number.or(replaced),
                    });
                }
                Step::Joined(submitted) => {
                    return Ok(Replaced {
                        submitted,
                        replaced,
                    });
                }
                Step::Begun(number) => {
                    replaced = Some(number);
                    remove::finish(&ledger, &self.spec().name).await?;
                }
            }
        }
    }
}

enum Step {
    /// The new job is there, and the one of this number is gone.
    Recorded(Submitted, Option<u64>),
    /// The job that is there is the one.
    Joined(Submitted),
    /// The job of this number is being removed.
    Begun(u64),
}

async fn step_once(ledger: &Ledger, new: &Checked) -> Result<Option<Step>, JobError> {
    let name = &new.spec().name;
    let mut tx = ledger.db.begin();
    let Some(mut state) = ledger.job_state(&mut tx, name).await? else {
        let submitted = new.put(ledger, &mut tx).await?;
        tx.commit().await?;
        return Ok(Some(Step::Recorded(submitted, None)));
    };
    let number = state.number;
    if is_removed(&state) {
        return Ok(Some(Step::Begun(number)));
    }
    let Some(job) = ledger.job(name).await?.filter(|job| job.state == state) else {
        return Ok(None);
    };
    if is_the_same(ledger, &job, new).await? {
        return Ok(Some(Step::Joined(new.join(ledger, &job).await?)));
    }
    check_new_store(ledger, &state, new).await?;
    let all = Removal {
        with_results: true,
        force: true,
    };
    let (_, is_over) = begin(ledger, &mut tx, name, &mut state, all).await?;
    if !is_over {
        tx.commit().await?;
        return Ok(Some(Step::Begun(number)));
    }
    let submitted = new.put(ledger, &mut tx).await?;
    let later = submitted.number;
    assert!(
        later > number,
        "job {later} takes the place of job {number}"
    );
    assert!(!submitted.joined, "job {later} is new");
    tx.commit().await?;
    Ok(Some(Step::Recorded(submitted, Some(number))))
}

/// Refuses a new job before the old one goes, where that writes to another store.
async fn check_new_store(ledger: &Ledger, old: &JobState, new: &Checked) -> Result<(), JobError> {
    if old.store != new.store() || is_gone(ledger, old).await? {
        new.look(Some(ledger), &mut ledger.db.begin()).await?;
    }
    Ok(())
}

/// Whether the job that is there is the one that is asked for, and may still come to its end, or has.
async fn is_the_same(ledger: &Ledger, job: &Job, new: &Checked) -> Result<bool, JobError> {
    let has_failed = matches!(job.state.phase(), JobPhase::Failed | JobPhase::Cancelled);
    let is_equal = job.stored_hash == fingerprint(new.spec());
    if has_failed || !is_equal || is_gone(ledger, &job.state).await? {
        return Ok(false);
    }
    let source = ledger.source(&new.spec().name, job).await?;
    let mut recorded = source.files().iter();
    Ok(new.files().all(|file| {
        recorded
            .next()
            .is_some_and(|other| is_same_file(other, file))
    }) && recorded.next().is_none())
}
