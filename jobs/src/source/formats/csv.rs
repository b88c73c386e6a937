//! `csv` and `tsv`: fields between delimiters.

use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use eciton_proto::v1::{Format, SourceFile, SourceSpec};

use super::super::csv::{CsvDecoder, CsvFormat};
use super::super::dialect::Dialect;
use super::super::error::Refusal;
use super::super::fields::{self, split};
use super::super::files::PATHS;
use super::super::format::{About, Recognized, Types};
use super::super::header::header;
use super::super::infer::Sampled;
use super::super::jsonl::Decoded;
use super::super::limits::SAMPLE_ROWS_MAX;
use super::super::locate::{RecordFault, csv_fault};
use super::super::peek::Peek;
use super::super::plan::Source;
use super::super::sample::{Sample, sample};
use super::super::schema::{FileFacts, Surveyed, Writings, check_declared, declared, refused};
use super::super::text::RecordDecoder;
use super::text::TextFormat;
use crate::spec::{JobFile, Section, SpecError, read_delimited};

static CSV: About = About {
    name: "csv",
    number: Format::Csv as i32,
    title: "CSV",
    extensions: &["csv", "psv"],
    magic: None,
    keys: &[
        "paths",
        "shard_size",
        "verify",
        "schema",
        "header",
        "quote",
        "newlines_in_values",
        "null_values",
        "delimiter",
    ],
    types: Types::Text,
    unit: "bytes",
};

static TSV: About = About {
    name: "tsv",
    number: Format::Tsv as i32,
    title: "TSV",
    extensions: &["tsv", "tab"],
    magic: None,
    keys: &[
        "paths",
        "shard_size",
        "verify",
        "schema",
        "header",
        "quote",
        "newlines_in_values",
        "null_values",
    ],
    types: Types::Text,
    unit: "bytes",
};

/// The format `csv`.
pub(super) struct Csv;

/// The format `tsv`.
pub(super) struct Tsv;

impl RecordDecoder for CsvDecoder {
    fn decode(&self, text: &[u8]) -> Result<Decoded, Refusal> {
        let batches = CsvDecoder::decode(self, text)?;
        Ok(Decoded {
            batches,
            values_ignored: 0,
        })
    }

    fn fault(&self, text: &[u8], refusal: &Refusal) -> RecordFault {
        csv_fault(text, self.format(), refusal)
    }
}

impl TextFormat for Csv {
    fn about(&self) -> &'static About {
        &CSV
    }

    fn read_keys(&self, section: &Section<'_>, spec: &mut SourceSpec) -> Result<(), SpecError> {
        read_delimited(section, b',', spec)
    }

    fn dialect(&self, spec: &SourceSpec) -> Dialect {
        let byte = |code: u32, default: u8| u8::try_from(code).unwrap_or(default);
        Dialect {
            delimiter: byte(spec.delimiter, b','),
            quote: byte(spec.quote, b'"'),
            newlines: spec.newlines_in_values,
            header: spec.header,
        }
    }

    /// Any text may be delimited: what separates it tells which of the two formats it is.
    fn recognize(&self, text: &Peek, _: bool, _: &str, _: &str) -> Recognized {
        let separation = text.separation();
        match separation.delimiter {
            b'\t' => Recognized::Perhaps(&TSV, separation),
            _ => Recognized::Perhaps(&CSV, separation),
        }
    }

    fn survey(
        &self,
        job: &JobFile,
        spec: &SourceSpec,
        files: &[SourceFile],
    ) -> Result<(Surveyed, Writings), SpecError> {
        survey(job, spec, files, self.dialect(spec))
    }

    fn decoder(
        &self,
        source: &Source,
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Box<dyn RecordDecoder> {
        Box::new(CsvDecoder::new(CsvFormat {
            dialect: self.dialect(source.spec()),
            readings: Arc::clone(source.readings()),
            schema: Arc::clone(schema),
            columns: columns.to_vec(),
            nulls: source.spec().null_values.clone(),
        }))
    }
}

impl TextFormat for Tsv {
    fn about(&self) -> &'static About {
        &TSV
    }

    fn read_keys(&self, section: &Section<'_>, spec: &mut SourceSpec) -> Result<(), SpecError> {
        read_delimited(section, b'\t', spec)
    }

    fn dialect(&self, spec: &SourceSpec) -> Dialect {
        Csv.dialect(spec)
    }

    fn recognize(&self, text: &Peek, named: bool, shown: &str, bare: &str) -> Recognized {
        Csv.recognize(text, named, shown, bare)
    }

    fn survey(
        &self,
        job: &JobFile,
        spec: &SourceSpec,
        files: &[SourceFile],
    ) -> Result<(Surveyed, Writings), SpecError> {
        Csv.survey(job, spec, files)
    }

    fn decoder(
        &self,
        source: &Source,
        columns: &[usize],
        schema: &SchemaRef,
    ) -> Box<dyn RecordDecoder> {
        Csv.decoder(source, columns, schema)
    }
}

fn survey(
    job: &JobFile,
    spec: &SourceSpec,
    files: &[SourceFile],
    dialect: Dialect,
) -> Result<(Surveyed, Writings), SpecError> {
    let mut facts = Vec::with_capacity(files.len());
    let mut first: Option<(&SourceFile, Vec<String>)> = None;
    let mut rows = SampledRows::default();
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
    let mut writings = Writings::new(rows.count, empty);
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
struct SampledRows {
    /// What the values of each column have been so far.
    columns: Vec<Sampled>,
    count: usize,
}

impl SampledRows {
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
