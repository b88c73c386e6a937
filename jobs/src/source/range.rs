//! The integers of a `range` source.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::limits::BATCH_ROWS_MAX;

/// The columns of every `range` source: `i`.
pub(super) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("i", DataType::Int64, true)]))
}

/// The values `next..end` in batches.
#[derive(Debug)]
pub(super) struct RangeShard {
    schema: SchemaRef,
    next: i64,
    end: i64,
}

impl RangeShard {
    /// The values `start..end`, under the columns of `schema`, each of which is `i`.
    pub(super) fn new(schema: SchemaRef, start: i64, end: i64) -> Self {
        Self {
            schema,
            next: start,
            end,
        }
    }

    /// The next batch; `None` at the end of the shard.
    pub(super) fn next(&mut self) -> Option<RecordBatch> {
        if self.next >= self.end {
            return None;
        }
        let rows = i64::try_from(BATCH_ROWS_MAX).unwrap_or(i64::MAX);
        let end = self.next.saturating_add(rows).min(self.end);
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(self.next..end));
        let columns = self
            .schema
            .fields()
            .iter()
            .map(|_| values.clone())
            .collect();
        let options = RecordBatchOptions::new().with_row_count(Some(values.len()));
        self.next = end;
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).ok()
    }
}
