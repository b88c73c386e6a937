//! Rules that stand behind others, so that no promise, or hardly ever one, is broken where one of them alone is: what
//! each does is shown where it stands, with the rule and without it. Why nothing follows is told at [`Mutant::APART`].

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use eciton_engine::base::clock::{Clock, SystemClock};
use eciton_engine::base::entropy::{Entropy, SeededEntropy};
use eciton_engine::base::spawn::RayonSpawner;
use eciton_engine::base::{
    Bounds, FloorId, Generation, Key, ManifestId, Mutant, Op, Position, StoreId, TxId,
};
use eciton_engine::commit::{Combiner, Parts};
use eciton_engine::coord::{
    Intent, LocalCoordinator, Origin, ReadSet, SharedCoordinator, Silence, Writes,
};
use eciton_engine::db::{Db, Environment, Mode, Options, StoreSchema};
use eciton_engine::fold::{Claims, FoldPoint, Folder, Manifest, Scope, View, ViewCell, full_key};
use eciton_engine::log::file::is_begun;
use eciton_engine::log::{
    Body, Floor, Floors, LogEnd, LogRecord, LogStart, LogWriter, Replay, Strictness, Tail,
};
use eciton_engine::storage::{MemoryStorage, Name, Storage};
use eciton_engine::tree::{PageCache, RunOptions};
use futures::executor::block_on;

/// What a rule does, and what is done without it.
fn differs<T: PartialEq + std::fmt::Debug>(
    mutant: Mutant,
    work: impl AsyncFn() -> T,
    (with, without): (T, T),
) {
    assert_eq!(block_on(work()), with, "with the rule");
    Mutant::set(Some(mutant));
    let done = block_on(work());
    Mutant::set(None);
    assert_eq!(done, without, "{mutant:?}");
}

fn folder(storage: Arc<dyn Storage>, shared: bool) -> Folder {
    Folder {
        storage,
        entropy: Arc::new(SeededEntropy::new(1)),
        cache: Arc::new(PageCache::new(100_000)),
        options: RunOptions::default(),
        bounds: Bounds::default(),
        shared,
        halted: Arc::default(),
        claims: Claims::default(),
    }
}

#[test]
fn a_manifest_below_the_floor_does_not_count() {
    let is_lost = async || {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let first = Manifest::first();
        let floor = Floor {
            slot: Position(9),
            manifest: ManifestId(5),
        };
        let there = [
            (Name::manifest(first.id), first.encode()),
            (Name::floor(FloorId(1)), floor.encode(FloorId(1)).to_vec()),
        ];
        for (name, bytes) in there {
            storage.create(&name, &bytes).await.unwrap();
        }
        let folder = folder(storage, true);
        // A process that folds what it knew before it slept.
        let cell = ViewCell::new(View::of(first, Vec::new()));
        let key = full_key(StoreId(1), b"key");
        let table = Arc::clone(cell.load().active());
        table.insert(Position(1), &key, &Op::Put(Bytes::from_static(b"value")));
        table.publish(Position(1));
        cell.freeze();
        let point = FoldPoint {
            at: Position(1),
            hash: 7,
            generation: Generation(0),
            paths: Vec::new(),
            place: None,
            collected: ManifestId(0),
            view: cell.load(),
        };
        folder.fold(&cell, &point, Scope::Tail).await.unwrap().lost
    };
    differs(Mutant::ManifestBelowFloor, is_lost, (true, false));
}

#[test]
fn the_floor_leaves_as_many_slots_as_a_transaction_may_lag() {
    const LAG: u64 = 8;
    let is_left = async || {
        let storage = Arc::new(MemoryStorage::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(2));
        let bus = Arc::new(Silence);
        let coordinator = SharedCoordinator::new(bus, Arc::clone(&clock), Arc::clone(&entropy));
        let environment = Environment {
            clock,
            entropy,
            spawner: Arc::new(RayonSpawner),
            coordinator: Arc::new(coordinator),
            witness: None,
        };
        let options = Options {
            mode: Mode::Clustered,
            bounds: Bounds {
                window_slots_max: LAG,
                manifests_min: 1,
                ..Bounds::default()
            },
            ..Options::default()
        };
        let db = Db::open_storage(Arc::clone(&storage) as _, options, environment);
        let db = db.await.unwrap();
        let store = db.create_store("s", StoreSchema::default()).await.unwrap();
        for number in 0..3 * LAG {
            let mut transaction = db.begin();
            let key = Key::from_datums(&[number.into()]).unwrap();
            transaction.put(&store, &key, vec![1]).unwrap();
            transaction.commit().await.unwrap();
        }
        db.fold().await.unwrap();
        db.collect().await.unwrap();
        let floor = Floors::find(storage).await.unwrap().newest().1;
        assert!(floor.slot > Position(LAG), "{floor:?} was raised");
        floor.slot.0 + LAG <= db.info().position.0
    };
    differs(Mutant::FloorNoWindow, is_left, (true, false));
}

async fn log_end(storage: &MemoryStorage) -> LogEnd {
    let start = LogStart {
        generation: Generation(0),
        last: Position::ZERO,
        hash: 0,
        place: None,
    };
    let storage = Arc::new(storage.clone());
    let mut replay = Replay::begin(storage, &start, Strictness::Whole)
        .await
        .unwrap();
    while replay.next().await.unwrap().is_some() {}
    replay.end()
}

/// Opens the log and appends so many slots.
async fn append(storage: &MemoryStorage, count: u128) {
    let end = log_end(storage).await;
    let mut writer = LogWriter::open(Arc::new(storage.clone()), &end)
        .await
        .unwrap();
    for id in 0..count {
        let record = LogRecord {
            txid: TxId(id + 1),
            read_at: Position::ZERO,
            body: Body::Writes(vec![(Bytes::from_static(b"key"), Op::Delete)]),
        };
        writer.append(&[record], id, 0).await.unwrap();
    }
}

fn file(first: u64) -> Name {
    Name::log(Generation(0), Position(first))
}

#[test]
fn a_torn_end_is_left_where_it_stands() {
    let is_in_next_file = async || {
        let storage = MemoryStorage::new();
        append(&storage, 2).await;
        // The second sector of the second slot, as a torn write leaves it.
        let end = usize::try_from(log_end(&storage).await.file.unwrap().offset).unwrap();
        assert!(storage.tamper(&file(1), |bytes| bytes[end - 512 + 100] ^= 1));
        let torn = log_end(&storage).await;
        assert_eq!(torn.last, Position(1), "{torn:?}");
        append(&storage, 1).await;
        assert_eq!(log_end(&storage).await.last, Position(2));
        storage.stat(&file(2)).await.unwrap().is_some()
    };
    differs(Mutant::TornOverwritten, is_in_next_file, (true, false));
}

#[test]
fn a_file_that_was_begun_takes_the_next_slot() {
    let is_taken_up = async || {
        let storage = MemoryStorage::new();
        append(&storage, 2).await;
        let mut next = storage.append_file(&file(3)).await.unwrap();
        next.allocate(4096).await.unwrap();
        drop(next);
        append(&storage, 1).await;
        assert_eq!(log_end(&storage).await.last, Position(3));
        is_begun(&storage, &file(3)).await.unwrap()
    };
    differs(Mutant::TakeUpLeftOut, is_taken_up, (true, false));
}

/// One seed in some thousands notices: whoever takes the transaction again mostly finds it in the log, too.
#[test]
fn a_transaction_that_stands_in_the_log_is_not_sent_on() {
    let is_sent_on = async || {
        let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
        let end = LogEnd {
            generation: Generation(0),
            last: Position::ZERO,
            hash: 0,
            file: None,
        };
        let writer = LogWriter::open(Arc::clone(&storage), &end).await.unwrap();
        let view = View::of(Manifest::first(), Vec::new());
        let mut combiner = Combiner::new(Parts {
            tail: Tail::Append(writer),
            view: Arc::new(ViewCell::new(view)),
            folder: folder(storage, false),
            coordinator: Arc::new(LocalCoordinator::new()),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SeededEntropy::new(3)),
            witness: None,
        });
        let intent = Intent {
            txid: TxId(1),
            read_at: Position::ZERO,
            read_hash: 0,
            reads: ReadSet::default(),
            writes: Writes::Small(vec![(Bytes::from_static(b"key"), Op::Delete)]),
            len: 100,
            origin: Origin::Alone,
        };
        combiner.combine(vec![Arc::new(intent.clone())]).await;
        assert_eq!(combiner.last().0, Position(1), "it stands in the log");
        combiner.raise(&intent).is_some()
    };
    differs(Mutant::RaiseSettled, is_sent_on, (false, true));
}
