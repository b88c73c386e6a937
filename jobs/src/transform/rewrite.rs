//! Rewriting the expressions of a query, node by node, with the names and types that nodes above rely on.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Rewrites the expressions of one node. Their names stay, so that nodes above it do not notice.
pub(super) fn rewritten(
    plan: LogicalPlan,
    rewrite: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let schema = schema_of(&plan)?;
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let rewritten = rewrite(expr, &schema)?;
        // A sort key within a window has no name of its own, and shows in the window's.
        Ok(match rewritten.transformed {
            true => rewritten.update_data(|expr| name.restore(expr)),
            false => rewritten,
        })
    })
}

/// The columns that expressions of a node may name.
fn schema_of(plan: &LogicalPlan) -> Result<DFSchemaRef> {
    let inputs = plan.inputs();
    if let LogicalPlan::TableScan(scan) = plan {
        let table = scan.table_name.clone();
        let schema = DFSchema::try_from_qualified_schema(table, &scan.source.schema())?;
        return Ok(Arc::new(schema));
    }
    match inputs.as_slice() {
        [input] => Ok(Arc::clone(input.schema())),
        inputs => Ok(Arc::new(merge_schema(inputs))),
    }
}
