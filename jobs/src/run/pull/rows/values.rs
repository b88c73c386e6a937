//! Values as `eciton scan --json` writes them, as columns.

use std::ops::RangeInclusive;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, FixedSizeListArray,
    Float64Array, Int64Array, ListArray, NullArray, StringArray, StructArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use eciton_engine::Datum;
use serde_json::Value;

use crate::columns::Kind;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// The digits that any decimal here has room for.
const DIGITS_MAX: u8 = 38;

/// What is wrong with a value, and in which row it stands.
pub(super) struct ValueFault {
    pub(super) row: usize,
    pub(super) why: String,
}

/// A column of the kind that `field` is of, from a value for each row.
pub(super) fn array(field: &Field, values: Vec<Value>) -> Result<ArrayRef, ValueFault> {
    if !field.is_nullable()
        && let Some(row) = values.iter().position(Value::is_null)
    {
        let why = "it holds no NULL".to_owned();
        return Err(ValueFault { row, why });
    }
    match field.data_type() {
        DataType::List(item) | DataType::LargeList(item) => lists(item, values),
        DataType::FixedSizeList(item, len) => fixed_lists(item, *len, values),
        DataType::Struct(members) => structs(members, values),
        data_type => scalars(data_type, &values),
    }
}

fn scalars(data_type: &DataType, values: &[Value]) -> Result<ArrayRef, ValueFault> {
    let data_type = match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    let Some(kind) = Kind::of(data_type) else {
        let why = format!("values of type {data_type} are not taken");
        return Err(ValueFault { row: 0, why });
    };
    Ok(match kind {
        Kind::Null => {
            each(values, data_type, |_| None::<()>)?;
            Arc::new(NullArray::new(values.len()))
        }
        Kind::Bool => Arc::new(BooleanArray::from(each(
            values,
            data_type,
            |datum| match datum {
                Datum::Bool(value) => Some(value),
                _ => None,
            },
        )?)),
        Kind::Int => {
            let range = integers(data_type);
            let read = |datum| integer(&datum, &range).and_then(|value| i64::try_from(value).ok());
            Arc::new(Int64Array::from(each(values, data_type, read)?))
        }
        Kind::Uint => {
            let range = integers(data_type);
            let read = |datum| integer(&datum, &range).and_then(|value| u64::try_from(value).ok());
            Arc::new(UInt64Array::from(each(values, data_type, read)?))
        }
        Kind::Float => {
            let read = |datum| float(&datum).map(|value| rounded(value, data_type));
            Arc::new(Float64Array::from(each(values, data_type, read)?))
        }
        Kind::Decimal(scale) => {
            let digits = digits(data_type);
            let read = |datum| decimal(&datum, scale, digits);
            let array = Decimal128Array::from(each(values, data_type, read)?);
            let array = array.with_precision_and_scale(DIGITS_MAX, scale);
            Arc::new(array.map_err(|error| ValueFault {
                row: 0,
                why: error.to_string(),
            })?)
        }
        Kind::Str => Arc::new(StringArray::from(each(
            values,
            data_type,
            |datum| match datum {
                Datum::Str(value) => Some(value),
                _ => None,
            },
        )?)),
        Kind::Bytes => {
            let read = |datum| match (datum, data_type) {
                (Datum::Bytes(value), DataType::FixedSizeBinary(len))
                    if i32::try_from(value.len()) != Ok(*len) =>
                {
                    None
                }
                (Datum::Bytes(value), _) => Some(value),
                _ => None,
            };
            let values = each(values, data_type, read)?;
            Arc::new(BinaryArray::from_iter(values))
        }
        Kind::Date => {
            let read = |datum| match datum {
                Datum::Date(days) => Some(days),
                // As programs wrote it that knew no dates.
                Datum::Timestamp(micros) if micros % MICROS_PER_DAY == 0 => {
                    i32::try_from(micros / MICROS_PER_DAY).ok()
                }
                _ => None,
            };
            Arc::new(Date32Array::from(each(values, data_type, read)?))
        }
        Kind::Timestamp => {
            let read = |datum| match datum {
                Datum::Timestamp(micros) => Some(micros),
                _ => None,
            };
            Arc::new(TimestampMicrosecondArray::from(each(
                values, data_type, read,
            )?))
        }
    })
}

/// Reads each value that is not NULL; `None` from `read` says that it is not of the type.
fn each<T>(
    values: &[Value],
    data_type: &DataType,
    read: impl Fn(Datum) -> Option<T>,
) -> Result<Vec<Option<T>>, ValueFault> {
    let one = |(row, value): (usize, &Value)| {
        let fault = |why| ValueFault { row, why };
        match Datum::from_json(value).map_err(|error| fault(error.to_string()))? {
            Datum::Null => Ok(None),
            datum => read(datum).map(Some).ok_or_else(|| {
                let shown: String = value.to_string().chars().take(64).collect();
                fault(format!(
                    "{shown} is not of type {data_type}; expected {}",
                    expected(data_type)
                ))
            }),
        }
    };
    values.iter().enumerate().map(one).collect()
}

fn expected(data_type: &DataType) -> &'static str {
    match Kind::of(data_type) {
        Some(Kind::Null) => "null",
        Some(Kind::Bool) => "true or false",
        Some(Kind::Int | Kind::Uint) => "an integer in its range, without a point",
        Some(Kind::Float) => "a number, or {\"$f64\":\"NaN\"}",
        Some(Kind::Decimal(_)) => "{\"$dec\":\"12.30\"} within its digits",
        Some(Kind::Str) => "a string",
        Some(Kind::Bytes) => "{\"$bytes\":\"base64\"} of its length",
        Some(Kind::Date) => "{\"$date\":\"2013-01-01\"}",
        Some(Kind::Timestamp) => "{\"$ts\":\"2013-01-01T10:00:00Z\"}",
        None => "another type",
    }
}

fn integers(data_type: &DataType) -> RangeInclusive<i128> {
    match data_type {
        DataType::Int8 => i8::MIN.into()..=i8::MAX.into(),
        DataType::Int16 => i16::MIN.into()..=i16::MAX.into(),
        DataType::Int32 => i32::MIN.into()..=i32::MAX.into(),
        DataType::UInt8 => 0..=u8::MAX.into(),
        DataType::UInt16 => 0..=u16::MAX.into(),
        DataType::UInt32 => 0..=u32::MAX.into(),
        DataType::UInt64 => 0..=u64::MAX.into(),
        _ => i64::MIN.into()..=i64::MAX.into(),
    }
}

fn integer(datum: &Datum, range: &RangeInclusive<i128>) -> Option<i128> {
    match datum {
        Datum::Int(value) => Some(*value).filter(|value| range.contains(value)),
        _ => None,
    }
}

/// Many languages write a float that is whole without its point.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "compared"
)]
fn float(datum: &Datum) -> Option<f64> {
    match datum {
        Datum::Float(value) => Some(*value),
        Datum::Int(value) => Some(*value as f64).filter(|float| *float as i128 == *value),
        _ => None,
    }
}

/// A float as its type keeps it.
#[allow(clippy::cast_possible_truncation, reason = "it is what the type does")]
fn rounded(value: f64, data_type: &DataType) -> f64 {
    match data_type {
        DataType::Float64 => value,
        _ => f64::from(value as f32),
    }
}

fn digits(data_type: &DataType) -> u8 {
    match data_type {
        DataType::Decimal32(digits, _)
        | DataType::Decimal64(digits, _)
        | DataType::Decimal128(digits, _) => *digits,
        _ => DIGITS_MAX,
    }
}

/// The unscaled value of a decimal of that scale, exactly.
fn decimal(datum: &Datum, scale: i8, digits: u8) -> Option<i128> {
    let (mut unscaled, from) = match datum {
        Datum::Decimal { unscaled, scale } => (*unscaled, *scale),
        Datum::Int(value) => (*value, 0),
        _ => return None,
    };
    let by = i32::from(scale) - i32::from(from);
    let power = 10_i128.checked_pow(by.unsigned_abs())?;
    if by >= 0 {
        unscaled = unscaled.checked_mul(power)?;
    } else if unscaled % power == 0 {
        unscaled /= power;
    } else {
        return None;
    }
    let limit = 10_u128.checked_pow(digits.into())?;
    (unscaled.unsigned_abs() < limit).then_some(unscaled)
}

/// The items of all rows, how many each has, and which rows are NULL.
type Items = (Vec<Value>, Vec<usize>, Vec<bool>);

fn items(values: Vec<Value>) -> Result<Items, ValueFault> {
    let (mut items, mut lens, mut valid) = (Vec::new(), Vec::new(), Vec::new());
    for (row, value) in values.into_iter().enumerate() {
        match value {
            Value::Null => {
                lens.push(0);
                valid.push(false);
            }
            Value::Array(own) => {
                lens.push(own.len());
                valid.push(true);
                items.extend(own);
            }
            _ => {
                let why = "expected an array".to_owned();
                return Err(ValueFault { row, why });
            }
        }
    }
    Ok((items, lens, valid))
}

/// In which row an item stands.
fn row_of(item: usize, lens: &[usize]) -> usize {
    let mut end = 0;
    let ends = lens.iter().map(|len| {
        end += len;
        end
    });
    ends.take_while(|end| *end <= item).count()
}

fn lists(item: &FieldRef, values: Vec<Value>) -> Result<ArrayRef, ValueFault> {
    let (items, lens, valid) = items(values)?;
    let items = array(item, items).map_err(|fault| ValueFault {
        row: row_of(fault.row, &lens),
        ..fault
    })?;
    let item = Arc::new(Field::new(item.name(), items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lens);
    let list = ListArray::try_new(item, offsets, items, Some(NullBuffer::from(valid)));
    Ok(Arc::new(list.map_err(whole)?))
}

fn fixed_lists(item: &FieldRef, len: i32, values: Vec<Value>) -> Result<ArrayRef, ValueFault> {
    let expected = usize::try_from(len).unwrap_or(0);
    let mut filled = Vec::with_capacity(values.len());
    let mut valid = Vec::with_capacity(values.len());
    for (row, value) in values.into_iter().enumerate() {
        valid.push(!value.is_null());
        match value {
            Value::Null => filled.extend(std::iter::repeat_n(Value::Null, expected)),
            Value::Array(own) if own.len() == expected => filled.extend(own),
            _ => {
                let why = format!("expected an array of {expected}");
                return Err(ValueFault { row, why });
            }
        }
    }
    let nullable = Field::new(item.name(), item.data_type().clone(), true);
    let items = array(&nullable, filled).map_err(|fault| ValueFault {
        row: fault.row / expected.max(1),
        ..fault
    })?;
    let item = Arc::new(Field::new(item.name(), items.data_type().clone(), true));
    let list = FixedSizeListArray::try_new(item, len, items, Some(NullBuffer::from(valid)));
    Ok(Arc::new(list.map_err(whole)?))
}

fn structs(members: &[FieldRef], values: Vec<Value>) -> Result<ArrayRef, ValueFault> {
    let rows = values.len();
    let mut columns: Vec<Vec<Value>> = members.iter().map(|_| Vec::with_capacity(rows)).collect();
    let mut valid = Vec::with_capacity(rows);
    for (row, value) in values.into_iter().enumerate() {
        valid.push(!value.is_null());
        match value {
            Value::Null => columns
                .iter_mut()
                .for_each(|column| column.push(Value::Null)),
            Value::Object(mut object) => {
                for (member, column) in members.iter().zip(&mut columns) {
                    let name = member.name();
                    let value = object.remove(name).ok_or_else(|| ValueFault {
                        row,
                        why: format!("expected a member `{name}`, null or not"),
                    })?;
                    column.push(value);
                }
            }
            _ => {
                let why = "expected an object".to_owned();
                return Err(ValueFault { row, why });
            }
        }
    }
    let mut fields = Vec::with_capacity(members.len());
    let mut arrays = Vec::with_capacity(members.len());
    for (member, column) in members.iter().zip(columns) {
        // A NULL of the whole is one of each of its members.
        let nullable = Field::new(member.name(), member.data_type().clone(), true);
        let array = array(&nullable, column)?;
        fields.push(Field::new(member.name(), array.data_type().clone(), true));
        arrays.push(array);
    }
    let nulls = Some(NullBuffer::from(valid));
    let built = StructArray::try_new_with_length(fields.into(), arrays, nulls, rows);
    Ok(Arc::new(built.map_err(whole)?))
}

#[allow(clippy::needless_pass_by_value, reason = "it is what `map_err` gives")]
fn whole(error: arrow::error::ArrowError) -> ValueFault {
    ValueFault {
        row: 0,
        why: error.to_string(),
    }
}
