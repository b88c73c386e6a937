//! One process or many, from one machine or several: a folder changes between them at every opening.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eciton_engine::base::Error;
use eciton_engine::db::{Db, Environment, Options};
use eciton_engine::storage::{Access, LocalStorage};

use super::netfs::{Machine, Server};
use super::sharing::work_apart;
use super::work::{alone, append, begin, check, clustered, join, join_with, list, verify};

/// The files of the log that hold many slots, and those that hold one.
fn log_files(folder: &Path) -> (usize, usize) {
    fn files(dir: PathBuf, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => files(path, found),
                false => found.push(path),
            }
        }
    }
    let mut found = Vec::new();
    files(folder.join("log"), &mut found);
    let is_append = |path: &&PathBuf| std::fs::read(path).unwrap().starts_with(b"ECLG");
    let appends = found.iter().filter(is_append).count();
    (appends, found.len() - appends)
}

/// S2: what a standalone process writes on a network file system stands in files of one slot each; on one of
/// which it knows better it appends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standalone_process_on_a_network_writes_a_file_a_slot() {
    for knows_better in [false, true] {
        let server = Server::new();
        let mount = server.mount(Machine::usual());
        let storage = LocalStorage::open(&mount.path(), Access::ReadWrite).unwrap();
        let storage = match knows_better {
            true => storage.assume_local(),
            false => storage,
        };
        let (options, environment) = (Options::default(), Environment::default());
        let db = Db::open_storage(Arc::new(storage), options, environment);
        let db = db.await.unwrap();
        assert!(!db.is_shared());
        begin(&db).await;
        db.close().await.unwrap();
        let (appends, slots) = log_files(server.folder());
        assert_eq!(appends > 0, knows_better, "{appends} {slots}");
        assert_eq!(slots > 0, !knows_better, "{appends} {slots}");
    }
}

/// Where locks do not reach from one machine to the other, two may take themselves for the only one. Each slot is
/// won by one of them all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_standalone_processes_that_cannot_see_each_others_lock_lose_nothing() {
    let server = Server::new();
    let mounts = [server.mount(Machine::long()), server.mount(Machine::long())];
    let a = alone(&mounts[0].path()).await.unwrap();
    begin(&a).await;
    let b = alone(&mounts[1].path()).await.unwrap();
    for machine in [work_apart(a, 0, 5), work_apart(b, 1, 5)] {
        machine.join().unwrap();
    }
    for mount in &mounts {
        let db = alone(&mount.path()).await.unwrap();
        check(&db, 2).await;
        drop(db);
        verify(&mount.path()).await;
    }
}

/// One with all others, where the lock does not reach.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_standalone_process_among_others_that_cannot_see_its_lock_loses_nothing() {
    let server = Server::new();
    let mounts = [server.mount(Machine::long()), server.mount(Machine::long())];
    let a = join(&mounts[0].path()).await;
    begin(&a).await;
    let b = alone(&mounts[1].path()).await.unwrap();
    for machine in [work_apart(a, 0, 6), work_apart(b, 1, 6)] {
        machine.join().unwrap();
    }
    let db = join(&mounts[0].path()).await;
    check(&db, 2).await;
}

/// Machines take turns, quicker than what they remember of each other is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn machines_that_take_turns_find_what_the_other_wrote() {
    let server = Server::new();
    let mounts = [server.mount(Machine::long()), server.mount(Machine::long())];
    let db = alone(&mounts[0].path()).await.unwrap();
    let stores = begin(&db).await;
    db.close().await.unwrap();
    let mut expected = Vec::new();
    for turn in 0..8 {
        let db = alone(&mounts[turn % 2].path()).await.unwrap();
        assert_eq!(list(&db, &stores).await, expected, "turn {turn}");
        for step in 0..3 {
            let element = 3 * turn as u64 + step;
            append(&db, &stores, element).await;
            expected.push(element);
        }
        if turn % 3 == 2 {
            db.fold().await.unwrap();
            db.collect().await.unwrap();
        }
        if turn % 2 == 0 {
            db.close().await.unwrap();
        }
    }
}

/// Alone on the server (which appends), many over the network, alone over the network, and again, in every order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_folder_changes_between_modes_and_places_at_every_opening() {
    let server = Server::new();
    let mounts = [server.mount(Machine::long()), server.mount(Machine::long())];
    let local = server.folder().to_owned();
    let db = alone(&local).await.unwrap();
    let stores = begin(&db).await;
    db.close().await.unwrap();
    let mut expected: Vec<u64> = Vec::new();
    let order = [0, 1, 0, 2, 1, 2, 0, 0, 1, 1, 2, 2, 0];
    for (round, how) in (0..).zip(order) {
        let dbs = match how {
            0 => vec![alone(&local).await.unwrap()],
            1 => vec![join(&mounts[0].path()).await, join(&mounts[1].path()).await],
            _ => vec![alone(&mounts[(round % 2) as usize].path()).await.unwrap()],
        };
        for step in 0..4 {
            let db = &dbs[step % dbs.len()];
            db.refresh().await.unwrap();
            assert_eq!(list(db, &stores).await, expected, "round {round}, {how}");
            let element = round * 4 + step as u64;
            append(db, &stores, element).await;
            expected.push(element);
        }
        for db in dbs {
            if round % 4 == 3 {
                db.fold().await.unwrap();
            }
            if round % 3 != 2 {
                db.close().await.unwrap();
            }
        }
    }
    verify(&local).await;
    verify(&mounts[0].path()).await;
    let (appends, slots) = log_files(&local);
    assert!(appends > 1 && slots > 4, "{appends} {slots}");
}

/// Where locks reach, whoever comes in the wrong mode is turned away, from another machine too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_mode_is_refused_from_another_machine_where_locks_reach() {
    let server = Server::new();
    let mounts = [
        server.mount(Machine::usual()),
        server.mount(Machine::usual()),
    ];
    for (inside, outside) in [(0, 0), (0, 1)] {
        let (inside, outside) = (mounts[inside].path(), mounts[outside].path());
        let among = join(&inside).await;
        let refused = alone(&outside).await.err();
        let is_here = |error: &Error| matches!(error, Error::Locked { pid, .. } if *pid == std::process::id());
        assert!(refused.as_ref().is_some_and(is_here), "{refused:?}");
        drop(join(&outside).await);
        drop(among);
        let only = alone(&inside).await.unwrap();
        // It waits for a while: whoever creates a database has it alone for a moment.
        if inside != outside {
            let refused = join_with(&outside, clustered()).await.err();
            assert!(refused.as_ref().is_some_and(is_here), "{refused:?}");
        }
        let refused = alone(&outside).await.err();
        assert!(refused.as_ref().is_some_and(is_here), "{refused:?}");
        drop(only);
        drop(alone(&outside).await.unwrap());
    }
}
