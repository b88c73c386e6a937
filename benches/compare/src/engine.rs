//! What every engine does here, in its own best way. The work around it is the same for all.

use std::path::Path;

use crate::records::{Key, Stream};

/// Errors are for people: a measurement that fails says why, and that is all.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// Turns any error into its text.
pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Records of a batch of a bulk load, for engines that load in batches and sync once at the end.
#[cfg(any(feature = "fjall", feature = "rocksdb"))]
pub(crate) const LOAD_BATCH: usize = 1000;

/// How a database is opened. The same for all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Bytes that the engine may take for its own cache of pages or blocks.
    pub(crate) cache_len: usize,
    /// Whether values have kilobytes: engines that keep such values apart are told so.
    #[cfg_attr(
        not(feature = "any-peer"),
        allow(dead_code, reason = "ours needs no telling")
    )]
    pub(crate) large_values: bool,
}

/// In which order a bulk load brings its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// In none.
    Random,
    /// Ascending: an engine may take the way that its documentation advises for that.
    Sorted,
}

/// A read or a write.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Look a record up.
    Get(Key),
    /// Write a record.
    Put(Key, Vec<u8>),
}

/// An open database of one engine, with one table.
pub(crate) trait Engine: Sized + Send + Sync {
    /// As it is called in reports.
    const NAME: &'static str;

    /// What one thread works with: a connection, where an engine has such.
    type Session<'e>: Session
    where
        Self: 'e;

    /// The engine's own version.
    fn version() -> String;

    /// Opens a database in an existing folder, or creates it.
    ///
    /// # Errors
    /// What the engine refuses.
    fn open(folder: &Path, setup: Setup) -> Result<Self>;

    /// Writes all of `records`; durable when it returns.
    ///
    /// # Errors
    /// What the engine refuses.
    fn load(&self, records: &mut Stream<impl Iterator<Item = u64>>, order: Order) -> Result<()>;

    /// What the calling thread is to work with.
    ///
    /// # Errors
    /// What the engine refuses.
    fn session(&self) -> Result<Self::Session<'_>>;

    /// Ends in good order.
    ///
    /// # Errors
    /// What the engine refuses.
    fn close(self) -> Result<()>;
}

/// What one thread works with.
pub(crate) trait Session {
    /// One consistent state, for reading.
    type Reader<'s>: Reader
    where
        Self: 's;

    /// Writes one record; durable when it returns.
    ///
    /// # Errors
    /// What the engine refuses.
    fn commit(&mut self, key: &Key, value: &[u8]) -> Result<()>;

    /// Lets `work` read the state of this moment.
    ///
    /// # Errors
    /// What the engine refuses, and what `work` says.
    fn read<T>(&mut self, work: impl FnOnce(&mut Self::Reader<'_>) -> Result<T>) -> Result<T>;

    /// Looks up one record in the state of this moment: a read transaction for this alone, where an
    /// engine needs one.
    ///
    /// # Errors
    /// What the engine refuses.
    fn get_alone(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()> {
        self.read(|reader| reader.get(key, found))
    }

    /// Does `ops` in this order and commits them as one; durable when it returns. No read is of a key
    /// that is written earlier in the same `ops`.
    ///
    /// # Errors
    /// What the engine refuses.
    fn mix(&mut self, ops: &[Op], found: impl FnMut(&[u8])) -> Result<()>;

    /// Deletes all of `keys` as one; durable when it returns.
    ///
    /// # Errors
    /// What the engine refuses.
    fn delete(&mut self, keys: &[Key]) -> Result<()>;
}

/// One consistent state. What it finds is lent, so that no engine has to copy.
pub(crate) trait Reader {
    /// Looks up one record; `found` is not called where there is none.
    ///
    /// # Errors
    /// What the engine refuses.
    fn get(&mut self, key: &Key, found: impl FnOnce(&[u8])) -> Result<()>;

    /// At most `limit` records from `from` on, in order.
    ///
    /// # Errors
    /// What the engine refuses.
    fn scan(&mut self, from: &Key, limit: usize, found: impl FnMut(&[u8], &[u8])) -> Result<()>;

    /// All keys, in order; no value is asked for.
    ///
    /// # Errors
    /// What the engine refuses.
    fn keys(&mut self, found: impl FnMut(&[u8])) -> Result<()>;
}
