//! Compaction: all runs of a manifest become one, from which whatever is deleted, replaced or dropped is
//! gone.
//!
//! It takes long, so it holds nothing up: meanwhile the tail is folded on top, and only publishing the
//! result takes the fold's turn.

use std::sync::Arc;

use super::claims::Claim;
use super::dropped::Gone;
use super::folder::{FoldPoint, Folder};
use super::folding::FoldOutcome;
use super::inline::inline_limits;
use super::manifest::{Manifest, RunEntry};
use super::publish::{Fold, FoldPiece};
use super::sink::RunSink;
use super::view::{Layer, View, ViewCell};
use crate::base::{Error, Generation, ManifestId, Position, Result};
use crate::log::once::{Owner, confirm, create_once};
use crate::storage::Name;

/// A compaction whose run is written and that no manifest refers to yet.
pub struct Compaction {
    fold: Fold,
    outcome: FoldOutcome,
    /// Collection goes on meanwhile.
    _claim: Claim,
}

impl Folder {
    /// Writes the runs of the manifest that the view at `point` rests on as one run; whatever lies over
    /// them stays as it is.
    ///
    /// # Errors
    /// What the storage refuses; what has been written is then garbage that nothing refers to.
    pub async fn compact(&self, point: FoldPoint) -> Result<Compaction> {
        self.may_publish()?;
        let view = Arc::clone(&point.view);
        let base = (*view.manifest).clone();
        let is_of_base = |layer: &&Layer| matches!(layer, Layer::Run(run) if run.at <= base.folded);
        let layers: Vec<Layer> = view.layers.iter().filter(is_of_base).cloned().collect();
        // The marks of dropped stores lie in these runs with whatever they are about.
        let gone = Gone::at(&view, base.folded).await?.with_marks();
        let claim = self.claim(ManifestId(base.id.0 + 1));
        let limits = inline_limits(&view, base.folded).await?;
        let sink = RunSink::claimed(self, &claim, &limits);
        let group = (0..layers.len(), true);
        let run = self.write_group(&layers, group, sink, &gone).await?;
        let inputs = base.runs.iter().map(|entry| entry.run.id).collect();
        let outcome = FoldOutcome {
            runs: u64::from(run.is_some()),
            len: run.as_ref().map_or(0, |run| run.reference.len),
            replaced: base.runs.iter().map(|entry| entry.run.len).sum(),
            folded: base.folded,
            lost: false,
        };
        let piece = FoldPiece {
            run,
            inputs,
            is_new: true,
        };
        let fold = Fold {
            pieces: vec![piece],
            from: base.folded,
            base,
            point,
            folds_log: false,
        };
        Ok(Compaction {
            fold,
            outcome,
            _claim: claim,
        })
    }

    /// Writes what `view` shows at its end, the slot given with its hash and the generation after it, as the
    /// first manifest of a database of its own, with one run at the most. `step` is told of each record's
    /// bytes.
    ///
    /// # Errors
    /// What either storage refuses; [`Error::Invalid`] where there is a manifest already.
    pub async fn write_copy(
        &self,
        view: &View,
        (folded, hash, generation): (Position, u128, Generation),
        step: &mut (dyn FnMut(u64) + Send),
    ) -> Result<Manifest> {
        let gone = Gone::at(view, folded).await?.with_marks();
        let id = ManifestId(1);
        let limits = inline_limits(view, folded).await?;
        let mut sink = RunSink::new(self, id, &limits);
        let layers = &view.layers;
        self.write_layers(layers, true, &mut sink, &gone, step)
            .await?;
        let run = sink.finish().await?;
        let entry = |run| RunEntry { run, at: folded };
        let manifest = Manifest {
            id,
            folded,
            hash,
            generation,
            paths: Vec::new(),
            place: None,
            collected: ManifestId(0),
            runs: run.into_iter().map(entry).collect(),
        };
        let (name, bytes) = (Name::manifest(id), manifest.encode());
        let owner = create_once(&*self.storage, &name, &bytes).await?;
        if owner != Owner::Us || !confirm(&*self.storage, &name, &bytes).await? {
            let message = format!("{name} belongs to somebody else");
            return Err(Error::Invalid(message));
        }
        Ok(manifest)
    }

    /// Makes a compaction part of the manifest after `newest`, the newest one that is known, and of the
    /// view. It is lost where `newest` has no longer all the runs that it replaces.
    ///
    /// One fold at a time a process: the caller holds the fold's turn.
    ///
    /// # Errors
    /// As [`Folder::fold`].
    pub async fn finish_compaction(
        &self,
        cell: &ViewCell,
        compaction: Compaction,
        newest: &Manifest,
    ) -> Result<FoldOutcome> {
        let Compaction {
            mut fold,
            mut outcome,
            _claim: claim,
        } = compaction;
        if newest.id != fold.base.id && !self.rebase(&mut fold, newest.clone()).await? {
            outcome.lost = true;
            return Ok(outcome);
        }
        match self.publish(&mut fold).await? {
            Some(manifest) => self.adopt(cell, manifest, fold.runs()).await?,
            None => outcome.lost = true,
        }
        drop(claim);
        Ok(outcome)
    }
}
