//! Folding: the tail is written as runs, neighbouring runs are merged, and a manifest makes the
//! result the new base (S12 of the protocol; the standalone part).
//!
//! Order, each step durable before the next: runs, their names, the manifest, its name; only then
//! does the view change. Readers and commits go on all the time: they keep the layers they have.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::cursor::{Direction, ViewCursor};
use super::dropped::{dropped, store_of};
use super::manifest::{LogPlace, Manifest, RunEntry};
use super::plan::{Size, groups};
use super::view::{Layer, RunLayer, View, ViewCell};
use parking_lot::Mutex;

use crate::base::entropy::Entropy;
use crate::base::{Error, ManifestId, Op, Position, Result, SegmentId, StoreId};
use crate::coord::KeyRange;
use crate::storage::{Created, Name, Storage};
use crate::tree::{PageCache, Run, RunBuilder, RunOptions};

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
    /// The smallest number that no manifest had when the database was opened: a copy may begin with
    /// an older manifest than its newest, incomplete one, whose name is taken.
    pub first_free: ManifestId,
    /// Why no manifest can be published any more: one whose name may not be durable stands in the way.
    pub halted: Arc<Mutex<Option<String>>>,
}

/// What a fold did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldOutcome {
    /// Runs written.
    pub runs: u64,
    /// Bytes written.
    pub len: u64,
    /// The position folded.
    pub folded: Position,
}

/// The end of what is folded: taken together with freezing the table, so that they agree.
#[derive(Clone, Copy, Debug)]
pub struct FoldPoint {
    /// The last slot of the frozen tables.
    pub at: Position,
    /// Its hash.
    pub hash: u128,
    /// The generation of the next slot.
    pub generation: crate::base::Generation,
    /// Where the next slot goes.
    pub place: Option<LogPlace>,
}

impl Folder {
    /// Folds all layers of `cell` but the active table, up to `point`, and publishes manifest and view.
    ///
    /// One fold at a time a process: the caller holds the fold's lock.
    ///
    /// # Errors
    /// What the storage refuses: the view is then what it was, and what has been written is garbage
    /// that no manifest refers to.
    pub async fn fold(&self, cell: &ViewCell, point: &FoldPoint) -> Result<FoldOutcome> {
        if let Some(cause) = self.halted.lock().clone() {
            return Err(Error::Halted { cause });
        }
        let view = cell.load();
        let layers: Vec<Layer> = view
            .layers
            .iter()
            .filter(|l| is_before(l, point))
            .cloned()
            .collect();
        let gone = dropped(&view, point.at).await?;
        let next_id = ManifestId(view.manifest.id.0 + 1).max(self.first_free);
        let mut outcome = FoldOutcome {
            folded: point.at,
            ..FoldOutcome::default()
        };
        let mut runs: Vec<Arc<RunLayer>> = Vec::new();
        for group in groups(&layers.iter().map(size).collect::<Vec<_>>()) {
            if let [Layer::Run(run)] = &layers[group.clone()] {
                runs.push(Arc::clone(run));
                continue;
            }
            let written = self.write_group(&layers, group, next_id, &gone).await?;
            outcome.runs += u64::from(written.is_some());
            outcome.len += written.as_ref().map_or(0, |run| run.reference.len);
            runs.extend(written);
        }
        let entry = |run: &Arc<RunLayer>| RunEntry {
            run: run.reference.clone(),
            at: run.at,
        };
        let manifest = Manifest {
            id: next_id,
            folded: point.at,
            hash: point.hash,
            generation: point.generation,
            place: point.place,
            runs: runs.iter().map(entry).collect(),
        };
        self.publish(&manifest).await?;
        replace(cell, &layers, &runs, manifest);
        Ok(outcome)
    }

    /// Writes one group as a run; `None` if nothing of it is left.
    async fn write_group(
        &self,
        layers: &[Layer],
        group: Range<usize>,
        tag: ManifestId,
        gone: &BTreeSet<StoreId>,
    ) -> Result<Option<Arc<RunLayer>>> {
        // Below the oldest layer there is nothing that a delete could hide or a merge could meet.
        let is_bottom = group.end == layers.len();
        let Some(at) = layers[group.clone()].iter().map(newest).max() else {
            return Ok(None);
        };
        let everything = KeyRange::everything();
        let own = Vec::new();
        let newest_at = Position(u64::MAX);
        let direction = Direction::Forward;
        let mut cursor =
            ViewCursor::open(own, &layers[group], newest_at, &everything, direction).await?;
        let mut sink = RunSink::new(self, tag);
        while let Some((key, op)) = cursor.next().await? {
            if store_of(&key).is_some_and(|store| gone.contains(&store)) {
                continue;
            }
            match op {
                Op::Delete if is_bottom => {}
                Op::Merge(operand) if is_bottom => sink.add(&key, &Op::Put(operand)).await?,
                op => sink.add(&key, &op).await?,
            }
        }
        let reference = sink.finish().await?;
        match reference {
            Some(reference) => self.open_run(reference, at).await.map(Some),
            None => Ok(None),
        }
    }

    /// Opens a run that a slot or a manifest refers to.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is missing or not what the reference says.
    pub async fn open_run(
        &self,
        reference: crate::base::RunRef,
        at: Position,
    ) -> Result<Arc<RunLayer>> {
        let name = Name::segment(reference.id);
        let missing = || Error::corrupt(&name, "it is referred to and it is missing");
        let object = self.storage.open(&name).await?.ok_or_else(missing)?;
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

    /// Makes a manifest durable under its name.
    async fn publish(&self, manifest: &Manifest) -> Result<()> {
        let name = Name::manifest(manifest.id);
        let halt = |error: Error| {
            *self.halted.lock() = Some(format!("publishing {name}: {error}"));
            error
        };
        match self.storage.create(&name, &manifest.encode()).await? {
            // A second sync might report success without the name being durable.
            Created::New => self.storage.sync_names(&name).await.map_err(halt),
            // The lock says that nobody else folds here: this name is not ours to take.
            Created::Exists => {
                let detail = "it exists and no fold of this process wrote it";
                Err(halt(Error::corrupt(&name, detail)))
            }
        }
    }
}

/// A run on its way, begun with its first entry.
pub struct RunSink<'a> {
    folder: &'a Folder,
    id: SegmentId,
    builder: Option<RunBuilder>,
}

impl RunSink<'_> {
    /// A run that no manifest older than `tag` can refer to.
    pub fn new(folder: &Folder, tag: ManifestId) -> RunSink<'_> {
        let id = SegmentId {
            tag: tag.0,
            unique: folder.entropy.next_u128(),
        };
        RunSink {
            folder,
            id,
            builder: None,
        }
    }

    /// Adds the next entry; keys ascend.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn add(&mut self, key: &[u8], op: &Op) -> Result<()> {
        let builder = match &mut self.builder {
            Some(builder) => builder,
            none => {
                let writer = self.folder.storage.writer(&Name::segment(self.id)).await?;
                none.insert(RunBuilder::new(writer, self.folder.options))
            }
        };
        builder.add(key, op).await
    }

    /// Ends the run: data and name are durable. `None` if nothing was added.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn finish(self) -> Result<Option<crate::base::RunRef>> {
        let Some(builder) = self.builder else {
            return Ok(None);
        };
        let summary = builder.finish().await?;
        self.folder
            .storage
            .sync_names(&Name::segment(self.id))
            .await?;
        Ok(Some(crate::base::RunRef {
            id: self.id,
            len: summary.len,
            entries: summary.entries,
            hash: summary.content_hash,
            first_key: summary.first_key.into(),
            last_key: summary.last_key.into(),
        }))
    }
}

/// Puts `runs` in the place of `folded`, whatever has been laid over them meanwhile.
fn replace(cell: &ViewCell, folded: &[Layer], runs: &[Arc<RunLayer>], manifest: Manifest) {
    cell.update(|view| {
        let newer = view
            .layers
            .iter()
            .filter(|layer| !folded.iter().any(|f| f.is(layer)));
        let mut layers: Vec<Layer> = newer.cloned().collect();
        layers.extend(runs.iter().map(|run| Layer::Run(Arc::clone(run))));
        View {
            layers,
            manifest: Arc::new(manifest),
        }
    });
}

fn is_before(layer: &Layer, point: &FoldPoint) -> bool {
    match layer {
        Layer::Table(table) => table.base() < point.at && table.applied() <= point.at,
        Layer::Run(run) => run.at <= point.at,
    }
}

fn newest(layer: &Layer) -> Position {
    match layer {
        Layer::Table(table) => table.applied(),
        Layer::Run(run) => run.at,
    }
}

fn size(layer: &Layer) -> Size {
    match layer {
        Layer::Table(table) => Size {
            len: table.len() as u64,
            table: true,
        },
        Layer::Run(run) => Size {
            len: run.reference.len,
            table: false,
        },
    }
}
