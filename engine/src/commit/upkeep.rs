//! Keeps the tail of the log short: folds it in the background, and holds commits back when folding
//! cannot keep up, so that memory does not grow with what is written. What folding leaves behind is
//! collected after it; see `space`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::background::Background;
use super::spent::Spent;
use super::submit::Committer;
use super::turns::{Ticket, Turn, TurnOrLead};
use crate::base::clock::Clock;
use crate::base::entropy::Entropy;
use crate::base::limits::{LOG_FILE_FOLDS, RELOADS_MAX, UNFOLDED_RUNS_MAX};
use crate::base::spawn::Spawner;
use crate::base::{Error, Position, Rare, Result, metric};
use crate::fold::{FoldOutcome, FoldPoint, Folder, Scope, ViewCell};
use crate::storage::LockGuard;

/// The claim of whoever folds the tail now.
const FOLDER: &str = "fold-tail";
/// How long others leave it to that process, in milliseconds.
const FOLDER_MS: u64 = 2000;
/// Whether somebody else has folded is looked at once the tail has grown by this part of what starts a fold.
const FOLD_LOOKS: u64 = 8;
/// The tail is overdue, whoever may have claimed to fold it, once it is so many percent of what starts a fold: a
/// number that each process draws between these, so that not all of them fold at once.
const OVERDUE_PERCENT: std::ops::Range<u64> = 150..190;
/// The claim of whoever merges runs now, and collects what that leaves.
pub(super) const MERGER: &str = "merge-runs";
/// How long others leave it to that process, in milliseconds.
pub(super) const MERGER_MS: u64 = 2000;
/// Commits wait for folding once the tail is so many times longer than what starts a fold: what is folded
/// now, and as much again meanwhile. Opening after a crash replays no more than that.
const TAIL_FACTOR_MAX: usize = 2;
/// How often whoever leads gives way so that others come before it goes on alone.
const GATHER_YIELDS: u32 = 3;

/// Folding, on demand and in the background.
pub struct Upkeep {
    pub(super) committer: Committer,
    pub(super) view: Arc<ViewCell>,
    pub(super) folder: Folder,
    pub(super) spawner: Arc<dyn Spawner>,
    clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// The database's lock, here so that nobody else opens it while a fold still runs.
    _lock: Box<dyn LockGuard>,
    /// Bytes of tail that start a fold.
    fold_len_min: usize,
    /// Of [`OVERDUE_PERCENT`].
    overdue_percent: u64,
    /// The tail at which it is looked again whether another process has folded it: slots of the log, and bytes.
    look_again: Mutex<(Position, u64)>,
    /// Held while folding: one at a time.
    pub(super) folding: AsyncMutex<()>,
    /// Held while compacting, which is long: folds go on meanwhile and leave the runs alone.
    pub(super) compacting: AsyncMutex<()>,
    /// What folds have left to collect.
    pub(super) spent: Spent,
    /// A background fold has been started and has not ended.
    started: AtomicBool,
    /// What runs in the background and keeps this alive, and with it the lock.
    pub(super) background: Background,
    /// Why the last fold failed; told to whoever has to wait for one.
    failure: Mutex<Option<Error>>,
}

impl Upkeep {
    /// Folds what `committer` appends once the tail has `fold_len_min` bytes.
    pub fn new(
        committer: Committer,
        view: Arc<ViewCell>,
        folder: Folder,
        spawner: Arc<dyn Spawner>,
        (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>),
        fold_len_min: usize,
        lock: Box<dyn LockGuard>,
    ) -> Upkeep {
        let range = OVERDUE_PERCENT.end - OVERDUE_PERCENT.start;
        let drawn = u64::try_from(entropy.next_u128() % u128::from(range)).unwrap_or(0);
        Upkeep {
            overdue_percent: OVERDUE_PERCENT.start + drawn,
            look_again: Mutex::default(),
            spent: Spent::new(&folder, fold_len_min),
            committer,
            view,
            folder,
            spawner,
            clock,
            entropy,
            _lock: lock,
            fold_len_min,
            folding: AsyncMutex::new(()),
            compacting: AsyncMutex::new(()),
            started: AtomicBool::new(false),
            background: Background::default(),
            failure: Mutex::new(None),
        }
    }

    /// The way to the log.
    pub fn committer(&self) -> &Committer {
        &self.committer
    }

    /// Waits until the tail has room for another commit.
    ///
    /// # Errors
    /// Why folding fails, while the tail is at its bound: nothing was written.
    pub async fn admit(self: &Arc<Self>) -> Result<()> {
        if self.view.load().tail_len() < self.fold_len_min.saturating_mul(TAIL_FACTOR_MAX) {
            return Ok(());
        }
        // Whoever gets here while a fold runs waits for it, and then finds the tail short.
        let _turn = self.folding.lock().await;
        if self.folder.shared {
            self.adopt_newest().await?;
        }
        if self.view.load().tail_len() < self.fold_len_min.saturating_mul(TAIL_FACTOR_MAX) {
            return Ok(());
        }
        self.fold_locked().await.map(drop)
    }

    /// A place among those that have lost against others.
    pub fn ticket(&self) -> Ticket {
        self.committer.turns().ticket()
    }

    /// A place for a change that has not been tried yet, where most that are tried lose.
    pub fn ticket_if_contended(&self) -> Option<Ticket> {
        let turns = self.committer.turns();
        turns.are_contended().then(|| turns.ticket())
    }

    /// Takes note of how a first try without a turn ended.
    pub fn tried(&self, has_lost: bool) {
        self.committer.turns().tried(has_lost);
    }

    /// Waits for the turn of whoever holds `ticket`, and leads others meanwhile where that falls to it. `None` where
    /// nobody else waits: it may as well try by itself.
    ///
    /// # Errors
    /// As [`Upkeep::admit`]; what the storage refuses.
    pub async fn turn(self: &Arc<Self>, ticket: &mut Ticket) -> Result<Option<Turn>> {
        let turns = self.committer.turns();
        loop {
            let lead = match turns.wait(ticket).await {
                TurnOrLead::Turn(turn) => return Ok(Some(turn)),
                TurnOrLead::Lead(lead) => lead,
            };
            // Those who have just been answered are about to wait again.
            for _ in 0..GATHER_YIELDS {
                if turns.has_waiting() {
                    break;
                }
                yield_once().await;
            }
            if !turns.has_waiting() {
                return Ok(None);
            }
            // What is led waits for nothing: a fold needs the combiner.
            self.admit().await?;
            self.committer.lead_turns().await?;
            ticket.led();
            drop(lead);
            self.after_commit();
        }
    }

    /// Whether the tail is long enough for a fold.
    fn is_due(&self) -> bool {
        self.is_beyond(100)
    }

    /// Whether the tail is longer than so many percent of what starts a fold.
    fn is_beyond(&self, percent: u64) -> bool {
        let view = self.view.load();
        let is_beyond =
            |tail: u64, min: u64| tail.saturating_mul(100) >= min.saturating_mul(percent);
        let many =
            self.folder.shared && is_beyond(view.tail_slots(), self.folder.bounds.fold_slots_max);
        many || is_beyond(view.tail_len() as u64, self.fold_len_min as u64)
            || is_beyond(view.tail_runs() as u64, UNFOLDED_RUNS_MAX as u64)
    }

    /// Whether it is time to look whether another process, which said that it folds, has done so.
    fn is_to_look(&self) -> bool {
        let view = self.view.load();
        let (slot, len) = *self.look_again.lock();
        view.active().applied() >= slot || view.tail_len() as u64 >= len
    }

    /// Leaves folding to another process until the tail has grown somewhat.
    fn look_later(&self) {
        let view = self.view.load();
        let slots = self.folder.bounds.fold_slots_max.div_ceil(FOLD_LOOKS);
        let len = (self.fold_len_min as u64).div_ceil(FOLD_LOOKS);
        *self.look_again.lock() = (
            Position(view.active().applied().0.saturating_add(slots)),
            view.tail_len() as u64 + len,
        );
    }

    /// Starts a fold in the background if the tail is long enough.
    pub fn after_commit(self: &Arc<Self>) {
        if !self.is_due() || !self.is_to_look() || self.started.swap(true, Ordering::AcqRel) {
            return;
        }
        let (running, upkeep) = (self.background.begin(), Arc::clone(self));
        self.spawner.spawn(Box::pin(async move {
            let result = upkeep.fold_if_due().await;
            if let Err(error) = &result {
                // Nobody waits for this fold; the next commit that must wait for one gets the error.
                tracing::warn!(%error, "folding failed; it is tried again with the next commit");
            }
            *upkeep.failure.lock() = result.err();
            upkeep.started.store(false, Ordering::Release);
            drop(upkeep);
            drop(running);
        }));
    }

    async fn fold_if_due(&self) -> Result<()> {
        let _turn = self.folding.lock().await;
        if self.folder.shared {
            self.adopt_newest().await?;
        }
        if !self.is_due() {
            return Ok(());
        }
        // One folds for all; a hint, so whoever finds the tail overdue does not rely on it.
        let lease = match self.folder.shared {
            true => self.committer.lease(FOLDER, FOLDER_MS).await,
            false => None,
        };
        if self.folder.shared && lease.is_none() && !self.is_beyond(self.overdue_percent) {
            self.look_later();
            return Ok(());
        }
        if self.folder.shared && lease.is_none() {
            Rare::FoldOverdue.seen();
        }
        self.fold_locked().await?;
        drop(lease);
        self.collect_if_due().await;
        Ok(())
    }

    /// Folds the whole tail; gives space back if it is time.
    ///
    /// # Errors
    /// What the storage refuses; the database is then as it was.
    pub async fn fold(&self) -> Result<FoldOutcome> {
        let _turn = self.folding.lock().await;
        if self.folder.shared {
            self.adopt_newest().await?;
        }
        let outcome = self.fold_locked().await?;
        self.collect_if_due().await;
        Ok(outcome)
    }

    async fn fold_locked(&self) -> Result<FoldOutcome> {
        let start = self.clock.monotonic_ns();
        let tail_len = self.view.load().tail_len() as u64;
        // A compaction that is under way needs the runs as they are.
        let is_compacting = self.compacting.try_lock().is_err();
        let outcome = if is_compacting {
            self.fold_scope(Scope::Tail).await?
        } else if self.folder.shared {
            let tail = self.fold_scope(Scope::Tail).await?;
            // Merging runs may take long: it is kept whatever others fold meanwhile, and one process at a
            // time is enough.
            let runs = match self.committer.lease(MERGER, MERGER_MS).await {
                Some(_lease) => self.fold_scope(Scope::Runs).await?,
                None => FoldOutcome::default(),
            };
            FoldOutcome {
                runs: tail.runs + runs.runs,
                len: tail.len + runs.len,
                replaced: tail.replaced + runs.replaced,
                ..tail
            }
        } else {
            self.fold_scope(Scope::All).await?
        };
        self.spent.add(tail_len + outcome.len + outcome.replaced);
        let ns = self.clock.monotonic_ns().saturating_sub(start);
        metric::count_fold(ns);
        tracing::debug!(?outcome, "folded");
        Ok(outcome)
    }

    pub(super) async fn fold_scope(&self, scope: Scope) -> Result<FoldOutcome> {
        let point = self.freeze().await;
        let outcome = match self.folder.fold(&self.view, &point, scope).await {
            // Others have folded past it and collected what it was about.
            Err(Error::SnapshotTooOld { .. }) => FoldOutcome {
                lost: true,
                ..FoldOutcome::default()
            },
            outcome => outcome?,
        };
        if outcome.lost {
            self.adopt_newest().await?;
        }
        Ok(outcome)
    }

    /// Freezes the tail. A log file that is long enough ends here, so that it can be collected.
    async fn freeze(&self) -> FoldPoint {
        let len_min = (self.fold_len_min as u64).saturating_mul(LOG_FILE_FOLDS);
        let mut combiner = self.committer.combiner().await;
        match combiner.freeze_in_next_file(len_min).await {
            Ok(point) => point,
            Err(error) => {
                tracing::warn!(%error, "the log goes on in the same file");
                combiner.freeze()
            }
        }
    }

    /// Takes over what other processes have folded, so that it need not be folded here.
    pub(super) async fn adopt_newest(&self) -> Result<()> {
        let mut result = Ok(());
        for _ in 0..RELOADS_MAX {
            let id = self.view.load().manifest.id;
            let Some(newest) = self.folder.newest_after(id).await? else {
                return Ok(());
            };
            result = self.folder.adopt(&self.view, newest, Vec::new()).await;
            // Collected between the manifest and its runs: there is a newer one.
            if !matches!(result, Err(Error::SnapshotTooOld { .. })) {
                return result;
            }
        }
        result
    }

    /// Makes visible whatever other processes have committed. Where nothing keeps a run that was collected, it
    /// also takes over what others have folded since, once they have said that they collect.
    ///
    /// # Errors
    /// As [`Committer::refresh`]; what the storage refuses.
    pub async fn refresh(&self) -> Result<()> {
        self.committer.refresh().await?;
        self.adopt_collected().await
    }

    /// As [`Upkeep::refresh`], as far as the bus has it; see [`Committer::catch_up`].
    ///
    /// # Errors
    /// As [`Upkeep::refresh`].
    pub async fn catch_up(&self) -> Result<()> {
        self.committer.catch_up().await?;
        self.adopt_collected().await
    }

    /// Where nothing keeps a run that was collected, what others have folded is taken over before it goes.
    async fn adopt_collected(&self) -> Result<()> {
        if self.folder.storage.capabilities().keeps_removed {
            return Ok(());
        }
        let collected = self.committer.combiner().await.collected();
        if collected <= self.view.load().manifest.id {
            return Ok(());
        }
        let _turn = self.folding.lock().await;
        self.adopt_newest().await
    }

    /// Waits for background folding to end, that has begun or is about to, and ends writing in good order.
    /// Afterwards nothing in the background keeps the lock.
    ///
    /// # Errors
    /// What the storage refuses; every committed slot is durable all the same.
    pub async fn close(&self) -> Result<()> {
        self.background.idle().await;
        let _turn = self.folding.lock().await;
        let closed = self.committer.combiner().await.close().await;
        // Others learn of the last commits from these, and that nobody combines here any more.
        self.committer.flush().await;
        closed
    }

    /// Why the last background fold failed, if it did.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }
}

/// Lets everything else that is ready run first.
async fn yield_once() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if has_yielded {
            return Poll::Ready(());
        }
        has_yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
