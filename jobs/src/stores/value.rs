//! Values of rows as text.

use arrow::array::cast::AsArray;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use eciton_engine::Datum;
use eciton_engine::json::timestamp;

use super::error::QueryError;

/// A value as people read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The text; `None` for NULL.
    pub text: Option<String>,
    /// Whether it is a number.
    pub is_number: bool,
}

/// The values of a batch, row by row: as JSON has them, without the marks around strings and moments.
///
/// # Errors
/// [`QueryError::Format`] for a type that has no text.
pub fn texts(batch: &RecordBatch) -> Result<Vec<Vec<Text>>, QueryError> {
    let columns = batch.columns().iter().map(TextColumn::new);
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let row = |row: usize| {
        let value = |column: &TextColumn<'_>| Text {
            text: column.text(row),
            is_number: column.is_number(),
        };
        columns.iter().map(value).collect()
    };
    Ok((0..batch.num_rows()).map(row).collect())
}

/// One column, ready to be told row by row.
pub(super) struct TextColumn<'a> {
    array: &'a ArrayRef,
    other: Option<ArrayFormatter<'a>>,
}

impl<'a> TextColumn<'a> {
    pub(super) fn new(array: &'a ArrayRef) -> Result<TextColumn<'a>, QueryError> {
        let is_known = matches!(
            array.data_type(),
            DataType::Float32 | DataType::Float64 | DataType::Binary | DataType::Date32
        ) || is_utc(array.data_type())
            || array.data_type() == &DataType::Utf8;
        let other = match is_known {
            true => None,
            false => {
                let made = ArrayFormatter::try_new(array.as_ref(), &OPTIONS);
                Some(made.map_err(|error| QueryError::Format(error.to_string()))?)
            }
        };
        Ok(TextColumn { array, other })
    }

    /// Whether the values are numbers.
    pub(super) fn is_number(&self) -> bool {
        self.array.data_type().is_numeric()
    }

    /// Whether the values are numbers that JSON writes.
    pub(super) fn is_json_number(&self, row: usize) -> bool {
        match self.array.data_type() {
            DataType::Float64 => self
                .array
                .as_primitive::<Float64Type>()
                .value(row)
                .is_finite(),
            DataType::Float32 => self
                .array
                .as_primitive::<Float32Type>()
                .value(row)
                .is_finite(),
            other => other.is_numeric() || *other == DataType::Boolean,
        }
    }

    /// The value of a row; `None` for NULL.
    pub(super) fn text(&self, row: usize) -> Option<String> {
        if self.array.is_null(row) {
            return None;
        }
        if let Some(other) = &self.other {
            return Some(other.value(row).to_string());
        }
        Some(match self.array.data_type() {
            DataType::Utf8 => self.array.as_string::<i32>().value(row).to_owned(),
            DataType::Float64 => float(self.array.as_primitive::<Float64Type>().value(row)),
            DataType::Float32 => float(self.array.as_primitive::<Float32Type>().value(row).into()),
            DataType::Date32 => {
                timestamp::format_date(self.array.as_primitive::<Date32Type>().value(row))
            }
            DataType::Binary => {
                let bytes = self.array.as_binary::<i32>().value(row).to_vec();
                let json = Datum::Bytes(bytes).to_json();
                json["$bytes"].as_str().unwrap_or_default().to_owned()
            }
            _ => {
                let micros = self
                    .array
                    .as_primitive::<TimestampMicrosecondType>()
                    .value(row);
                timestamp::format(micros)
            }
        })
    }
}

const OPTIONS: FormatOptions<'static> = FormatOptions::new()
    .with_display_error(true)
    .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.f"))
    .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.f%:z"));

fn is_utc(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == "UTC")
}

/// A float as JSON writes it, so that it reads back.
fn float(value: f64) -> String {
    match Datum::Float(value).to_json() {
        serde_json::Value::Number(number) => number.to_string(),
        other => other["$f64"].as_str().unwrap_or_default().to_owned(),
    }
}
