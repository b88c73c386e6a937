//! Dropping a store that jobs may have written to.

use eciton_engine::{Db, Transaction};
use futures::FutureExt;

use crate::run::records::change::retry_on_conflict;
use crate::run::records::error::JobError;
use crate::run::records::ledger::{self, Ledger};
use crate::run::records::target::{put_failed, writers};

/// Drops a store with everything in it, durably; `false` if there was none. One that takes the results of a job is
/// dropped by `force` only: in the same transaction its jobs fail, with the reason, whether or not they had ended.
///
/// # Errors
/// [`JobError::StoreInUse`] naming the jobs: nothing was written. [`JobError::Engine`] if the database fails.
pub async fn drop_store(db: &Db, name: &str, force: bool) -> Result<bool, JobError> {
    retry_on_conflict(|| drop_once(db, name, force).boxed()).await
}

async fn drop_once(db: &Db, name: &str, force: bool) -> Result<Option<bool>, JobError> {
    let mut tx = db.begin();
    let Some(store) = tx.store(name).await? else {
        return Ok(Some(false));
    };
    // Whoever records the first job creates this one.
    if tx.store(ledger::STORE).await?.is_some()
        && let Some(ledger) = Ledger::find(db).await?
    {
        // Whoever records another job changes it: then this conflicts, and looks again.
        ledger.registry(&mut tx).await?;
        let jobs = writers(&ledger, &store, None).await?;
        if !jobs.is_empty() && !force {
            return Err(JobError::StoreInUse {
                store: name.to_owned(),
                jobs,
            });
        }
        fail(&ledger, &mut tx, name, &jobs, store.id().0).await?;
    }
    tx.drop_store(name).await?;
    tx.commit().await?;
    Ok(Some(true))
}

async fn fail(
    ledger: &Ledger,
    tx: &mut Transaction,
    store: &str,
    jobs: &[String],
    number: u32,
) -> Result<(), JobError> {
    let reason = format!("its store `{store}` was dropped by hand, and its results with it");
    for job in jobs {
        if let Some(mut state) = ledger.job_state(tx, job).await? {
            // Also of one that did not know it: a store that comes later is another one.
            state.results.get_or_insert_default().store_number = number;
            put_failed(ledger, tx, job, &mut state, &reason)?;
        }
    }
    Ok(())
}
