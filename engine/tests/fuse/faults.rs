//! Machines that lose their file system, or part of what it can do: a clear error, and elsewhere everything that
//! was told is there.

use eciton_engine::base::{Error, Generation, Position};
use eciton_engine::db::{Db, Settled};
use eciton_engine::storage::{Access, Created, LocalStorage, Name, Storage};
use fuser::Errno;

use super::netfs::{Ask, Machine, Server};
use super::work::{
    Stores, alone, append, begin, clustered, join, join_with, list, try_append, verify,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_without_hard_links_is_refused() {
    for errno in [
        Errno::EPERM,
        Errno::EOPNOTSUPP,
        Errno::ENOSYS,
        Errno::EMLINK,
    ] {
        let server = Server::new();
        let mount = server.mount(Machine {
            no_links: Some(errno),
            ..Machine::usual()
        });
        for filled in [false, true] {
            if filled {
                alone(server.folder()).await.unwrap();
            }
            for refused in [
                alone(&mount.path()).await.err(),
                join_with(&mount.path(), clustered()).await.err(),
            ] {
                let Some(Error::Invalid(why)) = refused else {
                    panic!("{errno:?}: {refused:?}");
                };
                assert!(why.contains("hard link"), "{why}");
                assert!(why.contains("(fuse at "), "{why}");
            }
        }
        let temporary = std::fs::read_dir(server.folder().join("tmp")).unwrap();
        assert_eq!(temporary.count(), 0);
    }
}

/// What a database that two machines share holds after one of them was in trouble: all that was told, once.
async fn check_elsewhere(db: &Db, told: &[u64], unknown: &[u64]) {
    db.refresh().await.unwrap();
    let found = list(db, &Stores::of(db).await).await;
    let mut without = found.clone();
    without.retain(|element| !unknown.contains(element));
    assert_eq!(without, told, "of {found:?}");
    let twice = |element: &&u64| found.iter().filter(|other| other == element).count() > 1;
    assert_eq!(found.iter().find(twice), None, "{found:?}");
}

/// One failure of each kind of call: the commit happens, or says that it may not have, and then can be settled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_fails_once_costs_a_try_and_nothing_else() {
    let asks = [
        Ask::Lookup,
        Ask::Open,
        Ask::Read,
        Ask::Write,
        Ask::Create,
        Ask::Link,
        Ask::Sync,
    ];
    let server = Server::new();
    let mounts = [
        server.mount(Machine::usual()),
        server.mount(Machine::usual()),
    ];
    let (a, b) = (join(&mounts[0].path()).await, join(&mounts[1].path()).await);
    let stores = begin(&a).await;
    b.refresh().await.unwrap();
    let (mut told, mut element) = (Vec::new(), 0);
    for errno in [
        Errno::EIO,
        Errno::ESTALE,
        Errno::EINTR,
        Errno::EAGAIN,
        Errno::ENOSPC,
    ] {
        for ask in asks {
            for times in [1, 2] {
                // Something to be read, that is not remembered.
                append(&b, &stores, element).await;
                mounts[0].faults.fail(ask, times, errno);
                let tried = try_append(&a, &stores, element + 1).await;
                mounts[0].faults.fail(ask, 0, errno);
                told.push(element);
                match tried {
                    Ok(()) => told.push(element + 1),
                    Err((error, Some((txid, read_at)))) => {
                        println!("{ask:?} {errno:?} {times}: {error}");
                        let settled = b.settle(txid, read_at).await.unwrap();
                        if let Settled::Committed(_) = settled {
                            told.push(element + 1);
                        }
                    }
                    Err((error, None)) => println!("{ask:?} {errno:?} {times}: {error}"),
                }
                element += 2;
                for db in [&a, &b] {
                    check_elsewhere(db, &told, &[]).await;
                }
            }
        }
    }
    drop((a, b));
    verify(&mounts[1].path()).await;
}

/// A name may not be durable whose folder failed to sync, and a second sync that succeeds proves nothing: this
/// process commits no more. So it is with the folder of the log itself, and with the folders above it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_failed_to_sync_is_given_up() {
    for beforehand in [0, 3] {
        let server = Server::new();
        let mounts = [
            server.mount(Machine::usual()),
            server.mount(Machine::usual()),
        ];
        let b = join(&mounts[1].path()).await;
        let stores = begin(&b).await;
        let a = join(&mounts[0].path()).await;
        let mut told = Vec::new();
        for element in 0..beforehand {
            append(&a, &stores, element).await;
            told.push(element);
        }
        mounts[0].faults.fail(Ask::SyncDir, 1, Errno::EIO);
        let mut unknown = Vec::new();
        for element in 10..13 {
            let tried = try_append(&a, &stores, element).await;
            assert!(
                tried.is_err(),
                "after {beforehand}: {element} was committed"
            );
            unknown.push(element);
        }
        check_elsewhere(&b, &told, &unknown).await;
        drop(a);
        // Another process may: what it finds it writes and syncs itself.
        let again = join(&mounts[0].path()).await;
        append(&again, &stores, 20).await;
        told.push(20);
        for db in [&again, &b] {
            check_elsewhere(db, &told, &unknown).await;
        }
        drop((again, b));
        verify(&mounts[0].path()).await;
    }
}

/// The folders above a name are made and synced with the first file in them: that sync is not tried again either.
#[tokio::test]
async fn a_new_folder_whose_name_failed_to_sync_is_not_synced_again() {
    let server = Server::new();
    let mount = server.mount(Machine::usual());
    let storage = LocalStorage::open(&mount.path(), Access::ReadWrite).unwrap();
    let name = Name::log(Generation(0), Position(1));
    mount.faults.fail(Ask::SyncDir, 1, Errno::EIO);
    for _ in 0..2 {
        let refused = storage.create(&name, b"slot").await;
        assert!(matches!(refused, Err(Error::Storage { .. })), "{refused:?}");
    }
    let refused = storage.sync_names(&name).await;
    assert!(matches!(refused, Err(Error::Storage { .. })), "{refused:?}");
    // Another process begins with a sync of its own.
    let storage = LocalStorage::open(&mount.path(), Access::ReadWrite).unwrap();
    assert_eq!(storage.create(&name, b"slot").await.unwrap(), Created::New);
    storage.sync_names(&name).await.unwrap();
}

/// However a file system goes away in the middle, whoever was on it is told, and nothing is written or read in the
/// empty folder that is there instead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_goes_away_is_an_error_and_no_empty_database() {
    for detached in [false, true] {
        for remembers in [Machine::usual(), Machine::long()] {
            let server = Server::new();
            let mounts = [server.mount(remembers), server.mount(remembers)];
            let a = join(&mounts[0].path()).await;
            let stores = begin(&a).await;
            append(&a, &stores, 0).await;
            if detached {
                mounts[0].detach();
            } else {
                mounts[0].faults.disappear(Errno::ENOTCONN);
            }
            let refreshed = a.refresh().await;
            assert!(
                matches!(refreshed, Err(Error::Storage { .. })),
                "{refreshed:?}"
            );
            let tried = try_append(&a, &stores, 1).await.unwrap_err();
            assert!(
                matches!(tried.0, Error::CommitUnknown { .. } | Error::Storage { .. }),
                "{tried:?}"
            );
            drop(a.fold().await);
            drop(a.collect().await);
            drop(a.close().await);
            if detached {
                let left = std::fs::read_dir(mounts[0].path()).unwrap();
                assert_eq!(left.count(), 0);
            }
            let b = join(&mounts[1].path()).await;
            check_elsewhere(&b, &[0], &[]).await;
            append(&b, &stores, 2).await;
            check_elsewhere(&b, &[0, 2], &[]).await;
            drop(b);
            verify(&mounts[1].path()).await;
        }
    }
}

/// The same with a process that writes alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_system_that_goes_away_from_a_standalone_process_is_an_error() {
    for detached in [false, true] {
        let server = Server::new();
        let mounts = [
            server.mount(Machine::usual()),
            server.mount(Machine::usual()),
        ];
        let a = alone(&mounts[0].path()).await.unwrap();
        let stores = begin(&a).await;
        append(&a, &stores, 0).await;
        if detached {
            mounts[0].detach();
        } else {
            mounts[0].faults.disappear(Errno::EIO);
        }
        for element in 1..4 {
            try_append(&a, &stores, element).await.unwrap_err();
        }
        drop(a.close().await);
        // Whoever takes a machine's file system away lets go of its locks.
        drop(mounts);
        let mount = server.mount(Machine::usual());
        let b = alone(&mount.path()).await.unwrap();
        check_elsewhere(&b, &[0], &[]).await;
    }
}
