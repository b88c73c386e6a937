//! The rows of one shard as a table that can be read once.

use std::error::Error;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::array::RecordBatchOptions;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use parking_lot::Mutex;

use super::interrupt;
use super::query::ShardTable;

/// The batches of a shard, in the order of its rows.
pub type BatchIter<E> = Box<dyn Iterator<Item = Result<RecordBatch, E>> + Send>;

/// What stands between a source and a query: the source's rows, and its error.
///
/// The query engine wraps, shares and rewrites the errors that pass through it. The source's own
/// error therefore stays here, and a marker travels in its place.
pub(super) struct QueryInput<E> {
    state: Mutex<InputState<E>>,
}

struct InputState<E> {
    /// `None` once it has ended or failed.
    batches: Option<BatchIter<E>>,
    /// What is left of the last batch, where it had more rows than are given at once.
    rest: Option<RecordBatch>,
    rows_max: usize,
    error: Option<E>,
}

impl<E: Error + Send + 'static> QueryInput<E> {
    /// Gives at most so many rows at once.
    pub(super) fn new(batches: BatchIter<E>, rows_max: usize) -> Arc<QueryInput<E>> {
        Arc::new(QueryInput {
            state: Mutex::new(InputState {
                batches: Some(batches),
                rest: None,
                rows_max,
                error: None,
            }),
        })
    }

    /// The source's error, if it had one.
    pub(super) fn take_error(&self) -> Option<E> {
        self.state.lock().error.take()
    }

    /// Reads what the query left unread (it had a `LIMIT`), so that the whole shard has been
    /// checked and hashed.
    pub(super) fn drain(&self) -> Result<(), E> {
        let Some(mut batches) = self.state.lock().batches.take() else {
            return Ok(());
        };
        batches.try_for_each(|batch| batch.map(drop))
    }

    fn next(&self, schema: &SchemaRef) -> Option<Result<RecordBatch, DataFusionError>> {
        if let Err(error) = interrupt::check() {
            return Some(Err(error));
        }
        let mut state = self.state.lock();
        let next = match state.rest.take() {
            Some(batch) => Some(Ok(batch)),
            None => state.batches.as_mut()?.next(),
        };
        match next {
            Some(Ok(batch)) if batch.num_rows() > state.rows_max => {
                let (now, rest) = (state.rows_max, batch.num_rows() - state.rows_max);
                state.rest = Some(batch.slice(now, rest));
                Some(project(&batch.slice(0, now), schema))
            }
            Some(Ok(batch)) => Some(project(&batch, schema)),
            Some(Err(error)) => {
                state.error = Some(error);
                state.batches = None;
                Some(Err(DataFusionError::Execution(
                    "the source failed".to_owned(),
                )))
            }
            None => {
                state.batches = None;
                None
            }
        }
    }
}

/// The columns of `schema` out of a batch that has at least those, in any order.
fn project(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let column = batch.column_by_name(field.name()).ok_or_else(|| {
                ArrowError::SchemaError(format!("the source gave no column `{}`", field.name()))
            })?;
            Ok(Arc::clone(column))
        })
        .collect::<Result<Vec<_>, ArrowError>>()?;
    // The row count is told, because a query such as `SELECT count(*)` needs no column at all.
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

/// [`QueryInput`] as the rows of a run.
pub(super) struct InputRows<E> {
    pub(super) schema: SchemaRef,
    pub(super) input: Arc<QueryInput<E>>,
}

impl<E: Error + Send + 'static> ShardTable for InputRows<E> {
    fn rows(&self) -> SendableRecordBatchStream {
        let (schema, input) = (Arc::clone(&self.schema), Arc::clone(&self.input));
        let batches = std::iter::from_fn(move || input.next(&schema));
        let stream = futures::stream::iter(batches);
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            stream,
        ))
    }
}
