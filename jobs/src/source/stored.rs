//! The records of a store as a source: planning it, and what reads it later.

use std::fmt;
use std::sync::Arc;

use eciton_engine::{Action, Db, Error as EngineError, Snapshot, Store};
use eciton_proto::v1::{SourceSpec, StorePlan};
use futures::executor::block_on;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::error::SourceError;
use super::format::ShardRows;
use super::mend::content_hash;
use super::plan::{Planned, Shard, Source};
use crate::names::candidates;
use crate::spec::{JobFile, SpecError};
use crate::stores::{QueryError, SliceError, SliceReader, slice};

/// The key that findings about the store are blamed on.
const STORE: &str = "source.store";
/// Batches that are read before they are asked for.
const BATCHES_AHEAD: usize = 2;

/// The database whose store is a source. Cheap to clone; all clones read one state of it.
#[derive(Clone)]
pub(crate) struct SourceDatabase(Arc<Access>);

struct Access {
    db: Db,
    runtime: Handle,
    /// The state that is read: the first one that was asked for.
    snapshot: Mutex<Option<Snapshot>>,
}

impl fmt::Debug for SourceDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceDatabase")
    }
}

impl PartialEq for SourceDatabase {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl SourceDatabase {
    /// A database that is read by tasks of this runtime. Call it within one.
    pub(crate) fn new(db: &Db) -> SourceDatabase {
        SourceDatabase(Arc::new(Access {
            db: db.clone(),
            runtime: Handle::current(),
            snapshot: Mutex::new(None),
        }))
    }

    /// The state that everything of this source is read from in this process. As it is not older than the job's record,
    /// it has the store as it was recorded, or a later one, whose hashes differ.
    fn snapshot(&self) -> Snapshot {
        let mut kept = self.0.snapshot.lock();
        kept.get_or_insert_with(|| self.0.db.snapshot()).clone()
    }

    /// Lets the next reader take a newer state: others have collected this one.
    fn forget(&self) {
        *self.0.snapshot.lock() = None;
    }

    async fn store(&self, name: &str) -> Result<Store, SourceError> {
        let found = self.0.db.store(name).await;
        let found = found.map_err(|error| of_engine(name, &error))?;
        found.ok_or_else(|| SourceError::Stored {
            store: name.to_owned(),
            message: "it was dropped since the job was recorded".to_owned(),
            transient: false,
        })
    }
}

/// Whether the source of a job is a store.
pub(crate) fn is_stored(spec: &SourceSpec) -> bool {
    !spec.store.is_empty()
}

/// Plans a source that is a store: reads all of it once, in the state of this moment.
///
/// # Errors
/// [`SpecError`] where there is no database, or no such store in it; where it would have too many shards; what the database
/// refuses.
pub(crate) async fn plan_stored(db: Option<&Db>, job: &JobFile) -> Result<Planned, SpecError> {
    let spec = job.spec().source.clone().unwrap_or_default();
    let name = &spec.store;
    let Some(db) = db else {
        let expected = format!(
            "the records of store `{name}` are read from a database: expected one that is there, named by --db"
        );
        return Err(job.error(STORE, expected));
    };
    let refused = |error: EngineError| job.error(STORE, format!("store `{name}`: {error}"));
    let database = SourceDatabase::new(db);
    let snapshot = database.snapshot();
    let Some(store) = db.store(name).await.map_err(refused)? else {
        let known = db.stores().await.map_err(refused)?;
        let known = known.iter().map(|store| store.name().to_owned());
        let known: Vec<String> = known.filter(|known| !known.starts_with('_')).collect();
        let hint = match known.is_empty() {
            true => "the database has no stores".to_owned(),
            false => candidates(name, &known),
        };
        return Err(job.error(STORE, format!("no store `{name}`: {hint}")));
    };
    let sliced = slice(&snapshot, &store, spec.shard_size).await;
    let sliced = sliced.map_err(|error| match error {
        SliceError::TooMany => job.error(
            "source.shard_size",
            format!("store `{name}` gives too many shards; expected larger shards"),
        ),
        SliceError::Plan(message) => job.error(STORE, message),
        SliceError::Query(error) => job.error(STORE, format!("store `{name}`: {error}")),
    })?;
    Ok(Planned::of_store(sliced, database))
}

/// The rows of one shard of a store.
pub(super) struct StoredRows {
    parts: mpsc::Receiver<Result<StoredPart, SourceError>>,
    digest: u128,
    bytes: u64,
}

/// What the task that reads sends.
enum StoredPart {
    /// Some rows, and how many bytes were read for them and before.
    Batch(RecordBatch, u64),
    /// There are no more rows, and these were the recorded ones. Their hash.
    End(u128),
}

impl StoredRows {
    /// Begins to read a shard.
    ///
    /// # Errors
    /// [`SourceError::Plan`] where the source was not put together with a database.
    pub(super) fn open(
        source: &Source,
        shard: Shard,
        columns: &[usize],
    ) -> Result<StoredRows, SourceError> {
        let missing = || SourceError::Plan("a store without a database".to_owned());
        let (database, plan) = source.stored().ok_or_else(missing)?;
        let reading = StoredShard {
            database: database.clone(),
            plan: Arc::clone(plan),
            store: source.spec().store.clone(),
            schema: SchemaRef::clone(source.schema()),
            columns: columns.to_vec(),
            shard,
        };
        let (sender, parts) = mpsc::channel(BATCHES_AHEAD);
        // The thread that asks for rows may be one that drives a query, where nothing can be waited for.
        database.0.runtime.spawn(async move {
            if let Err(error) = reading.send_all(&sender).await {
                // Nobody may listen any more.
                sender.send(Err(error)).await.ok();
            }
        });
        Ok(StoredRows {
            parts,
            digest: 0,
            bytes: 0,
        })
    }
}

impl ShardRows for StoredRows {
    fn next(&mut self) -> Result<Option<RecordBatch>, SourceError> {
        // Without a budget: whoever drives the query would not renew it while this waits.
        let next = block_on(tokio::task::unconstrained(self.parts.recv()));
        match next {
            Some(Ok(StoredPart::Batch(batch, bytes))) => {
                self.bytes = bytes;
                Ok(Some(batch))
            }
            Some(Ok(StoredPart::End(digest))) => {
                self.digest = digest;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            None => Err(SourceError::Stored {
                store: String::new(),
                message: "reading it broke off".to_owned(),
                transient: true,
            }),
        }
    }

    fn digest(&self) -> u128 {
        self.digest
    }

    fn bytes_read(&self) -> u64 {
        self.bytes
    }
}

/// What a task reads.
struct StoredShard {
    database: SourceDatabase,
    plan: Arc<StorePlan>,
    store: String,
    schema: SchemaRef,
    columns: Vec<usize>,
    shard: Shard,
}

impl StoredShard {
    async fn send_all(
        &self,
        sender: &mpsc::Sender<Result<StoredPart, SourceError>>,
    ) -> Result<(), SourceError> {
        let store = self.database.store(&self.store).await?;
        let snapshot = self.database.snapshot();
        let failed = |error: SliceError| self.failed(error);
        let mut reader = SliceReader::new(
            &snapshot,
            &store,
            &self.plan,
            self.shard.number,
            &self.schema,
            &self.columns,
        )
        .map_err(failed)?;
        while let Some(batch) = reader.next().await.map_err(failed)? {
            if reader.records() > self.shard.len {
                return Err(self.changed(None));
            }
            let part = StoredPart::Batch(batch, reader.bytes_read());
            if sender.send(Ok(part)).await.is_err() {
                return Ok(());
            }
        }
        let digest = reader.digest();
        if reader.records() != self.shard.len || content_hash(digest) != self.shard.content_hash {
            return Err(self.changed(Some(reader.records())));
        }
        // Who does not listen any more has what it wanted.
        sender.send(Ok(StoredPart::End(digest))).await.ok();
        Ok(())
    }

    fn failed(&self, error: SliceError) -> SourceError {
        match error {
            SliceError::TooMany => SourceError::Plan("too many shards of a store".to_owned()),
            SliceError::Plan(message) => SourceError::Plan(message),
            // None of the recorded ones is.
            SliceError::Query(QueryError::Misfit { .. }) => self.changed(None),
            SliceError::Query(QueryError::Engine(error)) => {
                if error.action() == Action::Retry {
                    self.database.forget();
                }
                of_engine(&self.store, &error)
            }
            SliceError::Query(other) => SourceError::Stored {
                store: self.store.clone(),
                message: other.to_string(),
                transient: false,
            },
        }
    }

    /// The records are others; how many there are, if that was counted.
    fn changed(&self, found: Option<u64>) -> SourceError {
        let Shard { start, len, .. } = self.shard;
        let found = match found {
            Some(found) if found == len => "as many with other keys or values".to_owned(),
            Some(found) => found.to_string(),
            None => "others".to_owned(),
        };
        SourceError::StoreChanged {
            store: self.store.clone(),
            first: start + 1,
            last: start + len,
            found,
        }
    }
}

fn of_engine(store: &str, error: &EngineError) -> SourceError {
    SourceError::Stored {
        store: store.to_owned(),
        message: error.to_string(),
        transient: !matches!(
            error,
            EngineError::Corrupt { .. } | EngineError::Overflow { .. } | EngineError::Invalid(_)
        ),
    }
}
