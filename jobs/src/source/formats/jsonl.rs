//! `jsonl`: one JSON object a line.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use eciton_proto::v1::{Format, OnNewColumns, SourceFile, SourceSpec};

use super::super::dialect::Dialect;
use super::super::error::Refusal;
use super::super::files::PATHS;
use super::super::format::{About, Recognized, Types};
use super::super::infer::Sampled;
use super::super::jsonl::{Decoded, JsonDecoder, JsonFormat, MemberNames, members};
use super::super::limits::SAMPLE_ROWS_MAX;
use super::super::locate::{RecordFault, json_fault};
use super::super::peek::{Peek, Separation};
use super::super::plan::Source;
use super::super::sample::{Sample, sample};
use super::super::schema::{FileFacts, Surveyed, Writings, declared, refused};
use super::super::text::RecordDecoder;
use super::text::TextFormat;
use crate::spec::limits::COLUMNS_MAX;
use crate::spec::{JobFile, Section, SpecError};

static ABOUT: About = About {
    name: "jsonl",
    number: Format::Jsonl as i32,
    title: "JSON lines",
    extensions: &["jsonl", "ndjson", "json"],
    magic: None,
    keys: &["paths", "shard_size", "verify", "schema", "on_new_columns"],
    types: Types::Json,
    unit: "bytes",
};

/// The format `jsonl`.
pub(super) struct JsonLinesFormat;

impl RecordDecoder for JsonDecoder {
    fn decode(&self, text: &[u8]) -> Result<Decoded, Refusal> {
        JsonDecoder::decode(self, text)
    }

    fn fault(&self, text: &[u8], refusal: &Refusal) -> RecordFault {
        json_fault(text, self.format(), refusal)
    }
}

impl TextFormat for JsonLinesFormat {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn read_keys(&self, _: &Section<'_>, _: &mut SourceSpec) -> Result<(), SpecError> {
        Ok(())
    }

    fn dialect(&self, _: &SourceSpec) -> Dialect {
        Dialect {
            delimiter: b',',
            quote: b'"',
            newlines: false,
            header: false,
        }
    }

    fn recognize(&self, text: &Peek, named: bool, shown: &str, bare: &str) -> Recognized {
        match text.first_byte() {
            Some(b'[') if is_whole_json(text.first_line()) != Some(false) => {
                Recognized::Refused(format!(
                    "`{shown}` is one JSON array, and a job reads JSON lines, an object a line: convert it with \
                     `jq -c '.[]' {shown} > {bare}.jsonl`"
                ))
            }
            Some(b'{') => match is_whole_json(text.first_line()) {
                Some(true) => Recognized::Yes(&ABOUT, Separation::PLAIN),
                _ => Recognized::Refused(format!(
                    "the first line of `{shown}` is no whole JSON object, and a job reads JSON lines, an object a line: \
                     convert it with `jq -c . {shown} > {bare}.jsonl`"
                )),
            },
            _ if named => Recognized::Refused(format!(
                "the first line of `{shown}` is no JSON object, and a job reads JSON lines, an object a line"
            )),
            _ => Recognized::No,
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
        let readings = source.readings();
        let names = readings.iter().map(|reading| reading.name.as_str());
        // A job that names the columns it reads misses nothing of a new one.
        let reads_all = columns.len() == readings.len();
        let ignores_new = source.spec().on_new_columns() == OnNewColumns::Ignore;
        Box::new(JsonDecoder::new(JsonFormat {
            schema: Arc::clone(schema),
            readings: columns.iter().map(|at| readings[*at].clone()).collect(),
            names: Arc::new(MemberNames::new(names, columns)),
            refuses_new: reads_all && !ignores_new,
        }))
    }
}

/// Whether a line is a JSON value: `None` for the beginning of an array, which goes on.
fn is_whole_json(line: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<serde::de::IgnoredAny>(line) {
        Ok(_) => Some(true),
        Err(error) if error.is_eof() => None,
        Err(_) => Some(false),
    }
}

fn survey(
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
    let mut writings = Writings::new(columns.rows, empty);
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
