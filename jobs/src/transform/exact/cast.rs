//! Casts that fail where a value is another one afterwards.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, TimeUnit, UInt64Type};
use arrow::util::display::array_value_to_string;
use datafusion::common::{ScalarValue, exec_err, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::transform::around::array_of;
use crate::transform::scope::shown;

/// Integers up to this are floats of 64 bits.
const FLOAT_INTEGER_MAX: u64 = 1 << 53;

/// A cast that fails where the way back leads to another value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactCast {
    /// What is cast, as the query has it.
    what: String,
    to: DataType,
    kind: CastReason,
    signature: Signature,
}

/// Why there is a cast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CastReason {
    /// An expression takes a value as another type.
    Coercion,
    /// A sum that was kept wide gets its own type.
    Sum,
}

/// Whether a cast could give another value, without saying so.
pub(super) fn is_lossy(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Date32, Date64, Float16, Float32, Float64, Int8, Int16, Timestamp, UInt8, UInt16,
    };
    let is_small = matches!(from, Int8 | Int16 | UInt8 | UInt16);
    match (from, to) {
        (from, Float64) if from.is_integer() => from.primitive_width() == Some(8),
        (from, Float32) if from.is_integer() => !is_small,
        (from, Float16) if from.is_integer() => true,
        (from, to) if from.is_decimal() => {
            to.is_floating()
                || to.is_integer()
                || places(to).is_some_and(|to| Some(to) < places(from))
        }
        (from, to) if from.is_floating() => {
            to.is_integer()
                || to.is_decimal()
                || (to.is_floating() && to.primitive_width() < from.primitive_width())
        }
        (Timestamp(from, _), Timestamp(to, _)) => units(*to) < units(*from),
        (Timestamp(..), Date32 | Date64) => true,
        _ => false,
    }
}

fn places(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

/// Units of a second.
fn units(unit: TimeUnit) -> u32 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// A type as SQL writes it.
pub(super) fn sql_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Float32 => "FLOAT".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(TimeUnit::Microsecond, None) => "TIMESTAMP".to_owned(),
        other => other.to_string(),
    }
}

/// The cast of an expression to a type. One of a constant is tried at once.
pub(super) fn exact_cast(inner: Expr, to: &DataType) -> Result<Expr> {
    let what = shown(&inner);
    if let Expr::Literal(value, metadata) = inner {
        if let Some(value) = misfit(&value.to_array()?, to)? {
            return Err(DataFusionError::Plan(message(&value, &value, to)));
        }
        let cast = datafusion::logical_expr::cast(Expr::Literal(value, metadata), to.clone());
        return Ok(cast);
    }
    Ok(call(what, CastReason::Coercion, inner, to))
}

/// A sum that was kept in a wide type, in its own type; `what` is its name in the query.
pub(crate) fn narrowed_sum(sum: Expr, to: &DataType, what: String) -> Expr {
    call(what, CastReason::Sum, sum, to)
}

fn call(what: String, kind: CastReason, inner: Expr, to: &DataType) -> Expr {
    let func = Arc::new(ScalarUDF::new_from_impl(ExactCast {
        what,
        to: to.clone(),
        kind,
        signature: Signature::any(1, Volatility::Immutable),
    }));
    Expr::ScalarFunction(ScalarFunction::new_udf(func, vec![inner]))
}

fn message(what: &str, value: &str, to: &DataType) -> String {
    let to = sql_name(to);
    let subject = match what == value {
        true => format!("{to} does not hold `{value}` exactly"),
        false => format!("`{what}` is {value}, which {to} does not hold exactly"),
    };
    format!(
        "{subject}, and this expression takes it as {to}: write CAST({what} AS {to}) if the nearest value will do, or keep \
         to one type"
    )
}

/// The first value that the type does not hold.
fn misfit(values: &ArrayRef, to: &DataType) -> Result<Option<String>> {
    match (values.data_type(), to) {
        (DataType::Int64, DataType::Float64) => {
            let values = values.as_primitive::<Int64Type>().iter().flatten();
            let misfit = values.map(i128::from).find(|value| !is_float(*value));
            return Ok(misfit.map(|value| value.to_string()));
        }
        (DataType::UInt64, DataType::Float64) => {
            let values = values.as_primitive::<UInt64Type>().iter().flatten();
            let misfit = values.map(i128::from).find(|value| !is_float(*value));
            return Ok(misfit.map(|value| value.to_string()));
        }
        _ => {}
    }
    // What cannot be cast is NULL, and so is not what it was.
    let lenient = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let there = cast_with_options(values, to, &lenient)?;
    let back = cast_with_options(&there, values.data_type(), &lenient)?;
    let differs = distinct(values, &back)?;
    let first = (0..differs.len()).find(|row| differs.value(*row));
    let first = first.map(|row| array_value_to_string(values, row));
    Ok(first.transpose()?)
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "that is what is tried"
)]
fn is_float(value: i128) -> bool {
    value.unsigned_abs() <= u128::from(FLOAT_INTEGER_MAX) || value as f64 as i128 == value
}

impl ScalarUDFImpl for ExactCast {
    fn name(&self) -> &'static str {
        "exact_cast"
    }

    /// Not that of what is cast: a join has both as columns.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        match args {
            [inner] => Ok(format!("exact_cast({}, {})", inner.schema_name(), self.to)),
            args => internal_err!("a cast of {} arguments", args.len()),
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(self.to.clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.to.clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return internal_err!("a cast of {} arguments", args.args.len());
        };
        let values = array_of(value)?;
        if let Some(misfit) = misfit(&values, &self.to)? {
            return match self.kind {
                CastReason::Coercion => exec_err!("{}", message(&self.what, &misfit, &self.to)),
                CastReason::Sum => {
                    exec_err!(
                        "overflow: `{}` is {misfit}, which is beyond {}",
                        self.what,
                        self.to
                    )
                }
            };
        }
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let cast = cast_with_options(&values, &self.to, &strict)?;
        debug_assert_eq!(cast.null_count(), values.null_count(), "a cast made NULL");
        Ok(match value {
            ColumnarValue::Array(_) => ColumnarValue::Array(cast),
            ColumnarValue::Scalar(_) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&cast, 0)?)
            }
        })
    }
}
