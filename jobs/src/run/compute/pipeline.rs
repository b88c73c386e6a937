//! What a job does to a shard, planned once.

use eciton_engine::StoreSchema;
use eciton_proto::v1::job_spec::{Sink as SinkSpec, Step};
use eciton_proto::v1::{CommandSpec, JobSpec, ProgramRows, SchemaField, Scope};

use super::export::Export;
use super::results::Change;
use super::step::ProgramStep;
use crate::aggregate::Aggregation;
use crate::query::{Answer, PlannedAnswer};
use crate::run::records::target::Destination;
use crate::source::Source;
use crate::transform::Transform;
use crate::upsert::Upsert;

/// Source, transform and sink of a job, checked against each other.
pub(crate) struct Pipeline {
    pub(crate) source: Source,
    /// The program that computes a shard's rows, which the transform then passes through.
    pub(crate) program: Option<ProgramStep>,
    pub(crate) transform: Transform,
    pub(crate) sink: Sink,
    pub(crate) store_name: String,
}

/// What becomes of the transform's rows.
pub(crate) enum Sink {
    Merge(Aggregation),
    Upsert(Upsert),
    /// Keys of records that go.
    Delete(Upsert),
    /// Files.
    Export(Box<Export>),
    /// The answer of the query over all shards.
    Answer(Answer),
    /// Nothing: the job is its program.
    Nothing,
}

/// The store of a job's own that has the operands of its answer while it runs.
pub(crate) fn operand_store(job_number: u64) -> String {
    format!("_answer_{job_number}")
}

/// A key of the job file that does not fit the columns, and what was expected.
#[derive(Clone, Debug)]
pub(crate) struct JobMisfit {
    pub(crate) key: String,
    pub(crate) message: String,
}

impl JobMisfit {
    fn new(key: impl Into<String>, message: impl ToString) -> JobMisfit {
        JobMisfit {
            key: key.into(),
            message: message.to_string(),
        }
    }
}

impl Pipeline {
    /// Plans a job over the columns that its source has; `output` are those that its program writes, if it has one. Reads
    /// and writes nothing.
    pub(crate) fn plan(
        spec: &JobSpec,
        source: Source,
        output: &[SchemaField],
    ) -> Result<Pipeline, JobMisfit> {
        let sql = match &spec.step {
            None => None,
            Some(Step::Transform(transform)) => Some(transform.sql.as_str()),
            Some(Step::Command(command)) => {
                return Pipeline::plan_program(spec, command, source, output);
            }
        };
        if let (Some(SinkSpec::Answer(answer)), Some(sql)) = (&spec.sink, sql) {
            let planned = Answer::plan(sql, source.schema(), source.has_dates())
                .map_err(|error| JobMisfit::new("transform.sql", error))?;
            let PlannedAnswer { rows, answer: sink } = planned;
            return Ok(Pipeline {
                source,
                program: None,
                transform: rows,
                sink: Sink::Answer(sink),
                store_name: answer.store.clone(),
            });
        }
        let transform = Transform::plan(sql, source.schema().clone())
            .map_err(|error| JobMisfit::new("transform.sql", error))?;
        let transform = transform.with_dates(source.has_dates());
        let (transform, sink, store_name) = Pipeline::plan_sink(spec, transform)?;
        let columns = transform.source_columns();
        check_readable(&source, columns)?;
        Ok(Pipeline {
            source,
            program: None,
            transform,
            sink,
            store_name,
        })
    }

    /// Plans a job whose rows a program makes.
    fn plan_program(
        spec: &JobSpec,
        command: &CommandSpec,
        source: Source,
        output: &[SchemaField],
    ) -> Result<Pipeline, JobMisfit> {
        let step = ProgramStep {
            command: command.clone(),
            output: output.to_vec(),
        };
        let schema = step.output_schema();
        let schema = schema.map_err(|error| JobMisfit::new("command.schema", error))?;
        if command.input() != ProgramRows::None {
            let all: Vec<usize> = (0..source.schema().fields().len()).collect();
            check_readable(&source, &all)?;
        }
        let transform = Transform::plan(None, schema)
            .map_err(|error| JobMisfit::new("command.schema", error))?
            .with_dates(source.has_dates());
        let (transform, sink, store_name) = match &spec.sink {
            Some(_) => Pipeline::plan_sink(spec, transform)?,
            None => (transform, Sink::Nothing, String::new()),
        };
        Ok(Pipeline {
            source,
            program: Some(step),
            transform,
            sink,
            store_name,
        })
    }

    /// Plans what becomes of rows, and leaves out columns that nothing is done with.
    fn plan_sink(
        spec: &JobSpec,
        mut transform: Transform,
    ) -> Result<(Transform, Sink, String), JobMisfit> {
        Ok(match &spec.sink {
            Some(SinkSpec::Merge(merge)) => {
                let aggregate = |transform: &Transform| {
                    Aggregation::plan(merge, transform.output_schema())
                        .map_err(|error| JobMisfit::new(error.key(), error))
                };
                let read: Vec<usize> = aggregate(&transform)?.columns().collect();
                transform = transform.reading(|column| read.contains(&column));
                let sink = Sink::Merge(aggregate(&transform)?);
                (transform, sink, merge.store.clone())
            }
            Some(SinkSpec::Upsert(upsert)) => {
                let planned = Upsert::plan(upsert, transform.output_schema())
                    .map_err(|error| JobMisfit::new(error.key(), error))?;
                (transform, Sink::Upsert(planned), upsert.store.clone())
            }
            Some(SinkSpec::Delete(delete)) => {
                let planned =
                    Upsert::plan_delete(delete, transform.output_schema()).map_err(|error| {
                        JobMisfit::new(error.key().replace("upsert", "delete"), error)
                    })?;
                (transform, Sink::Delete(planned), delete.store.clone())
            }
            Some(SinkSpec::Export(export)) => {
                let planned = Export::plan(export, transform.output_schema());
                let planned = planned.map_err(|(key, why)| JobMisfit::new(key, why))?;
                (transform, Sink::Export(Box::new(planned)), String::new())
            }
            Some(SinkSpec::Answer(_)) | None => {
                return Err(JobMisfit::new(
                    "merge",
                    "expected [merge], [upsert] or [export]",
                ));
            }
        })
    }

    /// Whether dates go into stores.
    pub(crate) fn has_dates(&self) -> bool {
        let has_more = match &self.sink {
            Sink::Answer(answer) => answer.has_dates(),
            Sink::Merge(_)
            | Sink::Upsert(_)
            | Sink::Delete(_)
            | Sink::Export(_)
            | Sink::Nothing => false,
        };
        has_more || self.transform.has_dates()
    }

    /// Checks that a job that is submitted now does not depend on where its shards are cut. A job that was recorded
    /// before there was such a check goes on as it was.
    pub(crate) fn check_scope(&self, spec: &JobSpec) -> Result<(), JobMisfit> {
        let Some(Step::Transform(step)) = &spec.step else {
            return Ok(());
        };
        match (step.scope(), &self.sink) {
            (Scope::Shard, Sink::Answer(_)) => Err(JobMisfit::new(
                "transform.scope",
                "rows per shard need [merge], [upsert] or [export]: expected one of them, or no `scope`, so that the query gives the \
                 answer over the whole source",
            )),
            (
                Scope::Unspecified | Scope::Source,
                Sink::Merge(_) | Sink::Upsert(_) | Sink::Delete(_) | Sink::Export(_),
            ) => {
                let free = self.transform.check_scope();
                free.map_err(|error| JobMisfit::new("transform.sql", error))
            }
            _ => Ok(()),
        }
    }

    /// The store that takes the operands of shards, where it is not that of the results.
    pub(crate) fn operands(&self, job_number: u64) -> Option<(String, StoreSchema)> {
        match &self.sink {
            Sink::Answer(answer) => Some((operand_store(job_number), answer.operand_schema())),
            Sink::Merge(_)
            | Sink::Upsert(_)
            | Sink::Delete(_)
            | Sink::Export(_)
            | Sink::Nothing => None,
        }
    }

    /// What the store of the results must be.
    pub(crate) fn store_schema(&self) -> StoreSchema {
        match &self.sink {
            Sink::Merge(aggregation) => aggregation.store_schema(),
            Sink::Upsert(upsert) | Sink::Delete(upsert) => upsert.store_schema(),
            Sink::Answer(answer) => answer.layout().store_schema(),
            Sink::Export(_) | Sink::Nothing => StoreSchema::default(),
        }
    }

    /// The store that takes the results; `None` where none does.
    pub(crate) fn destination(&self) -> Option<Destination> {
        let has_results = !matches!(self.sink, Sink::Export(_) | Sink::Nothing);
        has_results.then(|| Destination {
            store: self.store_name.clone(),
            schema: self.store_schema(),
            key: self.store_key(),
        })
    }

    /// What operands do to the store.
    pub(crate) fn change(&self) -> Change {
        match &self.sink {
            Sink::Delete(delete) if delete.is_versioned() => Change::DeleteUnlessNewer,
            Sink::Delete(_) => Change::Delete,
            _ => Change::Merge,
        }
    }

    /// The key of the job file that names the store.
    pub(crate) fn store_key(&self) -> &'static str {
        match &self.sink {
            Sink::Merge(_) => "merge.store",
            Sink::Upsert(_) => "upsert.store",
            Sink::Delete(_) => "delete.store",
            Sink::Answer(_) => "result.store",
            Sink::Export(_) => "export.to",
            Sink::Nothing => "command",
        }
    }
}

/// Checks that values of these columns can be read as they are.
fn check_readable(source: &Source, columns: &[usize]) -> Result<(), JobMisfit> {
    source.check_readable(columns).map_err(|(column, what)| {
        let message = format!("column `{column}`: not supported: {what}; leave it out");
        JobMisfit::new("source.paths", message)
    })
}
