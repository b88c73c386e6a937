//! What a transaction writes: in memory, and beyond a bound in durable runs that nothing refers to yet.
//!
//! Newest first a key's writes lie in the map, in the open run, in the finished runs. A run that is
//! open takes keys in ascending order and no others, so what is written front to back, as the chunks
//! of a stream are, becomes one run however long it is, a few chunks of it in memory at a time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::place::StreamPlace;
use crate::base::checksum::checksum64;
use crate::base::writes::write_len;
use crate::base::{Error, Generation, ManifestId, Op, Position, Result, StoreId};
use crate::coord::{KeyRange, Writes};
use crate::fold::{Claim, InlineLimits, Layer, RunLayer, RunSink, combine, store_of};

/// Runs that a spill may write so that each holds one store; the stores after share the last run.
const SPILL_RUNS_MAX: usize = 16;
/// Runs of a transaction from which on streams no longer get runs of their own.
const STREAM_RUNS_MAX: usize = 64;

/// The writes of one transaction.
#[derive(Default)]
pub(super) struct OwnWrites {
    map: BTreeMap<Bytes, Op>,
    /// Bytes of `map`.
    len: usize,
    /// Finished runs, oldest first.
    runs: Vec<Arc<RunLayer>>,
    open: Option<OpenRun>,
    /// What keeps all of these from being collected until the commit refers to them.
    claims: Vec<Claim>,
    /// The generation under which the runs were written.
    under: Option<Generation>,
    /// Of the stores that are written to.
    limits: InlineLimits,
    /// Set while the open run is written. If that failed, or whoever awaited it went away, writes are
    /// lost, and the transaction with them.
    torn: bool,
}

/// A run that still takes keys.
struct OpenRun {
    sink: RunSink,
    /// What it is for: keys of another range begin another run, since a run counts as written from its
    /// first key to its last.
    range: KeyRange,
    last: Bytes,
}

impl OwnWrites {
    /// Bytes in memory, about.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_empty() && self.has_no_runs()
    }

    /// Whether all writes are in memory.
    pub(super) fn has_no_runs(&self) -> bool {
        self.runs.is_empty() && self.open.is_none()
    }

    /// The finished runs, oldest first.
    pub(super) fn runs(&self) -> &[Arc<RunLayer>] {
        &self.runs
    }

    /// Values of `store` lie in leaves up to so many bytes.
    pub(super) fn set_inline_limit(&mut self, store: StoreId, len_max: usize) {
        self.limits.set(store, len_max);
    }

    /// Lays `op` over whatever is there.
    pub(super) fn write(&mut self, full: Bytes, op: &Op) {
        match self.map.entry(full) {
            Entry::Vacant(entry) => {
                self.len += write_len(entry.key(), op);
                entry.insert(op.clone());
            }
            Entry::Occupied(mut entry) => {
                let combined = combine(entry.get(), op);
                self.len += write_len(entry.key(), &combined);
                self.len -= write_len(entry.key(), entry.get());
                entry.insert(combined);
            }
        }
    }

    /// Whether every write is where it belongs.
    ///
    /// # Errors
    /// [`Error::Invalid`] after writing a run failed.
    pub(super) fn check_whole(&self) -> Result<()> {
        if self.torn {
            let message = "a run of this transaction could not be written: begin again";
            return Err(Error::Invalid(message.to_owned()));
        }
        Ok(())
    }

    /// What has been done to a key, its writes in runs included.
    pub(super) async fn get(&mut self, context: &Reach<'_>, full: &Bytes) -> Result<Option<Op>> {
        self.check_whole()?;
        let mut ops: Vec<Op> = self.map.get(full).cloned().into_iter().collect();
        if ops.last().is_some_and(Op::hides_older) {
            return Ok(ops.pop());
        }
        if self.open.as_ref().is_some_and(|open| open.may_hold(full)) {
            self.finish_open(context).await?;
        }
        let hash = checksum64(full);
        for layer in self.runs.iter().rev() {
            if ops.last().is_some_and(Op::hides_older) {
                break;
            }
            ops.extend(layer.run.get(full, hash).await?);
        }
        Ok(ops
            .into_iter()
            .reduce(|newer, older| combine(&older, &newer)))
    }

    /// The writes in memory within `bounds`, in order.
    pub(super) fn in_memory(&self, bounds: &KeyRange) -> Vec<(Bytes, Op)> {
        let pairs = self.within(bounds);
        pairs.map(|(key, op)| (key.clone(), op.clone())).collect()
    }

    fn within(&self, bounds: &KeyRange) -> impl Iterator<Item = (&Bytes, &Op)> {
        let bounds = (!bounds.is_empty()).then_some(bounds);
        bounds.into_iter().flat_map(|bounds| {
            let from = Bound::Included(&bounds.from[..]);
            self.map.range::<[u8], _>((from, bounds.end_bound()))
        })
    }

    /// The runs as layers, newest first.
    pub(super) fn layers(&self) -> impl Iterator<Item = Layer> {
        let newest_first = self.runs.iter().rev();
        newest_first.map(|run| Layer::Run(Arc::clone(run)))
    }

    /// Moves the puts of `range` to the open run, begun if need be. Their keys are greater than any
    /// that went there before: others stay in memory.
    pub(super) async fn pour(&mut self, context: &Reach<'_>, range: &KeyRange) -> Result<()> {
        self.check_whole()?;
        if self.open.as_ref().is_some_and(|open| open.range != *range) {
            self.finish_open(context).await?;
        }
        if self.open.is_none() && self.runs.len() >= STREAM_RUNS_MAX {
            return Ok(());
        }
        let after = self.open.as_ref().map(|open| open.last.clone());
        let pairs = self.within(range).filter(|(key, op)| {
            matches!(op, Op::Put(_)) && after.as_ref().is_none_or(|after| *key > after)
        });
        let keys: Vec<Bytes> = pairs.map(|(key, _)| key.clone()).collect();
        for key in keys {
            let Some(op) = self.map.get(&key) else {
                continue;
            };
            let open = match &mut self.open {
                Some(open) => open,
                none => {
                    let sink =
                        begin(&mut self.under, &mut self.claims, &self.limits, context).await?;
                    let (range, last) = (range.clone(), key.clone());
                    none.insert(OpenRun { sink, range, last })
                }
            };
            self.torn = true;
            open.sink.add(&key, op).await?;
            self.torn = false;
            self.len -= write_len(&key, op);
            self.map.remove(&key);
            open.last = key;
        }
        Ok(())
    }

    /// Ends the open run: what went there can be read again.
    async fn finish_open(&mut self, context: &Reach<'_>) -> Result<()> {
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        self.torn = true;
        if let Some(reference) = open.sink.finish().await? {
            let folder = &context.context.folder;
            self.runs
                .push(folder.open_run(reference, context.at).await?);
        }
        self.torn = false;
        Ok(())
    }

    /// Moves everything to runs.
    pub(super) async fn spill(&mut self, context: &Reach<'_>) -> Result<()> {
        self.check_whole()?;
        self.finish_open(context).await?;
        if self.map.is_empty() {
            return Ok(());
        }
        let mut runs = Vec::new();
        let mut sink = begin(&mut self.under, &mut self.claims, &self.limits, context).await?;
        let mut part = None;
        for (key, op) in &self.map {
            // A run counts as written from its first key to its last: one run a store and a stream keeps
            // that from reaching over what lies in between, with which it would conflict for nothing.
            let own_streams = self.runs.len() + runs.len() < STREAM_RUNS_MAX;
            let next = (
                store_of(key),
                StreamPlace::range_of(key).filter(|_| own_streams),
            );
            let differs = part.as_ref().is_some_and(|part| *part != next);
            if differs && runs.len() < SPILL_RUNS_MAX {
                runs.extend(sink.finish().await?);
                sink = begin(&mut self.under, &mut self.claims, &self.limits, context).await?;
            }
            part = Some(next);
            sink.add(key, op).await?;
        }
        runs.extend(sink.finish().await?);
        let mut layers = Vec::with_capacity(runs.len());
        for reference in runs {
            let folder = &context.context.folder;
            layers.push(folder.open_run(reference, context.at).await?);
        }
        self.runs.extend(layers);
        self.map.clear();
        self.len = 0;
        Ok(())
    }

    /// What is to be held until the commit refers to the runs, or is known not to.
    pub(super) fn take_claims(&mut self) -> Vec<Claim> {
        std::mem::take(&mut self.claims)
    }

    /// As an intent carries them.
    pub(super) fn into_writes(self) -> Writes {
        match self.under {
            None => Writes::Small(self.map.into_iter().collect()),
            Some(generation) => Writes::Bulk {
                runs: self.runs.iter().map(|run| run.reference.clone()).collect(),
                generation,
            },
        }
    }
}

impl OpenRun {
    fn may_hold(&self, key: &Bytes) -> bool {
        self.range.from <= *key && *key <= self.last
    }
}

/// What writing and reading runs takes.
pub(super) struct Reach<'a> {
    /// The open database.
    pub(super) context: &'a Context,
    /// The state that the transaction reads.
    pub(super) at: Position,
}

async fn begin(
    under: &mut Option<Generation>,
    claims: &mut Vec<Claim>,
    limits: &InlineLimits,
    context: &Reach<'_>,
) -> Result<RunSink> {
    let (tag, generation) = tag(context.context).await?;
    if under.is_some_and(|under| under != generation) {
        let object = "runs of an earlier generation".to_owned();
        return Err(Error::SnapshotTooOld { object });
    }
    *under = Some(generation);
    let folder = &context.context.folder;
    let claim = folder.claim(tag);
    let sink = RunSink::claimed(folder, &claim, limits);
    claims.push(claim);
    Ok(sink)
}

/// The tag of a run that is written now: above every manifest there is, and above whatever has been
/// collected (S6). With the generation under which it is written.
async fn tag(context: &Context) -> Result<(ManifestId, Generation)> {
    let upkeep = context.upkeep.as_ref().ok_or(Error::ReadOnly)?;
    let folder = &context.folder;
    let known = context.view.load().manifest.id;
    let newest = match folder.newest_after(known).await? {
        Some(newest) if folder.shared => newest.id.max(known),
        _ => known,
    };
    let combiner = upkeep.committer().combiner().await;
    let tag = ManifestId(newest.max(combiner.collected()).0 + 1);
    Ok((tag, combiner.generation()))
}
