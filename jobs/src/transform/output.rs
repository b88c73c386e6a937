//! The rows that a transform gives for one shard.

use std::error::Error;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::runtime::Runtime;

use super::deep::deep_enough;
use super::error::{RunError, TransformError};
use super::input::{BatchIter, QueryInput};
use super::interrupt::{self, Interrupt, is_interrupted};
use super::moments;
use super::plan::TRANSFORM_MEMORY_LEN_MAX;

/// The output rows of one shard, batch by batch. Ends after its first error.
///
/// Each call of `next` reads and computes on the calling thread: call it where blocking is
/// allowed.
pub struct Output<E> {
    kind: OutputKind<E>,
    /// The columns, where moments come in the place of dates.
    moments: Option<SchemaRef>,
}

enum OutputKind<E> {
    /// Without a query the source's batches are the output.
    Same(BatchIter<E>),
    Query(Box<Running<E>>),
    Ended,
}

/// A query at work.
struct Running<E> {
    /// `None` once it is dropped.
    stream: Option<SendableRecordBatchStream>,
    input: Arc<QueryInput<E>>,
    /// Carries what the operators begin beside each other, on the thread that asks for rows.
    threads: Option<Runtime>,
    interrupt: Interrupt,
    levels: usize,
}

impl<E: Error + Send + 'static> Output<E> {
    pub(super) fn same(batches: BatchIter<E>) -> Output<E> {
        Output {
            kind: OutputKind::Same(batches),
            moments: None,
        }
    }

    /// The same rows in columns that have moments in the place of dates, if any.
    pub(super) fn with_moments(self, moments: Option<SchemaRef>) -> Output<E> {
        Output { moments, ..self }
    }

    pub(super) fn query(
        stream: SendableRecordBatchStream,
        input: Arc<QueryInput<E>>,
        threads: Runtime,
        interrupt: Interrupt,
        levels: usize,
    ) -> Output<E> {
        let running = Running {
            stream: Some(stream),
            input,
            threads: Some(threads),
            interrupt,
            levels,
        };
        Output {
            kind: OutputKind::Query(Box::new(running)),
            moments: None,
        }
    }
}

impl<E: Error + Send + 'static> Running<E> {
    fn next(&mut self) -> Option<Result<RecordBatch, RunError<E>>> {
        let (Some(stream), Some(threads)) = (&mut self.stream, &self.threads) else {
            return None;
        };
        // Between two polls that both wait for something, nothing else looks whether this is to end.
        let interrupt = &self.interrupt;
        let next = poll_fn(|cx| match interrupt() {
            true => Poll::Ready(Some(Err(interrupt::interrupted()))),
            false => stream.poll_next_unpin(cx),
        });
        let levels = self.levels;
        let next = interrupt::within(interrupt, || deep_enough(levels, || threads.block_on(next)));
        match next {
            Some(Ok(batch)) => Some(Ok(batch)),
            Some(Err(error)) => Some(Err(match self.input.take_error() {
                Some(error) => RunError::Source(error),
                None if is_interrupted(&error) => RunError::Interrupted,
                None => TransformError::from_run(&error, TRANSFORM_MEMORY_LEN_MAX).into(),
            })),
            None => self
                .input
                .drain()
                .err()
                .map(|error| Err(RunError::Source(error))),
        }
    }
}

impl<E> Drop for Running<E> {
    fn drop(&mut self) {
        let (stream, threads) = (self.stream.take(), self.threads.take());
        deep_enough(self.levels, || drop(stream));
        if let Some(threads) = threads {
            threads.shutdown_background();
        }
    }
}

impl<E: Error + Send + 'static> Iterator for Output<E> {
    type Item = Result<RecordBatch, RunError<E>>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = match &mut self.kind {
            OutputKind::Same(batches) => {
                batches.next().map(|batch| batch.map_err(RunError::Source))
            }
            OutputKind::Query(running) => running.next(),
            OutputKind::Ended => None,
        };
        let item = match (item, &self.moments) {
            (Some(Ok(batch)), Some(schema)) => {
                Some(moments::batch_of(&batch, schema).map_err(RunError::from))
            }
            (item, _) => item,
        };
        if !matches!(item, Some(Ok(_))) {
            self.kind = OutputKind::Ended;
        }
        item
    }
}
