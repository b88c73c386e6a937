//! The engines, one a file. Each file says how it uses its engine, and why so.

#[cfg(feature = "fjall")]
mod fjall;
#[cfg(feature = "lmdb")]
mod lmdb;
mod ours;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
#[cfg(feature = "sqlite")]
mod sqlite;

use crate::engine::{Engine, Result};

/// The name of our own engine in reports.
pub(crate) const OURS: &str = ours::Ours::NAME;

/// Work that is the same whichever engine does it.
pub(crate) trait Work {
    /// What it gives.
    type Output;

    /// Does it with one engine.
    ///
    /// # Errors
    /// What the engine refuses, and what turns out wrong.
    fn with<E: Engine>(self) -> Result<Self::Output>;
}

/// The engines that were compiled in, ours first.
pub(crate) const NAMES: &[&str] = &[
    OURS,
    #[cfg(feature = "redb")]
    redb::Redb::NAME,
    #[cfg(feature = "fjall")]
    fjall::Fjall::NAME,
    #[cfg(feature = "lmdb")]
    lmdb::Lmdb::NAME,
    #[cfg(feature = "sqlite")]
    sqlite::Sqlite::NAME,
    #[cfg(feature = "rocksdb")]
    rocksdb::RocksDb::NAME,
];

/// Does `work` with the engine of this name.
///
/// # Errors
/// An engine that was not compiled in; what the work says.
pub(crate) fn with<W: Work>(name: &str, work: W) -> Result<W::Output> {
    match name {
        OURS => work.with::<ours::Ours>(),
        #[cfg(feature = "redb")]
        redb::Redb::NAME => work.with::<redb::Redb>(),
        #[cfg(feature = "fjall")]
        fjall::Fjall::NAME => work.with::<fjall::Fjall>(),
        #[cfg(feature = "lmdb")]
        lmdb::Lmdb::NAME => work.with::<lmdb::Lmdb>(),
        #[cfg(feature = "sqlite")]
        sqlite::Sqlite::NAME => work.with::<sqlite::Sqlite>(),
        #[cfg(feature = "rocksdb")]
        rocksdb::RocksDb::NAME => work.with::<rocksdb::RocksDb>(),
        other => Err(format!(
            "no engine `{other}`: this program has {}",
            NAMES.join(", ")
        )),
    }
}

/// The version of the engine of this name.
///
/// # Errors
/// An engine that was not compiled in.
pub(crate) fn version(name: &str) -> Result<String> {
    struct Version;
    impl Work for Version {
        type Output = String;
        fn with<E: Engine>(self) -> Result<String> {
            Ok(E::version())
        }
    }
    with(name, Version)
}
