//! The rows that a transform gives for one shard.

use std::error::Error;
use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::runtime::Handle;

use super::error::{RunError, TransformError};
use super::input::{BatchIter, Input};
use super::plan::TRANSFORM_MEMORY_LEN_MAX;

/// The output rows of one shard, batch by batch. Ends after its first error.
///
/// Each call of `next` reads and computes on the calling thread: call it where blocking is
/// allowed.
pub struct Output<E>(Kind<E>);

enum Kind<E> {
    /// Without a query the source's batches are the output.
    Same(BatchIter<E>),
    Query {
        stream: SendableRecordBatchStream,
        input: Arc<Input<E>>,
        runtime: Handle,
    },
    Ended,
}

impl<E: Error + Send + 'static> Output<E> {
    pub(super) fn same(batches: BatchIter<E>) -> Output<E> {
        Output(Kind::Same(batches))
    }

    pub(super) fn query(
        stream: SendableRecordBatchStream,
        input: Arc<Input<E>>,
        runtime: Handle,
    ) -> Output<E> {
        Output(Kind::Query {
            stream,
            input,
            runtime,
        })
    }
}

impl<E: Error + Send + 'static> Iterator for Output<E> {
    type Item = Result<RecordBatch, RunError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = match &mut self.0 {
            Kind::Same(batches) => batches.next().map(|batch| batch.map_err(RunError::Source)),
            Kind::Query {
                stream,
                input,
                runtime,
            } => match runtime.block_on(stream.next()) {
                Some(Ok(batch)) => Some(Ok(batch)),
                Some(Err(error)) => Some(Err(match input.take_error() {
                    Some(error) => RunError::Source(error),
                    None => TransformError::from_run(&error, TRANSFORM_MEMORY_LEN_MAX).into(),
                })),
                None => input
                    .drain()
                    .err()
                    .map(|error| Err(RunError::Source(error))),
            },
            Kind::Ended => None,
        };
        if !matches!(item, Some(Ok(_))) {
            self.0 = Kind::Ended;
        }
        item
    }
}
