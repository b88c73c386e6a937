//! Gives space back: collects what nothing refers to any more, by itself after folds and on demand, and
//! compacts.

use std::sync::Arc;

use futures::channel::oneshot;

use super::draft::Draft;
use super::upkeep::{MERGER, MERGER_MS, Upkeep};
use crate::base::limits::COMPACT_TRIES_MAX;
use crate::base::{Error, ManifestId, Mutant, Position, Result, TxId};
use crate::coord::{ReadSet, Writes};
use crate::fold::{CollectOutcome, Compaction, FoldOutcome, FoldPoint, Keep, Scope};

/// How often a collect record is tried that reads a state too old to be validated.
const RECORD_TRIES_MAX: u32 = 10;

/// What compacting did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactOutcome {
    /// The run that was written, and what it replaces. Lost: other processes merged the same runs again and
    /// again, and what was written here was dropped.
    pub fold: FoldOutcome,
    /// What was deleted afterwards.
    pub collected: CollectOutcome,
}

impl Upkeep {
    /// Collects if folds have left enough; the caller holds the fold's turn. Among others the one who merges
    /// runs does it.
    pub(super) async fn collect_if_due(&self) {
        if !self.spent.is_due() {
            return;
        }
        let lease = if self.folder.shared {
            match self.committer.lease(MERGER, MERGER_MS).await {
                None => return,
                lease => lease,
            }
        } else {
            None
        };
        if let Err(error) = self.collect_locked(self.keep()).await {
            tracing::warn!(%error, "space was not given back; it is tried again after another fold");
        }
        drop(lease);
    }

    /// What stays for readers, and for transactions on their way.
    fn keep(&self) -> Keep {
        Keep {
            manifests: self.folder.bounds.manifests_min,
            window: self.folder.shared,
        }
    }

    /// Deletes what nothing refers to any more: unused segments, folded slots, old manifests. Snapshots
    /// that are open in this process stay readable; a reader elsewhere may get
    /// [`Error::SnapshotTooOld`] and begin again.
    ///
    /// # Errors
    /// As [`Committer::submit`](super::Committer::submit); what the storage refuses. Whatever still means
    /// something is there.
    pub async fn collect(&self) -> Result<CollectOutcome> {
        let _turn = self.folding.lock().await;
        self.collect_locked(self.keep()).await
    }

    async fn collect_locked(&self, keep: Keep) -> Result<CollectOutcome> {
        self.spent.reset();
        let known = self.view.load().manifest.id;
        if Mutant::CollectByClock.on() {
            let segments = self.folder.collect_by_clock(known).await?;
            return Ok(CollectOutcome {
                segments,
                ..CollectOutcome::default()
            });
        }
        if !self.folder.shared {
            let applied = self.view.snapshot().1;
            return self.folder.collect_alone(known, applied, keep).await;
        }
        // What goes below the floor here keeps its runs until the next collection: a process that was held up may be
        // about to read the slots that refer to them.
        let segments = self.collect_segments(known).await?;
        let applied = self.view.snapshot().1;
        let outcome = self.folder.raise_floor(applied, known, keep).await?;
        Ok(CollectOutcome {
            segments,
            ..outcome
        })
    }

    /// As [`Upkeep::collect_locked`] where others may write, and nothing that can go stays until the next time.
    async fn collect_at_once(&self, keep: Keep) -> Result<CollectOutcome> {
        self.spent.reset();
        let known = self.view.load().manifest.id;
        // The floor first: the runs of manifests that go below it are not needed any more. A medium that is full may
        // have no room for a floor, and room is what this is about.
        let applied = self.view.snapshot().1;
        let raised = self.folder.raise_floor(applied, known, keep).await;
        let segments = self.collect_segments(known).await?;
        Ok(CollectOutcome {
            segments,
            ..raised?
        })
    }

    /// Deletes segments that nothing refers to, once a record says so.
    async fn collect_segments(&self, known: ManifestId) -> Result<u64> {
        let Some(newest) = self.folder.collectable(known).await? else {
            return Ok(0);
        };
        let recorded = self.record_collect(newest).await?;
        self.folder.collect_segments(newest, recorded).await
    }

    /// Commits that segments tagged up to `manifest` are about to go (S12); where it stands, or how far it
    /// is known that nothing needs it.
    async fn record_collect(&self, manifest: ManifestId) -> Result<Position> {
        for _ in 1..RECORD_TRIES_MAX {
            match self.try_record_collect(manifest).await {
                // Others' slots went by faster than the window is long.
                Err(Error::TooOld { .. } | Error::Cancelled { .. }) => {}
                other => return other,
            }
        }
        self.try_record_collect(manifest).await
    }

    async fn try_record_collect(&self, manifest: ManifestId) -> Result<Position> {
        let read_at = self.view.snapshot().1;
        if Mutant::CollectNoRecord.on() {
            return Ok(read_at);
        }
        let draft = Draft {
            txid: TxId(self.entropy.next_u128()),
            read_at,
            reads: ReadSet::default(),
            writes: Writes::Collect(manifest),
        };
        self.committer.submit(draft).await
    }

    /// Folds everything that has been committed into one run, without whatever is deleted, replaced or
    /// dropped, and deletes what that leaves. Commits and reads go on all the time; what is committed
    /// meanwhile lies in runs of its own on top.
    ///
    /// # Errors
    /// What the storage refuses, and [`Error::Halted`] after that: the database is then as it was, or folded
    /// and not compacted.
    pub async fn compact(self: &Arc<Self>) -> Result<CompactOutcome> {
        let _one_at_a_time = self.compacting.lock().await;
        let mut outcome = CompactOutcome::default();
        for _ in 0..COMPACT_TRIES_MAX {
            let point = self.fold_for_compaction().await?;
            let compaction = self.spawn_compaction(point).await?;
            let _turn = self.folding.lock().await;
            if self.folder.shared {
                self.adopt_newest().await?;
            }
            let newest = Arc::clone(&self.view.load().manifest);
            let finished = self
                .folder
                .finish_compaction(&self.view, compaction, &newest);
            outcome.fold = finished.await?;
            if !outcome.fold.lost {
                break;
            }
        }
        let _turn = self.folding.lock().await;
        // One manifest stays after an explicit compaction, else what it replaced would stay with an older one.
        let keep = Keep {
            manifests: 1,
            ..self.keep()
        };
        outcome.collected = match self.folder.shared {
            true => self.collect_at_once(keep).await?,
            false => self.collect_locked(keep).await?,
        };
        if !self.folder.shared {
            self.folder.storage.prune().await?;
        }
        Ok(outcome)
    }

    /// Folds the tail, so that the log up to here can go, and says what is to be compacted.
    async fn fold_for_compaction(&self) -> Result<FoldPoint> {
        let _turn = self.folding.lock().await;
        if self.folder.shared {
            self.adopt_newest().await?;
        }
        let mut combiner = self.committer.combiner().await;
        let mut point = combiner.freeze_in_next_file(0).await?;
        drop(combiner);
        let fold = self.folder.fold(&self.view, &point, Scope::Tail);
        if fold.await?.lost {
            self.adopt_newest().await?;
        }
        point.view = self.view.load();
        Ok(point)
    }

    /// Writes the run where background work runs: it takes as long as the database is large.
    async fn spawn_compaction(self: &Arc<Self>, point: FoldPoint) -> Result<Compaction> {
        let (told, result) = oneshot::channel();
        let folder = self.folder.clone();
        // The lock of the database is held until this ends.
        let (running, upkeep) = (self.background.begin(), Arc::clone(self));
        self.spawner.spawn(Box::pin(async move {
            let compacted = folder.compact(point).await;
            drop(upkeep);
            // Whoever asked may have gone away.
            drop(told.send(compacted));
            drop(running);
        }));
        let gone = |_| Error::Halted {
            cause: "background work was dropped".to_owned(),
        };
        result.await.map_err(gone)?
    }
}
