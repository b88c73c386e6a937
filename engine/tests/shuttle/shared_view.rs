//! Readers beside a writer that applies slots, freezes its table, lays runs over it and has them folded.

use std::sync::Arc;

use bytes::Bytes;
use eciton_engine::base::entropy::SeededEntropy;
use eciton_engine::base::sync::Mutex;
use eciton_engine::base::{Bounds, Generation, ManifestId, Op, Position, StoreId, TxId};
use eciton_engine::commit::apply;
use eciton_engine::coord::KeyRange;
use eciton_engine::fold::{
    Claims, FoldPoint, Folder, InlineLimits, Layer, Manifest, Memtable, MemtablePart, Pinned,
    RunSink, Scope, View, ViewCell, ViewCursor, WalkDirection, full_key, resolve,
};
use eciton_engine::log::{Body, LogRecord};
use eciton_engine::storage::{MemoryStorage, Name, Storage};
use eciton_engine::tree::{PageCache, RunOptions};
use shuttle::future::block_on;
use shuttle::thread;

use super::explore::explore;

const SLOTS: u64 = 4;
/// The slot whose writes come as a run.
const BULK_SLOT: u64 = 3;
const READERS: usize = 2;
const READS: usize = 3;
/// Written by every slot: what a reader sees here is its position.
const EVERY: [&str; 2] = ["all-first", "all-last"];

struct Stage {
    cell: ViewCell,
    folder: Folder,
    /// What the combiner's lock is in production: only its holder applies or freezes.
    combining: Mutex<()>,
}

fn stage() -> Arc<Stage> {
    let first = View {
        layers: vec![Layer::Memtable(MemtablePart::whole(Arc::new(
            Memtable::new(Position::ZERO),
        )))],
        manifest: Arc::new(Manifest::first()),
    };
    // A fold makes sure that the manifest it builds on stands.
    let storage = MemoryStorage::new();
    let created = block_on(async {
        let manifest = Manifest::first();
        storage
            .create(&Name::manifest(manifest.id), &manifest.encode())
            .await
    });
    created.unwrap();
    let folder = Folder {
        storage: Arc::new(storage),
        entropy: Arc::new(SeededEntropy::new(1)),
        cache: Arc::new(PageCache::new(1 << 20)),
        options: RunOptions::default(),
        bounds: Bounds::default(),
        shared: false,
        halted: Arc::default(),
        claims: Claims::default(),
    };
    Arc::new(Stage {
        cell: ViewCell::new(first),
        folder,
        combining: Mutex::new(()),
    })
}

fn name(text: &str) -> Bytes {
    full_key(StoreId(1), text.as_bytes())
}

/// What slot `n` writes, in key order: the keys that every slot writes around one of its own.
fn writes(n: u64) -> Vec<(Bytes, Op)> {
    let value = || Op::Put(Bytes::from(n.to_string()));
    let own = format!("all-in-{n}");
    [EVERY[0], &own, EVERY[1]]
        .map(|key| (name(key), value()))
        .to_vec()
}

fn write(stage: &Stage) {
    for n in 1..=SLOTS {
        let _combining = stage.combining.lock();
        let writes = writes(n);
        let (body, runs) = if n == BULK_SLOT {
            let reference = block_on(async {
                let mut sink =
                    RunSink::new(&stage.folder, ManifestId(100), &InlineLimits::default());
                for (key, op) in &writes {
                    sink.add(key, op).await?;
                }
                sink.finish().await
            });
            let reference = reference.unwrap().unwrap();
            let layer = block_on(stage.folder.open_run(reference.clone(), Position(n)));
            (Body::Bulk(vec![reference]), vec![layer.unwrap()])
        } else {
            (Body::Writes(writes), Vec::new())
        };
        let record = LogRecord {
            txid: TxId(u128::from(n)),
            read_at: Position(n - 1),
            body,
        };
        apply(&stage.cell, Position(n), &[record], runs);
    }
}

fn fold(stage: &Stage) {
    for _ in 0..2 {
        let (view, at) = {
            let _combining = stage.combining.lock();
            stage.cell.freeze();
            stage.cell.snapshot()
        };
        let point = FoldPoint {
            at,
            hash: 0,
            generation: Generation(0),
            paths: Vec::new(),
            place: None,
            collected: ManifestId(0),
            view,
        };
        let folded = block_on(stage.folder.fold(&stage.cell, &point, Scope::All));
        let outcome = folded.unwrap();
        assert!(!outcome.lost, "nobody else folds: {outcome:?}");
    }
}

fn read(stage: &Stage) {
    let mut last = Position::ZERO;
    let mut kept = None;
    for _ in 0..READS {
        let (view, at) = stage.cell.snapshot();
        assert!(last <= at, "a snapshot of {at} after one of {last}");
        last = at;
        assert_state(&view, at);
        kept.get_or_insert((view, at));
    }
    if let Some((view, at)) = kept {
        // What was a state stays that state.
        assert_state(&view, at);
    }
}

fn assert_state(view: &View, at: Position) {
    let expected = |key: &str, n: u64| {
        let value = block_on(view.find(&name(key), at))
            .unwrap()
            .map(Pinned::into_bytes);
        let wanted = (n > 0).then(|| Bytes::from(n.to_string()));
        assert_eq!(value, wanted, "`{key}` as of {at}");
    };
    expected(EVERY[0], at.0);
    expected(EVERY[1], at.0);
    for n in 1..=SLOTS {
        expected(&format!("all-in-{n}"), if n <= at.0 { n } else { 0 });
    }
    let mut keys: Vec<String> = (1..=at.0).map(|n| format!("all-in-{n}")).collect();
    keys.extend(EVERY.map(str::to_owned).into_iter().filter(|_| at.0 > 0));
    keys.sort();
    assert_eq!(walk(view, at), keys, "the keys as of {at}");
}

fn walk(view: &View, at: Position) -> Vec<String> {
    let everything = KeyRange::everything();
    let own = Vec::new();
    let mut keys = Vec::new();
    block_on(async {
        let direction = WalkDirection::Forward;
        let mut cursor = ViewCursor::open(own, &view.layers, at, &everything, direction).await?;
        while let Some((key, op)) = cursor.next().await? {
            assert!(resolve(Some(op)).is_some(), "nothing is deleted here");
            keys.push(String::from_utf8(key[4..].to_vec()).unwrap());
        }
        Ok::<_, eciton_engine::base::Error>(())
    })
    .unwrap();
    keys
}

/// A reader sees all of a slot or nothing, loses none, and never goes back.
pub(crate) fn slots_are_seen_whole() {
    let stage = stage();
    let begin = |work: fn(&Stage)| {
        let stage = Arc::clone(&stage);
        thread::spawn(move || work(&stage))
    };
    let mut threads = vec![begin(write), begin(fold)];
    threads.extend((0..READERS).map(|_| begin(read)));
    for thread in threads {
        thread.join().unwrap();
    }
    let (view, at) = stage.cell.snapshot();
    assert_eq!(at, Position(SLOTS), "every slot has been applied");
    assert_state(&view, at);
}

#[test]
fn a_slot_is_seen_whole_or_not_at_all() {
    explore(slots_are_seen_whole);
}
