//! JSON lines.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Field, Schema};
use eciton_proto::limits::ROW_LEN_MAX;
use serde_json::Value;

use super::values::array;
use super::{Push, RowsError, Wanted};
use crate::source::limits::BATCH_ROWS_MAX;
use crate::source::members;

/// Bytes of lines that make one batch, about.
const BATCH_LEN_MAX: usize = 4 * 1024 * 1024;

/// Lines of JSON, one object a row.
#[derive(Default)]
pub(in crate::run::pull) struct JsonLines {
    /// The beginning of a line.
    pending: Vec<u8>,
    /// Lines before it.
    rows: u64,
    batch: LineBatch,
}

/// Rows on their way into a batch: a list of values for each column.
#[derive(Default)]
struct LineBatch {
    columns: Vec<Vec<Value>>,
    rows: usize,
    len: usize,
}

impl JsonLines {
    pub(super) fn take(
        &mut self,
        wanted: &Wanted,
        bytes: &[u8],
        push: &mut Push<'_>,
    ) -> Result<(), RowsError> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, later) = rest.split_at(end + 1);
            rest = later;
            if self.pending.is_empty() {
                self.line(wanted, line)?;
            } else {
                self.hold(line)?;
                let line = std::mem::take(&mut self.pending);
                self.line(wanted, &line)?;
            }
            if self.batch.rows >= BATCH_ROWS_MAX || self.batch.len >= BATCH_LEN_MAX {
                self.flush(wanted, push)?;
            }
        }
        self.hold(rest)?;
        // Values take more room than the text they come from.
        self.flush(wanted, push)
    }

    fn hold(&mut self, part: &[u8]) -> Result<(), RowsError> {
        let len = self.pending.len() + part.len();
        if len > ROW_LEN_MAX {
            return Err(self.too_large(len));
        }
        self.pending.extend_from_slice(part);
        assert!(
            self.pending.len() <= ROW_LEN_MAX,
            "a row of {} bytes is held",
            self.pending.len()
        );
        Ok(())
    }

    fn too_large(&self, len: usize) -> RowsError {
        RowsError::TooLarge(format!(
            "row {} has {len} bytes or more, expected at most {ROW_LEN_MAX}",
            self.rows
        ))
    }

    pub(super) fn end(&mut self, wanted: &Wanted, push: &mut Push<'_>) -> Result<(), RowsError> {
        if !self.pending.is_empty() {
            let row = self.rows;
            let what = format!("row {row} does not end; expected a newline after each");
            return Err(RowsError::Invalid(what));
        }
        self.flush(wanted, push)
    }

    /// Takes one line with its newline.
    fn line(&mut self, wanted: &Wanted, line: &[u8]) -> Result<(), RowsError> {
        if line.len() > ROW_LEN_MAX {
            return Err(self.too_large(line.len()));
        }
        let row = self.rows;
        let invalid = |why: String| RowsError::Invalid(format!("row {row}: {why}"));
        let members =
            members(line).map_err(|why| invalid(format!("expected a JSON object: {why}")))?;
        let by_name: HashMap<&str, _> = members
            .iter()
            .map(|(name, value)| (name.as_ref(), *value))
            .collect();
        let fields = wanted.fields();
        self.batch.columns.resize_with(fields.len(), Vec::new);
        for (field, column) in fields.iter().zip(&mut self.batch.columns) {
            let name = field.name();
            let Some(value) = by_name.get(name.as_str()) else {
                return Err(invalid(format!("expected a column `{name}`, null or not")));
            };
            let value = serde_json::from_str(value.get())
                .map_err(|why| invalid(format!("column `{name}`: {why}")))?;
            column.push(value);
        }
        self.rows += 1;
        self.batch.rows += 1;
        self.batch.len += line.len();
        Ok(())
    }

    fn flush(&mut self, wanted: &Wanted, push: &mut Push<'_>) -> Result<(), RowsError> {
        let LineBatch { columns, rows, .. } = std::mem::take(&mut self.batch);
        if rows == 0 {
            return Ok(());
        }
        assert!(
            rows as u64 <= self.rows,
            "{rows} rows of {} that came",
            self.rows
        );
        let uneven = columns.iter().find(|values| values.len() != rows);
        assert!(
            uneven.is_none(),
            "a column of {:?} values in {rows} rows",
            uneven.map(Vec::len)
        );
        let first = self.rows - rows as u64;
        let mut fields = Vec::with_capacity(columns.len());
        let mut arrays = Vec::with_capacity(columns.len());
        for (field, values) in wanted.fields().iter().zip(columns) {
            let array = array(field, values).map_err(|fault| {
                let (row, name) = (first + fault.row as u64, field.name());
                RowsError::Invalid(format!("row {row}: column `{name}`: {}", fault.why))
            })?;
            fields.push(Field::new(field.name(), array.data_type().clone(), true));
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options)
            .map_err(|error| RowsError::Invalid(error.to_string()))?;
        push(batch)
    }
}
