//! Comparisons of values of different types, as they are.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Date32Type, Date64Type, Decimal128Type, Field, FieldRef,
    Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt64Type,
};
use datafusion::common::{ScalarValue, internal_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use super::number::Number;
use crate::transform::around::array_of;
use crate::transform::{interrupt, is_utc};

/// Nanoseconds of a day.
const NANOS_PER_DAY: i128 = 86_400_000_000_000;

/// A comparison of two values that DataFusion would cast first.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Comparison {
    op: Operator,
    /// As the query has it.
    name: String,
    signature: Signature,
}

/// Whether an operator compares.
pub(super) fn is_comparison(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
    )
}

/// Whether values of these types have an order although one would be cast with a loss. NULL goes with all.
pub(super) fn is_comparable(left: &DataType, right: &DataType) -> bool {
    let is_number = |of: &DataType| {
        of.is_integer()
            || matches!(of, DataType::Float32 | DataType::Float64)
            || matches!(
                of,
                DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..)
            )
    };
    let is_moment = |of: &DataType| match of {
        DataType::Date32 | DataType::Date64 => true,
        DataType::Timestamp(_, zone) => zone.as_deref().is_none_or(is_utc),
        _ => false,
    };
    (is_number(left) && is_number(right)) || (is_moment(left) && is_moment(right))
}

/// The comparison of two expressions.
pub(super) fn compared(op: Operator, left: Expr, right: Expr, name: String) -> Expr {
    debug_assert!(is_comparison(op), "`{op}` compares nothing");
    let func = Arc::new(ScalarUDF::new_from_impl(Comparison {
        op,
        name,
        signature: Signature::any(2, Volatility::Immutable),
    }));
    Expr::ScalarFunction(ScalarFunction::new_udf(func, vec![left, right]))
}

/// Values of one side.
enum SideValues {
    Int(ArrayRef),
    Uint(ArrayRef),
    Float(ArrayRef),
    Decimal(ArrayRef, i32),
    /// Nanoseconds since the epoch.
    Moment(Vec<i128>, ArrayRef),
}

impl SideValues {
    fn of(value: &ColumnarValue) -> Result<SideValues> {
        let array = array_of(value)?;
        Ok(match array.data_type() {
            of if of.is_signed_integer() => SideValues::Int(cast(&array, &DataType::Int64)?),
            of if of.is_unsigned_integer() => SideValues::Uint(cast(&array, &DataType::UInt64)?),
            of if of.is_floating() => SideValues::Float(cast(&array, &DataType::Float64)?),
            DataType::Decimal32(_, scale)
            | DataType::Decimal64(_, scale)
            | DataType::Decimal128(_, scale) => {
                let wide = DataType::Decimal128(DECIMAL128_MAX_PRECISION, *scale);
                SideValues::Decimal(cast(&array, &wide)?, i32::from(*scale))
            }
            _ => SideValues::Moment(nanos(&array)?, array),
        })
    }

    fn array(&self) -> &ArrayRef {
        match self {
            SideValues::Int(array)
            | SideValues::Uint(array)
            | SideValues::Float(array)
            | SideValues::Decimal(array, _)
            | SideValues::Moment(_, array) => array,
        }
    }

    /// The value of a row that is not NULL.
    fn number(&self, row: usize) -> Number {
        match self {
            SideValues::Int(array) => {
                Number::Int(array.as_primitive::<Int64Type>().value(row).into())
            }
            SideValues::Uint(array) => {
                Number::Int(array.as_primitive::<UInt64Type>().value(row).into())
            }
            SideValues::Float(array) => {
                Number::Float(array.as_primitive::<Float64Type>().value(row))
            }
            SideValues::Decimal(array, places) => {
                Number::Decimal(array.as_primitive::<Decimal128Type>().value(row), *places)
            }
            SideValues::Moment(nanos, _) => Number::Int(nanos[row]),
        }
    }
}

fn nanos(array: &ArrayRef) -> Result<Vec<i128>> {
    fn each<T: arrow::array::ArrowPrimitiveType>(array: &ArrayRef, unit: i128) -> Vec<i128>
    where
        T::Native: Into<i128>,
    {
        let values = array.as_primitive::<T>().values().iter();
        values.map(|value| (*value).into() * unit).collect()
    }
    Ok(match array.data_type() {
        DataType::Date32 => each::<Date32Type>(array, NANOS_PER_DAY),
        DataType::Date64 => each::<Date64Type>(array, 1_000_000),
        DataType::Timestamp(TimeUnit::Second, _) => {
            each::<TimestampSecondType>(array, 1_000_000_000)
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            each::<TimestampMillisecondType>(array, 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            each::<TimestampMicrosecondType>(array, 1_000)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => each::<TimestampNanosecondType>(array, 1),
        other => return internal_err!("a moment of type {other}"),
    })
}

impl Comparison {
    fn of(&self, order: Ordering) -> bool {
        match self.op {
            Operator::Eq | Operator::IsNotDistinctFrom => order.is_eq(),
            Operator::NotEq | Operator::IsDistinctFrom => order.is_ne(),
            Operator::Lt => order.is_lt(),
            Operator::LtEq => order.is_le(),
            Operator::Gt => order.is_gt(),
            _ => order.is_ge(),
        }
    }

    /// What it says where a value is NULL, or both are.
    fn of_null(&self, are_both: bool) -> Option<bool> {
        match self.op {
            Operator::IsDistinctFrom => Some(!are_both),
            Operator::IsNotDistinctFrom => Some(are_both),
            _ => None,
        }
    }
}

impl ScalarUDFImpl for Comparison {
    fn name(&self) -> &'static str {
        "exact_compare"
    }

    fn schema_name(&self, _args: &[Expr]) -> Result<String> {
        Ok(self.name.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let nullable = nullable && self.of_null(true).is_none();
        Ok(Arc::new(Field::new(
            self.name(),
            DataType::Boolean,
            nullable,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        interrupt::check()?;
        let [left, right] = args.args.as_slice() else {
            return internal_err!("a comparison of {} values", args.args.len());
        };
        let is_scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let is_one = [is_scalar(left), is_scalar(right)];
        let rows = if is_one == [true, true] {
            1
        } else {
            args.number_rows
        };
        let (left, right) = (SideValues::of(left)?, SideValues::of(right)?);
        let at = |row: usize, is_one: bool| if is_one { 0 } else { row };
        let compare = |row: usize| {
            let (l, r) = (at(row, is_one[0]), at(row, is_one[1]));
            match (left.array().is_null(l), right.array().is_null(r)) {
                (false, false) => Some(self.of(left.number(l).order(right.number(r)))),
                (left, right) => self.of_null(left && right),
            }
        };
        let found: BooleanArray = (0..rows).map(compare).collect();
        Ok(match is_one {
            [true, true] => ColumnarValue::Scalar(ScalarValue::try_from_array(&found, 0)?),
            _ => ColumnarValue::Array(Arc::new(found)),
        })
    }
}
