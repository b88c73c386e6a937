//! Several submit at once: each is answered once, and whoever goes away leaves nobody waiting.

use std::collections::BTreeMap;
use std::sync::Arc;

use eciton_engine::base::{Error, Result};
use eciton_engine::db::{Committed, Db, Environment, Options};
use shuttle::future::{JoinHandle, block_on, spawn};
use shuttle::rand::{Rng, thread_rng};

use super::explore::explore;
use super::scene::{Scene, key};
use super::slow::Slow;

const SUBMITTERS: u64 = 4;

fn submit_all(scene: &Scene) -> Vec<JoinHandle<Result<Committed>>> {
    let submit = |number| {
        let scene = scene.clone();
        spawn(async move { scene.commit(number).await })
    };
    (0..SUBMITTERS).map(submit).collect()
}

/// Everybody is answered once, with the slot where the record really is.
pub(crate) fn all_are_answered() {
    let scene = Scene::open(|memory| Arc::new(memory));
    let submitters = submit_all(&scene);
    let folding = {
        let scene = scene.clone();
        spawn(async move { scene.db.fold().await })
    };
    let mut slots = BTreeMap::new();
    for (number, submitter) in (0..).zip(submitters) {
        let committed = block_on(submitter).unwrap().unwrap();
        slots.insert(number, committed.position);
    }
    block_on(folding).unwrap().unwrap();
    scene.coordinator.assert_all_answered();
    let end = scene.db.snapshot().position();
    for (number, slot) in slots {
        assert!(slot <= end, "{number} was answered with {slot} after {end}");
        assert!(scene.shows(number), "{number} was acknowledged");
    }
    let Scene { medium, store, .. } = scene;
    let again = medium.restart();
    let opened = Db::open_storage(Arc::new(again), Options::default(), Environment::default());
    let snapshot = block_on(opened).unwrap().snapshot();
    for number in 0..SUBMITTERS {
        let value = block_on(snapshot.get(&store, &key(number))).unwrap();
        assert!(value.is_some(), "{number} is not in the log");
    }
}

/// Those that `scene` has submitted and that stay are answered although others go away.
fn the_rest_is_answered(scene: &Scene, allowed: fn(&Error) -> bool) {
    let submitters = submit_all(scene);
    let gone = thread_rng().gen_range(1..4_u64);
    let handles: Vec<_> = submitters
        .iter()
        .take(usize::try_from(gone).unwrap())
        .map(JoinHandle::abort_handle)
        .collect();
    let cancelling = shuttle::thread::spawn(move || {
        for handle in handles {
            handle.abort();
        }
    });
    for (number, submitter) in (0..).zip(submitters) {
        match block_on(submitter) {
            Ok(Ok(_)) => assert!(scene.shows(number), "{number} was acknowledged"),
            Ok(Err(error)) => assert!(allowed(&error), "{number}: {error}"),
            Err(_) => assert!(number < gone, "{number} did not go away"),
        }
    }
    cancelling.join().unwrap();
    // The turn has not been lost: whoever comes now gets it.
    match block_on(scene.commit(SUBMITTERS)) {
        Ok(_) => assert!(scene.shows(SUBMITTERS)),
        Err(error) => assert!(allowed(&error), "{error}"),
    }
}

/// Nobody waits forever when submitters go away while they wait.
pub(crate) fn going_away_leaves_nobody_waiting() {
    let scene = Scene::open(|memory| Arc::new(memory));
    the_rest_is_answered(&scene, |_| false);
    scene.coordinator.assert_all_answered();
}

/// The same when the one who combines goes away in the middle of its slot: what the log holds is then
/// not known, and everybody is told so.
pub(crate) fn going_away_while_writing_leaves_nobody_waiting() {
    let scene = Scene::open(|memory| Arc::new(Slow(memory)));
    the_rest_is_answered(&scene, |error| {
        matches!(error, Error::Halted { .. } | Error::CommitUnknown { .. })
    });
}

#[test]
fn every_intent_is_answered_once() {
    explore(all_are_answered);
}

#[test]
fn nobody_waits_for_those_who_went_away() {
    explore(going_away_leaves_nobody_waiting);
}

#[test]
fn nobody_waits_for_one_who_went_away_while_writing() {
    explore(going_away_while_writing_leaves_nobody_waiting);
}
