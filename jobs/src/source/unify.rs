//! One type for a column that files have with different types.
//!
//! | types | become |
//! |---|---|
//! | text of any layout | text with long offsets |
//! | bytes of any layout and length | bytes with long offsets |
//! | integers | the narrowest integer that holds both |
//! | floats; integers that a float holds exactly | the wider float |
//! | decimals and integers | a decimal with the digits of both on either side of the point |
//! | timestamps with a zone, timestamps without one | the finer unit, microseconds at the finest |
//! | dates; times of day; durations | the finer unit |
//! | lists, structs, maps | the same of the common types of what is in them |
//!
//! No value of such a pair changes by it, except where a unit is too fine or too coarse for a moment: such a value
//! fails its shard. Everything else has no common type.

use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Field, FieldRef, Fields, TimeUnit,
};

/// The type that holds the values of both; `None` where there is none.
pub(super) fn unify(a: &DataType, b: &DataType) -> Option<DataType> {
    if a == b {
        return Some(a.clone());
    }
    match (a, b) {
        (DataType::Null, other) | (other, DataType::Null) => return Some(other.clone()),
        (DataType::Dictionary(_, value), other) | (other, DataType::Dictionary(_, value)) => {
            return unify(value, other);
        }
        _ => {}
    }
    if is_text(a) && is_text(b) {
        return Some(DataType::LargeUtf8);
    }
    if is_bytes(a) && is_bytes(b) {
        return Some(DataType::LargeBinary);
    }
    numbers(a, b)
        .or_else(|| times(a, b))
        .or_else(|| nested(a, b))
}

/// Whether values of this type are text.
pub(super) fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// Whether values of this type are bytes.
pub(super) fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// Bits of an integer type, and whether it is signed.
pub(super) fn integer(data_type: &DataType) -> Option<(u8, bool)> {
    Some(match data_type {
        DataType::Int8 => (8, true),
        DataType::Int16 => (16, true),
        DataType::Int32 => (32, true),
        DataType::Int64 => (64, true),
        DataType::UInt8 => (8, false),
        DataType::UInt16 => (16, false),
        DataType::UInt32 => (32, false),
        DataType::UInt64 => (64, false),
        _ => return None,
    })
}

fn integer_type(bits: u8, signed: bool) -> Option<DataType> {
    Some(match (bits, signed) {
        (8, true) => DataType::Int8,
        (16, true) => DataType::Int16,
        (32, true) => DataType::Int32,
        (64, true) => DataType::Int64,
        (8, false) => DataType::UInt8,
        (16, false) => DataType::UInt16,
        (32, false) => DataType::UInt32,
        (64, false) => DataType::UInt64,
        _ => return None,
    })
}

/// Bits of a float, and those of the integers that it holds exactly, sign aside.
pub(super) fn float(data_type: &DataType) -> Option<(u8, u8)> {
    Some(match data_type {
        DataType::Float16 => (16, 11),
        DataType::Float32 => (32, 24),
        DataType::Float64 => (64, 53),
        _ => return None,
    })
}

/// Precision and scale of a decimal type.
pub(super) fn decimal(data_type: &DataType) -> Option<(u8, i8)> {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some((*precision, *scale)),
        _ => None,
    }
}

fn numbers(a: &DataType, b: &DataType) -> Option<DataType> {
    if let (Some((bits_a, signed_a)), Some((bits_b, signed_b))) = (integer(a), integer(b)) {
        if signed_a == signed_b {
            return integer_type(bits_a.max(bits_b), signed_a);
        }
        let (signed, unsigned) = match signed_a {
            true => (bits_a, bits_b),
            false => (bits_b, bits_a),
        };
        return integer_type(signed.max(unsigned.checked_mul(2)?), true);
    }
    if let (Some((bits_a, _)), Some((bits_b, _))) = (float(a), float(b)) {
        return Some(if bits_a >= bits_b { a } else { b }.clone());
    }
    for (floating, other) in [(a, b), (b, a)] {
        if let (Some((_, exact)), Some((bits, signed))) = (float(floating), integer(other)) {
            let digits = if signed { bits - 1 } else { bits };
            return (digits <= exact).then(|| floating.clone());
        }
    }
    let (precision_a, scale_a) = decimal(a).or_else(|| digits(a))?;
    let (precision_b, scale_b) = decimal(b).or_else(|| digits(b))?;
    let before = |precision: u8, scale: i8| i16::from(precision) - i16::from(scale);
    let scale = scale_a.max(scale_b);
    let whole = before(precision_a, scale_a).max(before(precision_b, scale_b));
    let precision = u8::try_from(whole + i16::from(scale)).ok()?;
    if precision <= DECIMAL128_MAX_PRECISION {
        return Some(DataType::Decimal128(precision, scale));
    }
    (precision <= DECIMAL256_MAX_PRECISION).then_some(DataType::Decimal256(precision, scale))
}

/// The decimal that holds an integer type.
fn digits(data_type: &DataType) -> Option<(u8, i8)> {
    let (bits, signed) = integer(data_type)?;
    Some(match (bits, signed) {
        (8, _) => (3, 0),
        (16, _) => (5, 0),
        (32, _) => (10, 0),
        (_, true) => (19, 0),
        (_, false) => (20, 0),
    })
}

fn times(a: &DataType, b: &DataType) -> Option<DataType> {
    Some(match (a, b) {
        (DataType::Date32 | DataType::Date64, DataType::Date32 | DataType::Date64) => {
            DataType::Date64
        }
        (DataType::Timestamp(unit_a, zone_a), DataType::Timestamp(unit_b, zone_b))
            if zone_a.is_some() == zone_b.is_some() =>
        {
            // The engine keeps microseconds: nanoseconds would only shorten the range.
            let unit = finer(*unit_a, *unit_b);
            let unit = if unit_a == unit_b || unit != TimeUnit::Nanosecond {
                unit
            } else {
                TimeUnit::Microsecond
            };
            let zone = if zone_a == zone_b {
                zone_a.clone()
            } else {
                Some("UTC".into())
            };
            DataType::Timestamp(unit, zone)
        }
        (
            DataType::Time32(unit_a) | DataType::Time64(unit_a),
            DataType::Time32(unit_b) | DataType::Time64(unit_b),
        ) => match finer(*unit_a, *unit_b) {
            unit @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(unit),
            unit => DataType::Time64(unit),
        },
        (DataType::Duration(unit_a), DataType::Duration(unit_b)) => {
            DataType::Duration(finer(*unit_a, *unit_b))
        }
        _ => return None,
    })
}

fn finer(a: TimeUnit, b: TimeUnit) -> TimeUnit {
    let rank = |unit: TimeUnit| match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    };
    if rank(a) >= rank(b) { a } else { b }
}

/// What a list holds.
pub(super) fn item(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            Some(item)
        }
        _ => None,
    }
}

fn nested(a: &DataType, b: &DataType) -> Option<DataType> {
    if let (Some(item_a), Some(item_b)) = (item(a), item(b)) {
        let common = field(item_a, item_b)?;
        return Some(match (a, b) {
            (DataType::List(_), DataType::List(_)) => DataType::List(common),
            (DataType::FixedSizeList(_, len_a), DataType::FixedSizeList(_, len_b))
                if len_a == len_b =>
            {
                DataType::FixedSizeList(common, *len_a)
            }
            _ => DataType::LargeList(common),
        });
    }
    match (a, b) {
        (DataType::Struct(fields_a), DataType::Struct(fields_b)) => {
            if fields_a.len() != fields_b.len() {
                return None;
            }
            let common = |one: &FieldRef| {
                let (_, other) = fields_b.find(one.name())?;
                field(one, other)
            };
            let fields: Option<Fields> = fields_a.iter().map(common).collect();
            fields.map(DataType::Struct)
        }
        (DataType::Map(entries_a, sorted_a), DataType::Map(entries_b, sorted_b)) => {
            let entries = field(entries_a, entries_b)?;
            Some(DataType::Map(entries, *sorted_a && *sorted_b))
        }
        _ => None,
    }
}

fn field(a: &FieldRef, b: &FieldRef) -> Option<FieldRef> {
    let data_type = unify(a.data_type(), b.data_type())?;
    let nullable = a.is_nullable() || b.is_nullable();
    Some(Arc::new(Field::new(a.name(), data_type, nullable)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timestamp(unit: TimeUnit, zone: Option<&str>) -> DataType {
        DataType::Timestamp(unit, zone.map(Into::into))
    }

    #[test]
    fn common_types_hold_both() {
        use DataType::{
            Date32, Date64, Float32, Float64, Int8, Int32, Int64, UInt32, UInt64, Utf8,
        };
        let (ms, us, ns) = (
            TimeUnit::Millisecond,
            TimeUnit::Microsecond,
            TimeUnit::Nanosecond,
        );
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        let cases = [
            (Utf8, DataType::LargeUtf8, Some(DataType::LargeUtf8)),
            (
                DataType::Dictionary(Box::new(Int32), Box::new(Utf8)),
                Utf8,
                Some(Utf8),
            ),
            (DataType::Null, Int64, Some(Int64)),
            (Int8, Int64, Some(Int64)),
            (UInt32, Int8, Some(Int64)),
            (UInt64, Int8, None),
            (Int32, Float64, Some(Float64)),
            (Int32, Float32, None),
            (Int64, Float64, None),
            (
                DataType::Decimal128(12, 2),
                DataType::Decimal128(10, 4),
                Some(DataType::Decimal128(14, 4)),
            ),
            (
                DataType::Decimal128(38, 2),
                DataType::Decimal128(38, 4),
                Some(DataType::Decimal256(40, 4)),
            ),
            (
                DataType::Decimal64(5, 2),
                Int64,
                Some(DataType::Decimal128(21, 2)),
            ),
            (
                timestamp(ms, Some("UTC")),
                timestamp(us, Some("Europe/Rome")),
                Some(timestamp(us, Some("UTC"))),
            ),
            (
                timestamp(ns, None),
                timestamp(ms, None),
                Some(timestamp(us, None)),
            ),
            (timestamp(ms, None), timestamp(ms, Some("UTC")), None),
            (Date32, Date64, Some(Date64)),
            (Date32, timestamp(ms, None), None),
            (Utf8, Int64, None),
            (list(Int32), list(Int64), Some(list(Int64))),
            (list(Int32), list(Utf8), None),
        ];
        for (a, b, expected) in cases {
            assert_eq!(unify(&a, &b), expected, "{a} and {b}");
            assert_eq!(unify(&b, &a), expected, "{b} and {a}");
        }
    }
}
