//! A read-write transaction: optimistic, strictly serializable.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::context::Context;
use super::scan::{Record, Scan, ScanRange};
use super::snapshot::Snapshot;
use super::store::Store;
use crate::base::checksum::checksum64;
use crate::base::limits::VALUE_LEN_MAX;
use crate::base::writes::write_len;
use crate::base::{
    Error, Generation, Key, ManifestId, Mutant, Op, Position, Result, RunRef, StoreId, TxId,
};
use crate::commit::{Draft, Upkeep};
use crate::coord::{KeyRange, ReadSet, Writes};
use crate::fold::{Layer, RunLayer, RunSink, View, combine, resolve, store_of};
use crate::merge::{self, Operand};

/// Runs that a spill may write so that each holds one store; the stores after share the last run.
const SPILL_RUNS_MAX: usize = 16;

/// A committed transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub txid: TxId,
    /// The slot it stands in; for a transaction that wrote nothing, the state it read.
    pub position: Position,
}

/// Reads one state, sees its own writes on top, and commits only if nothing that it read has changed
/// since. Dropping it writes nothing.
///
/// Optimistic concurrency control with backward validation (Kung, Robinson, TODS 1981), ranges
/// included, so that phantoms conflict too.
pub struct Transaction {
    txid: TxId,
    context: Arc<Context>,
    snapshot: Snapshot,
    read_keys: BTreeSet<Bytes>,
    read_ranges: Vec<KeyRange>,
    /// The store whose record was counted as read last.
    last_used: Option<StoreId>,
    writes: BTreeMap<Bytes, Op>,
    /// Bytes of `writes`.
    len: usize,
    /// Writes that have been moved to durable runs, oldest first.
    spilled: Vec<Arc<RunLayer>>,
    /// The generation under which those were written.
    spilled_under: Option<Generation>,
}

impl Transaction {
    /// Begins on the state of this moment.
    pub fn new(context: &Arc<Context>) -> Transaction {
        Transaction {
            txid: TxId(context.entropy.next_u128()),
            context: Arc::clone(context),
            snapshot: Snapshot::new(context),
            read_keys: BTreeSet::new(),
            read_ranges: Vec::new(),
            last_used: None,
            writes: BTreeMap::new(),
            len: 0,
            spilled: Vec::new(),
            spilled_under: None,
        }
    }

    /// Its name: what to ask about if its outcome stays unknown.
    pub fn txid(&self) -> TxId {
        self.txid
    }

    /// The state that it reads.
    pub fn position(&self) -> Position {
        self.snapshot.position()
    }

    /// The value under `key`, own writes included; for a merged store its states.
    ///
    /// # Errors
    /// [`Error::Limit`] for a key too long; [`Error::Corrupt`] naming what is damaged; what the
    /// storage refuses.
    pub async fn get(&mut self, store: &Store, key: &Key) -> Result<Option<Bytes>> {
        let full = store.full_key(key)?;
        self.uses(store);
        let own = self.own(&full).await?;
        if own.as_ref().is_some_and(Op::hides_older) {
            return Ok(resolve(own));
        }
        let below = self.snapshot.get_full(&full).await?;
        self.read_keys.insert(full);
        Ok(match (below, own) {
            (Some(value), Some(op)) => resolve(Some(combine(&Op::Put(value), &op))),
            (None, own) => resolve(own),
            (below, None) => below,
        })
    }

    /// The records of a range, own writes included, all in memory.
    ///
    /// What it counts as read ends at the last record returned when a limit cut it, else at the
    /// range's own bounds.
    ///
    /// # Errors
    /// As [`Transaction::get`].
    pub async fn scan(&mut self, store: &Store, range: &ScanRange) -> Result<Vec<Record>> {
        self.uses(store);
        let bounds = range.key_range(store);
        let view = self.with_spilled();
        let own = self.own_range(&bounds);
        let mut scan = Scan::new(view, self.position(), own, store, range);
        let mut records = Vec::new();
        while let Some(record) = scan.next().await? {
            records.push(record);
        }
        let cut = range
            .limit
            .is_some_and(|limit| records.len() as u64 >= limit);
        let last = records
            .last()
            .filter(|_| cut || Mutant::ShortRange.on())
            .map(|record| store.full_key(&record.key));
        self.read_ranges
            .push(read_part(bounds, last.transpose()?, range.reverse));
        Ok(records)
    }

    /// Sets the value of `key`. Also counts as reading the key: of two concurrent puts one conflicts.
    ///
    /// A store of whole records ([`merge::Latest`]) takes values too, each a JSON text: it replaces
    /// what is there, and any row that a job merges into it afterwards replaces it.
    ///
    /// # Errors
    /// [`Error::Limit`] for a key or value too long; [`Error::Invalid`] for any other merged store.
    pub fn put(&mut self, store: &Store, key: &Key, value: impl Into<Bytes>) -> Result<()> {
        let full = store.full_key(key)?;
        self.read_keys.insert(full);
        self.blind_put(store, key, value)
    }

    /// Sets the value of `key` whatever it is: never conflicts by itself, the later slot wins.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    pub fn blind_put(&mut self, store: &Store, key: &Key, value: impl Into<Bytes>) -> Result<()> {
        let mut value = value.into();
        if merge::Latest::is_only(&store.schema().columns) {
            let record = merge::Latest::new(merge::Ordinal::ZERO, value.to_vec());
            value = record.into_operand()?.into_bytes();
        } else if store.is_merged() {
            let message = format!(
                "store `{}` holds merged values: merge into it",
                store.name()
            );
            return Err(Error::Invalid(message));
        }
        self.write(store, key, Op::Put(value))
    }

    /// Deletes `key`. Also counts as reading the key.
    ///
    /// # Errors
    /// [`Error::Limit`] for a key too long.
    pub fn delete(&mut self, store: &Store, key: &Key) -> Result<()> {
        let full = store.full_key(key)?;
        self.read_keys.insert(full);
        self.write(store, key, Op::Delete)
    }

    /// Merges `operand` into `key`. Commutes with other merges, so it conflicts with none of them.
    ///
    /// # Errors
    /// [`Error::Limit`] for a key or operand too long; [`Error::Invalid`] if the operand's columns are
    /// not the store's.
    pub fn merge(&mut self, store: &Store, key: &Key, operand: &Operand) -> Result<()> {
        merge::check(&store.schema().columns, operand)?;
        self.write(store, key, Op::Merge(operand.clone().into_bytes()))
    }

    fn write(&mut self, store: &Store, key: &Key, op: Op) -> Result<()> {
        if self.context.upkeep.is_none() {
            return Err(Error::ReadOnly);
        }
        let len = op.payload().len();
        if len > VALUE_LEN_MAX {
            let (got, max) = (len as u64, VALUE_LEN_MAX as u64);
            return Err(Error::Limit {
                what: "value length in bytes",
                got,
                max,
            });
        }
        let full = store.full_key(key)?;
        self.uses(store);
        match self.writes.entry(full) {
            Entry::Vacant(entry) => {
                self.len += write_len(entry.key(), &op);
                entry.insert(op);
            }
            Entry::Occupied(mut entry) => {
                let combined = combine(entry.get(), &op);
                self.len += write_len(entry.key(), &combined);
                self.len -= write_len(entry.key(), entry.get());
                entry.insert(combined);
            }
        }
        Ok(())
    }

    /// Whoever uses a store reads its record in the catalog: dropping it conflicts.
    fn uses(&mut self, store: &Store) {
        if self.last_used == Some(store.id()) {
            return;
        }
        self.last_used = Some(store.id());
        self.read_keys.insert(store.catalog_key().clone());
    }

    /// What this transaction itself does to a key, its writes in runs included.
    async fn own(&self, full: &Bytes) -> Result<Option<Op>> {
        let mut ops: Vec<Op> = self.writes.get(full).cloned().into_iter().collect();
        let hash = checksum64(full);
        for layer in self.spilled.iter().rev() {
            if ops.last().is_some_and(Op::hides_older) {
                break;
            }
            ops.extend(layer.run.get(full, hash).await?);
        }
        Ok(ops
            .into_iter()
            .reduce(|newer, older| combine(&older, &newer)))
    }

    fn own_range(&self, bounds: &KeyRange) -> Vec<(Bytes, Op)> {
        if bounds.is_empty() {
            return Vec::new();
        }
        let range = self.writes.range::<[u8], _>((
            std::ops::Bound::Included(&bounds.from[..]),
            bounds.end_bound(),
        ));
        range.map(|(key, op)| (key.clone(), op.clone())).collect()
    }

    fn with_spilled(&self) -> Arc<View> {
        let view = self.snapshot.view();
        if self.spilled.is_empty() {
            return Arc::clone(view);
        }
        let own = self
            .spilled
            .iter()
            .rev()
            .map(|run| Layer::Run(Arc::clone(run)));
        let layers = own.chain(view.layers.iter().cloned()).collect();
        Arc::new(View {
            layers,
            manifest: Arc::clone(&view.manifest),
        })
    }

    /// Moves buffered writes to a durable run if there are many, so that a transaction of any size
    /// takes bounded memory. Nothing becomes visible before the commit. Call it between writes.
    ///
    /// # Errors
    /// What the storage refuses; the transaction is as it was.
    pub async fn relieve(&mut self) -> Result<()> {
        if self.len >= self.context.folder.bounds.spill_len_min {
            self.spill().await
        } else {
            Ok(())
        }
    }

    async fn spill(&mut self) -> Result<()> {
        let (tag, generation) = self.spill_tag().await?;
        if self.spilled_under.is_some_and(|under| under != generation) {
            let object = "runs of an earlier generation".to_owned();
            return Err(Error::SnapshotTooOld { object });
        }
        self.spilled_under = Some(generation);
        let folder = &self.context.folder;
        // A run counts as written from its first key to its last: one run a store keeps that from
        // reaching over the stores in between, with which it would conflict for nothing.
        let mut runs = Vec::new();
        let mut sink = RunSink::new(folder, tag);
        let mut store = None;
        for (key, op) in &self.writes {
            if store.is_some() && store != store_of(key) && runs.len() < SPILL_RUNS_MAX {
                runs.extend(sink.finish().await?);
                sink = RunSink::new(folder, tag);
            }
            store = store_of(key);
            sink.add(key, op).await?;
        }
        runs.extend(sink.finish().await?);
        let mut layers = Vec::with_capacity(runs.len());
        for reference in runs {
            layers.push(folder.open_run(reference, self.position()).await?);
        }
        self.spilled.extend(layers);
        self.writes.clear();
        self.len = 0;
        Ok(())
    }

    /// The tag of a run that is written now: above every manifest there is, and above whatever has been
    /// collected (S6). With the generation under which it is written.
    async fn spill_tag(&self) -> Result<(ManifestId, Generation)> {
        let upkeep = self.context.upkeep.as_ref().ok_or(Error::ReadOnly)?;
        let folder = &self.context.folder;
        let known = self.context.view.load().manifest.id;
        let newest = match folder.newest_after(known).await? {
            Some(newest) if folder.shared => newest.id.max(known),
            _ => known,
        };
        let combiner = upkeep.committer().combiner().await;
        let tag = ManifestId(newest.max(combiner.collected()).0 + 1);
        Ok((tag, combiner.generation()))
    }

    /// Commits. When it returns `Ok`, everything is durable, and visible to whoever begins afterwards.
    /// A transaction that wrote nothing has read one consistent state and needs no slot.
    ///
    /// # Errors
    /// [`Error::Conflict`] and [`Error::TooOld`]: nothing was written; begin again.
    /// [`Error::CommitUnknown`]: the medium failed in the middle. [`Error::Storage`]: the medium
    /// refused, nothing was written. [`Error::Halted`]: an earlier failure ended writing.
    pub async fn commit(mut self) -> Result<Committed> {
        let txid = self.txid;
        if self.writes.is_empty() && self.spilled.is_empty() {
            return Ok(Committed {
                txid,
                position: self.position(),
            });
        }
        let context = Arc::clone(&self.context);
        let upkeep: &Arc<Upkeep> = context.upkeep.as_ref().ok_or(Error::ReadOnly)?;
        upkeep.admit().await?;
        let is_long = self.len > context.folder.bounds.bulk_len_min;
        if !self.writes.is_empty() && (is_long || !self.spilled.is_empty()) {
            self.spill().await?;
        }
        let late: Vec<_> = self.spilled.iter().map(|run| run.reference.id).collect();
        let position = upkeep.committer().submit(self.into_draft()).await?;
        if Mutant::RunLate.on() {
            for id in late {
                context.folder.settle_segment(id).await?;
            }
        }
        upkeep.after_commit();
        Ok(Committed { txid, position })
    }

    fn into_draft(self) -> Draft {
        let reads = ReadSet {
            keys: self.read_keys.into_iter().collect(),
            ranges: self.read_ranges,
        };
        let writes = match self.spilled_under {
            None => Writes::Small(self.writes.into_iter().collect()),
            Some(generation) => {
                let runs = self.spilled.iter();
                let runs: Vec<RunRef> = runs.map(|run| run.reference.clone()).collect();
                Writes::Bulk { runs, generation }
            }
        };
        Draft {
            txid: self.txid,
            read_at: self.snapshot.position(),
            reads,
            writes,
        }
    }
}

/// The part of `bounds` that a scan has read when it stopped after the record `last`.
fn read_part(mut bounds: KeyRange, last: Option<Bytes>, reverse: bool) -> KeyRange {
    match last {
        None => {}
        Some(last) if reverse => bounds.from = last,
        Some(last) => {
            // The first key after `last`: the range's end is excluded.
            let mut after = last.to_vec();
            after.push(0);
            bounds.to = after.into();
        }
    }
    bounds
}
