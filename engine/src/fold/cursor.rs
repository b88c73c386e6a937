//! One ordered walk over all layers of a view.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;

use super::ops::flatten;
use super::view::Layer;
use super::walk_direction::WalkDirection;
use super::write_walk::WriteWalk;
use crate::base::{Op, Position, Result};
use crate::coord::KeyRange;
use crate::tree::{self, OpKind};

/// Walks the keys of a range, each with the one write that does what all layers together do to it.
///
/// It owns what it reads, so it outlives folding: a view that has been replaced stays as it was for
/// whoever walks it. A new one stands before the first key.
///
/// ```text
/// while cursor.advance().await? {
///     use_it(cursor.key(), cursor.op().await?);
/// }
/// ```
pub struct ViewCursor {
    /// Newest first.
    sources: Vec<Source>,
    direction: WalkDirection,
    begun: bool,
    /// `None` before the first key and behind the last.
    here: Option<CursorAt>,
}

/// On which key the walk stands.
#[derive(Clone, Copy)]
struct CursorAt {
    /// The newest source that has the key.
    newest: usize,
    /// Whether an older one has it too.
    shared: bool,
    /// Of the others, one whose key comes first. As long as the newest stays before it there is nothing to
    /// be compared but these two.
    rival: Option<usize>,
}

/// What there is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing: it is deleted.
    Deleted,
    /// A value that [`ViewCursor::value_in_place`] lends.
    InPlace,
    /// A value that [`ViewCursor::op`] has to be asked for: it lies apart, or has to be merged.
    Elsewhere,
}

enum Source {
    Writes(WriteWalk),
    Run(Box<RunSource>),
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
        direction: WalkDirection,
    ) -> Result<ViewCursor> {
        let mut sources = Vec::with_capacity(layers.len() + 1);
        if !own.is_empty() {
            sources.push(Source::Writes(WriteWalk::of_sorted(own, range, direction)));
        }
        for layer in layers {
            match layer {
                Layer::Memtable(part) if part.after >= at || part.table.is_empty() => {}
                Layer::Memtable(part) => {
                    let part = part.clone();
                    sources.push(Source::Writes(WriteWalk::of_table(
                        part, at, range, direction,
                    )));
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
        Ok(ViewCursor {
            sources,
            direction,
            begun: false,
            here: None,
        })
    }

    /// Goes to the next key; false behind the last. A delete counts too: who reads the whole state passes
    /// over it, who folds a part of the layers must keep it.
    ///
    /// Yields only where a page has to be read.
    ///
    /// # Errors
    /// As [`ViewCursor::open`].
    #[inline]
    pub async fn advance(&mut self) -> Result<bool> {
        if self.advance_in_memory().is_some() {
            return Ok(true);
        }
        // On the heap, so that what every step carries with it stays small.
        Box::pin(self.advance_far()).await
    }

    /// As [`ViewCursor::advance`] where that needs no page and is only a step, and then
    /// [`ViewCursor::presence`]: no I/O and no yielding. On `None` nothing has moved or the walk has ended, and
    /// `advance` goes on.
    #[inline]
    pub fn advance_in_memory(&mut self) -> Option<Presence> {
        let here = self.here?;
        if here.shared {
            return None;
        }
        let source = self.sources.get_mut(here.newest)?;
        if !source.step_in_memory() {
            return None;
        }
        let is_first = match here.rival {
            None => source.key().is_some(),
            Some(rival) => self.comes_first(here.newest, rival),
        };
        if is_first {
            return Some(self.sources[here.newest].presence(false));
        }
        self.choose().then(|| self.presence())
    }

    /// As [`ViewCursor::advance`], passing over keys that are deleted. Reads no value.
    ///
    /// # Errors
    /// As [`ViewCursor::open`].
    #[inline]
    pub async fn advance_alive(&mut self) -> Result<bool> {
        while self.advance().await? {
            if self.presence() != Presence::Deleted {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether source `a` has a key that comes before that of source `b`.
    #[inline]
    fn comes_first(&self, a: usize, b: usize) -> bool {
        match (self.sources[a].key(), self.sources[b].key()) {
            (Some(a), Some(b)) => self.order(a, b) == Ordering::Less,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    #[inline]
    fn order(&self, a: &[u8], b: &[u8]) -> Ordering {
        match self.direction {
            WalkDirection::Forward => a.cmp(b),
            WalkDirection::Reverse => b.cmp(a),
        }
    }

    async fn advance_far(&mut self) -> Result<bool> {
        match self.here {
            None if self.begun => return Ok(false),
            None => self.begun = true,
            Some(here) => {
                // The newest last: the others are compared with it.
                for older in (here.newest + 1..self.sources.len()).rev() {
                    if here.shared && self.is_on(older, here.newest) {
                        self.sources[older].advance().await?;
                    }
                }
                self.sources[here.newest].advance().await?;
            }
        }
        Ok(self.choose())
    }

    fn is_on(&self, older: usize, newest: usize) -> bool {
        self.sources[older].key() == self.sources[newest].key()
    }

    /// Stands on the key that comes first of all sources'.
    fn choose(&mut self) -> bool {
        let mut here: Option<CursorAt> = None;
        for (i, source) in self.sources.iter().enumerate() {
            let Some(key) = source.key() else {
                continue;
            };
            let order = |other: usize| {
                let other = self.sources[other].key();
                other.map_or(Ordering::Less, |other| self.order(key, other))
            };
            match &mut here {
                None => {
                    here = Some(CursorAt {
                        newest: i,
                        shared: false,
                        rival: None,
                    });
                }
                Some(first) => match order(first.newest) {
                    Ordering::Less => {
                        *first = CursorAt {
                            newest: i,
                            shared: false,
                            rival: Some(first.newest),
                        }
                    }
                    Ordering::Equal => first.shared = true,
                    Ordering::Greater => {
                        if first
                            .rival
                            .is_none_or(|rival| order(rival) == Ordering::Less)
                        {
                            first.rival = Some(i);
                        }
                    }
                },
            }
        }
        if let Some(CursorAt { newest, rival, .. }) = here {
            debug_assert_ne!(rival, Some(newest), "a source is its own rival");
            debug_assert!(
                newest < self.sources.len(),
                "source {newest} of {}",
                self.sources.len()
            );
        }
        self.here = here;
        here.is_some()
    }

    /// The key here; empty before the first and behind the last.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let source = self.here.and_then(|here| self.sources.get(here.newest));
        source.and_then(Source::key).unwrap_or_default()
    }

    /// What there is under the key here. Reads no value: the newest write decides, since a merge onto a
    /// deleted key brings it back.
    #[inline]
    pub fn presence(&self) -> Presence {
        let Some(here) = self.here else {
            return Presence::Deleted;
        };
        self.sources[here.newest].presence(here.shared)
    }

    /// The value here, in place; empty but for [`Presence::InPlace`].
    #[inline]
    pub fn value_in_place(&self) -> &[u8] {
        let source = self.here.and_then(|here| self.sources.get(here.newest));
        source
            .and_then(Source::payload_in_place)
            .unwrap_or_default()
    }

    /// The one write that does what all layers do to the key here; a delete where the walk stands nowhere.
    ///
    /// # Errors
    /// As [`ViewCursor::open`].
    pub async fn op(&self) -> Result<Op> {
        let Some(here) = self.here else {
            return Ok(Op::Delete);
        };
        let newest = self.sources[here.newest].op().await?;
        if !here.shared || newest.hides_older() {
            return Ok(newest);
        }
        let mut ops = vec![newest];
        for older in here.newest + 1..self.sources.len() {
            if self.is_on(older, here.newest) {
                ops.push(self.sources[older].op().await?);
                if ops.last().is_some_and(Op::hides_older) {
                    break;
                }
            }
        }
        Ok(flatten(&ops).unwrap_or(Op::Delete))
    }

    /// The next key and what becomes of it; `None` at the end. As [`ViewCursor::advance`] and then
    /// [`ViewCursor::op`], the key copied.
    ///
    /// # Errors
    /// As [`ViewCursor::open`].
    pub async fn next(&mut self) -> Result<Option<(Bytes, Op)>> {
        if !self.advance().await? {
            return Ok(None);
        }
        let key = Bytes::copy_from_slice(self.key());
        Ok(Some((key, self.op().await?)))
    }
}

impl Source {
    #[inline]
    fn key(&self) -> Option<&[u8]> {
        match self {
            Source::Run(source) => source.key(),
            Source::Writes(source) => source.key(),
        }
    }

    /// What there is under the key if this is the newest source that has it, and the only one unless it is `shared`.
    #[inline]
    fn presence(&self, shared: bool) -> Presence {
        let (kind, at_hand) = match self {
            Source::Run(source) => source.cursor.seen(),
            Source::Writes(source) => (source.op().map(OpKind::from), true),
        };
        match kind {
            Some(OpKind::Put) if at_hand => Presence::InPlace,
            Some(OpKind::Merge) if at_hand && !shared => Presence::InPlace,
            Some(OpKind::Put | OpKind::Merge) => Presence::Elsewhere,
            Some(OpKind::Delete) | None => Presence::Deleted,
        }
    }

    #[inline]
    fn payload_in_place(&self) -> Option<&[u8]> {
        match self {
            Source::Run(source) => source.cursor.inline_payload(),
            Source::Writes(source) => source.op().map(Op::payload),
        }
    }

    async fn op(&self) -> Result<Op> {
        match self {
            Source::Run(source) => source.cursor.op().await,
            Source::Writes(source) => Ok(source.op().cloned().unwrap_or(Op::Delete)),
        }
    }

    /// Goes on where that needs no page; on false nothing has moved.
    #[inline]
    fn step_in_memory(&mut self) -> bool {
        match self {
            Source::Run(source) => source.step_in_leaf(),
            Source::Writes(source) => {
                source.advance();
                true
            }
        }
    }

    async fn advance(&mut self) -> Result<()> {
        match self {
            Source::Run(source) => source.advance().await,
            Source::Writes(source) => {
                source.advance();
                Ok(())
            }
        }
    }
}

/// A walk over a run, which ends where the range does.
struct RunSource {
    cursor: tree::Cursor,
    range: KeyRange,
    direction: WalkDirection,
    /// Whether all that is left of the leaf lies in the range: then no key of it has to be looked at.
    whole_leaf: bool,
    inside: bool,
}

impl RunSource {
    async fn open(
        run: Arc<tree::Run>,
        range: &KeyRange,
        direction: WalkDirection,
    ) -> Result<RunSource> {
        let mut cursor = tree::Cursor::new(run);
        match direction {
            WalkDirection::Forward => cursor.seek(&range.from).await?,
            WalkDirection::Reverse if range.to.is_empty() => cursor.last().await?,
            WalkDirection::Reverse => cursor.seek_back(&range.to, false).await?,
        };
        let mut source = RunSource {
            cursor,
            range: range.clone(),
            direction,
            whole_leaf: false,
            inside: false,
        };
        source.enter_leaf();
        Ok(source)
    }

    fn enter_leaf(&mut self) {
        let cursor = &self.cursor;
        self.whole_leaf = match self.direction {
            WalkDirection::Forward => {
                self.range.to.is_empty() || cursor.leaf_ends_before(&self.range.to)
            }
            WalkDirection::Reverse => cursor.leaf_begins_at_or_after(&self.range.from),
        };
        self.look();
    }

    #[inline]
    fn look(&mut self) {
        self.inside =
            self.cursor.is_valid() && (self.whole_leaf || self.range.contains(self.cursor.key()));
    }

    #[inline]
    fn key(&self) -> Option<&[u8]> {
        self.inside.then(|| self.cursor.key())
    }

    #[inline]
    fn step_in_leaf(&mut self) -> bool {
        let moved = match self.direction {
            WalkDirection::Forward => self.cursor.next_in_leaf(),
            WalkDirection::Reverse => self.cursor.prev_in_leaf(),
        };
        if moved && !self.whole_leaf {
            self.look();
        }
        moved
    }

    async fn advance(&mut self) -> Result<()> {
        if self.step_in_leaf() {
            return Ok(());
        }
        match self.direction {
            WalkDirection::Forward => self.cursor.next().await?,
            WalkDirection::Reverse => self.cursor.prev().await?,
        };
        self.enter_leaf();
        Ok(())
    }
}
