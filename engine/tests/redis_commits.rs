//! Databases that several processes write, with Redis between them: whatever becomes of Redis, everything is
//! committed once and nothing is lost.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::Dice;
use crate::support::link::{LONG_MS, bus, join, key};
use crate::support::redis::RedisServer;
use eciton_engine::base::Error;
use eciton_engine::coord::Bus as _;
use eciton_engine::coord::redis::RedisOptions;
use eciton_engine::db::{Db, Encoding, ScanRange, Store, StoreSchema};
use eciton_engine::merge::{self, Column, Kind, Operator, States};
use eciton_engine::txn::Scan;

const ACCOUNTS: u64 = 20;
const BEGINNING: u64 = 100;
/// Keys that the writers of one process put each.
const PUTS: u64 = 25;
const TASKS: u64 = 8;

fn raw() -> StoreSchema {
    StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    }
}

fn columns() -> Vec<Column> {
    vec![Column::new("n", Operator::Count, Kind::Any).unwrap()]
}

async fn open(folder: &Path, options: &RedisOptions) -> Db {
    join(folder, &bus(options)).await
}

/// The stores of the tests, whoever of the processes creates them.
async fn stores(db: &Db) -> (Store, Store) {
    let merged = StoreSchema {
        columns: columns(),
        ..StoreSchema::default()
    };
    let raw = db.create_store("raw", raw()).await.unwrap();
    (raw, db.create_store("merged", merged).await.unwrap())
}

/// Puts of keys that nobody else puts, and merges of one that everybody merges: none may conflict.
async fn write_apart(db: &Db, process: u64) {
    let (raw, merged) = stores(db).await;
    let mut one = States::new(&columns());
    one[0].add_rows(1);
    let one = one.to_operand().unwrap();
    let writers = (0..TASKS).map(|task| {
        let (raw, merged, one) = (&raw, &merged, &one);
        async move {
            for put in 0..PUTS {
                let number = (process * TASKS + task) * PUTS + put;
                let mut transaction = db.begin();
                transaction.put(raw, &key(number), "there").unwrap();
                transaction.merge(merged, &key(0), one).unwrap();
                transaction.commit().await.unwrap();
            }
        }
    });
    futures::future::join_all(writers).await;
}

/// Everything that so many processes wrote is there, once.
async fn check_apart(db: &Db, processes: u64) {
    db.refresh().await.unwrap();
    let (raw, merged) = stores(db).await;
    let expected = processes * TASKS * PUTS;
    let found = db.snapshot().scan(&raw, &ScanRange::all());
    assert_eq!(count(found).await, expected);
    let state = db.snapshot().get(&merged, &key(0)).await.unwrap().unwrap();
    let value = merge::read_json(&columns(), &key(0), &state).unwrap();
    assert_eq!(value.to_string(), format!(r#"{{"n":{expected}}}"#));
}

async fn count(mut scan: Scan) -> u64 {
    let mut count = 0;
    while scan.next().await.unwrap().is_some() {
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_handles_of_one_program_write_apart_and_never_conflict() {
    let server = RedisServer::start();
    for processes in [2, 4] {
        let folder = tempfile::tempdir().unwrap();
        let options = RedisOptions::at(&server.url());
        let databases: Vec<Db> =
            futures::future::join_all((0..processes).map(|_| open(folder.path(), &options))).await;
        let writers = databases.iter().zip(0..);
        futures::future::join_all(writers.map(|(db, process)| write_apart(db, process))).await;
        for db in databases {
            check_apart(&db, processes).await;
            db.close().await.unwrap();
        }
    }
}

/// A process that commits and ends at once, as commands do: others still hear of its commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_is_sent_before_a_database_is_closed() {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let options = RedisOptions::at(&server.url());
    let other = bus(&options);
    for number in 0..20 {
        let own = bus(&options);
        let db = join(folder.path(), &own).await;
        let instance = db.info().instance;
        // What is told while there is no connection yet is not kept for it.
        assert!(own.connected(instance, LONG_MS).await);
        assert!(other.connected(instance, LONG_MS).await);
        let store = db.create_store("raw", raw()).await.unwrap();
        let mut transaction = db.begin();
        transaction.put(&store, &key(number), "there").unwrap();
        transaction.commit().await.unwrap();
        let position = db.info().position;
        db.close().await.unwrap();
        drop(own);
        let slot = other.slot(instance, position).await;
        assert!(slot.is_some(), "slot {position}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_away_from_the_beginning() {
    let mut server = RedisServer::start();
    server.kill();
    let folder = tempfile::tempdir().unwrap();
    let options = RedisOptions::at(&server.url());
    let (a, b) = tokio::join!(open(folder.path(), &options), open(folder.path(), &options));
    tokio::join!(write_apart(&a, 0), write_apart(&b, 1));
    check_apart(&a, 2).await;
    check_apart(&b, 2).await;
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
        let set = |value: u64| value.to_le_bytes().to_vec();
        let (there, here) = (amount(&there) - moved, amount(&here) + moved);
        transaction.put(store, &key(from), set(there)).unwrap();
        transaction.put(store, &key(to), set(here)).unwrap();
        match transaction.commit().await {
            Ok(_) => return,
            Err(Error::Conflict { .. } | Error::TooOld { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn transfers_conserve_the_total_while_redis_forgets_hangs_and_dies() {
    let seed = 20_261_126;
    println!("seed {seed}");
    let mut server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let options = RedisOptions {
        connect_ms_max: 100,
        response_ms_max: 50,
        backoff_ms_max: 100,
        ..RedisOptions::at(&server.url())
    };
    let first = open(folder.path(), &options).await;
    let store = first.create_store("accounts", raw()).await.unwrap();
    let mut transaction = first.begin();
    for account in 0..ACCOUNTS {
        let value = BEGINNING.to_le_bytes().to_vec();
        transaction.put(&store, &key(account), value).unwrap();
    }
    transaction.commit().await.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let processes: Vec<_> = (0..4)
        .map(|process| {
            let (path, options) = (folder.path().to_owned(), options.clone());
            let is_over = Arc::clone(&is_over);
            tokio::spawn(async move {
                let db = open(&path, &options).await;
                let store = db.store("accounts").await.unwrap().unwrap();
                let mut transfers = 0;
                let writers = (0..4).map(async |task| {
                    let dice = Dice::new(seed + 100 * process + task);
                    let mut transfers = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        transfer(&db, &store, &dice).await;
                        transfers += 1;
                        if transfers % 32 == 0 {
                            db.refresh().await.unwrap();
                            assert_eq!(total(&db, &store).await, ACCOUNTS * BEGINNING);
                        }
                    }
                    transfers
                });
                for done in futures::future::join_all(writers).await {
                    transfers += done;
                }
                db.close().await.unwrap();
                transfers
            })
        })
        .collect();
    // As long as it takes them to go on after each of it.
    let progress = async || {
        let dice = Dice::new(seed);
        for _ in 0..5 {
            transfer(&first, &store, &dice).await;
        }
    };
    for _ in 0..3 {
        progress().await;
        server.cli(&["FLUSHALL"]);
        progress().await;
        server.cli(&["SCRIPT", "FLUSH"]);
        progress().await;
        server.stop();
        progress().await;
        server.go_on();
        progress().await;
        server.kill();
        progress().await;
        server.restart();
    }
    progress().await;
    is_over.store(true, Ordering::Relaxed);
    for process in processes {
        assert!(process.await.unwrap() > 0);
    }
    first.refresh().await.unwrap();
    assert_eq!(total(&first, &store).await, ACCOUNTS * BEGINNING);
}

/// What a process of its own does: opens the database, says so, and does each of its tasks when it is told.
const FOLDER: &str = "ECITON_TEST_FOLDER";
const REDIS: &str = "ECITON_TEST_REDIS";

struct Process {
    child: Child,
    stdin: ChildStdin,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Process {
    fn start(folder: &Path, server: &RedisServer) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "redis_commits::a_process_of_its_own",
                "--nocapture",
            ])
            .env(FOLDER, folder)
            .env(REDIS, server.url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Process {
            child,
            stdin,
            lines,
        }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").unwrap();
    }

    /// The next line that it says itself: test programs say something, too.
    fn hear(&mut self) -> String {
        for line in self.lines.by_ref() {
            if let Some((_, told)) = line.unwrap().split_once("told: ") {
                return told.to_owned();
            }
        }
        panic!("the process went away");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The next line that a process of its own is told.
fn told() -> Option<String> {
    let mut line = String::new();
    let len = std::io::stdin().read_line(&mut line).unwrap();
    (len > 0).then(|| line.trim().to_owned())
}

#[test]
fn a_process_of_its_own() {
    let (Some(folder), Ok(url)) = (std::env::var_os(FOLDER), std::env::var(REDIS)) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let db = open(Path::new(&folder), &RedisOptions::at(&url)).await;
        assert!(
            bus(&RedisOptions::at(&url))
                .connected(db.info().instance, LONG_MS)
                .await
        );
        println!("told: ready");
        while let Some(line) = told() {
            let (what, number) = line.split_once(' ').unwrap();
            let number: u64 = number.parse().unwrap();
            match what {
                "put" => {
                    db.refresh().await.unwrap();
                    let store = db.store("empty").await.unwrap().unwrap();
                    let mut transaction = db.begin();
                    transaction.put(&store, &key(number), "there").unwrap();
                    println!("told: begun");
                    told().unwrap();
                    println!("told: {:?}", transaction.commit().await.map(drop));
                }
                "write" => {
                    write_apart(&db, number).await;
                    println!("told: done");
                }
                other => panic!("{other}"),
            }
        }
    });
}

/// Both add different keys to one new, empty store at the same time, and both commit at the first try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_add_different_keys_to_an_empty_store_at_the_same_time() {
    let server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), &RedisOptions::at(&server.url())).await;
    let store = db.create_store("empty", raw()).await.unwrap();
    let mut processes = [(); 2].map(|()| Process::start(folder.path(), &server));
    for process in &mut processes {
        assert_eq!(process.hear(), "ready");
    }
    for round in 0..10 {
        for (process, number) in processes.iter_mut().zip(0..) {
            process.tell(&format!("put {}", round * 2 + number));
        }
        for process in &mut processes {
            assert_eq!(process.hear(), "begun");
        }
        for process in &mut processes {
            process.tell("go");
        }
        for process in &mut processes {
            assert_eq!(process.hear(), "Ok(())");
        }
    }
    db.refresh().await.unwrap();
    let found = db.snapshot().scan(&store, &ScanRange::all());
    assert_eq!(count(found).await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_write_apart_and_never_conflict() {
    let mut server = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path(), &RedisOptions::at(&server.url())).await;
    let mut processes = [(); 2].map(|()| Process::start(folder.path(), &server));
    for (process, number) in processes.iter_mut().zip(0..) {
        assert_eq!(process.hear(), "ready");
        process.tell(&format!("write {number}"));
    }
    server.restart();
    for process in &mut processes {
        assert_eq!(process.hear(), "done");
    }
    check_apart(&db, 2).await;
}
