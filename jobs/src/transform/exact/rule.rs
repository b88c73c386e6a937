//! The rule that stands in the place of DataFusion's.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::{Between, Cast, InList};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, lit, not};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;

use super::cast::{exact_cast, is_lossy};
use super::compare::{compared, is_comparable, is_comparison};
use super::text::whole_text;
use super::written;
use crate::transform::rewrite::rewritten;

/// Values of an `IN` list that are compared one by one.
const LIST_LEN_MAX: usize = 1_000;

/// Brings operands to one type, and no value to another one.
#[derive(Debug, Default)]
pub(in crate::transform) struct ExactCoercion(TypeCoercion);

impl AnalyzerRule for ExactCoercion {
    /// That of the rule that it stands for: errors are told by it.
    fn name(&self) -> &str {
        self.0.name()
    }

    fn analyze(&self, plan: LogicalPlan, config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(prepared)?.data;
        let plan = self.0.analyze(plan, config)?;
        let plan = plan.transform_up_with_subqueries(|node| {
            rewritten(node, |expr, schema| {
                let exact = expr.transform_down(|part| exact(part, schema))?;
                let unmarked = exact.data.transform_up(|part| restored(part, schema))?;
                Ok(Transformed::yes(unmarked.data))
            })
        })?;
        Ok(plan.data)
    }
}

/// A node with its casts marked.
fn prepared(node: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let is_values = matches!(node, LogicalPlan::Values(_));
    rewritten(node, |expr, _schema| {
        // The planner has made the columns of VALUES one type.
        if is_values && is_whole_number_as_float(&expr) {
            return Ok(Transformed::no(expr));
        }
        expr.transform_up(|part| {
            Ok(match part {
                Expr::Cast(cast) => Transformed::yes(written::marked(cast)),
                part => Transformed::no(part),
            })
        })
    })
}

fn is_whole_number_as_float(expr: &Expr) -> bool {
    let Expr::Cast(cast) = expr else {
        return false;
    };
    let is_whole = matches!(&*cast.expr, Expr::Literal(value, _) if value.data_type().is_integer());
    is_whole && cast.field.data_type().is_floating()
}

/// What DataFusion's rule has cast; `None` of anything else.
fn cast_inner(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::Cast(Cast { expr, .. }) => Some(expr),
        _ => None,
    }
}

fn bare(expr: &Expr) -> &Expr {
    cast_inner(expr).unwrap_or(expr)
}

/// Whether any of these was cast such that a value may have changed, and all of them compare without.
fn are_comparable(exprs: &[&Expr], schema: &DFSchema) -> Result<bool> {
    let mut is_any_cast = false;
    let mut types: Vec<DataType> = Vec::with_capacity(exprs.len());
    for expr in exprs {
        let own = bare(expr).get_type(schema)?;
        if let Expr::Cast(cast) = expr {
            let to = cast.field.data_type();
            is_any_cast |= is_lossy(&own, to) || is_narrowing(&own, to);
        }
        types.push(own);
    }
    let first = &types[0];
    Ok(is_any_cast && types.iter().all(|other| is_comparable(first, other)))
}

/// Whether a cast fails for some values: far days as nanoseconds, large numbers as decimals with many places.
fn is_narrowing(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal32, Decimal64, Decimal128, Timestamp};
    use arrow::datatypes::TimeUnit::Nanosecond;
    let whole_digits = |of: &DataType| match of {
        Decimal32(digits, places) | Decimal64(digits, places) | Decimal128(digits, places) => {
            Some(i16::from(*digits) - i16::from(*places))
        }
        of if of.is_integer() => Some(20),
        _ => None,
    };
    match (from, to) {
        (Timestamp(Nanosecond, _), _) => false,
        (_, Timestamp(Nanosecond, _)) => true,
        (from, to) if to.is_decimal() => whole_digits(to) < whole_digits(from),
        _ => false,
    }
}

/// An expression with comparisons and casts that change no value. Its parts are for later.
fn exact(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match &expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if is_comparison(*op) && are_comparable(&[left, right], schema)? =>
        {
            let name = expr.schema_name().to_string();
            let (left, right) = (bare(left).clone(), bare(right).clone());
            Ok(Transformed::yes(compared(*op, left, right, name)))
        }
        Expr::Between(Between {
            expr: inner,
            negated,
            low,
            high,
        }) if are_comparable(&[inner, low, high], schema)? => {
            let side = |op, bound: &Expr| {
                compared(op, bare(inner).clone(), bare(bound).clone(), name_of(&expr))
            };
            let within = side(Operator::GtEq, low).and(side(Operator::LtEq, high));
            Ok(Transformed::yes(negated_if(*negated, within)))
        }
        Expr::InList(InList {
            expr: inner,
            list,
            negated,
        }) if list.len() <= LIST_LEN_MAX => {
            let all: Vec<&Expr> = std::iter::once(inner.as_ref()).chain(list).collect();
            if !are_comparable(&all, schema)? {
                return Ok(Transformed::no(expr));
            }
            let each = list.iter().map(|value| {
                let (inner, value) = (bare(inner).clone(), bare(value).clone());
                compared(Operator::Eq, inner, value, name_of(&expr))
            });
            let any = any_of(each.collect());
            Ok(Transformed::yes(negated_if(*negated, any)))
        }
        Expr::Cast(cast) => {
            let (from, to) = (cast.expr.get_type(schema)?, cast.field.data_type());
            let done = match from.is_string() {
                true => whole_text(&cast.expr, to, false)?
                    .map(|inner| Expr::Cast(Cast::new(Box::new(inner), to.clone()))),
                false if is_lossy(&from, to) => Some(exact_cast((*cast.expr).clone(), to)?),
                false => None,
            };
            Ok(match done {
                // The text has its own function now, and is not to get another one.
                Some(Expr::Cast(done)) => Transformed::yes(written::marked(done)),
                Some(done) => Transformed::yes(done),
                None => Transformed::no(expr),
            })
        }
        _ => Ok(Transformed::no(expr)),
    }
}

/// The name of a part that a comparison is made of.
fn name_of(expr: &Expr) -> String {
    expr.schema_name().to_string()
}

fn negated_if(is_negated: bool, expr: Expr) -> Expr {
    if is_negated { not(expr) } else { expr }
}

/// Alternatives as a tree that is as shallow as possible.
fn any_of(mut level: Vec<Expr>) -> Expr {
    while level.len() > 1 {
        let pairs = level.chunks(2).map(|pair| match pair {
            [left, right] => left.clone().or(right.clone()),
            one => one[0].clone(),
        });
        level = pairs.collect();
    }
    level.pop().unwrap_or_else(|| lit(false))
}

/// A cast that was marked, as what it was; texts that are read as times are read whole.
fn restored(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    if !written::is_marked(&expr) {
        return Ok(Transformed::no(expr));
    }
    let restored = written::unmarked(expr)?;
    let Expr::Cast(cast) = &restored else {
        return Ok(Transformed::yes(restored));
    };
    let from = cast.expr.get_type(schema)?;
    let whole = match from.is_string() && !is_whole(&cast.expr) {
        true => whole_text(&cast.expr, cast.field.data_type(), true)?,
        false => None,
    };
    Ok(Transformed::yes(match whole {
        Some(inner) => Expr::Cast(Cast::new_from_field(
            Box::new(inner),
            std::sync::Arc::clone(&cast.field),
        )),
        None => restored,
    }))
}

fn is_whole(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == "whole_text")
}
