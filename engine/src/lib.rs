//! A transactional, ordered storage engine. A folder is the database.
//!
//! [`Db`] opens a database: a folder, memory, or a bucket. It holds any number of ordered maps, the [stores](Store), whose
//! [keys](Key) are typed tuples. Any number of tasks and processes read and write it in
//! [transactions](Transaction), which are strictly serializable and durable once they have committed.
//!
//! ```
//! use eciton_engine::{Db, Key, Options, Result, ScanRange, StoreSchema};
//!
//! # async fn example(folder: &std::path::Path) -> Result<()> {
//! let db = Db::open(folder, Options::default()).await?;
//! let planets = db.create_store("planets", StoreSchema::default()).await?;
//!
//! let mut transaction = db.begin();
//! for (place, name) in ["Mercury", "Venus", "Earth"].into_iter().enumerate() {
//!     let key = Key::from_struct(&("inner", place))?;
//!     transaction.put(&planets, &key, format!("\"{name}\""))?;
//! }
//! transaction.commit().await?; // durable from here on, all of it or nothing
//!
//! let inner = ScanRange::prefix(Key::parse_json("\"inner\"")?);
//! let mut scan = db.snapshot().scan(&planets, &inner);
//! let mut names = Vec::new();
//! while let Some(record) = scan.next().await? {
//!     names.push(String::from_utf8_lossy(&record.value).into_owned());
//! }
//! assert_eq!(names, ["\"Mercury\"", "\"Venus\"", "\"Earth\""]);
//! db.close().await
//! # }
//! # let folder = tempfile::tempdir().unwrap();
//! # tokio::runtime::Runtime::new().unwrap().block_on(example(folder.path())).unwrap();
//! ```
//!
//! What a program needs to open, read and write a database is at the root of the crate. What fewer programs need has
//! modules of its own: [`merge`] for operators that never conflict, [`storage`] for other media, [`coord`] for many
//! processes, [`audit`] for every record as it is applied, and [`clock`], [`entropy`] and [`spawn`] for what the engine
//! takes from outside.
//!
//! # Features
//!
//! | feature | gives |
//! |---|---|
//! | `redis` | the bus over Redis, for databases that many processes write: `coord::redis` |
//! | `object-store` | databases in buckets: `storage::ObjectStorage` |
//! | `conformance` | `storage::conformance`: what every medium must do, as tests for whoever brings one |
//! | `internals` | the modules below, for the engine's simulator, harnesses and tests; they change without notice |
//! | `mutants`, `shuttle` | deliberate breaks of the protocol, and a scheduler that draws interleavings: never in a program for users |
//!
//! # Insides
//!
//! The truth of a database is one gap-free, hash-chained log of write-once slots; immutable B+tree
//! runs are what the log has been folded into, and a manifest says which runs and from which
//! position on the log counts. `docs/ARCHITECTURE.md` is the map, `docs/FORMAT.md` has every byte.
//!
//! Modules import only downwards:
//!
//! | rank | module | is |
//! |---|---|---|
//! | 7 | `db` | the database as a whole: open, stores, verify, backup, publish |
//! | 6 | `stream` | values of any length, read and changed by range |
//! | 5 | `txn` | snapshots, read and write sets |
//! | 4 | `commit` | intents, combining, validation, outcome |
//! | 3 | `fold` | the view, and folding the log into trees |
//! | 2 | `log` | slots, records, append, replay |
//! | 2 | `tree` | immutable B+tree runs |
//! | 1 | [`storage`], [`merge`], [`coord`] | one trait each for media and hints; merge operators |
//! | 0 | `base` | ids, keys, checksums, errors, clock, entropy, limits |

// The insides are public for harnesses alone. What only those use is dead in the program's build, and what is `pub` there
// leads nowhere; the build of the whole workspace, which has the feature, has every warning.
#![cfg_attr(
    not(feature = "internals"),
    allow(
        dead_code,
        unreachable_pub,
        unused_imports,
        reason = "harnesses use it"
    )
)]

pub mod coord;
pub mod merge;
pub mod storage;

#[cfg(feature = "internals")]
pub mod base;
#[cfg(not(feature = "internals"))]
mod base;
#[cfg(feature = "internals")]
pub mod commit;
#[cfg(not(feature = "internals"))]
mod commit;
#[cfg(feature = "internals")]
pub mod db;
#[cfg(not(feature = "internals"))]
mod db;
#[cfg(feature = "internals")]
pub mod fold;
#[cfg(not(feature = "internals"))]
mod fold;
#[cfg(feature = "internals")]
pub mod log;
#[cfg(not(feature = "internals"))]
mod log;
#[cfg(feature = "internals")]
pub mod stream;
#[cfg(not(feature = "internals"))]
mod stream;
#[cfg(feature = "internals")]
pub mod tree;
#[cfg(not(feature = "internals"))]
mod tree;
#[cfg(feature = "internals")]
pub mod txn;
#[cfg(not(feature = "internals"))]
mod txn;

// Opening, and what goes with a database as a whole.
pub use base::Bounds;
pub use commit::CompactOutcome;
pub use db::{
    Backup, Broken, Db, Environment, FORMAT, HealKind, Healed, Info, Mode, OnProgress, Options,
    Progress, Published, Reinstate, Reinstated, Restored, ScrubOptions, ScrubReport, StoreStats,
    VerifyReport, backup, backup_folder, mirrored, publish, publish_folder, reinstate, restore,
    restore_folder, scrub, seal_without, verify, verify_backup, verify_backup_folder,
    verify_folder,
};
pub use fold::{CollectOutcome, FoldOutcome};
pub use tree::Compression;

// Keys and values.
pub use base::{Blob, Datum, Decimal, Desc, Direction, Key, KeyBuilder, Timestamp, Uuid};
pub use base::{checksum, json, limits};
pub use merge::{Column, Operand, Operator};

// Transactions, snapshots, streams.
pub use commit::Settled;
pub use db::Retry;
pub use stream::{Chunks, Stream, StreamKeys, StreamWriter};
pub use txn::{
    Check, Committed, Encoding, Pinned, Record, Scan, ScanRange, Snapshot, Store, StoreSchema,
    Transaction, TxOptions,
};

// Errors, and the names of things in them.
pub use base::{Action, Error, Result};
pub use base::{Generation, InstanceId, Position, StoreId, TxId};

// What the engine takes from outside.
pub use base::{clock, entropy, spawn};

/// Every record of the log as this process applies it: for simulations, audits, and readers that follow changes.
///
/// A [`Witness`](audit::Witness) is given to the engine with [`Environment::witness`].
pub mod audit {
    pub use crate::base::{ManifestId, Op, RunRef, SegmentId};
    pub use crate::commit::Witness;
    pub use crate::log::{Body, LogRecord};
}

/// The examples of the book's page about the engine compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/engine.md")]
pub struct Book;

/// The example of the crate's README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
