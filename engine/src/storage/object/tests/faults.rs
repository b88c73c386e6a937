//! What a store's answers mean when they are late, lost or wrong.

use std::sync::Arc;
use std::time::Duration;

use super::bucket::{Server, send};
use super::proxy::{Fate, Proxy, Request};
use super::{name, open, options};
use crate::base::Error;
use crate::storage::object::writer::PART_LEN;
use crate::storage::{Access, Created, ObjectStorage, Storage};

const URL: &str = "s3://faults/db";

/// A store, a proxy before it, and a database that is reached through the proxy.
async fn scene() -> (Server, Proxy, ObjectStorage) {
    scene_of(Server::moto()).await
}

async fn scene_of(server: Server) -> (Server, Proxy, ObjectStorage) {
    server.make_bucket("faults");
    let proxy = Proxy::start(server.address());
    let storage = open(URL, proxy.endpoint()).await.unwrap();
    (server, proxy, storage)
}

/// The first of the requests that `which` means gets `fate`, all others pass.
fn once(
    which: impl Fn(&Request) -> bool + Send + 'static,
    fate: Fate,
) -> impl FnMut(&Request) -> Fate + Send + 'static {
    let mut done = false;
    move |request| match !done && which(request) {
        true => {
            done = true;
            fate
        }
        false => Fate::Pass,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_reply_to_a_create_is_no_lost_race() {
    let (server, proxy, storage) = scene().await;
    let direct = open(URL, format!("http://{}", server.address()))
        .await
        .unwrap();
    let fates = [
        Fate::LoseReply,
        Fate::Hang,
        Fate::Deny(500),
        Fate::Deny(503),
        Fate::Deny(409),
        Fate::Deny(412),
        Fate::CutBody,
        Fate::SlowBody,
    ];
    let hasty = super::ObjectOptions {
        request_timeout: Duration::from_millis(500),
        ..options(proxy.endpoint())
    };
    let hasty = ObjectStorage::open(URL, &hasty, Access::ReadWrite).await;
    let hasty = hasty.unwrap();
    for (number, fate) in fates.into_iter().enumerate() {
        let storage = if fate == Fate::Hang { &hasty } else { &storage };
        let (mine, theirs) = (format!("log/{number}-mine"), format!("log/{number}-theirs"));
        proxy.judge_by(once(Request::is_create, fate));
        let created = storage.create(&name(&mine), b"same").await.unwrap();
        assert_eq!(created, Created::New, "{fate:?}");
        // The same bytes of somebody else are not this create's.
        direct.create(&name(&theirs), b"same").await.unwrap();
        proxy.judge_by(once(Request::is_create, fate));
        let created = storage.create(&name(&theirs), b"same").await.unwrap();
        assert_eq!(created, Created::Exists, "{fate:?}");
        assert_eq!(direct.read(&name(&mine)).await.unwrap().unwrap(), "same");
    }
}

/// 409 says that nothing has landed: the same put is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_tried_again_within_bounds() {
    let (_server, proxy, storage) = scene().await;
    for status in [409, 503] {
        let slot = name(&format!("log/{status}"));
        let mut left = 3;
        proxy.judge_by(move |request| match request.is_create() && left > 0 {
            true => {
                left -= 1;
                Fate::Refuse(status)
            }
            false => Fate::Pass,
        });
        let created = storage.create(&slot, b"x").await.unwrap();
        assert_eq!(created, Created::New, "{status}");
    }
    proxy.judge_by(|request| match request.is_create() {
        true => Fate::Refuse(409),
        false => Fate::Pass,
    });
    let failed = storage.create(&name("log/never"), b"x").await;
    assert!(matches!(failed, Err(Error::Storage { .. })), "{failed:?}");
    assert_eq!(storage.read(&name("log/never")).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_sixteen_wins_though_replies_are_lost() {
    let (_server, proxy, storage) = scene_of(Server::seaweed()).await;
    let storage = Arc::new(storage);
    let mut count = 0;
    proxy.judge_by(move |request| {
        count += 1;
        match (request.is_create(), count % 5) {
            (true, 0) => Fate::LoseReply,
            (true, 1) => Fate::Deny(409),
            (true, 2) => Fate::Refuse(409),
            (false, 3) => Fate::Refuse(503),
            _ => Fate::Pass,
        }
    });
    for round in 0..6 {
        let slot = name(&format!("log/{round}"));
        let racers: Vec<_> = (0..16u8)
            .map(|racer| {
                let (storage, slot) = (Arc::clone(&storage), slot.clone());
                tokio::spawn(async move { storage.create(&slot, &[racer; 100]).await.unwrap() })
            })
            .collect();
        let mut winners = Vec::new();
        for (racer, done) in racers.into_iter().enumerate() {
            if done.await.unwrap() == Created::New {
                winners.push(u8::try_from(racer).unwrap());
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {winners:?}");
        let stands = storage.read(&slot).await.unwrap().unwrap();
        assert_eq!(stands[..], [winners[0]; 100], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_written_to_safely_is_only_read() {
    let server = Server::moto();
    server.make_bucket("faults");
    let proxy = Proxy::start(server.address());
    for header in ["if-none-match", "x-amz-meta-"] {
        proxy.judge_by(move |_| Fate::Without(header));
        let refused = open(URL, proxy.endpoint()).await.err();
        let unsupported = std::io::ErrorKind::Unsupported;
        match refused {
            Some(Error::Storage { kind, message, .. }) if kind == unsupported => {
                assert!(message.contains("reading only"), "{message}");
            }
            other => panic!("{header}: {other:?}"),
        }
    }
    let before = proxy.seen().len();
    let options = options(proxy.endpoint());
    let read_only = ObjectStorage::open(URL, &options, Access::ReadOnly).await;
    let read_only = read_only.unwrap();
    assert!(read_only.list("").await.unwrap().is_empty());
    let seen = proxy.seen().split_off(before);
    assert!(
        seen.iter().all(|request| request.method == "GET"),
        "{seen:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_reached_says_so() {
    let (server, proxy, storage) = scene().await;
    let no_bucket = open("s3://elsewhere/db", proxy.endpoint()).await.err();
    let not_found = std::io::ErrorKind::NotFound;
    assert!(
        matches!(&no_bucket, Some(Error::Storage { kind, .. }) if *kind == not_found),
        "{no_bucket:?}"
    );
    let http = super::ObjectOptions {
        allow_http: Some(false),
        retries_max: 0,
        ..options(proxy.endpoint())
    };
    assert!(
        ObjectStorage::open(URL, &http, Access::ReadWrite)
            .await
            .is_err()
    );
    proxy.judge_by(|_| Fate::Refuse(403));
    for failed in [
        storage.read(&name("a")).await.err(),
        storage.stat(&name("a")).await.err(),
        storage.create(&name("a"), b"x").await.err(),
        storage.remove(&name("a")).await.err(),
    ] {
        let denied = std::io::ErrorKind::PermissionDenied;
        assert!(
            matches!(&failed, Some(Error::Storage { kind, .. }) if *kind == denied),
            "{failed:?}"
        );
    }
    let listed = storage.list("").await;
    assert!(matches!(listed, Err(Error::Storage { .. })), "{listed:?}");
    drop(server);
    let hasty = super::ObjectOptions {
        retries_max: 1,
        ..options(proxy.endpoint())
    };
    let gone = ObjectStorage::open(URL, &hasty, Access::ReadWrite).await;
    assert!(matches!(gone, Err(Error::Storage { .. })), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_cut_or_slow_is_read_whole_or_not_at_all() {
    let (_server, proxy, storage) = scene().await;
    let bytes: Vec<u8> = (0..200_000u32).flat_map(u32::to_le_bytes).collect();
    storage.create(&name("seg/1"), &bytes).await.unwrap();
    for fate in [Fate::CutBody, Fate::SlowBody, Fate::Refuse(503)] {
        let get = |request: &Request| request.method == "GET";
        proxy.judge_by(once(get, fate));
        let read = storage.read(&name("seg/1")).await.unwrap().unwrap();
        assert!(read == bytes, "{fate:?}");
        proxy.judge_by(once(get, fate));
        let object = storage.open(&name("seg/1")).await.unwrap().unwrap();
        assert_eq!(object.len(), 800_000);
        proxy.judge_by(once(get, fate));
        let read = object.read_at(100_001, 500_000).await.unwrap();
        assert!(read[..] == bytes[100_001..600_001], "{fate:?}");
    }
    proxy.judge_by(|_| Fate::CutBody);
    let failed = storage.read(&name("seg/1")).await;
    assert!(matches!(failed, Err(Error::Storage { .. })), "{failed:?}");
}

/// What is open goes on while it has its name, and is never taken for another one of that name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_object_that_is_gone_says_so() {
    let (_server, _proxy, storage) = scene().await;
    let segment = name("seg/1");
    storage.create(&segment, &vec![1; 100_000]).await.unwrap();
    let object = storage.open(&segment).await.unwrap().unwrap();
    assert_eq!(object.read_at(50_000, 2).await.unwrap()[..], [1, 1]);
    for again in [false, true] {
        storage.remove(&segment).await.unwrap();
        if again {
            storage.create(&segment, &vec![2; 100_000]).await.unwrap();
        }
        match object.read_at(50_000, 2).await {
            Err(Error::SnapshotTooOld { object }) => assert_eq!(object, "seg/1"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_parts_become_one_object_or_none() {
    let (server, proxy, storage) = scene().await;
    let len = 2 * PART_LEN + 77;
    let bytes: Vec<u8> = (0..len).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let write = async |segment: &str| {
        let mut writer = storage.writer(&name(segment)).await.unwrap();
        for piece in bytes.chunks(1_000_003) {
            writer.write(piece).await.unwrap();
        }
        writer
    };
    let is_end = |request: &Request| request.method == "POST" && request.path.contains("uploadId");
    for (number, fate) in [
        Fate::Pass,
        Fate::LoseReply,
        Fate::Deny(503),
        Fate::Refuse(503),
    ]
    .into_iter()
    .enumerate()
    {
        let segment = format!("seg/{number}");
        let writer = write(&segment).await;
        assert_eq!(storage.stat(&name(&segment)).await.unwrap(), None);
        proxy.judge_by(once(is_end, fate));
        assert_eq!(writer.finish().await.unwrap(), Created::New, "{fate:?}");
        let object = storage.open(&name(&segment)).await.unwrap().unwrap();
        let read = object.read_at(0, len).await.unwrap();
        assert!(read == bytes, "{fate:?}");
    }
    // A part that does not arrive at first.
    proxy.judge_by(once(
        |request| request.path.contains("partNumber"),
        Fate::LoseReply,
    ));
    let writer = write("seg/part").await;
    assert_eq!(writer.finish().await.unwrap(), Created::New);
    assert!(storage.read(&name("seg/part")).await.unwrap().unwrap() == bytes);
    // A name that somebody took meanwhile.
    let writer = write("seg/taken").await;
    storage.create(&name("seg/taken"), b"fast").await.unwrap();
    assert_eq!(writer.finish().await.unwrap(), Created::Exists);
    assert_eq!(
        storage.read(&name("seg/taken")).await.unwrap().unwrap(),
        "fast"
    );
    // A writer that is dropped; its parts go as well.
    drop(write("seg/dropped").await);
    assert_eq!(storage.stat(&name("seg/dropped")).await.unwrap(), None);
    let uploads = || {
        let (status, body) = send(server.address(), "GET", "/faults?uploads", &[], b"").unwrap();
        assert_eq!(status, 200);
        String::from_utf8(body)
            .unwrap()
            .matches("<UploadId>")
            .count()
    };
    while uploads() > 0 {
        tokio::task::yield_now().await;
    }
}
