//! `LIMIT` and `OFFSET` as numbers.

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::Schema;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::logical_plan::Limit;
use datafusion::logical_expr::{ColumnarValue, Expr, LogicalPlan};

use crate::transform::TransformError;

/// The plan with the value of each `LIMIT` and `OFFSET` that is computed of constants.
///
/// # Errors
/// [`TransformError::Plan`] of one that is no number of rows.
pub(super) fn folded(
    state: &SessionState,
    plan: LogicalPlan,
) -> Result<LogicalPlan, TransformError> {
    let folded = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Limit(limit) = node else {
            return Ok(Transformed::no(node));
        };
        let fold = |name: &str, expr: Option<Box<Expr>>| {
            expr.map(|expr| constant(state, name, *expr).map(Box::new))
                .transpose()
        };
        Ok(Transformed::yes(LogicalPlan::Limit(Limit {
            skip: fold("OFFSET", limit.skip)?,
            fetch: fold("LIMIT", limit.fetch)?,
            input: limit.input,
        })))
    });
    let folded = folded.map_err(|error| TransformError::from_plan(&error))?;
    Ok(folded.data)
}

fn constant(state: &SessionState, name: &str, expr: Expr) -> Result<Expr> {
    let shown = expr.schema_name().to_string();
    let unfit = |found: &str| {
        let message = format!("expected a number of rows for {name}, found {found}");
        DataFusionError::Plan(message)
    };
    let value = match expr {
        Expr::Literal(value, _) => value,
        expr => evaluated(state, expr).map_err(|_| unfit(&format!("`{shown}`")))?,
    };
    match value {
        ScalarValue::Int64(Some(rows)) if rows < 0 => Err(unfit(&rows.to_string())),
        ScalarValue::Int64(_) => Ok(Expr::Literal(value, None)),
        // NULL is no limit.
        value if value.is_null() => Ok(Expr::Literal(ScalarValue::Int64(None), None)),
        value => Err(unfit(&format!("`{value}`"))),
    }
}

/// The value of an expression without columns.
fn evaluated(state: &SessionState, expr: Expr) -> Result<ScalarValue> {
    let physical = state.create_physical_expr(expr, &DFSchema::empty())?;
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &options)?;
    match physical.evaluate(&row)? {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(&array, 0),
    }
}
