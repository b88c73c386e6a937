//! Buses over Redis, and databases that are opened among others over them.

use std::path::Path;
use std::sync::Arc;

use eciton_engine::base::clock::SystemClock;
use eciton_engine::base::entropy::SystemEntropy;
use eciton_engine::base::spawn::RayonSpawner;
use eciton_engine::base::{Datum, Key};
use eciton_engine::coord::SharedCoordinator;
use eciton_engine::coord::redis::{RedisBus, RedisOptions};
use eciton_engine::db::{Db, Environment, Mode, Options};
use eciton_engine::storage::{Access, LocalStorage};

/// Longer than anything takes that comes at all.
pub(crate) const LONG_MS: u64 = 60_000;

/// The bus of one process.
pub(crate) fn bus(options: &RedisOptions) -> Arc<RedisBus> {
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    Arc::new(RedisBus::new(options.clone(), clock, entropy).unwrap())
}

/// A database as one process of several has it; what it says to others goes over `bus`.
pub(crate) async fn join(folder: &Path, bus: &Arc<RedisBus>) -> Db {
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let coordinator = SharedCoordinator::new(
        Arc::clone(bus) as _,
        Arc::clone(&clock) as _,
        Arc::clone(&entropy) as _,
    );
    let environment = Environment {
        clock,
        entropy,
        spawner: Arc::new(RayonSpawner),
        coordinator: Arc::new(coordinator),
        witness: None,
    };
    let storage = Arc::new(LocalStorage::open(folder, Access::ReadWrite).unwrap());
    let options = Options {
        mode: Mode::Clustered,
        ..Options::default()
    };
    let db = Db::open_storage(storage, options, environment)
        .await
        .unwrap();
    bus.connected(db.info().instance, 1).await;
    db
}

pub(crate) fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}
