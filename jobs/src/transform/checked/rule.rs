//! Where operators are replaced.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};

use super::function::checked_function;
use super::operation::Operation;
use crate::transform::rewrite::rewritten;
use crate::transform::sizes::{Budget, capped};

/// Replaces operators that wrap around, in a whole query.
#[derive(Debug)]
pub(in crate::transform) struct CheckedArithmetic {
    budget: Budget,
}

impl CheckedArithmetic {
    /// Puts functions under this budget, too.
    pub(in crate::transform) fn new(budget: &Budget) -> CheckedArithmetic {
        CheckedArithmetic {
            budget: budget.clone(),
        }
    }

    fn replace(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        plan.transform_up_with_subqueries(|node| {
            rewritten(node, |expr, schema| {
                expr.transform_up(|expr| replaced(expr, schema, &self.budget))
            })
        })
    }
}

impl AnalyzerRule for CheckedArithmetic {
    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        self.replace(plan).map(|done| done.data)
    }

    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }
}

impl OptimizerRule for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        None
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        self.replace(plan)
    }
}

fn replaced(expr: Expr, schema: &DFSchema, budget: &Budget) -> Result<Transformed<Expr>> {
    let operation = match &expr {
        Expr::ScalarFunction(call) => {
            let func = capped(&call.func, budget).or_else(|| checked_function(&call.func));
            return Ok(match (func, expr) {
                (Some(func), Expr::ScalarFunction(call)) => {
                    let call = ScalarFunction::new_udf(func, call.args);
                    Transformed::yes(Expr::ScalarFunction(call))
                }
                (_, expr) => Transformed::no(expr),
            });
        }
        Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::StringConcat,
            right,
        }) => {
            let (left_type, right_type) = (type_of(left, schema)?, type_of(right, schema)?);
            let (types, name) = (
                [left_type, right_type],
                name(Operator::StringConcat, left, right),
            );
            Some(Operation::concatenation(budget, &types, name)?)
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_arithmetic(*op) => {
            let (left_type, right_type) = (type_of(left, schema)?, type_of(right, schema)?);
            match can_wrap(*op, &left_type, &right_type) {
                true => {
                    let types = [left_type, right_type];
                    Some(Operation::binary(*op, &types, name(*op, left, right))?)
                }
                false => None,
            }
        }
        Expr::Negative(inner) => {
            let inner_type = type_of(inner, schema)?;
            let name = format!("(- {})", inner.schema_name());
            (!inner_type.is_floating()).then(|| Operation::negation(inner_type, name))
        }
        _ => None,
    };
    let Some(operation) = operation else {
        return Ok(Transformed::no(expr));
    };
    let args = match expr {
        Expr::BinaryExpr(BinaryExpr { left, right, .. }) => vec![*left, *right],
        Expr::Negative(inner) => vec![*inner],
        other => return Ok(Transformed::no(other)),
    };
    let func = Arc::new(ScalarUDF::new_from_impl(operation));
    let call = ScalarFunction::new_udf(func, args);
    Ok(Transformed::yes(Expr::ScalarFunction(call)))
}

/// The name of a column that an operator gives.
fn name(op: Operator, left: &Expr, right: &Expr) -> String {
    format!("{} {op} {}", left.schema_name(), right.schema_name())
}

/// The type of an operand. What was an operator knows its own: else chains of them would take time by their square.
fn type_of(expr: &Expr, schema: &DFSchema) -> Result<DataType> {
    let operation = match expr {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref::<Operation>(),
        _ => None,
    };
    match operation {
        Some(operation) => Ok(operation.returns().clone()),
        None => expr.get_type(schema),
    }
}

fn is_arithmetic(op: Operator) -> bool {
    matches!(
        op,
        Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulo
            | Operator::BitwiseShiftLeft
            | Operator::BitwiseShiftRight
    )
}

/// Whether DataFusion's own operator could give something else than the exact result or an error.
fn can_wrap(op: Operator, left: &DataType, right: &DataType) -> bool {
    if left.is_floating() || right.is_floating() || left.is_null() || right.is_null() {
        return false;
    }
    match op {
        // Of integers these are exact; of decimals they may have more digits than their type.
        Operator::Divide | Operator::Modulo => left.is_decimal() || right.is_decimal(),
        _ => true,
    }
}
