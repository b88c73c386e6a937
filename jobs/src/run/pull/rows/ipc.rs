//! An Arrow IPC stream.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, NullArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::Buffer;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::{MessageHeader, root_as_message};
use eciton_proto::limits::ROW_LEN_MAX;

use super::{Push, RowsError, Wanted};
use crate::columns::Kind;
use crate::source::limits::BATCH_ROWS_MAX;

/// What every message begins with; its length follows.
const MARK: [u8; 4] = [0xff; 4];
const HEAD_LEN: usize = 8;
/// Rows of one message: a column has a bit of each, at least.
const MESSAGE_ROWS_MAX: usize = 8 * ROW_LEN_MAX;

/// Messages, one after the other.
#[derive(Default)]
pub(in crate::run::pull) struct Messages {
    /// What has come of the next one.
    pending: Vec<u8>,
    /// How long that is, once it is known.
    len: Option<usize>,
    decoder: StreamDecoder,
    has_begun: bool,
    has_ended: bool,
}

fn invalid(what: impl ToString) -> RowsError {
    RowsError::Invalid(format!("Arrow stream: {}", what.to_string()))
}

impl Messages {
    pub(super) fn take(
        &mut self,
        wanted: &Wanted,
        bytes: &[u8],
        push: &mut Push<'_>,
    ) -> Result<(), RowsError> {
        let mut rest = bytes;
        loop {
            let is_whole = self.fill(&mut rest)?;
            if !is_whole {
                return Ok(());
            }
            let message = std::mem::take(&mut self.pending);
            self.len = None;
            let decoded = self.decode(message)?;
            if let Some(batch) = decoded {
                let batch = fitted(wanted, &batch)?;
                for start in (0..batch.num_rows()).step_by(BATCH_ROWS_MAX) {
                    let len = BATCH_ROWS_MAX.min(batch.num_rows() - start);
                    push(batch.slice(start, len))?;
                }
            }
        }
    }

    pub(super) fn end(&mut self) -> Result<(), RowsError> {
        // Nothing at all has no rows.
        let is_whole = self.has_ended || !self.has_begun;
        if is_whole && self.pending.is_empty() {
            return Ok(());
        }
        Err(invalid("it breaks off; expected its end after the batches"))
    }

    /// Takes what belongs to the next message; whether it is all there.
    fn fill(&mut self, rest: &mut &[u8]) -> Result<bool, RowsError> {
        loop {
            let len = match self.len {
                Some(len) => len,
                None if self.pending.len() < HEAD_LEN => HEAD_LEN,
                None => match self.measure()? {
                    Some(len) => len,
                    // It has ended, and nothing may come.
                    None if rest.is_empty() => return Ok(false),
                    None => return Err(invalid("something follows after its end")),
                },
            };
            let missing = len.saturating_sub(self.pending.len()).min(rest.len());
            let (part, later) = rest.split_at(missing);
            self.pending.extend_from_slice(part);
            *rest = later;
            assert!(
                self.pending.len() <= ROW_LEN_MAX.max(HEAD_LEN),
                "{} bytes of a message are held",
                self.pending.len()
            );
            if self.has_ended && !self.pending.is_empty() {
                return Err(invalid("something follows after its end"));
            }
            if self.pending.len() < len {
                return Ok(false);
            }
            if self.len == Some(len) {
                return Ok(true);
            }
        }
    }

    /// How long what has come has to be at least; the whole message, once that can be told. `None` at its end.
    fn measure(&mut self) -> Result<Option<usize>, RowsError> {
        self.has_begun = true;
        let (head, meta) = self.pending.split_at(HEAD_LEN);
        if head[..4] != MARK {
            return Err(invalid("expected a message"));
        }
        let meta_len = head[4..].try_into().map_or(-1, i32::from_le_bytes);
        if meta_len == 0 {
            self.pending.clear();
            self.has_ended = true;
            return Ok(None);
        }
        let meta_len = usize::try_from(meta_len).map_err(|_| invalid("a length below 0"))?;
        let too_large = |len: usize| {
            RowsError::TooLarge(format!(
                "Arrow stream: a message of {len} bytes, expected at most {ROW_LEN_MAX}"
            ))
        };
        let with_meta = HEAD_LEN.saturating_add(meta_len);
        if with_meta > ROW_LEN_MAX {
            return Err(too_large(with_meta));
        }
        if meta.len() < meta_len {
            return Ok(Some(with_meta));
        }
        let message = root_as_message(meta).map_err(invalid)?;
        let body_len = usize::try_from(message.bodyLength()).map_err(|_| invalid("a body"))?;
        let len = with_meta.saturating_add(body_len);
        if len > ROW_LEN_MAX {
            return Err(too_large(len));
        }
        match message.header_type() {
            MessageHeader::Schema => {}
            MessageHeader::RecordBatch => {
                let batch = message.header_as_record_batch();
                let batch = batch.ok_or_else(|| invalid("a batch without a header"))?;
                if batch.compression().is_some() {
                    return Err(invalid("expected buffers that are not compressed"));
                }
                let rows = usize::try_from(batch.length()).unwrap_or(usize::MAX);
                if rows > MESSAGE_ROWS_MAX {
                    return Err(too_large(usize::MAX));
                }
            }
            _ => {
                return Err(invalid(
                    "expected a schema and batches, without dictionaries",
                ));
            }
        }
        self.len = Some(len);
        Ok(Some(len))
    }

    fn decode(&mut self, message: Vec<u8>) -> Result<Option<RecordBatch>, RowsError> {
        let mut buffer = Buffer::from_vec(message);
        let mut decoded = None;
        while !buffer.is_empty() {
            let decoder = AssertUnwindSafe(&mut self.decoder);
            let room = AssertUnwindSafe(&mut buffer);
            // Whatever a program sends: the decoder's asserts are its fault, too.
            let step = catch_unwind(move || {
                let (decoder, room) = (decoder, room);
                decoder.0.decode(room.0)
            });
            let batch = step.map_err(|_| invalid("its lengths do not agree"))?;
            decoded = decoded.or(batch.map_err(invalid)?);
        }
        Ok(decoded)
    }
}

/// The columns that are wanted, out of those that came.
fn fitted(wanted: &Wanted, batch: &RecordBatch) -> Result<RecordBatch, RowsError> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for field in wanted.fields() {
        let name = field.name();
        let column = batch.column_by_name(name);
        let column = column.ok_or_else(|| invalid(format!("expected a column `{name}`")))?;
        let array = fit(field, column).map_err(|why| invalid(format!("column `{name}`: {why}")))?;
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new_with_options(schema, arrays, &options).map_err(invalid)
}

/// A column of the kind that is wanted.
fn fit(field: &FieldRef, array: &ArrayRef) -> Result<ArrayRef, String> {
    let (found, expected) = (array.data_type(), field.data_type());
    let nulls = array.logical_null_count();
    if nulls > 0 && !field.is_nullable() {
        return Err("it holds no NULL".to_owned());
    }
    let cast = |to: &DataType| {
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        cast_with_options(array, to, &strict).map_err(|error| error.to_string())
    };
    let unfit = || Err(format!("expected {expected}, found {found}"));
    match (Kind::of(found), Kind::of(expected)) {
        _ if matches!(found, DataType::Dictionary(..)) => unfit(),
        (Some(Kind::Null), Some(Kind::Null)) => Ok(Arc::clone(array)),
        (_, Some(Kind::Null)) if nulls == array.len() => Ok(Arc::new(NullArray::new(array.len()))),
        (Some(Kind::Null), _) => Ok(new_null_array(plain(expected), array.len())),
        (Some(found), Some(expected)) if found == expected => Ok(Arc::clone(array)),
        (Some(Kind::Int), Some(Kind::Uint)) => cast(&DataType::UInt64),
        (Some(Kind::Uint), Some(Kind::Int)) => cast(&DataType::Int64),
        (None, None) if found.equals_datatype(expected) => Ok(Arc::clone(array)),
        _ => unfit(),
    }
}

fn plain(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}
