//! The state of the database: layers, newest first, of which a reader at a position sees a prefix of
//! the log.

use std::sync::Arc;

use super::manifest::Manifest;
use super::memtable::Memtable;
use super::ops::{flatten, resolve};
use super::pinned::Pinned;
use crate::base::checksum::checksum64;
use crate::base::sync::{ArcSwap, Mutex};
use crate::base::{Op, Position, Result, RunRef};
use crate::tree::{FoundEntry, Lookup, Missing, OpKind, Run};

#[cfg(feature = "shuttle")]
use crate::base::sync::{Break, broken};

/// A stretch of history, in memory or in a run.
#[derive(Clone)]
pub enum Layer {
    /// Slots of the tail.
    Memtable(MemtablePart),
    /// A run: folded, or written by one bulk record.
    Run(Arc<RunLayer>),
}

/// The writes of a table after a position: what lies before has been folded, by another process perhaps,
/// in the middle of the table.
#[derive(Clone)]
pub struct MemtablePart {
    /// The table.
    pub table: Arc<Memtable>,
    /// Its writes up to this slot no longer count: a merge must never be seen twice.
    pub after: Position,
}

impl MemtablePart {
    /// All of a table.
    pub fn whole(table: Arc<Memtable>) -> MemtablePart {
        let after = table.base();
        MemtablePart { table, after }
    }

    /// The one write that does what all writes of `key`, whose hash is `hash`, that a reader at `at` sees here do.
    #[inline]
    pub fn seen(&self, key: &[u8], hash: u64, at: Position) -> Option<Op> {
        if self.after < at && self.table.may_contain(hash) {
            self.table.seen(key, self.after, at)
        } else {
            None
        }
    }

    /// What is left of this part above `folded`; `None` if nothing is.
    pub fn above(&self, folded: Position) -> Option<MemtablePart> {
        let after = self.after.max(folded);
        assert!(
            after >= self.table.base(),
            "a part after {after} of a table after {}",
            self.table.base()
        );
        let table = Arc::clone(&self.table);
        (after < table.applied()).then_some(MemtablePart { table, after })
    }
}

/// A run at its place in history.
pub struct RunLayer {
    /// What refers to it.
    pub reference: RunRef,
    /// The newest slot whose writes are in it, or in a run that was below it when it was folded.
    pub at: Position,
    /// The run, open.
    pub run: Arc<Run>,
}

/// Layers that together are a state of the database. Immutable, but for the first table, which grows.
#[derive(Clone)]
pub struct View {
    /// Newest first, each wholly newer than the next; the first is a table.
    pub layers: Vec<Layer>,
    /// What opening would begin with.
    pub manifest: Arc<Manifest>,
}

impl Layer {
    /// Whether both are the same object.
    pub fn is(&self, other: &Layer) -> bool {
        match (self, other) {
            (Layer::Memtable(a), Layer::Memtable(b)) => Arc::ptr_eq(&a.table, &b.table),
            (Layer::Run(a), Layer::Run(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl View {
    /// The state that a manifest stands for, with its runs.
    pub fn of(manifest: Manifest, runs: Vec<Arc<RunLayer>>) -> View {
        assert_eq!(
            runs.len(),
            manifest.runs.len(),
            "runs of manifest {}",
            manifest.id
        );
        let table = Arc::new(Memtable::new(manifest.folded));
        let mut layers = vec![Layer::Memtable(MemtablePart::whole(table))];
        layers.extend(runs.into_iter().map(Layer::Run));
        View {
            layers,
            manifest: Arc::new(manifest),
        }
    }

    /// The same state with a table on top, whose slots come after it.
    #[must_use]
    pub fn under(&self, table: Arc<Memtable>) -> View {
        let top = Layer::Memtable(MemtablePart::whole(table));
        View {
            layers: std::iter::once(top)
                .chain(self.layers.iter().cloned())
                .collect(),
            manifest: Arc::clone(&self.manifest),
        }
    }

    /// The table that takes the next slot.
    pub fn active(&self) -> &Arc<Memtable> {
        match self.layers.first() {
            Some(Layer::Memtable(part)) => &part.table,
            _ => unreachable!("a view begins with a table"),
        }
    }

    /// Bytes of the tail that have not been folded, bulk runs not counted.
    pub fn tail_len(&self) -> usize {
        self.tail().map(|table| table.len()).sum()
    }

    /// Keys of the tail that have not been folded; one that was written again since a fold began counts twice.
    pub fn tail_keys(&self) -> usize {
        self.tail().map(|table| table.keys()).sum()
    }

    fn tail(&self) -> impl Iterator<Item = &Arc<Memtable>> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Memtable(part) => Some(&part.table),
            Layer::Run(_) => None,
        })
    }

    /// Runs of bulk records that have not been folded.
    pub fn tail_runs(&self) -> usize {
        let is_new =
            |layer: &&Layer| matches!(layer, Layer::Run(run) if run.at > self.manifest.folded);
        self.layers.iter().filter(is_new).count()
    }

    /// Slots that have not been folded.
    pub fn tail_slots(&self) -> u64 {
        let (applied, folded) = (self.active().applied(), self.manifest.folded);
        assert!(
            folded <= applied,
            "the view ends at slot {applied}, its manifest at slot {folded}"
        );
        applied.0 - folded.0
    }

    /// What a reader at `at` sees under `key`, where it lies. Yields only where a page has to be read.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::base::Error::Corrupt) naming the page; what the storage refuses.
    #[inline]
    pub async fn find(&self, key: &[u8], at: Position) -> Result<Option<Pinned>> {
        let hash = checksum64(key);
        match self.find_at_once(key, hash, at)? {
            LayerFound::Value(value) => Ok(Some(value)),
            LayerFound::Nothing => Ok(None),
            // On the heap, so that what every lookup carries with it stays small.
            LayerFound::Below(depth, missing) => {
                Box::pin(self.find_below(key, hash, at, depth, missing)).await
            }
        }
    }

    /// As [`View::find`] without yielding, as far as that goes.
    #[inline]
    fn find_at_once(&self, key: &[u8], hash: u64, at: Position) -> Result<LayerFound> {
        let oldest = self.layers.len().saturating_sub(1);
        for (depth, layer) in self.layers.iter().enumerate() {
            let newest = match layer {
                Layer::Memtable(part) => part.seen(key, hash, at).map(Newest::from),
                Layer::Run(layer) => {
                    let looked_up = if depth == oldest {
                        layer.run.entry_cached_unfiltered(key, hash)?
                    } else {
                        layer.run.entry_cached(key, hash)?
                    };
                    match looked_up {
                        Lookup::Absent => None,
                        Lookup::Found(entry) => Some(entry.into()),
                        Lookup::NotCached(missing) => {
                            match layer.run.read_at_once(key, hash, missing)? {
                                Lookup::Absent => None,
                                Lookup::Found(entry) => Some(entry.into()),
                                Lookup::NotCached(missing) => {
                                    return Ok(LayerFound::Below(depth, Some(missing)));
                                }
                            }
                        }
                    }
                }
            };
            match newest {
                None => {}
                Some(Newest::Put(value)) => return Ok(LayerFound::Value(value)),
                Some(Newest::Delete) => return Ok(LayerFound::Nothing),
                Some(Newest::Merge) => return Ok(LayerFound::Below(depth, None)),
            }
        }
        Ok(LayerFound::Nothing)
    }

    /// As [`View::find`] where all layers before `depth` have nothing of the key, and of that one something is
    /// `missing`.
    async fn find_below(
        &self,
        key: &[u8],
        hash: u64,
        at: Position,
        depth: usize,
        mut missing: Option<Missing>,
    ) -> Result<Option<Pinned>> {
        for (depth, layer) in self.layers.iter().enumerate().skip(depth) {
            let newest = match layer {
                Layer::Memtable(part) => part.seen(key, hash, at).map(Newest::from),
                Layer::Run(layer) => {
                    let run = &layer.run;
                    let entry = match missing.take() {
                        Some(missing) => run.entry_missing(key, hash, missing).await?,
                        None => run.entry(key, hash).await?,
                    };
                    entry.map(Newest::from)
                }
            };
            match newest {
                None => {}
                Some(Newest::Put(value)) => return Ok(Some(value)),
                Some(Newest::Delete) => return Ok(None),
                Some(Newest::Merge) => return self.find_merged(key, at, depth).await,
            }
        }
        Ok(None)
    }

    /// As [`View::find`] where the newest write is a merge, in the layer `depth`.
    async fn find_merged(&self, key: &[u8], at: Position, depth: usize) -> Result<Option<Pinned>> {
        let mut ops = Vec::new();
        collect(&self.layers[depth..], key, at, &mut ops).await?;
        Ok(resolve(flatten(&ops)).map(Pinned::from))
    }

    /// Adds to `ops` the writes of `key` that a reader at `at` sees, newest first, as far as they matter.
    ///
    /// # Errors
    /// As [`View::find`].
    pub async fn collect(&self, key: &[u8], at: Position, ops: &mut Vec<Op>) -> Result<()> {
        collect(&self.layers, key, at, ops).await
    }
}

/// What the newest layer that has a key does to it.
enum Newest {
    Put(Pinned),
    Delete,
    /// Older layers matter too.
    Merge,
}

impl From<Op> for Newest {
    #[inline]
    fn from(op: Op) -> Newest {
        match op {
            Op::Put(value) => Newest::Put(value.into()),
            Op::Delete => Newest::Delete,
            Op::Merge(_) => Newest::Merge,
        }
    }
}

impl From<FoundEntry> for Newest {
    #[inline]
    fn from(entry: FoundEntry) -> Newest {
        match entry.kind() {
            OpKind::Put => Newest::Put(entry.into()),
            OpKind::Delete => Newest::Delete,
            OpKind::Merge => Newest::Merge,
        }
    }
}

/// What a lookup that does not yield can say.
enum LayerFound {
    Value(Pinned),
    Nothing,
    /// It is to be looked for from this layer on, of which this has to be read.
    Below(usize, Option<Missing>),
}

async fn collect(layers: &[Layer], key: &[u8], at: Position, ops: &mut Vec<Op>) -> Result<()> {
    let hash = checksum64(key);
    for layer in layers {
        let found = match layer {
            Layer::Memtable(part) => part.seen(key, hash, at),
            Layer::Run(layer) => layer.run.get(key, hash).await?,
        };
        ops.extend(found);
        if ops.last().is_some_and(Op::hides_older) {
            break;
        }
    }
    Ok(())
}

/// The view that new readers get, and the one place where it is exchanged.
pub struct ViewCell {
    current: ArcSwap<View>,
    /// Held while a new view is derived from the current one.
    change: Mutex<()>,
}

impl ViewCell {
    /// A cell with its first view.
    pub fn new(view: View) -> ViewCell {
        ViewCell {
            current: ArcSwap::from_pointee(view),
            change: Mutex::new(()),
        }
    }

    /// The view of this moment.
    pub fn load(&self) -> Arc<View> {
        self.current.load_full()
    }

    /// A consistent pair: a view, and the newest slot that is wholly in it.
    pub fn snapshot(&self) -> (Arc<View>, Position) {
        let view = self.load();
        // From the table, not from a counter beside it: a table that has been frozen since keeps
        // the position at which it ended, which is where this view ends.
        let at = view.active().applied();
        #[cfg(feature = "shuttle")]
        if broken(Break::SnapshotTorn) {
            return (view, self.load().active().applied());
        }
        (view, at)
    }

    /// Replaces the view by what `change` makes of it.
    pub fn update(&self, change: impl FnOnce(&View) -> View) {
        let one_at_a_time = self.change.lock();
        #[cfg(feature = "shuttle")]
        let one_at_a_time = (!broken(Break::ViewUnlocked)).then_some(one_at_a_time);
        let before = self.current.load();
        let ended = before.active().applied();
        let next = change(&before);
        assert!(
            next.active().applied() >= ended,
            "a view up to slot {} in place of one up to slot {ended}",
            next.active().applied()
        );
        assert!(
            next.manifest.folded >= before.manifest.folded,
            "a view that rests on slot {} in place of one that rests on slot {}",
            next.manifest.folded,
            before.manifest.folded
        );
        self.current.store(Arc::new(next));
        drop(one_at_a_time);
    }

    /// Begins a new table, so that the one before no longer grows. Only the combiner does this,
    /// since only it writes to tables.
    pub fn freeze(&self) {
        self.update(|view| {
            let fresh = Arc::new(Memtable::new(view.active().applied()));
            let mut layers = vec![Layer::Memtable(MemtablePart::whole(fresh))];
            layers.extend(view.layers.iter().filter(|layer| !is_empty(layer)).cloned());
            View {
                layers,
                manifest: Arc::clone(&view.manifest),
            }
        });
    }

    /// Lays the runs of a bulk record, oldest first, which is alone in slot `at`, over everything.
    pub fn stack(&self, at: Position, runs: Vec<Arc<RunLayer>>) {
        assert!(!runs.is_empty(), "slot {at}: a bulk record without runs");
        let misplaced = runs.iter().find(|run| run.at != at);
        assert!(
            misplaced.is_none(),
            "slot {at}: a run of slot {:?}",
            misplaced.map(|run| run.at)
        );
        self.update(|view| {
            let table = Memtable::new(view.active().applied());
            table.publish(at);
            let mut layers = vec![Layer::Memtable(MemtablePart::whole(Arc::new(table)))];
            layers.extend(runs.into_iter().rev().map(Layer::Run));
            layers.extend(view.layers.iter().filter(|layer| !is_empty(layer)).cloned());
            View {
                layers,
                manifest: Arc::clone(&view.manifest),
            }
        });
    }
}

fn is_empty(layer: &Layer) -> bool {
    matches!(layer, Layer::Memtable(part) if part.table.is_empty())
}
