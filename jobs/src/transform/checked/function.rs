//! Functions that do not notice by themselves where they lose something of what they take or give.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::calendar;
use crate::transform::around::{Wrapper, around, array_of};

/// Seconds from which on nanoseconds are beyond 64 bits.
const SECONDS_MAX: f64 = 9_223_372_036.0;
/// The first float that is beyond 64 bits.
const INTEGERS_MAX: f64 = 9_223_372_036_854_775_808.0;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Check {
    /// The result is no number below nought.
    Natural,
    /// Floats that are taken as seconds have nanoseconds.
    Seconds,
    /// Floats that are taken as a number of units are whole.
    Whole,
    /// Floats that are finite give such.
    Finite,
    /// Times are those of nanoseconds, whatever their unit.
    Nanos,
    /// Times are moved by whole cycles of the calendar to where nanoseconds are.
    Calendar,
}

/// A function to be put in the place of one that does not notice.
pub(super) fn checked_function(func: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let check = match func.name() {
        "gcd" => Check::Natural,
        "to_timestamp" => Check::Seconds,
        "to_timestamp_seconds"
        | "to_timestamp_millis"
        | "to_timestamp_micros"
        | "to_timestamp_nanos" => Check::Whole,
        "round" | "trunc" => Check::Finite,
        "date_bin" => Check::Nanos,
        "date_trunc" => Check::Calendar,
        _ => return None,
    };
    around(func, check)
}

impl Wrapper for Check {
    fn call(&self, inner: &ScalarUDF, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = inner.name();
        match self {
            Check::Calendar => return calendar::called(inner, args),
            Check::Nanos => calendar::within_nanos(name, &args)?,
            Check::Finite => return finite(inner, args),
            _ => {}
        }
        if let Some(argument) = args
            .args
            .first()
            .filter(|arg| arg.data_type().is_floating())
        {
            let floats = cast(&array_of(argument)?, &DataType::Float64)?;
            let mut floats = floats.as_primitive::<Float64Type>().iter().flatten();
            match self {
                Check::Seconds => {
                    let is_beyond =
                        |seconds: &f64| seconds.is_nan() || seconds.abs() >= SECONDS_MAX;
                    if let Some(beyond) = floats.find(is_beyond) {
                        return exec_err!("overflow: {name}({beyond}) is beyond nanoseconds");
                    }
                }
                Check::Whole => {
                    let is_part = |float: &f64| float.abs() >= INTEGERS_MAX || float.fract() != 0.0;
                    if let Some(part) = floats.find(is_part) {
                        return exec_err!(
                            "{name}({part}) would lose the part of a unit: round it, or use a finer unit"
                        );
                    }
                }
                Check::Natural | Check::Finite | Check::Nanos | Check::Calendar => {}
            }
        }
        let result = inner.invoke_with_args(args)?;
        if *self == Check::Natural && result.data_type() == DataType::Int64 {
            let values = array_of(&result)?;
            let mut values = values.as_primitive::<Int64Type>().iter().flatten();
            if values.any(|value| value < 0) {
                return exec_err!("overflow: a result of {name} is beyond Int64");
            }
        }
        Ok(result)
    }
}

/// Calls a function that moves the point of a float there and back: there it may be beyond what a float is.
fn finite(inner: &ScalarUDF, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
    let Some(argument) = args
        .args
        .first()
        .filter(|arg| arg.data_type().is_floating())
    else {
        return inner.invoke_with_args(args);
    };
    let before = cast(&array_of(argument)?, &DataType::Float64)?;
    let result = inner.invoke_with_args(args)?;
    let after = cast(&array_of(&result)?, &DataType::Float64)?;
    let (before, after) = (
        before.as_primitive::<Float64Type>(),
        after.as_primitive::<Float64Type>(),
    );
    for (row, after) in after.iter().enumerate() {
        let of = if before.len() == 1 { 0 } else { row };
        let is_lost = after.is_some_and(|after| !after.is_finite());
        if is_lost && before.is_valid(of) && before.value(of).is_finite() {
            return exec_err!(
                "overflow: {}({}, ...) has too many places: a float has 17 digits",
                inner.name(),
                before.value(of)
            );
        }
    }
    Ok(result)
}
