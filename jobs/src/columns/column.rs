//! One column of one batch, in the layout of its kind.

use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, BinaryViewArray, BooleanArray, Date32Array,
    Decimal128Array, Float64Array, Int64Array, PrimitiveArray, StringArray, StringViewArray,
    UInt64Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use arrow::error::ArrowError;
use eciton_engine::{Datum, KeyBuilder};

use super::Kind;

const MILLIS_PER_DAY: i64 = 86_400_000;

/// A value of a batch that has no counterpart in the engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column `{column}`{}: {message}", of_row(*row))]
pub struct ValueError {
    /// The column's name.
    pub column: String,
    /// What does not fit.
    pub message: String,
    /// The row that has it, from 0 within what was given to convert, where one is to blame.
    pub row: Option<u64>,
}

impl ValueError {
    /// The error of a batch with so many rows of the shard's output before it.
    pub(crate) fn after(self, rows: u64) -> ValueError {
        ValueError {
            row: self.row.map(|row| row + rows),
            ..self
        }
    }
}

fn of_row(row: Option<u64>) -> String {
    row.map_or_else(String::new, |row| format!(", output row {}", row + 1))
}

/// Why an array is no column.
struct ColumnRefusal {
    message: String,
    row: Option<u64>,
}

impl From<ArrowError> for ColumnRefusal {
    fn from(error: ArrowError) -> ColumnRefusal {
        ColumnRefusal {
            message: error.to_string(),
            row: None,
        }
    }
}

/// A column's values. Text keeps either of Arrow's layouts, because turning one into the other
/// would copy every value.
#[derive(Clone, Debug)]
pub(crate) enum Column {
    /// Nothing but NULL.
    Null,
    Bool(BooleanArray),
    Int(Int64Array),
    Uint(UInt64Array),
    Float(Float64Array),
    Decimal(Decimal128Array, i8),
    Str(StringArray),
    StrView(StringViewArray),
    Bytes(BinaryViewArray),
    /// Days since the epoch.
    Date(Date32Array),
    /// Microseconds since the epoch.
    Timestamp(Int64Array),
}

impl Column {
    /// Brings an array into its kind's layout.
    ///
    /// # Errors
    /// A type that has no kind, a timestamp whose microseconds 64 bits do not hold, or that has more digits.
    pub(crate) fn read(name: &str, array: &ArrayRef) -> Result<Column, ValueError> {
        Column::from_array(array).map_err(|refusal| ValueError {
            column: name.to_owned(),
            message: refusal.message,
            row: refusal.row,
        })
    }

    fn from_array(array: &ArrayRef) -> Result<Column, ColumnRefusal> {
        let data_type = array.data_type();
        if let DataType::Dictionary(_, values) = data_type {
            return Column::from_array(&cast(array, values)?);
        }
        let kind = Kind::of(data_type).ok_or_else(|| ColumnRefusal {
            message: format!("values of type {data_type} are not supported"),
            row: None,
        })?;
        Ok(match kind {
            Kind::Null => Column::Null,
            Kind::Bool => Column::Bool(array.as_boolean().clone()),
            Kind::Int => Column::Int(
                as_type(array, &DataType::Int64)?
                    .as_primitive::<Int64Type>()
                    .clone(),
            ),
            Kind::Uint => Column::Uint(array.as_primitive::<UInt64Type>().clone()),
            Kind::Float => {
                let floats = as_type(array, &DataType::Float64)?;
                Column::Float(floats.as_primitive::<Float64Type>().clone())
            }
            Kind::Decimal(scale) => Column::Decimal(decimals(array, scale)?, scale),
            Kind::Str => strings(array)?,
            Kind::Bytes => Column::Bytes(binaries(array)?),
            Kind::Date => Column::Date(days(array)?),
            Kind::Timestamp => Column::Timestamp(micros(array)?),
        })
    }

    /// Which rows are not NULL; `None` when all are. Every row of a `Null` column is NULL, which
    /// this does not say: see [`Column::is_null`].
    pub(crate) fn nulls(&self) -> Option<&NullBuffer> {
        match self {
            Column::Null => None,
            Column::Bool(array) => array.nulls(),
            Column::Int(array) | Column::Timestamp(array) => array.nulls(),
            Column::Uint(array) => array.nulls(),
            Column::Date(array) => array.nulls(),
            Column::Float(array) => array.nulls(),
            Column::Decimal(array, _) => array.nulls(),
            Column::Str(array) => array.nulls(),
            Column::StrView(array) => array.nulls(),
            Column::Bytes(array) => array.nulls(),
        }
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        matches!(self, Column::Null) || self.nulls().is_some_and(|nulls| nulls.is_null(row))
    }

    /// Adds a row's value to a key.
    pub(crate) fn push_key(&self, row: usize, key: &mut KeyBuilder) {
        if self.is_null(row) {
            return key.push_null();
        }
        match self {
            Column::Null => key.push_null(),
            Column::Bool(array) => key.push_bool(array.value(row)),
            Column::Int(array) => key.push_i64(array.value(row)),
            Column::Uint(array) => key.push_u64(array.value(row)),
            Column::Float(array) => key.push_f64(array.value(row)),
            Column::Decimal(array, scale) => key.push_decimal(array.value(row), *scale),
            Column::Str(array) => key.push_str(array.value(row)),
            Column::StrView(array) => key.push_str(array.value(row)),
            Column::Bytes(array) => key.push_bytes(array.value(row)),
            Column::Date(array) => key.push_date(array.value(row)),
            Column::Timestamp(array) => key.push_timestamp(array.value(row)),
        }
    }

    /// A row's value. For rare paths: it allocates for text.
    pub(crate) fn datum(&self, row: usize) -> Datum {
        if self.is_null(row) {
            return Datum::Null;
        }
        match self {
            Column::Null => Datum::Null,
            Column::Bool(array) => Datum::Bool(array.value(row)),
            Column::Int(array) => Datum::Int(array.value(row).into()),
            Column::Uint(array) => Datum::Int(array.value(row).into()),
            Column::Float(array) => Datum::Float(array.value(row)),
            Column::Decimal(array, scale) => Datum::Decimal {
                unscaled: array.value(row),
                scale: *scale,
            },
            Column::Str(array) => Datum::Str(array.value(row).to_owned()),
            Column::StrView(array) => Datum::Str(array.value(row).to_owned()),
            Column::Bytes(array) => Datum::Bytes(array.value(row).to_owned()),
            Column::Date(array) => Datum::Date(array.value(row)),
            Column::Timestamp(array) => Datum::Timestamp(array.value(row)),
        }
    }
}

/// The array itself where it has the type already.
fn as_type(array: &ArrayRef, data_type: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == data_type {
        return Ok(Arc::clone(array));
    }
    cast(array, data_type)
}

fn strings(array: &ArrayRef) -> Result<Column, ArrowError> {
    Ok(match array.data_type() {
        DataType::Utf8 => Column::Str(array.as_string::<i32>().clone()),
        // Making views of long text copies none of it.
        _ => Column::StrView(
            as_type(array, &DataType::Utf8View)?
                .as_string_view()
                .clone(),
        ),
    })
}

fn binaries(array: &ArrayRef) -> Result<BinaryViewArray, ArrowError> {
    let array = match array.data_type() {
        DataType::FixedSizeBinary(_) => cast(array, &DataType::Binary)?,
        _ => Arc::clone(array),
    };
    Ok(as_type(&array, &DataType::BinaryView)?
        .as_binary_view()
        .clone())
}

/// Widens without changing the scale, so that no digit moves.
fn decimals(array: &ArrayRef, scale: i8) -> Result<Decimal128Array, ArrowError> {
    let wide = match array.data_type() {
        DataType::Decimal128(..) => Arc::clone(array),
        _ => cast(array, &DataType::Decimal128(38, scale))?,
    };
    Ok(wide.as_primitive().clone())
}

/// Days since the epoch, exactly.
fn days(array: &ArrayRef) -> Result<Date32Array, ColumnRefusal> {
    if array.data_type() == &DataType::Date32 {
        return Ok(array.as_primitive::<Date32Type>().clone());
    }
    let millis = array.as_primitive::<Date64Type>();
    let day = |millis: i64| {
        let days = millis.div_euclid(MILLIS_PER_DAY);
        let is_whole = millis.rem_euclid(MILLIS_PER_DAY) == 0;
        i32::try_from(days).ok().filter(|_| is_whole)
    };
    let days = millis.try_unary::<_, Date32Type, ()>(|millis| day(millis).ok_or(()));
    days.map_err(|()| {
        let fails = |row: &usize| millis.is_valid(*row) && day(millis.value(*row)).is_none();
        let row = (0..millis.len()).find(fails).unwrap_or(0);
        ColumnRefusal {
            message: format!("{} (date64) is no whole day", millis.value(row)),
            row: Some(row as u64),
        }
    })
}

/// Microseconds since the epoch, exactly. Not Arrow's cast, which drops nanoseconds.
fn micros(array: &ArrayRef) -> Result<Int64Array, ColumnRefusal> {
    let times = |factor: i64| move |value: i64| value.checked_mul(factor);
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => scaled(
            array.as_primitive::<TimestampSecondType>(),
            times(1_000_000),
        ),
        DataType::Timestamp(TimeUnit::Millisecond, _) => scaled(
            array.as_primitive::<TimestampMillisecondType>(),
            times(1_000),
        ),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            let whole = |nanos: i64| (nanos % 1_000 == 0).then_some(nanos / 1_000);
            scaled(array.as_primitive::<TimestampNanosecondType>(), whole)
        }
        _ => Ok(array
            .as_primitive::<TimestampMicrosecondType>()
            .reinterpret_cast::<Int64Type>()),
    }
}

/// Each value by a function that gives `None` for one that microseconds do not hold.
fn scaled<T: ArrowPrimitiveType>(
    array: &PrimitiveArray<T>,
    micros: impl Fn(T::Native) -> Option<i64>,
) -> Result<Int64Array, ColumnRefusal> {
    let scaled = array.try_unary(|value| micros(value).ok_or(()));
    scaled.map_err(|()| {
        let fails = |row: &usize| array.is_valid(*row) && micros(array.value(*row)).is_none();
        let row = (0..array.len()).find(fails).unwrap_or(0);
        let (value, unit) = (array.value(row), array.data_type());
        let why = match unit {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                "has nanoseconds that microseconds do not hold; cut them off with \
                 `date_trunc('microsecond', ...)` in [transform] sql"
            }
            _ => "is beyond the range of timestamps",
        };
        ColumnRefusal {
            message: format!("{value:?} ({unit}) {why}"),
            row: Some(row as u64),
        }
    })
}
