//! From the rows of a shard to its results, whoever has computed the rows.

use arrow::array::RecordBatch;
use eciton_engine::merge::Operand;
use eciton_engine::{Key, Store, Transaction};
use tokio::runtime::Handle;

use super::error::AttemptError;
use super::export::ExportWriter;
use super::pipeline::{Pipeline, Sink};
use super::results::Results;
use crate::aggregate::Aggregator;
use crate::query::{Operands, TopRows};
use crate::upsert::Upserter;

/// The results of one shard so far.
pub(crate) struct Gathering {
    accumulator: Accumulator,
    results: Results,
    groups_len_max: usize,
}

/// The results that are operands, and those that are not yet.
pub(crate) type Gathered = (Results, Option<Box<Aggregator>>);

/// Where results go that do not fit into memory.
pub(crate) struct OverflowSink<'a> {
    pub(crate) store: &'a Store,
    pub(crate) runtime: &'a Handle,
    /// Begins the transaction for them; `None` if the shard need not be computed any more.
    pub(crate) admit: &'a (dyn Fn() -> Result<Option<Transaction>, AttemptError> + Sync),
}

impl Gathering {
    /// Begins a shard, given the numbers of its job and of itself, with the spare aggregator if there is one. At
    /// most about so many bytes of groups and of operands are kept.
    pub(crate) fn new(
        pipeline: &Pipeline,
        (job, shard): (u64, u64),
        spare: Option<Box<Aggregator>>,
        (groups_len_max, results_len_max): (usize, usize),
    ) -> Gathering {
        let accumulator = match &pipeline.sink {
            Sink::Merge(aggregation) => {
                let mut groups = spare.unwrap_or_else(|| Box::new(aggregation.start()));
                groups.begin(job, shard);
                Accumulator::Merge(groups)
            }
            Sink::Answer(answer) => match answer.operands() {
                Operands::Groups(groups) => {
                    Accumulator::Merge(spare.unwrap_or_else(|| Box::new(groups.start())))
                }
                Operands::Top(top) => Accumulator::Top(Box::new(top.start(shard))),
            },
            Sink::Upsert(upsert) | Sink::Delete(upsert) => {
                Accumulator::Upsert(Box::new(upsert.start(job, shard)))
            }
            Sink::Export(export) => Accumulator::Export(Box::new(export.start(shard))),
            Sink::Nothing => Accumulator::Nothing,
        };
        Gathering {
            accumulator,
            results: Results::new(results_len_max).changing(pipeline.change()),
            groups_len_max,
        }
    }

    /// Whether the results of some rows alone can be made. Writes nothing.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn check(pipeline: &Pipeline, batch: &RecordBatch) -> Result<(), AttemptError> {
        if matches!(pipeline.sink, Sink::Export(_)) {
            // What is wrong with files is no matter of single rows.
            return Ok(());
        }
        let mut alone = Gathering::new(pipeline, (0, 0), None, (usize::MAX, usize::MAX));
        alone.accumulator.push(batch)?;
        alone.accumulator.take().map(drop)
    }

    /// Adds rows with the columns of the transform's output; `false` if the shard need not be computed any more.
    /// Blocks.
    pub(crate) fn push(
        &mut self,
        batch: &RecordBatch,
        into: &OverflowSink<'_>,
    ) -> Result<bool, AttemptError> {
        self.accumulator.push(batch)?;
        if self.accumulator.is_full(self.groups_len_max) {
            let operands = self.accumulator.take()?;
            return self.add(operands, into);
        }
        Ok(true)
    }

    /// The results, those that are operands and those that are not yet; `None` if the shard need not be computed any
    /// more. Blocks.
    pub(crate) fn end(mut self, into: &OverflowSink<'_>) -> Result<Option<Gathered>, AttemptError> {
        match self.accumulator {
            Accumulator::Merge(groups) if !self.results.has_overflow() => {
                Ok(Some((self.results, Some(groups))))
            }
            Accumulator::Export(writer) => {
                self.results.set_files(writer.end()?);
                Ok(Some((self.results, None)))
            }
            _ => {
                let operands = self.accumulator.take()?;
                let is_wanted = self.add(operands, into)?;
                Ok(is_wanted.then_some((self.results, None)))
            }
        }
    }

    fn add(
        &mut self,
        operands: Vec<(Key, Operand)>,
        into: &OverflowSink<'_>,
    ) -> Result<bool, AttemptError> {
        let admit = || (into.admit)();
        self.results.add(operands, into.store, into.runtime, admit)
    }
}

enum Accumulator {
    Merge(Box<Aggregator>),
    Upsert(Box<Upserter>),
    Top(Box<TopRows>),
    Export(Box<ExportWriter>),
    Nothing,
}

impl Accumulator {
    fn push(&mut self, batch: &RecordBatch) -> Result<(), AttemptError> {
        match self {
            Accumulator::Merge(aggregator) => Ok(aggregator.push(batch)?),
            Accumulator::Upsert(upserter) => Ok(upserter.push(batch)?),
            Accumulator::Top(rows) => Ok(rows.push(batch)?),
            Accumulator::Export(writer) => writer.push(batch),
            Accumulator::Nothing => Ok(()),
        }
    }

    /// Whether it keeps more than it may, or than `len_max` bytes.
    fn is_full(&self, len_max: usize) -> bool {
        match self {
            Accumulator::Merge(aggregator) => {
                aggregator.is_full() || aggregator.len_bytes() > len_max
            }
            Accumulator::Upsert(upserter) => upserter.is_full() || upserter.len_bytes() > len_max,
            Accumulator::Top(rows) => rows.is_full() || rows.len_bytes() > len_max,
            Accumulator::Export(_) | Accumulator::Nothing => false,
        }
    }

    fn take(&mut self) -> Result<Vec<(Key, Operand)>, AttemptError> {
        match self {
            Accumulator::Merge(aggregator) => Ok(aggregator.take()?),
            Accumulator::Upsert(upserter) => Ok(upserter.take()?),
            Accumulator::Top(rows) => Ok(rows.take()),
            Accumulator::Export(_) | Accumulator::Nothing => Ok(Vec::new()),
        }
    }
}
