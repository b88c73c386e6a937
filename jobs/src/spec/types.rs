//! Names of column types, in job files and in what is recorded of a source.

use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, TimeUnit};

/// The time zone of every timestamp.
const UTC: &str = "UTC";

/// The type of a name such as `int64`, `timestamp` or `decimal(12,2)`; any Arrow type by the name Arrow
/// displays for it. `None` if it is neither.
pub fn parse_type(name: &str) -> Option<DataType> {
    Some(match name {
        "bool" => DataType::Boolean,
        "int8" => DataType::Int8,
        "int16" => DataType::Int16,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint8" => DataType::UInt8,
        "uint16" => DataType::UInt16,
        "uint32" => DataType::UInt32,
        "uint64" => DataType::UInt64,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "string" => DataType::Utf8,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
        _ => return parse_decimal(name).or_else(|| name.parse().ok()),
    })
}

/// The name of a type: what [`parse_type`] reads back.
pub fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Boolean => "bool".to_owned(),
        DataType::Utf8 => "string".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, Some(zone)) if zone.as_ref() == UTC => {
            "timestamp".to_owned()
        }
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            format!("decimal({precision},{scale})")
        }
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64 => data_type.to_string().to_ascii_lowercase(),
        other => other.to_string(),
    }
}

/// The type of a name such as `decimal(12,2)`.
pub(super) fn parse_decimal(name: &str) -> Option<DataType> {
    let args = name.strip_prefix("decimal(")?.strip_suffix(')')?;
    let (precision, scale) = args.split_once(',')?;
    let precision: u8 = precision.trim().parse().ok()?;
    let scale: i8 = scale.trim().parse().ok()?;
    let legal = (1..=DECIMAL128_MAX_PRECISION).contains(&precision)
        && (0..=i16::from(precision)).contains(&i16::from(scale));
    legal.then_some(DataType::Decimal128(precision, scale))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::Field;
    use std::sync::Arc;

    #[test]
    fn names_read_back() {
        let list = DataType::List(Arc::new(Field::new("element", DataType::Int64, true)));
        let nested = DataType::Struct(
            vec![
                Field::new("a b", DataType::Utf8, false),
                Field::new("l", list.clone(), true),
            ]
            .into(),
        );
        for data_type in [
            DataType::Boolean,
            DataType::Int8,
            DataType::UInt64,
            DataType::Float32,
            DataType::Float64,
            DataType::Utf8,
            DataType::LargeUtf8,
            DataType::Binary,
            DataType::Date32,
            DataType::Date64,
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            DataType::Decimal128(38, 10),
            DataType::Decimal256(60, 2),
            DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
            list,
            nested,
        ] {
            let name = type_name(&data_type);
            assert_eq!(parse_type(&name), Some(data_type), "{name}");
        }
    }
}
