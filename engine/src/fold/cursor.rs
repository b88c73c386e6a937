//! One ordered walk over all layers of a view.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::ops::flatten;
use super::view::{Layer, TablePart};
use crate::base::{Op, Position, Result};
use crate::coord::KeyRange;
use crate::tree;

/// Keys fetched from a table at a time: a table grows while it is read, so its iterator is not held.
const TABLE_BATCH: usize = 64;

/// Which way a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the smallest key on.
    Forward,
    /// From the largest key on.
    Reverse,
}

/// Walks the keys of a range, each with the one write that does what all layers together do to it.
///
/// It owns what it reads, so it outlives folding: a view that has been replaced stays as it was for
/// whoever walks it.
pub struct ViewCursor {
    /// Newest first.
    sources: Vec<Source>,
    direction: Direction,
}

enum Source {
    Table(TableSource),
    Run(Box<RunSource>),
    Sorted(SortedSource),
}

impl ViewCursor {
    /// A walk over what a reader at `at` sees in `layers` (newest first), with `own` writes, sorted,
    /// on top.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::base::Error::Corrupt) naming the page; what the storage refuses.
    pub async fn open(
        own: Vec<(Bytes, Op)>,
        layers: &[Layer],
        at: Position,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<ViewCursor> {
        let mut sources = Vec::with_capacity(layers.len() + 1);
        if !own.is_empty() {
            sources.push(Source::Sorted(SortedSource::new(own, range, direction)));
        }
        for layer in layers {
            match layer {
                Layer::Table(part) if part.after >= at || part.table.is_empty() => {}
                Layer::Table(part) => {
                    let part = part.clone();
                    sources.push(Source::Table(TableSource::new(part, at, range, direction)));
                }
                Layer::Run(layer) => {
                    let reference = &layer.reference;
                    if range.overlaps(&reference.first_key, &reference.last_key) {
                        let run = Arc::clone(&layer.run);
                        let source = RunSource::open(run, range, direction).await?;
                        sources.push(Source::Run(Box::new(source)));
                    }
                }
            }
        }
        Ok(ViewCursor { sources, direction })
    }

    /// The next key and what becomes of it; `None` at the end. A delete is reported too: who reads
    /// the whole state skips it, who folds a part of the layers must keep it.
    ///
    /// # Errors
    /// As [`ViewCursor::open`].
    pub async fn next(&mut self) -> Result<Option<(Bytes, Op)>> {
        let Some(key) = self.nearest().map(Bytes::copy_from_slice) else {
            return Ok(None);
        };
        let mut ops = Vec::new();
        let mut complete = false;
        for source in &mut self.sources {
            if source.key() == Some(&key[..]) {
                if !complete {
                    complete = source.collect(&mut ops).await?;
                }
                source.advance().await?;
            }
        }
        Ok(flatten(&ops).map(|op| (key, op)))
    }

    /// The next key that is there, without reading any value.
    ///
    /// # Errors
    /// As [`ViewCursor::open`].
    pub async fn next_key(&mut self) -> Result<Option<Bytes>> {
        while let Some(key) = self.nearest().map(Bytes::copy_from_slice) {
            let mut alive = None;
            for source in &mut self.sources {
                if source.key() == Some(&key[..]) {
                    // The newest write decides: a merge onto a deleted key brings it back.
                    alive.get_or_insert(!source.is_delete());
                    source.advance().await?;
                }
            }
            if alive == Some(true) {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    fn nearest(&self) -> Option<&[u8]> {
        let keys = self.sources.iter().filter_map(Source::key);
        match self.direction {
            Direction::Forward => keys.min(),
            Direction::Reverse => keys.max(),
        }
    }
}

impl Source {
    fn key(&self) -> Option<&[u8]> {
        match self {
            Source::Table(source) => source.batch.front().map(|(key, _)| &key[..]),
            Source::Run(source) => source.key(),
            Source::Sorted(source) => source.rest.front().map(|(key, _)| &key[..]),
        }
    }

    fn is_delete(&self) -> bool {
        match self {
            Source::Table(source) => source
                .batch
                .front()
                .is_some_and(|(_, ops)| matches!(ops.first(), Some(Op::Delete))),
            Source::Run(source) => source.is_delete(),
            Source::Sorted(source) => source
                .rest
                .front()
                .is_some_and(|(_, op)| matches!(op, Op::Delete)),
        }
    }

    /// Adds the writes of the current key, newest first; `true` if nothing older matters.
    async fn collect(&mut self, ops: &mut Vec<Op>) -> Result<bool> {
        match self {
            Source::Table(source) => {
                ops.extend(
                    source
                        .batch
                        .front()
                        .into_iter()
                        .flat_map(|(_, ops)| ops.clone()),
                );
            }
            Source::Run(source) => ops.push(source.op().await?),
            Source::Sorted(source) => ops.extend(source.rest.front().map(|(_, op)| op.clone())),
        }
        Ok(ops.last().is_some_and(Op::hides_older))
    }

    async fn advance(&mut self) -> Result<()> {
        match self {
            Source::Table(source) => source.advance(),
            Source::Run(source) => source.advance().await?,
            Source::Sorted(source) => drop(source.rest.pop_front()),
        }
        Ok(())
    }
}

struct TableSource {
    part: TablePart,
    at: Position,
    range: KeyRange,
    direction: Direction,
    batch: VecDeque<(Bytes, Vec<Op>)>,
    /// The last key fetched; `None` before the first.
    fetched: Option<Bytes>,
}

impl TableSource {
    fn new(part: TablePart, at: Position, range: &KeyRange, direction: Direction) -> TableSource {
        let (range, batch) = (range.clone(), VecDeque::new());
        let mut source = TableSource {
            part,
            at,
            range,
            direction,
            batch,
            fetched: None,
        };
        source.fetch();
        source
    }

    fn fetch(&mut self) {
        let reverse = self.direction == Direction::Reverse;
        let mut from = Bound::Included(&self.range.from[..]);
        let mut to = self.range.end_bound();
        if let Some(last) = &self.fetched {
            *(if reverse { &mut to } else { &mut from }) = Bound::Excluded(&last[..]);
        }
        let seen = (self.part.after, self.at);
        let batch = self
            .part
            .table
            .collect((from, to), reverse, seen, TABLE_BATCH);
        self.batch = batch.into();
        self.fetched = self.batch.back().map(|(key, _)| key.clone());
    }

    fn advance(&mut self) {
        self.batch.pop_front();
        if self.batch.is_empty() && self.fetched.is_some() {
            self.fetch();
        }
    }
}

struct RunSource {
    cursor: tree::Cursor,
    range: KeyRange,
    direction: Direction,
}

impl RunSource {
    async fn open(
        run: Arc<tree::Run>,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<RunSource> {
        let mut cursor = tree::Cursor::new(run);
        match direction {
            Direction::Forward => cursor.seek(&range.from).await?,
            Direction::Reverse if range.to.is_empty() => cursor.last().await?,
            Direction::Reverse => cursor.seek_back(&range.to, false).await?,
        };
        Ok(RunSource {
            cursor,
            range: range.clone(),
            direction,
        })
    }

    fn key(&self) -> Option<&[u8]> {
        self.cursor
            .is_valid()
            .then(|| self.cursor.key())
            .filter(|key| self.range.contains(key))
    }

    fn is_delete(&self) -> bool {
        self.cursor.kind() == Some(tree::OpKind::Delete)
    }

    async fn op(&mut self) -> Result<Op> {
        self.cursor.op().await
    }

    async fn advance(&mut self) -> Result<()> {
        match self.direction {
            Direction::Forward => self.cursor.next().await?,
            Direction::Reverse => self.cursor.prev().await?,
        };
        Ok(())
    }
}

struct SortedSource {
    rest: VecDeque<(Bytes, Op)>,
}

impl SortedSource {
    fn new(own: Vec<(Bytes, Op)>, range: &KeyRange, direction: Direction) -> SortedSource {
        let mut rest: VecDeque<_> = own
            .into_iter()
            .filter(|(key, _)| range.contains(key))
            .collect();
        if direction == Direction::Reverse {
            rest.make_contiguous().reverse();
        }
        SortedSource { rest }
    }
}
