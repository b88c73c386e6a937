//! What the tests of the engine share: dice, and background work that runs when the test says so.

#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod breakable;
#[cfg(feature = "object-store")]
pub(crate) mod bucket;
pub(crate) mod bus;
pub(crate) mod counting;
pub(crate) mod hanging;
#[cfg(feature = "redis")]
pub(crate) mod link;
#[cfg(feature = "object-store")]
pub(crate) mod proxy;
#[cfg(feature = "redis")]
pub(crate) mod redis;
pub(crate) mod stepping;

use std::path::Path;
use std::sync::{Arc, Mutex};

use eciton_engine::base::Result;
use eciton_engine::base::clock::SystemClock;
use eciton_engine::base::entropy::{SeededEntropy, SystemEntropy};
use eciton_engine::base::spawn::{RayonSpawner, Spawner};
use eciton_engine::coord::{Bus, LocalCoordinator, SharedCoordinator, Silence};
use eciton_engine::db::{Db, Environment, Mode, Options, Store, StoreSchema};
use eciton_engine::merge::{Column, Kind, Operand, Operator, States};
use eciton_engine::storage::{Access, LocalStorage, Storage};
use futures::future::BoxFuture;

/// Random numbers that a seed repeats.
pub(crate) struct Dice(SeededEntropy);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(SeededEntropy::new(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 up to `end`, excluded.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Keeps background work until the test runs or forgets it.
#[derive(Default)]
pub(crate) struct Deferred(Mutex<Vec<BoxFuture<'static, ()>>>);

impl Deferred {
    pub(crate) async fn run(&self) {
        let tasks = std::mem::take(&mut *self.0.lock().unwrap());
        for task in tasks {
            task.await;
        }
    }

    pub(crate) fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

impl Spawner for Deferred {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.lock().unwrap().push(task);
    }
}

/// An environment that a seed repeats.
pub(crate) fn environment(seed: u64) -> (Environment, Arc<Deferred>) {
    let spawner = Arc::new(Deferred::default());
    let environment = Environment {
        clock: Arc::new(SystemClock::new()),
        entropy: Arc::new(SeededEntropy::new(seed)),
        spawner: Arc::clone(&spawner) as Arc<dyn Spawner>,
        coordinator: Arc::new(LocalCoordinator::new()),
        witness: None,
    };
    (environment, spawner)
}

/// Opens as one of several processes that hear nothing of each other.
pub(crate) async fn join(folder: &Path) -> Result<Db> {
    let storage = LocalStorage::open(folder, Access::ReadWrite)?;
    join_storage(Arc::new(storage), Arc::new(Silence)).await
}

/// Opens as one of several processes that have `bus` between them.
pub(crate) async fn join_storage(storage: Arc<dyn Storage>, bus: Arc<dyn Bus>) -> Result<Db> {
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let coordinator =
        SharedCoordinator::new(bus, Arc::clone(&clock) as _, Arc::clone(&entropy) as _);
    let environment = Environment {
        clock,
        entropy,
        spawner: Arc::new(RayonSpawner),
        coordinator: Arc::new(coordinator),
        witness: None,
    };
    let options = Options {
        mode: Mode::Clustered,
        ..Options::default()
    };
    Db::open_storage(storage, options, environment).await
}

/// A store `m` in which merges count, its columns, and the operand that counts one more.
pub(crate) async fn counted(db: &Db) -> (Store, Vec<Column>, Operand) {
    let columns = vec![Column::new("n", Operator::Count, Kind::Any).unwrap()];
    let schema = StoreSchema {
        columns: columns.clone(),
        ..StoreSchema::default()
    };
    let store = db.create_store("m", schema).await.unwrap();
    let mut one = States::new(&columns);
    one[0].add_rows(1);
    let one = one.to_operand().unwrap();
    (store, columns, one)
}

/// The seeds of a test: the one in `ECITON_SEED`, or the first so many (`ECITON_SEEDS`, or `count`).
pub(crate) fn seeds(count: u64) -> Vec<u64> {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text: String| text.parse().ok())
    };
    match number("ECITON_SEED") {
        Some(seed) => vec![seed],
        None => (1..=number("ECITON_SEEDS").unwrap_or(count)).collect(),
    }
}
