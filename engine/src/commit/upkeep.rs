//! Keeps the tail of the log short: folds it in the background, and holds commits back when folding
//! cannot keep up, so that memory does not grow with what is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::submit::Committer;
use crate::base::clock::Clock;
use crate::base::spawn::Spawner;
use crate::base::{Error, Result, metric};
use crate::fold::{FoldOutcome, Folder, ViewCell};
use crate::storage::LockGuard;

/// Commits wait for folding once the tail is so many times longer than what starts a fold.
const TAIL_FACTOR_MAX: usize = 4;

/// Folding, on demand and in the background.
pub struct Upkeep {
    committer: Committer,
    view: Arc<ViewCell>,
    folder: Folder,
    spawner: Arc<dyn Spawner>,
    clock: Arc<dyn Clock>,
    /// The database's lock, here so that nobody else opens it while a fold still runs.
    _lock: Box<dyn LockGuard>,
    /// Bytes of tail that start a fold.
    fold_len_min: usize,
    /// Held while folding: one at a time.
    folding: AsyncMutex<()>,
    /// A background fold has been started and has not ended.
    started: AtomicBool,
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
        clock: Arc<dyn Clock>,
        fold_len_min: usize,
        lock: Box<dyn LockGuard>,
    ) -> Upkeep {
        Upkeep {
            committer,
            view,
            folder,
            spawner,
            clock,
            _lock: lock,
            fold_len_min,
            folding: AsyncMutex::new(()),
            started: AtomicBool::new(false),
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
        if self.view.load().tail_len() < self.fold_len_min.saturating_mul(TAIL_FACTOR_MAX) {
            return Ok(());
        }
        self.fold_locked().await.map(drop)
    }

    /// Starts a fold in the background if the tail is long enough.
    pub fn after_commit(self: &Arc<Self>) {
        if self.view.load().tail_len() < self.fold_len_min
            || self.started.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let upkeep = Arc::clone(self);
        self.spawner.spawn(Box::pin(async move {
            let result = upkeep.fold().await;
            if let Err(error) = &result {
                // Nobody waits for this fold; the next commit that must wait for one gets the error.
                tracing::warn!(%error, "folding failed; it is tried again with the next commit");
            }
            *upkeep.failure.lock() = result.err();
            upkeep.started.store(false, Ordering::Release);
        }));
    }

    /// Folds the whole tail.
    ///
    /// # Errors
    /// What the storage refuses; the database is then as it was.
    pub async fn fold(&self) -> Result<FoldOutcome> {
        let _turn = self.folding.lock().await;
        self.fold_locked().await
    }

    async fn fold_locked(&self) -> Result<FoldOutcome> {
        let start = self.clock.monotonic_ns();
        let point = self.committer.combiner().await.freeze();
        let outcome = self.folder.fold(&self.view, &point).await?;
        let ns = self.clock.monotonic_ns().saturating_sub(start);
        metric::count_fold(ns, self.view.load().tail_len());
        tracing::debug!(?outcome, "folded");
        Ok(outcome)
    }

    /// Waits for background folding to end, and ends writing in good order.
    ///
    /// # Errors
    /// What the storage refuses; every committed slot is durable all the same.
    pub async fn close(&self) -> Result<()> {
        let _turn = self.folding.lock().await;
        self.committer.combiner().await.close().await
    }

    /// Why the last background fold failed, if it did.
    pub fn failure(&self) -> Option<Error> {
        self.failure.lock().clone()
    }
}
