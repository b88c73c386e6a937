//! Operands that a shard gave before it came to its end, on their way into a transaction.

use bytes::Bytes;
use eciton_engine::merge::{Latest, Operand, State, States};
use eciton_engine::{Error, Key, Result, Store, Transaction};
use eciton_proto::v1::ExportedFile;
use tokio::runtime::Handle;

/// Bytes of results that a worker keeps, so that a commit that lost can be tried again at once. More
/// results than that move into the transaction as they come, and a lost commit computes the shard
/// again.
pub const RESULTS_LEN_MAX: usize = 32 << 20;

/// Operands that are merged before the transaction is asked whether it has too many.
const RELIEF_INTERVAL: usize = 4096;

/// Bytes of a key and an operand beside their contents.
const PAIR_LEN: usize = size_of::<(Key, Operand)>();

/// The operands of one shard.
pub(crate) struct Results {
    kept: Vec<(Key, Operand)>,
    kept_len: usize,
    /// Results that did not fit lie in here, and the rest will.
    overflow: Option<Transaction>,
    count: u64,
    len_max: usize,
    /// Files that the shard has written, to be recorded with its mark.
    files: Vec<ExportedFile>,
    change: Change,
}

/// What operands do to their store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// They merge.
    Merge,
    /// The records of their keys go.
    Delete,
    /// The records of their keys go, where the operand is not older.
    DeleteUnlessNewer,
}

impl Results {
    /// None yet; at most `len_max` bytes will be kept.
    pub(crate) fn new(len_max: usize) -> Results {
        Results {
            kept: Vec::new(),
            kept_len: 0,
            overflow: None,
            count: 0,
            len_max,
            files: Vec::new(),
            change: Change::Merge,
        }
    }

    /// The same, for another change.
    pub(crate) fn changing(self, change: Change) -> Results {
        Results { change, ..self }
    }

    /// How many operands there are.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Bytes that are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept_len
    }

    /// Whether there were too many to keep.
    pub(crate) fn has_overflow(&self) -> bool {
        self.overflow.is_some()
    }

    /// The shard has written these files.
    pub(crate) fn set_files(&mut self, files: Vec<ExportedFile>) {
        assert!(self.files.is_empty(), "the files of a shard are known once");
        self.files = files;
    }

    /// The files that the shard has written.
    pub(crate) fn take_files(&mut self) -> Vec<ExportedFile> {
        std::mem::take(&mut self.files)
    }

    /// What is kept.
    pub(crate) fn into_kept(self) -> Vec<(Key, Operand)> {
        self.kept
    }

    /// Adds operands. Once they are too many, `admit` begins the transaction that takes them; it gives
    /// none if the shard need not be computed any more.
    pub(crate) fn add<E: From<Error>>(
        &mut self,
        operands: Vec<(Key, Operand)>,
        store: &Store,
        runtime: &Handle,
        admit: impl FnOnce() -> std::result::Result<Option<Transaction>, E>,
    ) -> std::result::Result<bool, E> {
        self.count += operands.len() as u64;
        let len = |(key, operand): &(Key, Operand)| PAIR_LEN + key.len() + operand.as_bytes().len();
        self.kept_len += operands.iter().map(len).sum::<usize>();
        self.kept.extend(operands);
        assert!(
            self.kept_len >= self.kept.len() * PAIR_LEN,
            "{} operands in {} bytes",
            self.kept.len(),
            self.kept_len
        );
        if self.overflow.is_none() && self.kept_len > self.len_max {
            self.overflow = admit()?;
            if self.overflow.is_none() {
                return Ok(false);
            }
        }
        if let Some(tx) = &mut self.overflow {
            runtime.block_on(apply_all(tx, store, &self.kept, self.change))?;
            self.kept.clear();
            self.kept_len = 0;
        }
        assert!(
            self.kept_len <= self.len_max,
            "{} bytes are kept of {} at most",
            self.kept_len,
            self.len_max
        );
        assert!(
            self.kept.len() as u64 <= self.count,
            "{} operands are kept of {}",
            self.kept.len(),
            self.count
        );
        Ok(true)
    }

    /// The transaction that took what did not fit, if any. It is taken, not lent: it commits once.
    pub(crate) fn take_overflow(&mut self) -> Option<Transaction> {
        self.overflow.take()
    }
}

/// Writes into a transaction what operands do.
pub(crate) async fn apply_all(
    tx: &mut Transaction,
    store: &Store,
    pairs: &[(Key, Operand)],
    change: Change,
) -> Result<()> {
    match change {
        Change::Merge => merge_all(tx, store, pairs).await,
        Change::Delete | Change::DeleteUnlessNewer => {
            for pairs in pairs.chunks(RELIEF_INTERVAL) {
                for (key, operand) in pairs {
                    // What is read is relied on: whoever changes the record conflicts.
                    if change == Change::Delete || !is_newer(tx.get(store, key).await?, operand)? {
                        tx.delete(store, key)?;
                    }
                }
                tx.relieve().await?;
            }
            Ok(())
        }
    }
}

/// Whether a record has a larger version than an operand. One that is not there, or was put by hand, has none.
fn is_newer(record: Option<Bytes>, operand: &Operand) -> Result<bool> {
    let Some(record) = record else {
        return Ok(false);
    };
    let version = |bytes: &[u8]| -> Result<Option<u64>> {
        let states = States::decode(bytes)?;
        let latest = states.iter().find_map(State::latest);
        Ok(latest.and_then(Latest::ordinal).map(|ordinal| ordinal.job))
    };
    Ok(version(&record)? > version(operand.as_bytes())?)
}

/// Merges operands into a transaction.
async fn merge_all(tx: &mut Transaction, store: &Store, pairs: &[(Key, Operand)]) -> Result<()> {
    for pairs in pairs.chunks(RELIEF_INTERVAL) {
        for (key, operand) in pairs {
            tx.merge(store, key, operand)?;
        }
        tx.relieve().await?;
    }
    Ok(())
}
