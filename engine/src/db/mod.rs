//! The public API of the engine: a database as a whole.
//!
//! ```
//! # use eciton_engine::{Db, Key, Options, Result, StoreSchema};
//! # async fn example(folder: &std::path::Path) -> Result<()> {
//! let db = Db::open(folder, Options::default()).await?;
//! let planets = db.create_store("planets", StoreSchema::default()).await?;
//! let key = Key::parse_json("[\"inner\", 3]")?;
//!
//! let mut transaction = db.begin();
//! transaction.put(&planets, &key, "\"Earth\"")?;
//! transaction.commit().await?; // durable from here on
//!
//! assert_eq!(db.snapshot().get(&planets, &key).await?.as_deref(), Some(&b"\"Earth\""[..]));
//! db.close().await
//! # }
//! # let folder = tempfile::tempdir().unwrap();
//! # tokio::runtime::Runtime::new().unwrap().block_on(example(folder.path())).unwrap();
//! ```

mod backup;
mod bucket;
mod catalog;
mod clustered;
mod create;
mod database;
mod filling;
mod gaps;
mod guide;
mod in_transaction;
mod info;
mod instance;
mod mirrored;
mod notes;
mod open;
mod options;
mod path;
mod places;
mod progress;
mod publish;
mod reached;
mod reinstate;
mod retry;
mod scrub;
#[cfg(test)]
mod stream_damage;
mod verify;

pub use crate::commit::{CompactOutcome, Settled, Witness};
pub use crate::fold::{CollectOutcome, FoldOutcome};
pub use crate::stream::{Chunks, Stream, StreamKeys, StreamWriter};
pub use crate::txn::{
    Check, Committed, Encoding, Pinned, Record, Scan, ScanRange, Snapshot, Store, StoreSchema,
    Transaction, TxOptions,
};
pub use backup::{
    Backup, Restored, backup, backup_folder, restore, restore_folder, verify_backup,
    verify_backup_folder,
};
pub use catalog::StoreStats;
pub use database::Db;
pub use info::Info;
pub use mirrored::mirrored;
pub use options::{Environment, Mode, Options};
pub use progress::{OnProgress, Progress};
pub use publish::{Published, publish, publish_folder};
pub use reinstate::{Reinstate, Reinstated, reinstate, seal_without};
pub use retry::Retry;
pub use scrub::{HealKind, Healed, ScrubOptions, ScrubReport, scrub};
pub use verify::{Broken, VerifyReport, verify, verify_folder};

/// The version of the database format as a whole.
pub const FORMAT: u32 = 1;
/// The version of a database with several storage paths: a program that does not know of them must not write to one alone.
const MIRRORED_FORMAT: u32 = 2;
