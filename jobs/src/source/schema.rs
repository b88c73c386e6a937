//! The columns of a source: their names from the data, their types declared or inferred.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use eciton_proto::v1::{Format, SchemaField, SourceFile, SourceSpec};
use serde_json::Value;

use super::csv::Nulls;
use super::dialect::Dialect;
use super::error::SourceError;
use super::fields::split;
use super::files::PATHS;
use super::header::header;
use super::infer::{JsonColumn, csv_types};
use super::jsonl::members;
use super::limits::SAMPLE_ROWS_MAX;
use super::parquet::{Footer, footer};
use super::sample::{Sample, sample};
use crate::spec::limits::COLUMNS_MAX;
use crate::spec::{JobFile, SpecError, parse_type, type_name};

/// What looking into the files told.
pub(super) struct Surveyed {
    pub(super) schema: SchemaRef,
    /// A file's own facts, by its number.
    pub(super) files: Vec<FileFacts>,
}

/// What cutting a file needs to know.
pub(super) enum FileFacts {
    /// Byte where the records begin, after a byte order mark and the header.
    Text { start: u64 },
    /// Bytes of each row group.
    Parquet { row_groups: Vec<u64> },
}

/// Finds the columns of a source of files, and looks at the start of each file.
pub(super) fn survey(
    job: &JobFile,
    spec: &SourceSpec,
    files: &[SourceFile],
) -> Result<Surveyed, SpecError> {
    let surveyed = match (spec.format(), Dialect::of(spec)) {
        (Format::Jsonl, Some(dialect)) => survey_json(job, spec, files, dialect)?,
        (_, Some(dialect)) => survey_csv(job, spec, files, dialect)?,
        (_, None) => survey_parquet(job, files)?,
    };
    let columns = surveyed.schema.fields().len();
    if columns > COLUMNS_MAX {
        return Err(job.error(
            PATHS,
            format!("a source has at most {COLUMNS_MAX} columns, found {columns}"),
        ));
    }
    Ok(surveyed)
}

fn refused(job: &JobFile, error: &SourceError) -> SpecError {
    job.error(PATHS, error)
}

// --- CSV -------------------------------------------------------------------------------------

fn survey_csv(
    job: &JobFile,
    spec: &SourceSpec,
    files: &[SourceFile],
    dialect: Dialect,
) -> Result<Surveyed, SpecError> {
    let mut facts = Vec::with_capacity(files.len());
    let mut first: Option<(&SourceFile, Vec<String>)> = None;
    let mut rows = Rows::default();
    for file in files {
        let wanted = 1 + SAMPLE_ROWS_MAX.saturating_sub(rows.count);
        let sample = sample(file, dialect, wanted).map_err(|e| refused(job, &e))?;
        let head = header(file, &sample, dialect).map_err(|e| refused(job, &e))?;
        let Some((names, end)) = head else {
            facts.push(FileFacts::Text { start: file.len });
            continue;
        };
        let begin = if dialect.header { end } else { 0 };
        facts.push(FileFacts::Text {
            start: sample.start + begin as u64,
        });
        match &first {
            None => first = Some((file, names)),
            Some((other, expected)) => same_names(job, other, expected, file, &names)?,
        }
        let columns = first.as_ref().map_or(0, |(_, names)| names.len());
        rows.add(&sample, begin, columns, dialect);
    }
    let Some((file, names)) = first else {
        let shown = files.first().map_or("", |file| &file.display);
        let message = format!(
            "`{shown}`: expected a first record that tells the columns, found an empty file"
        );
        return Err(job.error(PATHS, message));
    };
    check_declared(job, spec, file, &names)?;
    let nulls = Nulls::new(&spec.null_values).map_err(|e| job.error("source.null_values", e))?;
    let types = csv_types(&rows.text, names.len(), dialect, nulls.pattern());
    let types = types.map_err(|e| refused(job, &SourceError::Columns(e.to_string())))?;
    let declared = declared(spec);
    let fields = names.into_iter().zip(types).map(|(name, inferred)| {
        let data_type = declared.get(name.as_str()).cloned().unwrap_or(inferred);
        Field::new(name, data_type, true)
    });
    Ok(Surveyed {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        files: facts,
    })
}

/// Well-formed records to infer types from.
#[derive(Default)]
struct Rows {
    text: Vec<u8>,
    count: usize,
}

impl Rows {
    /// Takes the records of `sample` from `begin` on that have the right number of fields. The others are
    /// for their shard to report.
    fn add(&mut self, sample: &Sample, begin: usize, columns: usize, dialect: Dialect) {
        let mut start = begin;
        for end in sample.ends.iter().copied().filter(|end| *end > begin) {
            if self.count >= SAMPLE_ROWS_MAX {
                return;
            }
            let record = &sample.text[start..end];
            start = end;
            let (fields, _) = split(record, dialect);
            let sound = fields.len() == columns
                && fields.iter().all(|field| !field.open)
                && std::str::from_utf8(record).is_ok();
            if sound {
                self.text.extend_from_slice(record);
                self.count += 1;
            }
        }
    }
}

fn same_names(
    job: &JobFile,
    first: &SourceFile,
    expected: &[String],
    file: &SourceFile,
    found: &[String],
) -> Result<(), SpecError> {
    if expected == found {
        return Ok(());
    }
    let at = expected.iter().zip(found).position(|(a, b)| a != b);
    let difference = match at {
        Some(at) => format!(
            "column {} is `{}` in one and `{}` in the other",
            at + 1,
            expected[at],
            found[at]
        ),
        None => format!(
            "one has {} columns and the other {}",
            expected.len(),
            found.len()
        ),
    };
    Err(job.error(
        PATHS,
        format!(
            "`{}` and `{}` have different columns: {difference}; expected the same in every file",
            first.display, file.display
        ),
    ))
}

fn declared(spec: &SourceSpec) -> HashMap<&str, DataType> {
    let parsed = |field: &SchemaField| parse_type(&field.r#type);
    spec.schema
        .iter()
        .filter_map(|field| Some((field.name.as_str(), parsed(field)?)))
        .collect()
}

fn check_declared(
    job: &JobFile,
    spec: &SourceSpec,
    file: &SourceFile,
    names: &[String],
) -> Result<(), SpecError> {
    let absent = spec
        .schema
        .iter()
        .find(|field| !names.contains(&field.name));
    let Some(field) = absent else { return Ok(()) };
    let known = names
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(job.error(
        &format!("source.schema.{}", field.name),
        format!(
            "`{}` has no such column; expected one of {known}",
            file.display
        ),
    ))
}

// --- JSON lines ------------------------------------------------------------------------------

fn survey_json(
    job: &JobFile,
    spec: &SourceSpec,
    files: &[SourceFile],
    dialect: Dialect,
) -> Result<Surveyed, SpecError> {
    let mut facts = Vec::with_capacity(files.len());
    let mut columns = JsonColumns::default();
    for file in files {
        let wanted = SAMPLE_ROWS_MAX.saturating_sub(columns.rows).max(1);
        let sample = sample(file, dialect, wanted).map_err(|e| refused(job, &e))?;
        facts.push(FileFacts::Text {
            start: sample.start,
        });
        columns.add(&sample);
    }
    let declared = declared(spec);
    let mut fields = Vec::new();
    for (name, column) in columns.columns {
        let known = declared.get(name.as_str()).cloned();
        let data_type = known.unwrap_or_else(|| column.data_type());
        fields.push(Field::new(name, data_type, true));
    }
    // A member that is rare may be in none of the first rows.
    let rare = spec
        .schema
        .iter()
        .filter(|field| !columns.index.contains_key(&field.name));
    let rare =
        rare.filter_map(|field| Some(Field::new(&field.name, parse_type(&field.r#type)?, true)));
    fields.extend(rare);
    if fields.is_empty() {
        let shown = files.first().map_or("", |file| &file.display);
        let message =
            format!("`{shown}`: expected a JSON object in the first {SAMPLE_ROWS_MAX} lines");
        return Err(job.error(PATHS, message));
    }
    Ok(Surveyed {
        schema: Arc::new(Schema::new(fields)),
        files: facts,
    })
}

/// The columns of JSON records, in order of their first appearance.
#[derive(Default)]
struct JsonColumns {
    columns: Vec<(String, JsonColumn)>,
    index: HashMap<String, usize>,
    rows: usize,
}

impl JsonColumns {
    fn add(&mut self, sample: &Sample) {
        let mut start = 0;
        for end in &sample.ends {
            let line = &sample.text[start..*end];
            start = *end;
            if self.rows >= SAMPLE_ROWS_MAX {
                return;
            }
            // What is not an object is for its shard to report.
            let Ok(members) = members(line) else { continue };
            self.rows += 1;
            for (name, value) in members {
                let Ok(value) = serde_json::from_str::<Value>(value.get()) else {
                    continue;
                };
                let at = self.column(&name);
                self.columns[at].1.add(value);
            }
        }
    }

    fn column(&mut self, name: &str) -> usize {
        if let Some(at) = self.index.get(name) {
            return *at;
        }
        self.columns.push((name.to_owned(), JsonColumn::default()));
        self.index.insert(name.to_owned(), self.columns.len() - 1);
        self.columns.len() - 1
    }
}

// --- Parquet ---------------------------------------------------------------------------------

fn survey_parquet(job: &JobFile, files: &[SourceFile]) -> Result<Surveyed, SpecError> {
    let mut first: Option<(&SourceFile, Schema)> = None;
    let mut facts = Vec::with_capacity(files.len());
    for file in files {
        let Footer { schema, row_groups } = footer(file).map_err(|e| refused(job, &e))?;
        facts.push(FileFacts::Parquet { row_groups });
        match &first {
            None => first = Some((file, schema)),
            Some((other, expected)) if *expected != schema => {
                return Err(different(job, other, expected, file, &schema));
            }
            Some(_) => {}
        }
    }
    let schema = first.map_or_else(Schema::empty, |(_, schema)| schema);
    Ok(Surveyed {
        schema: Arc::new(schema),
        files: facts,
    })
}

fn different(
    job: &JobFile,
    first: &SourceFile,
    expected: &Schema,
    file: &SourceFile,
    found: &Schema,
) -> SpecError {
    let names = |schema: &Schema| {
        schema
            .fields()
            .iter()
            .map(|field| field.name().clone())
            .collect::<Vec<_>>()
    };
    if let Err(error) = same_names(job, first, &names(expected), file, &names(found)) {
        return error;
    }
    let pair = expected
        .fields()
        .iter()
        .zip(found.fields())
        .find(|(a, b)| a != b);
    let difference = pair.map_or_else(String::new, |(a, b)| {
        let (one, other) = (type_name(a.data_type()), type_name(b.data_type()));
        format!(
            ": column `{}` is {one} in one and {other} in the other",
            a.name()
        )
    });
    job.error(
        PATHS,
        format!(
            "`{}` and `{}` have different columns{difference}; expected the same in every file",
            first.display, file.display
        ),
    )
}
