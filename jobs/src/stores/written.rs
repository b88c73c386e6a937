//! Rows as files: CSV, JSON lines, JSON, Parquet and Arrow.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::ipc::writer::{FileWriter, StreamWriter};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::error::QueryError;
use super::value::TextColumn;

/// Rows of a row group of Parquet: what is held before it is written.
const ROW_GROUP_ROWS_MAX: usize = 128 * 1024;

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values under a header. NULL is an empty field, an empty text is `""`.
    Csv,
    /// A JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// A Parquet file, compressed with zstd.
    Parquet,
    /// A stream of Arrow IPC.
    Arrow,
    /// A file of Arrow IPC, also known as Feather, which is read at any place.
    ArrowFile,
}

/// Writes rows as they come.
pub struct Writer<W: Write + Send>(WriterKind<W>);

enum WriterKind<W: Write + Send> {
    Csv(W),
    Jsonl {
        out: W,
        names: Vec<String>,
    },
    Json {
        out: W,
        names: Vec<String>,
        is_begun: bool,
    },
    Parquet(Box<ArrowWriter<W>>),
    Arrow(Box<StreamWriter<W>>),
    ArrowFile(Box<FileWriter<W>>),
}

impl<W: Write + Send> Writer<W> {
    /// Begins to write rows of these columns.
    ///
    /// # Errors
    /// [`QueryError::Format`] for columns that the format does not have; where writing fails.
    pub fn new(format: Format, schema: &SchemaRef, mut out: W) -> Result<Writer<W>, QueryError> {
        let names = || {
            let fields = schema.fields().iter();
            fields.map(|field| json_string(field.name())).collect()
        };
        Ok(Writer(match format {
            Format::Csv => {
                let fields = schema
                    .fields()
                    .iter()
                    .map(|field| field_of_csv(field.name()));
                let header: Vec<String> = fields.collect();
                writeln!(out, "{}", header.join(","))?;
                WriterKind::Csv(out)
            }
            Format::Jsonl => WriterKind::Jsonl {
                out,
                names: names(),
            },
            Format::Json => WriterKind::Json {
                out,
                names: names(),
                is_begun: false,
            },
            Format::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS_MAX))
                    .build();
                let made = ArrowWriter::try_new(out, Arc::clone(schema), Some(properties));
                WriterKind::Parquet(Box::new(made.map_err(format_error)?))
            }
            Format::Arrow => {
                let made = StreamWriter::try_new(out, schema);
                WriterKind::Arrow(Box::new(made.map_err(format_error)?))
            }
            Format::ArrowFile => {
                let made = FileWriter::try_new(out, schema);
                WriterKind::ArrowFile(Box::new(made.map_err(format_error)?))
            }
        }))
    }

    /// Writes some rows.
    ///
    /// # Errors
    /// As [`Writer::new`].
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        match &mut self.0 {
            WriterKind::Csv(out) => csv(batch, out),
            WriterKind::Jsonl { out, names } => {
                objects(batch, names, |object| Ok(writeln!(out, "{object}")?))
            }
            WriterKind::Json {
                out,
                names,
                is_begun,
            } => objects(batch, names, |object| {
                let before = if *is_begun { ",\n" } else { "[" };
                *is_begun = true;
                Ok(write!(out, "{before}{object}")?)
            }),
            WriterKind::Parquet(writer) => writer.write(batch).map_err(format_error),
            WriterKind::Arrow(writer) => writer.write(batch).map_err(format_error),
            WriterKind::ArrowFile(writer) => writer.write(batch).map_err(format_error),
        }
    }

    /// Bytes of rows that wait for the end of their row group, about.
    pub(crate) fn held_len(&self) -> usize {
        match &self.0 {
            WriterKind::Parquet(writer) => writer.in_progress_size(),
            _ => 0,
        }
    }

    /// Ends the row group, where the format has any.
    pub(crate) fn end_group(&mut self) -> Result<(), QueryError> {
        match &mut self.0 {
            WriterKind::Parquet(writer) => writer.flush().map_err(format_error),
            _ => Ok(()),
        }
    }

    /// Writes what ends the format.
    ///
    /// # Errors
    /// Where writing fails.
    pub fn finish(self) -> Result<(), QueryError> {
        match self.0 {
            WriterKind::Csv(mut out) | WriterKind::Jsonl { mut out, .. } => Ok(out.flush()?),
            WriterKind::Json {
                mut out, is_begun, ..
            } => {
                out.write_all(if is_begun { b"]\n" } else { b"[]\n" })?;
                Ok(out.flush()?)
            }
            WriterKind::Parquet(writer) => {
                let mut out = writer.into_inner().map_err(format_error)?;
                Ok(out.flush()?)
            }
            WriterKind::Arrow(mut writer) => {
                writer.finish().map_err(format_error)?;
                let mut out = writer.into_inner().map_err(format_error)?;
                Ok(out.flush()?)
            }
            WriterKind::ArrowFile(mut writer) => {
                writer.finish().map_err(format_error)?;
                let mut out = writer.into_inner().map_err(format_error)?;
                Ok(out.flush()?)
            }
        }
    }
}

/// A library's error, or that of what it wrote to.
fn format_error(error: impl std::error::Error) -> QueryError {
    let mut cause: Option<&dyn std::error::Error> = error.source();
    while let Some(inner) = cause {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return QueryError::Io(std::io::Error::new(io.kind(), io.to_string()));
        }
        cause = inner.source();
    }
    let text = error.to_string();
    match text.contains("Broken pipe") {
        true => QueryError::Io(std::io::ErrorKind::BrokenPipe.into()),
        false => QueryError::Format(text),
    }
}

fn csv(batch: &RecordBatch, out: &mut impl Write) -> Result<(), QueryError> {
    let columns = batch.columns().iter().map(TextColumn::new);
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        for (at, column) in columns.iter().enumerate() {
            if at > 0 {
                out.write_all(b",")?;
            }
            if let Some(text) = column.text(row) {
                out.write_all(field_of_csv(&text).as_bytes())?;
            }
        }
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn field_of_csv(text: &str) -> String {
    let is_plain = !text.is_empty()
        && !text.contains([',', '"', '\n', '\r'])
        && !text.starts_with(char::is_whitespace)
        && !text.ends_with(char::is_whitespace);
    match is_plain {
        true => text.to_owned(),
        false => format!("\"{}\"", text.replace('"', "\"\"")),
    }
}

/// Each row as a JSON object.
fn objects(
    batch: &RecordBatch,
    names: &[String],
    mut each: impl FnMut(&str) -> Result<(), QueryError>,
) -> Result<(), QueryError> {
    let columns = batch.columns().iter().map(WrittenColumn::new);
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    for row in 0..batch.num_rows() {
        let mut object = String::from("{");
        for (at, (name, column)) in names.iter().zip(&columns).enumerate() {
            if at > 0 {
                object.push(',');
            }
            object.push_str(name);
            object.push(':');
            column.write(row, &mut object);
        }
        object.push('}');
        each(&object)?;
    }
    Ok(())
}

/// One column as JSON, row by row.
enum WrittenColumn<'a> {
    Scalar(TextColumn<'a>),
    /// Lists and structs, with their values as records of a store have them.
    Nested(crate::upsert::JsonColumn),
}

impl<'a> WrittenColumn<'a> {
    fn new(array: &'a Arc<dyn Array>) -> Result<WrittenColumn<'a>, QueryError> {
        let is_nested = matches!(
            array.data_type(),
            DataType::List(_)
                | DataType::LargeList(_)
                | DataType::FixedSizeList(..)
                | DataType::Struct(_)
        );
        if is_nested && crate::upsert::is_writable(array.data_type()) {
            let read = crate::upsert::JsonColumn::read("value", array);
            let read = read.map_err(|error| QueryError::Format(error.to_string()))?;
            return Ok(WrittenColumn::Nested(read));
        }
        Ok(WrittenColumn::Scalar(TextColumn::new(array)?))
    }

    fn write(&self, row: usize, out: &mut String) {
        match self {
            WrittenColumn::Nested(column) => {
                let mut bytes = Vec::new();
                column.write(row, &mut bytes);
                out.push_str(&String::from_utf8_lossy(&bytes));
            }
            WrittenColumn::Scalar(column) => match column.text(row) {
                None => out.push_str("null"),
                Some(text) if column.is_json_number(row) => out.push_str(&text),
                Some(text) => out.push_str(&json_string(&text)),
            },
        }
    }
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
