//! What a query must be so that every computation of a shard gives the same rows.

use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Statement as SqlStatement, Value, ValueWithSpan, Visit, Visitor,
};

use super::error::TransformError;
use super::exact::keeps_digits;
use super::ignored;

/// What the parser made of the text: exactly one query, and nothing else.
pub(super) fn one_query(statement: &Statement) -> Result<(), TransformError> {
    let found = match statement {
        Statement::Statement(sql) if matches!(**sql, SqlStatement::Query(_)) => {
            literals(sql)?;
            return ignored::none(sql);
        }
        other => other.to_string(),
    };
    let words: Vec<&str> = found.split_whitespace().take(2).collect();
    Err(TransformError::NotOneSelect {
        found: format!("`{} ...`", words.join(" ")),
    })
}

/// Checks the values that a query has: `$1` and `?` stand for values that a job file has no place for, and a number with a
/// point, an exponent or more than 64 bits is a float, which is to stand for this number.
pub(super) fn literals(statement: &SqlStatement) -> Result<(), TransformError> {
    struct Literals;
    impl Visitor for Literals {
        type Break = String;
        fn pre_visit_value(&mut self, value: &ValueWithSpan) -> ControlFlow<String> {
            match &value.value {
                Value::Placeholder(name) => ControlFlow::Break(format!(
                    "expected a value in place of the parameter `{name}`"
                )),
                Value::Number(text, _) => {
                    let digits = text.replace('_', "");
                    if digits.parse::<u64>().is_ok() || keeps_digits(&digits) {
                        return ControlFlow::Continue(());
                    }
                    ControlFlow::Break(format!(
                        "the number {text} has more digits than a float keeps: write it with fewer, or as CAST('{digits}' AS \
                         DECIMAL(38, s)) with s places"
                    ))
                }
                _ => ControlFlow::Continue(()),
            }
        }
    }
    match statement.visit(&mut Literals) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(message) => Err(TransformError::Plan { message }),
    }
}

/// A planned query reads `source` exactly once, changes nothing, and repeats itself.
pub(super) fn repeatable_read_of_source(plan: &LogicalPlan) -> Result<(), TransformError> {
    let mut reads = 0;
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        if matches!(node, LogicalPlan::TableScan(_)) {
            reads += 1;
        }
        if !is_query(node) {
            refused = Some(TransformError::NotOneSelect {
                found: node.display().to_string(),
            });
            return Ok(TreeNodeRecursion::Stop);
        }
        node.apply_expressions(|expr| {
            if let Some((function, volatility)) = first_unrepeatable(expr)? {
                refused = Some(unrepeatable(function, volatility));
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })
    .map_err(|error| TransformError::from_plan(&error))?;
    match refused {
        Some(error) => Err(error),
        None if reads != 1 => Err(TransformError::SourceReads { times: reads }),
        None => Ok(()),
    }
}

/// Whether a node only reads. A recursive query is refused with the rest: it reads its own rows
/// again and again, which no shard's memory bounds.
fn is_query(node: &LogicalPlan) -> bool {
    !matches!(
        node,
        LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Ddl(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::DescribeTable(_)
            | LogicalPlan::RecursiveQuery(_)
    )
}

/// The first function in an expression that is not a function of its arguments alone.
fn first_unrepeatable(expr: &Expr) -> Result<Option<(String, Volatility)>, DataFusionError> {
    let mut found = None;
    expr.apply(|part| {
        let (name, volatility) = match part {
            Expr::ScalarFunction(call) => (call.name(), call.func.signature().volatility),
            Expr::AggregateFunction(call) => (call.func.name(), call.func.signature().volatility),
            Expr::WindowFunction(call) => (call.fun.name(), call.fun.signature().volatility),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        if volatility == Volatility::Immutable {
            return Ok(TreeNodeRecursion::Continue);
        }
        found = Some((name.to_owned(), volatility));
        Ok(TreeNodeRecursion::Stop)
    })?;
    Ok(found)
}

fn unrepeatable(function: String, volatility: Volatility) -> TransformError {
    let advice = match volatility {
        Volatility::Stable => "write the time as a literal",
        _ => "derive the value from columns instead",
    };
    TransformError::NotRepeatable { function, advice }
}
