//! A client of one process: transactions, reads, folding, collecting, and questions about what became of
//! others.

use std::sync::Arc;

use eciton_engine::base::{Error, Result};
use eciton_engine::db::{Db, ScanRange, Settled, Transaction};
use futures::future::{Either, select};
use parking_lot::Mutex;

use super::stores::{COUNTERS, LISTS, REGISTERS, Stores, key, operand};
use super::truth::{Cell, Scanned, Truth, Tx, Value, Write};
use crate::clock::sleep;
use crate::context::Shared;
use crate::executor::ProcessId;
use crate::history::{Freshness, Operation, Outcome, Recorder, TransactionId};
use crate::random::Random;

const LIST_COUNT: u64 = 5;
/// Of these, those that contending clients append to.
const CONTENDED_LIST_COUNT: u64 = 2;
/// How often a client tries a change.
const TRIES_MAX: u32 = 6;
const COUNTER_COUNT: u64 = 3;
/// Registers up to here are written and read, and part of the history; those after are deleted and
/// scanned, too.
const REGISTER_COUNT: u64 = 4;
const SCANNED: std::ops::Range<u64> = 100..110;
const BULKY: std::ops::Range<u64> = 200..220;
/// Bytes of one value of a bulky transaction.
const BULKY_LEN: usize = 300;

/// What a client works with.
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    pub(super) truth: Arc<Truth>,
    pub(super) recorder: Arc<Mutex<Recorder>>,
    pub(super) process: ProcessId,
    pub(super) db: Db,
    pub(super) stores: Stores,
    pub(super) random: Random,
    /// Whether look-ups may be stale: then nothing can be linearizable.
    pub(super) is_stale: bool,
    /// Whether it mostly folds and collects.
    pub(super) is_hot: bool,
    /// Whether it mostly changes what all others change, in turn with them.
    pub(super) is_contended: bool,
}

impl Client {
    /// Works for a while; the error that ended it.
    pub(super) async fn run(mut self) -> Option<Error> {
        for _ in 0..self.random.between(5, 60) {
            let drawn = self.random.below(if self.is_hot { 160 } else { 100 });
            let done = match drawn {
                0..=7 | 100..=129 => self.db.fold().await.map(drop),
                8..=12 | 130..=154 => self.db.collect().await.map(drop),
                13 | 14 | 155..=160 => self.db.compact().await.map(drop),
                15..=21 => self.linear().await,
                22..=26 => self.look().await,
                27..=32 => self.ask().await,
                _ if self.is_contended && self.random.percent(80) => self.change().await,
                _ => self.transact().await,
            };
            if let Err(error) = done {
                self.shared
                    .log(Some(self.process), format_args!("a client fails: {error}"));
                let goes_on = matches!(error, Error::Storage { .. } | Error::SnapshotTooOld { .. });
                if !goes_on || self.random.percent(30) {
                    return Some(error);
                }
            }
            if self.random.percent(25) {
                sleep(&self.shared.kernel, self.random.below(40)).await;
            }
        }
        None
    }

    /// A linearizable read: whatever anybody was told before must be there.
    async fn linear(&mut self) -> Result<()> {
        let told = self.truth.newest_told();
        let id = self.begin(Freshness::Fresh);
        self.db.refresh().await?;
        let snapshot = self.db.snapshot();
        if !self.is_stale {
            self.truth.linear(snapshot.position().0, told);
        }
        for list in 0..LIST_COUNT {
            let cell = (LISTS, list);
            let found = snapshot.get(self.stores.of(LISTS), &key(cell)?).await?;
            let values = found.as_deref().map_or_else(Vec::new, numbers);
            self.op(id, Operation::ReadList { list, values });
        }
        let outcome = if self.is_stale {
            Outcome::Aborted
        } else {
            Outcome::Committed
        };
        self.finish(id, outcome);
        Ok(())
    }

    /// A snapshot shows exactly the state of its position.
    async fn look(&mut self) -> Result<()> {
        let snapshot = self.db.snapshot();
        let seen = self.stores.contents(&snapshot).await?;
        let who = format!("{}, a snapshot", self.process);
        self.truth.compare(&who, snapshot.position().0, &seen);
        Ok(())
    }

    /// Finds out what became of somebody's transaction, and ends it if it is on its way.
    async fn ask(&mut self) -> Result<()> {
        let Some((txid, read_at)) = self.truth.any_open(self.random.next_u64()) else {
            return Ok(());
        };
        let read_at = eciton_engine::base::Position(read_at);
        match self.db.settle(txid, read_at).await {
            Ok(Settled::Committed(n)) => self.truth.ack(txid, n.0),
            Ok(Settled::Cancelled) => self.truth.abort(txid),
            Err(Error::TooOld { .. } | Error::CommitUnknown { .. } | Error::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn transact(&mut self) -> Result<()> {
        let mut transaction = self.db.begin();
        let txid = transaction.txid();
        let id = self.begin(Freshness::Fresh);
        let mut tx = Tx {
            read_at: transaction.position().0,
            after: self.truth.newest_told(),
            ..Tx::default()
        };
        for _ in 0..self.random.between(1, 3) {
            self.step(&mut transaction, &mut tx, id).await?;
        }
        if tx.writes.is_empty() || self.random.percent(3) {
            // Dropped: nothing of it may ever be seen. What it read was one state all the same.
            self.finish(id, Outcome::Aborted);
            return Ok(());
        }
        self.shared
            .log(Some(self.process), format_args!("{txid} commits: {tx:?}"));
        self.truth.send(txid, tx);
        let commit = Box::pin(transaction.commit());
        let committed = if self.random.percent(4) {
            let ms = self.random.below(60);
            match select(commit, Box::pin(sleep(&self.shared.kernel, ms))).await {
                Either::Left((committed, _)) => committed,
                // The client goes away; its transaction may or may not commit.
                Either::Right(_) => return Ok(()),
            }
        } else {
            commit.await
        };
        match committed {
            Ok(committed) => {
                self.truth.ack(txid, committed.position.0);
                self.finish(id, Outcome::Committed);
                Ok(())
            }
            Err(Error::CommitUnknown { .. }) => Ok(()),
            Err(error) => {
                self.shared.log(
                    Some(self.process),
                    format_args!("{txid} is refused: {error}"),
                );
                self.truth.abort(txid);
                self.finish(id, Outcome::Aborted);
                match error {
                    Error::Conflict { .. } | Error::TooOld { .. } | Error::Cancelled { .. } => {
                        Ok(())
                    }
                    other => Err(other),
                }
            }
        }
    }

    /// A change that is tried again, in turn with others, until it has committed or its client has had enough.
    async fn change(&mut self) -> Result<()> {
        let db = self.db.clone();
        let mut retry = db.retry();
        for _ in 0..TRIES_MAX {
            let mut transaction = retry.begin().await?;
            let txid = transaction.txid();
            let id = self.begin(Freshness::Fresh);
            let mut tx = Tx {
                read_at: transaction.position().0,
                is_in_turn: transaction.is_in_turn(),
                after: self.truth.newest_told(),
                ..Tx::default()
            };
            for _ in 0..self.random.between(1, 2) {
                self.step(&mut transaction, &mut tx, id).await?;
            }
            if self.random.percent(3) {
                self.finish(id, Outcome::Aborted);
                continue; // dropped: nothing of it may ever be seen
            }
            self.shared
                .log(Some(self.process), format_args!("{txid} commits: {tx:?}"));
            let is_read_only = tx.writes.is_empty();
            if is_read_only {
                self.recorder.lock().is_snapshot(id);
            } else {
                self.truth.send(txid, tx);
            }
            let committed = retry.commit(transaction).await;
            match committed {
                Ok(Some(committed)) => {
                    if !is_read_only {
                        self.truth.ack(txid, committed.position.0);
                    }
                    // Whatever it read has been committed, too.
                    self.finish(id, Outcome::Committed);
                    return Ok(());
                }
                Ok(None) => {
                    self.truth.abort(txid);
                    self.finish(id, Outcome::Aborted);
                }
                Err(Error::CommitUnknown { .. }) => return Ok(()),
                Err(error) => {
                    self.truth.abort(txid);
                    self.finish(id, Outcome::Aborted);
                    return match error {
                        Error::Conflict { .. } | Error::TooOld { .. } | Error::Cancelled { .. } => {
                            Ok(())
                        }
                        other => Err(other),
                    };
                }
            }
        }
        Ok(())
    }

    async fn step(
        &mut self,
        transaction: &mut Transaction,
        tx: &mut Tx,
        id: TransactionId,
    ) -> Result<()> {
        match self.random.below(if self.is_hot { 30 } else { 20 }) {
            0..=6 => self.append(transaction, tx, id).await,
            7..=9 => self.register(transaction, tx, id).await,
            10..=13 => self.count(transaction, tx).await,
            14..=17 => self.scan(transaction, tx).await,
            18 | 20.. => self.bulky(transaction, tx),
            _ => self
                .read(
                    transaction,
                    tx,
                    (COUNTERS, self.random.clone().below(COUNTER_COUNT)),
                )
                .await
                .map(drop),
        }
    }

    /// Reads a cell that this transaction has not written, and notes what it saw.
    async fn read(
        &mut self,
        transaction: &mut Transaction,
        tx: &mut Tx,
        cell: Cell,
    ) -> Result<Option<Value>> {
        let found = transaction.get(self.stores.of(cell.0), &key(cell)?).await?;
        let value = found.map(|bytes| Stores::value(cell, &bytes)).transpose()?;
        if !writes(tx, cell) && tx.is_in_turn {
            // Judged where it stands: what it saw may have no slot yet.
            tx.reads.push((cell, value.clone()));
        } else if !writes(tx, cell) {
            let there = self.truth.cell(tx.read_at, cell);
            if there != value {
                let details = format!(
                    "{} at {}: {cell:?} is {there:?}, read {value:?}",
                    self.process, tx.read_at
                );
                self.shared.violate("a read differs from the log", details);
            }
            tx.reads.push((cell, value.clone()));
        }
        Ok(value)
    }

    async fn append(
        &mut self,
        transaction: &mut Transaction,
        tx: &mut Tx,
        id: TransactionId,
    ) -> Result<()> {
        let list = self.random.below(self.list_count());
        let cell = (LISTS, list);
        if writes(tx, cell) {
            return Ok(());
        }
        let found = self.read(transaction, tx, cell).await?;
        let mut bytes = match found {
            Some(Value::Plain(bytes)) => bytes.to_vec(),
            _ => Vec::new(),
        };
        let values = numbers(&bytes);
        self.op(id, Operation::ReadList { list, values });
        if self.random.percent(20) {
            return Ok(());
        }
        let value = id.index() as u64 + 1;
        bytes.extend_from_slice(&value.to_le_bytes());
        transaction.put(self.stores.of(LISTS), &key(cell)?, bytes.clone())?;
        tx.writes.push(Write::Put(cell, Arc::new(bytes)));
        self.op(id, Operation::Append { list, value });
        Ok(())
    }

    async fn register(
        &mut self,
        transaction: &mut Transaction,
        tx: &mut Tx,
        id: TransactionId,
    ) -> Result<()> {
        let register = self.random.below(REGISTER_COUNT);
        let cell = (REGISTERS, register);
        if writes(tx, cell) {
            return Ok(());
        }
        if self.random.percent(60) {
            let value = match self.read(transaction, tx, cell).await? {
                Some(Value::Plain(bytes)) => numbers(&bytes).first().copied(),
                _ => None,
            };
            self.op(id, Operation::ReadRegister { register, value });
        }
        if self.random.percent(60) {
            let value = id.index() as u64 + 1;
            let bytes = value.to_le_bytes().to_vec();
            let (store, key) = (self.stores.of(REGISTERS), key(cell)?);
            if self.random.percent(50) {
                transaction.blind_put(store, &key, bytes.clone())?;
            } else {
                transaction.put(store, &key, bytes.clone())?;
            }
            tx.writes.push(Write::Put(cell, Arc::new(bytes)));
            self.op(id, Operation::Write { register, value });
        }
        Ok(())
    }

    async fn count(&mut self, transaction: &mut Transaction, tx: &mut Tx) -> Result<()> {
        let cell = (COUNTERS, self.random.below(COUNTER_COUNT));
        if self.random.percent(25) {
            self.read(transaction, tx, cell).await?;
        }
        if self.random.percent(5) {
            transaction.delete(self.stores.of(COUNTERS), &key(cell)?)?;
            tx.writes.push(Write::Delete(cell));
            return Ok(());
        }
        let amount = self.random.below(1_000).cast_signed() - 500;
        transaction.merge(self.stores.of(COUNTERS), &key(cell)?, &operand(amount)?)?;
        tx.writes.push(Write::Add(cell, amount));
        Ok(())
    }

    /// Scans some registers and changes one in or beside what it scanned.
    async fn scan(&mut self, transaction: &mut Transaction, tx: &mut Tx) -> Result<()> {
        let store = self.stores.of(REGISTERS).clone();
        let from = self.random.between(SCANNED.start, SCANNED.end - 1);
        let to = self.random.between(from, SCANNED.end);
        let is_clean = !(from..to).any(|number| writes(tx, (REGISTERS, number)));
        if is_clean && self.random.percent(70) {
            let limit = self.random.percent(40).then(|| self.random.between(1, 4));
            let reverse = self.random.percent(30);
            let range = ScanRange {
                from: Some(key((REGISTERS, from))?),
                to: Some(key((REGISTERS, to))?),
                limit,
                reverse,
                ..ScanRange::all()
            };
            let records = transaction.scan(&store, &range).await?;
            let mut found = Stores::cells(REGISTERS, &records)?;
            let is_cut = limit.is_some_and(|limit| found.len() as u64 >= limit);
            let (mut low, mut high) = (from, to);
            match found.last() {
                Some((cell, _)) if is_cut && reverse => low = cell.1,
                Some((cell, _)) if is_cut => high = cell.1 + 1,
                _ => {}
            }
            found.sort_by_key(|(cell, _)| *cell);
            let (from, to) = ((REGISTERS, low), (REGISTERS, high));
            tx.scans.push(Scanned { from, to, found });
        }
        let number = self.random.between(SCANNED.start, SCANNED.end - 1);
        let cell = (REGISTERS, number);
        if self.random.percent(35) {
            transaction.delete(&store, &key(cell)?)?;
            tx.writes.push(Write::Delete(cell));
        } else {
            let bytes = self.random.next_u64().to_le_bytes().to_vec();
            transaction.blind_put(&store, &key(cell)?, bytes.clone())?;
            tx.writes.push(Write::Put(cell, Arc::new(bytes)));
        }
        Ok(())
    }

    /// Writes so much that it travels as a run.
    fn bulky(&mut self, transaction: &mut Transaction, tx: &mut Tx) -> Result<()> {
        let first = self.random.between(BULKY.start, BULKY.end - 5);
        for number in first..first + 5 {
            let cell = (REGISTERS, number);
            let byte = u8::try_from(self.random.below(256)).unwrap_or(0);
            let bytes = vec![byte; BULKY_LEN];
            transaction.blind_put(self.stores.of(REGISTERS), &key(cell)?, bytes.clone())?;
            tx.writes.push(Write::Put(cell, Arc::new(bytes)));
        }
        Ok(())
    }

    fn list_count(&self) -> u64 {
        match self.is_contended {
            true => CONTENDED_LIST_COUNT,
            false => LIST_COUNT,
        }
    }

    fn begin(&self, freshness: Freshness) -> TransactionId {
        let process = u64::from(self.process.0);
        // Twice, so that what takes no time has a beginning before its end.
        let step = 2 * self.shared.kernel.steps();
        self.recorder.lock().begin(process, freshness, step)
    }

    fn op(&self, id: TransactionId, operation: Operation) {
        self.recorder.lock().op(id, operation);
    }

    fn finish(&self, id: TransactionId, outcome: Outcome) {
        let step = 2 * self.shared.kernel.steps() + 1;
        self.recorder.lock().finish(id, outcome, step);
    }
}

fn writes(tx: &Tx, cell: Cell) -> bool {
    tx.writes.iter().any(|write| match write {
        Write::Put(of, _) | Write::Delete(of) | Write::Add(of, _) => *of == cell,
    })
}

/// A value as numbers.
fn numbers(bytes: &[u8]) -> Vec<u64> {
    let chunks = bytes.chunks_exact(8);
    chunks
        .map(|chunk| {
            let mut array = [0u8; 8];
            array.copy_from_slice(chunk);
            u64::from_le_bytes(array)
        })
        .collect()
}
