//! The columns of a source: their names from the data, their types declared or inferred.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef};
use eciton_proto::v1::{Format, SchemaField, SourceFile, SourceSpec};

use super::columns::survey_parquet;
use super::dialect::Dialect;
use super::error::SourceError;
use super::fields::{self, split};
use super::files::PATHS;
use super::header::header;
use super::infer::{Numbers, Sampled};
use super::jsonl::members;
use super::limits::SAMPLE_ROWS_MAX;
use super::reading::PADDED;
use super::sample::{Sample, sample};
use crate::names::candidates;
use crate::spec::limits::COLUMNS_MAX;
use crate::spec::{JobFile, SpecError, parse_type, type_name};

/// What looking into the files told.
pub(super) struct Surveyed {
    pub(super) schema: SchemaRef,
    /// A file's own facts, by its number.
    pub(super) files: Vec<FileFacts>,
    /// Columns that are not alike in all files, by their place, and how: a job has to leave them out.
    pub(super) unlike: Vec<(usize, String)>,
}

/// What cutting a file needs to know.
pub(super) enum FileFacts {
    /// Byte where the records begin, after a byte order mark and the header.
    Text { start: u64 },
    /// Bytes of each row group.
    Parquet { row_groups: Vec<u64> },
}

/// How values are written, as far as a type does not tell, and how that was found out.
#[derive(Default)]
pub(super) struct Writings {
    /// Format and unit of columns, as in `SchemaField`.
    columns: HashMap<String, (String, String)>,
    /// Rows that types were inferred from.
    pub(super) rows: usize,
    /// Files without records, as messages call them.
    pub(super) empty: Vec<String>,
    /// Columns of text that may be read as numbers, by their name.
    numbers: HashMap<String, Numbers>,
}

impl Writings {
    /// Format and unit of a column.
    pub(super) fn of(&self, column: &str) -> (String, String) {
        self.columns.get(column).cloned().unwrap_or_default()
    }

    /// The column as numbers, where it is text that may be read as such.
    pub(super) fn as_numbers(&self, field: &SchemaField) -> Option<SchemaField> {
        let (data_type, format) = match self.numbers.get(&field.name)? {
            Numbers::Padded => (DataType::Int64, PADDED),
            Numbers::Decimal => (DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0), ""),
        };
        Some(SchemaField {
            r#type: type_name(&data_type),
            format: format.to_owned(),
            ..field.clone()
        })
    }

    /// The column that is declared, or that its first values were guessed to be.
    fn field(&mut self, name: String, declared: Option<&Declared>, sampled: &Sampled) -> Field {
        let guess = sampled.guess();
        if let Some(numbers) = sampled.numbers().filter(|_| declared.is_none()) {
            self.numbers.insert(name.clone(), numbers);
        }
        let (data_type, format, unit) = match declared {
            Some(declared) => declared.clone(),
            None => (guess.data_type, guess.format.to_owned(), String::new()),
        };
        if !format.is_empty() || !unit.is_empty() {
            self.columns.insert(name.clone(), (format, unit));
        }
        Field::new(name, data_type, true)
    }
}

/// A declared type, its format and its unit.
pub(super) type Declared = (DataType, String, String);

/// Finds the columns of a source of files, and looks at the start of each file.
pub(super) fn survey(
    job: &JobFile,
    spec: &SourceSpec,
    files: &[SourceFile],
) -> Result<(Surveyed, Writings), SpecError> {
    let (surveyed, writings) = match (spec.format(), Dialect::of(spec)) {
        (Format::Jsonl, Some(dialect)) => survey_json(job, spec, files, dialect)?,
        (_, Some(dialect)) => survey_csv(job, spec, files, dialect)?,
        (_, None) => (survey_parquet(job, spec, files)?, Writings::default()),
    };
    let columns = surveyed.schema.fields().len();
    if columns > COLUMNS_MAX {
        let hint = match spec.format() {
            Format::Jsonl => {
                "; with the columns that are wanted in [source.schema] the others may be more"
            }
            _ => "",
        };
        return Err(job.error(
            PATHS,
            format!("a source has at most {COLUMNS_MAX} columns, found {columns}{hint}"),
        ));
    }
    Ok((surveyed, writings))
}

pub(super) fn refused(job: &JobFile, error: &SourceError) -> SpecError {
    job.error(PATHS, error)
}

// --- CSV -------------------------------------------------------------------------------------

fn survey_csv(
    job: &JobFile,
    spec: &SourceSpec,
    files: &[SourceFile],
    dialect: Dialect,
) -> Result<(Surveyed, Writings), SpecError> {
    let mut facts = Vec::with_capacity(files.len());
    let mut first: Option<(&SourceFile, Vec<String>)> = None;
    let mut rows = Rows::default();
    let mut empty = Vec::new();
    for file in files {
        let wanted = (1 + SAMPLE_ROWS_MAX.saturating_sub(rows.count)).max(2);
        let sample = sample(file, dialect, wanted).map_err(|e| refused(job, &e))?;
        let head = header(file, &sample, dialect).map_err(|e| refused(job, &e))?;
        let Some((names, end)) = head else {
            facts.push(FileFacts::Text { start: file.len });
            empty.push(file.display.clone());
            continue;
        };
        let begin = if dialect.header { end } else { 0 };
        if sample.ends.iter().all(|end| *end <= begin) {
            empty.push(file.display.clone());
        }
        facts.push(FileFacts::Text {
            start: sample.start + begin as u64,
        });
        match &first {
            None => first = Some((file, names)),
            Some((other, expected)) => same_names(job, other, expected, file, &names)?,
        }
        let columns = first.as_ref().map_or(0, |(_, names)| names.len());
        rows.columns.resize_with(columns, Sampled::default);
        rows.add(&sample, begin, spec, dialect);
    }
    let names = match first {
        Some((file, names)) => {
            check_declared(job, spec, file, &names)?;
            names
        }
        // Of no rows the job file tells the columns.
        None if !spec.schema.is_empty() => {
            let names = spec.schema.iter().map(|field| field.name.clone()).collect();
            rows.columns
                .resize_with(spec.schema.len(), Sampled::default);
            names
        }
        None => {
            let shown = files.first().map_or("", |file| &file.display);
            let message = format!(
                "`{shown}`: expected a first record that tells the columns, found an empty file; with its columns in \
                 [source.schema] it gives no rows"
            );
            return Err(job.error(PATHS, message));
        }
    };
    let declared = declared(spec);
    let mut writings = Writings {
        rows: rows.count,
        empty,
        ..Writings::default()
    };
    let fields = names.into_iter().zip(&rows.columns).map(|(name, sampled)| {
        let known = declared.get(name.as_str());
        writings.field(name, known, sampled)
    });
    let fields: Vec<Field> = fields.collect();
    let surveyed = Surveyed {
        schema: Arc::new(Schema::new(fields)),
        files: facts,
        unlike: Vec::new(),
    };
    Ok((surveyed, writings))
}

/// Well-formed records to infer types from.
#[derive(Default)]
struct Rows {
    /// What the values of each column have been so far.
    columns: Vec<Sampled>,
    count: usize,
}

impl Rows {
    /// Adds records of a sample behind `begin`, until there are enough. What is malformed is left out: it is
    /// for their shard to report.
    fn add(&mut self, sample: &Sample, begin: usize, spec: &SourceSpec, dialect: Dialect) {
        let mut start = begin;
        for end in sample.ends.iter().copied().filter(|end| *end > begin) {
            if self.count >= SAMPLE_ROWS_MAX {
                return;
            }
            let record = &sample.text[start..end];
            start = end;
            let (fields, _) = split(record, dialect);
            let sound = |field: &fields::Field<'_>| {
                !field.open && field.is_in_line(dialect) && field.stray(dialect).is_none()
            };
            let sound = fields.len() == self.columns.len()
                && fields.iter().all(sound)
                && std::str::from_utf8(record).is_ok();
            if !sound {
                continue;
            }
            self.count += 1;
            for (column, field) in self.columns.iter_mut().zip(&fields) {
                let value = field.value(dialect);
                let value = String::from_utf8_lossy(&value);
                if !spec.null_values.iter().any(|null| *null == value) {
                    column.add_text(&value);
                }
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
            "one has {} column{} and the other {}",
            expected.len(),
            if expected.len() == 1 { "" } else { "s" },
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

pub(super) fn declared(spec: &SourceSpec) -> HashMap<&str, Declared> {
    let parsed = |field: &SchemaField| {
        let data_type = parse_type(&field.r#type)?;
        Some((data_type, field.format.clone(), field.unit.clone()))
    };
    spec.schema
        .iter()
        .filter_map(|field| Some((field.name.as_str(), parsed(field)?)))
        .collect()
}

pub(super) fn check_declared(
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
    let known = candidates(&field.name, names);
    Err(job.error(
        &format!("source.schema.{}", field.name),
        format!("`{}` has no such column; {known}", file.display),
    ))
}

// --- JSON lines ------------------------------------------------------------------------------

fn survey_json(
    job: &JobFile,
    spec: &SourceSpec,
    files: &[SourceFile],
    dialect: Dialect,
) -> Result<(Surveyed, Writings), SpecError> {
    let mut facts = Vec::with_capacity(files.len());
    let mut columns = JsonColumns::default();
    let mut empty = Vec::new();
    for file in files {
        let wanted = SAMPLE_ROWS_MAX.saturating_sub(columns.rows).max(1);
        let sample = sample(file, dialect, wanted).map_err(|e| refused(job, &e))?;
        facts.push(FileFacts::Text {
            start: sample.start,
        });
        if sample.ends.is_empty() {
            empty.push(file.display.clone());
        }
        columns.add(file, &sample);
    }
    let declared = declared(spec);
    let mut writings = Writings {
        rows: columns.rows,
        empty,
        ..Writings::default()
    };
    // Where there are more columns than a source may have, those that are declared are wanted, and the first others.
    let room = match columns.columns.len() > COLUMNS_MAX && !declared.is_empty() {
        true => COLUMNS_MAX.saturating_sub(declared.len()),
        false => usize::MAX,
    };
    let mut others = 0;
    let mut fields = Vec::new();
    for (name, column) in columns.columns {
        let known = declared.get(name.as_str());
        others += usize::from(known.is_none());
        if known.is_some() || others <= room {
            fields.push(writings.field(name, known, &column));
        }
    }
    // A member that is rare may be in none of the first rows.
    for field in &spec.schema {
        if !columns.index.contains_key(&field.name) {
            let known = declared.get(field.name.as_str());
            fields.push(writings.field(field.name.clone(), known, &Sampled::default()));
        }
    }
    if fields.is_empty() {
        let shown = files.first().map_or("", |file| &file.display);
        let found = match (columns.first_wrong, columns.rows) {
            (Some(wrong), 0) => wrong,
            (_, 0) => format!(
                "`{shown}`: expected a JSON object, found an empty file; with its columns in [source.schema] it gives no \
                 rows"
            ),
            _ => format!(
                "`{shown}`: expected a JSON object with members in the first {SAMPLE_ROWS_MAX} lines, found none with any"
            ),
        };
        return Err(job.error(PATHS, found));
    }
    let surveyed = Surveyed {
        schema: Arc::new(Schema::new(fields)),
        files: facts,
        unlike: Vec::new(),
    };
    Ok((surveyed, writings))
}

/// The columns of JSON records, in order of their first appearance.
#[derive(Default)]
struct JsonColumns {
    columns: Vec<(String, Sampled)>,
    index: HashMap<String, usize>,
    rows: usize,
    /// The first line that is no object, and why.
    first_wrong: Option<String>,
}

impl JsonColumns {
    fn add(&mut self, file: &SourceFile, sample: &Sample) {
        let mut start = 0;
        for (number, end) in (1..).zip(&sample.ends) {
            let line = &sample.text[start..*end];
            start = *end;
            if self.rows >= SAMPLE_ROWS_MAX {
                return;
            }
            // What is not an object is for its shard to report.
            let members = match members(line) {
                Ok(members) => members,
                Err(error) => {
                    self.note_wrong(file, number, line, &error);
                    continue;
                }
            };
            self.rows += 1;
            for (name, value) in members {
                let at = self.column(&name);
                self.columns[at].1.add_json(value.get());
            }
        }
    }

    fn note_wrong(
        &mut self,
        file: &SourceFile,
        number: u64,
        line: &[u8],
        error: &serde_json::Error,
    ) {
        if self.first_wrong.is_some() || line.trim_ascii().is_empty() {
            return;
        }
        let (file, message, column) = (&file.display, error.to_string(), error.column());
        let place = format!(" at line {} column {column}", error.line());
        let why = message.strip_suffix(&place).unwrap_or(&message);
        self.first_wrong = Some(format!(
            "`{file}`: line {number}, column {column}: expected one JSON object a line: {why}"
        ));
    }

    fn column(&mut self, name: &str) -> usize {
        if let Some(at) = self.index.get(name) {
            return *at;
        }
        self.columns.push((name.to_owned(), Sampled::default()));
        self.index.insert(name.to_owned(), self.columns.len() - 1);
        self.columns.len() - 1
    }
}
