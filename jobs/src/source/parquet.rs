//! Parquet to Arrow.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use eciton_proto::v1::SourceFile;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use xxhash_rust::xxh3::Xxh3;

use super::error::SourceError;
use super::input::{io_error, open};
use super::limits::BATCH_ROWS_MAX;

/// What the footer of a file says.
pub(super) struct Footer {
    /// The columns, without metadata and all of them nullable, so that files compare by what matters.
    pub(super) schema: Schema,
    /// Bytes of each row group, compressed.
    pub(super) row_groups: Vec<u64>,
}

/// Reads the footer of a file.
pub(super) fn footer(file: &SourceFile) -> Result<Footer, SourceError> {
    let builder = builder(file)?;
    let row_groups = builder.metadata().row_groups().iter();
    let row_groups = row_groups
        .map(|group| u64::try_from(group.compressed_size()).unwrap_or(0))
        .collect();
    Ok(Footer {
        schema: bare(builder.schema()),
        row_groups,
    })
}

/// The row groups of a file, which must have the columns of `schema`.
pub(super) fn row_groups(
    file: &SourceFile,
    schema: &Schema,
) -> Result<Vec<RowGroupMetaData>, SourceError> {
    let builder = builder(file)?;
    check_schema(file, &bare(builder.schema()), schema)?;
    Ok(builder.metadata().row_groups().to_vec())
}

fn bare(schema: &Schema) -> Schema {
    let field = |field: &FieldRef| Field::new(field.name(), bare_type(field.data_type()), true);
    Schema::new(schema.fields().iter().map(field).collect::<Fields>())
}

fn bare_type(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::new(
            field.name(),
            bare_type(field.data_type()),
            field.is_nullable(),
        ))
    };
    match data_type {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::FixedSizeList(item, len) => DataType::FixedSizeList(field(item), *len),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}

fn builder(file: &SourceFile) -> Result<ParquetRecordBatchReaderBuilder<File>, SourceError> {
    let handle = open(file)?;
    guarded(file, || ParquetRecordBatchReaderBuilder::try_new(handle))
}

/// Runs the Parquet reader. It promises errors for damaged files, but a few damages make it panic; a file
/// must not take the process down.
fn guarded<T, E: std::fmt::Display>(
    file: &SourceFile,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T, SourceError> {
    let damaged = |message: String| SourceError::Parquet {
        file: file.display.clone(),
        message,
    };
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|e| damaged(e.to_string())),
        Err(_) => Err(damaged("the reader gave up".to_owned())),
    }
}

/// Reads the batches of some row groups.
pub(super) struct ParquetShard {
    file: SourceFile,
    /// The columns wanted, in the order wanted.
    schema: SchemaRef,
    reader: ParquetRecordBatchReader,
    digest: u128,
    bytes: u64,
}

impl ParquetShard {
    /// Opens `len` row groups from `start`. `schema` is the source's, `columns` those wanted.
    pub(super) fn open(
        file: &SourceFile,
        start: u64,
        len: u64,
        schema: &SchemaRef,
        columns: &[usize],
    ) -> Result<Self, SourceError> {
        let builder = builder(file)?;
        let groups = groups(file, builder.metadata(), start, len)?;
        check_schema(file, &bare(builder.schema()), schema)?;
        let (digest, bytes) = digest(file, &builder.metadata().row_groups()[groups.clone()])?;
        let wanted = schema
            .project(columns)
            .map_err(|e| SourceError::Plan(e.to_string()))?;
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        let reader = guarded(file, || {
            builder
                .with_batch_size(BATCH_ROWS_MAX)
                .with_row_groups(groups.collect())
                .with_projection(mask)
                .build()
        })?;
        Ok(Self {
            file: file.clone(),
            schema: Arc::new(wanted),
            reader,
            digest,
            bytes,
        })
    }

    pub(super) fn digest(&self) -> u128 {
        self.digest
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes
    }

    /// The next batch; `None` at the end of the shard.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let (reader, schema) = (&mut self.reader, &self.schema);
        guarded(&self.file, || match reader.next() {
            Some(batch) => arranged(&batch?, schema).map(Some),
            None => Ok(None),
        })
    }
}

/// The columns in the order wanted, without the metadata of the file.
fn arranged(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let column = |field: &FieldRef| {
        let column = batch.column(batch.schema_ref().index_of(field.name())?);
        if column.data_type() == field.data_type() {
            Ok(column.clone())
        } else {
            cast(column, field.data_type())
        }
    };
    let columns = schema
        .fields()
        .iter()
        .map(column)
        .collect::<Result<Vec<_>, ArrowError>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

fn groups(
    file: &SourceFile,
    metadata: &ParquetMetaData,
    start: u64,
    len: u64,
) -> Result<std::ops::Range<usize>, SourceError> {
    let bounds = usize::try_from(start)
        .ok()
        .zip(usize::try_from(start.saturating_add(len)).ok());
    bounds
        .map(|(start, end)| start..end)
        .filter(|range| range.end <= metadata.num_row_groups())
        .ok_or_else(|| SourceError::Changed {
            file: file.display.clone(),
            expected: format!("at least {} row groups", start.saturating_add(len)),
            found: metadata.num_row_groups().to_string(),
        })
}

fn check_schema(file: &SourceFile, found: &Schema, recorded: &Schema) -> Result<(), SourceError> {
    if found.fields() == recorded.fields() {
        return Ok(());
    }
    Err(SourceError::Changed {
        file: file.display.clone(),
        expected: "the columns that were recorded".to_owned(),
        found: "others".to_owned(),
    })
}

/// XXH3-128 and number of the bytes of some row groups, column by column: what the shard covers, whichever
/// columns a job reads.
pub(super) fn digest(
    file: &SourceFile,
    groups: &[RowGroupMetaData],
) -> Result<(u128, u64), SourceError> {
    let failed = |source| io_error(file, "cannot be read", source);
    let mut handle = open(file)?;
    let mut hash = Xxh3::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 256 * 1024];
    for column in groups.iter().flat_map(RowGroupMetaData::columns) {
        let start = column
            .dictionary_page_offset()
            .unwrap_or_else(|| column.data_page_offset());
        let len = u64::try_from(column.compressed_size()).unwrap_or(0);
        let start = u64::try_from(start).unwrap_or(u64::MAX).min(file.len);
        handle.seek(SeekFrom::Start(start)).map_err(failed)?;
        let mut rest = (&handle).take(len);
        loop {
            match rest.read(&mut buffer).map_err(failed)? {
                0 => break,
                read => {
                    hash.update(&buffer[..read]);
                    bytes += read as u64;
                }
            }
        }
    }
    Ok((hash.digest128(), bytes))
}
