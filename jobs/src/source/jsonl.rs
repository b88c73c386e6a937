//! JSON lines to Arrow.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use serde::Deserializer;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

use super::limits::BATCH_ROWS_MAX;
use super::scan::count_json_lines;

/// Decodes blocks of whole lines.
#[derive(Debug)]
pub(super) struct JsonDecoder {
    /// The columns wanted, with their types.
    schema: SchemaRef,
    /// The columns as they are decoded: see [`lexical`].
    decoded: SchemaRef,
    /// Absent until used, and after an error, which leaves a decoder unusable.
    decoder: Option<Decoder>,
}

impl JsonDecoder {
    /// A decoder of the columns of `schema`; other members of a record are passed over, missing ones NULL.
    pub(super) fn new(schema: SchemaRef) -> Self {
        let fields: Fields = schema
            .fields()
            .iter()
            .map(|field| lexical_field(field))
            .collect();
        Self {
            schema,
            decoded: Arc::new(Schema::new(fields)),
            decoder: None,
        }
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Decodes all of `text`, or says why it is malformed. `text` ends with a newline.
    pub(super) fn decode(&mut self, text: &[u8]) -> Result<Vec<RecordBatch>, ArrowError> {
        let mut decoder = match self.decoder.take() {
            Some(decoder) => decoder,
            None => ReaderBuilder::new(self.decoded.clone())
                .with_batch_size(BATCH_ROWS_MAX)
                .with_coerce_primitive(true)
                .build_decoder()?,
        };
        let mut batches = Vec::new();
        let mut rows = 0;
        let mut at = 0;
        while at < text.len() {
            let consumed = decoder.decode(&text[at..])?;
            at += consumed;
            let buffered = decoder.len();
            if let Some(batch) = decoder.flush()? {
                rows += buffered;
                batches.push(self.finish(&batch, buffered)?);
            } else if consumed == 0 {
                return Err(ArrowError::JsonError("not a JSON object".to_owned()));
            }
        }
        if rows != count_json_lines(text) {
            return Err(ArrowError::JsonError("not one object a line".to_owned()));
        }
        self.decoder = Some(decoder);
        Ok(batches)
    }

    fn finish(&self, batch: &RecordBatch, rows: usize) -> Result<RecordBatch, ArrowError> {
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns
            .map(|(column, field)| {
                if column.data_type() == field.data_type() {
                    Ok(column.clone())
                } else {
                    cast_with_options(column, field.data_type(), &strict)
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}

/// Integers are decoded as the text they are written with and parsed after it: decoded as integers, `1.5`
/// would silently become `1`.
fn lexical(data_type: &DataType) -> DataType {
    match data_type {
        integer if integer.is_integer() => DataType::Utf8,
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| lexical_field(field)).collect())
        }
        DataType::List(item) => DataType::List(Arc::new(lexical_field(item))),
        other => other.clone(),
    }
}

fn lexical_field(field: &Field) -> Field {
    field.clone().with_data_type(lexical(field.data_type()))
}

/// A member of an object: its name, and its value as it stands in the text.
pub(crate) type Member<'t> = (Cow<'t, str>, &'t RawValue);

/// The members of the object that `line` is, in their order.
pub(crate) fn members(line: &[u8]) -> Result<Vec<Member<'_>>, serde_json::Error> {
    struct Members;

    impl<'t> Visitor<'t> for Members {
        type Value = Vec<Member<'t>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((name, value)) = map.next_entry::<Name<'t>, &'t RawValue>()? {
                members.push((name.0, value));
            }
            Ok(members)
        }
    }

    // Without the newline: an error at the end of the line is counted from its start.
    let mut deserializer = serde_json::Deserializer::from_slice(line.trim_ascii_end());
    let members = deserializer.deserialize_map(Members)?;
    deserializer.end()?;
    Ok(members)
}

/// A name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);
