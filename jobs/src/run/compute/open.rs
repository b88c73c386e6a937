//! A job that is worked on: what is known of it, and where its results go.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use eciton_engine::{Error as EngineError, Store, StoreSchema};
use eciton_proto::v1::job_spec::Step;
use eciton_proto::v1::{ExportPlan, Resource};
use parking_lot::Mutex;
use tracing::Span;

use super::pipeline::{Pipeline, Sink};
use super::planning;
use super::retry_policy::RetryPolicy;
use crate::command::{CommandHost, Scratch};
use crate::run::records::error::{JobError, damaged};
use crate::run::records::job::Job;
use crate::run::records::ledger::Ledger;
use crate::run::records::needs;
use crate::run::records::spans;
use crate::run::records::target;
use crate::source::limits::SHARDS_PER_CHUNK;
use crate::source::{Reach, Shard, Source, SourceError, shards};
use crate::spec::limits::LEASE_MS_DEFAULT;
use crate::spec::{ProgramFile, failures_allowed};

/// What whoever works on a job has of it, by the plan of one moment: see [`OpenJob::retries`].
pub(crate) struct OpenJob {
    pub(crate) ledger: Ledger,
    pub(crate) name: String,
    pub(crate) job_number: u64,
    /// How often the job had been retried when this was made.
    pub(crate) retries: u32,
    /// How its records are written.
    pub(crate) layout: u32,
    pub(crate) max_attempts: u32,
    /// How long an attempt may take.
    pub(crate) timeout: Option<Duration>,
    /// Among the jobs of this process.
    pub(crate) priority: i32,
    /// How many shards may fail without the job failing.
    pub(crate) failures_allowed: u64,
    /// Which failures of its program are tried again.
    pub(crate) retry: RetryPolicy,
    /// What each shard takes of this process while it is computed, beside one slot.
    pub(crate) needs: Vec<Resource>,
    pub(crate) lease_ms: u64,
    /// How many shards it has.
    pub(crate) total: u64,
    pub(crate) pipeline: Pipeline,
    /// Where results go; where there are none, no other than that of the job's records.
    pub(crate) store: Store,
    /// Where it writes files, if it does.
    pub(crate) export: Option<ExportPlan>,
    /// What a trace shows of the work on it.
    pub(crate) span: Span,
    /// The permission to run the job's program, and the files that it finds; `None` where it has none.
    pub(crate) program: Option<OpenProgram>,
    /// The chunk of shards that was asked for last.
    chunk: Mutex<Option<(u64, Arc<Vec<Shard>>)>>,
}

impl OpenJob {
    /// Plans a job whose store is there.
    ///
    /// # Errors
    /// [`JobError::Needs`] where this version does not know all of it; [`JobError::StoreGone`] where its store was
    /// dropped; [`JobError::Program`] where it runs a program that may not run here; as [`source_of`]; [`JobError::Damaged`] where the plan cannot be; what the database refuses.
    pub(crate) async fn new(
        ledger: &Ledger,
        name: &str,
        job: &Job,
        reach: &Reach,
        host: Option<&CommandHost>,
    ) -> Result<OpenJob, JobError> {
        needs::check(name, job)?;
        let program = open_program(ledger, name, job, host).await?;
        let source = source_of(ledger, name, job, reach).await?;
        let mut pipeline = planning::plan(&job.spec, source, &job.plan.output)
            .await?
            .map_err(|misfit| damaged(name, &misfit.key, &misfit.message))?;
        if let (Sink::Export(export), Some(plan)) = (&mut pipeline.sink, &job.plan.export) {
            export.set_place(name, plan);
        }
        let results = match pipeline.destination() {
            Some(destination) => target::open(ledger, name, job, &destination).await?,
            None => ledger.store.clone(),
        };
        let store = match pipeline.operands(job.state.number) {
            Some(operands) => open_operands(ledger, name, operands).await?,
            None => results,
        };
        let run = job.spec.run.clone().unwrap_or_default();
        Ok(OpenJob {
            ledger: ledger.clone(),
            name: name.to_owned(),
            job_number: job.state.number,
            retries: job.state.retries,
            layout: job.state.layout,
            max_attempts: run.max_attempts.max(1),
            timeout: (run.timeout_ms > 0).then(|| Duration::from_millis(run.timeout_ms)),
            priority: run.priority,
            failures_allowed: failures_allowed(&run, job.plan.shards),
            retry: RetryPolicy::of(&run),
            needs: run.needs.clone(),
            lease_ms: lease_ms(job),
            total: job.plan.shards,
            pipeline,
            store,
            export: job.plan.export.clone(),
            span: spans::of_job(name, &job.state),
            program,
            chunk: Mutex::new(None),
        })
    }

    /// A shard by its number.
    pub(crate) async fn locate(&self, number: u64) -> Result<Shard, JobError> {
        let wanted = number / SHARDS_PER_CHUNK as u64;
        let known = self.chunk.lock().clone();
        let chunk = match known {
            Some((chunk, shards)) if chunk == wanted => shards,
            _ => {
                let chunk = self.ledger.shard_chunk(&self.name, wanted).await?;
                let loaded = Arc::new(shards(&chunk)?);
                *self.chunk.lock() = Some((wanted, Arc::clone(&loaded)));
                loaded
            }
        };
        let found = chunk.iter().find(|shard| shard.number == number);
        found.copied().ok_or_else(|| {
            let record = format!("chunk {wanted} of its shards");
            damaged(&self.name, &record, "a shard is missing")
        })
    }
}

/// What a process needs to run the program of a job.
pub(crate) struct OpenProgram {
    host: CommandHost,
    pub(crate) files: Vec<ProgramFile>,
    /// Kept from the first shard to the last one.
    scratch: Mutex<Option<Arc<Scratch>>>,
}

impl OpenProgram {
    /// Where it works.
    ///
    /// # Errors
    /// What the system refuses.
    pub(crate) fn scratch(&self) -> io::Result<Arc<Scratch>> {
        let mut kept = self.scratch.lock();
        if let Some(scratch) = &*kept {
            return Ok(Arc::clone(scratch));
        }
        Ok(Arc::clone(kept.insert(self.host.scratch()?)))
    }
}

async fn open_program(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    host: Option<&CommandHost>,
) -> Result<Option<OpenProgram>, JobError> {
    let Some(Step::Command(command)) = &job.spec.step else {
        return Ok(None);
    };
    let refused = |why: &'static str| JobError::Program {
        name: name.to_owned(),
        why,
    };
    let host = host.ok_or_else(|| refused("this process does not run programs"))?;
    if job.plan.over_network && !host.is_for_network() {
        return Err(refused(
            "it came over the network, and only workers run its program",
        ));
    }
    Ok(Some(OpenProgram {
        host: host.clone(),
        files: ledger.program_files(name, command).await?,
        scratch: Mutex::new(None),
    }))
}

/// The source of a job; of one that was submitted over gRPC, read no further than `reach`.
///
/// # Errors
/// [`JobError::Source`] where that excludes a file of such a job; what the database refuses.
pub(crate) async fn source_of(
    ledger: &Ledger,
    name: &str,
    job: &Job,
    reach: &Reach,
) -> Result<Source, JobError> {
    let source = ledger.source(name, job).await?;
    if !job.plan.over_network {
        return Ok(source);
    }
    if !reach.may_hold(source.files()) {
        return Err(JobError::Source(SourceError::OutOfReach(reach.refusal())));
    }
    Ok(source.within(reach.clone()))
}

/// The store that takes the operands of shards, where that is not the store of the results.
async fn open_operands(
    ledger: &Ledger,
    name: &str,
    (store, schema): (String, StoreSchema),
) -> Result<Store, JobError> {
    match ledger.db.create_store(&store, schema).await {
        Err(EngineError::StoreDiffers { .. }) => {
            let detail = "another version of this program takes the query apart otherwise: expected that version, or the \
                          job submitted anew with `--replace`";
            let record = format!("the store `{store}` of its operands");
            Err(damaged(name, &record, detail))
        }
        created => Ok(created?),
    }
}

/// How long the lease of one of the job's shards runs.
pub(crate) fn lease_ms(job: &Job) -> u64 {
    let run = job.spec.run.as_ref();
    run.map_or(LEASE_MS_DEFAULT, |run| run.lease_ms)
}
