//! Functions that give far more bytes than they take.
//!
//! `lpad(x, 2000000000)` would ask for gigabytes at once, and a process that does not get them ends. So what such a
//! function is about to give is estimated first. Where it is too much, rows are computed a few at a time, and
//! where it still is, the shard fails.
//!
//! While a query is planned the bound is small: constants that are large are not computed before they are needed.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::{cast, concat};
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, TimeUnit};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF};

use super::around::{Wrapper, around, array_of};
use super::interrupt;

/// Nanoseconds of a day.
const NANOS_PER_DAY: i128 = 86_400_000_000_000;
/// Bytes of a constant that is computed while a query is planned.
const FOLDED_LEN_MAX: usize = 8 << 10;
/// Bytes that all functions of a query may give at once, together.
const GIVEN_LEN_MAX: usize = 512 << 20;
/// Bytes that one function may give at once, at least and at most.
const CAP_MIN: usize = 4 << 20;
const CAP_MAX: usize = super::TRANSFORM_MEMORY_LEN_MAX;
/// Rows that are computed at once where functions may give far more than they take.
const ROWS_MAX: usize = 1024;
/// Bytes that constants may take once there is one for each row.
const CONSTANTS_LEN_MAX: usize = 64 << 20;

/// What the functions of a query may give at once; shared by all of them.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// For planning.
    pub(super) fn planning() -> Budget {
        Budget(Arc::new(AtomicUsize::new(FOLDED_LEN_MAX)))
    }

    /// From now on the query is computed.
    pub(super) fn planned(&self, plan: &Growing) {
        let each = GIVEN_LEN_MAX / plan.calls.max(1);
        self.0
            .store(each.clamp(CAP_MIN, CAP_MAX), Ordering::Relaxed);
    }

    fn cap(&self) -> u64 {
        self.0.load(Ordering::Relaxed) as u64
    }
}

/// Functions are the same whatever they may give.
impl PartialEq for Budget {
    fn eq(&self, _other: &Budget) -> bool {
        true
    }
}

impl Eq for Budget {}

impl Hash for Budget {
    fn hash<H: Hasher>(&self, _state: &mut H) {}
}

/// What a query has of functions that may give far more than they take.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Growing {
    pub(super) calls: usize,
}

impl Growing {
    /// Counts a function, if it is one.
    pub(super) fn count(&mut self, expr: &Expr) {
        let Expr::ScalarFunction(call) = expr else {
            return;
        };
        if Growth::of(call.func.name()).is_some() || call.func.name() == "checked_concat" {
            self.calls += 1;
        }
    }

    /// Rows that are computed at once, given the bytes of the texts in the query.
    pub(super) fn rows_max(self, literals_len: usize, otherwise: usize) -> usize {
        let constants = literals_len + self.calls * FOLDED_LEN_MAX;
        let rows = match self.calls {
            0 => otherwise,
            _ => otherwise.min(ROWS_MAX),
        };
        rows.min(CONSTANTS_LEN_MAX / constants.max(1)).max(1)
    }
}

/// How the result of a function relates to its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Growth {
    Repeat,
    Pad,
    /// All arguments one after the other.
    Sum,
    /// The first argument between the others.
    Separated,
    Replace,
    RegexpReplace,
    ArrayRepeat,
    ArrayResize,
    Range,
    /// The second argument between the members of the first.
    Joined,
    Split,
    Format,
}

impl Growth {
    fn of(name: &str) -> Option<Growth> {
        Some(match name {
            "repeat" => Growth::Repeat,
            "lpad" | "rpad" => Growth::Pad,
            "concat" | "array_concat" | "array_append" | "array_prepend" | "make_array"
            | "array_union" | "array_insert" | "overlay" | "map" | "arrays_zip" => Growth::Sum,
            "concat_ws" => Growth::Separated,
            "replace" | "array_replace" | "array_replace_n" | "array_replace_all" | "translate" => {
                Growth::Replace
            }
            "regexp_replace" => Growth::RegexpReplace,
            "array_repeat" => Growth::ArrayRepeat,
            "array_resize" => Growth::ArrayResize,
            "range" | "generate_series" => Growth::Range,
            "array_to_string" => Growth::Joined,
            "string_to_array" => Growth::Split,
            "to_char" => Growth::Format,
            _ => return None,
        })
    }

    /// Bytes of the result of a row, at most.
    fn bound(self, args: &[Argument], row: usize) -> u64 {
        let len = |index: usize| args.get(index).map_or(0, |arg| arg.len(row));
        let number = |index: usize| {
            let number = args.get(index).map_or(0, |arg| arg.number(row));
            u64::try_from(number).unwrap_or(0)
        };
        let sum = |lens: std::ops::Range<usize>| lens.map(len).fold(0, u64::saturating_add);
        match self {
            Growth::Repeat => len(0).saturating_mul(number(1)),
            // A character has four bytes at most.
            Growth::Pad => number(1).saturating_mul(4),
            Growth::Sum => sum(0..args.len()),
            Growth::Separated => {
                let between = len(0).saturating_mul(args.len() as u64);
                sum(1..args.len()).saturating_add(between)
            }
            Growth::Replace => {
                let times = len(0) / len(1).max(1) + 1;
                len(0).saturating_add(times.saturating_mul(len(2)))
            }
            Growth::RegexpReplace => {
                let groups = len(2) / 2;
                let matches = len(0) + 1;
                let texts = matches.saturating_mul(len(2));
                texts.saturating_add(len(0).saturating_mul(groups + 1))
            }
            Growth::ArrayRepeat => len(0).max(8).saturating_mul(number(1)),
            Growth::ArrayResize => len(0).saturating_add(len(2).max(8).saturating_mul(number(1))),
            Growth::Range => range_len(args, row).saturating_mul(8),
            Growth::Joined => {
                // A member has a byte of text at least, or is a number.
                len(0)
                    .saturating_mul(8)
                    .saturating_add(len(0).saturating_mul(len(1)))
            }
            Growth::Split => len(0).saturating_mul(5).saturating_add(16),
            Growth::Format => len(1).saturating_mul(24),
        }
    }
}

/// How many values there are from the first argument to the second, by the third.
fn range_len(args: &[Argument], row: usize) -> u64 {
    let number = |index: usize| args.get(index).map(|arg| i128::from(arg.number(row)));
    let (start, stop) = match (number(0), number(1)) {
        (Some(start), Some(stop)) => (start, stop),
        (Some(stop), None) => (0, stop),
        _ => (0, 0),
    };
    let step = match args.get(2) {
        None => 1,
        Some(step) => step.step(row, args.first()),
    };
    let distance = if step < 0 { start - stop } else { stop - start };
    let count = distance / step.abs().max(1) + 1;
    u64::try_from(count.max(0)).unwrap_or(u64::MAX)
}

/// An argument, as far as the size of a result depends on it.
enum Argument {
    /// Texts: bytes of each.
    Text(Vec<u64>),
    /// Numbers, dates and times as they are kept, and nanoseconds of their unit.
    Number(Vec<i64>, i128),
    /// Months, days and nanoseconds.
    Interval(Vec<(i128, i128, i128)>),
    /// Bytes of each row, much the same for all.
    Other(u64),
}

impl Argument {
    fn of(value: &ColumnarValue) -> Result<Argument> {
        let array = array_of(value)?;
        Ok(match array.data_type() {
            DataType::Utf8 => lens(array.as_string::<i32>().iter()),
            DataType::LargeUtf8 => lens(array.as_string::<i64>().iter()),
            DataType::Utf8View => lens(array.as_string_view().iter()),
            DataType::Interval(_) => {
                let to = DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano);
                let array = cast(&array, &to)?;
                let parts = array.as_primitive::<IntervalMonthDayNanoType>().iter();
                let parts = parts.map(|parts| {
                    parts.map_or((0, 0, 0), |parts| {
                        (
                            parts.months.into(),
                            parts.days.into(),
                            parts.nanoseconds.into(),
                        )
                    })
                });
                Argument::Interval(parts.collect())
            }
            data_type if data_type.is_integer() || data_type.is_temporal() => {
                let unit = match data_type {
                    DataType::Date32 => NANOS_PER_DAY,
                    DataType::Date64 | DataType::Timestamp(TimeUnit::Millisecond, _) => 1_000_000,
                    DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
                    DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
                    _ => 1,
                };
                match cast(&array, &DataType::Int64) {
                    Ok(array) => {
                        let values = array.as_primitive::<Int64Type>().iter();
                        let values = values.map(Option::unwrap_or_default).collect();
                        Argument::Number(values, unit)
                    }
                    Err(_) => Argument::Other(8),
                }
            }
            _ => {
                let bytes = array.to_data().get_slice_memory_size()?;
                Argument::Other((bytes / array.len().max(1)) as u64 + 1)
            }
        })
    }

    fn at<T: Copy>(values: &[T], row: usize) -> Option<T> {
        values.get(if values.len() == 1 { 0 } else { row }).copied()
    }

    fn len(&self, row: usize) -> u64 {
        match self {
            Argument::Text(lens) => Argument::at(lens, row).unwrap_or(0),
            Argument::Number(..) => 24,
            Argument::Interval(_) => 16,
            Argument::Other(len) => *len,
        }
    }

    fn number(&self, row: usize) -> i64 {
        match self {
            Argument::Number(values, _) => Argument::at(values, row).unwrap_or(0),
            _ => 0,
        }
    }

    /// Nanoseconds of a unit of its numbers.
    fn nanos(&self) -> i128 {
        match self {
            Argument::Number(_, nanos) => *nanos,
            _ => 1,
        }
    }

    /// As the step of a range that begins with `start`: at least 1, or at most -1.
    fn step(&self, row: usize, start: Option<&Argument>) -> i128 {
        match self {
            Argument::Number(..) => self.number(row).into(),
            Argument::Interval(parts) => {
                let (months, days, nanos) = Argument::at(parts, row).unwrap_or((0, 0, 0));
                // Months are taken as short ones: a step is not shorter.
                let nanos = (months * 28 + days) * NANOS_PER_DAY + nanos;
                let unit = start.map_or(1, Argument::nanos);
                match (nanos / unit, nanos.signum()) {
                    (0, sign) => sign,
                    (step, _) => step,
                }
            }
            _ => 1,
        }
    }
}

fn lens<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Argument {
    Argument::Text(
        texts
            .map(|text| text.map_or(0, |text| text.len() as u64))
            .collect(),
    )
}

/// A function to be put in the place of one that may give far more than it takes.
pub(super) fn capped(func: &Arc<ScalarUDF>, budget: &Budget) -> Option<Arc<ScalarUDF>> {
    let growth = Growth::of(func.name())?;
    let capped = Capped {
        growth,
        budget: budget.clone(),
    };
    around(func, capped)
}

/// Fails where so many bytes are more than a function may give at once.
pub(super) fn within_budget(budget: &Budget, name: &str, bytes: u64) -> Result<()> {
    match bytes <= budget.cap() {
        true => Ok(()),
        false => Err(too_much(name, bytes, budget.cap())),
    }
}

fn too_much(name: &str, bytes: u64, cap: u64) -> DataFusionError {
    DataFusionError::ResourcesExhausted(format!(
        "`{name}` would give up to {bytes} bytes at once, where {cap} are allowed"
    ))
}

/// Bytes of a value, or of all values of an array.
pub(super) fn len_of(value: &ColumnarValue, rows: usize) -> Result<u64> {
    let argument = Argument::of(value)?;
    Ok(match &argument {
        Argument::Text(lens) if lens.len() > 1 => lens.iter().sum(),
        one => one.len(0).saturating_mul(rows as u64),
    })
}

/// A function looks first how much it is going to give.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Capped {
    growth: Growth,
    budget: Budget,
}

impl Capped {
    /// Computes rows a few at a time.
    fn in_parts(
        inner: &ScalarUDF,
        args: &ScalarFunctionArgs,
        bounds: &[u64],
        cap: u64,
    ) -> Result<ColumnarValue> {
        let mut parts: Vec<ArrayRef> = Vec::new();
        let (mut from, mut given) = (0, 0);
        while from < bounds.len() {
            interrupt::check()?;
            let mut bound = 0;
            let fits = |len: &&u64| {
                bound += **len;
                bound <= cap
            };
            let rows = bounds[from..].iter().take_while(fits).count().max(1);
            let slice = |value: &ColumnarValue| match value {
                ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(from, rows)),
                scalar @ ColumnarValue::Scalar(_) => scalar.clone(),
            };
            let part = inner.invoke_with_args(ScalarFunctionArgs {
                args: args.args.iter().map(slice).collect(),
                arg_fields: args.arg_fields.clone(),
                number_rows: rows,
                return_field: Arc::clone(&args.return_field),
                config_options: Arc::clone(&args.config_options),
            })?;
            let part = part.into_array(rows)?;
            given += part.to_data().get_slice_memory_size()? as u64;
            if given > cap {
                return Err(too_much(inner.name(), given, cap));
            }
            parts.push(part);
            from += rows;
        }
        debug_assert_eq!(from, bounds.len(), "rows computed of those that there are");
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&parts)?))
    }
}

impl Wrapper for Capped {
    fn call(&self, inner: &ScalarUDF, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        interrupt::check()?;
        let cap = self.budget.cap();
        let values: Vec<Argument> = args.args.iter().map(Argument::of).collect::<Result<_>>()?;
        let is_scalar = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        if args.args.iter().all(is_scalar) {
            // There may be one for each row.
            let bound = self.growth.bound(&values, 0);
            let all = bound.saturating_mul(args.number_rows.max(1) as u64);
            return match all <= cap {
                true => inner.invoke_with_args(args),
                false => Err(too_much(inner.name(), all, cap)),
            };
        }
        let rows = 0..args.number_rows;
        let bounds: Vec<u64> = rows.map(|row| self.growth.bound(&values, row)).collect();
        if bounds
            .iter()
            .fold(0, |sum: u64, len| sum.saturating_add(*len))
            <= cap
        {
            return inner.invoke_with_args(args);
        }
        match bounds.iter().find(|bound| **bound > cap) {
            Some(bound) => Err(too_much(inner.name(), *bound, cap)),
            None => Capped::in_parts(inner, &args, &bounds, cap),
        }
    }
}
