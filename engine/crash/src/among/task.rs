//! One task of a process: transaction after transaction, each told before others can see it and once its
//! outcome is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use eciton_engine::merge::States;
use eciton_engine::{Db, Error, Result, Settled, Snapshot, Transaction};

use super::cells::{
    self, ACCOUNTS, COUNTERS, LISTS, LISTS_NS, LONG_LEN, LONG_REGISTERS, OPENING_BALANCE, REGISTERS,
};
use super::journal::{Entry, Journal, Step, now_ns};
use super::worker::{Fault, Orders, failed};
use crate::dice::Dice;
use crate::plan::{Id, value};
use crate::stores::{self, Stores, key};

/// Failures in a row after which a task gives up.
const FAILURES_MAX: u32 = 20;
/// Periods back that lists are still appended to now and then.
const PERIODS_BACK: u64 = 4;
/// Milliseconds that a transaction now and then takes its time for.
const DAWDLE_MS: u64 = 40;

pub(super) struct Task {
    pub(super) db: Db,
    pub(super) stores: Stores,
    pub(super) journal: Arc<Journal>,
    pub(super) orders: Arc<Orders>,
    pub(super) dice: Dice,
    pub(super) ending: Arc<AtomicBool>,
    pub(super) number: u64,
    pub(super) count: u64,
}

impl Task {
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        while !self.ending.load(Ordering::Relaxed) {
            let done = match self.dice.below(200) {
                0 => self.db.collect().await.map(drop),
                1 => self.db.fold().await.map(drop),
                2 => self.db.compact().await.map(drop),
                3..23 => self.look_fresh().await,
                23..33 => self.look_back().await,
                _ => self.transact().await,
            };
            match done {
                Ok(()) => failures = 0,
                Err(error) => {
                    self.journal.say(&failed("a transaction", &error));
                    failures += 1;
                    if failures > FAILURES_MAX {
                        let what = format!("{failures} failures one after the other");
                        self.journal.say(&Entry::Bad(what));
                        return;
                    }
                }
            }
            let pace_ms = self.orders.pace_ms;
            let wait_ms = pace_ms / 2 + self.dice.below(pace_ms + 1);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    fn id(&mut self) -> u64 {
        self.count += 1;
        let (worker, life) = (self.orders.worker, self.orders.life);
        cells::id(worker, life, self.number, self.count)
    }

    fn begin(&self, id: u64, fresh: bool, from_ns: u64, steps: Vec<Step>) {
        self.journal.say(&Entry::Begin {
            id,
            fresh,
            from_ns,
            steps,
        });
    }

    fn done(&self, id: u64, position: u64) {
        self.journal.say(&Entry::Done {
            id,
            at_ns: now_ns(),
            position,
        });
    }

    /// A list of these seconds, or of those before.
    fn list(&self) -> u64 {
        let period = now_ns().saturating_sub(self.orders.begun_ns) / LISTS_NS;
        let back = match self.dice.once_in(8) {
            true => self.dice.below(PERIODS_BACK + 1).min(period),
            false => 0,
        };
        (period - back) * LISTS + self.dice.below(LISTS)
    }

    /// Different numbers of a range.
    fn some_of(&self, range: std::ops::Range<u64>, count: u64) -> Vec<u64> {
        let len = range.end - range.start;
        let first = self.dice.below(len);
        let step = 1 + self.dice.below(len / count.max(1));
        (0..count)
            .map(|at| range.start + (first + at * step) % len)
            .collect()
    }

    async fn transact(&mut self) -> Result<()> {
        let id = self.id();
        let from_ns = now_ns();
        let mut tx = self.db.begin();
        let (txid, read_at) = (tx.txid(), tx.position());
        let mut steps = Vec::new();
        tx.put(&self.stores.marks, &key(&[id])?, "")?;
        match self.dice.below(100) {
            0..34 => self.transfer(&mut tx, id, &mut steps).await?,
            34..66 => self.append(&mut tx, id, &mut steps).await?,
            66..80 => self.merge(&mut tx, &mut steps)?,
            80..95 => self.set(&mut tx, id, &mut steps).await?,
            _ => {
                for register in self.some_of(LONG_REGISTERS, 3) {
                    self.put_register(&mut tx, id, register, LONG_LEN, true)?;
                    steps.push(Step::Set(register));
                }
            }
        }
        if self.dice.once_in(10) {
            tokio::time::sleep(Duration::from_millis(self.dice.below(DAWDLE_MS))).await;
        }
        self.begin(id, true, from_ns, steps);
        let is_hasty = self.orders.fault == Some(Fault::Hasty);
        if is_hasty {
            self.done(id, 0);
        }
        let outcome = tx.commit().await;
        match outcome {
            _ if is_hasty => Ok(()),
            Ok(committed) => {
                self.done(id, committed.position.0);
                Ok(())
            }
            Err(Error::CommitUnknown { cause, .. }) => {
                self.journal.say(&Entry::Unknown(id, cause));
                match self.db.settle(txid, read_at).await {
                    Ok(Settled::Committed(position)) => {
                        self.done(id, position.0);
                        Ok(())
                    }
                    Ok(Settled::Cancelled) => self.refused(id, &Error::Cancelled { txid }),
                    Err(Error::TooOld { .. }) => Ok(()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => self.refused(id, &error),
        }
    }

    fn refused(&self, id: u64, error: &Error) -> Result<()> {
        let expected = matches!(
            error,
            Error::Conflict { .. } | Error::TooOld { .. } | Error::Cancelled { .. }
        );
        self.journal.say(&Entry::Refused {
            id,
            at_ns: now_ns(),
            conflict: expected,
            why: error.to_string(),
        });
        // Somebody collected the run of a transaction that took too long: begin again, as ever.
        match error {
            Error::SnapshotTooOld { .. } => Ok(()),
            _ if expected => Ok(()),
            other => Err(other.clone()),
        }
    }

    async fn transfer(&self, tx: &mut Transaction, id: u64, steps: &mut Vec<Step>) -> Result<()> {
        let from = self.dice.below(ACCOUNTS);
        let to = (from + 1 + self.dice.below(ACCOUNTS - 1)) % ACCOUNTS;
        let amount = i64::try_from(1 + self.dice.below(100)).unwrap_or(1);
        for (account, change) in [(from, -amount), (to, amount)] {
            let key = key(&[account])?;
            let bytes = tx.get(&self.stores.accounts, &key).await?;
            let (balance, writer) = cells::account(&bytes.unwrap_or_default())?;
            steps.push(Step::Get(account, Some(writer)));
            let after = cells::account_bytes(balance + change, id);
            tx.put(&self.stores.accounts, &key, after)?;
            steps.extend([Step::Set(account), Step::Pay(account, change)]);
        }
        Ok(())
    }

    /// Appends to a list after having read it, and others perhaps.
    async fn append(&self, tx: &mut Transaction, id: u64, steps: &mut Vec<Step>) -> Result<()> {
        let list = self.list();
        for _ in 0..self.dice.below(3) {
            let other = self.list();
            if other != list {
                let bytes = tx.get(&self.stores.lists, &key(&[other])?).await?;
                steps.push(Step::List(other, numbers(&bytes.unwrap_or_default())?));
            }
        }
        let key = key(&[list])?;
        let bytes = tx.get(&self.stores.lists, &key).await?.unwrap_or_default();
        steps.push(Step::List(list, numbers(&bytes)?));
        let mut bytes = bytes.to_vec();
        bytes.extend_from_slice(&id.to_le_bytes());
        tx.put(&self.stores.lists, &key, bytes)?;
        steps.push(Step::Append(list));
        Ok(())
    }

    fn merge(&self, tx: &mut Transaction, steps: &mut Vec<Step>) -> Result<()> {
        for counter in self.some_of(0..COUNTERS, 1 + self.dice.below(3)) {
            let amount = i64::try_from(self.dice.below(1000)).unwrap_or(0) - 500;
            let mut states = States::new(&self.stores.counters.schema().columns);
            states[0].add_rows(1);
            states[1].add_i64(amount);
            let operand = states.to_operand()?;
            tx.merge(&self.stores.counters, &key(&[counter])?, &operand)?;
            steps.push(Step::Add(counter, amount));
        }
        Ok(())
    }

    /// Sets registers, some of them blindly.
    async fn set(&self, tx: &mut Transaction, id: u64, steps: &mut Vec<Step>) -> Result<()> {
        for register in self.some_of(REGISTERS, 1 + self.dice.below(3)) {
            let blind = self.dice.once_in(2);
            if !blind {
                let bytes = tx.get(&self.stores.registers, &key(&[register])?).await?;
                let writer = bytes.map(|bytes| cells::register_writer(register, &bytes));
                steps.push(Step::Get(register, writer.transpose()?));
            }
            let len = 8 + usize::try_from(self.dice.below(100)).unwrap_or(0);
            self.put_register(tx, id, register, len, blind)?;
            steps.push(Step::Set(register));
        }
        Ok(())
    }

    fn put_register(
        &self,
        tx: &mut Transaction,
        id: u64,
        register: u64,
        len: usize,
        blind: bool,
    ) -> Result<()> {
        let (key, bytes) = (key(&[register])?, value(Id(id), register, len));
        match blind {
            true => tx.blind_put(&self.stores.registers, &key, bytes),
            false => tx.put(&self.stores.registers, &key, bytes),
        }
    }

    /// A read that must see whatever was acknowledged to anybody before it.
    async fn look_fresh(&mut self) -> Result<()> {
        let (id, from_ns) = (self.id(), now_ns());
        if self.orders.fault != Some(Fault::Stale) {
            self.db.refresh().await?;
        }
        self.look(id, true, from_ns).await
    }

    /// A read of whatever this process has seen.
    async fn look_back(&mut self) -> Result<()> {
        let (id, from_ns) = (self.id(), now_ns());
        self.look(id, false, from_ns).await
    }

    async fn look(&self, id: u64, fresh: bool, from_ns: u64) -> Result<()> {
        let snapshot = self.db.snapshot();
        let mut steps = Vec::new();
        for _ in 0..3 {
            let list = self.list();
            let bytes = snapshot.get(&self.stores.lists, &key(&[list])?).await?;
            steps.push(Step::List(list, numbers(&bytes.unwrap_or_default())?));
        }
        let mut registers = self.some_of(REGISTERS, 3);
        registers.extend(self.some_of(LONG_REGISTERS, 2));
        for register in registers {
            let key = key(&[register])?;
            let bytes = snapshot.get(&self.stores.registers, &key).await?;
            let writer = bytes.map(|bytes| cells::register_writer(register, &bytes));
            steps.push(Step::Get(register, writer.transpose()?));
        }
        let counter = key(&[self.dice.below(COUNTERS)])?;
        let record = snapshot.get(&self.stores.counters, &counter).await?;
        let number = stores::numbers(&counter)?.first().copied().unwrap_or(0);
        let (rows, sum) = match record {
            Some(record) => stores::counted(&counter, &record)?,
            None => (0, 0),
        };
        steps.push(Step::Count(number, rows, sum));
        if self.dice.once_in(3) {
            self.audit(&snapshot, &mut steps).await?;
        }
        self.begin(id, fresh, from_ns, steps);
        self.done(id, snapshot.position().0);
        Ok(())
    }

    /// Every state that can be seen has all the money.
    async fn audit(&self, snapshot: &Snapshot, steps: &mut Vec<Step>) -> Result<()> {
        let mut total = 0;
        for account in 0..ACCOUNTS {
            let bytes = snapshot
                .get(&self.stores.accounts, &key(&[account])?)
                .await?;
            let (balance, writer) = cells::account(&bytes.unwrap_or_default())?;
            total += balance;
            steps.push(Step::Get(account, Some(writer)));
        }
        let expected = OPENING_BALANCE * i64::try_from(ACCOUNTS).unwrap_or(0);
        if total != expected {
            let at = snapshot.position();
            let what = format!("in slot {at} the accounts hold {total} instead of {expected}");
            self.journal.say(&Entry::Bad(what));
        }
        Ok(())
    }
}

fn numbers(bytes: &[u8]) -> Result<Vec<u64>> {
    Ok(stores::list(bytes)?.into_iter().map(|Id(id)| id).collect())
}
