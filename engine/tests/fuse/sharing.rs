//! Machines that are well: whatever their caches hide, nothing is lost and nothing that was told is unseen.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use eciton_engine::base::Bounds;
use eciton_engine::db::{Db, Options};

use super::netfs::{Machine, Server};
use super::work::{
    Stores, append, begin, check, clustered, join, join_with, key, list, verify, work,
};

/// Two machines that share a folder, with these caches.
async fn share(machine: Machine, seed: u64) {
    println!("seed {seed}, {machine:?}");
    let server = Server::new();
    let mounts = [server.mount(machine), server.mount(machine)];
    let (a, b) = (
        join(&mounts[0].path()).await,
        begin_at(&mounts[1].path()).await,
    );
    let machines = [work_apart(a, 0, seed), work_apart(b, 1, seed)];
    for machine in machines {
        machine.join().unwrap();
    }
    for mount in &mounts {
        let db = join(&mount.path()).await;
        check(&db, 2).await;
        drop(db);
        verify(&mount.path()).await;
    }
    verify(server.folder()).await;
}

/// A machine has threads of its own.
pub(crate) fn work_apart(db: Db, machine: u64, seed: u64) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work(db, machine, seed));
    })
}

async fn begin_at(folder: &Path) -> Db {
    let db = join(folder).await;
    begin(&db).await;
    db
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn machines_that_remember_names_and_lengths_lose_nothing() {
    share(Machine::usual(), 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn machines_that_remember_absent_names_lose_nothing() {
    let machine = Machine {
        absent: Some(Duration::from_secs(1)),
        ..Machine::usual()
    };
    share(machine, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn machines_that_keep_pages_lose_nothing() {
    let machine = Machine {
        keeps_pages: true,
        attr: Duration::from_hours(1),
        ..Machine::usual()
    };
    share(machine, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn machines_that_remember_everything_and_lock_nothing_lose_nothing() {
    share(Machine::long(), 4).await;
}

/// S9: what had committed when it was called is visible, whatever had been absent a moment before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refresh_sees_what_another_machine_committed() {
    let server = Server::new();
    let mounts = [server.mount(Machine::long()), server.mount(Machine::long())];
    let dbs = [join(&mounts[0].path()).await, join(&mounts[1].path()).await];
    let stores = begin(&dbs[0]).await;
    for round in 0..10 {
        let (writer, reader) = (&dbs[round % 2], &dbs[1 - round % 2]);
        reader.refresh().await.unwrap();
        append(writer, &stores, round as u64).await;
        reader.refresh().await.unwrap();
        let expected: Vec<u64> = (0..=round as u64).collect();
        assert_eq!(list(reader, &stores).await, expected);
    }
}

/// S11: who slept until what it stood on was collected must not commit into a slot that nobody reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_machine_that_slept_finds_the_floor() {
    let server = Server::new();
    let mounts = [server.mount(Machine::long()), server.mount(Machine::long())];
    let options = || Options {
        bounds: Bounds {
            window_slots_max: 5,
            manifests_min: 1,
            ..Bounds::default()
        },
        ..clustered()
    };
    let awake = join_with(&mounts[0].path(), options()).await.unwrap();
    let stores = begin(&awake).await;
    let asleep = join_with(&mounts[1].path(), options()).await.unwrap();
    asleep.refresh().await.unwrap();
    for step in 0..30 {
        append(&awake, &stores, step).await;
    }
    for _ in 0..3 {
        append(&awake, &stores, 100).await;
        awake.fold().await.unwrap();
        awake.collect().await.unwrap();
    }
    let mut transaction = asleep.begin();
    transaction.put(&stores.list, &key(7), "woken").unwrap();
    let committed = transaction.commit().await;
    awake.refresh().await.unwrap();
    let found = awake.snapshot().get(&stores.list, &key(7)).await.unwrap();
    assert_eq!(committed.is_ok(), found.is_some(), "{committed:?}");
    append(&asleep, &Stores::of(&asleep).await, 200).await;
    awake.refresh().await.unwrap();
    assert_eq!(list(&awake, &stores).await.last(), Some(&200));
}
