//! Recording a job.

use eciton_engine::{Db, StoreSchema, Transaction};
use eciton_proto::v1::job_spec::{Sink, Step};
use eciton_proto::v1::{JobPhase, JobSpec, JobState, SourceFile};
use futures::FutureExt;

use super::difference::differences;
use super::extend::extend;
use super::joined::warnings;
use super::remove;
use super::trial::output_columns;
use crate::run::compute::pipeline::{JobMisfit, Pipeline};
use crate::run::compute::planning;
use crate::run::records::change::retry_on_conflict;
use crate::run::records::clock::now_ms;
use crate::run::records::error::JobError;
use crate::run::records::exports;
use crate::run::records::inputs;
use crate::run::records::job::Job;
use crate::run::records::ledger::{LAYOUT, Ledger};
use crate::run::records::needs;
use crate::run::records::status::{phase_name, store_of};
use crate::run::records::target::{self, is_removed};
use crate::source::{self, Planned, Reach};
use crate::spec::{JobFile, fingerprint, is_incremental};
use crate::transform::only_output_of;

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
    /// What is to be known of its files, for people; of a job that was there, how they differ from those that its globs
    /// match now.
    pub warnings: Vec<String>,
}

/// A job file that was checked against its source, and the plan that came of it.
pub struct Checked {
    file: JobFile,
    planned: Planned,
    pipeline: Pipeline,
    /// How far its author may read.
    reach: Reach,
}

/// Checks everything about a job that can be checked without a database: resolves and cuts its source,
/// plans its SQL and its results. Writes nothing.
///
/// # Errors
/// [`JobError::JobFile`] with file, line and key for whatever does not fit: files, columns, SQL, types.
pub async fn check(file: &JobFile) -> Result<Checked, JobError> {
    check_within(None, file, &Reach::anywhere()).await
}

/// [`check`] for a job that may read a store of this database. Writes nothing.
///
/// # Errors
/// As [`check`].
pub async fn check_in(db: &Db, file: &JobFile) -> Result<Checked, JobError> {
    check_within(Some(db), file, &Reach::anywhere()).await
}

/// [`check_in`], reading no further than `reach`; without a database, of jobs that read none.
pub(crate) async fn check_within(
    db: Option<&Db>,
    file: &JobFile,
    reach: &Reach,
) -> Result<Checked, JobError> {
    let stored = match file.spec().source.as_ref().is_some_and(source::is_stored) {
        true => Some(source::plan_stored(db, file).await?),
        false => None,
    };
    let (owned, within) = (file.clone(), reach.clone());
    let planned = tokio::task::spawn_blocking(move || {
        let mut planned = match stored {
            Some(mut planned) => {
                planned.plan.over_network = within.is_bounded();
                planned
            }
            None => source::plan_within(&owned, &within)?,
        };
        planned.plan.output = within.during(|| output_columns(&owned, &planned))?;
        Ok::<_, JobError>(planned)
    })
    .await
    .map_err(|error| JobError::Worker(error.to_string()))??;
    let spec = file.spec().clone();
    let (planned, pipeline) = planning::bounded_by_time(move || fitted(&spec, planned))
        .await?
        .map_err(|misfit| file.error(&misfit.key, misfit.message))?;
    pipeline
        .check_scope(file.spec())
        .map_err(|misfit| file.error(&misfit.key, misfit.message))?;
    let mut planned = planned;
    planned.plan.export = exports::place(file)?;
    if planned.plan.export.is_some() && planned.plan.over_network {
        let message = "a job that comes over the network writes no files; expected a job file that is run or submitted \
                       with `--db`";
        return Err(file.error("export", message).into());
    }
    let all: Vec<usize> = (0..planned.plan.schema.len()).collect();
    let read = match pipeline.program {
        Some(_) => &all[..],
        None => pipeline.transform.source_columns(),
    };
    planned
        .check_alike(read)
        .map_err(|why| file.error("source.paths", why))?;
    Ok(Checked {
        file: file.clone(),
        planned,
        pipeline,
        reach: reach.clone(),
    })
}

/// The plan, which says that there are dates only where there are: versions that know none leave such jobs alone.
fn with_dates(mut planned: Planned, pipeline: &Pipeline) -> Planned {
    planned.plan.dates = pipeline.has_dates();
    planned
}

/// The pipeline of a job over a plan. A column that is text only because of how its numbers are written, and that the job
/// does nothing with but add it up, is read as these numbers.
fn fitted(
    spec: &JobSpec,
    planned: Planned,
) -> Result<Result<(Planned, Pipeline), JobMisfit>, JobError> {
    let plan = |planned: &Planned| {
        let source = planned.source(spec.source.clone().unwrap_or_default())?;
        Ok::<_, JobError>(Pipeline::plan(spec, source, &planned.plan.output))
    };
    let mut misfit = match plan(&planned)? {
        Ok(pipeline) => return Ok(Ok((with_dates(planned, &pipeline), pipeline))),
        Err(misfit) => misfit,
    };
    let (mut first, mut culprit) = (misfit.clone(), None);
    let mut current = planned;
    loop {
        let mut better = None;
        for (column, next) in current.with_numbers() {
            let outcome = plan(&next)?;
            let helps = match &outcome {
                Ok(_) => true,
                // Another key of the job file: this one is content.
                Err(other) => other.key != misfit.key && other.key != "transform.sql",
            };
            match outcome {
                _ if !helps => {}
                _ if !is_only_added_up(spec, &column) => culprit = Some(column),
                Ok(pipeline) => return Ok(Ok((with_dates(next, &pipeline), pipeline))),
                Err(other) => better = better.or(Some((next, other))),
            }
        }
        match better {
            Some((next, other)) => (current, misfit) = (next, other),
            None => break,
        }
    }
    if let Some(column) = culprit {
        first.message = format!(
            "{}; `{column}` is text because of its leading zeros or its many digits: declare it in [source.schema], or \
             write `CAST({column} AS BIGINT)` where it is a number",
            first.message
        );
    }
    Ok(Err(first))
}

/// Whether a job does nothing with a column of its source but add it up. Anything else might tell `007` from `7`.
fn is_only_added_up(spec: &JobSpec, column: &str) -> bool {
    let Some(Sink::Merge(merge)) = &spec.sink else {
        return false;
    };
    let name = match &spec.step {
        None => Some(column.to_owned()),
        Some(Step::Transform(transform)) => only_output_of(&transform.sql, column),
        Some(Step::Command(_)) => None,
    };
    let Some(name) = name else {
        return false;
    };
    let mut readers = merge.values.iter().filter(|value| value.column == name);
    !merge.key.contains(&name)
        && readers.all(|value| matches!(value.operator.as_str(), "sum" | "avg"))
}

/// Records a job: [checks](check) it, creates its store if there is none, and writes specification,
/// plan and state in one transaction. Durable when it returns.
///
/// A job of the same name and specification is joined, and gets the files that it has not seen if it is incremental; joining
/// does not need its files. Where some are there, they must be those of the job, and [`Submitted::warnings`] says which are
/// not.
///
/// # Errors
/// As [`check`] and [`Checked::submit`].
pub async fn submit(db: &Db, file: &JobFile) -> Result<Submitted, JobError> {
    submit_within(db, file, &Reach::anywhere()).await
}

/// [`submit`] for somebody who may not read whatever this process may: files are read no further than `reach`. A job that
/// is recorded with a bounded reach is marked, so that those who compute its shards keep to their own bounds.
///
/// # Errors
/// As [`submit`]; [`JobError::JobFile`] for files out of reach, whether or not they are there.
pub async fn submit_within(db: &Db, file: &JobFile, reach: &Reach) -> Result<Submitted, JobError> {
    match find(db, file, reach).await? {
        Some(_) if is_incremental(file.spec()) => {
            check_within(Some(db), file, reach).await?.extend(db).await
        }
        Some(joined) => Ok(joined),
        None => check_within(Some(db), file, reach).await?.record(db).await,
    }
}

/// What [`submit_within`] would record or join, by the same checks; writes nothing.
///
/// # Errors
/// As [`submit_within`].
pub async fn preview(db: &Db, file: &JobFile, reach: &Reach) -> Result<Submitted, JobError> {
    if let Some(joined) = find(db, file, reach).await? {
        return Ok(joined);
    }
    let checked = check_within(Some(db), file, reach).await?;
    let ledger = Ledger::find(db).await?;
    checked.look(ledger.as_ref(), &mut db.begin()).await?;
    Ok(Submitted {
        name: file.spec().name.clone(),
        number: 0,
        shards: checked.planned.plan.shards,
        joined: false,
        state: "absent",
        warnings: checked.planned.warnings.clone(),
    })
}

impl Checked {
    pub(crate) fn file(&self) -> &JobFile {
        &self.file
    }

    pub(crate) fn planned(&self) -> &Planned {
        &self.planned
    }

    pub(crate) fn pipeline(&self) -> &Pipeline {
        &self.pipeline
    }

    /// Records the job as [`submit`] does, by the plan that was made.
    ///
    /// # Errors
    /// [`JobError::JobFile`] if its store exists with another schema. [`JobError::Differs`] if the name
    /// belongs to another job, and [`JobError::OtherFiles`] if it has other files. Nothing was written then. [`JobError::Engine`] if the database fails.
    pub async fn submit(self, db: &Db) -> Result<Submitted, JobError> {
        match find(db, &self.file, &self.reach).await? {
            Some(_) if is_incremental(self.spec()) => self.extend(db).await,
            Some(joined) => Ok(joined),
            None => self.record(db).await,
        }
    }

    async fn record(self, db: &Db) -> Result<Submitted, JobError> {
        check_store(db, &self.file, &self.pipeline).await?;
        let ledger = Ledger::create(db).await?;
        // One of the same name may be being removed: whoever did that did not come to its end.
        remove::finish(&ledger, &self.spec().name).await?;
        let recorded = retry_on_conflict(|| record_once(&ledger, &self).boxed()).await;
        if let (Err(JobError::JobFile(_)), Some(plan)) = (&recorded, &self.planned.plan.export) {
            exports::sweep(plan);
        }
        recorded
    }

    /// Adds files that the incremental job that is recorded has not seen.
    async fn extend(self, db: &Db) -> Result<Submitted, JobError> {
        let (ledger, _) = Ledger::with_job(db, &self.spec().name).await?;
        extend(&ledger, &self.file, &self.planned).await?;
        let (ledger, job) = Ledger::with_job(db, &self.spec().name).await?;
        self.join(&ledger, &job).await
    }

    /// What the job file says.
    pub(crate) fn spec(&self) -> &JobSpec {
        self.file.spec()
    }

    /// The job as it was found in the database, joined.
    pub(crate) async fn join(&self, ledger: &Ledger, job: &Job) -> Result<Submitted, JobError> {
        join_with_files(ledger, job, &self.file, &self.reach).await
    }

    /// The store that is to take the results.
    pub(crate) fn store(&self) -> &str {
        &self.pipeline.store_name
    }

    /// The files of the plan, in order.
    pub(crate) fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.planned.files.iter().flat_map(|chunk| &chunk.files)
    }

    /// Whether the store of the results is there as it must be, or can be created, and is free.
    pub(crate) async fn look(
        &self,
        ledger: Option<&Ledger>,
        tx: &mut Transaction,
    ) -> Result<(), JobError> {
        if let Some(ledger) = ledger {
            inputs::check(ledger, &self.file).await?;
        }
        if let Some(plan) = &self.planned.plan.export {
            exports::check_folder(&self.file, plan)?;
        }
        let Some(destination) = self.pipeline.destination() else {
            return Ok(());
        };
        if let Some(store) = tx.store(&self.pipeline.store_name).await? {
            check_schema(store.schema(), &self.file, &self.pipeline)?;
        }
        target::look(ledger, tx, &self.file, &destination).await?;
        Ok(())
    }
}

/// The job of that name, if it is there, joined.
async fn find(db: &Db, file: &JobFile, reach: &Reach) -> Result<Option<Submitted>, JobError> {
    let Some(ledger) = Ledger::find(db).await? else {
        return Ok(None);
    };
    match ledger.job(&file.spec().name).await? {
        Some(job) if !is_removed(&job.state) => {
            join_with_files(&ledger, &job, file, reach).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// Joins the job that is there, if it has the same specification and the same files as far as any are there.
async fn join_with_files(
    ledger: &Ledger,
    job: &Job,
    file: &JobFile,
    reach: &Reach,
) -> Result<Submitted, JobError> {
    let mut joined = join(job, file.spec())?;
    // Files that an incremental job has read may go, and others come.
    if !is_incremental(&job.spec) {
        joined.warnings = warnings(ledger, file, job, reach).await?;
    }
    Ok(joined)
}

/// Joins the job that is there.
///
/// # Errors
/// [`JobError::Differs`].
fn join(job: &Job, spec: &JobSpec) -> Result<Submitted, JobError> {
    let mut differences = differences(&job.spec, spec);
    if !differences.is_empty() || job.stored_hash != fingerprint(spec) {
        if differences.is_empty() {
            differences.push("keys that this version does not know".to_owned());
        }
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
        warnings: Vec::new(),
    })
}

/// Whether the store of the results is there as it must be, or can be created.
async fn check_store(db: &Db, file: &JobFile, pipeline: &Pipeline) -> Result<(), JobError> {
    if pipeline.destination().is_none() {
        return Ok(());
    }
    match db.store(&pipeline.store_name).await? {
        Some(store) => check_schema(store.schema(), file, pipeline),
        None => Ok(()),
    }
}

fn check_schema(found: &StoreSchema, file: &JobFile, pipeline: &Pipeline) -> Result<(), JobError> {
    let expected = pipeline.store_schema();
    if *found == expected {
        return Ok(());
    }
    let message = format!(
        "store `{}` exists and is different: expected {}, found {}",
        pipeline.store_name,
        show(&expected),
        show(found)
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

async fn record_once(ledger: &Ledger, job: &Checked) -> Result<Option<Submitted>, JobError> {
    let spec = job.spec();
    // Someone else may have submitted the same name since.
    if let Some(recorded) = ledger.job(&spec.name).await? {
        return job.join(ledger, &recorded).await.map(Some);
    }
    let mut tx = ledger.db.begin();
    if ledger.job_state(&mut tx, &spec.name).await?.is_some() {
        return Ok(None);
    }
    let submitted = job.put(ledger, &mut tx).await?;
    tx.commit().await?;
    Ok(Some(submitted))
}

impl Checked {
    /// Writes the job into a transaction, and its store if there is none. There is no job of its name then, or none any
    /// more.
    ///
    /// # Errors
    /// [`JobError::JobFile`] where the store is different, or takes results of other jobs.
    pub(crate) async fn put(
        &self,
        ledger: &Ledger,
        tx: &mut Transaction,
    ) -> Result<Submitted, JobError> {
        let Checked {
            file,
            planned,
            pipeline,
            ..
        } = self;
        let spec = file.spec();
        let mut registry = ledger.registry(tx).await?;
        registry.last_number += 1;
        let number = registry.last_number;
        ledger.put_registry(tx, &registry)?;
        inputs::check(ledger, file).await?;
        if let Some(plan) = &planned.plan.export {
            exports::check_folder(file, plan)?;
            exports::create(file, plan)?;
        }
        let results = match pipeline.destination() {
            Some(destination) => Some(target::claim(ledger, tx, file, &destination).await?),
            None => None,
        };
        ledger.put_spec(tx, spec)?;
        ledger.put_plan(tx, &spec.name, &planned.plan)?;
        ledger.put_program_files(tx, &spec.name, file.program_files())?;
        for (number, chunk) in (0u64..).zip(&planned.files) {
            ledger.put_file_chunk(tx, &spec.name, number, chunk)?;
        }
        for (number, chunk) in (0u64..).zip(&planned.shards) {
            ledger.put_shard_chunk(tx, &spec.name, number, chunk)?;
        }
        let state = JobState {
            phase: JobPhase::Pending.into(),
            spec_hash: fingerprint(spec).to_be_bytes().to_vec(),
            submitted_ms: now_ms(),
            number,
            store: store_of(spec),
            shards: planned.plan.shards,
            layout: LAYOUT,
            needs: needs::needs(spec),
            results,
            inputs: inputs::seen(ledger, spec).await?,
            ..JobState::default()
        };
        ledger.put_job_state(tx, &spec.name, &state)?;
        Ok(Submitted {
            name: spec.name.clone(),
            number,
            shards: planned.plan.shards,
            joined: false,
            state: phase_name(JobPhase::Pending),
            warnings: planned.warnings.clone(),
        })
    }
}
