//! The answer of a query, once all shards of its job are done.
//!
//! The rest of the query runs over the merged operands, and its rows are written in the transaction that ends the job:
//! so the answer is there, whole, when the job is done, and not before. Several processes may come to this at a time, or
//! again after one was killed; of their transactions one commits.

use bytes::Bytes;
use eciton_engine::{Key, ScanRange, Store, Transaction};
use eciton_proto::v1::job_spec::Sink;
use tokio::sync::mpsc;

use crate::query::MergedError;
use crate::run::compute::pipeline;
use crate::run::compute::planning;
use crate::run::records::error::{JobError, damaged};
use crate::run::records::job::Job;
use crate::run::records::ledger::Ledger;
use crate::transform::RunError;

/// Batches of records that wait to be written.
const WAITING_MAX: usize = 2;
/// Records that are written before the transaction is asked whether it has too many.
const RELIEF_INTERVAL: usize = 4096;

/// Why there is no answer.
enum NoAnswer {
    /// The query or its operands: the job fails with this reason.
    Lasting(String),
    /// The database: another try may succeed.
    Now(JobError),
}

/// Writes the answer of a job, all of whose shards are done, if its sink is one; else nothing. Gives the reason why
/// there is none, if that lasts.
///
/// # Errors
/// [`JobError::Engine`] where the database fails, [`JobError::Damaged`] where the job cannot be planned.
pub(crate) async fn conclude(
    ledger: &Ledger,
    name: &str,
    tx: &mut Transaction,
) -> Result<Option<String>, JobError> {
    let Some(job) = ledger.job(name).await? else {
        return Ok(None);
    };
    if !matches!(job.spec.sink, Some(Sink::Answer(_))) {
        return Ok(None);
    }
    match write(ledger, name, &job, tx).await {
        Ok(()) => Ok(None),
        Err(NoAnswer::Lasting(reason)) => Ok(Some(reason)),
        Err(NoAnswer::Now(error)) => Err(error),
    }
}

/// Drops the operands of a job that is done: its answer is written. Where that fails they stay, and take room.
pub(crate) async fn forget(ledger: &Ledger, name: &str, number: u64) {
    let store = pipeline::operand_store(number);
    if let Err(error) = ledger.db.drop_store(&store).await {
        tracing::warn!(job = name, store, %error, "the operands of the answer could not be dropped");
    }
}

async fn write(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    tx: &mut Transaction,
) -> Result<(), NoAnswer> {
    let source = ledger.source(name, job).await.map_err(NoAnswer::Now)?;
    let planned = planning::plan(&job.spec, source, &job.plan.output)
        .await
        .map_err(NoAnswer::Now)?
        .map_err(|misfit| NoAnswer::Now(damaged(name, &misfit.key, &misfit.message)))?;
    let pipeline::Sink::Answer(answer) = &planned.sink else {
        return Ok(());
    };
    let db = &ledger.db;
    // The caller has seen in this transaction that it is the one of the job.
    let store = tx.store(&planned.store_name).await?;
    let store = store.ok_or_else(|| missing(name, &planned.store_name))?;
    is_empty(&store, tx).await?;
    let operands = pipeline::operand_store(job.state.number);
    let found = tx.store(&operands).await?;
    let operands = found.ok_or_else(|| missing(name, &operands))?;
    assert_ne!(
        operands.name(),
        store.name(),
        "operands and answer of `{name}`"
    );
    let scan = db.snapshot().scan(&operands, &ScanRange::all());
    let (send, mut records) = mpsc::channel::<Vec<(Key, Bytes)>>(WAITING_MAX);
    let answer = answer.clone();
    let work = tokio::task::spawn_blocking(move || {
        let (mut rows, mut refused) = (0, None);
        answer.conclude(scan, |batch| match answer.layout().records(&batch, rows) {
            Ok(records) => {
                rows += batch.num_rows() as u64;
                send.blocking_send(records).is_ok()
            }
            Err(error) => {
                refused = Some(error.to_string());
                false
            }
        })?;
        refused.map_or(Ok(rows), |refused| Err(NoAnswer::Lasting(refused)))
    });
    let mut written = 0_u64;
    while let Some(records) = records.recv().await {
        written += records.len() as u64;
        for records in records.chunks(RELIEF_INTERVAL) {
            for (key, value) in records {
                tx.blind_put(&store, key, value.clone())?;
            }
            tx.relieve().await?;
        }
    }
    let ended = work.await;
    let broken = |error| NoAnswer::Lasting(format!("computing the result broke off: {error}"));
    let rows = ended.map_err(broken)??;
    assert_eq!(written, rows, "records of `{name}` and rows of its answer");
    Ok(())
}

fn missing(name: &str, store: &str) -> NoAnswer {
    NoAnswer::Now(damaged(name, &format!("its store `{store}`"), "it is gone"))
}

/// The answer is whole only in a store that has nothing else.
async fn is_empty(store: &Store, tx: &mut Transaction) -> Result<(), NoAnswer> {
    let first = ScanRange {
        limit: Some(1),
        ..ScanRange::all()
    };
    match tx.scan(store, &first).await?.is_empty() {
        true => Ok(()),
        false => Err(NoAnswer::Lasting(format!(
            "store `{}` has records that are not this job's: drop it, or name another one in [result]",
            store.name()
        ))),
    }
}

impl From<eciton_engine::Error> for NoAnswer {
    fn from(error: eciton_engine::Error) -> NoAnswer {
        NoAnswer::Now(error.into())
    }
}

impl From<crate::transform::TransformError> for NoAnswer {
    fn from(error: crate::transform::TransformError) -> NoAnswer {
        RunError::Transform(error).into()
    }
}

impl From<RunError<MergedError>> for NoAnswer {
    fn from(error: RunError<MergedError>) -> NoAnswer {
        use eciton_engine::Error;
        match error {
            // A sum beyond 64 bits is what the query asks for.
            RunError::Source(MergedError::Engine(error @ Error::Overflow { .. })) => {
                NoAnswer::Lasting(error.to_string())
            }
            RunError::Source(MergedError::Engine(error)) => NoAnswer::Now(error.into()),
            RunError::Source(error @ (MergedError::Beyond { .. } | MergedError::Arrow(_))) => {
                NoAnswer::Lasting(error.to_string())
            }
            RunError::Interrupted => {
                NoAnswer::Lasting("computing the result was broken off".to_owned())
            }
            RunError::Transform(error) => NoAnswer::Lasting(
                error
                    .to_string()
                    .replace("the rows of this shard", "the merged rows"),
            ),
        }
    }
}
