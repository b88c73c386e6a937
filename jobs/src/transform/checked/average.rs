//! `avg` of integers and of durations, which DataFusion adds up as floats and in 64 bits.
//!
//! It takes decimals with room for their sums: those are its own, and so are floats.

use std::sync::Arc;

use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, FieldRef, Float64Type, Int64Type, TimeUnit, UInt64Type,
};
use datafusion::common::plan_err;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions_aggregate::average::Avg;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator, ReversedUDAF, Signature,
    Volatility,
};

use super::sum::{Adding, Finish, Kit, Summand, Total, Wide};

/// The function `avg` of a session.
pub(in crate::transform) fn checked_avg() -> Arc<AggregateUDF> {
    let signature = Signature::user_defined(Volatility::Immutable);
    Arc::new(AggregateUDF::new_from_impl(CheckedAvg {
        inner: Avg::new(),
        signature,
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedAvg {
    inner: Avg,
    signature: Signature,
}

/// The sum divided by the number of values, towards nought.
#[derive(Debug)]
struct Mean;

impl<T: Summand> Finish<T> for Mean {
    type Out = T;

    fn of(sum: T::Wide, count: u64, result: &DataType) -> Result<T::Native> {
        <Total as Finish<T>>::of(sum.over(count), count, result)
    }
}

/// The sum divided by the number of values, as a float.
#[derive(Debug)]
struct FloatMean;

impl<T: Summand<Wide = i128>> Finish<T> for FloatMean {
    type Out = Float64Type;

    #[allow(clippy::cast_precision_loss, reason = "an average is a float")]
    fn of(sum: i128, count: u64, _result: &DataType) -> Result<f64> {
        debug_assert!(count > 0, "the average of no value is NULL");
        Ok(sum as f64 / count as f64)
    }
}

/// How values of a type are averaged; `None` for those that are DataFusion's.
fn adding(values: Option<&FieldRef>) -> Option<Box<dyn Adding>> {
    Some(match values?.data_type() {
        DataType::Int64 => Kit::<Int64Type, FloatMean>::boxed(),
        DataType::UInt64 => Kit::<UInt64Type, FloatMean>::boxed(),
        DataType::Duration(TimeUnit::Second) => Kit::<DurationSecondType, Mean>::boxed(),
        DataType::Duration(TimeUnit::Millisecond) => Kit::<DurationMillisecondType, Mean>::boxed(),
        DataType::Duration(TimeUnit::Microsecond) => Kit::<DurationMicrosecondType, Mean>::boxed(),
        DataType::Duration(TimeUnit::Nanosecond) => Kit::<DurationNanosecondType, Mean>::boxed(),
        _ => return None,
    })
}

/// What values of a type are averaged as.
fn averaged_as(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Null => DataType::Float64,
        DataType::Dictionary(_, values) => return averaged_as(values),
        of if of.is_signed_integer() => DataType::Int64,
        of if of.is_unsigned_integer() => DataType::UInt64,
        of if of.is_floating() => DataType::Float64,
        of if of.is_decimal() || matches!(of, DataType::Duration(_)) => of.clone(),
        _ => return None,
    })
}

impl AggregateUDFImpl for CheckedAvg {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        let [data_type] = arg_types else {
            return plan_err!("`avg` takes one argument, found {}", arg_types.len());
        };
        let averaged = averaged_as(data_type).ok_or_else(|| {
            DataFusionError::Plan(format!(
                "`avg` takes numbers, found {data_type}: cast the argument"
            ))
        });
        Ok(vec![averaged?])
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [of] if of.is_integer() => Ok(DataType::Float64),
            types => self.inner.return_type(types),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match adding(args.expr_fields.first()) {
            Some(own) => Ok(own.accumulator(&args)),
            None => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        match adding(args.input_fields.first()) {
            Some(own) => Ok(own.state_fields(&args)),
            None => self.inner.state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        match adding(args.expr_fields.first()) {
            Some(_) => !args.is_distinct,
            None => self.inner.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match adding(args.expr_fields.first()) {
            Some(own) => Ok(own.groups(&args)),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }
}
