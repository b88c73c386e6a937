//! Types of columns, from the first rows.

use std::collections::BTreeSet;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::types::{Date32Type, TimestampMicrosecondType};
use arrow::compute::kernels::cast_utils::Parser;
use arrow::csv::reader::Format;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use arrow::error::ArrowError;
use arrow::json::reader::infer_json_schema_from_iterator;
use regex::Regex;
use serde_json::Value;

use super::dialect::Dialect;

/// The type of every timestamp: microseconds, UTC.
pub(super) fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Types of the columns of CSV records without a header, in order. Every record has `columns` fields.
pub(super) fn csv_types(
    text: &[u8],
    columns: usize,
    dialect: Dialect,
    nulls: Option<&Regex>,
) -> Result<Vec<DataType>, ArrowError> {
    if text.is_empty() {
        return Ok(vec![DataType::Utf8; columns]);
    }
    let mut format = Format::default()
        .with_header(false)
        .with_delimiter(dialect.delimiter)
        .with_quote(dialect.quote);
    if let Some(nulls) = nulls {
        format = format.with_null_regex(nulls.clone());
    }
    let (schema, _) = format.infer_schema(Cursor::new(text), None)?;
    Ok(schema
        .fields()
        .iter()
        .map(|field| settled(field.data_type()))
        .collect())
}

/// One type a kind: timestamps of any precision are UTC microseconds; a column without a value is a string,
/// which any later value is.
fn settled(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Null => DataType::Utf8,
        DataType::Timestamp(_, _) => timestamp(),
        DataType::List(item) => DataType::List(settled_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(settled_field).collect()),
        other => other.clone(),
    }
}

fn settled_field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), settled(field.data_type()), true))
}

/// A kind of JSON value, as fine as types are told apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bool,
    Negative,
    /// From 0 to the largest signed integer.
    Natural,
    /// Beyond the largest signed integer.
    Large,
    Float,
    Date,
    Timestamp,
    Text,
}

/// What the values of a JSON column have been so far.
#[derive(Debug, Default)]
pub(super) struct JsonColumn {
    kinds: BTreeSet<Kind>,
    nested: Vec<Value>,
}

impl JsonColumn {
    /// Takes a value into account.
    pub(super) fn add(&mut self, value: Value) {
        let kind = match value {
            Value::Null => return,
            Value::Array(_) | Value::Object(_) => return self.nested.push(value),
            Value::Bool(_) => Kind::Bool,
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(integer), _) if integer < 0 => Kind::Negative,
                (Some(_), _) => Kind::Natural,
                (None, Some(_)) => Kind::Large,
                (None, None) => Kind::Float,
            },
            Value::String(text) if is_date(&text) => Kind::Date,
            Value::String(text) if is_timestamp(&text) => Kind::Timestamp,
            Value::String(_) => Kind::Text,
        };
        self.kinds.insert(kind);
    }

    /// The narrowest type that holds every value without loss; a string where there is none. A list or an
    /// object is no string, so such a record is malformed, but only for a job that wants the column.
    pub(super) fn data_type(self) -> DataType {
        if !self.nested.is_empty() {
            let alike = if self.kinds.is_empty() {
                nested_type(self.nested).ok()
            } else {
                None
            };
            return alike.unwrap_or(DataType::Utf8);
        }
        let types: [(&[Kind], DataType); 6] = [
            (&[Kind::Bool], DataType::Boolean),
            (&[Kind::Negative, Kind::Natural], DataType::Int64),
            (&[Kind::Natural, Kind::Large], DataType::UInt64),
            (
                &[Kind::Negative, Kind::Natural, Kind::Float],
                DataType::Float64,
            ),
            (&[Kind::Date], DataType::Date32),
            (&[Kind::Date, Kind::Timestamp], timestamp()),
        ];
        let holds = |kinds: &[Kind]| self.kinds.iter().all(|kind| kinds.contains(kind));
        let narrowest = types
            .into_iter()
            .find(|(kinds, _)| !self.kinds.is_empty() && holds(kinds));
        narrowest.map_or(DataType::Utf8, |(_, data_type)| data_type)
    }
}

fn nested_type(values: Vec<Value>) -> Result<DataType, ArrowError> {
    let rows = values
        .into_iter()
        .map(|value| Ok(serde_json::json!({ "value": value })));
    let schema = infer_json_schema_from_iterator(rows)?;
    Ok(settled(schema.field_with_name("value")?.data_type()))
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && Date32Type::parse(text).is_some()
}

/// Whether a text is RFC 3339 with date and time; the parser by itself takes more for a time.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shaped = bytes.len() >= 19
        && bytes[..4].iter().all(u8::is_ascii_digit)
        && bytes[4] == b'-'
        && matches!(bytes[10], b'T' | b't' | b' ')
        && bytes[13] == b':';
    shaped && TimestampMicrosecondType::parse(text).is_some()
}
