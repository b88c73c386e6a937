//! A transactional, ordered storage engine. A folder is the database.
//!
//! The truth of a database is one gap-free, hash-chained log of write-once slots; immutable B+tree
//! runs are what the log has been folded into, and a manifest says which runs and from which
//! position on the log counts. `docs/ARCHITECTURE.md` is the map, `docs/FORMAT.md` has every byte.
//!
//! Modules import only downwards:
//!
//! | rank | module | is |
//! |---|---|---|
//! | 7 | [`db`] | the public API: open, stores, transactions, scans, verify |
//! | 6 | [`stream`] | values of any length, read and changed by range |
//! | 5 | [`txn`] | snapshots, read and write sets |
//! | 4 | [`commit`] | intents, combining, validation, outcome |
//! | 3 | [`fold`] | the view, and folding the log into trees |
//! | 2 | [`log`] | slots, records, append, replay |
//! | 2 | [`tree`] | immutable B+tree runs |
//! | 1 | [`storage`], [`merge`], [`coord`] | one trait each for media and hints; merge operators |
//! | 0 | [`base`] | ids, keys, checksums, errors, clock, entropy, limits |

pub mod base;
pub mod commit;
pub mod coord;
pub mod db;
pub mod fold;
pub mod log;
pub mod merge;
pub mod storage;
pub mod stream;
pub mod tree;
pub mod txn;

/// The examples of the book's page about the engine compile.
#[cfg(doctest)]
#[doc = include_str!("../../docs/engine.md")]
pub struct Book;
