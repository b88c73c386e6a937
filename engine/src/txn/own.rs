//! What a transaction writes: in memory, and beyond a bound in durable runs that nothing refers to yet.
//!
//! Newest first a key's writes lie among the pending ones, in the map, in the open run, in the finished
//! runs. The map is for whoever reads what it has written; what nobody asks about stays pending until
//! it is committed. A run that is open takes keys in ascending order and no others, so what is written
//! front to back, as sorted loads and the chunks of a stream are, becomes one run however long it is, a
//! little of it in memory at a time.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::outgoing::{OpenRun, OutgoingRun, SPILL_RUNS_MAX, STREAM_RUNS_MAX, SpillWriter};
use super::pending::Pending;
use super::sorted::Written;
use crate::base::checksum::checksum64;
use crate::base::limits::POUR_LEN_MIN;
use crate::base::writes::write_len;
use crate::base::{Error, Generation, ManifestId, Op, Position, Result, StoreId};
use crate::coord::{KeyRange, Writes};
use crate::fold::{Claim, InlineLimits, Layer, RunLayer, RunSink, combine};

/// The writes of one transaction.
#[derive(Default)]
pub(super) struct OwnWrites {
    /// Newer than everything else.
    pending: Pending,
    map: BTreeMap<Bytes, Op>,
    /// Bytes of `map`.
    map_len: usize,
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

impl OwnWrites {
    /// Bytes in memory, about.
    pub(super) fn len(&self) -> usize {
        self.pending.len() + self.map_len
    }

    /// Whether nothing has been written.
    pub(super) fn is_empty(&self) -> bool {
        self.is_in_runs() && self.has_no_runs()
    }

    /// Whether no write is in memory.
    fn is_in_runs(&self) -> bool {
        self.pending.is_empty() && self.map.is_empty()
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

    /// Lays `op` over whatever is there under the key that is `prefix` and then `rest`: in the open run, if it
    /// ascends and nothing is newer than that.
    #[inline]
    pub(super) fn write(&mut self, prefix: &[u8], rest: &[u8], op: &Op) {
        if self.open.is_some() && self.try_write_open(prefix, rest, op) {
            return;
        }
        self.pending.push(prefix, rest, op);
    }

    fn try_write_open(&mut self, prefix: &[u8], rest: &[u8], op: &Op) -> bool {
        let is_newest = self.is_in_runs() && !self.torn;
        let open = self.open.as_mut().filter(|_| is_newest);
        open.is_some_and(|open| open.try_add(prefix, rest, op))
    }

    /// Whether the open run has something to be written.
    #[inline]
    pub(super) fn is_due(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.sink.is_due())
    }

    /// Writes what the open run has to be written.
    pub(super) async fn write_due(&mut self) -> Result<()> {
        self.check_whole()?;
        if let Some(open) = &mut self.open {
            self.torn = true;
            open.sink.write_due().await?;
            self.torn = false;
        }
        Ok(())
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

    /// Lays what is pending over the map.
    fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mut sorted = self.pending.sorted();
        while let Some(done) = sorted.next() {
            let op = done.op();
            match self.map.entry(Bytes::copy_from_slice(done.key())) {
                Entry::Vacant(entry) => {
                    self.map_len += write_len(entry.key(), &op);
                    entry.insert(op);
                }
                Entry::Occupied(mut entry) => {
                    let combined = combine(entry.get(), &op);
                    self.map_len += write_len(entry.key(), &combined);
                    self.map_len -= write_len(entry.key(), entry.get());
                    entry.insert(combined);
                }
            }
        }
        drop(sorted);
        self.pending.clear();
    }

    /// What has been done to a key, its writes in runs included.
    pub(super) async fn get(
        &mut self,
        context: &RunAccess<'_>,
        full: &Bytes,
    ) -> Result<Option<Op>> {
        self.check_whole()?;
        if self.is_empty() {
            return Ok(None);
        }
        self.settle();
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

    /// The writes in memory within `bounds`, in order; all others there are can be read from
    /// [`OwnWrites::layers`].
    pub(super) async fn in_memory(
        &mut self,
        context: &RunAccess<'_>,
        bounds: &KeyRange,
    ) -> Result<Vec<(Bytes, Op)>> {
        self.check_whole()?;
        self.settle();
        let reaches = |open: &OpenRun| bounds.overlaps(&open.first, open.last());
        if self.open.as_ref().is_some_and(reaches) {
            self.finish_open(context).await?;
        }
        let pairs = self.within(bounds);
        Ok(pairs.map(|(key, op)| (key.clone(), op.clone())).collect())
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
    pub(super) async fn pour(&mut self, context: &RunAccess<'_>, range: &KeyRange) -> Result<()> {
        self.check_whole()?;
        self.settle();
        let part = OutgoingRun::Range(range.clone());
        if self.open.as_ref().is_some_and(|open| open.part != part) {
            self.finish_open(context).await?;
        }
        if self.open.is_none() && self.runs.len() >= STREAM_RUNS_MAX {
            return Ok(());
        }
        let open = self.open.as_ref();
        let after = open.map(|open| Bytes::copy_from_slice(open.last()));
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
                    none.insert(OpenRun::new(sink, part.clone(), key.clone()))
                }
            };
            self.torn = true;
            open.sink.add(&key, op).await?;
            self.torn = false;
            self.map_len -= write_len(&key, op);
            self.map.remove(&key);
        }
        Ok(())
    }

    /// Whether all that is in memory can go to the open run, or to the first run there is: whoever writes
    /// in ascending order need not hold much.
    pub(super) fn can_pour(&self, len_min: usize) -> bool {
        let len_min = match &self.open {
            Some(_) => len_min.min(POUR_LEN_MIN),
            None => len_min,
        };
        self.pending.len() >= len_min && self.map.is_empty() && self.ascends()
    }

    fn ascends(&self) -> bool {
        let first = self.pending.first_key();
        let is_behind = match &self.open {
            Some(open) => first.is_some_and(|first| *first > *open.last()),
            None => self.runs.is_empty(),
        };
        self.pending.ascends() && is_behind
    }

    /// Moves everything in memory, which ascends, to the open run, begun if need be.
    pub(super) async fn pour_all(&mut self, context: &RunAccess<'_>) -> Result<()> {
        self.check_whole()?;
        let pending = std::mem::take(&mut self.pending);
        assert!(pending.ascends(), "writes in no order are poured");
        self.torn = true;
        for (_, Written { key, kind, payload }) in pending.walk() {
            let own_streams = self.runs.len() < STREAM_RUNS_MAX;
            let is_open = self.open.as_ref();
            let differs = is_open.is_some_and(|open| !open.part.is_of(key, own_streams));
            if differs && self.runs.len() < SPILL_RUNS_MAX {
                self.finish_open(context).await?;
                self.torn = true;
            }
            let open = match &mut self.open {
                Some(open) => open,
                none => {
                    let sink =
                        begin(&mut self.under, &mut self.claims, &self.limits, context).await?;
                    let first = Bytes::copy_from_slice(key);
                    none.insert(OpenRun::new(sink, OutgoingRun::of(key, own_streams), first))
                }
            };
            open.sink.add_entry(key, kind, payload).await?;
        }
        self.pending = pending;
        self.pending.clear();
        self.torn = false;
        Ok(())
    }

    /// Ends the open run: what went there can be read again.
    async fn finish_open(&mut self, context: &RunAccess<'_>) -> Result<()> {
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
    pub(super) async fn spill(&mut self, context: &RunAccess<'_>) -> Result<()> {
        self.check_whole()?;
        if self.open.is_some() && self.map.is_empty() && self.ascends() {
            self.pour_all(context).await?;
        }
        self.finish_open(context).await?;
        if self.is_in_runs() {
            return Ok(());
        }
        if !self.map.is_empty() {
            self.settle();
        }
        let first = begin(&mut self.under, &mut self.claims, &self.limits, context).await?;
        let mut writer = SpillWriter::new(first, self.runs.len());
        for (key, op) in &self.map {
            if writer.ends_before(key) {
                let next = begin(&mut self.under, &mut self.claims, &self.limits, context).await?;
                writer.begin(next).await?;
            }
            writer.sink.add(key, op).await?;
        }
        let mut sorted = self.pending.sorted();
        while let Some(done) = sorted.next() {
            if writer.ends_before(done.key()) {
                let next = begin(&mut self.under, &mut self.claims, &self.limits, context).await?;
                writer.begin(next).await?;
            }
            let (kind, payload) = done.parts();
            writer.sink.add_entry(done.key(), kind, payload).await?;
        }
        drop(sorted);
        let mut layers = Vec::new();
        for reference in writer.finish().await? {
            let folder = &context.context.folder;
            layers.push(folder.open_run(reference, context.at).await?);
        }
        self.runs.extend(layers);
        self.map.clear();
        self.map_len = 0;
        self.pending = Pending::default();
        Ok(())
    }

    /// Keeps one write of each key if more than `len_max` bytes of writes are of few keys.
    pub(super) fn squeeze_above(&mut self, len_max: usize) {
        self.pending.squeeze_above(len_max);
    }

    /// What is to be held until the commit refers to the runs, or is known not to.
    pub(super) fn take_claims(&mut self) -> Vec<Claim> {
        std::mem::take(&mut self.claims)
    }

    /// As an intent carries them.
    pub(super) fn into_writes(mut self) -> Writes {
        if let Some(generation) = self.under {
            return Writes::Bulk {
                runs: self.runs.iter().map(|run| run.reference.clone()).collect(),
                generation,
            };
        }
        if self.map.is_empty() {
            return Writes::Small(self.pending.into_writes());
        }
        self.settle();
        Writes::Small(self.map.into_iter().collect())
    }
}

/// What writing and reading runs takes.
pub(super) struct RunAccess<'a> {
    /// The open database.
    pub(super) context: &'a Context,
    /// The state that the transaction reads.
    pub(super) at: Position,
}

async fn begin(
    under: &mut Option<Generation>,
    claims: &mut Vec<Claim>,
    limits: &InlineLimits,
    context: &RunAccess<'_>,
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
