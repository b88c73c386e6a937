//! A planned query, and running it over one shard after the other.
//!
//! Planning is dear: the operators of a query are made once. What is different in each shard, its rows, does not lie
//! in them but in the context of a run. Operators that keep something of a run are made anew by
//! [`reset_plan_states`]; a query with others is planned for each shard.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::executor::block_on;

use super::deep::{deep_enough, deeply};
use super::guard;
use super::plan::TRANSFORM_MEMORY_LEN_MAX;
use super::sizes::{Budget, Growing};

/// Operators that compute the same again after they were reset.
const REUSABLE: [&str; 22] = [
    "AggregateExec",
    "BoundedWindowAggExec",
    "CoalesceBatchesExec",
    "CoalescePartitionsExec",
    "CooperativeExec",
    "CrossJoinExec",
    "DataSourceExec",
    "EmptyExec",
    "FilterExec",
    "GlobalLimitExec",
    "GuardExec",
    "HashJoinExec",
    "LocalLimitExec",
    "NestedLoopJoinExec",
    "PlaceholderRowExec",
    "ProjectionExec",
    "SortPreservingMergeExec",
    "StreamingTableExec",
    "UnionExec",
    "UnnestExec",
    "WindowAggExec",
    "InterleaveExec",
];

/// A query whose operators are made.
pub(super) struct Query {
    state: SessionState,
    plan: LogicalPlan,
    /// The operators; `None` if they are made for each shard.
    operators: Option<Arc<dyn ExecutionPlan>>,
    levels: usize,
    rows_max: usize,
}

impl Query {
    /// Makes the operators of an optimised query, which reads these columns.
    pub(super) fn new(
        mut state: SessionState,
        plan: &LogicalPlan,
        columns: SchemaRef,
        literals_len: usize,
        budget: &Budget,
    ) -> Result<Query> {
        let growing = growing(plan)?;
        let config = state.config_mut();
        let rows_max = growing.rows_max(literals_len, config.batch_size());
        *config = config.clone().with_batch_size(rows_max);
        let plan = guard::guarded_conditions(reading(plan, columns)?)?;
        let mut query = Query {
            state,
            plan,
            operators: None,
            levels: 0,
            rows_max,
        };
        let operators = query.operators()?;
        query.levels = levels(&operators);
        query.operators = is_reusable(&operators).then_some(operators);
        budget.planned(&growing);
        Ok(query)
    }

    /// How deep computing it recurses.
    pub(super) fn levels(&self) -> usize {
        self.levels
    }

    /// Its operators over one shard, a line each, from the last to the first.
    pub(super) fn describe(&self) -> String {
        deep_enough(self.levels, || self.plan.display_indent().to_string())
    }

    /// Rows that it is given at once.
    pub(super) fn rows_max(&self) -> usize {
        self.rows_max
    }

    /// Whether every row that comes out is of one row alone.
    pub(super) fn is_row_by_row(&self) -> bool {
        let mut all = true;
        let rows = self.plan.apply_with_subqueries(|node| {
            let of_one = matches!(
                node,
                LogicalPlan::Projection(_)
                    | LogicalPlan::Filter(_)
                    | LogicalPlan::SubqueryAlias(_)
                    | LogicalPlan::TableScan(_)
                    | LogicalPlan::Unnest(_)
            );
            all &= of_one;
            Ok(TreeNodeRecursion::Continue)
        });
        rows.is_ok() && all
    }

    fn operators(&self) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = self.state.query_planner();
        // The tables are in memory, so that nothing here ever waits.
        let made = block_on(planner.create_physical_plan(&self.plan, &self.state))?;
        guard::guarded(made)
    }

    /// Starts the operators over a shard.
    pub(super) fn execute(&self, shard: Arc<dyn ShardTable>) -> Result<SendableRecordBatchStream> {
        deep_enough(self.levels, || {
            let operators = match &self.operators {
                Some(operators) => reset_plan_states(Arc::clone(operators))?,
                None => self.operators()?,
            };
            execute_stream(operators, self.context(shard)?)
        })
    }

    /// The context of one shard's run, with its rows, and memory of its own.
    fn context(&self, shard: Arc<dyn ShardTable>) -> Result<Arc<TaskContext>> {
        let pool = Arc::new(GreedyMemoryPool::new(TRANSFORM_MEMORY_LEN_MAX));
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .build_arc()?;
        let context = TaskContext::from(&self.state);
        let config = context.session_config().clone();
        let config = config.with_extension(Arc::new(RunRows(shard)));
        Ok(Arc::new(
            context.with_session_config(config).with_runtime(runtime),
        ))
    }
}

impl Drop for Query {
    fn drop(&mut self) {
        let plan = std::mem::take(&mut self.plan);
        let operators = self.operators.take();
        // Dropping recurses, too.
        deeply(|| drop((plan, operators)));
    }
}

/// The rows of a shard, whatever they come from.
pub(super) trait ShardTable: Any + Send + Sync {
    /// Starts to read them.
    fn rows(&self) -> SendableRecordBatchStream;
}

struct RunRows(Arc<dyn ShardTable>);

/// The table `source` of every run: the rows that its context has.
struct ShardOfRun {
    schema: SchemaRef,
}

impl fmt::Debug for ShardOfRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShardOfRun")
    }
}

impl PartitionStream for ShardOfRun {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        match context.session_config().get_extension::<RunRows>() {
            Some(rows) => rows.0.rows(),
            None => {
                let error = DataFusionError::Internal("a run without a shard".to_owned());
                let stream = futures::stream::iter([Err(error)]);
                let schema = Arc::clone(&self.schema);
                Box::pin(
                    datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(
                        schema, stream,
                    ),
                )
            }
        }
    }
}

/// The query with the rows of a run in the place of `source`, of which only `columns` are there, in the scan's order.
fn reading(plan: &LogicalPlan, columns: SchemaRef) -> Result<LogicalPlan> {
    let partition = Arc::new(ShardOfRun {
        schema: Arc::clone(&columns),
    });
    let table = StreamingTable::try_new(columns, vec![partition])?;
    let source = provider_as_source(Arc::new(table));
    let replaced = plan.clone().transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = node else {
            return Ok(Transformed::no(node));
        };
        let scan = TableScan {
            source: Arc::clone(&source),
            projection: None,
            ..scan
        };
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(replaced.data)
}

pub(super) fn growing(plan: &LogicalPlan) -> Result<Growing> {
    let mut growing = Growing::default();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                growing.count(part);
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(growing)
}

fn is_reusable(operators: &Arc<dyn ExecutionPlan>) -> bool {
    let is_sort = operators.name() == "SortExec" && operators.fetch().is_none();
    (is_sort || REUSABLE.contains(&operators.name()))
        && operators.children().into_iter().all(is_reusable)
}

/// Operators above each other, and levels of their expressions.
pub(super) fn levels(operators: &Arc<dyn ExecutionPlan>) -> usize {
    fn of_expr(expr: &Arc<dyn PhysicalExpr>) -> usize {
        1 + expr.children().into_iter().map(of_expr).max().unwrap_or(0)
    }
    let mut own = 0;
    let counted = operators.apply_expressions(&mut |expr| {
        own = own.max(of_expr(expr));
        Ok(TreeNodeRecursion::Continue)
    });
    debug_assert!(counted.is_ok(), "counting cannot fail");
    let below = operators.children().into_iter().map(levels).max();
    // An operator takes the stack of several levels of an expression.
    own + 4 + below.unwrap_or(0)
}
