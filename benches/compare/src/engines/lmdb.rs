//! LMDB through heed, with its defaults: a commit syncs the data and then the page that points to them.
//!
//! Loading is one large write transaction; sorted keys are appended (`MDB_APPEND`), as its documentation
//! advises. It has no cache of its own but the system's, so the limit on caches means nothing to it, and
//! the pages of its file that it has looked at count as its memory.

use std::path::Path;

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, PutFlags, RoTxn, RwTxn, WithTls};

use crate::engine::{Engine, Op, Order, Reader, Result, Session, Setup, text};
use crate::records::{Key, Stream};

/// Bytes that the file may grow to. Only addresses are set aside.
const MAP_LEN: usize = 64 * 1024 * 1024 * 1024;

/// An LMDB environment.
pub(crate) struct Lmdb {
    env: Env,
    table: Database<'static, Bytes, Bytes>,
}

impl Lmdb {
    fn begin(&self) -> Result<RwTxn<'_>> {
        self.env.write_txn().map_err(text)
    }
}

impl Engine for Lmdb {
    const NAME: &'static str = "lmdb";
    type Session<'e> = &'e Lmdb;

    fn version() -> String {
        let lmdb = heed::lmdb_version();
        format!(
            "{}.{}.{} (heed {})",
            lmdb.major,
            lmdb.minor,
            lmdb.patch,
            crate::versions::of("heed")
        )
    }

    fn open(folder: &Path, _setup: Setup) -> Result<Lmdb> {
        let mut options = EnvOpenOptions::new();
        options.map_size(MAP_LEN).max_dbs(1);
        #[allow(
            unsafe_code,
            reason = "the file is this process's alone, in a folder made for it"
        )]
        // SAFETY: nobody else changes the mapped file, which lies in a folder of this measurement.
        let env = unsafe { options.open(folder) }.map_err(text)?;
        let transaction = env.write_txn().map_err(text)?;
        let created = env.create_databases_and_commit(transaction, |opener, transaction| {
            let table = opener.create_database::<Bytes, Bytes>(transaction, Some("records"))?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit(table))
        });
        let table = created.map_err(text)?.commit();
        let table = table.ok_or("the table was not created")?;
        Ok(Lmdb { env, table })
    }

    fn load(&self, records: &mut Stream<impl Iterator<Item = u64>>, order: Order) -> Result<()> {
        let flags = match order {
            Order::Random => PutFlags::empty(),
            Order::Sorted => PutFlags::APPEND,
        };
        let mut transaction = self.begin()?;
        while let Some((key, value)) = records.next() {
            self.table
                .put_with_flags(&mut transaction, flags, key, value)
                .map_err(text)?;
        }
        transaction.commit().map_err(text)
    }

    fn session(&self) -> Result<&Lmdb> {
        Ok(self)
    }

    fn close(self) -> Result<()> {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

impl Session for &Lmdb {
    type Reader<'s>
        = LmdbReader<'s>
    where
        Self: 's;

    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let mut transaction = self.begin()?;
        self.table.put(&mut transaction, key, value).map_err(text)?;
        transaction.commit().map_err(text)
    }

    fn read<T>(&mut self, work: impl FnOnce(&mut LmdbReader<'_>) -> Result<T>) -> Result<T> {
        work(&mut LmdbReader {
            transaction: self.env.read_txn().map_err(text)?,
            table: &self.table,
        })
    }

    fn mix(&mut self, ops: &[Op], mut found: impl FnMut(&[u8])) -> Result<()> {
        let mut transaction = self.begin()?;
        for op in ops {
            match op {
                Op::Get(key) => {
                    if let Some(value) = self.table.get(&transaction, key).map_err(text)? {
                        found(value);
                    }
                }
                Op::Put(key, value) => {
                    self.table.put(&mut transaction, key, value).map_err(text)?;
                }
            }
        }
        transaction.commit().map_err(text)
    }

    fn delete(&mut self, keys: &[Key]) -> Result<()> {
        let mut transaction = self.begin()?;
        for key in keys {
            self.table.delete(&mut transaction, key).map_err(text)?;
        }
        transaction.commit().map_err(text)
    }
}

/// A read transaction.
pub(crate) struct LmdbReader<'s> {
    transaction: RoTxn<'s, WithTls>,
    table: &'s Database<'static, Bytes, Bytes>,
}

impl Reader for LmdbReader<'_> {
    fn get(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        if let Some(value) = self.table.get(&self.transaction, key).map_err(text)? {
            found(value);
        }
        Ok(())
    }

    fn scan(
        &mut self,
        from: &Key,
        limit: usize,
        mut found: impl FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        let range = (
            std::ops::Bound::Included(&from[..]),
            std::ops::Bound::Unbounded,
        );
        let records = self.table.range(&self.transaction, &range).map_err(text)?;
        for record in records.take(limit) {
            let (key, value) = record.map_err(text)?;
            found(key, value);
        }
        Ok(())
    }

    fn keys(&mut self, mut found: impl FnMut(&[u8])) -> Result<()> {
        for record in self.table.iter(&self.transaction).map_err(text)? {
            found(record.map_err(text)?.0);
        }
        Ok(())
    }
}
