//! The rows of some record batches.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{Field, SchemaRef};
use arrow::ipc::reader::FileDecoder;
use arrow::ipc::root_as_message;
use eciton_proto::v1::SourceFile;
use xxhash_rust::xxh3::Xxh3;

use super::super::super::error::SourceError;
use super::super::super::exact::Inexact;
use super::super::super::format::ShardRows;
use super::super::super::limits::{BATCH_ROWS_MAX, PAGE_LEN_MAX};
use super::super::super::parquet::{guarded_exact, root_of};
use super::super::grouped::{FileOutline, ReadRequest};
use super::outline::{ArrowOutline, Part, unprefixed};
use super::{damaged, guarded, unsupported};
use crate::spec::type_name;

/// Rows of one record batch: what its rows take in a file may be nothing at all.
const ROWS_MAX: i64 = 1 << 31;

/// Reads some record batches, one at a time.
pub(super) struct ArrowBatches {
    file: SourceFile,
    outline: ArrowOutline,
    /// The number of the first batch.
    first: u64,
    /// What is still to be read, the last first.
    parts: Vec<Part>,
    decoder: FileDecoder,
    /// The columns wanted, in the order wanted.
    schema: SchemaRef,
    /// Where each of them is in a decoded batch; none that the file does not have.
    origins: Vec<Option<usize>>,
    /// A batch of which rows from the number on are to be given.
    pending: Option<(RecordBatch, usize)>,
    /// Rows that were given.
    rows: u64,
    hash: Xxh3,
    bytes: u64,
}

impl ArrowBatches {
    /// Opens some batches of a file.
    ///
    /// # Errors
    /// As [`SourceFormat::open`](super::super::super::format::SourceFormat::open).
    pub(super) fn open(
        file: &SourceFile,
        groups: &Range<u64>,
        request: ReadRequest<'_>,
    ) -> Result<ArrowBatches, SourceError> {
        let outline = ArrowOutline::read(file)?;
        let mut parts = outline.parts(groups)?;
        parts.reverse();
        let wanted = request.schema.project(request.columns);
        let wanted = wanted.map_err(|error| SourceError::Plan(error.to_string()))?;
        let roots = wanted
            .fields()
            .iter()
            .map(|field| root_of(file, outline.schema(), field, request.declared))
            .collect::<Result<Vec<_>, _>>()?;
        let mut read: Vec<usize> = roots.iter().flatten().copied().collect();
        read.sort_unstable();
        read.dedup();
        let place = |root: usize| read.binary_search(&root).ok();
        let origins = roots.into_iter().map(|root| root.and_then(place)).collect();
        let decoder = FileDecoder::new(Arc::clone(&outline.own), outline.version);
        Ok(ArrowBatches {
            file: file.clone(),
            first: groups.start,
            parts,
            decoder: decoder.with_projection(read),
            schema: Arc::new(wanted),
            origins,
            pending: None,
            rows: 0,
            hash: Xxh3::new(),
            bytes: 0,
            outline,
        })
    }

    /// Reads dictionaries and the next batch; `None` after the last.
    fn read(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        while let Some(part) = self.parts.pop() {
            let bytes = self.outline.part(part)?;
            self.hash.update(&bytes);
            self.bytes += bytes.len() as u64;
            let block = part.block();
            let meta_len = usize::try_from(block.metaDataLength()).unwrap_or(0);
            let (metadata, body) = bytes.split_at(meta_len.min(bytes.len()));
            check(&self.file, metadata, body)?;
            let buffer = Buffer::from_vec(bytes);
            let (file, decoder) = (&self.file, &mut self.decoder);
            match part {
                Part::Dictionary(_) => {
                    guarded(file, || decoder.read_dictionary(&block, &buffer))?;
                }
                Part::Batch(_) => {
                    let batch = guarded(file, || decoder.read_record_batch(&block, &buffer))?;
                    let none = || damaged(file, "a message that is no record batch");
                    return batch.ok_or_else(none).map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The columns in the order wanted and of the types wanted.
    fn arranged(&self, batch: &RecordBatch) -> Result<RecordBatch, SourceError> {
        let rows = batch.num_rows();
        let column = |(origin, field): (&Option<usize>, &Arc<Field>)| -> Result<ArrayRef, _> {
            match origin {
                None => Ok(new_null_array(field.data_type(), rows)),
                Some(at) => guarded_exact(batch.column(*at), field.data_type())
                    .map_err(|inexact| self.inexact(field, inexact)),
            }
        };
        let columns = self.origins.iter().zip(self.schema.fields()).map(column);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let columns = columns.collect::<Result<_, _>>()?;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
            .map_err(|error| damaged(&self.file, error.to_string()))
    }

    fn inexact(&self, field: &Field, inexact: Inexact) -> SourceError {
        match inexact {
            Inexact::Value { row, value } => {
                let before = match self.outline.rows_before(self.first) {
                    Ok(before) => before + self.rows,
                    Err(error) => return error,
                };
                SourceError::Inexact {
                    file: self.file.display.clone(),
                    row: before + row as u64 + 1,
                    column: field.name().clone(),
                    value,
                    expected: type_name(field.data_type()),
                }
            }
            Inexact::Type(message) => {
                unsupported(&self.file, format!("column `{}`: {message}", field.name()))
            }
        }
    }
}

impl ShardRows for ArrowBatches {
    fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        loop {
            let Some((batch, from)) = self.pending.take() else {
                match self.read()? {
                    Some(batch) => self.pending = Some((batch, 0)),
                    None => return Ok(None),
                }
                continue;
            };
            let len = BATCH_ROWS_MAX.min(batch.num_rows() - from);
            if len == 0 {
                continue;
            }
            let arranged = self.arranged(&batch.slice(from, len))?;
            self.rows += len as u64;
            self.pending = Some((batch, from + len));
            return Ok(Some(arranged));
        }
    }

    fn digest(&self) -> u128 {
        self.hash.digest128()
    }

    fn bytes_read(&self) -> u64 {
        self.bytes
    }
}

/// Holds what a message says of its body against the body, before anything is allocated by it.
fn check(file: &SourceFile, metadata: &[u8], body: &[u8]) -> Result<(), SourceError> {
    let message = guarded(file, || root_as_message(unprefixed(metadata)))?;
    let dictionary = message.header_as_dictionary_batch();
    let batch = message
        .header_as_record_batch()
        .or_else(|| dictionary.and_then(|dictionary| dictionary.data()));
    let Some(batch) = batch else {
        return Err(damaged(file, "a message that is no record batch"));
    };
    if !(0..=ROWS_MAX).contains(&batch.length()) {
        let rows = batch.length();
        return Err(damaged(file, format!("a record batch of {rows} rows")));
    }
    let is_compressed = batch.compression().is_some();
    for buffer in batch.buffers().into_iter().flatten() {
        let start = usize::try_from(buffer.offset()).ok();
        let end = start
            .zip(usize::try_from(buffer.length()).ok())
            .and_then(|(start, len)| start.checked_add(len));
        let within = start.zip(end).and_then(|(start, end)| body.get(start..end));
        let Some(within) = within else {
            return Err(damaged(file, "a buffer lies outside of its message"));
        };
        // What comes out of it, or -1 for what was not worth compressing.
        let len = within
            .first_chunk::<8>()
            .map(|len| i64::from_le_bytes(*len));
        if let Some(len) = len.filter(|_| is_compressed)
            && len != -1
            && usize::try_from(len).map_or(true, |len| len > PAGE_LEN_MAX)
        {
            let what = format!("a compressed buffer of {len} bytes, more than {PAGE_LEN_MAX}");
            return Err(unsupported(file, what));
        }
    }
    Ok(())
}
