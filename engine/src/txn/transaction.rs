//! A read-write transaction: optimistic, strictly serializable.

use std::sync::Arc;

use bytes::Bytes;

use super::check::{Check, TxOptions, stores_stand};
use super::context::Context;
use super::own::{OwnWrites, RunAccess};
use super::reads::ReadKeys;
use super::scan::{Record, Scan, ScanRange};
use super::snapshot::Snapshot;
use super::store::Store;
use crate::base::budget::Share;
use crate::base::limits::{POUR_LEN_MIN, SPILL_SHARES, VALUE_LEN_MAX};
use crate::base::{Error, Key, Mutant, Op, Position, Result, StoreId, TxId};
use crate::commit::{Draft, Turn, TurnOutcome, Upkeep};
use crate::coord::{KeyRange, ReadSet};
use crate::fold::{View, combine, resolve};
use crate::merge::{self, Operand};

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
    check: Check,
    /// Of a transaction that checks nothing: the stores that it writes to, and heads of streams.
    read_keys: ReadKeys,
    /// Whether something is in there whose value alone does not tell whether it has changed.
    reads_heads: bool,
    read_ranges: Vec<KeyRange>,
    /// The store whose record was counted as read last.
    last_used: Option<StoreId>,
    own: OwnWrites,
    /// What it holds of the memory that all transactions share.
    share: Share,
    /// Set while a change of several writes is under way. If it failed, or whoever awaited it went away,
    /// a part of it would be committed.
    changing: bool,
    /// Its turn among those that write the same, if it has one.
    turn: Option<Turn>,
}

/// What became of a transaction that ran in turn, if it had one.
#[derive(Debug)]
pub enum Turned {
    /// It has committed.
    Committed(Committed),
    /// Another process was first, and nothing was written: it is to run again, in turn.
    Again(Error),
    /// It is too long for a slot that it shares, or took too long, and nothing was written: it is to run again, by
    /// itself.
    Unfit(Error),
}

impl Transaction {
    /// Begins on the state of this moment.
    ///
    /// Every promise below that names conflicts is one of [`Check::Reads`].
    pub fn new(context: &Arc<Context>, options: TxOptions) -> Transaction {
        Transaction {
            check: options.check,
            reads_heads: false,
            txid: TxId(context.entropy.next_u128()),
            context: Arc::clone(context),
            snapshot: Snapshot::new(context),
            read_keys: ReadKeys::default(),
            read_ranges: Vec::new(),
            last_used: None,
            own: OwnWrites::default(),
            share: context.pending.share(),
            changing: false,
            turn: None,
        }
    }

    /// Begins on what those before it in turn leave.
    pub(crate) fn in_turn(context: &Arc<Context>, turn: Turn) -> Transaction {
        Transaction {
            snapshot: Snapshot::of_turn(context, &turn),
            turn: Some(turn),
            ..Transaction::new(context, TxOptions::default())
        }
    }

    /// Its name: what to ask about if its outcome stays unknown.
    pub fn txid(&self) -> TxId {
        self.txid
    }

    /// The newest slot that it sees. One that runs in turn also sees what those before it write, which has no slot
    /// yet; see [`Db::retry`](crate::db::Db::retry).
    pub fn position(&self) -> Position {
        let at = self.snapshot.position();
        match self.turn {
            Some(_) => Position(at.0.saturating_sub(1)),
            None => at,
        }
    }

    /// Whether it runs in turn, and may read what is about to be committed.
    pub fn is_in_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// The value under `key`, own writes included; for a merged store its states.
    ///
    /// # Errors
    /// [`Error::Limit`] for a key too long; [`Error::Corrupt`] naming what is damaged; what the
    /// storage refuses.
    pub async fn get(&mut self, store: &Store, key: &Key) -> Result<Option<Bytes>> {
        let full = store.full_key(key)?;
        if self.check == Check::Reads {
            self.uses(store);
        }
        self.get_full(full, Tracked::Yes).await
    }

    /// The value under a whole key, own writes included.
    pub(crate) async fn get_full(
        &mut self,
        full: Bytes,
        tracked: Tracked,
    ) -> Result<Option<Bytes>> {
        let own = self
            .own
            .get(&reach(&self.context, &self.snapshot), &full)
            .await?;
        if own.as_ref().is_some_and(Op::hides_older) {
            return Ok(resolve(own));
        }
        let below = self.snapshot.get_full(&full).await?;
        match tracked {
            Tracked::Yes => self.reads(full),
            Tracked::Always => {
                self.reads_heads = true;
                self.read_keys.insert(full);
            }
            Tracked::No => {}
        }
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
        if self.check == Check::Reads {
            self.uses(store);
        }
        let bounds = range.key_range(store);
        let reach = reach(&self.context, &self.snapshot);
        let own = self.own.in_memory(&reach, &bounds).await?;
        let view = self.with_spilled();
        let mut scan = Scan::new(view, self.snapshot.position(), own, store, range);
        let mut records = Vec::new();
        while let Some(record) = scan.next().await? {
            records.push(record);
        }
        if self.check == Check::Nothing {
            return Ok(records);
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
        self.reads(full);
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
        self.reads(full);
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
        self.check_writable()?;
        Store::check_key(key)?;
        self.uses(store);
        self.write_parts(&store.id().0.to_be_bytes(), key.as_bytes(), &op)
    }

    /// Lays a write over a whole key.
    pub(crate) fn write_full(&mut self, full: Bytes, op: &Op) -> Result<()> {
        self.write_parts(&[], &full, op)
    }

    #[inline]
    fn write_parts(&mut self, prefix: &[u8], rest: &[u8], op: &Op) -> Result<()> {
        let len = op.payload().len();
        if len > VALUE_LEN_MAX {
            let (got, max) = (len as u64, VALUE_LEN_MAX as u64);
            return Err(Error::Limit {
                what: "value length in bytes",
                got,
                max,
            });
        }
        self.own.write(prefix, rest, op);
        Ok(())
    }

    /// Whether the database was opened for writing.
    pub(crate) fn check_writable(&self) -> Result<()> {
        let is_writable = self.context.upkeep.is_some();
        is_writable.then_some(()).ok_or(Error::ReadOnly)
    }

    fn reads(&mut self, full: Bytes) {
        if self.check == Check::Reads {
            self.read_keys.insert(full);
        }
    }

    /// Whoever uses a store reads its record in the catalog: dropping it conflicts.
    pub(crate) fn uses(&mut self, store: &Store) {
        if self.last_used == Some(store.id()) {
            return;
        }
        let limit = store.schema().value_inline_len_max;
        self.own.set_inline_limit(store.id(), limit);
        self.last_used = Some(store.id());
        self.read_keys.insert(store.catalog_key().clone());
    }

    /// Begins a change of several writes: until [`Transaction::end_change`] nothing can be committed.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Invalid`] where an earlier one did not come to its end.
    pub(crate) fn begin_change(&mut self) -> Result<()> {
        self.check_writable()?;
        self.check_whole()?;
        self.changing = true;
        Ok(())
    }

    /// The change is whole.
    pub(crate) fn end_change(&mut self) {
        self.changing = false;
    }

    /// Whether every change came to its end.
    ///
    /// # Errors
    /// [`Error::Invalid`] where one did not.
    pub(crate) fn check_whole(&self) -> Result<()> {
        if self.changing {
            let message = "a change in this transaction failed half-way: begin again";
            return Err(Error::Invalid(message.to_owned()));
        }
        self.own.check_whole()
    }

    fn with_spilled(&self) -> Arc<View> {
        let view = self.snapshot.view();
        if self.own.has_no_runs() {
            return Arc::clone(view);
        }
        let layers = self.own.layers().chain(view.layers.iter().cloned());
        Arc::new(View {
            layers: layers.collect(),
            manifest: Arc::clone(&view.manifest),
        })
    }

    /// Moves buffered writes to a durable run if there are many, so that a transaction of any size
    /// takes bounded memory. Nothing becomes visible before the commit. Call it between writes. What is
    /// written in ascending order of keys goes there early, and need not be sorted.
    ///
    /// # Errors
    /// What the storage refuses; the transaction is as it was, or, where its writes ascended, every later
    /// call is [`Error::Invalid`]: begin again.
    #[inline]
    pub async fn relieve(&mut self) -> Result<()> {
        if self.own.is_due() {
            return self.own.write_due().await;
        }
        let bounds = &self.context.folder.bounds;
        let len = self.own.len();
        if len
            < bounds
                .bulk_len_min
                .min(bounds.spill_len_min)
                .min(POUR_LEN_MIN)
        {
            // So little counts as nothing.
            self.share.set(0);
            return Ok(());
        }
        let (pour_min, spill_min) = (bounds.bulk_len_min, bounds.spill_len_min);
        if self.own.can_pour(pour_min) {
            let reach = reach(&self.context, &self.snapshot);
            self.own.pour_all(&reach).await?;
            self.share.set(self.own.len());
            return Ok(());
        }
        self.share.set(len);
        let many_hold_much = len >= spill_min / SPILL_SHARES && self.share.of_all() >= spill_min;
        if len >= spill_min || many_hold_much {
            let reach = reach(&self.context, &self.snapshot);
            self.own.spill(&reach).await?;
            self.share.set(self.own.len());
        }
        Ok(())
    }

    /// Moves the puts of `range` to a durable run that goes on as long as their keys ascend, once more
    /// than `len_max` bytes are buffered. A failure leaves the transaction in pieces: call it within a
    /// change.
    pub(crate) async fn pour(&mut self, range: &KeyRange, len_max: usize) -> Result<()> {
        if self.own.len() > len_max {
            let reach = reach(&self.context, &self.snapshot);
            self.own.pour(&reach, range).await?;
        }
        self.relieve().await
    }

    /// Commits. When it returns `Ok`, everything is durable, and visible to whoever begins afterwards.
    /// A transaction that wrote nothing has read one consistent state and needs no slot; if it ran in turn, what it
    /// read has been committed when this returns `Ok`.
    ///
    /// # Errors
    /// [`Error::Conflict`] and [`Error::TooOld`]: nothing was written; begin again. So it is with
    /// [`Error::SnapshotTooOld`]: others have collected a run that the transaction read or wrote.
    /// [`Error::CommitUnknown`]: the medium failed in the middle. [`Error::Storage`]: the medium
    /// refused, nothing was written. [`Error::Halted`]: an earlier failure ended writing.
    pub async fn commit(self) -> Result<Committed> {
        match self.commit_in_turn().await? {
            Turned::Committed(committed) => Ok(committed),
            Turned::Again(error) | Turned::Unfit(error) => Err(error),
        }
    }

    async fn commit_alone(mut self) -> Result<Committed> {
        let txid = self.txid;
        self.check_whole()?;
        if self.own.is_empty() {
            return Ok(Committed {
                txid,
                position: self.position(),
            });
        }
        let context = Arc::clone(&self.context);
        let upkeep: &Arc<Upkeep> = context.upkeep.as_ref().ok_or(Error::ReadOnly)?;
        upkeep.admit().await?;
        let bulk_len_min = context.folder.bounds.bulk_len_min;
        self.own.squeeze_above(bulk_len_min);
        let is_long = self.own.len() > bulk_len_min;
        if is_long || !self.own.has_no_runs() {
            self.own.spill(&reach(&context, &self.snapshot)).await?;
        }
        let read_at = match self.check {
            // What has no reads but stores is of any state in which they stand: of a newer one, so that
            // it is never too old.
            Check::Nothing if !self.reads_heads => {
                let now = Snapshot::new(&context);
                stores_stand(self.read_keys.iter(), &self.snapshot, &now).await?
            }
            Check::Nothing | Check::Reads => self.position(),
        };
        let late = self.own.runs().iter().map(|run| run.reference.id);
        let late: Vec<_> = late.collect();
        let claims = self.own.take_claims();
        let position = upkeep.committer().submit(self.into_draft(read_at)).await?;
        drop(claims);
        if Mutant::RunLate.on() {
            for id in late {
                context.folder.settle_segment(id).await?;
            }
        }
        upkeep.after_commit();
        Ok(Committed { txid, position })
    }

    /// As [`Transaction::commit`], with what is to be done where it ran in turn and nothing was written.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub(crate) async fn commit_in_turn(mut self) -> Result<Turned> {
        let Some(turn) = self.turn.take() else {
            return self.commit_alone().await.map(Turned::Committed);
        };
        let (txid, slot) = (self.txid, turn.slot());
        self.check_whole()?;
        let bulk_len_min = self.context.folder.bounds.bulk_len_min;
        self.own.squeeze_above(bulk_len_min);
        if self.own.len() > bulk_len_min || !self.own.has_no_runs() {
            let what = format!("slot {slot}, for which it is too long");
            let read_at = Position(slot.0.saturating_sub(1));
            return Ok(Turned::Unfit(Error::Conflict { what, read_at }));
        }
        let draft = match self.own.is_empty() {
            true => None,
            false => Some(self.into_draft(Position(slot.0.saturating_sub(1)))),
        };
        let outcome = turn.hand_over(draft).await;
        let is_late = matches!(outcome, TurnOutcome::Late);
        match outcome.into_result(slot) {
            Ok(position) => Ok(Turned::Committed(Committed { txid, position })),
            Err(error @ Error::Conflict { .. }) if is_late => Ok(Turned::Unfit(error)),
            Err(error @ Error::Conflict { .. }) => Ok(Turned::Again(error)),
            Err(error) => Err(error),
        }
    }

    fn into_draft(self, read_at: Position) -> Draft {
        let reads = ReadSet {
            keys: self.read_keys.into_sorted(),
            ranges: self.read_ranges,
        };
        Draft {
            txid: self.txid,
            read_at,
            reads,
            writes: self.own.into_writes(),
        }
    }
}

/// Whether a read is validated when the transaction commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tracked {
    /// In a transaction that checks its reads: it conflicts with whoever writes the key meanwhile.
    Yes,
    /// In any transaction.
    Always,
    /// Something else that is tracked changes whenever this does.
    No,
}

fn reach<'a>(context: &'a Context, snapshot: &Snapshot) -> RunAccess<'a> {
    RunAccess {
        context,
        at: snapshot.position(),
    }
}

/// The part of `bounds` that a scan has read when it stopped after the record `last`.
fn read_part(mut bounds: KeyRange, last: Option<Bytes>, reverse: bool) -> KeyRange {
    match last {
        None => {}
        Some(last) if reverse && !Mutant::ReverseShort.on() => bounds.from = last,
        Some(last) => {
            // The first key after `last`: the range's end is excluded.
            let mut after = last.to_vec();
            after.push(0);
            *(if reverse {
                &mut bounds.from
            } else {
                &mut bounds.to
            }) = after.into();
        }
    }
    bounds
}
