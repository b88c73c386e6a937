//! CSV and TSV to Arrow.

use arrow::array::RecordBatch;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::{Decoder, Format};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use regex::Regex;

use super::dialect::Dialect;
use super::limits::BATCH_ROWS_MAX;
use super::plain::PlainDecoder;
use super::scan::count_csv_lines;

/// How the records of a CSV source become batches.
#[derive(Debug, Clone)]
pub(super) struct CsvFormat {
    pub(super) dialect: Dialect,
    /// Every column of the source, in order.
    pub(super) schema: SchemaRef,
    /// Columns wanted, by index.
    pub(super) columns: Vec<usize>,
    pub(super) nulls: Nulls,
}

/// What stands for NULL in a field.
#[derive(Debug, Clone)]
pub(super) struct Nulls {
    values: Vec<String>,
    /// The same for the decoder; `None`: the empty field, which it checks faster.
    pattern: Option<Regex>,
}

impl Nulls {
    /// The fields that are one of `values`.
    pub(super) fn new(values: &[String]) -> Result<Nulls, regex::Error> {
        Ok(Nulls {
            values: values.to_vec(),
            pattern: pattern(values)?,
        })
    }

    /// The values.
    pub(super) fn values(&self) -> &[String] {
        &self.values
    }

    /// What a reader has to be told; `None`: nothing, it is the empty field.
    pub(super) fn pattern(&self) -> Option<&Regex> {
        self.pattern.as_ref()
    }
}

impl CsvFormat {
    fn decoder(&self) -> Decoder {
        let mut format = Format::default()
            .with_header(false)
            .with_delimiter(self.dialect.delimiter)
            .with_quote(self.dialect.quote);
        if let Some(nulls) = self.nulls.pattern() {
            format = format.with_null_regex(nulls.clone());
        }
        ReaderBuilder::new(self.schema.clone())
            .with_format(format)
            .with_batch_size(BATCH_ROWS_MAX)
            .with_projection(self.columns.clone())
            .build_decoder()
    }
}

/// Decodes blocks of whole records.
#[derive(Debug)]
pub(super) struct CsvDecoder {
    format: CsvFormat,
    /// For the text that it knows how to decode, which is most.
    plain: Option<PlainDecoder>,
    /// Absent until used, and after an error, which leaves a decoder unusable.
    decoder: Option<Decoder>,
}

impl CsvDecoder {
    pub(super) fn new(format: CsvFormat) -> Self {
        Self {
            plain: PlainDecoder::new(&format),
            format,
            decoder: None,
        }
    }

    /// One that takes no short way.
    #[cfg(test)]
    pub(super) fn without_plain(format: CsvFormat) -> Self {
        Self {
            plain: None,
            format,
            decoder: None,
        }
    }

    pub(super) fn format(&self) -> &CsvFormat {
        &self.format
    }

    /// Decodes all of `text`, or says why it is malformed. `text` ends with a newline that ends a record.
    pub(super) fn decode(&mut self, text: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
        let plain = self.plain.as_ref();
        if let Some(batches) = plain.and_then(|plain| plain.decode(text, &self.format)) {
            return Ok(batches);
        }
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => self.begin()?,
        };
        let mut batches = Vec::new();
        let mut rows = 0;
        let mut at = 0;
        while at < text.len() {
            at += decoder.decode(&text[at..])?;
            if decoder.capacity() == 0 || at == text.len() {
                rows += BATCH_ROWS_MAX - decoder.capacity();
                batches.extend(decoder.flush()?);
            }
        }
        // A quoted newline makes one record of two lines. Where that is not allowed it would be one
        // answer here and another where a shard is cut between the lines.
        let dialect = self.format.dialect;
        let may_join_lines = !dialect.newlines && memchr::memchr(dialect.quote, text).is_some();
        if may_join_lines && rows != count_csv_lines(text) {
            return Err(ArrowError::CsvError(
                "a quote that is not closed in its line".to_owned(),
            ));
        }
        self.decoder = Some(decoder);
        Ok(batches)
    }

    fn begin(&self) -> Result<Decoder, ArrowError> {
        let mut decoder = self.format.decoder();
        // The parser takes a byte order mark off what it sees first, which here is the middle of a file.
        decoder.decode(b"\n")?;
        Ok(decoder)
    }
}

/// The pattern of the strings that stand for NULL; `None` if it is just the empty field.
fn pattern(values: &[String]) -> Result<Option<Regex>, regex::Error> {
    if matches!(values, [only] if only.is_empty()) {
        return Ok(None);
    }
    if values.is_empty() {
        // Nothing is in the empty class, so this matches nothing.
        return Regex::new(r"[a&&b]").map(Some);
    }
    let escaped: Vec<_> = values.iter().map(|value| regex::escape(value)).collect();
    Regex::new(&format!(r"\A(?:{})\z", escaped.join("|"))).map(Some)
}
