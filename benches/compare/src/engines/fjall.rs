//! fjall, with its defaults but for the cache: a plain keyspace without transactions, which is its
//! fastest; every commit is a batch with `PersistMode::SyncAll`.
//!
//! A random load writes batches that the journal does not sync, and syncs at the end. A sorted one takes
//! the ingestion that its documentation advises, which writes tables without a journal. Values of
//! kilobytes are kept apart from the keys (`with_kv_separation`), as it advises for them.

use std::path::Path;

use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable, Snapshot,
};

use crate::engine::{Engine, LOAD_BATCH, Op, Order, Reader, Result, Session, Setup, text};
use crate::records::{Key, Stream};

/// A fjall database.
pub(crate) struct Fjall {
    database: Database,
    keyspace: Keyspace,
}

impl Fjall {
    fn load_random(&self, records: &mut Stream<impl Iterator<Item = u64>>) -> Result<()> {
        let mut batch = self.database.batch();
        while let Some((key, value)) = records.next() {
            batch.insert(&self.keyspace, *key, value);
            if batch.len() == LOAD_BATCH {
                batch.commit().map_err(text)?;
                batch = self.database.batch();
            }
        }
        batch.commit().map_err(text)?;
        self.database.persist(PersistMode::SyncAll).map_err(text)
    }

    fn load_sorted(&self, records: &mut Stream<impl Iterator<Item = u64>>) -> Result<()> {
        let mut ingestion = self.keyspace.start_ingestion().map_err(text)?;
        while let Some((key, value)) = records.next() {
            ingestion.write(*key, value).map_err(text)?;
        }
        ingestion.finish().map_err(text)
    }
}

impl Engine for Fjall {
    const NAME: &'static str = "fjall";
    type Session<'e> = &'e Fjall;

    fn version() -> String {
        crate::versions::of("fjall")
    }

    fn open(folder: &Path, setup: Setup) -> Result<Fjall> {
        let database = Database::builder(folder.join("fjall"))
            .cache_size(setup.cache_len as u64)
            .open();
        let database = database.map_err(text)?;
        let apart = setup.large_values.then(KvSeparationOptions::default);
        let keyspace = database
            .keyspace("records", || {
                KeyspaceCreateOptions::default().with_kv_separation(apart)
            })
            .map_err(text)?;
        Ok(Fjall { database, keyspace })
    }

    fn load(&self, records: &mut Stream<impl Iterator<Item = u64>>, order: Order) -> Result<()> {
        match order {
            Order::Random => self.load_random(records),
            Order::Sorted => self.load_sorted(records),
        }
    }

    fn session(&self) -> Result<&Fjall> {
        Ok(self)
    }

    fn close(self) -> Result<()> {
        self.database.persist(PersistMode::SyncAll).map_err(text)
    }
}

impl Session for &Fjall {
    type Reader<'s>
        = FjallReader<'s>
    where
        Self: 's;

    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.keyspace, *key, value);
        batch.commit().map_err(text)
    }

    fn read<T>(&mut self, work: impl FnOnce(&mut FjallReader<'_>) -> Result<T>) -> Result<T> {
        work(&mut FjallReader {
            snapshot: self.database.snapshot(),
            keyspace: &self.keyspace,
        })
    }

    fn get_alone(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        if let Some(value) = self.keyspace.get(key).map_err(text)? {
            found(&value);
        }
        Ok(())
    }

    fn mix(&mut self, ops: &[Op], mut found: impl FnMut(&[u8])) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for op in ops {
            match op {
                Op::Get(key) => self.get_alone(key, &mut found)?,
                Op::Put(key, value) => batch.insert(&self.keyspace, *key, value.as_slice()),
            }
        }
        batch.commit().map_err(text)
    }

    fn delete(&mut self, keys: &[Key]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for key in keys {
            batch.remove(&self.keyspace, *key);
        }
        batch.commit().map_err(text)
    }
}

/// A snapshot.
pub(crate) struct FjallReader<'s> {
    snapshot: Snapshot,
    keyspace: &'s Keyspace,
}

impl Reader for FjallReader<'_> {
    fn get(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        if let Some(value) = self.snapshot.get(self.keyspace, key).map_err(text)? {
            found(&value);
        }
        Ok(())
    }

    fn scan(
        &mut self,
        from: &Key,
        limit: usize,
        mut found: impl FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        for record in self.snapshot.range(self.keyspace, *from..).take(limit) {
            let (key, value) = record.into_inner().map_err(text)?;
            found(&key, &value);
        }
        Ok(())
    }

    fn keys(&mut self, mut found: impl FnMut(&[u8])) -> Result<()> {
        for record in self.snapshot.iter(self.keyspace) {
            found(&record.key().map_err(text)?);
        }
        Ok(())
    }
}
