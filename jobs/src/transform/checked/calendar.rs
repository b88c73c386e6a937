//! Times beyond the years that nanoseconds reach, in functions that compute in nanoseconds whatever the unit.
//!
//! The calendar repeats itself every 400 years, weekdays included. So what begins a month or a week is the same after a
//! time is moved by such cycles and back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::{ScalarValue, exec_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use crate::transform::around::array_of;

/// Seconds of 400 years.
const CYCLE_SECONDS: i64 = 146_097 * 86_400;
/// The first second that nanoseconds do not reach, before and after the epoch.
const REACH_SECONDS: i64 = 9_223_372_036;

/// Units of a second of times without a zone of their own; `None` of anything else, and of nanoseconds.
fn units(data_type: &DataType) -> Option<i64> {
    let DataType::Timestamp(unit, zone) = data_type else {
        return None;
    };
    let is_utc = zone.as_deref().is_none_or(crate::transform::is_utc);
    match unit {
        _ if !is_utc => None,
        TimeUnit::Second => Some(1),
        TimeUnit::Millisecond => Some(1_000),
        TimeUnit::Microsecond => Some(1_000_000),
        TimeUnit::Nanosecond => None,
    }
}

/// Calls a function of a name and a time, which gives a time.
pub(super) fn called(inner: &ScalarUDF, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
    let [_, time] = args.args.as_slice() else {
        return inner.invoke_with_args(args);
    };
    let data_type = time.data_type();
    let Some(units) = units(&data_type) else {
        return inner.invoke_with_args(args);
    };
    let times = array_of(time)?;
    let cycle = CYCLE_SECONDS * units;
    let cycles = cycles(&times, cycle)?;
    if cycles.iter().all(|cycles| *cycles == 0) {
        return inner.invoke_with_args(args);
    }
    let is_one = matches!(time, ColumnarValue::Scalar(_));
    let moved = moved(&times, &cycles, -cycle)?;
    let args = ScalarFunctionArgs {
        args: vec![args.args[0].clone(), ColumnarValue::Array(moved)],
        number_rows: times.len(),
        ..args
    };
    let result = inner.invoke_with_args(args)?.into_array(times.len())?;
    debug_assert_eq!(result.data_type(), &data_type, "a time of the same unit");
    debug_assert_eq!(result.len(), times.len(), "a time for each");
    let result = self::moved(&result, &cycles, cycle)?;
    Ok(match is_one {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?),
        false => ColumnarValue::Array(result),
    })
}

/// By how many cycles each time is away from those around the epoch.
fn cycles(times: &ArrayRef, cycle: i64) -> Result<Vec<i64>> {
    let numbers = cast(times, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>().iter();
    let cycles = numbers.map(|number| {
        let number = number.unwrap_or(0);
        number.saturating_add(cycle / 2).div_euclid(cycle)
    });
    Ok(cycles.collect())
}

/// The times with so many cycles more.
fn moved(times: &ArrayRef, cycles: &[i64], cycle: i64) -> Result<ArrayRef> {
    let numbers = cast(times, &DataType::Int64)?;
    let numbers = numbers.as_primitive::<Int64Type>().iter();
    let moved = numbers.zip(cycles).map(|(number, cycles)| {
        let Some(number) = number else {
            return Ok(None);
        };
        let moved = cycles
            .checked_mul(cycle)
            .and_then(|by| number.checked_add(by));
        let beyond =
            || DataFusionError::Execution(format!("overflow: the time {number} is too far"));
        moved.ok_or_else(beyond).map(Some)
    });
    let moved: Int64Array = moved.collect::<Result<_>>()?;
    Ok(cast(&(Arc::new(moved) as ArrayRef), times.data_type())?)
}

/// Fails where a time is beyond the years that nanoseconds reach.
pub(super) fn within_nanos(name: &str, args: &ScalarFunctionArgs) -> Result<()> {
    for time in &args.args {
        let data_type = time.data_type();
        let Some(units) = units(&data_type) else {
            continue;
        };
        let numbers = cast(&array_of(time)?, &DataType::Int64)?;
        let mut numbers = numbers.as_primitive::<Int64Type>().iter().flatten();
        let is_beyond = |number: &i64| (number / units).abs() >= REACH_SECONDS;
        if let Some(beyond) = numbers.find(is_beyond) {
            return exec_err!(
                "`{name}` takes times of the years 1678 to 2262, found {beyond} as {data_type}: write date_trunc(...) instead"
            );
        }
    }
    Ok(())
}
