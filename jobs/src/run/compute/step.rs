//! The program that a job runs over each shard, planned once.

use std::path::Path;

use arrow::datatypes::{Field, Schema, SchemaRef};
use eciton_proto::v1::{CommandSpec, JobSpec, ProgramRows, SchemaField, SourceFile, SourceSpec};

use crate::source::formats;
use crate::source::{Planned, Reach, Shard, Source, SourceError, plan_within, whole};
use crate::spec::limits::SHARD_SIZE_MAX;
use crate::spec::{JobFile, SpecError, parse_type};

/// The formats of a program's output, as sources have them.
const LINES: &str = "jsonl";
const ARROW: &str = "arrow";

/// A program per shard.
pub(crate) struct ProgramStep {
    pub(crate) command: CommandSpec,
    /// The columns of its output; empty where that is not read.
    pub(crate) output: Vec<SchemaField>,
}

impl ProgramStep {
    /// How messages call what it writes.
    pub(crate) fn output_name(&self) -> String {
        output_name(&self.command)
    }

    /// The program, as messages name it.
    pub(crate) fn program(&self) -> &str {
        self.command.argv.first().map_or("", String::as_str)
    }

    /// The schema of its output; what is wrong with a type, if it is none.
    pub(crate) fn output_schema(&self) -> Result<SchemaRef, String> {
        let fields = self.output.iter().map(|field| {
            let data_type = parse_type(&field.r#type);
            let data_type = data_type.ok_or_else(|| {
                format!(
                    "column `{}` has unknown type `{}`",
                    field.name, field.r#type
                )
            })?;
            Ok(Field::new(&field.name, data_type, field.nullable))
        });
        let fields = fields.collect::<Result<Vec<_>, String>>()?;
        Ok(SchemaRef::new(Schema::new(fields)))
    }

    /// What it has written, as a source, and the parts of it. Blocks the thread.
    ///
    /// # Errors
    /// [`SourceError`] where it is not of its format.
    pub(crate) fn rows(&self, rows: &Path) -> Result<(Source, Vec<Shard>), SourceError> {
        let spec = source_spec(&self.command);
        let len = match std::fs::metadata(rows) {
            Ok(metadata) => metadata.len(),
            Err(error) => {
                return Err(SourceError::Plan(format!(
                    "{}: {error}",
                    self.output_name()
                )));
            }
        };
        let file = SourceFile {
            path: rows.display().to_string(),
            display: self.output_name(),
            len,
            ..SourceFile::default()
        };
        let job = job_of(&self.command, rows);
        if len == 0 {
            let empty = SourceSpec {
                format: number(LINES),
                ..spec
            };
            return whole(&job, &empty, &self.output, file);
        }
        whole(&job, &spec, &self.output, file)
    }
}

/// The number of a format; that of none where there is no such.
fn number(name: &str) -> i32 {
    formats::by_name(name).map_or(0, |format| format.about().number)
}

fn output_name(command: &CommandSpec) -> String {
    let program = command.argv.first().map_or("", String::as_str);
    format!("standard output of {program}")
}

/// Its output as a source of a job that nobody has recorded.
fn source_spec(command: &CommandSpec) -> SourceSpec {
    let format = match command.output() {
        ProgramRows::ArrowStream => number(ARROW),
        ProgramRows::Unspecified | ProgramRows::JsonLines | ProgramRows::None => number(LINES),
    };
    SourceSpec {
        format,
        paths: vec!["rows".to_owned()],
        shard_size: SHARD_SIZE_MAX,
        schema: command.schema.clone(),
        ..SourceSpec::default()
    }
}

fn job_of(command: &CommandSpec, rows: &Path) -> JobFile {
    let dir = rows.parent().unwrap_or(Path::new("/"));
    let spec = JobSpec {
        source: Some(source_spec(command)),
        ..JobSpec::default()
    };
    JobFile::of_spec(Path::new(&output_name(command)), dir, spec)
}

/// The columns of what a program has written, by its first rows. Blocks the thread.
///
/// # Errors
/// [`SpecError`] for what is wrong with it.
pub(crate) fn columns_of(
    command: &CommandSpec,
    rows: &Path,
) -> Result<Vec<SchemaField>, SpecError> {
    let planned: Planned = plan_within(&job_of(command, rows), &Reach::anywhere())?;
    Ok(planned.plan.schema)
}
