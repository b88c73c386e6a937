//! The columns of a source: their names from the data, their types declared or inferred.

use std::collections::HashMap;

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, SchemaRef};
use eciton_proto::v1::{SchemaField, SourceFile, SourceSpec};

use super::error::SourceError;
use super::files::PATHS;
use super::format::{SourceFormat, Types};
use super::infer::{Numbers, Sampled};
use super::reading::PADDED;
use crate::names::candidates;
use crate::spec::limits::COLUMNS_MAX;
use crate::spec::{JobFile, SpecError, parse_type, type_name};

/// What looking into the files told.
pub(crate) struct Surveyed {
    pub(super) schema: SchemaRef,
    /// A file's own facts, by its number.
    pub(super) files: Vec<FileFacts>,
    /// Columns that are not alike in all files, by their place, and how: a job has to leave them out.
    pub(super) unlike: Vec<(usize, String)>,
}

/// What cutting a file needs to know.
pub(crate) enum FileFacts {
    /// Byte where the records begin, after a byte order mark and the header.
    Text { start: u64 },
    /// Bytes of each group of rows.
    Groups { lens: Vec<u64> },
}

/// How values are written, as far as a type does not tell, and how that was found out.
#[derive(Default)]
pub(crate) struct Writings {
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
    /// Nothing is known yet but how many rows were looked at, and which files have none.
    pub(super) fn new(rows: usize, empty: Vec<String>) -> Writings {
        Writings {
            rows,
            empty,
            ..Writings::default()
        }
    }

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
    pub(super) fn field(
        &mut self,
        name: String,
        declared: Option<&Declared>,
        sampled: &Sampled,
    ) -> Field {
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
    format: &dyn SourceFormat,
    job: &JobFile,
    spec: &SourceSpec,
    files: &[SourceFile],
) -> Result<(Surveyed, Writings), SpecError> {
    let (surveyed, writings) = format.survey(job, spec, files)?;
    let columns = surveyed.schema.fields().len();
    if columns > COLUMNS_MAX {
        let hint = match format.about().types {
            Types::Json => {
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
