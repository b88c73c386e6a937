//! A query over tables of any kind, for people who ask once: with the functions, the exactness and the bounds of the
//! queries of jobs, and without what only matters where shards are computed again.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::TableReference;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::{ExecutionPlan, displayable, execute_stream};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use futures::executor::block_on;

use super::casts;
use super::deep::deep_enough;
use super::depth;
use super::error::TransformError;
use super::exact::in_microseconds;
use super::ignored;
use super::plan::{Session, planning};
use super::query::{growing, levels};

/// A table by the name that a query has for it.
pub(crate) type Named = (String, Arc<dyn TableProvider>);

/// A query whose operators are made.
pub(crate) struct Over {
    operators: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    levels: usize,
}

/// The tables that a query names, as it names them.
///
/// # Errors
/// [`TransformError::Parse`]; [`TransformError::NotOneSelect`] for what is no single query.
pub(crate) fn tables_of(sql: &str) -> Result<Vec<TableReference>, TransformError> {
    planning(sql, || {
        let session =
            Session::over(Vec::new()).map_err(|error| TransformError::from_plan(&error))?;
        let statement = session.statement(sql)?;
        only_reads(&statement)?;
        let tables = session.state.resolve_table_references(&statement);
        tables.map_err(|error| TransformError::from_plan(&error))
    })
}

/// Refuses everything but one query.
fn only_reads(statement: &Statement) -> Result<(), TransformError> {
    let found = match statement {
        Statement::Statement(sql) if matches!(**sql, SqlStatement::Query(_)) => {
            return ignored::none(sql);
        }
        other => other.to_string(),
    };
    let words: Vec<&str> = found.split_whitespace().take(2).collect();
    Err(TransformError::NotOneSelect {
        found: format!("`{} ...`", words.join(" ")),
    })
}

/// Plans a query over these tables. It may hold so many bytes; sorts beyond that go to temporary files.
///
/// # Errors
/// As [`Transform::plan`](super::Transform::plan), where that is not about shards.
pub(crate) fn plan_over(
    sql: &str,
    tables: Vec<Named>,
    memory_len_max: usize,
) -> Result<Over, TransformError> {
    planning(sql, || {
        let failed = |error: DataFusionError| TransformError::from_plan(&error);
        let Session { mut state, budget } = Session::over(tables).map_err(failed)?;
        // What `now()` gives, everywhere in the query.
        let options = Arc::clone(state.config_options());
        state.execution_props_mut().mark_start_execution(options);
        let dialect = state.config_options().sql_parser.dialect;
        let mut statement = state.sql_to_statement(sql, &dialect).map_err(failed)?;
        let measure = depth::measured(&mut statement)?;
        only_reads(&statement)?;
        if let Statement::Statement(sql) = &mut statement {
            super::check::literals(sql)?;
            casts::told_apart(sql);
        }
        // Tables are looked up in memory, so that nothing here ever waits.
        let plan = block_on(state.statement_to_plan(statement))
            .and_then(in_microseconds)
            .map_err(failed)?;
        let analyzed = state
            .analyzer()
            .execute_and_check(plan, state.config_options(), |_, _| {})
            .map_err(failed)?;
        let plan = state
            .optimizer()
            .optimize(analyzed, &state, |_, _| {})
            .map_err(failed)?;
        let growing = growing(&plan).map_err(failed)?;
        let config = state.config_mut();
        let rows_max = growing.rows_max(measure.literals_len, config.batch_size());
        *config = config.clone().with_batch_size(rows_max);
        let planner = state.query_planner();
        let operators = block_on(planner.create_physical_plan(&plan, &state)).map_err(failed)?;
        budget.planned(&growing);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_len_max)))
            .build_arc()
            .map_err(failed)?;
        let context = TaskContext::from(&state).with_runtime(runtime);
        Ok(Over {
            levels: levels(&operators),
            operators,
            context: Arc::new(context),
        })
    })
}

impl Over {
    /// The columns of the answer.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.operators.schema()
    }

    /// The operators, a line each, from the last to the first.
    pub(crate) fn describe(&self) -> String {
        deep_enough(self.levels, || {
            displayable(self.operators.as_ref())
                .indent(false)
                .to_string()
        })
    }

    /// Starts the query. Whoever asks for its rows needs a stack for any query.
    ///
    /// # Errors
    /// What an operator refuses.
    pub(crate) fn start(&self) -> Result<SendableRecordBatchStream, DataFusionError> {
        execute_stream(Arc::clone(&self.operators), Arc::clone(&self.context))
    }
}
