//! Recording a job.

use eciton_engine::base::Error as EngineError;
use eciton_engine::db::{Db, StoreSchema};
use eciton_proto::v1::{JobPhase, JobSpec, JobState};
use futures::FutureExt;

use super::difference::differences;
use super::error::JobError;
use super::ledger::{Job, LAYOUT, Ledger};
use super::pipeline::Pipeline;
use super::status::{phase_name, store_of};
use super::worker::{now_ms, retry_on_conflict};
use crate::source::{self, Planned};
use crate::spec::{JobFile, fingerprint};

/// A job that is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its name, which is its id.
    pub name: String,
    /// Its number in the database, in the order of submission; 0 if it was only [looked at](preview) and is not there.
    pub number: u64,
    /// How many shards it has.
    pub shards: u64,
    /// It was there before, with the same specification: this call changed nothing.
    pub joined: bool,
    /// The state it was found or recorded in: `pending`, `running`, `done`, `failed`, `cancelled`; `absent` if it was
    /// only [looked at](preview) and is not there.
    pub state: &'static str,
}

/// A job file that was checked against its source, and the plan that came of it.
pub struct Checked {
    file: JobFile,
    planned: Planned,
    pipeline: Pipeline,
}

/// Checks everything about a job that can be checked without a database: resolves and cuts its source,
/// plans its SQL and its results. Writes nothing.
///
/// # Errors
/// [`JobError::JobFile`] with file, line and key for whatever does not fit: files, columns, SQL, types.
pub async fn check(file: &JobFile) -> Result<Checked, JobError> {
    let owned = file.clone();
    let planned = tokio::task::spawn_blocking(move || source::plan(&owned))
        .await
        .map_err(|error| JobError::Worker(error.to_string()))??;
    let source = planned.source(file.spec().source.clone().unwrap_or_default())?;
    let pipeline = Pipeline::plan(file.spec(), source)
        .map_err(|misfit| file.error(&misfit.key, misfit.message))?;
    Ok(Checked {
        file: file.clone(),
        planned,
        pipeline,
    })
}

/// Records a job: [checks](check) it, creates its store if there is none, and writes specification,
/// plan and state in one transaction. Durable when it returns.
///
/// A job of the same name and specification is joined; files are resolved only the first time, so
/// that joining does not even need them.
///
/// # Errors
/// As [`check`] and [`Checked::submit`].
pub async fn submit(db: &Db, file: &JobFile) -> Result<Submitted, JobError> {
    match find(db, file.spec()).await? {
        Some(joined) => Ok(joined),
        None => check(file).await?.record(db).await,
    }
}

/// What [`submit`] would record or join, by the same checks; writes nothing.
///
/// # Errors
/// As [`submit`].
pub async fn preview(db: &Db, file: &JobFile) -> Result<Submitted, JobError> {
    if let Some(joined) = find(db, file.spec()).await? {
        return Ok(joined);
    }
    let checked = check(file).await?;
    check_store(db, file, &checked.pipeline).await?;
    Ok(Submitted {
        name: file.spec().name.clone(),
        number: 0,
        shards: checked.planned.plan.shards,
        joined: false,
        state: "absent",
    })
}

impl Checked {
    /// Records the job as [`submit`] does, by the plan that was made.
    ///
    /// # Errors
    /// [`JobError::JobFile`] if its store exists with another schema. [`JobError::Differs`] if the name
    /// belongs to another job. Nothing was written then. [`JobError::Engine`] if the database fails.
    pub async fn submit(self, db: &Db) -> Result<Submitted, JobError> {
        match find(db, self.file.spec()).await? {
            Some(joined) => Ok(joined),
            None => self.record(db).await,
        }
    }

    async fn record(self, db: &Db) -> Result<Submitted, JobError> {
        check_store(db, &self.file, &self.pipeline).await?;
        let ledger = Ledger::create(db).await?;
        create_store(db, &self.file, &self.pipeline).await?;
        record(&ledger, self.file.spec(), &self.planned).await
    }
}

/// The job of that name, if it is there, joined.
async fn find(db: &Db, spec: &JobSpec) -> Result<Option<Submitted>, JobError> {
    let Some(ledger) = Ledger::find(db).await? else {
        return Ok(None);
    };
    let job = ledger.job(&spec.name).await?;
    job.map(|job| join(&job, spec)).transpose()
}

fn join(job: &Job, spec: &JobSpec) -> Result<Submitted, JobError> {
    let differences = differences(&job.spec, spec);
    if !differences.is_empty() || fingerprint(&job.spec) != fingerprint(spec) {
        return Err(JobError::Differs {
            name: spec.name.clone(),
            differences,
        });
    }
    Ok(Submitted {
        name: spec.name.clone(),
        number: job.state.number,
        shards: job.plan.shards,
        joined: true,
        state: phase_name(job.state.phase()),
    })
}

/// Whether the store of the results is there as it must be, or can be created.
async fn check_store(db: &Db, file: &JobFile, pipeline: &Pipeline) -> Result<(), JobError> {
    let Some(store) = db.store(&pipeline.store_name).await? else {
        return Ok(());
    };
    let expected = pipeline.store_schema();
    if *store.schema() == expected {
        return Ok(());
    }
    let message = format!(
        "store `{}` exists and is different: expected {}, found {}",
        pipeline.store_name,
        show(&expected),
        show(store.schema())
    );
    Err(file.error(pipeline.store_key(), message).into())
}

fn show(schema: &StoreSchema) -> String {
    let columns: Vec<String> = schema.columns.iter().map(ToString::to_string).collect();
    let key = schema.key_fields.join(", ");
    if columns.is_empty() {
        return format!("key ({key}) and plain values");
    }
    format!("key ({key}) and values ({})", columns.join(", "))
}

/// Creates the store; another process may just have created one that differs.
async fn create_store(db: &Db, file: &JobFile, pipeline: &Pipeline) -> Result<(), JobError> {
    match db
        .create_store(&pipeline.store_name, pipeline.store_schema())
        .await
    {
        Ok(_) => Ok(()),
        Err(error @ (EngineError::StoreDiffers { .. } | EngineError::Invalid(_))) => {
            Err(file.error(pipeline.store_key(), error).into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn record(ledger: &Ledger, spec: &JobSpec, planned: &Planned) -> Result<Submitted, JobError> {
    retry_on_conflict(|| record_once(ledger, spec, planned).boxed()).await
}

async fn record_once(
    ledger: &Ledger,
    spec: &JobSpec,
    planned: &Planned,
) -> Result<Option<Submitted>, JobError> {
    // Someone else may have submitted the same name since.
    if let Some(job) = ledger.job(&spec.name).await? {
        return join(&job, spec).map(Some);
    }
    let mut tx = ledger.db.begin();
    if ledger.job_state(&mut tx, &spec.name).await?.is_some() {
        return Ok(None);
    }
    let mut registry = ledger.registry(&mut tx).await?;
    registry.last_number += 1;
    let number = registry.last_number;
    ledger.put_registry(&mut tx, &registry)?;
    ledger.put_spec(&mut tx, spec)?;
    ledger.put_plan(&mut tx, &spec.name, &planned.plan)?;
    for (number, chunk) in (0u64..).zip(&planned.files) {
        ledger.put_file_chunk(&mut tx, &spec.name, number, chunk)?;
    }
    for (number, chunk) in (0u64..).zip(&planned.shards) {
        ledger.put_shard_chunk(&mut tx, &spec.name, number, chunk)?;
    }
    let state = JobState {
        phase: JobPhase::Pending.into(),
        spec_hash: fingerprint(spec).to_be_bytes().to_vec(),
        submitted_ms: now_ms(),
        number,
        store: store_of(spec),
        shards: planned.plan.shards,
        layout: LAYOUT,
        ..JobState::default()
    };
    ledger.put_job_state(&mut tx, &spec.name, &state)?;
    tx.commit().await?;
    Ok(Some(Submitted {
        name: spec.name.clone(),
        number,
        shards: planned.plan.shards,
        joined: false,
        state: phase_name(JobPhase::Pending),
    }))
}
