//! The few types that columns come down to.

use arrow::datatypes::DataType;
use eciton_engine::merge;

/// What a column's values are to the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing but NULL.
    Null,
    Bool,
    /// Fits an `i64`.
    Int,
    /// Fits a `u64`.
    Uint,
    Float,
    /// With its scale.
    Decimal(i8),
    Str,
    Bytes,
    /// Days since the epoch.
    Date,
    /// Microseconds since the epoch.
    Timestamp,
}

impl Kind {
    /// What an Arrow type becomes, if anything.
    pub(crate) fn of(data_type: &DataType) -> Option<Kind> {
        Some(match data_type {
            DataType::Null => Kind::Null,
            DataType::Boolean => Kind::Bool,
            DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32 => Kind::Int,
            DataType::UInt64 => Kind::Uint,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Kind::Float,
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale) => Kind::Decimal(*scale),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Str,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Kind::Bytes,
            DataType::Date32 | DataType::Date64 => Kind::Date,
            DataType::Timestamp(..) => Kind::Timestamp,
            DataType::Dictionary(_, values) => return Kind::of(values),
            _ => return None,
        })
    }
}

/// What a column of a merged store takes.
impl From<Kind> for merge::Kind {
    fn from(kind: Kind) -> merge::Kind {
        match kind {
            Kind::Null => merge::Kind::Any,
            Kind::Bool => merge::Kind::Bool,
            Kind::Int | Kind::Uint => merge::Kind::Int,
            Kind::Float => merge::Kind::Float,
            Kind::Decimal(scale) => merge::Kind::Decimal { scale },
            Kind::Str => merge::Kind::Str,
            Kind::Bytes => merge::Kind::Bytes,
            Kind::Date => merge::Kind::Date,
            Kind::Timestamp => merge::Kind::Timestamp,
        }
    }
}
