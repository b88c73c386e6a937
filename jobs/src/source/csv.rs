//! CSV and TSV to Arrow.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;

use super::array::{Cells, CsvCell, column};
use super::dialect::Dialect;
use super::error::Refusal;
use super::fields::{Field, split_into};
use super::limits::batch_rows;
use super::plain::decode_plain;
use super::reading::Reading;
use super::scan::is_line_end;

/// How the records of a CSV source become batches.
#[derive(Debug, Clone)]
pub(super) struct CsvFormat {
    pub(super) dialect: Dialect,
    /// Every column of the source, in order.
    pub(super) readings: Arc<[Reading]>,
    /// The columns wanted.
    pub(super) schema: SchemaRef,
    /// Columns wanted, by index.
    pub(super) columns: Vec<usize>,
    /// What stands for NULL in a field.
    pub(super) nulls: Vec<String>,
}

impl CsvFormat {
    /// Whether an empty line is a record: the empty field of the only column.
    pub(super) fn has_empty_records(&self) -> bool {
        self.readings.len() == 1
    }
}

/// Decodes blocks of whole records.
#[derive(Debug)]
pub(super) struct CsvDecoder {
    format: CsvFormat,
}

impl CsvDecoder {
    pub(super) fn new(format: CsvFormat) -> Self {
        Self { format }
    }

    pub(super) fn format(&self) -> &CsvFormat {
        &self.format
    }

    /// Decodes all of `text`, or says why it is malformed. `text` ends with the end of a line that ends a record.
    pub(super) fn decode(&self, text: &[u8]) -> Result<Vec<RecordBatch>, Refusal> {
        if let Some(batches) = decode_plain(text, &self.format) {
            return Ok(batches);
        }
        decode_any(text, &self.format)
    }
}

/// Decodes text in which anything may stand: fields with quotes, lines that end with `\r`.
pub(super) fn decode_any(text: &[u8], format: &CsvFormat) -> Result<Vec<RecordBatch>, Refusal> {
    let text = std::str::from_utf8(text).map_err(|_| Refusal::new("not UTF-8"))?;
    let bytes = text.as_bytes();
    let mut rows = CsvRows::new(text, format)?;
    let mut fields: Vec<Field<'_>> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if is_line_end(bytes[at]) {
            let len = if bytes[at..].starts_with(b"\r\n") {
                2
            } else {
                1
            };
            if format.has_empty_records() {
                rows.push_empty();
                rows.flush_full()?;
            }
            at += len;
            continue;
        }
        let end = at + split_into(&bytes[at..], format.dialect, &mut fields);
        rows.push(at, &fields)?;
        rows.flush_full()?;
        at = end;
    }
    rows.finish()
}

/// Where a field stands in its text, or behind it in the values that stand nowhere as they are.
pub(super) type Span = (u32, u32);

/// Rows that are no batch yet, and the batches that others became.
pub(super) struct CsvRows<'t> {
    text: &'t str,
    format: &'t CsvFormat,
    /// Row by row, of each the columns wanted.
    spans: Vec<Span>,
    /// Values with doubled quotes halved; a span that begins behind the text is in here.
    halved: String,
    count: usize,
    count_max: usize,
    batches: Vec<RecordBatch>,
}

impl<'t> CsvRows<'t> {
    pub(super) fn new(text: &'t str, format: &'t CsvFormat) -> Result<CsvRows<'t>, Refusal> {
        // Twice, since every value may be copied once.
        if u32::try_from(text.len().saturating_mul(2)).is_err() {
            return Err(Refusal::new("a block of more than 2 GiB"));
        }
        Ok(CsvRows {
            text,
            format,
            spans: Vec::new(),
            halved: String::new(),
            count: 0,
            count_max: batch_rows(format.columns.len()),
            batches: Vec::new(),
        })
    }

    /// A field that is wanted, the next of its row.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "checked for the whole text"
    )]
    #[inline]
    pub(super) fn push_span(&mut self, start: usize, end: usize) {
        self.spans.push((start as u32, end as u32));
    }

    /// Ends a row.
    #[inline]
    pub(super) fn end_row(&mut self) {
        self.count += 1;
    }

    fn push_empty(&mut self) {
        for _ in &self.format.columns {
            self.push_span(0, 0);
        }
        self.end_row();
    }

    /// A record that begins at `start`.
    fn push(&mut self, start: usize, fields: &[Field<'_>]) -> Result<(), Refusal> {
        let dialect = self.format.dialect;
        if fields.len() != self.format.readings.len() {
            return Err(Refusal::new("another number of fields"));
        }
        for field in fields {
            if field.open || field.stray(dialect).is_some() || !field.is_in_line(dialect) {
                return Err(Refusal::new("a quote that is not closed as it should be"));
            }
        }
        for column in &self.format.columns {
            // Columns are of the fields, whose number was just checked.
            let Some(field) = fields.get(*column) else {
                return Err(Refusal::new("a column that is not there"));
            };
            let from = start + field.start;
            if field.raw.first() != Some(&dialect.quote) {
                self.push_span(from, from + field.raw.len());
                continue;
            }
            let inner = &field.raw[1..field.raw.len() - 1];
            if memchr::memchr(dialect.quote, inner).is_none() {
                self.push_span(from + 1, from + 1 + inner.len());
                continue;
            }
            let value = field.value(dialect);
            let value = std::str::from_utf8(&value).map_err(|_| Refusal::new("not UTF-8"))?;
            let begin = self.text.len() + self.halved.len();
            self.halved.push_str(value);
            self.push_span(begin, begin + value.len());
        }
        self.end_row();
        Ok(())
    }

    /// Makes a batch of the rows if there are enough.
    #[inline]
    pub(super) fn flush_full(&mut self) -> Result<(), Refusal> {
        if self.count == self.count_max {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Refusal> {
        let mut arrays = Vec::with_capacity(self.format.columns.len());
        for (place, index) in self.format.columns.iter().enumerate() {
            let column_of = CsvColumn { rows: self, place };
            let array = self.format.readings.get(*index);
            let array = array.and_then(|reading| column(reading, &column_of));
            arrays.push(array.ok_or_else(|| Refusal::new("a value of another type"))?);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.count));
        let schema = Arc::clone(&self.format.schema);
        let batch = RecordBatch::try_new_with_options(schema, arrays, &options);
        self.batches
            .push(batch.map_err(|e| Refusal::new(e.to_string()))?);
        self.spans.clear();
        self.halved.clear();
        self.count = 0;
        Ok(())
    }

    /// All batches.
    pub(super) fn finish(mut self) -> Result<Vec<RecordBatch>, Refusal> {
        if self.count > 0 {
            self.flush()?;
        }
        Ok(self.batches)
    }
}

/// The values of one column in the rows of a batch.
struct CsvColumn<'r, 't> {
    rows: &'r CsvRows<'t>,
    /// Which of the columns wanted.
    place: usize,
}

impl<'r> CsvColumn<'r, '_> {
    fn texts(&self) -> impl Iterator<Item = &'r str> {
        let rows = self.rows;
        let len = rows.text.len();
        let width = rows.format.columns.len();
        let spans = rows.spans.iter().skip(self.place).step_by(width);
        spans.map(move |(start, end)| {
            let (start, end) = (*start as usize, *end as usize);
            if start < len || end <= len {
                &rows.text[start..end]
            } else {
                &rows.halved[start - len..end - len]
            }
        })
    }
}

impl<'r> Cells<'r> for CsvColumn<'r, '_> {
    type Cell = CsvCell<'r>;

    fn len(&self) -> usize {
        self.rows.count
    }

    fn text_len(&self) -> usize {
        self.texts().map(str::len).sum()
    }

    fn iter(&self) -> impl Iterator<Item = Option<CsvCell<'r>>> {
        let nulls = self.rows.format.nulls.as_slice();
        self.texts().map(move |text| {
            let is_null = nulls.iter().any(|null| null == text);
            (!is_null).then_some(CsvCell(text))
        })
    }
}
