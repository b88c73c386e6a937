//! SQLite through rusqlite: `journal_mode=WAL`, `synchronous=FULL`, so that every commit syncs the
//! write-ahead log; a connection a thread, prepared statements, a busy handler that waits. It is built with
//! `HAVE_FDATASYNC` (see `.cargo/config.toml`), as distributions do, so that a sync is no dearer than the
//! others'.
//!
//! Records are a `WITHOUT ROWID` table, the tree itself. Values of kilobytes are an ordinary table whose
//! keys have an index of their own, as its documentation advises: reading keys reads that alone. Loading
//! is one transaction, whichever the order.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{CachedStatement, Connection, OptionalExtension, TransactionBehavior};

use crate::engine::{Engine, Op, Order, Reader, Result, Session, Setup, text};
use crate::records::{Key, Stream};

/// How long a connection waits for another's write.
const BUSY: Duration = Duration::from_mins(2);

const PUT: &str = "INSERT OR REPLACE INTO records (key, value) VALUES (?1, ?2)";
const GET: &str = "SELECT value FROM records WHERE key = ?1";
const SCAN: &str = "SELECT key, value FROM records WHERE key >= ?1 ORDER BY key LIMIT ?2";
const KEYS: &str = "SELECT key FROM records ORDER BY key";
const DELETE: &str = "DELETE FROM records WHERE key = ?1";

/// An SQLite database.
pub(crate) struct Sqlite {
    path: PathBuf,
    setup: Setup,
}

impl Sqlite {
    fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(&self.path).map_err(text)?;
        connection.busy_timeout(BUSY).map_err(text)?;
        connection
            .pragma_update(None, "journal_mode", "WAL")
            .map_err(text)?;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .map_err(text)?;
        let kilobytes = i64::try_from(self.setup.cache_len / 1024).map_err(text)?;
        // Below zero it counts kilobytes, above zero pages.
        connection
            .pragma_update(None, "cache_size", -kilobytes)
            .map_err(text)?;
        Ok(connection)
    }
}

impl Engine for Sqlite {
    const NAME: &'static str = "sqlite";
    type Session<'e> = SqliteSession;

    fn version() -> String {
        format!(
            "{} (rusqlite {})",
            rusqlite::version(),
            crate::versions::of("rusqlite")
        )
    }

    fn open(folder: &Path, setup: Setup) -> Result<Sqlite> {
        let path = folder.join("records.sqlite");
        let engine = Sqlite { path, setup };
        let layout = if setup.large_values {
            ""
        } else {
            "WITHOUT ROWID"
        };
        let table = format!(
            "CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY, value BLOB NOT NULL) {layout}"
        );
        engine.connect()?.execute(&table, []).map_err(text)?;
        Ok(engine)
    }

    fn load(&self, records: &mut Stream<impl Iterator<Item = u64>>, _order: Order) -> Result<()> {
        let mut connection = self.connect()?;
        let transaction = connection.transaction().map_err(text)?;
        {
            let mut put = transaction.prepare(PUT).map_err(text)?;
            while let Some((key, value)) = records.next() {
                put.execute((&key[..], value)).map_err(text)?;
            }
        }
        transaction.commit().map_err(text)
    }

    fn session(&self) -> Result<SqliteSession> {
        Ok(SqliteSession(self.connect()?))
    }

    fn close(self) -> Result<()> {
        Ok(())
    }
}

/// A connection.
pub(crate) struct SqliteSession(Connection);

impl Session for SqliteSession {
    type Reader<'s> = SqliteReader<'s>;

    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()> {
        let mut put = self.0.prepare_cached(PUT).map_err(text)?;
        put.execute((&key[..], value)).map_err(text)?;
        Ok(())
    }

    fn read<T>(&mut self, work: impl FnOnce(&mut SqliteReader<'_>) -> Result<T>) -> Result<T> {
        let transaction = self.0.transaction().map_err(text)?;
        let done = work(&mut SqliteReader {
            connection: &transaction,
            get: transaction.prepare_cached(GET).map_err(text)?,
        });
        transaction.finish().map_err(text)?;
        done
    }

    fn get_alone(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        // A statement outside of a transaction is one of its own.
        let mut get = self.0.prepare_cached(GET).map_err(text)?;
        lookup(&mut get, key, found)
    }

    fn mix(&mut self, ops: &[Op], mut found: impl FnMut(&[u8])) -> Result<()> {
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(text)?;
        {
            let mut get = transaction.prepare_cached(GET).map_err(text)?;
            let mut put = transaction.prepare_cached(PUT).map_err(text)?;
            for op in ops {
                match op {
                    Op::Get(key) => lookup(&mut get, key, &mut found)?,
                    Op::Put(key, value) => {
                        put.execute((&key[..], &value[..])).map_err(text)?;
                    }
                }
            }
        }
        transaction.commit().map_err(text)
    }

    fn delete(&mut self, keys: &[Key]) -> Result<()> {
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(text)?;
        {
            let mut delete = transaction.prepare_cached(DELETE).map_err(text)?;
            for key in keys {
                delete.execute([&key[..]]).map_err(text)?;
            }
        }
        transaction.commit().map_err(text)
    }
}

fn lookup(get: &mut CachedStatement<'_>, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
    let row = get.query_row([&key[..]], |row| {
        found(row.get_ref(0)?.as_blob()?);
        Ok(())
    });
    row.optional().map_err(text)?;
    Ok(())
}

/// A read transaction.
pub(crate) struct SqliteReader<'s> {
    connection: &'s Connection,
    get: CachedStatement<'s>,
}

impl Reader for SqliteReader<'_> {
    fn get(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        lookup(&mut self.get, key, found)
    }

    fn scan(
        &mut self,
        from: &Key,
        limit: usize,
        mut found: impl FnMut(&[u8], &[u8]),
    ) -> Result<()> {
        let mut scan = self.connection.prepare_cached(SCAN).map_err(text)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = scan.query((&from[..], limit)).map_err(text)?;
        while let Some(row) = rows.next().map_err(text)? {
            let key = row.get_ref(0).map_err(text)?;
            let value = row.get_ref(1).map_err(text)?;
            found(key.as_blob().map_err(text)?, value.as_blob().map_err(text)?);
        }
        Ok(())
    }

    fn keys(&mut self, mut found: impl FnMut(&[u8])) -> Result<()> {
        let mut keys = self.connection.prepare_cached(KEYS).map_err(text)?;
        let mut rows = keys.query([]).map_err(text)?;
        while let Some(row) = rows.next().map_err(text)? {
            let key = row.get_ref(0).map_err(text)?;
            found(key.as_blob().map_err(text)?);
        }
        Ok(())
    }
}
