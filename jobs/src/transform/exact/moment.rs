//! Dates and times that the query leaves the unit of open are of microseconds: as DataFusion has them, of nanoseconds, they
//! would end in the year 2262.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Cast, ScalarFunction};
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};

use crate::transform::rewrite::rewritten;

/// Whether a zone is that of times which say none.
pub(crate) fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "utc" | "Z" | "+00:00" | "+00")
}

/// A query as it was planned, with microseconds where it leaves the unit open. Only once: casts that are added later
/// are meant.
pub(in crate::transform) fn in_microseconds(plan: LogicalPlan) -> Result<LogicalPlan> {
    let done = plan.transform_up_with_subqueries(|node| {
        let opened = rewritten(node, |expr, schema| {
            expr.transform_up(|part| {
                let is_open = matches!(part, Expr::Cast(_) | Expr::ScalarFunction(_));
                match is_open {
                    true => opened(part, schema).map(Transformed::yes),
                    false => Ok(Transformed::no(part)),
                }
            })
        })?;
        // A set operation is not consistent before its columns are of one type.
        opened.map_data(|node| match node {
            LogicalPlan::Union(_) | LogicalPlan::Join(_) => Ok(node),
            node => node.recompute_schema(),
        })
    })?;
    Ok(done.data)
}

/// An expression whose parts were looked at.
fn opened(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::Cast(cast) => Ok(Expr::Cast(in_micros(cast, schema)?)),
        Expr::ScalarFunction(mut call) => {
            known_part(&call)?;
            for index in moments(&call) {
                if let Some(arg) = call.args.get_mut(index) {
                    *arg = taken_as_micros(arg.clone(), schema);
                }
            }
            as_it_is(&mut call, schema);
            Ok(Expr::ScalarFunction(call))
        }
        other => Ok(other),
    }
}

/// The cast with microseconds instead of nanoseconds, unless it is one of nanoseconds.
fn in_micros(cast: Cast, schema: &DFSchema) -> Result<Cast> {
    let DataType::Timestamp(TimeUnit::Nanosecond, zone) = cast.field.data_type() else {
        return Ok(cast);
    };
    let Ok(from) = cast.expr.get_type(schema) else {
        return Ok(cast);
    };
    if from.is_numeric() {
        return plan_err!(
            "CAST of a number of type {from} AS TIMESTAMP does not say which unit it counts: write \
             to_timestamp_seconds(...), to_timestamp_millis(...) or to_timestamp_micros(...)"
        );
    }
    let zone = zone.clone();
    Ok(match is_coarse(&from) {
        true => Cast::new(cast.expr, DataType::Timestamp(TimeUnit::Microsecond, zone)),
        false => cast,
    })
}

/// Whether values of a type become timestamps of microseconds without any loss, or say so.
fn is_coarse(from: &DataType) -> bool {
    matches!(
        from,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(
                TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond,
                _
            )
    )
}

/// Positions of the arguments that a function takes as timestamps, whatever they are.
fn moments(call: &ScalarFunction) -> std::ops::Range<usize> {
    match call.func.name() {
        "date_trunc" | "date_part" => 1..2,
        "date_bin" => 1..3,
        _ => 0..0,
    }
}

/// Parts of a time that can be cut to.
const CUTS: [&str; 10] = [
    "microsecond",
    "millisecond",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
];

/// Checks the part of a time that is named by a constant, which would fail each shard.
fn known_part(call: &ScalarFunction) -> Result<()> {
    let ("date_trunc", Some(Expr::Literal(part, _))) = (call.func.name(), call.args.first()) else {
        return Ok(());
    };
    match part.try_as_str().flatten() {
        Some(part) if !CUTS.iter().any(|cut| cut.eq_ignore_ascii_case(part)) => plan_err!(
            "`date_trunc` does not cut to `{part}`: expected one of {}",
            CUTS.join(", ")
        ),
        _ => Ok(()),
    }
}

/// `to_char` and `date_bin` take a timestamp of any unit, and would be given nanoseconds where it has a zone.
fn as_it_is(call: &mut ScalarFunction, schema: &DFSchema) {
    let position = match call.func.name() {
        "to_char" => 0,
        "date_bin" => 1,
        _ => return,
    };
    let Some(time) = call.args.get_mut(position) else {
        return;
    };
    if let Ok(DataType::Timestamp(unit, Some(zone))) = time.get_type(schema)
        && unit != TimeUnit::Nanosecond
        && is_utc(&zone)
    {
        let to = DataType::Timestamp(unit, None);
        *time = Expr::Cast(Cast::new(Box::new(time.clone()), to));
    }
}

fn taken_as_micros(arg: Expr, schema: &DFSchema) -> Expr {
    let is_text_or_day = arg
        .get_type(schema)
        .is_ok_and(|from| is_coarse(&from) && !matches!(from, DataType::Timestamp(..)));
    match is_text_or_day {
        true => Expr::Cast(Cast::new(
            Box::new(arg),
            DataType::Timestamp(TimeUnit::Microsecond, None),
        )),
        false => arg,
    }
}
