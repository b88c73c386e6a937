//! Hands an intent over and waits for its outcome, or combines for everyone who waits (S4, S8).

use std::sync::Arc;

use futures::FutureExt;
use tokio::sync::{Mutex, MutexGuard};

use super::chain::Chain;
use super::combiner::Combiner;
use super::draft::Draft;
use super::turns::Turns;
use super::window::TxOutcome;
use bytes::Bytes;

use crate::base::clock::Clock;
use crate::base::limits::{
    COMMIT_TRIES_MAX, RETRY_MS_MIN, SLOT_HEADER_ROOM_LEN, SLOT_LEN_MAX, SLOT_RECORDS_MAX,
};
use crate::base::{Error, Mutant, Position, Rare, Result, TxId};
use crate::coord::{Answer, Coordinator, Intent, Lease, NextStep, Origin, ReadSet, Writes};
use crate::fold::ViewCell;

/// Leaves nothing behind at the coordinator, however its submitter ends.
struct Submitted<'a> {
    coordinator: &'a dyn Coordinator,
    txid: TxId,
}

impl Drop for Submitted<'_> {
    fn drop(&mut self) {
        self.coordinator.forget(self.txid);
    }
}

/// What became of a transaction, for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It stands in this slot.
    Committed(Position),
    /// It stands in no slot and never will.
    Cancelled,
}

/// Answers whose intents were taken if the one who took them is dropped in the middle of the slot: they
/// are in nobody's queue any more, so nobody else would.
struct Taken<'a> {
    coordinator: &'a dyn Coordinator,
    txids: Vec<TxId>,
}

impl<'a> Taken<'a> {
    /// Those of `batch` that nobody but this process knows of: what others may combine too stays on
    /// offer.
    fn new(coordinator: &'a dyn Coordinator, batch: &[Arc<Intent>]) -> Taken<'a> {
        let alone = batch.iter().filter(|intent| intent.origin == Origin::Alone);
        Taken {
            coordinator,
            txids: alone.map(|intent| intent.txid).collect(),
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.txids.is_empty() {
            return;
        }
        let unknown = |txid| {
            let cause = "whoever wrote the slot went away".to_owned();
            (txid, Answer::Rejected(Error::CommitUnknown { txid, cause }))
        };
        let answers = self.txids.drain(..).map(unknown).collect();
        // A coordinator that cannot take them at once loses them, as it may lose any answer.
        self.coordinator.answer(answers).now_or_never();
    }
}

/// Others may commit it yet.
fn unknown(txid: TxId, error: &Error) -> Error {
    let cause = error.to_string();
    Error::CommitUnknown { txid, cause }
}

/// The way of every commit: publish, then be answered or combine.
pub struct Committer {
    coordinator: Arc<dyn Coordinator>,
    clock: Arc<dyn Clock>,
    view: Arc<ViewCell>,
    chain: Arc<Chain>,
    combiner: Mutex<Combiner>,
    turns: Turns,
}

impl Committer {
    /// A committer over the one combiner of this process.
    pub fn new(
        coordinator: Arc<dyn Coordinator>,
        clock: Arc<dyn Clock>,
        view: Arc<ViewCell>,
        combiner: Combiner,
    ) -> Committer {
        Committer {
            coordinator,
            clock,
            view,
            chain: combiner.chain(),
            combiner: Mutex::new(combiner),
            turns: Turns::default(),
        }
    }

    /// Commits a transaction; it is durable and visible to whoever begins afterwards.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::TooOld`], [`Error::SnapshotTooOld`], [`Error::Cancelled`]: nothing was
    /// written, run it again. [`Error::CommitUnknown`]: the medium failed in the middle; where others write
    /// too, [`Committer::settle`] finds out. What the storage refuses, and [`Error::Halted`] after that.
    pub async fn submit(&self, draft: Draft) -> Result<Position> {
        let mut intent = Arc::new(self.intent(draft)?);
        let txid = intent.txid;
        let _forgotten_in_the_end = Submitted {
            coordinator: &*self.coordinator,
            txid,
        };
        self.coordinator.publish(&intent).await;
        let mut failures = 0;
        loop {
            let token = match self.coordinator.turn(txid).await {
                NextStep::Settled(Answer::Committed(n)) => return self.see(n).await,
                NextStep::Settled(Answer::Rejected(error)) => return Err(error),
                NextStep::Combine(token) => token,
            };
            // The lock first: an intent that has been taken waits for nobody but the storage.
            let mut combiner = self.combiner.lock().await;
            let len_max = SLOT_LEN_MAX - SLOT_HEADER_ROOM_LEN;
            let batch = self.coordinator.take(SLOT_RECORDS_MAX, len_max).await;
            let mut taken = Taken::new(&*self.coordinator, &batch);
            let combined = combiner.combine(batch).await;
            taken.txids.clear();
            let is_open = !combined
                .answers
                .iter()
                .any(|(answered, _)| *answered == txid);
            self.coordinator.answer(combined.answers).await;
            // Another process may have committed it, and reading on have failed only after that.
            if let Some(outcome) = combiner.window().settled(txid).filter(|_| is_open) {
                Rare::OpenAndSettled.seen();
                return match outcome {
                    TxOutcome::Committed(n) => Ok(n),
                    TxOutcome::Cancelled(_) => Err(Error::Cancelled { txid }),
                };
            }
            // Nobody knows what stands in slots that were passed over without being read.
            let is_absent = intent.read_at >= combiner.window().seen_base();
            let is_unwritten = is_open && combined.unwritten && is_absent;
            if let Some(error) = combined.failure.as_ref().filter(|_| is_unwritten) {
                // No try changes what storage refuses. As long as nobody takes it from here meanwhile, nobody will.
                return Err(match self.coordinator.withdraw(txid) {
                    true => error.clone(),
                    false => unknown(txid, error),
                });
            }
            let raised = combiner.raise(&intent).filter(|_| is_open);
            drop(combiner);
            if let Some(raised) = raised.filter(|_| intent.origin == Origin::Own) {
                intent = Arc::new(raised);
                self.coordinator.publish(&intent).await;
            }
            drop(token);
            if let Some(error) = combined.failure.filter(|_| is_open) {
                failures += 1;
                self.pause(txid, failures, &error).await?;
            }
        }
    }

    /// Waits longer from failure to failure, and gives up in the end: others may commit it yet.
    async fn pause(&self, txid: TxId, failures: u32, error: &Error) -> Result<()> {
        let is_final = matches!(error, Error::Halted { .. } | Error::Corrupt { .. });
        if is_final || failures >= COMMIT_TRIES_MAX {
            return Err(unknown(txid, error));
        }
        self.clock.sleep_ms(RETRY_MS_MIN << failures).await;
        Ok(())
    }

    fn intent(&self, draft: Draft) -> Result<Intent> {
        let read_at = draft.read_at;
        // A position that is not remembered here cannot be validated here either.
        let read_hash = self.chain.hash(read_at);
        let origin = self.coordinator.origin();
        if read_hash.is_none() && origin != Origin::Alone {
            let oldest = read_at.next();
            return Err(Error::TooOld { read_at, oldest });
        }
        Ok(Intent {
            txid: draft.txid,
            read_at,
            read_hash: read_hash.unwrap_or_default(),
            reads: draft.reads,
            len: draft.writes.len(),
            writes: draft.writes,
            origin,
        })
    }

    /// Another process may have written slot `n`: reads on, so that it is visible here too. Where reading
    /// fails it is durable all the same, and visible as soon as the log is read.
    async fn see(&self, n: Position) -> Result<Position> {
        let is_seen = || self.view.snapshot().1 >= n;
        if is_seen() {
            return Ok(n);
        }
        let mut combiner = self.combiner.lock().await;
        // The first of those who were answered together has read on for all of them.
        if !is_seen()
            && let Err(error) = combiner.reach(n).await
        {
            tracing::warn!(%error, "slot {n} is committed and could not be read yet");
        }
        Ok(n)
    }

    /// Finds out what became of a transaction whose outcome is unknown, and makes sure that it stays so:
    /// where it stands in no slot, a cancel is committed. `absent_through` is a position through which it
    /// is known to stand in no slot: the state that it read.
    ///
    /// # Errors
    /// [`Error::TooOld`]: nobody can tell any more. Else as [`Committer::submit`].
    pub async fn settle(
        &self,
        cancel: TxId,
        target: TxId,
        absent_through: Position,
    ) -> Result<Settled> {
        let draft = Draft {
            txid: cancel,
            read_at: absent_through,
            reads: ReadSet::default(),
            writes: Writes::Cancel(target),
        };
        let cancelled = self.submit(draft).await;
        let combiner = self.combiner.lock().await;
        match (combiner.window().settled(target), cancelled) {
            (Some(TxOutcome::Committed(n)), _) => Ok(Settled::Committed(n)),
            (Some(TxOutcome::Cancelled(_)), _) => Ok(Settled::Cancelled),
            (None, Ok(_)) if Mutant::CancelIgnored.on() => Ok(Settled::Cancelled),
            (None, Ok(n)) => {
                let cause = format!("slot {n}, which settles it, could not be read yet");
                Err(Error::CommitUnknown {
                    txid: target,
                    cause,
                })
            }
            (None, Err(error)) => Err(error),
        }
    }

    /// Reads whatever other processes have committed: what had committed when this was called is visible
    /// when it returns (S9).
    ///
    /// # Errors
    /// As [`Combiner::follow`].
    pub async fn refresh(&self) -> Result<()> {
        if Mutant::LinearNoProbe.on() {
            return Ok(());
        }
        self.combiner.lock().await.follow().await
    }

    /// Reads what other processes have committed as far as the bus has it; see [`Combiner::catch_up`].
    ///
    /// # Errors
    /// As [`Combiner::follow`].
    pub async fn catch_up(&self) -> Result<()> {
        self.combiner.lock().await.catch_up().await
    }

    /// Claims a piece of work for `ms` milliseconds, so that others leave it alone meanwhile. It saves work
    /// and proves nothing.
    pub async fn lease(&self, name: &str, ms: u64) -> Option<Box<dyn Lease>> {
        self.coordinator.lease(name, ms).await
    }

    /// Lets go of what was claimed.
    pub async fn release(&self, name: &str) {
        self.coordinator.release(name).await;
    }

    /// Waits until what others are told is on its way, for a moment at most.
    pub async fn flush(&self) {
        self.coordinator.flush().await;
    }

    /// Shows a note to other processes; 0 milliseconds take it away.
    pub async fn announce(&self, id: &str, note: Bytes, ms: u64) {
        self.coordinator.announce(id, note, ms).await;
    }

    /// The notes that other processes, and this one, show.
    pub async fn announced(&self) -> Vec<(String, Bytes)> {
        self.coordinator.announced().await
    }

    /// Who waits for a turn.
    pub(super) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// Time.
    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    /// The combiner, for what is done between slots: freezing the tail, closing.
    pub async fn combiner(&self) -> MutexGuard<'_, Combiner> {
        self.combiner.lock().await
    }
}
