//! The rows that a program sends, decoded and checked against the columns that the job's results are made of.
//!
//! What comes out are batches with exactly these columns, in their order, each of the kind that the job was planned
//! for. Everything else is the program's fault and says what was expected. What has come and is not decoded yet is at
//! most one row, or one message.

mod ipc;
mod lines;
mod values;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, SchemaRef};
use eciton_proto::v1::RowsFormat;

use self::ipc::Messages;
use self::lines::JsonLines;
use super::error::PullError;

/// The columns that are wanted.
pub(super) struct Wanted {
    schema: SchemaRef,
}

impl Wanted {
    pub(super) fn new(schema: &SchemaRef) -> Wanted {
        Wanted {
            schema: Arc::clone(schema),
        }
    }

    fn fields(&self) -> &[FieldRef] {
        self.schema.fields()
    }
}

/// Why rows are not taken.
pub(super) enum RowsError {
    /// They are not what was expected.
    Invalid(String),
    /// A row or a message is too long.
    TooLarge(String),
    /// What is not their fault.
    Other(PullError),
}

impl From<RowsError> for PullError {
    fn from(error: RowsError) -> PullError {
        match error {
            RowsError::Invalid(what) => PullError::Invalid(what),
            RowsError::TooLarge(what) => PullError::TooLarge(what),
            RowsError::Other(error) => error,
        }
    }
}

/// Takes batches as they come.
pub(super) type Push<'a> = dyn FnMut(RecordBatch) -> Result<(), RowsError> + 'a;

/// Decodes rows of one shard.
pub(super) enum Decoder {
    JsonLines(JsonLines),
    Messages(Box<Messages>),
}

impl Decoder {
    pub(super) fn new(format: RowsFormat) -> Decoder {
        match format {
            RowsFormat::ArrowStream => Decoder::Messages(Box::default()),
            RowsFormat::JsonLines | RowsFormat::Unspecified => {
                Decoder::JsonLines(JsonLines::default())
            }
        }
    }

    /// Decodes what is whole.
    pub(super) fn take(
        &mut self,
        wanted: &Wanted,
        bytes: &[u8],
        push: &mut Push<'_>,
    ) -> Result<(), RowsError> {
        match self {
            Decoder::JsonLines(lines) => lines.take(wanted, bytes, push),
            Decoder::Messages(messages) => messages.take(wanted, bytes, push),
        }
    }

    /// Everything has come.
    pub(super) fn end(&mut self, wanted: &Wanted, push: &mut Push<'_>) -> Result<(), RowsError> {
        match self {
            Decoder::JsonLines(lines) => lines.end(wanted, push),
            Decoder::Messages(messages) => messages.end(),
        }
    }
}

#[cfg(test)]
mod tests;
