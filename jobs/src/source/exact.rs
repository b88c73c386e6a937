//! Values brought to another type without a change, or not at all.

use std::sync::Arc;

use arrow::array::cast::AsArray;
use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, FixedSizeListArray, GenericListArray, Int64Array,
    MapArray, OffsetSizeTrait, PrimitiveArray, StructArray, new_null_array,
};
use arrow::compute::kernels::cmp::not_distinct;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Fields, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::limits::SHOWN_LEN_MAX;
use super::unify::{decimal, float, integer, is_bytes, is_text, item};

const DAY_SECONDS: i128 = 86_400;

/// Why an array cannot have another type.
#[derive(Debug)]
pub(super) enum Inexact {
    /// A value that the type does not hold.
    Value {
        /// Its row, from 0.
        row: usize,
        /// The value, for people.
        value: String,
    },
    /// A conversion that there is not, or that ran out of room.
    Type(String),
}

impl From<ArrowError> for Inexact {
    fn from(error: ArrowError) -> Self {
        Self::Type(error.to_string())
    }
}

/// Whether values of one type may be values of the other: [`exact`] can then be asked.
pub(super) fn is_convertible(from: &DataType, to: &DataType) -> bool {
    if from == to || *from == DataType::Null {
        return true;
    }
    if let DataType::Dictionary(_, value) = from {
        return is_convertible(value, to);
    }
    if let DataType::Dictionary(_, value) = to {
        return is_convertible(from, value);
    }
    let number = |data_type: &DataType| {
        integer(data_type).is_some() || float(data_type).is_some() || decimal(data_type).is_some()
    };
    if is_text(to) {
        let shown = integer(from).is_some() || *from == DataType::Boolean;
        return shown || is_text(from) || is_bytes(from);
    }
    if let (Some(from), Some(to)) = (item(from), item(to)) {
        return is_convertible(from.data_type(), to.data_type());
    }
    match (from, to) {
        (from, to) if is_bytes(from) && is_bytes(to) => {
            // A length that is fixed is the file's own.
            !matches!(to, DataType::FixedSizeBinary(_))
        }
        (from, to) if is_text(from) => integer(to).is_some(),
        (from, to) if number(from) => number(to),
        (DataType::Timestamp(..), DataType::Timestamp(..) | DataType::Date32)
        | (
            DataType::Date32 | DataType::Date64,
            DataType::Date32 | DataType::Date64 | DataType::Timestamp(..),
        )
        | (DataType::Time32(_) | DataType::Time64(_), DataType::Time32(_) | DataType::Time64(_))
        | (DataType::Duration(_), DataType::Duration(_)) => true,
        (DataType::Struct(from), DataType::Struct(to)) => {
            from.len() == to.len()
                && to.iter().all(|field| {
                    let same = from.find(field.name());
                    same.is_some_and(|(_, same)| {
                        is_convertible(same.data_type(), field.data_type())
                    })
                })
        }
        (DataType::Map(from, _), DataType::Map(to, _)) => {
            is_convertible(from.data_type(), to.data_type())
        }
        _ => false,
    }
}

/// The same values as another type.
pub(super) fn exact(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Inexact> {
    let from = array.data_type();
    if from == to {
        return Ok(Arc::clone(array));
    }
    match (from, to) {
        (DataType::Null, _) => Ok(new_null_array(to, array.len())),
        (DataType::Dictionary(_, value), _) => {
            let plain = cast_with_options(array, value, &strict())?;
            exact(&plain, to)
        }
        (DataType::Timestamp(..) | DataType::Date32 | DataType::Date64, _) => moments(array, to),
        (DataType::Struct(_), DataType::Struct(fields)) => structs(array, fields),
        (DataType::Map(..), DataType::Map(entries, sorted)) => {
            let map = array.as_map();
            let inner: ArrayRef = Arc::new(map.entries().clone());
            let offsets = map.offsets();
            let inner = exact(&inner, entries.data_type()).map_err(|e| outer(e, offsets))?;
            let inner = inner.as_struct().clone();
            let nulls = map.nulls().cloned();
            let map = MapArray::try_new(entries.clone(), offsets.clone(), inner, nulls, *sorted)?;
            Ok(Arc::new(map))
        }
        (from, to) if item(from).is_some() && item(to).is_some() => lists(array, to),
        (from, to) if is_text(from) && is_text(to) || is_bytes(from) && is_bytes(to) => {
            Ok(cast_with_options(array, to, &strict())?)
        }
        _ => there_and_back(array, to),
    }
}

fn strict() -> CastOptions<'static> {
    CastOptions {
        safe: false,
        ..CastOptions::default()
    }
}

/// Casts, and casts back to see whether anything got lost.
fn there_and_back(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Inexact> {
    let lenient = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let there = cast_with_options(array, to, &lenient)?;
    let back = cast_with_options(&there, array.data_type(), &lenient)?;
    let same = not_distinct(&back, array)?;
    // What became NULL and was not is not the same either: NULL comes back as NULL.
    match (0..array.len()).find(|row| !same.value(*row)) {
        None => Ok(there),
        Some(row) => Err(at(array, row)),
    }
}

fn at(array: &ArrayRef, row: usize) -> Inexact {
    let value = shown(array, row);
    Inexact::Value { row, value }
}

/// A value for a message: on one line, and not too long.
pub(super) fn shown(array: &dyn Array, row: usize) -> String {
    let options = FormatOptions::default().with_display_error(true);
    let Ok(formatter) = ArrayFormatter::try_new(array, &options) else {
        return "a value".to_owned();
    };
    let text = formatter.value(row).to_string();
    let mut shown: String = text
        .chars()
        .take(SHOWN_LEN_MAX)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN_LEN_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

// --- moments ---------------------------------------------------------------------------------

/// Units of a second.
fn per_second(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// How many of a type's units are how many seconds.
fn scale(data_type: &DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::Timestamp(unit, _) => (per_second(*unit), 1),
        DataType::Date32 => (1, DAY_SECONDS),
        DataType::Date64 => (1_000, 1),
        _ => return None,
    })
}

fn moments(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Inexact> {
    let none = || Inexact::Type(format!("{} cannot be {to}", array.data_type()));
    let (units, seconds) = scale(array.data_type()).ok_or_else(none)?;
    let (to_units, to_seconds) = scale(to).ok_or_else(none)?;
    let (factor, divisor) = (seconds * to_units, units * to_seconds);
    let raw = cast_with_options(array, &raw_type(array.data_type()), &strict())?;
    let raw = cast_with_options(&raw, &DataType::Int64, &strict())?;
    let raw = raw.as_primitive::<Int64Type>();
    let scaled = |value: i64| {
        let value = i128::from(value) * factor;
        (value % divisor == 0)
            .then_some(value / divisor)
            .and_then(|value| i64::try_from(value).ok())
    };
    let mut values = Vec::with_capacity(raw.len());
    for row in 0..raw.len() {
        match scaled(raw.value(row)) {
            Some(value) => values.push(value),
            None if raw.is_null(row) => values.push(0),
            None => return Err(at(array, row)),
        }
    }
    let values = Int64Array::new(values.into(), raw.nulls().cloned());
    Ok(match to {
        DataType::Timestamp(TimeUnit::Second, _) => of::<TimestampSecondType>(&values, to),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            of::<TimestampMillisecondType>(&values, to)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            of::<TimestampMicrosecondType>(&values, to)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => of::<TimestampNanosecondType>(&values, to),
        DataType::Date64 => of::<Date64Type>(&values, to),
        _ => {
            let fits = |value: i64| i32::try_from(value).ok();
            let is_wide = |row: &usize| values.is_valid(*row) && fits(values.value(*row)).is_none();
            if let Some(row) = (0..values.len()).find(is_wide) {
                return Err(at(array, row));
            }
            let days = values.unary::<_, Int32Type>(|value| fits(value).unwrap_or(0));
            Arc::new(days.reinterpret_cast::<Date32Type>())
        }
    })
}

/// The integers that a type's values are.
fn raw_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Date32 => DataType::Int32,
        _ => DataType::Int64,
    }
}

fn of<T: ArrowPrimitiveType<Native = i64>>(values: &Int64Array, to: &DataType) -> ArrayRef {
    let array: PrimitiveArray<T> = values.reinterpret_cast();
    Arc::new(array.with_data_type(to.clone()))
}

// --- nested ----------------------------------------------------------------------------------

fn structs(array: &ArrayRef, fields: &Fields) -> Result<ArrayRef, Inexact> {
    let from = array.as_struct();
    let mut columns = Vec::with_capacity(fields.len());
    for field in fields {
        let Some(column) = from.column_by_name(field.name()) else {
            return Err(Inexact::Type(format!("no member `{}`", field.name())));
        };
        columns.push(exact(column, field.data_type())?);
    }
    let nulls = from.nulls().cloned();
    let array = StructArray::try_new_with_length(fields.clone(), columns, nulls, from.len())?;
    Ok(Arc::new(array))
}

fn lists(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, Inexact> {
    // Of any layout as one with long offsets, which every list fits.
    let own = item(array.data_type()).cloned();
    let own = own.ok_or_else(|| Inexact::Type(format!("{} is no list", array.data_type())))?;
    let long = cast_with_options(array, &DataType::LargeList(own), &strict())?;
    let long = long.as_list::<i64>();
    let field = item(to).ok_or_else(|| Inexact::Type(format!("{to} is no list")))?;
    let items = exact(long.values(), field.data_type()).map_err(|e| outer(e, long.offsets()))?;
    let nulls = long.nulls().cloned();
    let list = GenericListArray::try_new(field.clone(), long.offsets().clone(), items, nulls)?;
    let list: ArrayRef = Arc::new(list);
    let fixed = match to {
        DataType::FixedSizeList(_, len) => Some(*len),
        _ => None,
    };
    let list = cast_with_options(&list, to, &strict())?;
    debug_assert!(
        fixed.is_none_or(|len| {
            let fixed: &FixedSizeListArray = list.as_fixed_size_list();
            fixed.value_length() == len
        }),
        "a list of the length asked for"
    );
    Ok(list)
}

/// The row of a list that has the item.
fn outer<O: OffsetSizeTrait>(inexact: Inexact, offsets: &[O]) -> Inexact {
    match inexact {
        Inexact::Value { row, value } => {
            let before = offsets.partition_point(|offset| offset.as_usize() <= row);
            Inexact::Value {
                row: before.saturating_sub(1),
                value,
            }
        }
        other @ Inexact::Type(_) => other,
    }
}
