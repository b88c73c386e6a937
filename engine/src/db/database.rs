//! An open database.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;

use super::backup::{Backup, backup};
use super::catalog::{self, StoreStats};
use super::clustered;
use super::info::Info;
use super::instance::Instance;
use super::mirrored::assemble;
use super::notes::OwnNotes;
use super::open::{self, Opened};
use super::options::{Environment, Mode, Options};
use super::places::apart;
use super::progress::OnProgress;
use super::publish::{Published, publish_into};
use crate::base::clock::Clock;
use crate::base::limits::STORE_IDS_RESERVED;
use crate::base::metric;
use crate::base::{Error, Position, Result, TxId};
use crate::commit::{CompactOutcome, Settled, Turn, Upkeep};
use crate::fold::{CollectOutcome, FoldOutcome, Layer};
use crate::storage::{Access, Exclusion, LocalStorage, Storage};
use crate::txn::{Context, ScanRange, Snapshot, Store, StoreSchema, Transaction, TxOptions};

/// How often an operation of the catalog is tried when others change the catalog at the same time.
const CATALOG_TRIES_MAX: usize = 1000;
/// Bytes of tail that closing folds: replaying less takes about ten milliseconds, folding it no less.
const CLOSE_FOLD_LEN_MIN: usize = 4 * 1024 * 1024;

/// An open database. Cheap to clone; the lock is let go when the last clone, transaction and snapshot
/// of a read-write database has gone.
///
/// A commit, [`refresh`](Db::refresh) and opening hold locks of the database while they wait. A future of one of them
/// that was begun has to be polled on to its end, or dropped: who keeps it unpolled (in `select!` by reference, in a
/// stream of futures) and meanwhile awaits another call here may wait for itself for ever. A task for each does it.
#[derive(Clone)]
pub struct Db {
    storage: Arc<dyn Storage>,
    context: Arc<Context>,
    opened: Arc<Info>,
    instance: Arc<Mutex<Instance>>,
    /// Numbers for stores that this process has taken and not given yet.
    ids: Arc<AsyncMutex<Range<u32>>>,
    /// Whether others may write, too.
    among: bool,
    notes: Arc<OwnNotes>,
}

impl Db {
    /// Opens a folder for reading and writing, standalone: this process alone writes to it.
    ///
    /// # Errors
    /// [`Error::Locked`] with the holder; [`Error::NotADatabase`]; [`Error::Corrupt`] and
    /// [`Error::FormatTooNew`] naming the object; what the storage refuses.
    pub async fn open(folder: &Path, options: Options) -> Result<Db> {
        Db::open_among(folder, options, Environment::default()).await
    }

    /// As [`Db::open`], with what else the engine takes from outside: with [`Mode::Clustered`] and a
    /// [`SharedCoordinator`](crate::coord::SharedCoordinator), together with other processes.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub async fn open_among(
        folder: &Path,
        options: Options,
        environment: Environment,
    ) -> Result<Db> {
        if !options.create && !folder.is_dir() {
            let why = "there is no such folder".to_owned();
            return Err(Error::NotADatabase {
                path: folder.display().to_string(),
                why,
            });
        }
        let storage = Arc::new(LocalStorage::open(folder, Access::ReadWrite)?);
        Db::open_storage(storage, options, environment).await
    }

    /// Opens a folder for reading. Takes no lock and writes nothing, so it works beside a running
    /// writer, whose newest slot it may see while that still waits for its sync, and on media that
    /// cannot be written.
    ///
    /// # Errors
    /// As [`Db::open`], but never [`Error::Locked`].
    pub async fn open_read_only(folder: &Path, options: Options) -> Result<Db> {
        if !folder.is_dir() {
            let why = "there is no such folder".to_owned();
            return Err(Error::NotADatabase {
                path: folder.display().to_string(),
                why,
            });
        }
        let storage = Arc::new(LocalStorage::open(folder, Access::ReadOnly)?);
        Db::open_storage_read_only(storage, options, Environment::default()).await
    }

    /// Opens any medium for reading and writing.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub async fn open_storage(
        storage: Arc<dyn Storage>,
        options: Options,
        environment: Environment,
    ) -> Result<Db> {
        let exclusion = storage.capabilities().exclusion;
        let opened = match options.mode {
            Mode::Standalone if exclusion != Exclusion::Machine => {
                open::read_write(Arc::clone(&storage), &options, &environment).await?
            }
            Mode::Standalone | Mode::Clustered => {
                clustered::read_write(Arc::clone(&storage), &options, &environment).await?
            }
        };
        Ok(Db::from_opened(storage, opened, environment.clock))
    }

    /// Opens a mirrored database for reading and writing, on the media that hold its storage paths, in any order; of a new
    /// database the first is the active path. A path that cannot be reached is left as soon as the rules allow that;
    /// see S13 in `docs/PROTOCOL.md`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the places do not belong together; [`Error::PathLost`] where nobody could tell whether
    /// others have gone on elsewhere; as [`Db::open`].
    pub async fn open_mirrored(
        places: &[Arc<dyn Storage>],
        options: Options,
        environment: Environment,
    ) -> Result<Db> {
        let create = options.create;
        let storage = assemble(places, Access::ReadWrite, create, &environment).await?;
        Db::open_storage(storage, options, environment).await
    }

    /// Opens a mirrored database for reading. An object on the active path alone is not seen: nobody has been told
    /// of it.
    ///
    /// # Errors
    /// As [`Db::open_mirrored`], but never [`Error::Locked`].
    pub async fn open_mirrored_read_only(
        places: &[Arc<dyn Storage>],
        options: Options,
        environment: Environment,
    ) -> Result<Db> {
        let storage = assemble(places, Access::ReadOnly, false, &environment).await?;
        Db::open_storage_read_only(storage, options, environment).await
    }

    /// Opens any medium for reading.
    ///
    /// # Errors
    /// As [`Db::open_read_only`].
    pub async fn open_storage_read_only(
        storage: Arc<dyn Storage>,
        options: Options,
        environment: Environment,
    ) -> Result<Db> {
        let opened = open::read_only(Arc::clone(&storage), &options, &environment).await?;
        Ok(Db::from_opened(storage, opened, environment.clock))
    }

    fn from_opened(storage: Arc<dyn Storage>, opened: Opened, clock: Arc<dyn Clock>) -> Db {
        let Opened {
            context,
            instance,
            info,
            among,
        } = opened;
        let instance = Arc::new(Mutex::new(instance));
        Db {
            storage,
            context,
            opened: Arc::new(info),
            instance,
            ids: Arc::new(AsyncMutex::new(0..0)),
            among,
            notes: Arc::new(OwnNotes::new(clock)),
        }
    }

    /// Begins a read-write transaction on the state of this moment.
    pub fn begin(&self) -> Transaction {
        self.begin_with(TxOptions::default())
    }

    /// Begins a transaction that has checked what `options` say: see [`Check`](crate::txn::Check) for what
    /// the modes promise.
    pub fn begin_with(&self, options: TxOptions) -> Transaction {
        Transaction::new(&self.context, options)
    }

    /// Begins a transaction whose turn it is.
    pub(super) fn begin_in_turn(&self, turn: Turn) -> Transaction {
        Transaction::in_turn(&self.context, turn)
    }

    /// The state of this moment, for reading: everything whose commit has returned.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(&self.context)
    }

    /// Creates a store, durably, or returns the one of that name if it is equal.
    ///
    /// # Errors
    /// [`Error::StoreDiffers`]; [`Error::Invalid`] or [`Error::Limit`] for a name that cannot be; as
    /// [`Transaction::commit`].
    pub async fn create_store(&self, name: &str, schema: StoreSchema) -> Result<Store> {
        catalog::check_name(name)?;
        catalog::check_schema(&schema)?;
        // Stores are mostly there: looking costs no slot and no right to write.
        if let Some(store) = self
            .store(name)
            .await?
            .filter(|store| *store.schema() == schema)
        {
            return Ok(store);
        }
        for _ in 1..CATALOG_TRIES_MAX {
            // Whoever finds no number takes several, and the others wait: they need one too.
            let mut left = self.ids.lock().await;
            let (mut ids, left) = match left.next() {
                Some(id) => {
                    drop(left);
                    (id..id + 1, None)
                }
                None => (0..0, Some(left)),
            };
            let mut transaction = self.begin();
            let count = STORE_IDS_RESERVED;
            let created = catalog::create(&mut transaction, name, &schema, &mut ids, count);
            let store = created.await?;
            match transaction.commit().await {
                Err(Error::Conflict { .. } | Error::TooOld { .. }) => {}
                Ok(_) => {
                    if let Some(mut left) = left {
                        *left = ids;
                    }
                    return Ok(store);
                }
                Err(error) => return Err(error),
            }
        }
        Err(self.busy_catalog())
    }

    /// Creates many stores in one transaction, durably; those that exist and are equal are returned as they
    /// are. All are created, or none.
    ///
    /// # Errors
    /// As [`Db::create_store`].
    pub async fn create_stores(&self, stores: &[(&str, StoreSchema)]) -> Result<Vec<Store>> {
        for (name, schema) in stores {
            catalog::check_name(name)?;
            catalog::check_schema(schema)?;
        }
        let count = u32::try_from(stores.len()).unwrap_or(u32::MAX);
        for _ in 1..CATALOG_TRIES_MAX {
            let mut transaction = self.begin();
            let (mut ids, mut created) = (0..0, Vec::with_capacity(stores.len()));
            for (name, schema) in stores {
                let store = catalog::create(&mut transaction, name, schema, &mut ids, count);
                created.push(store.await?);
                transaction.relieve().await?;
            }
            match transaction.commit().await {
                Err(Error::Conflict { .. } | Error::TooOld { .. }) => {}
                other => return other.map(|_| created),
            }
        }
        Err(self.busy_catalog())
    }

    fn busy_catalog(&self) -> Error {
        Error::Conflict {
            what: "the catalog".to_owned(),
            read_at: self.snapshot().position(),
        }
    }

    /// Finds a store; `None` if there is none of that name.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn store(&self, name: &str) -> Result<Option<Store>> {
        catalog::find(&self.snapshot(), name).await
    }

    /// All stores, by name, those of the system (their names begin with `_`) included.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn stores(&self) -> Result<Vec<Store>> {
        catalog::list(&self.snapshot()).await
    }

    /// Drops a store with everything in it, durably; `false` if there was none. Space comes back as
    /// folding passes by.
    ///
    /// # Errors
    /// As [`Transaction::commit`].
    pub async fn drop_store(&self, name: &str) -> Result<bool> {
        for _ in 1..CATALOG_TRIES_MAX {
            let mut transaction = self.begin();
            let found = catalog::drop_store(&mut transaction, name).await?;
            match transaction.commit().await {
                Err(Error::Conflict { .. } | Error::TooOld { .. }) => {}
                other => return other.map(|_| found),
            }
        }
        Err(self.busy_catalog())
    }

    /// Counts what a store holds, by reading it.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub async fn store_stats(&self, store: &Store) -> Result<StoreStats> {
        let mut scan = self.snapshot().scan(store, &ScanRange::all());
        let mut stats = StoreStats::default();
        while let Some(record) = scan.next().await? {
            stats.records += 1;
            stats.keys_len += record.key.len() as u64;
            stats.values_len += record.value.len() as u64;
        }
        Ok(stats)
    }

    /// What the database says of itself at this moment.
    pub fn info(&self) -> Info {
        let (view, position) = self.context.view.snapshot();
        let runs = view.layers.iter().filter_map(|layer| match layer {
            Layer::Run(run) => Some(&run.reference),
            Layer::Memtable(_) => None,
        });
        let (mut count, mut len, mut entries) = (0, 0, 0);
        for run in runs {
            count += 1;
            len += run.len;
            entries += run.entries;
        }
        Info {
            position,
            manifest: view.manifest.id,
            folded: view.manifest.folded,
            runs: count,
            runs_len: len,
            runs_entries: entries,
            tail_len: view.tail_len() as u64,
            ..Info::clone(&self.opened)
        }
    }

    /// Brings up to date those of the engine's metrics that no call of its own sets: what waits to be folded, and how often
    /// the page cache had what it was asked for. For whoever serves metrics, every second or so; with several databases
    /// in a process the gauges are those of the last one that told.
    pub fn tell_metrics(&self) {
        let view = self.context.view.load();
        metric::set_fold_lag(view.tail_keys(), view.tail_len());
        let (hits, misses) = self.context.folder.cache.asked();
        metric::set_page_cache(hits, misses);
    }

    /// Folds the whole tail of the log, so that the next opening has nothing to replay.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; what the storage refuses: the database is then as it was.
    pub async fn fold(&self) -> Result<FoldOutcome> {
        self.upkeep()?.fold().await
    }

    /// Deletes what nothing refers to any more: replaced runs, folded slots, old manifests. Snapshots and
    /// scans that are open in this process go on; a reader elsewhere may get
    /// [`Error::SnapshotTooOld`] and begin again.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; as [`Transaction::commit`]; what the storage refuses. Whatever still means
    /// something is there.
    pub async fn collect(&self) -> Result<CollectOutcome> {
        self.upkeep()?.collect().await
    }

    /// Folds everything that has been committed into one run, without whatever is deleted, replaced or
    /// dropped, and gives the space back: replaced runs, old manifests, the folded log. Commits and reads go
    /// on all the time, and so do snapshots and scans that are open in this process; what is committed
    /// meanwhile lies in runs of its own on top. A reader elsewhere that is just opening begins again by
    /// itself.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; what the storage refuses: the database is then as it was, or folded and not
    /// compacted, and nothing is lost.
    pub async fn compact(&self) -> Result<CompactOutcome> {
        self.upkeep()?.compact().await
    }

    /// Backs up everything that has been committed to a folder of backups; see [`backup`](super::backup()).
    ///
    /// # Errors
    /// As [`backup`](super::backup()).
    pub async fn backup(&self, to: &Path, full: bool, progress: OnProgress<'_>) -> Result<Backup> {
        self.apart(to, "backups")?;
        let target = Arc::new(LocalStorage::open(to, Access::ReadWrite)?);
        let environment = Environment::default();
        backup(
            Arc::clone(&self.storage),
            target,
            full,
            &environment,
            progress,
        )
        .await
    }

    /// Publishes everything that has been committed into a new folder; see [`publish`](super::publish()).
    ///
    /// # Errors
    /// As [`publish`](super::publish()).
    pub async fn publish(&self, to: &Path, progress: OnProgress<'_>) -> Result<Published> {
        self.apart(to, "a published copy")?;
        let (options, environment) = (Options::default(), Environment::default());
        let source = Arc::clone(&self.storage);
        publish_into(source, to, &options, &environment, progress).await
    }

    /// Makes sure that a folder lies outside of this database's, if that is one.
    fn apart(&self, to: &Path, what: &str) -> Result<()> {
        let location = self.storage.location();
        let location = Path::new(&location);
        // A bucket's address is no folder, nor is what a medium in memory says.
        match location.is_dir() {
            true => apart(location, to, what),
            false => Ok(()),
        }
    }

    /// Makes visible whatever other processes have committed: everything that had committed anywhere when
    /// this was called can be read when it returns. With one process there is nothing to do.
    ///
    /// In a bucket nothing keeps what others have collected: after [`Error::SnapshotTooOld`] this finds the
    /// newest state that is all there.
    ///
    /// # Errors
    /// [`Error::ReadOnly`]; [`Error::Corrupt`] naming the object; [`Error::Halted`] after a sync that
    /// failed; what the storage refuses.
    pub async fn refresh(&self) -> Result<()> {
        self.upkeep()?.refresh().await
    }

    /// Makes visible what other processes have committed, as far as that costs little: what has come over Redis. Storage
    /// is asked where the last time that was not all there was, or where nothing has been heard for
    /// [`STALE_MS_MAX`](crate::base::limits::STALE_MS_MAX), of a bucket
    /// [`STALE_BUCKET_MS_MAX`](crate::base::limits::STALE_BUCKET_MS_MAX). For who can do with a moment's delay, and
    /// [`Db::refresh`] for who cannot.
    ///
    /// # Errors
    /// As [`Db::refresh`].
    pub async fn catch_up(&self) -> Result<()> {
        self.upkeep()?.catch_up().await
    }

    /// Whether other processes may write to this database, too: it was opened [clustered](Mode::Clustered).
    pub fn is_shared(&self) -> bool {
        self.among
    }

    /// Claims a piece of work by name for `ms` milliseconds, so that other processes that ask leave it alone;
    /// `false` where another one has claimed it and its time is not over. Claiming again prolongs it.
    ///
    /// A hint, which saves work and proves nothing: it may be lost at any moment, and where processes
    /// cannot hear of each other each has whatever it asks for. It knows processes, not tasks: a
    /// [standalone](Mode::Standalone) database has one, which has everything.
    pub async fn lease(&self, name: &str, ms: u64) -> bool {
        match &self.context.upkeep {
            Some(upkeep) if self.is_shared() => upkeep.committer().lease(name, ms).await.is_some(),
            _ => true,
        }
    }

    /// Lets go of a piece of work that this process has [claimed](Db::lease), so that others may claim it at once.
    /// One that it has not claimed stays as it is.
    pub async fn release(&self, name: &str) {
        if let (Some(upkeep), true) = (&self.context.upkeep, self.is_shared()) {
            upkeep.committer().release(name).await;
        }
    }

    /// Shows a note to every process at this database for `ms` milliseconds, in place of an earlier one of the same
    /// name; 0 takes it away. Who wants to be known of says so again before its time is over.
    ///
    /// A hint: nothing is written to the database, a note may be lost at any moment, and where processes cannot
    /// hear of each other each knows only its own. Names have up to
    /// [`NOTE_ID_LEN_MAX`](crate::base::limits::NOTE_ID_LEN_MAX) bytes and notes up to
    /// [`NOTE_LEN_MAX`](crate::base::limits::NOTE_LEN_MAX), else they are not shown; of more than
    /// [`NOTES_MAX`](crate::base::limits::NOTES_MAX) those go that end soonest.
    pub async fn announce(&self, id: &str, note: Bytes, ms: u64) {
        self.notes.put(id, note.clone(), ms);
        if let (Some(upkeep), true) = (&self.context.upkeep, self.is_shared()) {
            upkeep.committer().announce(id, note, ms).await;
        }
    }

    /// The notes that are shown now, in the order of their names: those of this process, and whatever is known of
    /// others'.
    pub async fn announced(&self) -> Vec<(String, Bytes)> {
        let others = match (&self.context.upkeep, self.is_shared()) {
            (Some(upkeep), true) => upkeep.committer().announced().await,
            _ => Vec::new(),
        };
        self.notes.among(others)
    }

    /// Makes visible everything up to `min_position`, which somebody has told of: so a session reads its own
    /// and others' known writes through any process. Costs nothing where it is visible already.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the log does not reach so far: the position is another database's. Else as
    /// [`Db::refresh`].
    pub async fn reach(&self, min_position: Position) -> Result<()> {
        if self.snapshot().position() >= min_position {
            return Ok(());
        }
        self.refresh().await?;
        let position = self.snapshot().position();
        if position < min_position {
            let message = format!("the log ends at {position}, before {min_position}");
            return Err(Error::Invalid(message));
        }
        Ok(())
    }

    /// Finds out what became of a transaction whose commit returned [`Error::CommitUnknown`]: if it has not
    /// committed, it is cancelled, so that it never will. `read_at` is the state that it read
    /// ([`Transaction::position`]).
    ///
    /// # Errors
    /// [`Error::TooOld`]: the log has gone on so far that nobody can tell any more. [`Error::ReadOnly`]; as
    /// [`Transaction::commit`].
    pub async fn settle(&self, txid: TxId, read_at: Position) -> Result<Settled> {
        let cancel = TxId(self.context.entropy.next_u128());
        let committer = self.upkeep()?.committer();
        committer.settle(cancel, txid, read_at).await
    }

    /// What commits, and keeps the log short.
    pub(super) fn upkeep(&self) -> Result<&Arc<Upkeep>> {
        self.context.upkeep.as_ref().ok_or(Error::ReadOnly)
    }

    /// Ends in good order: waits for background folding, folds a long tail so that the next opening is
    /// quick, gives back what the log had allocated ahead, and notes how far the log certainly reaches.
    /// Whatever was committed is durable without it. Transactions that others still hold can go on.
    ///
    /// # Errors
    /// What the storage refuses.
    pub async fn close(self) -> Result<()> {
        let Some(upkeep) = &self.context.upkeep else {
            return Ok(());
        };
        if self.context.view.load().tail_len() > CLOSE_FOLD_LEN_MIN {
            upkeep.fold().await?;
        }
        upkeep.close().await?;
        let last = upkeep.committer().combiner().await.last();
        let before = *self.instance.lock();
        // Among others the log goes on: what one of them knows when it leaves says nothing.
        if !self.context.folder.shared && before.closed != Some(last) {
            let stored = Instance {
                closed: Some(last),
                ..before
            }
            .store(&*self.storage)
            .await?;
            *self.instance.lock() = stored;
        }
        Ok(())
    }
}
