//! Publishing a manifest: exactly one process gives a number its content, and who loses keeps its work
//! only where nothing of it has been folded by the winner (S12 of the protocol).

use std::sync::Arc;

use super::folder::{FoldPoint, Folder};
use super::manifest::{Manifest, RunEntry};
use super::view::{Layer, MemtablePart, RunLayer, View, ViewCell};
use crate::base::{Error, ManifestId, Mutant, Position, Rare, Result, RunRef, SegmentId};
use crate::log::Floors;
use crate::log::once::{Owner, confirm, create_once};
use crate::storage::{Name, Operation};

/// How often a fold that loses tries the next number.
const PUBLISH_TRIES_MAX: u32 = 8;
/// Bytes that are copied at a time when a segment gets another name.
const COPY_LEN: usize = 1024 * 1024;

/// A run of the result.
pub(super) struct FoldPiece {
    /// The run; `None` if nothing is left of its inputs.
    pub(super) run: Option<Arc<RunLayer>>,
    /// The runs of the base that it replaces.
    pub(super) inputs: Vec<SegmentId>,
    /// Whether this fold has written it.
    pub(super) is_new: bool,
}

impl FoldPiece {
    /// A run that stays as it is.
    pub(super) fn kept(run: &Arc<RunLayer>) -> FoldPiece {
        FoldPiece {
            run: Some(Arc::clone(run)),
            inputs: vec![run.reference.id],
            is_new: false,
        }
    }
}

/// A fold whose runs are written, on its way to a manifest.
pub(super) struct Fold {
    /// The whole result, newest first.
    pub(super) pieces: Vec<FoldPiece>,
    /// The manifest that it is put on.
    pub(super) base: Manifest,
    /// The slot after which its part of the log begins.
    pub(super) from: Position,
    /// Where that part ends.
    pub(super) point: FoldPoint,
    /// Whether it folds any of the log.
    pub(super) folds_log: bool,
}

impl Fold {
    /// The runs that are open already.
    pub(super) fn runs(&self) -> Vec<Arc<RunLayer>> {
        self.pieces
            .iter()
            .filter_map(|piece| piece.run.clone())
            .collect()
    }

    /// Whether everything that was folded here is still unfolded in `winner`.
    fn survives(&self, winner: &Manifest) -> bool {
        let log_is_ours = !self.folds_log || winner.folded == self.from;
        let has = |id: &SegmentId| winner.runs.iter().any(|entry| entry.run.id == *id);
        let new = self.pieces.iter().filter(|piece| piece.is_new);
        log_is_ours && new.flat_map(|piece| &piece.inputs).all(has)
    }

    /// The manifest that puts this fold on its base; `None` if the base has no room for it.
    fn manifest(&self) -> Option<Manifest> {
        let mut runs = self.base.runs.clone();
        // What comes from the log alone lies over everything.
        let mut front = Vec::new();
        for piece in &self.pieces {
            let entry = piece.run.as_ref().map(|run| RunEntry {
                run: run.reference.clone(),
                at: run.at,
            });
            let touched: Vec<usize> = piece
                .inputs
                .iter()
                .filter_map(|id| runs.iter().position(|entry| entry.run.id == *id))
                .collect();
            match (touched.first(), touched.last()) {
                (Some(&first), Some(&last)) if piece.is_new => {
                    if last + 1 - first != touched.len() {
                        return None;
                    }
                    runs.splice(first..=last, entry);
                }
                (Some(_), Some(_)) => {}
                _ => {
                    // A run of the base that the winner has merged meanwhile is in the winner's.
                    let is_of_log = |run: &Arc<RunLayer>| run.at > self.from;
                    if piece.is_new || piece.run.as_ref().is_some_and(is_of_log) {
                        front.extend(entry);
                    }
                }
            }
        }
        front.extend(runs);
        // At the base's own position the point knows better where the next slot stands: the log may
        // have gone on in another file.
        let moves =
            self.point.at == self.base.folded || self.folds_log && self.point.at > self.base.folded;
        // Whoever lost against a fold of the same slots has nothing to put on its manifest.
        assert!(
            !self.folds_log || self.base.folded == self.from || Mutant::FoldTwice.on(),
            "slots after {} are folded onto a manifest that holds them up to {}",
            self.from,
            self.base.folded
        );
        let collected = self.point.collected.max(self.base.collected);
        Some(Manifest {
            id: ManifestId(self.base.id.0 + 1),
            folded: if moves {
                self.point.at
            } else {
                self.base.folded
            },
            hash: if moves {
                self.point.hash
            } else {
                self.base.hash
            },
            generation: if moves {
                self.point.generation
            } else {
                self.base.generation
            },
            paths: if moves {
                self.point.paths.clone()
            } else {
                self.base.paths.clone()
            },
            place: if moves {
                self.point.place
            } else {
                self.base.place
            },
            collected,
            runs: front,
        })
    }
}

impl Folder {
    /// Gives the next number to this fold's manifest; `None` if another process was first with the same
    /// work, or storage lost what it rests on.
    pub(super) async fn publish(&self, fold: &mut Fold) -> Result<Option<Manifest>> {
        for _ in 0..PUBLISH_TRIES_MAX {
            // Manifests have no gaps either: the one before must not vanish and come back later.
            if !Mutant::ManifestGap.on() && !self.confirm(&fold.base).await? {
                return Ok(None);
            }
            let Some(manifest) = fold.manifest() else {
                return Ok(None);
            };
            let name = Name::manifest(manifest.id);
            match create_once(&*self.storage, &name, &manifest.encode()).await? {
                Owner::Us => {
                    assert!(
                        manifest.folded >= fold.base.folded,
                        "{name} holds slots up to {}, the one before it up to {}",
                        manifest.folded,
                        fold.base.folded
                    );
                    let counts =
                        self.confirm(&manifest).await? && self.is_above_floor(&manifest).await?;
                    return Ok(counts.then_some(manifest));
                }
                Owner::Nobody => {
                    Rare::ManifestVanished.seen();
                    return Ok(None);
                }
                // Another process; or this one, which could not read it back.
                Owner::Others => {
                    let Some(winner) = self.manifest(manifest.id).await? else {
                        return Ok(None);
                    };
                    if winner.folded < fold.base.folded {
                        let detail = "it holds fewer slots than the manifest before it";
                        return Err(Error::corrupt(name, detail));
                    }
                    if !self.is_above_floor(&winner).await? {
                        return Ok(None);
                    }
                    if !self.rebase(fold, winner).await? {
                        return Ok(None);
                    }
                }
            }
        }
        Ok(None)
    }

    /// Puts a fold on a newer manifest; `false` if something that it folds is no longer unfolded there.
    pub(super) async fn rebase(&self, fold: &mut Fold, newer: Manifest) -> Result<bool> {
        if !fold.survives(&newer) && !Mutant::FoldTwice.on() {
            Rare::FoldLost.seen();
            return Ok(false);
        }
        Rare::FoldRebased.seen();
        fold.base = newer;
        // A collector that is this very process knows what it has claimed.
        if self.shared && !Mutant::NoRetag.on() {
            self.rename(fold).await?;
        }
        Ok(true)
    }

    /// Makes a manifest durable under its name and looks again; `false` if it is not there.
    ///
    /// # Errors
    /// What the storage refuses. A sync that failed ends folding by this process.
    pub async fn confirm(&self, manifest: &Manifest) -> Result<bool> {
        let name = Name::manifest(manifest.id);
        if Mutant::FoldVolatile.on() {
            return Ok(true);
        }
        let confirmed = confirm(&*self.storage, &name, &manifest.encode()).await;
        match confirmed {
            Err(error @ Error::Storage { op, .. })
                if op == Operation::SyncNames.as_str() && self.storage.mirror().is_none() =>
            {
                // A second sync might report success without the name being durable.
                Err(self.halt(&name, error))
            }
            other => other,
        }
    }

    /// S11: a manifest below the floor does not count.
    async fn is_above_floor(&self, manifest: &Manifest) -> Result<bool> {
        if !self.shared {
            return Ok(true);
        }
        let mut floors = Floors::find(Arc::clone(&self.storage)).await?;
        let is_above = manifest.id >= floors.probe().await?.1.manifest;
        if !is_above {
            Rare::ManifestBelowFloor.seen();
        }
        Ok(is_above || Mutant::ManifestBelowFloor.on())
    }

    fn halt(&self, name: &Name, error: Error) -> Error {
        Rare::FoldHalted.seen();
        *self.halted.lock() = Some(format!("publishing {name}: {error}"));
        error
    }

    /// Gives the runs of a fold new names, tagged for the manifest after its base: under their old tag a
    /// collector may already count them as unused.
    async fn rename(&self, fold: &mut Fold) -> Result<()> {
        let tag = fold.base.id.0 + 1;
        for piece in fold.pieces.iter_mut().filter(|piece| piece.is_new) {
            let Some(run) = &piece.run else { continue };
            let id = SegmentId {
                tag,
                unique: self.entropy.next_u128(),
            };
            self.copy(run.reference.id, id).await?;
            let reference = RunRef {
                id,
                ..run.reference.clone()
            };
            assert_eq!(
                reference.id.tag, tag,
                "run {} goes into manifest {tag}",
                reference.id
            );
            piece.run = Some(self.open_run(reference, run.at).await?);
        }
        Ok(())
    }

    async fn copy(&self, from: SegmentId, to: SegmentId) -> Result<()> {
        let name = Name::segment(from);
        let object = self.storage.open(&name).await?;
        let object = object.ok_or_else(|| Error::SnapshotTooOld {
            object: name.to_string(),
        })?;
        let mut writer = self.storage.writer(&Name::segment(to)).await?;
        let mut offset = 0;
        while offset < object.len() {
            let left = usize::try_from(object.len() - offset).unwrap_or(usize::MAX);
            let bytes = object.read_at(offset, left.min(COPY_LEN)).await?;
            assert!(
                !bytes.is_empty(),
                "{name} at byte {offset}: nothing is read"
            );
            writer.write(&bytes).await?;
            offset += bytes.len() as u64;
        }
        assert_eq!(offset, object.len(), "{name} is copied whole");
        writer.finish().await?;
        self.settle_segment(to).await
    }

    /// Puts the runs of `manifest` under what is newer than it. `open` are runs that are open already.
    ///
    /// Nothing happens where the view rests on this manifest or a newer one, or has not come so far.
    ///
    /// # Errors
    /// As [`Folder::open_run`]; the view is then what it was.
    pub async fn adopt(
        &self,
        cell: &ViewCell,
        manifest: Manifest,
        open: Vec<Arc<RunLayer>>,
    ) -> Result<()> {
        let view = cell.load();
        let open_now = view.layers.iter().filter_map(|layer| match layer {
            Layer::Run(run) => Some(Arc::clone(run)),
            Layer::Memtable(_) => None,
        });
        let open: Vec<Arc<RunLayer>> = open.into_iter().chain(open_now).collect();
        let mut runs = Vec::with_capacity(manifest.runs.len());
        for entry in &manifest.runs {
            let found = open.iter().find(|run| run.reference.id == entry.run.id);
            runs.push(match found {
                Some(run) => Arc::clone(run),
                None => self.open_run(entry.run.clone(), entry.at).await?,
            });
        }
        cell.update(|view| {
            let applied = view.active().applied();
            let is_older =
                view.manifest.id >= manifest.id || view.manifest.folded > manifest.folded;
            if is_older || applied < manifest.folded {
                Rare::ManifestNotAdopted.seen();
                return view.clone();
            }
            let mut layers: Vec<Layer> = Vec::with_capacity(runs.len() + 2);
            for (index, layer) in view.layers.iter().enumerate() {
                layers.extend(match layer {
                    // The active table grows: it stays whatever is in it now.
                    Layer::Memtable(part) if index == 0 => Some(Layer::Memtable(MemtablePart {
                        table: Arc::clone(&part.table),
                        after: part.after.max(manifest.folded),
                    })),
                    Layer::Memtable(part) => part.above(manifest.folded).map(Layer::Memtable),
                    Layer::Run(run) if run.at > manifest.folded => Some(layer.clone()),
                    Layer::Run(_) => None,
                });
            }
            layers.extend(runs.iter().map(|run| Layer::Run(Arc::clone(run))));
            View {
                layers,
                manifest: Arc::new(manifest),
            }
        });
        Ok(())
    }
}
