//! Planning a query once, and running it over a shard.

use std::error::Error;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider};
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::datasource::provider_as_source;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, TableScan};
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::prelude::SessionConfig;
use futures::executor::block_on;
use tokio::runtime::Handle;

use super::check;
use super::error::TransformError;
use super::input::{BatchIter, Input, InputPartition};
use super::output::Output;
use super::scope;

/// Bytes that a query may keep for one shard (what a sort, a join or a grouping holds); a sort
/// beyond it goes to temporary files, anything else fails the shard. The limit is each shard's
/// own, so that whether a shard fits does not depend on how many run beside it.
pub const TRANSFORM_MEMORY_LEN_MAX: usize = 256 << 20;

/// The name under which a query finds the shard's rows.
const TABLE: &str = "source";

/// A checked and optimised query over one shard's rows, or none: then the rows pass through.
/// Cheap to clone; shared by all shards of a job.
#[derive(Clone)]
pub struct Transform {
    source_schema: SchemaRef,
    output_schema: SchemaRef,
    /// Positions in `source_schema` of the columns that are read, ascending.
    source_columns: Arc<[usize]>,
    query: Option<Arc<Query>>,
    /// What depends on where shards are cut.
    shard_dependent: Option<TransformError>,
}

struct Query {
    state: SessionState,
    plan: LogicalPlan,
}

impl Transform {
    /// Parses, checks and optimises `sql`; `None` passes every row through.
    ///
    /// # Errors
    /// Every variant of [`TransformError`] but `Execute` and `Memory`.
    pub fn plan(sql: Option<&str>, source_schema: SchemaRef) -> Result<Transform, TransformError> {
        let Some(sql) = sql else {
            return Ok(Transform::passing(source_schema));
        };
        let state = session(&source_schema).map_err(|error| TransformError::from_plan(&error))?;
        let plan = logical_plan(&state, sql)?;
        Transform::of(state, &plan, source_schema)
    }

    /// Optimises a checked plan over a table of this schema.
    ///
    /// # Errors
    /// As [`Transform::plan`].
    pub(crate) fn of(
        state: SessionState,
        plan: &LogicalPlan,
        source_schema: SchemaRef,
    ) -> Result<Transform, TransformError> {
        let output_schema = Arc::new(plan.schema().as_arrow().clone());
        let shard_dependent =
            scope::check(plan).map_err(|error| TransformError::from_plan(&error))?;
        let plan = state
            .optimize(plan)
            .map_err(|error| TransformError::from_plan(&error))?;
        scope::no_predicate_subquery(&plan)?;
        let source_columns = source_columns(&plan, source_schema.fields().len())
            .map_err(|error| TransformError::from_plan(&error))?;
        let query = Some(Arc::new(Query { state, plan }));
        Ok(Transform {
            source_schema,
            output_schema,
            source_columns,
            query,
            shard_dependent,
        })
    }

    /// Checks that the rows do not depend on where shards are cut.
    ///
    /// # Errors
    /// [`TransformError::ShardDependent`] with the operator that does.
    pub fn check_scope(&self) -> Result<(), TransformError> {
        self.shard_dependent.clone().map_or(Ok(()), Err)
    }

    fn passing(source_schema: SchemaRef) -> Transform {
        Transform {
            output_schema: Arc::clone(&source_schema),
            source_columns: (0..source_schema.fields().len()).collect(),
            source_schema,
            query: None,
            shard_dependent: None,
        }
    }

    /// The same rows with fewer columns: where no query says which are read, leaves out those that
    /// `is_read` does not want, so that they are not even parsed.
    #[must_use]
    pub fn reading(self, is_read: impl Fn(usize) -> bool) -> Transform {
        if self.query.is_some() {
            return self;
        }
        let columns = self.source_columns.iter().copied();
        let source_columns: Arc<[usize]> = columns.filter(|column| is_read(*column)).collect();
        let fields = self.source_schema.fields();
        let read: Vec<FieldRef> = source_columns
            .iter()
            .map(|column| Arc::clone(&fields[*column]))
            .collect();
        Transform {
            output_schema: Arc::new(Schema::new(read)),
            source_columns,
            ..self
        }
    }

    /// The columns of the rows that come out.
    pub fn output_schema(&self) -> &SchemaRef {
        &self.output_schema
    }

    /// Positions in the source's schema of the columns that must be read, ascending. Empty when
    /// only the number of rows counts (`SELECT count(*) FROM source`).
    pub fn source_columns(&self) -> &[usize] {
        &self.source_columns
    }

    /// The operators of the query over one shard, a line each, from the last to the first; `None` without a query.
    pub fn describe(&self) -> Option<String> {
        let query = self.query.as_ref()?;
        Some(query.plan.display_indent().to_string())
    }

    /// Runs the query over one shard. `batches` must carry at least the columns of
    /// [`source_columns`](Transform::source_columns), found by name; it is read while the output
    /// is, and to its end even where the query stops early. `runtime` carries what the query engine
    /// runs beside the calling thread.
    ///
    /// Blocks: call it, and the output's `next`, where blocking is allowed.
    ///
    /// # Errors
    /// `Plan` when the query cannot be turned into operators, which planning should have found.
    pub fn run<E: Error + Send + 'static>(
        &self,
        batches: BatchIter<E>,
        runtime: &Handle,
    ) -> Result<Output<E>, TransformError> {
        let Some(query) = &self.query else {
            return Ok(Output::same(batches));
        };
        let input = Input::new(batches);
        let schema = self
            .source_schema
            .project(&self.source_columns)
            .map_err(|error| TransformError::Plan {
                message: error.to_string(),
            })?;
        let partition = InputPartition {
            schema: Arc::new(schema),
            input: Arc::clone(&input),
        };
        let stream = runtime
            .block_on(query.execute(Arc::new(partition)))
            .map_err(|error| TransformError::from_plan(&error))?;
        Ok(Output::query(stream, input, runtime.clone()))
    }
}

impl Query {
    /// Puts the shard in the place of `source` and starts the operators.
    async fn execute(
        &self,
        shard: Arc<dyn PartitionStream>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let table = StreamingTable::try_new(Arc::clone(shard.schema()), vec![shard])?;
        let source = provider_as_source(Arc::new(table));
        let replaced = self.plan.clone().transform_down_with_subqueries(|node| {
            let LogicalPlan::TableScan(scan) = node else {
                return Ok(Transformed::no(node));
            };
            // The shard's table has only the columns that are read, in the scan's order.
            let scan = TableScan {
                source: Arc::clone(&source),
                projection: None,
                ..scan
            };
            Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
        })?;
        let planner = self.state.query_planner();
        let physical = planner
            .create_physical_plan(&replaced.data, &self.state)
            .await?;
        execute_stream(physical, self.context()?)
    }

    /// The context of one shard's run, with memory of its own.
    fn context(&self) -> Result<Arc<TaskContext>, DataFusionError> {
        let pool = Arc::new(GreedyMemoryPool::new(TRANSFORM_MEMORY_LEN_MAX));
        let runtime: Arc<RuntimeEnv> = RuntimeEnvBuilder::new()
            .with_memory_pool(pool)
            .build_arc()?;
        let context = TaskContext::from(&self.state);
        Ok(Arc::new(context.with_runtime(runtime)))
    }
}

/// A session that knows the table `source`, the functions, and nothing else: no files, no
/// catalogs, no table functions.
pub(crate) fn session(source_schema: &SchemaRef) -> Result<SessionState, DataFusionError> {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false);
    // A column is named as in the file's header, so `VendorID` finds `VendorID`.
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let state = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_table_function_list(Vec::new())
        .build();
    let schema = MemorySchemaProvider::new();
    let table = StreamingTable::try_new(Arc::clone(source_schema), Vec::new())?;
    schema.register_table(TABLE.to_owned(), Arc::new(table))?;
    let defaults = &state.config_options().catalog;
    let catalog = state
        .catalog_list()
        .catalog(&defaults.default_catalog)
        .ok_or_else(|| DataFusionError::Plan("no default catalog".to_owned()))?;
    catalog.register_schema(&defaults.default_schema, Arc::new(schema))?;
    Ok(state)
}

/// Text to a checked plan.
pub(crate) fn logical_plan(state: &SessionState, sql: &str) -> Result<LogicalPlan, TransformError> {
    let dialect = state.config_options().sql_parser.dialect;
    let statement = state
        .sql_to_statement(sql, &dialect)
        .map_err(|error| not_one_statement(&error))?;
    check::one_query(&statement)?;
    // The tables are in memory, so that nothing here ever waits.
    let plan = block_on(state.statement_to_plan(statement))
        .map_err(|error| TransformError::from_plan(&error))?;
    check::repeatable_read_of_source(&plan)?;
    Ok(plan)
}

/// None or several statements are no error of the SQL.
fn not_one_statement(error: &DataFusionError) -> TransformError {
    match error {
        DataFusionError::NotImplemented(_) => TransformError::NotOneSelect {
            found: "several statements".to_owned(),
        },
        DataFusionError::Plan(_) => TransformError::NotOneSelect {
            found: "nothing".to_owned(),
        },
        other => TransformError::from_plan(other),
    }
}

/// The columns that the optimised plan still reads. A scan that was optimised away reads none.
fn source_columns(plan: &LogicalPlan, width: usize) -> Result<Arc<[usize]>, DataFusionError> {
    let mut columns = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            columns = scan
                .projection
                .clone()
                .unwrap_or_else(|| (0..width).collect());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    debug_assert!(
        columns.is_sorted(),
        "a scan's projection is ascending: {columns:?}"
    );
    Ok(columns.into())
}
