//! What writing runs and manifests takes, and the end of what is written.

use std::sync::Arc;

use parking_lot::Mutex;

use super::claims::{Claim, Claims};
use super::manifest::LogPlace;
use super::view::{RunLayer, View};
use crate::base::entropy::Entropy;
use crate::base::{
    Bounds, Error, Generation, ManifestId, PathId, Position, Rare, Result, RunRef, SegmentId,
};
use crate::log::{Body, Slot};
use crate::storage::{Name, Storage};
use crate::tree::{PageCache, Run, RunOptions};

/// Everything that writing a run takes.
#[derive(Clone)]
pub struct Folder {
    /// Where runs and manifests go.
    pub storage: Arc<dyn Storage>,
    /// Names segments.
    pub entropy: Arc<dyn Entropy>,
    /// Caches the pages of the runs it opens.
    pub cache: Arc<PageCache>,
    /// How runs are written.
    pub options: RunOptions,
    /// How many manifests stay, among other bounds.
    pub bounds: Bounds,
    /// Whether other processes fold too.
    pub shared: bool,
    /// Why no manifest can be published any more: one whose name may not be durable stands in the way.
    pub halted: Arc<Mutex<Option<String>>>,
    /// What is being written and not referred to yet.
    pub claims: Claims,
}

/// The end of what is folded: taken together with freezing the table, so that they agree.
#[derive(Clone)]
pub struct FoldPoint {
    /// The last slot of the frozen tables.
    pub at: Position,
    /// Its hash.
    pub hash: u128,
    /// The generation of the next slot.
    pub generation: Generation,
    /// The paths on which that generation stands; empty where the database has one path only.
    pub paths: Vec<PathId>,
    /// Where the next slot goes.
    pub place: Option<LogPlace>,
    /// The largest manifest that a collect record names.
    pub collected: ManifestId,
    /// The view as it was frozen.
    pub view: Arc<View>,
}

impl Folder {
    /// Claims a name for a segment that is about to be written; see [`Claims::claim`].
    pub fn claim(&self, tag: ManifestId) -> Claim {
        self.claims.claim(tag, self.entropy.next_u128())
    }

    /// # Errors
    /// [`Error::Halted`] where this process must not publish manifests any more.
    pub(super) fn may_publish(&self) -> Result<()> {
        match self.halted.lock().clone() {
            Some(cause) => Err(Error::Halted { cause }),
            None => Ok(()),
        }
    }

    /// Opens a run that a slot or a manifest refers to.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is not what the reference says, or missing; [`Error::SnapshotTooOld`]
    /// where it is missing and others may have collected it.
    pub async fn open_run(&self, reference: RunRef, at: Position) -> Result<Arc<RunLayer>> {
        let name = Name::segment(reference.id);
        let object = match self.storage.open(&name).await? {
            Some(object) => object,
            None if self.shared => {
                let object = name.to_string();
                return Err(Error::SnapshotTooOld { object });
            }
            None => return Err(missing(&name)),
        };
        if object.len() != reference.len {
            let detail = format!("it has {} bytes, not {}", object.len(), reference.len);
            return Err(Error::corrupt(&name, detail));
        }
        let run = Run::open(object, Arc::clone(&self.cache), name.to_string()).await?;
        Ok(Arc::new(RunLayer {
            reference,
            at,
            run: Arc::new(run),
        }))
    }

    /// Opens the runs that the records of a slot refer to.
    ///
    /// # Errors
    /// As [`Folder::open_run`].
    pub async fn open_runs_of(&self, slot: &Slot) -> Result<Vec<Arc<RunLayer>>> {
        let mut layers = Vec::new();
        for record in &slot.records {
            if let Body::Bulk(runs) = &record.body {
                for run in runs {
                    layers.push(self.open_run(run.clone(), slot.header.n).await?);
                }
            }
        }
        Ok(layers)
    }

    /// Makes the name of a segment durable, and sure that it is still there.
    ///
    /// # Errors
    /// What the storage refuses. [`Error::SnapshotTooOld`] where it is gone: it took so long that others
    /// have collected what is tagged like it, or storage has restarted and lost it.
    pub async fn settle_segment(&self, id: SegmentId) -> Result<()> {
        let name = Name::segment(id);
        let before = self.storage.stat(&name).await?;
        self.storage.sync_names(&name).await?;
        let after = self.storage.stat(&name).await?;
        if before.is_none() || before != after {
            Rare::SegmentVanished.seen();
            let object = name.to_string();
            return Err(Error::SnapshotTooOld { object });
        }
        Ok(())
    }
}

/// What is referred to and is not there is damage.
pub(super) fn missing(object: impl std::fmt::Display) -> Error {
    Error::corrupt(object, "it is referred to and it is missing")
}
