//! Runs on their way: what each is for, and where one ends and the next begins.

use bytes::Bytes;

use super::place::StreamPlace;
use crate::base::{Op, Result, RunRef, StoreId};
use crate::coord::KeyRange;
use crate::fold::{RunSink, store_of};

/// Runs that a spill may write so that each holds one store; the stores after share the last run.
pub(super) const SPILL_RUNS_MAX: usize = 16;
/// Runs of a transaction from which on streams no longer get runs of their own.
pub(super) const STREAM_RUNS_MAX: usize = 64;

/// What a run is for. It counts as written from its first key to its last, so that of other keys begins
/// another one: else it would reach over what lies in between, and conflict with that for nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OutgoingRun {
    /// A range.
    Range(KeyRange),
    /// A store, or one of its streams, as what all its keys begin with.
    Store(Option<StoreId>, Option<Bytes>),
}

impl OutgoingRun {
    /// The store, and the stream if those get runs of their own, that a whole key belongs to.
    pub(super) fn of(key: &[u8], own_streams: bool) -> OutgoingRun {
        let stream = StreamPlace::range_of(key).filter(|_| own_streams);
        OutgoingRun::Store(store_of(key), stream.map(Bytes::copy_from_slice))
    }

    /// Whether `key` belongs to it: what [`OutgoingRun::of`] made of another key.
    pub(super) fn is_of(&self, key: &[u8], own_streams: bool) -> bool {
        let OutgoingRun::Store(store, stream) = self else {
            return false;
        };
        let other = StreamPlace::range_of(key).filter(|_| own_streams);
        *store == store_of(key) && stream.as_deref() == other
    }
}

/// A run that still takes keys.
pub(super) struct OpenRun {
    pub(super) sink: RunSink,
    pub(super) part: OutgoingRun,
    pub(super) first: Bytes,
    /// Of the write under way.
    key: Vec<u8>,
}

impl OpenRun {
    pub(super) fn new(sink: RunSink, part: OutgoingRun, first: Bytes) -> OpenRun {
        OpenRun {
            sink,
            part,
            first,
            key: Vec::new(),
        }
    }

    /// The greatest key that went there.
    pub(super) fn last(&self) -> &[u8] {
        self.sink.last_key()
    }

    pub(super) fn may_hold(&self, key: &Bytes) -> bool {
        self.first <= *key && **key <= *self.last()
    }

    /// Takes a write of the key that is `prefix` and then `rest`, if that belongs here, comes behind all
    /// others and takes no I/O now.
    #[inline]
    pub(super) fn try_add(&mut self, prefix: &[u8], rest: &[u8], op: &Op) -> bool {
        self.key.clear();
        self.key.extend_from_slice(prefix);
        self.key.extend_from_slice(rest);
        // A stream begins a run of its own where there may be more runs.
        self.part.is_of(&self.key, true) && self.sink.try_add(&self.key, op.into(), op.payload())
    }
}

/// Writes a run for each store and stream, as long as there are few.
pub(super) struct SpillWriter {
    runs: Vec<RunRef>,
    pub(super) sink: RunSink,
    part: Option<OutgoingRun>,
    /// Runs that the transaction had before.
    count: usize,
}

impl SpillWriter {
    /// Begins with `sink`, in a transaction that has `count` runs.
    pub(super) fn new(sink: RunSink, count: usize) -> SpillWriter {
        SpillWriter {
            runs: Vec::new(),
            sink,
            part: None,
            count,
        }
    }

    /// Whether `key` belongs to another run than the key before it.
    pub(super) fn ends_before(&mut self, key: &[u8]) -> bool {
        let own_streams = self.count + self.runs.len() < STREAM_RUNS_MAX;
        let is_same = |part: &OutgoingRun| part.is_of(key, own_streams);
        if self.part.as_ref().is_some_and(is_same) {
            return false;
        }
        let is_first = self
            .part
            .replace(OutgoingRun::of(key, own_streams))
            .is_none();
        !is_first && self.runs.len() < SPILL_RUNS_MAX
    }

    /// Ends the run and goes on with the next one.
    pub(super) async fn begin(&mut self, next: RunSink) -> Result<()> {
        let ended = std::mem::replace(&mut self.sink, next);
        self.runs.extend(ended.finish().await?);
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Vec<RunRef>> {
        self.runs.extend(self.sink.finish().await?);
        Ok(self.runs)
    }
}
