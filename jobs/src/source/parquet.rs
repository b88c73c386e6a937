//! Parquet to Arrow.
//!
//! Files may disagree about the type of a column: [`unify`](super::unify) finds one for all, or `[source.schema]`
//! declares it, and [`exact`](super::exact) brings each value to it unchanged or names the one that cannot be. Columns
//! are found by name, so that their order may differ.
//!
//! | module | is |
//! |---|---|
//! | `footer` over `outline` | what a file says of itself, checked before anything is allocated by it |
//! | `pages` over `codec` | the pages of columns: checksums, bounds, counts |
//! | `thrift` | the encoding of both |

mod codec;
mod footer;
mod outline;
mod pages;
mod thrift;

use std::fmt::Display;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit, TimestampNanosecondType,
    TimestampSecondType,
};
use eciton_proto::v1::{SchemaField, SourceFile};
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;
use parquet::arrow::{ProjectionMask, parquet_to_arrow_field_levels};
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use xxhash_rust::xxh3::Xxh3;

pub(super) use self::footer::bare_type;
use self::footer::{Opened, is_int96};
use self::pages::{FaultCell, PageDefect, RowGroupRun, byte_range};
use super::content::hash_from;
use super::error::SourceError;
use super::exact::{Inexact, exact, is_convertible, shown};
use super::format::ShardRows;
use super::formats::{FileOutline, ReadRequest};
use super::guard::guard;
use super::input::{io_error, open};
use super::limits::BATCH_ROWS_MAX;
use crate::spec::type_name;

/// What the footer of a file says. Whether it has the columns that are read is for its shards to see.
pub(super) struct Footer {
    file: SourceFile,
    opened: Opened,
}

impl Footer {
    /// Reads the footer of a file.
    pub(super) fn read(file: &SourceFile) -> Result<Footer, SourceError> {
        Ok(Footer {
            file: file.clone(),
            opened: footer::read(file)?,
        })
    }

    fn row_groups(&self) -> &[RowGroupMetaData] {
        self.opened.metadata.row_groups()
    }
}

impl FileOutline for Footer {
    fn schema(&self) -> &Schema {
        &self.opened.schema
    }

    fn lens(&self) -> Vec<u64> {
        let len = |group: &RowGroupMetaData| u64::try_from(group.compressed_size()).unwrap_or(0);
        self.row_groups().iter().map(len).collect()
    }

    fn rows_before(&self, group: u64) -> Result<u64, SourceError> {
        let groups = usize::try_from(group).unwrap_or(usize::MAX);
        let before = self.row_groups().iter().take(groups);
        Ok(before
            .map(|group| u64::try_from(group.num_rows()).unwrap_or(0))
            .sum())
    }

    fn digest(&self, groups: &Range<u64>) -> Result<u128, SourceError> {
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let groups = self
            .row_groups()
            .get(index(groups.start)..index(groups.end));
        Ok(digest(&self.file, groups.unwrap_or_default())?.0)
    }

    /// Of what follows the row groups: indices, and the footer, which says where all is.
    fn rest_hash(&self) -> Result<u64, SourceError> {
        let ends = self
            .row_groups()
            .iter()
            .flat_map(RowGroupMetaData::columns)
            .map(|column| {
                let start = column
                    .dictionary_page_offset()
                    .unwrap_or_else(|| column.data_page_offset());
                let number = |number: i64| u64::try_from(number).unwrap_or(0);
                number(start).saturating_add(number(column.compressed_size()))
            });
        let at = ends.max().unwrap_or(0).min(self.file.len);
        hash_from(&self.file, at)
    }
}

/// Why values of a type cannot be read as they are, if so.
pub(super) fn unreadable(data_type: &DataType) -> Option<&'static str> {
    match data_type {
        // The reader keeps one of months, days and milliseconds and drops the others.
        DataType::Interval(_) => Some("intervals of Parquet"),
        DataType::Struct(fields) => fields
            .iter()
            .find_map(|field| unreadable(field.data_type())),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => unreadable(item.data_type()),
        _ => None,
    }
}

fn damaged(file: &SourceFile, message: impl Into<String>) -> SourceError {
    SourceError::Damaged {
        file: file.display.clone(),
        title: "Parquet",
        message: message.into(),
    }
}

fn unsupported(file: &SourceFile, what: impl Into<String>) -> SourceError {
    SourceError::Unsupported {
        file: file.display.clone(),
        what: what.into(),
    }
}

/// Runs the Parquet reader. It promises errors for damaged files, but a few damages make it panic; a file
/// must not take the process down.
fn guarded<T, E: Display>(
    file: &SourceFile,
    read: impl FnOnce() -> Result<T, E>,
) -> Result<T, SourceError> {
    match guard(read) {
        Some(result) => result.map_err(|e| refused(file, &e.to_string())),
        None => Err(damaged(file, "the reader gave up")),
    }
}

/// The reader's refusal: it says `NYI` of what it was not taught.
fn refused(file: &SourceFile, message: &str) -> SourceError {
    let message = message
        .trim_start_matches("Parquet argument error: ")
        .trim_start_matches("Parquet error: ");
    if let Some((_, what)) = message.split_once("NYI: ") {
        return unsupported(file, what);
    }
    if message.contains("index overflow decoding byte array") {
        return unsupported(file, "more than 2 GiB of text in a batch of rows");
    }
    damaged(file, message)
}

/// Reads the batches of some row groups.
pub(super) struct ParquetShard {
    file: SourceFile,
    /// The columns wanted, in the order wanted.
    schema: SchemaRef,
    /// Where each of them comes from.
    origins: Vec<ParquetOrigin>,
    reader: ParquetRecordBatchReader,
    /// The columns of type INT96 once more, in seconds: their nanoseconds in 64 bits reach from 1677 to 2262 only.
    seconds: Option<ParquetRecordBatchReader>,
    fault: FaultCell,
    /// Rows of the file before the next batch.
    row: u64,
    /// Rows of the file before the end of the shard.
    row_end: u64,
    digest: u128,
    bytes: u64,
}

/// Where a column comes from.
#[derive(Debug, Clone, Copy)]
enum ParquetOrigin {
    /// The file does not have it: NULL.
    Absent,
    /// A column of the reader.
    Read(usize),
    /// A column of the reader, in nanoseconds that may have wrapped, and one of the other reader, in seconds.
    Int96(usize, usize),
}

impl ParquetShard {
    /// Opens `len` row groups from `start`.
    pub(super) fn open(
        file: &SourceFile,
        start: u64,
        len: u64,
        request: ReadRequest<'_>,
    ) -> Result<Self, SourceError> {
        let opened = footer::read(file)?;
        let range = groups(file, &opened.metadata, start, len)?;
        let groups = opened.metadata.row_groups();
        let rows = |groups: &[RowGroupMetaData]| -> u64 {
            let rows = groups.iter().map(RowGroupMetaData::num_rows);
            rows.map(|rows| u64::try_from(rows).unwrap_or(0)).sum()
        };
        let (row, row_end) = (rows(&groups[..range.start]), rows(&groups[..range.end]));
        let (digest, bytes) = digest(file, &groups[range.clone()])?;
        let wanted = request
            .schema
            .project(request.columns)
            .map_err(|e| SourceError::Plan(e.to_string()))?;
        let fault = FaultCell::default();
        let groups = RowGroupRun {
            handle: Arc::clone(&opened.handle),
            metadata: Arc::clone(&opened.metadata),
            range,
            fault: Arc::clone(&fault),
        };
        let columns = ParquetColumns::new(file, &opened, &wanted, request.declared)?;
        let opening = |e| taken(&fault, file).unwrap_or(e);
        let (reader, seconds) = columns.readers(file, &opened, &groups).map_err(opening)?;
        if columns.roots.is_empty() {
            count(file, &groups).map_err(|e| taken(&fault, file).unwrap_or(e))?;
        }
        Ok(Self {
            file: file.clone(),
            schema: Arc::new(wanted),
            origins: columns.origins,
            reader,
            seconds,
            fault,
            row,
            row_end,
            digest,
            bytes,
        })
    }

    fn read(&mut self, seconds: bool) -> Result<Option<RecordBatch>, SourceError> {
        let reader = match (seconds, &mut self.seconds) {
            (true, Some(reader)) => reader,
            _ => &mut self.reader,
        };
        let read = guarded(&self.file, || reader.next().transpose());
        read.map_err(|e| taken(&self.fault, &self.file).unwrap_or(e))
    }

    /// The rows read must be those that the footer promises.
    fn check_end(&self) -> Result<(), SourceError> {
        if self.row == self.row_end {
            return Ok(());
        }
        let (found, said) = (self.row, self.row_end);
        Err(damaged(
            &self.file,
            format!("its columns have {found} rows up to here, the footer says {said}"),
        ))
    }

    /// The columns in the order wanted and of the types wanted.
    fn arranged(
        &self,
        batch: &RecordBatch,
        seconds: Option<&RecordBatch>,
    ) -> Result<RecordBatch, SourceError> {
        let rows = batch.num_rows();
        let mut columns = Vec::with_capacity(self.origins.len());
        for (origin, field) in self.origins.iter().zip(self.schema.fields()) {
            let column = match *origin {
                ParquetOrigin::Absent => new_null_array(field.data_type(), rows),
                ParquetOrigin::Read(at) => {
                    let column = batch.column(at);
                    guarded_exact(column, field.data_type())
                        .map_err(|inexact| self.inexact(field, inexact))?
                }
                ParquetOrigin::Int96(at, at_seconds) => {
                    let whole = seconds.filter(|seconds| seconds.num_rows() == rows);
                    let Some(whole) = whole else {
                        return Err(damaged(&self.file, "its columns differ in length"));
                    };
                    int96(
                        batch.column(at),
                        whole.column(at_seconds),
                        field.data_type(),
                    )
                    .map_err(|inexact| self.inexact(field, inexact))?
                }
            };
            columns.push(column);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|e| damaged(&self.file, e.to_string()))
    }

    fn inexact(&self, field: &Field, inexact: Inexact) -> SourceError {
        match inexact {
            Inexact::Value { row, value } => SourceError::Inexact {
                file: self.file.display.clone(),
                row: self.row + row as u64 + 1,
                column: field.name().clone(),
                value,
                expected: type_name(field.data_type()),
            },
            Inexact::Type(message) => {
                unsupported(&self.file, format!("column `{}`: {message}", field.name()))
            }
        }
    }
}

impl ShardRows for ParquetShard {
    fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        let Some(batch) = self.read(false)? else {
            return self.check_end().map(|()| None);
        };
        let seconds = if self.seconds.is_some() {
            self.read(true)?
        } else {
            None
        };
        let arranged = self.arranged(&batch, seconds.as_ref())?;
        self.row += batch.num_rows() as u64;
        if self.row > self.row_end {
            self.check_end()?;
        }
        Ok(Some(arranged))
    }

    fn digest(&self) -> u128 {
        self.digest
    }

    fn bytes_read(&self) -> u64 {
        self.bytes
    }
}

/// The fault that readers of pages stopped at.
fn taken(fault: &FaultCell, file: &SourceFile) -> Option<SourceError> {
    let fault = fault.lock().take()?;
    let place = fault.place;
    Some(match fault.fault {
        PageDefect::Damaged(what) => damaged(file, format!("{place}: {what}")),
        PageDefect::Unsupported(what) => unsupported(file, format!("{place}: {what}")),
        PageDefect::Io(source) => io_error(file, "cannot be read", source),
    })
}

/// [`exact`], with panics of the library as errors.
pub(super) fn guarded_exact(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Inexact> {
    guard(|| exact(array, to)).unwrap_or_else(|| {
        let from = array.data_type();
        Err(Inexact::Type(format!("{from} cannot be read as {to}")))
    })
}

/// Moments of the deprecated type of 96 bits: whole seconds, and nanoseconds of which the upper bits may be lost.
fn int96(nanos: &ArrayRef, seconds: &ArrayRef, to: &DataType) -> Result<ArrayRef, Inexact> {
    const NANOS: i128 = 1_000_000_000;
    let nanos = nanos.as_primitive::<TimestampNanosecondType>();
    let seconds = seconds.as_primitive::<TimestampSecondType>();
    if *to == DataType::Timestamp(TimeUnit::Nanosecond, None) {
        let wrapped = |row: &usize| {
            let second = i128::from(nanos.value(*row)).div_euclid(NANOS);
            nanos.is_valid(*row) && second != i128::from(seconds.value(*row))
        };
        return match (0..nanos.len()).find(wrapped) {
            Some(row) => Err(Inexact::Value {
                row,
                value: shown(seconds, row),
            }),
            None => Ok(Arc::new(nanos.clone())),
        };
    }
    let mut micros = Vec::with_capacity(nanos.len());
    for row in 0..nanos.len() {
        let second = seconds.value(row);
        // What the second lacks: below it nothing was lost to the wrapping.
        let below = nanos
            .value(row)
            .wrapping_sub(second.wrapping_mul(1_000_000_000));
        let whole = i128::from(second) * NANOS + i128::from(below);
        let micro = i64::try_from(whole / 1_000).ok();
        match micro.filter(|_| whole % 1_000 == 0) {
            Some(micro) => micros.push(micro),
            None if nanos.is_null(row) => micros.push(0),
            None => {
                let value = format!("{} and {below} nanoseconds", shown(seconds, row));
                return Err(Inexact::Value { row, value });
            }
        }
    }
    let micros = TimestampMicrosecondArray::new(micros.into(), nanos.nulls().cloned());
    let micros: ArrayRef = Arc::new(micros);
    exact(&micros, to)
}

/// The columns of a file that are read.
struct ParquetColumns {
    origins: Vec<ParquetOrigin>,
    /// Columns of the file, ascending.
    roots: Vec<usize>,
    /// Those of them of type INT96.
    int96: Vec<usize>,
}

impl ParquetColumns {
    fn new(
        file: &SourceFile,
        opened: &Opened,
        wanted: &Schema,
        declared: &[SchemaField],
    ) -> Result<Self, SourceError> {
        let found = wanted
            .fields()
            .iter()
            .map(|field| root_of(file, &opened.schema, field, declared))
            .collect::<Result<Vec<_>, SourceError>>()?;
        let mut roots: Vec<usize> = found.iter().flatten().copied().collect();
        roots.sort_unstable();
        roots.dedup();
        let descriptor = opened.metadata.file_metadata().schema_descr();
        let int96: Vec<usize> = roots
            .iter()
            .copied()
            .filter(|root| is_int96(descriptor, *root))
            .collect();
        let place = |among: &[usize], root: usize| among.binary_search(&root).unwrap_or(0);
        let origin = |root: Option<usize>| match root {
            None => ParquetOrigin::Absent,
            Some(root) if int96.contains(&root) => {
                ParquetOrigin::Int96(place(&roots, root), place(&int96, root))
            }
            Some(root) => ParquetOrigin::Read(place(&roots, root)),
        };
        Ok(Self {
            origins: found.into_iter().map(origin).collect(),
            roots,
            int96,
        })
    }

    fn readers(
        &self,
        file: &SourceFile,
        opened: &Opened,
        groups: &RowGroupRun,
    ) -> Result<(ParquetRecordBatchReader, Option<ParquetRecordBatchReader>), SourceError> {
        let in_unit = |unit: TimeUnit| -> Fields {
            let field = |(root, field): (usize, &FieldRef)| match self.int96.contains(&root) {
                true => {
                    let data_type = DataType::Timestamp(unit, None);
                    Arc::new(field.as_ref().clone().with_data_type(data_type))
                }
                false => Arc::clone(field),
            };
            opened.fields.iter().enumerate().map(field).collect()
        };
        let reader = |roots: &[usize], fields: &Fields| {
            let descriptor = opened.metadata.file_metadata().schema_descr();
            guarded(file, || {
                let mask = ProjectionMask::roots(descriptor, roots.iter().copied());
                let levels = parquet_to_arrow_field_levels(descriptor, mask, Some(fields))?;
                ParquetRecordBatchReader::try_new_with_row_groups(
                    &levels,
                    groups,
                    BATCH_ROWS_MAX,
                    None,
                )
            })
        };
        let all = reader(&self.roots, &in_unit(TimeUnit::Nanosecond))?;
        let seconds = match self.int96.is_empty() {
            true => None,
            false => Some(reader(&self.int96, &in_unit(TimeUnit::Second))?),
        };
        Ok((all, seconds))
    }
}

/// The column of a file that is a field of the source; `None` where it is one that the file need not have.
pub(super) fn root_of(
    file: &SourceFile,
    found: &Schema,
    field: &Field,
    declared: &[SchemaField],
) -> Result<Option<usize>, SourceError> {
    let changed = |found: String| SourceError::Changed {
        file: file.display.clone(),
        expected: format!(
            "column `{}` of type {}",
            field.name(),
            type_name(field.data_type())
        ),
        found,
    };
    match found.column_with_name(field.name()) {
        Some((root, own)) if is_convertible(own.data_type(), field.data_type()) => Ok(Some(root)),
        Some((_, own)) => Err(changed(format!("type {}", type_name(own.data_type())))),
        None if declared.iter().any(|known| known.name == *field.name()) => Ok(None),
        None => Err(changed("none".to_owned())),
    }
}

/// Where no column is read, the rows are counted by the footer; the headers of one column's pages tell whether it is
/// right.
fn count(file: &SourceFile, groups: &RowGroupRun) -> Result<(), SourceError> {
    let descriptor = groups.metadata.file_metadata().schema_descr();
    let flat =
        (0..descriptor.num_columns()).find(|leaf| descriptor.column(*leaf).max_rep_level() == 0);
    let Some(leaf) = flat else { return Ok(()) };
    for group in groups.range.clone() {
        guarded(file, || {
            use parquet::column::page::PageReader;
            let mut pages = groups.pages(group, leaf)?;
            while pages.peek_next_page()?.is_some() {
                pages.skip_next_page()?;
            }
            Ok::<_, parquet::errors::ParquetError>(())
        })?;
    }
    Ok(())
}

fn groups(
    file: &SourceFile,
    metadata: &ParquetMetaData,
    start: u64,
    len: u64,
) -> Result<Range<usize>, SourceError> {
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

/// XXH3-128 and number of the bytes of some row groups, column by column: what the shard covers, whichever
/// columns a job reads.
fn digest(file: &SourceFile, groups: &[RowGroupMetaData]) -> Result<(u128, u64), SourceError> {
    let failed = |source| io_error(file, "cannot be read", source);
    let mut handle = open(file)?;
    let mut hash = Xxh3::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 256 * 1024];
    for column in groups.iter().flat_map(RowGroupMetaData::columns) {
        let range = byte_range(column).unwrap_or(0..0);
        handle.seek(SeekFrom::Start(range.start)).map_err(failed)?;
        let mut rest = (&handle).take(range.end - range.start);
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
