//! This project's engine, as it opens by default but for the cache.
//!
//! The API is asynchronous. A read that finds its page in the cache is ready at once, so a future is
//! polled on the spot, which is what `.await` costs in an asynchronous program; one that is not ready is
//! waited for.
//!
//! A key of 16 random bytes is a UUID. A bulk load is one large transaction of blind puts that spills
//! sorted runs as it grows; sorted keys need no other way.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use eciton_engine::{
    Db, Encoding, Key as EngineKey, KeyBuilder, Options, ScanRange, Snapshot, Store, StoreSchema,
    Transaction,
};
use tokio::runtime::{Builder, EnterGuard, Runtime};

use crate::engine::{Engine, Op, Order, Reader, Result, Session, Setup, text};
use crate::records::{Key, Stream};

/// Bytes of an encoded key before the UUID itself.
const KEY_PREFIX_LEN: usize = 1;

/// A database of this project.
pub(crate) struct Ours {
    db: Db,
    store: Store,
    runtime: Runtime,
}

impl Engine for Ours {
    const NAME: &'static str = "ours";
    type Session<'e> = OurSession<'e>;

    fn version() -> String {
        env!("CARGO_PKG_VERSION").to_owned()
    }

    fn open(folder: &Path, setup: Setup) -> Result<Ours> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        let runtime = runtime.map_err(text)?;
        let options = Options {
            cache_len_max: setup.cache_len,
            ..Options::default()
        };
        let schema = StoreSchema {
            encoding: Encoding::Raw,
            ..StoreSchema::default()
        };
        let (db, store) = runtime.block_on(async {
            let db = Db::open(folder, options).await.map_err(text)?;
            let store = db.create_store("records", schema).await.map_err(text)?;
            Ok::<_, String>((db, store))
        })?;
        Ok(Ours { db, store, runtime })
    }

    fn load(&self, records: &mut Stream<impl Iterator<Item = u64>>, _order: Order) -> Result<()> {
        self.runtime.block_on(async {
            let mut transaction = self.db.begin();
            let mut builder = KeyBuilder::new();
            while let Some((key, value)) = records.next() {
                put(&mut transaction, &self.store, &mut builder, key, value)?;
                transaction.relieve().await.map_err(text)?;
            }
            transaction.commit().await.map_err(text)?;
            Ok(())
        })
    }

    fn session(&self) -> Result<OurSession<'_>> {
        Ok(OurSession {
            db: &self.db,
            store: &self.store,
            builder: KeyBuilder::new(),
            _entered: self.runtime.enter(),
        })
    }

    fn close(self) -> Result<()> {
        self.runtime.block_on(self.db.close()).map_err(text)
    }
}

/// What one thread works with.
pub(crate) struct OurSession<'e> {
    db: &'e Db,
    store: &'e Store,
    builder: KeyBuilder,
    /// Timers of the engine need a runtime around them.
    _entered: EnterGuard<'e>,
}

impl Session for OurSession<'_> {
    type Reader<'s>
        = OurReader<'s>
    where
        Self: 's;

    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let mut transaction = self.db.begin();
        put(&mut transaction, self.store, &mut self.builder, key, value)?;
        wait(transaction.commit()).map_err(text)?;
        Ok(())
    }

    fn read<T>(&mut self, work: impl FnOnce(&mut OurReader<'_>) -> Result<T>) -> Result<T> {
        work(&mut OurReader {
            snapshot: self.db.snapshot(),
            store: self.store,
            builder: &mut self.builder,
        })
    }

    fn mix(&mut self, ops: &[Op], mut found: impl FnMut(&[u8])) -> Result<()> {
        let mut transaction = self.db.begin();
        for op in ops {
            match op {
                Op::Get(key) => {
                    let key = encode(&mut self.builder, key)?;
                    let value = wait(transaction.get(self.store, &key)).map_err(text)?;
                    if let Some(value) = value {
                        found(&value);
                    }
                }
                Op::Put(key, value) => {
                    put(&mut transaction, self.store, &mut self.builder, key, value)?;
                }
            }
        }
        wait(transaction.commit()).map_err(text)?;
        Ok(())
    }

    fn delete(&mut self, keys: &[Key]) -> Result<()> {
        let mut transaction = self.db.begin();
        for key in keys {
            let key = encode(&mut self.builder, key)?;
            transaction.delete(self.store, &key).map_err(text)?;
            wait(transaction.relieve()).map_err(text)?;
        }
        wait(transaction.commit()).map_err(text)?;
        Ok(())
    }
}

/// A snapshot.
pub(crate) struct OurReader<'s> {
    snapshot: Snapshot,
    store: &'s Store,
    builder: &'s mut KeyBuilder,
}

impl OurReader<'_> {
    fn each(&self, range: &ScanRange, mut found: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let mut scan = self.snapshot.scan(self.store, range);
        while scan.advance_in_memory() || wait(scan.advance()).map_err(text)? {
            let key = scan.key().get(KEY_PREFIX_LEN..);
            found(key.unwrap_or_default(), scan.value());
        }
        Ok(())
    }
}

impl Reader for OurReader<'_> {
    fn get(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        let key = encode(self.builder, key)?;
        if let Some(value) = wait(self.snapshot.get_pinned(self.store, &key)).map_err(text)? {
            found(&value);
        }
        Ok(())
    }

    fn scan(&mut self, from: &Key, limit: usize, found: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let range = ScanRange {
            from: Some(encode(self.builder, from)?),
            limit: Some(limit as u64),
            ..ScanRange::all()
        };
        self.each(&range, found)
    }

    fn keys(&mut self, mut found: impl FnMut(&[u8])) -> Result<()> {
        let range = ScanRange {
            keys_only: true,
            ..ScanRange::all()
        };
        self.each(&range, |key, _| found(key))
    }
}

fn encode(builder: &mut KeyBuilder, key: &Key) -> Result<EngineKey> {
    builder.clear();
    builder.push_uuid(u128::from_be_bytes(*key));
    builder.to_key().map_err(text)
}

fn put(
    transaction: &mut Transaction,
    store: &Store,
    builder: &mut KeyBuilder,
    key: &Key,
    value: &[u8],
) -> Result<()> {
    let key = encode(builder, key)?;
    let done = transaction.blind_put(store, &key, value.to_vec());
    done.map_err(text)
}

/// The output of a future: at once where it is ready.
#[inline]
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    match future.as_mut().poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => futures::executor::block_on(future),
    }
}
