//! A database in a bucket: processes share it with nothing between them but the bucket.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::sync::Arc;

use crate::support::Dice;
use crate::support::bucket::Server;
use eciton_engine::base::clock::SystemClock;
use eciton_engine::base::entropy::{Entropy, SystemEntropy};
use eciton_engine::base::spawn::RayonSpawner;
use eciton_engine::base::{Datum, Error, Generation, Key, Position};
use eciton_engine::coord::{SharedCoordinator, Silence};
use eciton_engine::db::{
    Db, Encoding, Environment, Mode, Options, ScanRange, Store, StoreSchema, verify,
};
use eciton_engine::merge::{self, Column, Kind, Operator, States};
use eciton_engine::storage::{Access, LocalStorage, Name, ObjectOptions, ObjectStorage, Storage};

const ACCOUNTS: u64 = 10;
const BEGINNING: u64 = 100;

/// A store, and how it is reached.
struct Scene {
    server: Server,
    options: ObjectOptions,
}

impl Scene {
    fn new(server: Server) -> Scene {
        server.make_bucket("databases");
        let options = ObjectOptions {
            endpoint: Some(format!("http://{}", server.address())),
            region: Some("us-east-1".to_owned()),
            allow_http: Some(true),
            key: Some(("test".to_owned(), "secret".to_owned())),
            ..ObjectOptions::default()
        };
        Scene { server, options }
    }

    async fn storage(&self, prefix: &str, access: Access) -> Arc<ObjectStorage> {
        let url = format!("s3://databases/{prefix}");
        let storage = ObjectStorage::open(&url, &self.options, access).await;
        Arc::new(storage.unwrap())
    }

    /// Opens the database as a process of its own does.
    async fn join(&self, prefix: &str) -> Result<Db, Error> {
        let storage = self.storage(prefix, Access::ReadWrite).await;
        let options = Options {
            mode: Mode::Clustered,
            fold_len_min: 20_000,
            ..Options::default()
        };
        Db::open_storage(storage, options, environment()).await
    }

    /// Has the store copy everything below one prefix to another.
    async fn copy(&self, from: &str, to: &str) {
        let storage = self.storage(from, Access::ReadOnly).await;
        for name in storage.list("").await.unwrap() {
            let (from, to) = (
                format!("/databases/{from}/{name}"),
                format!("/databases/{to}/{name}"),
            );
            self.server.copy(&from, &to);
        }
    }
}

fn environment() -> Environment {
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let coordinator = SharedCoordinator::new(
        Arc::new(Silence),
        Arc::clone(&clock) as _,
        Arc::clone(&entropy) as Arc<dyn Entropy>,
    );
    Environment {
        clock,
        entropy,
        spawner: Arc::new(RayonSpawner),
        coordinator: Arc::new(coordinator),
        witness: None,
    }
}

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

fn raw() -> StoreSchema {
    StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    }
}

fn amount(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().unwrap())
}

async fn total(db: &Db, store: &Store) -> u64 {
    let mut scan = db.snapshot().scan(store, &ScanRange::all());
    let mut total = 0;
    while let Some(record) = scan.next().await.unwrap() {
        total += amount(&record.value);
    }
    total
}

async fn put(db: &Db, store: &Store, number: u64, value: &'static str) -> Position {
    let mut transaction = db.begin();
    transaction.put(store, &key(number), value).unwrap();
    transaction.commit().await.unwrap().position
}

async fn get(db: &Db, store: &Store, number: u64) -> Option<Vec<u8>> {
    let found = db.snapshot().get(store, &key(number)).await.unwrap();
    found.map(|bytes| bytes.to_vec())
}

async fn is_clean(storage: Arc<dyn Storage>) {
    let report = verify(storage, &|_| {}).await.unwrap();
    assert_eq!(report.broken, vec![]);
    assert_eq!(report.warnings, Vec::<String>::new());
}

async fn transfer(db: &Db, store: &Store, dice: &Dice) {
    let (from, to) = (dice.below(ACCOUNTS), dice.below(ACCOUNTS));
    if from == to {
        return;
    }
    loop {
        let mut transaction = db.begin();
        let there = transaction.get(store, &key(from)).await.unwrap().unwrap();
        let here = transaction.get(store, &key(to)).await.unwrap().unwrap();
        let moved = amount(&there).min(1 + dice.below(10));
        let (there, here) = (amount(&there) - moved, amount(&here) + moved);
        let set = |value: u64| value.to_le_bytes().to_vec();
        transaction.put(store, &key(from), set(there)).unwrap();
        transaction.put(store, &key(to), set(here)).unwrap();
        match transaction.commit().await {
            Ok(_) => return,
            Err(Error::Conflict { .. } | Error::TooOld { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Bytes that do not compress: a run of them is longer than what is held of an object in memory.
fn drawn(value: u64, number: u64) -> Vec<u8> {
    let dice = Dice::new((value << 32) | number);
    let words = std::iter::repeat_with(|| dice.next().to_le_bytes());
    words.flatten().take(1000).collect()
}

/// What others have folded and collected since is gone for whoever stands on it, and says so; a refresh finds
/// what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stands_on_collected_runs_goes_on_after_a_refresh() {
    let scene = Scene::new(Server::moto());
    let writer = scene.join("db").await.unwrap();
    let store = writer.create_store("s", raw()).await.unwrap();
    let fill = async |value: u64| {
        let mut transaction = writer.begin();
        for number in 0..400 {
            let bytes = drawn(value, number);
            transaction.put(&store, &key(number), bytes).unwrap();
        }
        transaction.commit().await.unwrap();
        writer.fold().await.unwrap();
    };
    fill(1).await;
    let other = scene.join("db").await.unwrap();
    assert_eq!(get(&other, &store, 0).await.unwrap(), drawn(1, 0));
    for value in 2..5 {
        fill(value).await;
    }
    writer.compact().await.unwrap();
    let stale = other.snapshot();
    let mut refused = 0;
    for number in 0..400 {
        match stale.get(&store, &key(number)).await {
            Ok(found) => assert_eq!(found.as_deref(), Some(&drawn(1, number)[..])),
            Err(Error::SnapshotTooOld { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0, "nothing was collected: the test tests nothing");
    other.refresh().await.unwrap();
    for number in 0..400 {
        let found = get(&other, &store, number).await;
        assert_eq!(found, Some(drawn(4, number)));
    }
    is_clean(scene.storage("db", Access::ReadOnly).await).await;
}

/// Puts of different keys, merges of one key, and transfers, by two processes that fold and collect.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_share_a_bucket() {
    let scene = Scene::new(Server::seaweed());
    let seed = 20_261_126;
    println!("seed {seed}");
    let (a, b) = tokio::join!(scene.join("shared"), scene.join("shared"));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a.info().instance, b.info().instance, "created once");
    let accounts = a.create_store("accounts", raw()).await.unwrap();
    let columns = vec![Column::new("n", Operator::Count, Kind::Any).unwrap()];
    let counters = StoreSchema {
        columns: columns.clone(),
        ..StoreSchema::default()
    };
    let counters = a.create_store("counters", counters).await.unwrap();
    let mut transaction = a.begin();
    for account in 0..ACCOUNTS {
        let value = BEGINNING.to_le_bytes().to_vec();
        transaction.put(&accounts, &key(account), value).unwrap();
    }
    transaction.commit().await.unwrap();
    b.refresh().await.unwrap();
    let mut states = States::new(&columns);
    states[0].add_rows(1);
    let one = states.to_operand().unwrap();
    let processes = [a, b].into_iter().zip(0..).map(|(db, number)| {
        let (accounts, counters, one) = (accounts.clone(), counters.clone(), one.clone());
        tokio::spawn(async move {
            let own = db.create_store("own", raw()).await.unwrap();
            let dice = Dice::new(seed + number);
            for step in 0..20 {
                put(&db, &own, 1000 * number + step, "x").await;
                let mut transaction = db.begin();
                transaction.merge(&counters, &key(1), &one).unwrap();
                transaction.commit().await.unwrap();
                transfer(&db, &accounts, &dice).await;
                if step % 8 == 7 {
                    db.fold().await.unwrap();
                    db.collect().await.unwrap();
                }
            }
            db.refresh().await.unwrap();
            assert_eq!(total(&db, &accounts).await, ACCOUNTS * BEGINNING);
            db.close().await.unwrap();
        })
    });
    for process in processes.collect::<Vec<_>>() {
        process.await.unwrap();
    }
    is_clean(scene.storage("shared", Access::ReadOnly).await).await;
    // Reading alone: beside whoever writes, with nothing written.
    let reader = scene.storage("shared", Access::ReadOnly).await;
    let reader = Db::open_storage_read_only(reader, Options::default(), environment()).await;
    let reader = reader.unwrap();
    let again = scene.join("shared").await.unwrap();
    for db in [reader, again] {
        assert_eq!(total(&db, &accounts).await, ACCOUNTS * BEGINNING);
        let own = db.store("own").await.unwrap().unwrap();
        for number in (0..20).chain(1000..1020) {
            assert!(get(&db, &own, number).await.is_some(), "{number}");
        }
        let state = db
            .snapshot()
            .get(&counters, &key(1))
            .await
            .unwrap()
            .unwrap();
        let value = merge::read_json(&columns, &key(1), &state).unwrap();
        assert_eq!(value.to_string(), r#"{"n":40}"#);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_is_opened_clustered_only() {
    let scene = Scene::new(Server::moto());
    let storage = scene.storage("db", Access::ReadWrite).await;
    let refused = Db::open_storage(storage.clone(), Options::default(), environment()).await;
    match refused.err() {
        Some(Error::Invalid(message)) => assert!(message.contains("clustered"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(storage.list("").await.unwrap().is_empty());
    let options = Options {
        mode: Mode::Clustered,
        create: false,
        ..Options::default()
    };
    let refused = Db::open_storage(storage, options, environment())
        .await
        .err();
    assert!(
        matches!(refused, Some(Error::NotADatabase { .. })),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_who_create_it_at_once_are_in_one_database() {
    let scene = Scene::new(Server::seaweed());
    let opened = futures::future::join_all((0..8).map(|_| scene.join("db"))).await;
    let all: Vec<Db> = opened.into_iter().map(Result::unwrap).collect();
    let store = all[0].create_store("s", raw()).await.unwrap();
    for (number, db) in (0..).zip(&all) {
        assert_eq!(db.info().instance, all[0].info().instance);
        db.refresh().await.unwrap();
        put(db, &store, number, "x").await;
    }
    all[0].refresh().await.unwrap();
    for number in 0..8 {
        assert!(get(&all[0], &store, number).await.is_some(), "{number}");
    }
}

/// A copied prefix is another database from its first opening on, whoever opens it; the original stays itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copied_prefix_goes_on_as_a_database_of_its_own() {
    let scene = Scene::new(Server::seaweed());
    let db = scene.join("original").await.unwrap();
    let original = db.info().instance;
    let store = db.create_store("s", raw()).await.unwrap();
    for number in 0..20 {
        put(&db, &store, number, "of both").await;
        if number == 10 {
            db.fold().await.unwrap();
        }
    }
    scene.copy("original", "copy").await;
    let reader = scene.storage("copy", Access::ReadOnly).await;
    let reader = Db::open_storage_read_only(reader, Options::default(), environment()).await;
    assert!(reader.unwrap().info().copied);
    let opened = futures::future::join_all((0..4).map(|_| scene.join("copy"))).await;
    let copies: Vec<Db> = opened.into_iter().map(Result::unwrap).collect();
    for copy in &copies {
        assert_ne!(copy.info().instance, original);
        assert_eq!(copy.info().instance, copies[0].info().instance);
        assert_eq!(copy.info().generation, Generation(1));
    }
    put(&db, &store, 100, "of the original").await;
    for (number, copy) in (200..).zip(&copies) {
        put(copy, &store, number, "of the copy").await;
    }
    let copy = scene.join("copy").await.unwrap();
    copy.fold().await.unwrap();
    copy.collect().await.unwrap();
    for number in 0..20 {
        assert_eq!(get(&copy, &store, number).await.unwrap(), b"of both");
    }
    assert_eq!(get(&copy, &store, 100).await, None);
    assert_eq!(get(&copy, &store, 203).await.unwrap(), b"of the copy");
    let same = scene.join("original").await.unwrap();
    assert_eq!(same.info().instance, original);
    assert_eq!(get(&same, &store, 200).await, None);
    for prefix in ["original", "copy"] {
        is_clean(scene.storage(prefix, Access::ReadOnly).await).await;
    }
    // A copy of the copy, before anything else has been written to it.
    scene.copy("copy", "second").await;
    let second = scene.join("second").await.unwrap();
    assert_ne!(second.info().instance, copy.info().instance);
    assert_eq!(second.info().generation, Generation(2));
}

/// Whoever names a copy may end before it says so in `INSTANCE`; the next one goes on with that name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_left_half_its_own_is_finished() {
    let scene = Scene::new(Server::moto());
    let db = scene.join("original").await.unwrap();
    let store = db.create_store("s", raw()).await.unwrap();
    put(&db, &store, 1, "x").await;
    scene.copy("original", "copy").await;
    let named = scene.join("copy").await.unwrap().info().instance;
    let storage = scene.storage("copy", Access::ReadWrite).await;
    assert!(storage.remove(&Name::instance()).await.unwrap());
    scene
        .server
        .copy("/databases/original/INSTANCE", "/databases/copy/INSTANCE");
    let again = scene.join("copy").await.unwrap();
    assert_eq!(again.info().instance, named);
    assert_eq!(again.info().generation, Generation(1));
    put(&again, &store, 2, "y").await;
    is_clean(scene.storage("copy", Access::ReadOnly).await).await;
}

/// What would have to be cut first is refused, by name, and nothing is changed; it can be read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_not_whole_is_only_read() {
    let scene = Scene::new(Server::moto());
    let db = scene.join("original").await.unwrap();
    let store = db.create_store("s", raw()).await.unwrap();
    for number in 0..6 {
        put(&db, &store, number, "x").await;
    }
    scene.copy("original", "copy").await;
    let storage = scene.storage("copy", Access::ReadWrite).await;
    let gap = Name::log(Generation(0), Position(4));
    assert!(storage.remove(&gap).await.unwrap());
    let before = storage.list("").await.unwrap();
    let refused = scene.join("copy").await.err();
    match refused {
        Some(Error::Corrupt { object, detail }) => {
            assert_eq!(object, Name::log(Generation(0), Position(5)).as_str());
            assert!(detail.contains("copy again"), "{detail}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(storage.list("").await.unwrap(), before);
    let reader = scene.storage("copy", Access::ReadOnly).await;
    let reader = Db::open_storage_read_only(reader, Options::default(), environment()).await;
    assert_eq!(reader.unwrap().snapshot().position(), Position(3));
}

/// A folder whose files were put into a bucket, append files and all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_was_uploaded_goes_on_in_the_bucket() {
    let scene = Scene::new(Server::moto());
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(folder.path(), Options::default()).await.unwrap();
    let store = db.create_store("s", raw()).await.unwrap();
    for number in 0..10 {
        put(&db, &store, number, "of the folder").await;
        if number == 5 {
            db.fold().await.unwrap();
        }
    }
    let named = db.info().instance;
    db.close().await.unwrap();
    let local = LocalStorage::open(folder.path(), Access::ReadOnly).unwrap();
    let storage = scene.storage("uploaded", Access::ReadWrite).await;
    for name in local.list("").await.unwrap() {
        let bytes = local.read(&name).await.unwrap().unwrap();
        storage.create(&name, &bytes).await.unwrap();
    }
    let db = scene.join("uploaded").await.unwrap();
    assert_ne!(db.info().instance, named);
    put(&db, &store, 11, "of the bucket").await;
    db.fold().await.unwrap();
    db.collect().await.unwrap();
    drop(db);
    let db = scene.join("uploaded").await.unwrap();
    assert_eq!(get(&db, &store, 9).await.unwrap(), b"of the folder");
    assert_eq!(get(&db, &store, 11).await.unwrap(), b"of the bucket");
    is_clean(storage).await;
}

/// Prints how long a create takes, and how many transactions of one put 64 clients of one process commit.
#[expect(clippy::disallowed_methods, reason = "it measures")]
async fn measure(name: &str, scene: &Scene) {
    const CREATES: u32 = 200;
    const CLIENTS: u64 = 64;
    const SPAN: std::time::Duration = std::time::Duration::from_secs(5);
    let storage = scene.storage("creates", Access::ReadWrite).await;
    let mut creates = Vec::new();
    for number in 0..CREATES {
        let slot = Name::parse(&format!("log/{number}")).unwrap();
        let begun = std::time::Instant::now();
        storage.create(&slot, &[7; 1024]).await.unwrap();
        creates.push(begun.elapsed());
    }
    creates.sort_unstable();
    let db = scene.join("commits").await.unwrap();
    let store = db.create_store("s", raw()).await.unwrap();
    let (before, begun) = (db.snapshot().position(), std::time::Instant::now());
    let clients = (0..CLIENTS).map(|client| {
        let (db, store) = (db.clone(), store.clone());
        tokio::spawn(async move {
            let mut commits = 0;
            while begun.elapsed() < SPAN {
                put(&db, &store, (client << 32) | commits, "x").await;
                commits += 1;
            }
            commits
        })
    });
    let mut commits = 0;
    for client in clients.collect::<Vec<_>>() {
        commits += client.await.unwrap();
    }
    let (span, slots) = (begun.elapsed(), db.snapshot().position().0 - before.0);
    println!(
        "{name}: a create of 1 KiB {:?} (median), {:?} (worst of {CREATES}); {CLIENTS} clients: {commits} commits \
         in {span:?} ({} a second) in {slots} slots",
        creates[creates.len() / 2],
        creates[creates.len() - 1],
        u128::from(commits) * 1_000_000 / span.as_micros(),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; asserts nothing"]
async fn creates_and_commits_are_measured() {
    measure("moto", &Scene::new(Server::moto())).await;
    measure("SeaweedFS", &Scene::new(Server::seaweed())).await;
}
