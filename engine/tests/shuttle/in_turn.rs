//! Changes that take turns: each is made once, and whoever goes away leaves nobody waiting.

use std::sync::Arc;

use eciton_engine::base::{Error, Position, Result};
use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::rand::{Rng, thread_rng};

use super::explore::explore;
use super::scene::{Scene, key};

const CLIENTS: u64 = 3;
const COUNTER: u64 = 77;

/// Adds one to a record, in turn with others from the first try on.
async fn add(scene: Scene) -> Result<u64> {
    let mut retry = scene.db.retry();
    let what = "made up".to_owned();
    let read_at = Position(1);
    retry.lost(Error::Conflict { what, read_at }).await?;
    loop {
        let mut transaction = retry.begin().await?;
        let before = transaction.get(&scene.store, &key(COUNTER)).await?;
        let before: u64 = before.map_or(0, |text| {
            String::from_utf8_lossy(&text).parse().unwrap_or(0)
        });
        transaction.put(&scene.store, &key(COUNTER), (before + 1).to_string())?;
        if retry.commit(transaction).await?.is_some() {
            return Ok(before);
        }
    }
}

fn count(scene: &Scene) -> u64 {
    let value = block_on(scene.db.snapshot().get(&scene.store, &key(COUNTER))).unwrap();
    value.map_or(0, |text| String::from_utf8_lossy(&text).parse().unwrap())
}

fn all(scene: &Scene) -> Vec<JoinHandle<Result<u64>>> {
    (0..CLIENTS).map(|_| spawn(add(scene.clone()))).collect()
}

/// Each sees the one before it, beside a commit that takes no turn.
pub(crate) fn each_adds_once() {
    let scene = Scene::open(|memory| Arc::new(memory));
    let clients = all(&scene);
    let beside = {
        let scene = scene.clone();
        spawn(async move { scene.commit(1).await })
    };
    let mut seen: Vec<u64> = clients
        .into_iter()
        .map(|one| block_on(one).unwrap().unwrap())
        .collect();
    block_on(beside).unwrap().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (0..CLIENTS).collect::<Vec<_>>());
    assert_eq!(count(&scene), CLIENTS);
    assert!(scene.shows(1));
}

/// Nobody waits for ever when some go away while they wait, lead or run.
pub(crate) fn going_away_leaves_nobody_waiting() {
    let scene = Scene::open(|memory| Arc::new(memory));
    let clients = all(&scene);
    let gone = thread_rng().gen_range(1..CLIENTS);
    let handles: Vec<_> = clients
        .iter()
        .take(usize::try_from(gone).unwrap())
        .map(JoinHandle::abort_handle)
        .collect();
    let cancelling = shuttle::thread::spawn(move || {
        for handle in handles {
            handle.abort();
        }
    });
    let mut committed = 0;
    for (number, client) in (0..).zip(clients) {
        match block_on(client) {
            Ok(Ok(_)) => committed += 1,
            Ok(Err(Error::CommitUnknown { .. } | Error::Halted { .. })) => {}
            Ok(Err(error)) => panic!("{number}: {error}"),
            Err(_) => assert!(number < gone, "{number} did not go away"),
        }
    }
    cancelling.join().unwrap();
    assert!(count(&scene) >= committed && count(&scene) <= CLIENTS);
}

#[test]
fn every_change_is_made_once() {
    explore(each_adds_once);
}

#[test]
fn nobody_waits_for_a_change_that_went_away() {
    explore(going_away_leaves_nobody_waiting);
}
