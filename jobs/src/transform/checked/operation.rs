//! An operator as a function that fails where the result does not fit.

use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch, RecordBatchOptions,
    Scalar,
};
use arrow::buffer::{NullBuffer, ScalarBuffer};
use arrow::compute::cast;
use arrow::compute::kernels::numeric::{add, mul, neg, sub};
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Field,
    FieldRef, Int8Type, Int16Type, Int32Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit,
    Schema, TimeUnit, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use datafusion::common::{ScalarValue, exec_err, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};

use crate::transform::around::array_of;
use crate::transform::interrupt;
use crate::transform::sizes::{Budget, len_of, within_budget};

/// Nanoseconds of a day.
const NANOS_PER_DAY: i64 = 86_400_000_000_000;
/// What to do about an interval that is too fine.
const SHORTER: &str = "leave the finer part out, or use a column of a finer unit";

/// `a + b`, `a - b`, `a * b`, a shift, or `- a`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Operation {
    /// `None` for a negation.
    op: Option<Operator>,
    signature: Signature,
    /// Of an operator that gives more bytes than it takes.
    budget: Option<Budget>,
    name: String,
    returns: DataType,
}

impl Operation {
    pub(super) fn binary(op: Operator, types: &[DataType; 2], name: String) -> Result<Operation> {
        let [left, right] = types;
        Ok(Operation {
            op: Some(op),
            signature: Signature::any(2, Volatility::Immutable),
            budget: None,
            name,
            returns: BinaryTypeCoercer::new(left, &op, right).get_result_type()?,
        })
    }

    pub(super) fn concatenation(
        budget: &Budget,
        types: &[DataType; 2],
        name: String,
    ) -> Result<Operation> {
        Ok(Operation {
            budget: Some(budget.clone()),
            ..Operation::binary(Operator::StringConcat, types, name)?
        })
    }

    pub(super) fn negation(of: DataType, name: String) -> Operation {
        Operation {
            op: None,
            signature: Signature::any(1, Volatility::Immutable),
            budget: None,
            name,
            returns: of,
        }
    }

    /// The type of its results, given the operands that it was made for.
    pub(super) fn returns(&self) -> &DataType {
        &self.returns
    }
}

impl ScalarUDFImpl for Operation {
    fn name(&self) -> &'static str {
        match self.op {
            Some(Operator::Plus) => "checked_add",
            Some(Operator::Minus) => "checked_sub",
            Some(Operator::Multiply) => "checked_mul",
            Some(Operator::Divide) => "checked_div",
            Some(Operator::Modulo) => "checked_rem",
            Some(Operator::StringConcat) => "checked_concat",
            Some(Operator::BitwiseShiftLeft) => "checked_shl",
            Some(_) => "checked_shr",
            None => "checked_neg",
        }
    }

    /// The name that a column has by the operator: queries refer to columns by it. It stays what it was when the query
    /// was written, whatever becomes of the operands.
    fn schema_name(&self, _args: &[Expr]) -> Result<String> {
        Ok(self.name.clone())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match (self.op, types) {
            (Some(op), [left, right]) => BinaryTypeCoercer::new(left, &op, right).get_result_type(),
            (None, [inner]) => Ok(inner.clone()),
            _ => internal_err!("an operator with {} operands", types.len()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let fields = args.arg_fields;
        let types: Vec<DataType> = fields
            .iter()
            .map(|field| field.data_type().clone())
            .collect();
        let nullable = fields.iter().any(|field| field.is_nullable());
        let field = Field::new(self.name(), self.return_type(&types)?, nullable);
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        interrupt::check()?;
        let rows = args.number_rows;
        if let Some(budget) = &self.budget {
            let lens = args.args.iter().map(|value| len_of(value, rows));
            let len = lens.sum::<Result<u64>>()?;
            within_budget(budget, "||", len)?;
        }
        let result = match (self.op, args.args.as_slice()) {
            (Some(op), [left, right]) => binary(op, left, right, rows)?,
            (None, [inner]) => negated(inner)?,
            (_, args) => return internal_err!("an operator with {} operands", args.len()),
        };
        within_precision(&result)?;
        Ok(result)
    }
}

/// The result of a binary operator.
fn binary(
    op: Operator,
    left: &ColumnarValue,
    right: &ColumnarValue,
    rows: usize,
) -> Result<ColumnarValue> {
    if matches!(op, Operator::BitwiseShiftLeft | Operator::BitwiseShiftRight) {
        within_width(right)?;
    }
    if matches!(op, Operator::Plus | Operator::Minus) {
        whole_intervals(left, right)?;
        whole_intervals(right, left)?;
    }
    if let Some(result) = integers(op, left, right) {
        return result.map(ColumnarValue::Array);
    }
    // Everything else is DataFusion's: dates, times, intervals, decimals, values of no array.
    let mut columns = OperandColumns::default();
    let (left, right) = (columns.operand(left), columns.operand(right));
    let expr = BinaryExpr::new(left, op, right).with_fail_on_overflow(true);
    expr.evaluate(&columns.batch(rows)?)
        .map_err(|error| overflow(error, None))
}

fn negated(inner: &ColumnarValue) -> Result<ColumnarValue> {
    let negated = |array: &dyn Array| {
        neg(array).map_err(|error| overflow(error.into(), Some(array.data_type())))
    };
    match inner {
        ColumnarValue::Array(array) => negated(array).map(ColumnarValue::Array),
        ColumnarValue::Scalar(scalar) if scalar.data_type().is_null() => Ok(inner.clone()),
        ColumnarValue::Scalar(scalar) => {
            let result = negated(&scalar.to_array()?)?;
            Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &result, 0,
            )?))
        }
    }
}

/// The words of an overflow: what was computed, and the type that ended.
fn overflow(error: DataFusionError, data_type: Option<&DataType>) -> DataFusionError {
    let DataFusionError::ArrowError(arrow, _) = &error else {
        return error;
    };
    let ArrowError::ArithmeticOverflow(message) = arrow.as_ref() else {
        return error;
    };
    let computed = message
        .strip_prefix("Overflow happened on: ")
        .unwrap_or(message);
    let beyond = data_type.map_or_else(|| "its type".to_owned(), ToString::to_string);
    DataFusionError::Execution(format!("overflow: {computed} is beyond {beyond}"))
}

/// Operands as columns of a batch.
#[derive(Default)]
struct OperandColumns(Vec<ArrayRef>);

impl OperandColumns {
    fn operand(&mut self, value: &ColumnarValue) -> Arc<dyn PhysicalExpr> {
        match value {
            ColumnarValue::Array(array) => {
                self.0.push(Arc::clone(array));
                Arc::new(Column::new("operand", self.0.len() - 1))
            }
            ColumnarValue::Scalar(scalar) => Arc::new(Literal::new(scalar.clone())),
        }
    }

    fn batch(self, rows: usize) -> Result<RecordBatch> {
        let field = |array: &ArrayRef| Field::new("operand", array.data_type().clone(), true);
        let schema = Schema::new(self.0.iter().map(field).collect::<Vec<_>>());
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(
            Arc::new(schema),
            self.0,
            &options,
        )?)
    }
}

/// A native integer that says when a result is not exact.
trait Overflowing: Copy {
    fn apply(op: Operator, left: Self, right: Self) -> (Self, bool);
}

macro_rules! overflowing {
    ($($native:ty),*) => {$(
        impl Overflowing for $native {
            #[inline(always)]
            fn apply(op: Operator, left: Self, right: Self) -> (Self, bool) {
                match op {
                    Operator::Plus => left.overflowing_add(right),
                    Operator::Minus => left.overflowing_sub(right),
                    _ => left.overflowing_mul(right),
                }
            }
        }
    )*};
}
overflowing!(i8, i16, i32, i64, u8, u16, u32, u64);

/// `+ - *` of integers of one type, at least one of them an array; `None` for anything else.
fn integers(op: Operator, left: &ColumnarValue, right: &ColumnarValue) -> Option<Result<ArrayRef>> {
    if !matches!(op, Operator::Plus | Operator::Minus | Operator::Multiply) {
        return None;
    }
    let data_type = left.data_type();
    if data_type != right.data_type() {
        return None;
    }
    Some(match data_type {
        DataType::Int8 => integers_of::<Int8Type>(op, left, right)?,
        DataType::Int16 => integers_of::<Int16Type>(op, left, right)?,
        DataType::Int32 => integers_of::<Int32Type>(op, left, right)?,
        DataType::Int64 => integers_of::<Int64Type>(op, left, right)?,
        DataType::UInt8 => integers_of::<UInt8Type>(op, left, right)?,
        DataType::UInt16 => integers_of::<UInt16Type>(op, left, right)?,
        DataType::UInt32 => integers_of::<UInt32Type>(op, left, right)?,
        DataType::UInt64 => integers_of::<UInt64Type>(op, left, right)?,
        _ => return None,
    })
}

fn integers_of<T: ArrowPrimitiveType>(
    op: Operator,
    left: &ColumnarValue,
    right: &ColumnarValue,
) -> Option<Result<ArrayRef>>
where
    T::Native: Overflowing,
{
    let one = |scalar: &ScalarValue| scalar.to_array().map(Scalar::new);
    let (values, nulls) = match (left, right) {
        (ColumnarValue::Array(left), ColumnarValue::Array(right)) => {
            let (l, r) = (left.as_primitive::<T>(), right.as_primitive::<T>());
            let nulls = NullBuffer::union(l.nulls(), r.nulls());
            (each::<T>(op, l.values().iter().zip(r.values())), nulls)
        }
        (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => {
            let (l, r) = (left.as_primitive::<T>(), single::<T>(right)?);
            let pairs = l.values().iter().map(|value| (value, &r));
            (each::<T>(op, pairs), l.nulls().cloned())
        }
        (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => {
            let (l, r) = (single::<T>(left)?, right.as_primitive::<T>());
            let pairs = r.values().iter().map(|value| (&l, value));
            (each::<T>(op, pairs), r.nulls().cloned())
        }
        (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)) => return None,
    };
    if let Some(values) = values {
        let values = ScalarBuffer::from(values);
        return Some(Ok(Arc::new(PrimitiveArray::<T>::new(values, nulls))));
    }
    // What stands under a NULL does not count: the slower way tells.
    let kernel = match op {
        Operator::Plus => add,
        Operator::Minus => sub,
        _ => mul,
    };
    let computed = match (left, right) {
        (ColumnarValue::Array(left), ColumnarValue::Array(right)) => kernel(left, right),
        (ColumnarValue::Array(left), ColumnarValue::Scalar(right)) => match one(right) {
            Ok(right) => kernel(left, &right),
            Err(error) => return Some(Err(error)),
        },
        (ColumnarValue::Scalar(left), ColumnarValue::Array(right)) => match one(left) {
            Ok(left) => kernel(&left, right),
            Err(error) => return Some(Err(error)),
        },
        (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)) => return None,
    };
    Some(computed.map_err(|error| overflow(error.into(), Some(&T::DATA_TYPE))))
}

/// All results; `None` if one of them is not exact. Without a branch for each, so that it runs as fast as the
/// operator that wraps.
fn each<'a, T: ArrowPrimitiveType>(
    op: Operator,
    pairs: impl Iterator<Item = (&'a T::Native, &'a T::Native)>,
) -> Option<Vec<T::Native>>
where
    T::Native: Overflowing,
{
    fn all<'a, N: Overflowing + 'a>(
        pairs: impl Iterator<Item = (&'a N, &'a N)>,
        apply: impl Fn(N, N) -> (N, bool),
    ) -> Option<Vec<N>> {
        let mut inexact = false;
        let exact = pairs.map(|(left, right)| {
            let (value, beyond) = apply(*left, *right);
            inexact |= beyond;
            value
        });
        let values = exact.collect();
        (!inexact).then_some(values)
    }
    match op {
        Operator::Plus => all(pairs, |l, r| Overflowing::apply(Operator::Plus, l, r)),
        Operator::Minus => all(pairs, |l, r| Overflowing::apply(Operator::Minus, l, r)),
        _ => all(pairs, |l, r| Overflowing::apply(Operator::Multiply, l, r)),
    }
}

fn single<T: ArrowPrimitiveType>(scalar: &ScalarValue) -> Option<T::Native> {
    let array = scalar.to_array().ok()?;
    let array = array.as_primitive_opt::<T>()?;
    array.is_valid(0).then(|| array.value(0))
}

/// A shift by less than nothing, or by as many bits as there are or more, is taken modulo the width otherwise.
fn within_width(count: &ColumnarValue) -> Result<()> {
    let data_type = count.data_type();
    let Some(width) = data_type
        .primitive_width()
        .filter(|_| data_type.is_integer())
    else {
        return Ok(());
    };
    let bits = i128::try_from(width * 8).unwrap_or(i128::MAX);
    let counts = array_of(count)?;
    let beyond = match data_type {
        DataType::Int8 => first_beyond::<Int8Type>(&counts, bits),
        DataType::Int16 => first_beyond::<Int16Type>(&counts, bits),
        DataType::Int32 => first_beyond::<Int32Type>(&counts, bits),
        DataType::Int64 => first_beyond::<Int64Type>(&counts, bits),
        DataType::UInt8 => first_beyond::<UInt8Type>(&counts, bits),
        DataType::UInt16 => first_beyond::<UInt16Type>(&counts, bits),
        DataType::UInt32 => first_beyond::<UInt32Type>(&counts, bits),
        _ => first_beyond::<UInt64Type>(&counts, bits),
    };
    match beyond {
        Some(found) => exec_err!("overflow: a shift by {found} bits of {bits}"),
        None => Ok(()),
    }
}

/// An interval that is added to a date or a timestamp has no part of its unit, which would be dropped.
fn whole_intervals(moment: &ColumnarValue, interval: &ColumnarValue) -> Result<()> {
    let (unit, advice) = match moment.data_type() {
        DataType::Date32 | DataType::Date64 => (
            NANOS_PER_DAY,
            "write CAST(... AS TIMESTAMP) + ... to have a time",
        ),
        DataType::Timestamp(TimeUnit::Second, _) => (1_000_000_000, SHORTER),
        DataType::Timestamp(TimeUnit::Millisecond, _) => (1_000_000, SHORTER),
        DataType::Timestamp(TimeUnit::Microsecond, _) => (1_000, SHORTER),
        _ => return Ok(()),
    };
    let DataType::Interval(_) = interval.data_type() else {
        return Ok(());
    };
    let nanos = cast(
        &array_of(interval)?,
        &DataType::Interval(IntervalUnit::MonthDayNano),
    )?;
    let nanos = nanos.as_primitive::<IntervalMonthDayNanoType>().iter();
    let mut nanos = nanos.flatten().map(|parts| parts.nanoseconds);
    match nanos.find(|nanos| nanos % unit != 0) {
        None => Ok(()),
        Some(nanos) => exec_err!(
            "an interval with {nanos} nanoseconds beside days is no whole number of units of {}: {advice}",
            moment.data_type()
        ),
    }
}

fn first_beyond<T: ArrowPrimitiveType>(counts: &ArrayRef, bits: i128) -> Option<i128>
where
    T::Native: Into<i128>,
{
    let mut counts = counts.as_primitive::<T>().iter().flatten().map(Into::into);
    counts.find(|count| !(0..bits).contains(count))
}

/// Decimals are computed in their native integers, which hold more digits than the type has.
fn within_precision(value: &ColumnarValue) -> Result<()> {
    let data_type = value.data_type();
    if !data_type.is_decimal() {
        return Ok(());
    }
    let array = array_of(value)?;
    match data_type {
        DataType::Decimal32(precision, _) => digits::<Decimal32Type>(&array, precision),
        DataType::Decimal64(precision, _) => digits::<Decimal64Type>(&array, precision),
        DataType::Decimal128(precision, _) => digits::<Decimal128Type>(&array, precision),
        DataType::Decimal256(precision, _) => digits::<Decimal256Type>(&array, precision),
        _ => Ok(()),
    }
}

fn digits<T: DecimalType>(array: &ArrayRef, precision: u8) -> Result<()> {
    let array = array.as_primitive::<T>();
    array.validate_decimal_precision(precision).map_err(|_| {
        let found = (0..array.len()).find(|row| {
            let value = array.is_valid(*row).then(|| array.value(*row));
            value.is_some_and(|value| !T::is_valid_decimal_precision(value, precision))
        });
        let value = found.map_or_else(String::new, |row| array.value_as_string(row));
        DataFusionError::Execution(format!(
            "overflow: {value} has more than the {precision} digits of {}",
            array.data_type()
        ))
    })
}
