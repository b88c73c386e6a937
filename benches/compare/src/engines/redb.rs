//! redb, with its defaults but for the cache: one B+tree file, keys of fixed width, every commit
//! `Durability::Immediate`, which is one `fdatasync`.
//!
//! Its documentation knows no other way to load than one large write transaction, so both orders take
//! that.

use std::path::Path;

use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition};

use crate::engine::{Engine, Op, Order, Reader, Result, Session, Setup, text};
use crate::records::{Key, Stream};

const TABLE: TableDefinition<'_, &'static Key, &'static [u8]> = TableDefinition::new("records");

/// The table in one state.
type Table = ReadOnlyTable<&'static Key, &'static [u8]>;

/// A redb database.
pub(crate) struct Redb(Database);

impl Engine for Redb {
    const NAME: &'static str = "redb";
    type Session<'e> = &'e Redb;

    fn version() -> String {
        crate::versions::of("redb")
    }

    fn open(folder: &Path, setup: Setup) -> Result<Redb> {
        let database = Database::builder()
            .set_cache_size(setup.cache_len)
            .create(folder.join("records.redb"));
        let database = database.map_err(text)?;
        // Readers find no table that was never opened for writing.
        let transaction = database.begin_write().map_err(text)?;
        transaction.open_table(TABLE).map_err(text)?;
        transaction.commit().map_err(text)?;
        Ok(Redb(database))
    }

    fn load(&self, records: &mut Stream<impl Iterator<Item = u64>>, _order: Order) -> Result<()> {
        let transaction = self.0.begin_write().map_err(text)?;
        {
            let mut table = transaction.open_table(TABLE).map_err(text)?;
            while let Some((key, value)) = records.next() {
                table.insert(key, value).map_err(text)?;
            }
        }
        transaction.commit().map_err(text)
    }

    fn session(&self) -> Result<&Redb> {
        Ok(self)
    }

    fn close(self) -> Result<()> {
        self.0.close().map_err(text)
    }
}

impl Session for &Redb {
    type Reader<'s>
        = Table
    where
        Self: 's;

    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let transaction = self.0.begin_write().map_err(text)?;
        {
            let mut table = transaction.open_table(TABLE).map_err(text)?;
            table.insert(key, value).map_err(text)?;
        }
        transaction.commit().map_err(text)
    }

    fn read<T>(&mut self, work: impl FnOnce(&mut Table) -> Result<T>) -> Result<T> {
        let transaction = self.0.begin_read().map_err(text)?;
        work(&mut transaction.open_table(TABLE).map_err(text)?)
    }

    fn mix(&mut self, ops: &[Op], mut found: impl FnMut(&[u8])) -> Result<()> {
        let transaction = self.0.begin_write().map_err(text)?;
        {
            use redb::ReadableTable;
            let mut table = transaction.open_table(TABLE).map_err(text)?;
            for op in ops {
                match op {
                    Op::Get(key) => {
                        if let Some(value) = table.get(key).map_err(text)? {
                            found(value.value());
                        }
                    }
                    Op::Put(key, value) => {
                        table.insert(key, value.as_slice()).map_err(text)?;
                    }
                }
            }
        }
        transaction.commit().map_err(text)
    }

    fn delete(&mut self, keys: &[Key]) -> Result<()> {
        let transaction = self.0.begin_write().map_err(text)?;
        {
            let mut table = transaction.open_table(TABLE).map_err(text)?;
            for key in keys {
                table.remove(key).map_err(text)?;
            }
        }
        transaction.commit().map_err(text)
    }
}

impl Reader for Table {
    fn get(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        if let Some(value) = ReadOnlyTable::get(self, key).map_err(text)? {
            found(value.value());
        }
        Ok(())
    }

    fn scan(
        &mut self,
        from: &Key,
        limit: usize,
        mut found: impl FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        for record in self.range::<&Key>(from..).map_err(text)?.take(limit) {
            let (key, value) = record.map_err(text)?;
            found(key.value(), value.value());
        }
        Ok(())
    }

    fn keys(&mut self, mut found: impl FnMut(&[u8])) -> Result<()> {
        for record in self.range::<&Key>(..).map_err(text)? {
            found(record.map_err(text)?.0.value());
        }
        Ok(())
    }
}
