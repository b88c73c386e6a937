//! Folding: the tail is written as runs, neighbouring runs are merged, and a manifest makes the
//! result the new base (S12 of the protocol).
//!
//! Order, each step durable before the next: runs, their names, the manifest, its name; only then
//! does the view change. Readers and commits go on all the time: they keep the layers they have.

use std::ops::Range;
use std::sync::Arc;

use super::cursor::ViewCursor;
use super::dropped::Gone;
use super::folder::{FoldPoint, Folder};
use super::inline::inline_limits;
use super::plan::{Size, groups, order};
use super::publish::{Fold, FoldPiece};
use super::sink::RunSink;
use super::view::{Layer, RunLayer, ViewCell};
use super::walk_direction::WalkDirection;
use crate::base::{ManifestId, Op, Position, Result, RunRef, SegmentId};
use crate::coord::KeyRange;

/// What a fold did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldOutcome {
    /// Runs written.
    pub runs: u64,
    /// Bytes written.
    pub len: u64,
    /// Bytes of the runs that these replace.
    pub replaced: u64,
    /// The position folded.
    pub folded: Position,
    /// Another process had folded the same, and what this one wrote was dropped.
    pub lost: bool,
}

/// Which layers a fold is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The tail and the runs together.
    All,
    /// The tail alone: short work, which seldom loses against others'.
    Tail,
    /// The runs alone: work that may be long, and is kept although others fold the tail meanwhile.
    Runs,
}

impl Folder {
    /// Folds the layers of the view at `point` but the active table, and publishes manifest and view.
    ///
    /// One fold at a time a process: the caller holds the fold's lock.
    ///
    /// # Errors
    /// What the storage refuses: the view is then what it was, and what has been written is garbage
    /// that no manifest refers to.
    pub async fn fold(
        &self,
        cell: &ViewCell,
        point: &FoldPoint,
        scope: Scope,
    ) -> Result<FoldOutcome> {
        self.may_publish()?;
        let view = &point.view;
        let base = Arc::clone(&view.manifest);
        assert!(
            base.folded <= point.at,
            "a fold up to slot {}, slot {} is folded",
            point.at,
            base.folded
        );
        let is_folded = |layer: &Layer| run_of(layer, base.folded).is_some();
        let is_in_scope = |layer: &Layer| match scope {
            Scope::All => true,
            Scope::Tail => !is_folded(layer),
            Scope::Runs => is_folded(layer),
        };
        let layers = view.layers.iter().filter(|l| is_before(l, point));
        let layers: Vec<Layer> = layers.filter(|l| is_in_scope(l)).cloned().collect();
        let layers = in_order(&layers);
        let reaches_bottom = scope != Scope::Tail || base.runs.is_empty();
        let groups = groups(&layers.iter().map(size).collect::<Vec<_>>());
        let mut outcome = FoldOutcome {
            folded: point.at,
            ..FoldOutcome::default()
        };
        let merges_nothing = groups.iter().all(|group| group.len() == 1);
        if merges_nothing && (point.at == base.folded || scope == Scope::Runs) {
            return Ok(outcome);
        }
        // Of what stays at its position, only what is gone there may be left out.
        let at = match scope {
            Scope::Runs => base.folded,
            Scope::All | Scope::Tail => point.at,
        };
        let gone = Gone::at(view, at).await?;
        let limits = inline_limits(view, at).await?;
        let tag = ManifestId(base.id.0 + 1);
        let mut pieces = Vec::with_capacity(groups.len());
        for group in groups {
            if let [Layer::Run(run)] = &layers[group.clone()] {
                pieces.push(FoldPiece::kept(run));
                continue;
            }
            let inputs = layers[group.clone()].iter();
            let inputs = inputs
                .filter_map(|layer| run_of(layer, base.folded))
                .collect();
            outcome.replaced += runs_len(&layers[group.clone()]);
            let sink = RunSink::new(self, tag, &limits);
            let run = self
                .write_group(&layers, (group, reaches_bottom), sink, &gone)
                .await?;
            outcome.runs += u64::from(run.is_some());
            outcome.len += run.as_ref().map_or(0, |run| run.reference.len);
            pieces.push(FoldPiece {
                run,
                inputs,
                is_new: true,
            });
        }
        let mut fold = Fold {
            pieces,
            base: (*base).clone(),
            from: base.folded,
            point: point.clone(),
            folds_log: scope != Scope::Runs && point.at > base.folded,
        };
        match self.publish(&mut fold).await? {
            Some(manifest) => {
                assert!(
                    manifest.folded >= at,
                    "manifest {} holds slots up to {}, {at} was folded",
                    manifest.id,
                    manifest.folded
                );
                self.adopt(cell, manifest, fold.runs()).await?;
            }
            None => outcome.lost = true,
        }
        Ok(outcome)
    }

    /// Writes one group as a run; `None` if nothing of it is left.
    pub(super) async fn write_group(
        &self,
        layers: &[Layer],
        (group, reaches_bottom): (Range<usize>, bool),
        mut sink: RunSink,
        gone: &Gone,
    ) -> Result<Option<Arc<RunLayer>>> {
        // Below the oldest layer there is nothing that a delete could hide or a merge could meet.
        assert!(
            group.end <= layers.len(),
            "layers {group:?} of {}",
            layers.len()
        );
        let is_bottom = reaches_bottom && group.end == layers.len();
        // What has risen past a newer run counts as of its age, so that runs stand by age everywhere.
        let Some(at) = layers[group.start..].iter().map(newest).max() else {
            return Ok(None);
        };
        self.write_layers(&layers[group], is_bottom, &mut sink, gone, &mut |_| {})
            .await?;
        let reference = sink.finish().await?;
        match reference {
            Some(reference) => self.open_run(reference, at).await.map(Some),
            None => Ok(None),
        }
    }

    /// Writes what `layers` do to each key, all of it that counts.
    pub(super) async fn write_layers(
        &self,
        layers: &[Layer],
        is_bottom: bool,
        sink: &mut RunSink,
        gone: &Gone,
        step: &mut (dyn FnMut(u64) + Send),
    ) -> Result<()> {
        let everything = KeyRange::everything();
        let own = Vec::new();
        let newest_at = Position(u64::MAX);
        let direction = WalkDirection::Forward;
        let mut cursor = ViewCursor::open(own, layers, newest_at, &everything, direction).await?;
        while let Some((key, op)) = cursor.next().await? {
            step((key.len() + op.payload().len()) as u64);
            if gone.has(&key) {
                continue;
            }
            match op {
                Op::Delete if is_bottom => {}
                Op::Merge(operand) if is_bottom => sink.add(&key, &Op::Put(operand)).await?,
                op => sink.add(&key, &op).await?,
            }
        }
        Ok(())
    }
}

fn is_before(layer: &Layer, point: &FoldPoint) -> bool {
    match layer {
        Layer::Memtable(part) => part.after < point.at && part.table.applied() <= point.at,
        Layer::Run(run) => run.at <= point.at,
    }
}

/// The run of a layer, if it was folded up to `folded` already.
fn run_of(layer: &Layer, folded: Position) -> Option<SegmentId> {
    match layer {
        Layer::Run(run) if run.at <= folded => Some(run.reference.id),
        Layer::Memtable(_) | Layer::Run(_) => None,
    }
}

/// The layers as they are best folded; see [`order`].
fn in_order(layers: &[Layer]) -> Vec<Layer> {
    let is_apart = |table: usize, run: usize| match (&layers[table], &layers[run]) {
        (Layer::Memtable(part), Layer::Run(run)) => {
            let RunRef {
                first_key,
                last_key,
                ..
            } = &run.reference;
            !part.table.has_key_within(first_key, last_key)
        }
        _ => false,
    };
    let sizes: Vec<Size> = layers.iter().map(size).collect();
    let order = order(&sizes, is_apart);
    order.into_iter().map(|at| layers[at].clone()).collect()
}

/// Bytes of the runs among `layers`.
fn runs_len(layers: &[Layer]) -> u64 {
    let runs = layers.iter().map(|layer| match layer {
        Layer::Run(run) => run.reference.len,
        Layer::Memtable(_) => 0,
    });
    runs.sum()
}

fn newest(layer: &Layer) -> Position {
    match layer {
        Layer::Memtable(part) => part.table.applied(),
        Layer::Run(run) => run.at,
    }
}

fn size(layer: &Layer) -> Size {
    match layer {
        Layer::Memtable(part) => Size {
            len: part.table.len() as u64,
            table: true,
        },
        Layer::Run(run) => Size {
            len: run.reference.len,
            table: false,
        },
    }
}
