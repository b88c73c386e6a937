//! The suite of all media.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::executor::block_on;

use super::bucket::Server;
use super::options;
use crate::storage::conformance::{Subject, check};
use crate::storage::{Access, ObjectStorage, Storage};

/// A database of its own in a bucket.
async fn subject(server: &Server, number: &AtomicU64) -> Subject {
    let number = number.fetch_add(1, Ordering::Relaxed);
    let url = format!("s3://suite/some/where-{number}");
    let options = options(format!("http://{}", server.address()));
    // A neighbour whose prefix begins with this one.
    let beside = format!("{url}x");
    let beside = ObjectStorage::open(&beside, &options, Access::ReadWrite).await;
    let beside = beside.unwrap();
    beside.create(&super::name("log/1"), b"x").await.unwrap();
    let storage = ObjectStorage::open(&url, &options, Access::ReadWrite);
    let storage = Arc::new(storage.await.unwrap());
    Subject::new(storage, move |access| {
        Arc::new(block_on(ObjectStorage::open(&url, &options, access)).unwrap())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn moto_conforms() {
    let server = Server::moto();
    server.make_bucket("suite");
    let number = AtomicU64::new(0);
    // Its creates are not atomic.
    let but = ["one_winner_of_sixteen"];
    check(&but, async || subject(&server, &number).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn seaweed_conforms() {
    let server = Server::seaweed();
    server.make_bucket("suite");
    let number = AtomicU64::new(0);
    check(&[], async || subject(&server, &number).await).await;
}

/// A fold runs on plain threads, and a program may have no runtime at all.
#[test]
fn works_without_a_runtime() {
    let server = Server::moto();
    server.make_bucket("suite");
    block_on(async {
        let subject = subject(&server, &AtomicU64::new(0)).await;
        crate::storage::conformance::writer_publishes_at_the_end(subject).await;
    });
}
