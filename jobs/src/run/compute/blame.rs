//! Which rows an error of a query, or of its results, is about.
//!
//! Where each row is computed alone, its neighbours are innocent: the shard is computed once more, batch by batch, and
//! the first batch that fails is halved until one row is left. Where rows are computed together (grouped, sorted, joined)
//! the error is about all that were read.

use std::ops::Range;

use arrow::array::RecordBatch;

use super::error::AttemptError;
use super::gather::Gathering;
use super::pipeline::Pipeline;
use crate::source::{Shard, Source, SourceError, open_shard};
use crate::transform::{BatchIter, Interrupt, RunError};

/// Finds the rows.
pub(crate) struct Blame<'a> {
    pipeline: &'a Pipeline,
    /// What the rows are read from.
    source: &'a Source,
    interrupt: &'a Interrupt,
}

/// What came of some rows.
enum Verdict {
    Valid,
    /// With the words of their error.
    Invalid(String),
    /// Nobody can wait for it.
    Unknown,
}

impl<'a> Blame<'a> {
    pub(crate) fn new(
        pipeline: &'a Pipeline,
        source: &'a Source,
        interrupt: &'a Interrupt,
    ) -> Blame<'a> {
        Blame {
            pipeline,
            source,
            interrupt,
        }
    }

    /// The first rows that fail by themselves, as few of them as possible, and how; `None` if there are none. Blocks.
    pub(crate) fn rows(&self, shard: Shard) -> Option<(Range<u64>, String)> {
        let transform = &self.pipeline.transform;
        if !transform.is_row_by_row() {
            return None;
        }
        let reader = open_shard(self.source, shard, transform.source_columns()).ok()?;
        let mut before = 0;
        for batch in reader {
            let batch = batch.ok()?;
            match self.validate(&batch) {
                Verdict::Valid => before += batch.num_rows() as u64,
                Verdict::Invalid(message) => {
                    let (rows, message) = self.narrowed(&batch, message);
                    let row = |row: usize| before + row as u64;
                    return Some((row(rows.start)..row(rows.end), message));
                }
                Verdict::Unknown => return None,
            }
        }
        None
    }

    fn narrowed(&self, batch: &RecordBatch, mut message: String) -> (Range<usize>, String) {
        let (mut from, mut len) = (0, batch.num_rows());
        while len > 1 {
            let left = len / 2;
            let mut validated = |from, len| match self.validate(&batch.slice(from, len)) {
                Verdict::Invalid(narrower) => {
                    message = narrower;
                    true
                }
                Verdict::Valid | Verdict::Unknown => false,
            };
            if validated(from, left) {
                len = left;
            } else if validated(from + left, len - left) {
                (from, len) = (from + left, len - left);
            } else {
                break;
            }
        }
        // The place says which row of the source it is; of one row there is nothing more to say.
        if len == 1 {
            message = message.replacen(", output row 1:", ":", 1);
        }
        assert!(
            from + len <= batch.num_rows(),
            "rows {from} to {} of {}",
            from + len,
            batch.num_rows()
        );
        (from..from + len, message)
    }

    fn validate(&self, batch: &RecordBatch) -> Verdict {
        let batches: BatchIter<SourceError> = Box::new(std::iter::once(Ok(batch.clone())));
        let Ok(output) = self.pipeline.transform.run(batches, self.interrupt) else {
            return Verdict::Unknown;
        };
        for batch in output {
            let error = match batch {
                Ok(batch) => Gathering::check(self.pipeline, &batch).err(),
                Err(RunError::Transform(error)) => Some(error.into()),
                Err(RunError::Source(_) | RunError::Interrupted) => return Verdict::Unknown,
            };
            match error {
                None => {}
                Some(AttemptError::Shard {
                    message,
                    transient: false,
                }) => return Verdict::Invalid(message),
                Some(_) => return Verdict::Unknown,
            }
        }
        Verdict::Valid
    }
}
