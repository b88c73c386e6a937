//! Computing one shard.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use eciton_engine::{Store, Transaction};
use eciton_proto::v1::ProgramLog;
use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::blame::Blame;
use super::error::AttemptError;
use super::gather::{Gathering, OverflowSink};
use super::pipeline::Pipeline;
use super::program_context::ProgramContext;
use super::results::Results;
use crate::aggregate::Aggregator;
use crate::source::{
    Shard, ShardReader, Source, SourceError, content_hash, open_shard, place_of_rows,
};
use crate::transform::{Interrupt, RunError};

/// What came of an attempt.
pub(crate) enum Computed {
    /// The shard's results, which no one has seen yet.
    Results(Box<ShardResults>),
    /// In the middle it turned out that the shard is not to be computed any more.
    Superfluous,
}

/// A computed shard.
pub(crate) struct ShardResults {
    /// Results that have become operands.
    pub(crate) results: Results,
    /// Results that have not.
    pub(crate) groups: Option<Box<Aggregator>>,
    pub(crate) rows_read: u64,
    pub(crate) rows_skipped: u64,
    pub(crate) values_ignored: u64,
    /// As in `ShardState`: 0 where there are no files.
    pub(crate) content_hash: u64,
    /// Records that have the checkpoint of the program that computed it.
    pub(crate) checkpoint_parts: u32,
    /// What is kept of the program that computed it, if that said anything.
    pub(crate) log: Option<Arc<ProgramLog>>,
}

/// What an attempt needs besides the shard.
pub(crate) struct Attempt<'a> {
    pub(crate) pipeline: &'a Pipeline,
    /// The job's number, which orders its upserts among those of other jobs.
    pub(crate) job_number: u64,
    pub(crate) store: &'a Store,
    pub(crate) runtime: &'a Handle,
    /// Bytes of results that may be kept.
    pub(crate) results_len_max: usize,
    /// When it has taken too long.
    pub(crate) until: Option<Instant>,
    /// Whether it is to break off, since nobody wants its results any more or it has taken too long: looked at between
    /// batches of rows, and within the query.
    pub(crate) interrupt: Interrupt,
    /// Told how many rows were read since the last call.
    pub(crate) rows_read: &'a (dyn Fn(u64) + Sync),
    /// What a program needs, if the job has one that may run here.
    pub(crate) program: Option<ProgramContext<'a>>,
    /// Begins the transaction for results that do not fit into memory; `None` if the shard need not
    /// be computed any more.
    pub(crate) admit: &'a (dyn Fn() -> Result<Option<Transaction>, AttemptError> + Sync),
}

impl Attempt<'_> {
    /// Reads, transforms and aggregates a shard, into the spare aggregator if there is one. Blocks.
    ///
    /// A panic in between is taken as a lasting error of this shard: it must not take the other
    /// shards with it. Nothing outlives it but the source's files, which are read only, and an
    /// uncommitted transaction, which writes nothing.
    pub(crate) fn compute(
        &self,
        shard: Shard,
        spare: Option<Box<Aggregator>>,
    ) -> Result<Computed, AttemptError> {
        let computed = std::panic::AssertUnwindSafe(|| {
            let computed = self.compute_unguarded(shard, spare);
            computed.map_err(|error| error.within(&self.pipeline.source, shard))
        });
        std::panic::catch_unwind(computed).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic");
            Err(AttemptError::lasting(format!(
                "computing the shard broke off: {text}"
            )))
        })
    }

    fn compute_unguarded(
        &self,
        shard: Shard,
        spare: Option<Box<Aggregator>>,
    ) -> Result<Computed, AttemptError> {
        let pipeline = self.pipeline;
        if let Some(step) = &pipeline.program {
            return self.compute_with(step, shard, spare);
        }
        let reader = open_shard(&pipeline.source, shard, pipeline.transform.source_columns())?;
        let reader = Arc::new(Mutex::new(reader));
        let mut gathering = Gathering::new(
            pipeline,
            (self.job_number, shard.number),
            spare,
            (usize::MAX, self.results_len_max),
        );
        let into = OverflowSink {
            store: self.store,
            runtime: self.runtime,
            admit: self.admit,
        };
        let source = &pipeline.source;
        let placed = |error| self.placed(source, shard, &reader, error);
        let mut seen = 0;
        let batches = Box::new(SharedReader(Arc::clone(&reader)));
        for batch in pipeline.transform.run(batches, &self.interrupt)? {
            match self.gather_batch(batch, &mut gathering, &into, &placed)? {
                BatchGathered::Yes => self.tell(&reader, &mut seen),
                BatchGathered::Interrupted => return self.interrupted(),
                BatchGathered::Unwanted => return Ok(Computed::Superfluous),
            }
        }
        let ended = gathering.end(&into);
        let ended = ended.map_err(placed)?;
        let Some((results, groups)) = ended else {
            return Ok(Computed::Superfluous);
        };
        self.tell(&reader, &mut seen);
        let reader = reader.lock();
        let bytes_hash = reader.bytes_hash().ok_or_else(|| {
            AttemptError::lasting(format!("shard {} was not read to its end", shard.number))
        })?;
        let (rows_read, rows_skipped) = (reader.rows_read(), reader.rows_skipped());
        assert_eq!(seen, rows_read, "each row is told of once");
        let values_ignored = reader.values_ignored();
        Ok(Computed::Results(Box::new(ShardResults {
            results,
            groups,
            rows_read,
            rows_skipped,
            values_ignored,
            content_hash: match pipeline.source.files().is_empty() {
                true => 0,
                false => content_hash(bytes_hash),
            },
            checkpoint_parts: 0,
            log: None,
        })))
    }

    /// Adds one batch of the query's output to the results.
    fn gather_batch(
        &self,
        batch: Result<RecordBatch, RunError<SourceError>>,
        gathering: &mut Gathering,
        into: &OverflowSink<'_>,
        placed: &dyn Fn(AttemptError) -> AttemptError,
    ) -> Result<BatchGathered, AttemptError> {
        let batch = match batch {
            Ok(batch) => batch,
            Err(RunError::Source(error)) => return Err(error.into()),
            Err(RunError::Transform(error)) => return Err(placed(error.into())),
            Err(RunError::Interrupted) => return Ok(BatchGathered::Interrupted),
        };
        if (self.interrupt)() {
            return Ok(BatchGathered::Interrupted);
        }
        Ok(match gathering.push(&batch, into).map_err(placed)? {
            true => BatchGathered::Yes,
            false => BatchGathered::Unwanted,
        })
    }

    /// Adds what a reader gives to the results; `false` where the shard need not be computed any more.
    pub(super) fn gather_batches(
        &self,
        reader: &Arc<Mutex<ShardReader>>,
        gathering: &mut Gathering,
        into: &OverflowSink<'_>,
        placed: &dyn Fn(AttemptError) -> AttemptError,
    ) -> Result<bool, AttemptError> {
        let batches = Box::new(SharedReader(Arc::clone(reader)));
        for batch in self.pipeline.transform.run(batches, &self.interrupt)? {
            match self.gather_batch(batch, gathering, into, placed)? {
                BatchGathered::Yes => {}
                BatchGathered::Interrupted | BatchGathered::Unwanted => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The end of an attempt that was broken off.
    pub(super) fn interrupted(&self) -> Result<Computed, AttemptError> {
        match self.until.is_some_and(|until| Instant::now() >= until) {
            true => Err(AttemptError::Shard {
                message: "it took longer than `run.timeout` allows".to_owned(),
                transient: true,
            }),
            false => Ok(Computed::Superfluous),
        }
    }

    /// An error of the query or of its results with the rows that it is about, if another attempt would meet it, too.
    pub(super) fn placed(
        &self,
        source: &Source,
        shard: Shard,
        reader: &Mutex<ShardReader>,
        error: AttemptError,
    ) -> AttemptError {
        let AttemptError::Shard {
            message,
            transient: false,
        } = error
        else {
            return error;
        };
        let read = reader.lock().rows_read();
        let blamed = Blame::new(self.pipeline, source, &self.interrupt).rows(shard);
        let (rows, message) = blamed.unwrap_or((0..read, message));
        let columns = self.pipeline.transform.source_columns();
        let find = || place_of_rows(source, shard, columns, rows);
        let place = source.reach().during(find);
        AttemptError::lasting(format!("{place}: {message}"))
    }

    fn tell(&self, reader: &Mutex<ShardReader>, seen: &mut u64) {
        let rows = reader.lock().rows_read();
        if rows > *seen {
            (self.rows_read)(rows - *seen);
            *seen = rows;
        }
    }
}

/// What became of a batch.
enum BatchGathered {
    Yes,
    /// The attempt is to break off.
    Interrupted,
    /// The shard need not be computed any more.
    Unwanted,
}

/// A reader that can be asked for its counts afterwards.
struct SharedReader(Arc<Mutex<ShardReader>>);

impl Iterator for SharedReader {
    type Item = Result<RecordBatch, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.lock().next()
    }
}
