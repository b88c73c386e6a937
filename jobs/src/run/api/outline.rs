//! What a job would do, told before anything is written.

use eciton_proto::v1::{
    ExportFormat, ExportPlan, JobSpec, ProgramRows, SchemaField, SourceSpec, job_spec::Sink,
};
use serde::Serialize;

use super::submit::Checked;
use crate::run::compute::pipeline;
use crate::run::compute::step::ProgramStep;
use crate::run::records::error::JobError;
use crate::run::records::inputs;
use crate::source::format::{SourceFormat, Types};
use crate::source::{formats, hive};

/// What recording a job file would lead to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outline {
    /// The job's name.
    pub name: String,
    /// The format of its source, as the job file names it.
    pub format: &'static str,
    /// Its files, in order; empty where it has none.
    pub files: Vec<OutlinedFile>,
    /// Shards of all files.
    pub shards: u64,
    /// The records of the store that is its source, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<u64>,
    /// Rows that the types of columns were inferred from.
    pub sampled_rows: u64,
    /// The columns of the source, in order.
    pub columns: Vec<OutlinedColumn>,
    /// The program that runs over each shard, if the job has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<OutlinedProgram>,
    /// The operators of the query over each shard, from the last to the first; `None` if rows pass through.
    pub query: Option<String>,
    /// The store that takes the results.
    pub store: String,
    /// The columns that make its keys.
    pub key: Vec<String>,
    /// The files that it writes, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub export: Option<OutlinedExport>,
    /// The values of its records, or the columns of its files.
    pub values: Vec<String>,
    /// `merge`, `upsert`, `delete`, `export` or `result`; `none` where nothing takes results.
    pub sink: &'static str,
    /// The jobs that have to be done before it starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// What is to be known of its files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The files of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlinedExport {
    /// The folder that takes them.
    pub to: String,
    /// `parquet` or `csv`.
    pub format: &'static str,
    /// The columns whose values are folders.
    pub partition_by: Vec<String>,
}

/// The program of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlinedProgram {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// How rows go in: `jsonl`, `arrow` or `none`.
    pub input: &'static str,
    /// How rows come out: `jsonl`, `arrow` or `none`.
    pub output: &'static str,
    /// Files that it finds in its working folder.
    pub files: Vec<String>,
    /// The columns of its rows.
    pub columns: Vec<OutlinedOutput>,
}

/// One column of a program's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlinedOutput {
    /// Its name.
    pub name: String,
    /// Its type.
    pub r#type: String,
    /// `declared` in the job file, or `tried`: by running the program over the first rows.
    pub origin: &'static str,
}

/// One file of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlinedFile {
    /// Its path, as the job file names it.
    pub path: String,
    /// Its length in bytes, as stored.
    pub bytes: u64,
    /// Shards that it is cut into.
    pub shards: u64,
}

/// One column of a source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OutlinedColumn {
    /// Its name.
    pub name: String,
    /// Its type, as `[source.schema]` would declare it.
    pub r#type: String,
    /// `declared` in the job file, `inferred` from the first rows, of the `file`, or of the `range`.
    pub origin: &'static str,
    /// What else is known of the values of an inferred column; else empty.
    pub note: &'static str,
    /// Whether the job reads it.
    pub read: bool,
}

impl Checked {
    /// What the job would do. Reads and writes nothing more.
    ///
    /// # Errors
    /// [`JobError::Source`] if the plan does not add up, which one that was just made never does.
    pub fn outline(&self) -> Result<Outline, JobError> {
        let (spec, planned, pipeline) = (self.file().spec(), self.planned(), self.pipeline());
        let source = spec.source.clone().unwrap_or_default();
        let mut files: Vec<OutlinedFile> = Vec::new();
        for file in planned.files.iter().flat_map(|chunk| &chunk.files) {
            files.push(OutlinedFile {
                path: file.display.clone(),
                bytes: file.len,
                shards: 0,
            });
        }
        for shard in planned.shards()? {
            if let Some(file) = files.get_mut(shard.file as usize) {
                file.shards += 1;
            }
        }
        let program = pipeline.program.as_ref();
        let reads_all = program.is_some_and(|step| step.command.input() != ProgramRows::None);
        let all: Vec<usize> = (0..planned.plan.schema.len()).collect();
        let read = match program {
            Some(_) if reads_all => &all[..],
            Some(_) => &[],
            None => pipeline.transform.source_columns(),
        };
        let columns = planned.plan.schema.iter().enumerate();
        let first = files
            .first()
            .map_or_else(String::new, |file| file.path.clone());
        let columns = columns.map(|(at, field)| {
            let mut column = column(field, &source, read.contains(&at));
            if column.origin != "declared" && hive::is_folder(&source, &first, &field.name) {
                column.origin = "folder";
            }
            column
        });
        let schema = pipeline.store_schema();
        let output = pipeline.transform.output_schema().fields().iter();
        let output: Vec<String> = output.map(|field| field.name().clone()).collect();
        Ok(Outline {
            name: spec.name.clone(),
            format: formats::name_of(&source),
            files,
            shards: planned.plan.shards,
            records: planned.plan.store.as_ref().map(|store| store.records),
            sampled_rows: planned.sampled_rows,
            columns: columns.collect(),
            program: program.map(outlined),
            query: pipeline.transform.describe(),
            store: pipeline.store_name.clone(),
            key: schema.key_fields,
            export: export(spec, planned.plan.export.as_ref()),
            values: match &pipeline.sink {
                pipeline::Sink::Answer(answer) => answer.layout().values(),
                _ => values(spec, &output),
            },
            sink: match &spec.sink {
                Some(Sink::Upsert(_)) => "upsert",
                Some(Sink::Delete(_)) => "delete",
                Some(Sink::Export(_)) => "export",
                Some(Sink::Answer(_)) => "result",
                Some(Sink::Merge(_)) => "merge",
                None => "none",
            },
            after: inputs::names(spec).to_vec(),
            warnings: planned.warnings.clone(),
        })
    }
}

fn export(spec: &JobSpec, plan: Option<&ExportPlan>) -> Option<OutlinedExport> {
    let (Some(Sink::Export(export)), Some(plan)) = (&spec.sink, plan) else {
        return None;
    };
    Some(OutlinedExport {
        to: plan.folder.clone(),
        format: match export.format() {
            ExportFormat::Csv => "csv",
            _ => "parquet",
        },
        partition_by: export.partition_by.clone(),
    })
}

fn outlined(step: &ProgramStep) -> OutlinedProgram {
    let command = &step.command;
    let form = |rows: ProgramRows| match rows {
        ProgramRows::Unspecified | ProgramRows::JsonLines => "jsonl",
        ProgramRows::ArrowStream => "arrow",
        ProgramRows::None => "none",
    };
    let origin = match command.schema.is_empty() {
        true => "tried",
        false => "declared",
    };
    let columns = step.output.iter().map(|field| OutlinedOutput {
        name: field.name.clone(),
        r#type: field.r#type.clone(),
        origin,
    });
    OutlinedProgram {
        argv: command.argv.clone(),
        input: form(command.input()),
        output: form(command.output()),
        files: command.files.iter().map(|file| file.name.clone()).collect(),
        columns: columns.collect(),
    }
}

/// The parts of the records' values; `output` are the columns of the rows that come out.
fn values(spec: &JobSpec, output: &[String]) -> Vec<String> {
    let merge = match &spec.sink {
        Some(Sink::Merge(merge)) => merge,
        Some(Sink::Upsert(upsert)) => {
            let is_value = |name: &&String| !upsert.key.contains(name);
            return output.iter().filter(is_value).cloned().collect();
        }
        Some(Sink::Export(export)) => {
            let is_value = |name: &&String| !export.partition_by.contains(name);
            return output.iter().filter(is_value).cloned().collect();
        }
        Some(Sink::Answer(_) | Sink::Delete(_)) | None => return Vec::new(),
    };
    let value = |value: &eciton_proto::v1::MergeValue| {
        let column = (!value.column.is_empty()).then_some(&value.column);
        let arguments: Vec<&str> = column
            .into_iter()
            .chain(&value.args)
            .map(String::as_str)
            .collect();
        format!(
            "{} = {}({})",
            value.name,
            value.operator,
            arguments.join(", ")
        )
    };
    merge.values.iter().map(value).collect()
}

fn column(field: &SchemaField, source: &SourceSpec, read: bool) -> OutlinedColumn {
    let declared = source.schema.iter().any(|other| other.name == field.name);
    let format = formats::by_number(source.format).map(SourceFormat::about);
    let origin = match format.map(|about| (about.types, about.name)) {
        _ if declared => "declared",
        Some((Types::Text | Types::Json, _)) => "inferred",
        Some((Types::Fixed, name)) => name,
        Some((Types::Files, _)) | None => "file",
    };
    let (written, note) = match field.format.as_str() {
        "" => (String::new(), ""),
        "local" => (String::new(), "without an offset, taken as UTC"),
        "offset" => (String::new(), "with an offset"),
        "padded" => (
            String::new(),
            "with zeros before them, since the job needs numbers",
        ),
        "mixed" => (String::new(), "strings beside other values"),
        "unseen" => (String::new(), "no value in the first rows"),
        format => (format.to_owned(), ""),
    };
    let r#type = match (written.as_str(), field.unit.as_str()) {
        ("", "") => field.r#type.clone(),
        ("json", _) => "json".to_owned(),
        ("round", _) => field.r#type.replace(')', ",round)"),
        ("", unit) => format!("{}(unit={unit})", field.r#type),
        (format, "") => format!("{}(format={format})", field.r#type),
        (format, unit) => format!("{}(format={format}, unit={unit})", field.r#type),
    };
    OutlinedColumn {
        name: field.name.clone(),
        r#type,
        origin,
        note,
        read,
    }
}
