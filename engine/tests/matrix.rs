//! Every error of a storage path, in every operation, on either path, with the state that must come of it. The table is in
//! `docs/storage-paths.md`.

use std::sync::Arc;

use eciton_engine::base::{Action, Datum, Error, Generation, Key};
use eciton_engine::coord::{SharedCoordinator, Silence};
use eciton_engine::db::{Db, Encoding, Environment, Mode, Options, Store, StoreSchema};
use eciton_engine::storage::{MemoryStorage, Operation, Storage};
use futures::executor::block_on;
use rustix::io::Errno;

use crate::support::breakable::{Breakable, Broken};

/// Errors that may mean the loss of a path.
const ERRORS: [Errno; 8] = [
    Errno::IO,
    Errno::ROFS,
    Errno::NOSPC,
    Errno::UCLEAN,
    Errno::DQUOT,
    Errno::STALE,
    Errno::TIMEDOUT,
    Errno::NXIO,
];

/// What comes of a commit while one operation of one path fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is acknowledged, on both paths.
    GoesOn,
    /// It is acknowledged, on the standby path alone, in one generation more.
    Left,
    /// It is not acknowledged as long as the fault lasts; afterwards commits are.
    Waits,
    /// It is not acknowledged, and this process acknowledges nothing more until it opens the database again.
    Stops,
}

use State::{GoesOn, Left, Stops, Waits};

/// For each operation: what comes of its failure on the active path, and on the standby path.
const EXPECTED: [(Operation, State, State); 8] = [
    (Operation::Create, Left, Waits),
    (Operation::SyncNames, Left, Stops),
    (Operation::Stat, Waits, Waits),
    (Operation::Read, GoesOn, Waits),
    (Operation::Open, Waits, Waits),
    (Operation::List, GoesOn, GoesOn),
    (Operation::Remove, GoesOn, GoesOn),
    (Operation::Write, GoesOn, GoesOn),
];

async fn open(places: [Arc<dyn Storage>; 2]) -> Db {
    let environment = Environment::default();
    let coordinator = SharedCoordinator::new(
        Arc::new(Silence),
        Arc::clone(&environment.clock),
        Arc::clone(&environment.entropy),
    );
    let environment = Environment {
        coordinator: Arc::new(coordinator),
        ..environment
    };
    let options = Options {
        mode: Mode::Clustered,
        ..Options::default()
    };
    let opened = Db::open_mirrored(&places, options, environment).await;
    opened.unwrap()
}

fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

async fn put(db: &Db, store: &Store, number: u64) -> Result<(), Error> {
    for _ in 0..10 {
        let mut transaction = db.begin();
        transaction.put(store, &key(number), "there")?;
        match transaction.commit().await {
            Err(error) if error.action() == Action::Retry => db.refresh().await?,
            committed => return committed.map(|_| ()),
        }
    }
    panic!("{number} conflicts for ever");
}

/// Fails one operation of one path, and says what came of it. What was acknowledged is there in any case.
async fn state_of(operation: Operation, errno: Errno, is_active: bool) -> State {
    let cell = format!("{operation} {errno:?} active: {is_active}");
    let (active, passive) = (
        MemoryStorage::new(),
        MemoryStorage::with_identities_from(1 << 40),
    );
    let (first, second) = (
        Breakable::new(active.clone()),
        Breakable::new(passive.clone()),
    );
    let db = open([Arc::new(first.clone()), Arc::new(second.clone())]).await;
    let schema = StoreSchema {
        encoding: Encoding::Raw,
        ..StoreSchema::default()
    };
    let store = db.create_store("things", schema).await.unwrap();
    put(&db, &store, 1).await.unwrap();
    let failing = if is_active { &first } else { &second };
    failing.fail(Broken::Only(operation, errno.raw_os_error()));
    let during = put(&db, &store, 2).await;
    failing.mend();
    let after = put(&db, &store, 3).await;
    drop(db);
    let again = open([Arc::new(active), Arc::new(passive)]).await;
    let snapshot = again.snapshot();
    for (number, is_told) in [(1, true), (2, during.is_ok()), (3, after.is_ok())] {
        let found = snapshot.get(&store, &key(number)).await.unwrap();
        assert!(found.is_some() || !is_told, "{cell}: {number} is lost");
    }
    let generation = again.info().generation;
    match (during.is_ok(), after.is_ok(), generation) {
        (true, true, Generation(0)) => GoesOn,
        (true, true, Generation(1)) => Left,
        (false, true, Generation(0)) => Waits,
        (false, false, Generation(0)) => Stops,
        other => panic!("{cell}: {other:?}, {during:?}, {after:?}"),
    }
}

#[test]
fn each_error_of_each_operation_on_each_path_has_the_state_that_is_written_down() {
    // Commits that fail wait before they are tried again, so the rows are tried at the same time.
    let row = |(operation, active, passive): (Operation, State, State)| {
        let mut wrong = Vec::new();
        for errno in ERRORS {
            for (is_active, expected) in [(true, active), (false, passive)] {
                let state = block_on(state_of(operation, errno, is_active));
                if state != expected {
                    wrong.push(format!(
                        "{operation} {errno:?}, active: {is_active}: {state:?}, expected {expected:?}"
                    ));
                }
            }
        }
        wrong
    };
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let rows = EXPECTED.map(|expected| scope.spawn(move || row(expected)));
        rows.into_iter()
            .flat_map(|row| row.join().unwrap())
            .collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
