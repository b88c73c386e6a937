//! Between operators that can compute for long from few rows, and those above them.
//!
//! A cross join gives millions of batches for one that it read. What adds them up asks for one after the other and comes
//! back with its only row at the end. The guard between the two ends that early.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, FieldRef, SchemaRef};
use datafusion::common::internal_err;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Join, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};

use super::interrupt;

/// Puts guards over joins and everything else that gives more rows than it takes.
pub(super) fn guarded(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let multiplies = node.children().len() > 1 || node.name() == "UnnestExec";
        Ok(match multiplies {
            true => Transformed::yes(Arc::new(GuardExec { input: node }) as Arc<dyn ExecutionPlan>),
            false => Transformed::no(node),
        })
    })
    .data()
}

/// Puts guards into the conditions of joins: one that holds for few pairs of rows lets a join compute for long
/// without giving any row.
pub(super) fn guarded_conditions(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(Join {
            filter: Some(filter),
            left,
            right,
            on,
            join_type,
            join_constraint,
            schema,
            null_equality,
            null_aware,
        }) = node
        else {
            return Ok(Transformed::no(node));
        };
        let guard = Arc::new(ScalarUDF::new_from_impl(Guard::default()));
        let filter = Expr::ScalarFunction(ScalarFunction::new_udf(guard, vec![filter]));
        Ok(Transformed::yes(LogicalPlan::Join(Join {
            filter: Some(filter),
            left,
            right,
            on,
            join_type,
            join_constraint,
            schema,
            null_equality,
            null_aware,
        })))
    })
    .data()
}

/// A condition that the query can be broken off at.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Guard(Signature);

impl Default for Guard {
    fn default() -> Guard {
        Guard(Signature::any(1, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Guard {
    fn name(&self) -> &'static str {
        "guarded"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match args.arg_fields {
            [condition] => Ok(Arc::clone(condition)),
            fields => internal_err!("{} conditions", fields.len()),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        interrupt::check()?;
        match args.args.pop() {
            Some(condition) => Ok(condition),
            None => internal_err!("no condition"),
        }
    }
}

/// Passes the batches of an operator on, until the query is to end.
#[derive(Debug)]
struct GuardExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for GuardExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardExec")
    }
}

impl ExecutionPlan for GuardExec {
    fn name(&self) -> &'static str {
        "GuardExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.len()) {
            (Some(input), 0) => Ok(Arc::new(GuardExec { input })),
            (_, more) => internal_err!("a guard with {more} inputs more"),
        }
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mode = datafusion::physical_plan::ChildrenPropertiesMode::Recompute;
        self.replace_children(children, ReplaceChildrenOptions::new(mode))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(Box::pin(GuardStream { input }))
    }
}

struct GuardStream {
    input: SendableRecordBatchStream,
}

impl Stream for GuardStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Err(error) = interrupt::check() {
            return Poll::Ready(Some(Err(error)));
        }
        Poll::Ready(ready!(self.input.poll_next_unpin(cx)))
    }
}

impl RecordBatchStream for GuardStream {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
