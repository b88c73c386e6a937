//! Planning a query once, and running it over a shard.

use std::error::Error;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::catalog::{MemorySchemaProvider, SchemaProvider, TableProvider};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf;
use datafusion::logical_expr::{AggregateUDF, LogicalPlan};
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use futures::executor::block_on;

use super::casts;
use super::check;
use super::checked::{CheckedArithmetic, checked_avg, checked_sum};
use super::deep::deeply_for;
use super::depth::{self, Measure};
use super::error::TransformError;
use super::exact::{ExactCoercion, in_microseconds};
use super::input::{BatchIter, InputRows, QueryInput};
use super::interrupt::Interrupt;
use super::moments;
use super::output::Output;
use super::query::Query;
use super::scope;
use super::sizes::Budget;

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
    /// Whether moments come out in the place of dates.
    has_moments: bool,
    /// What depends on where shards are cut.
    shard_dependent: Option<TransformError>,
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
        planning(sql, || {
            let session =
                Session::new(&source_schema).map_err(|error| TransformError::from_plan(&error))?;
            let plan = session.logical_plan(sql)?;
            Transform::of(&session, &plan, source_schema)
        })
    }

    /// Optimizes a checked plan of the session over a table of this schema.
    ///
    /// # Errors
    /// As [`Transform::plan`].
    pub(crate) fn of(
        session: &Session,
        plan: &CheckedPlan,
        source_schema: SchemaRef,
    ) -> Result<Transform, TransformError> {
        let Session { state, budget } = session;
        let CheckedPlan { plan, measure } = plan;
        let failed = |error: DataFusionError| TransformError::from_plan(&error);
        let shard_dependent = scope::check(plan).map_err(failed)?;
        let analyzed = state
            .analyzer()
            .execute_and_check(plan.clone(), state.config_options(), |_, _| {})
            .map_err(failed)?;
        // The types of columns are known only now.
        let output_schema = Arc::new(analyzed.schema().as_arrow().clone());
        let plan = state
            .optimizer()
            .optimize(analyzed, state, |_, _| {})
            .map_err(failed)?;
        scope::no_predicate_subquery(&plan)?;
        let source_columns = source_columns(&plan, source_schema.fields().len())
            .map_err(|error| TransformError::from_plan(&error))?;
        let columns = source_schema
            .project(&source_columns)
            .map_err(|error| TransformError::from_plan(&error.into()))?;
        let query = Query::new(
            state.clone(),
            &plan,
            Arc::new(columns),
            measure.literals_len,
            budget,
        )
        .map_err(|error| TransformError::from_plan(&error))?;
        Ok(Transform {
            source_schema,
            output_schema,
            source_columns,
            query: Some(Arc::new(query)),
            has_moments: false,
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
            has_moments: false,
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
        let has_dates = !self.has_moments;
        let passing = Transform {
            output_schema: Arc::new(Schema::new(read)),
            source_columns,
            ..self
        };
        passing.with_dates(has_dates)
    }

    /// The same rows, with dates as dates, or with moments in their place, as jobs have them that were recorded before
    /// stores knew dates.
    #[must_use]
    pub(crate) fn with_dates(self, has_dates: bool) -> Transform {
        if has_dates || !moments::has_dates(&self.output_schema) {
            return self;
        }
        Transform {
            output_schema: moments::schema_of(&self.output_schema),
            has_moments: true,
            ..self
        }
    }

    /// Whether any column of the rows that come out is a date, or holds dates.
    pub(crate) fn has_dates(&self) -> bool {
        moments::has_dates(&self.output_schema)
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
        Some(query.describe())
    }

    /// Whether each row that comes out is computed from one row of the source alone, so that an error is that of a row.
    pub fn is_row_by_row(&self) -> bool {
        self.query
            .as_ref()
            .is_none_or(|query| query.is_row_by_row())
    }

    /// Runs the query over one shard. `batches` must carry at least the columns of
    /// [`source_columns`](Transform::source_columns), found by name; it is read while the output
    /// is, and to its end even where the query stops early. `interrupt` is asked again and again while the query
    /// computes: once it says so, the output ends with [`RunError::Interrupted`](super::RunError::Interrupted).
    ///
    /// Blocks: call it, and the output's `next`, where blocking is allowed.
    ///
    /// # Errors
    /// `Plan` when the query cannot be turned into operators, which planning should have found.
    pub fn run<E: Error + Send + 'static>(
        &self,
        batches: BatchIter<E>,
        interrupt: &Interrupt,
    ) -> Result<Output<E>, TransformError> {
        let moments = self.has_moments.then(|| Arc::clone(&self.output_schema));
        let Some(query) = &self.query else {
            return Ok(Output::same(batches).with_moments(moments));
        };
        let input = QueryInput::new(batches, query.rows_max());
        let schema = self
            .source_schema
            .project(&self.source_columns)
            .map_err(|error| TransformError::Plan {
                message: error.to_string(),
            })?;
        let rows = InputRows {
            schema: Arc::new(schema),
            input: Arc::clone(&input),
        };
        let threads = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| TransformError::Io {
                message: error.to_string(),
            })?;
        // What the operators begin beside each other runs on the thread that asks for rows, too.
        let begun = {
            let _entered = threads.enter();
            query.execute(Arc::new(rows))
        };
        let stream = begun.map_err(|error| TransformError::from_plan(&error))?;
        let interrupt = Arc::clone(interrupt);
        let output = Output::query(stream, input, threads, interrupt, query.levels());
        Ok(output.with_moments(moments))
    }
}

/// Calls `work`, which plans a query: it recurses as deep as the query is.
///
/// # Errors
/// [`TransformError::TooLarge`], and those of the work.
pub(crate) fn planning<T>(
    sql: &str,
    work: impl FnOnce() -> Result<T, TransformError>,
) -> Result<T, TransformError> {
    let tokens = depth::tokens(sql)?;
    deeply_for(tokens, work)
}

/// A query as it was written, checked.
pub(crate) struct CheckedPlan {
    pub(crate) plan: LogicalPlan,
    measure: Measure,
}

impl CheckedPlan {
    /// A part of the query, or another query made of it.
    pub(crate) fn part(&self, plan: LogicalPlan) -> CheckedPlan {
        CheckedPlan {
            plan,
            measure: self.measure,
        }
    }
}

/// A session that knows the table `source`, the functions, and nothing else: no files, no
/// catalogs, no table functions.
pub(crate) struct Session {
    pub(crate) state: SessionState,
    /// What functions may give while the query is planned, and then while it is computed.
    pub(super) budget: Budget,
}

impl Session {
    /// A session for a source with these columns.
    pub(crate) fn new(source_schema: &SchemaRef) -> Result<Session, DataFusionError> {
        let table = StreamingTable::try_new(Arc::clone(source_schema), Vec::new())?;
        Session::over(vec![(TABLE.to_owned(), Arc::new(table))])
    }

    /// A session that knows these tables.
    pub(super) fn over(
        tables: Vec<(String, Arc<dyn TableProvider>)>,
    ) -> Result<Session, DataFusionError> {
        let budget = Budget::planning();
        let mut config = SessionConfig::new()
            .with_target_partitions(1)
            .with_information_schema(false);
        // A column is named as in the file's header, so `VendorID` finds `VendorID`.
        let options = config.options_mut();
        options.sql_parser.enable_ident_normalization = false;
        // Filters that operators make while they run would be left from one shard to the next.
        options.optimizer.enable_dynamic_filter_pushdown = false;
        options.optimizer.enable_join_dynamic_filter_pushdown = false;
        options.optimizer.enable_topk_dynamic_filter_pushdown = false;
        options.optimizer.enable_aggregate_dynamic_filter_pushdown = false;
        let arithmetic = Arc::new(CheckedArithmetic::new(&budget));
        let mut state = SessionStateBuilder::new_with_default_features()
            .with_config(config)
            .with_table_function_list(Vec::new())
            .with_analyzer_rules(vec![
                Arc::new(ResolveGroupingFunction::new()),
                Arc::new(ExactCoercion::default()),
                Arc::clone(&arithmetic) as _,
            ])
            .with_optimizer_rule(arithmetic)
            .build();
        state.register_udaf(checked_sum())?;
        state.register_udaf(checked_avg())?;
        // `[merge]` calls it so.
        let quantile = approx_percentile_cont_udaf();
        let quantile = AggregateUDF::clone(&quantile).with_aliases(["approx_quantile"]);
        state.register_udaf(Arc::new(quantile))?;
        let schema = MemorySchemaProvider::new();
        for (name, table) in tables {
            schema.register_table(name, table)?;
        }
        let defaults = &state.config_options().catalog;
        let catalog = state
            .catalog_list()
            .catalog(&defaults.default_catalog)
            .ok_or_else(|| DataFusionError::Plan("no default catalog".to_owned()))?;
        catalog.register_schema(&defaults.default_schema, Arc::new(schema))?;
        Ok(Session { state, budget })
    }

    /// Text to one statement.
    pub(super) fn statement(&self, sql: &str) -> Result<Statement, TransformError> {
        let dialect = self.state.config_options().sql_parser.dialect;
        let parsed = self.state.sql_to_statement(sql, &dialect);
        parsed.map_err(|error| not_one_statement(&error))
    }

    /// Text to a checked plan.
    pub(crate) fn logical_plan(&self, sql: &str) -> Result<CheckedPlan, TransformError> {
        let state = &self.state;
        let mut statement = self.statement(sql)?;
        let measure = depth::measured(&mut statement)?;
        check::one_query(&statement)?;
        if let Statement::Statement(sql) = &mut statement {
            casts::told_apart(sql);
        }
        // The tables are in memory, so that nothing here ever waits.
        let plan = block_on(state.statement_to_plan(statement))
            .and_then(in_microseconds)
            .map_err(|error| TransformError::from_plan(&error))?;
        check::repeatable_read_of_source(&plan)?;
        Ok(CheckedPlan { plan, measure })
    }
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
