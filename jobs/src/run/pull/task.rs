//! Jobs and shards as a program is told of them.

use eciton_proto::v1::task_job::{Sink, Step};
use eciton_proto::v1::task_spec::Read;
use eciton_proto::v1::{JobSpec, SchemaField, SourceSpec, StepKind, TaskJob, job_spec};

use crate::run::JobError;
use crate::run::compute::open::OpenJob;
use crate::source::{Shard, Source};
use crate::spec::type_name;

/// What the tasks of a job have in common.
pub(super) fn task_job(open: &OpenJob, spec: &JobSpec) -> TaskJob {
    let source = &open.pipeline.source;
    let fields = |schema: &arrow::datatypes::Schema| {
        let fields = schema.fields().iter();
        fields
            .map(|field| SchemaField {
                name: field.name().clone(),
                r#type: type_name(field.data_type()),
                nullable: field.is_nullable(),
                ..SchemaField::default()
            })
            .collect()
    };
    TaskJob {
        name: open.name.clone(),
        number: open.job_number,
        retries: open.retries,
        source: Some(SourceSpec {
            paths: Vec::new(),
            shard_size: 0,
            shard_len: 0,
            from: 0,
            to: 0,
            schema: Vec::new(),
            ..source.spec().clone()
        }),
        schema: source.fields().to_vec(),
        step: spec.step.clone().map(|step| match step {
            job_spec::Step::Transform(transform) => Step::Transform(transform),
            job_spec::Step::Command(command) => Step::Command(command),
        }),
        sink: spec.sink.clone().and_then(|sink| match sink {
            job_spec::Sink::Merge(merge) => Some(Sink::Merge(merge)),
            job_spec::Sink::Upsert(upsert) => Some(Sink::Upsert(upsert)),
            // Never handed out: see `not_for_programs`.
            job_spec::Sink::Answer(_) | job_spec::Sink::Export(_) | job_spec::Sink::Delete(_) => {
                None
            }
        }),
        output: fields(open.pipeline.transform.output_schema()),
    }
}

/// What is done to the rows of a job's shards.
pub(super) fn step_of(spec: &JobSpec) -> StepKind {
    match &spec.step {
        None => StepKind::None,
        Some(job_spec::Step::Transform(_)) => StepKind::Transform,
        Some(job_spec::Step::Command(_)) => StepKind::Command,
    }
}

/// What is read of a shard. Reads the beginning of a compressed file.
///
/// # Errors
/// [`JobError::Source`] where the file is not there, or another one by now.
pub(super) async fn read_of(source: &Source, shard: Shard) -> Result<Read, JobError> {
    let (format, source) = (source.format()?, source.clone());
    let read = tokio::task::spawn_blocking(move || format.task(&source, shard)).await;
    Ok(read.map_err(|error| JobError::Worker(error.to_string()))??)
}
