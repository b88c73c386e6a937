//! A database in memory whose time, randomness and background work are the scheduler's.

use std::sync::Arc;

use async_trait::async_trait;
use eciton_engine::base::clock::Clock;
use eciton_engine::base::entropy::SeededEntropy;
use eciton_engine::base::spawn::Spawner;
use eciton_engine::base::{Datum, Key, Result};
use eciton_engine::db::{Committed, Db, Environment, Options, Store, StoreSchema};
use eciton_engine::storage::{MemoryStorage, Storage};
use futures::future::BoxFuture;
use shuttle::future::block_on;

use super::watched::Watched;

/// An open database and what its test looks at.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) db: Db,
    pub(crate) store: Store,
    pub(crate) coordinator: Arc<Watched>,
    /// What a new process would find.
    pub(crate) medium: MemoryStorage,
}

impl Scene {
    /// Opens a fresh database over what `over` makes of the memory.
    pub(crate) fn open(over: impl FnOnce(MemoryStorage) -> Arc<dyn Storage>) -> Scene {
        let medium = MemoryStorage::new();
        let coordinator = Arc::new(Watched::default());
        let environment = Environment {
            clock: Arc::new(NoClock),
            entropy: Arc::new(SeededEntropy::new(1)),
            spawner: Arc::new(Tasks),
            coordinator: Arc::clone(&coordinator) as _,
            witness: None,
        };
        let storage = over(medium.clone());
        let (db, store) = block_on(async {
            let db = Db::open_storage(storage, Options::default(), environment).await?;
            let store = db.create_store("s", StoreSchema::default()).await?;
            Ok::<_, eciton_engine::base::Error>((db, store))
        })
        .unwrap();
        Scene {
            db,
            store,
            coordinator,
            medium,
        }
    }

    /// Commits a record under `number`.
    pub(crate) async fn commit(&self, number: u64) -> Result<Committed> {
        let mut transaction = self.db.begin();
        transaction.blind_put(&self.store, &key(number), number.to_string())?;
        transaction.commit().await
    }

    /// Whether the database shows the record of `number`.
    pub(crate) fn shows(&self, number: u64) -> bool {
        let value = block_on(self.db.snapshot().get(&self.store, &key(number))).unwrap();
        value.is_some_and(|value| value == number.to_string().as_bytes())
    }
}

pub(crate) fn key(number: u64) -> Key {
    Key::from_datums(&[Datum::Int(i128::from(number))]).unwrap()
}

/// Time stands still: nothing in these checks may depend on it.
struct NoClock;

#[async_trait]
impl Clock for NoClock {
    fn wall_ms(&self) -> u64 {
        0
    }

    fn monotonic_ns(&self) -> u64 {
        0
    }

    async fn sleep_ms(&self, _ms: u64) {
        shuttle::future::yield_now().await;
    }
}

/// Background work is one more task of the scheduler.
struct Tasks;

impl Spawner for Tasks {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        drop(shuttle::future::spawn(task));
    }
}
