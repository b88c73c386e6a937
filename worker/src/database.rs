//! Opening a database the way a command needs it.

use std::future::Future;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use eciton_engine::coord::redis::{RedisBus, RedisOptions};
use eciton_engine::coord::{Bus, SharedCoordinator, Silence};
use eciton_engine::storage::fault::{FaultClass, class_of};
use eciton_engine::storage::{
    Access, CacheOptions, LocalStorage, ObjectOptions, ObjectStorage, Storage, Unreachable,
    WatchedStorage,
};
use eciton_engine::{Action, Db, Environment, Error, Mode, Options, Store, mirrored};
use eciton_jobs::source::check_credentials;

use crate::cli::{Compressed, Global};
use crate::failure::Failure;
use crate::owner::other_owner;
use crate::{reachable, settings};

/// How often something is read that is collected meanwhile.
const READS_MAX: u32 = 5;

/// What a command that writes does where there is no database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// Creates it: the command is one that people begin with.
    Create,
    /// Refuses: more likely a slip in the path than a wish.
    Refuse,
}

/// Threads for what blocks, at most. Each open job of a worker has one a slot, also while others have the slots, so a
/// large machine takes more than the runtime's own limit; they are started as they are needed.
const THREADS_MAX: usize = 1 << 15;

/// Runs a command's future to its end on a runtime of its own.
///
/// # Errors
/// Whatever the command returns, or where no thread can be started.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(THREADS_MAX)
        .build()?;
    let done = runtime.block_on(work);
    // What a shard that did not end in time still computes is not waited for: nobody wants it.
    runtime.shutdown_background();
    done
}

/// Opens for reading: takes no lock, so it works beside a running writer.
///
/// # Errors
/// [`Failure::Usage`] where no database is named, the engine's errors otherwise.
pub(crate) async fn read(global: &Global) -> Result<Db, Failure> {
    let path = settings::database(global)?;
    if let Some(places) = places(global, Access::ReadOnly).await? {
        let environment = Environment::default();
        let opened = Db::open_mirrored_read_only(&places, Options::default(), environment).await;
        return opened.map_err(|error| not_opened(&path, error));
    }
    let opened = match settings::bucket(&path) {
        Some(url) => {
            let bucket = in_bucket(url, Access::ReadOnly, settings::cache(global)?).await?;
            Db::open_storage_read_only(bucket, Options::default(), Environment::default()).await
        }
        None => Db::open_read_only(&path, Options::default()).await,
    };
    opened.map_err(|error| not_opened(&path, error))
}

/// Opens for reading, and reads. Whoever writes knows nothing of readers in other processes: what was collected while
/// it was read is read anew, in the state of that moment.
///
/// # Errors
/// As [`read`], and those of `work`.
pub(crate) async fn reading<T>(
    global: &Global,
    work: impl AsyncFn(&Db) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut reads = 1;
    loop {
        match work(&read(global).await?).await {
            Err(Failure::Engine(error)) if error.action() == Action::Retry && reads < READS_MAX => {
                reads += 1;
            }
            done => return done,
        }
    }
}

/// The storage of a database, for reading it as it lies there.
///
/// # Errors
/// As [`read`].
pub(crate) async fn storage(global: &Global) -> Result<Arc<dyn Storage>, Failure> {
    let path = settings::database(global)?;
    if let Some(places) = places(global, Access::ReadOnly).await? {
        let opened = mirrored(&places, Access::ReadOnly, &Environment::default()).await;
        return opened.map_err(|error| not_opened(&path, error));
    }
    match settings::bucket(&path) {
        // Not what a cache has of it.
        Some(url) => in_bucket(url, Access::ReadOnly, None).await,
        None => {
            let folder = LocalStorage::open(&path, Access::ReadOnly);
            Ok(Arc::new(folder.map_err(|error| not_opened(&path, error))?))
        }
    }
}

/// The storage paths of a mirrored database; `None` where only one was named. A folder that fails as a
/// lost path does counts as one that cannot be reached.
///
/// # Errors
/// [`Failure::Usage`] for an address or credentials that cannot be.
async fn places(global: &Global, access: Access) -> Result<Option<Vec<Arc<dyn Storage>>>, Failure> {
    let Some(standby) = settings::standby(global)? else {
        return Ok(None);
    };
    let mut places: Vec<Arc<dyn Storage>> = Vec::new();
    let mut failures = Vec::new();
    for path in [settings::database(global)?, standby] {
        places.push(match settings::bucket(&path) {
            Some(url) => in_bucket(url, access, None).await?,
            None => match open_watched(&path, access).await? {
                Ok(folder) => Arc::new(folder) as Arc<dyn Storage>,
                // What only this user may not, or has mistyped, is no loss of the path.
                Err(error)
                    if access == Access::ReadWrite
                        && class_of(&error).0 != FaultClass::Failover =>
                {
                    return Err(not_opened(&path, error));
                }
                Err(error) => {
                    let location = path.display().to_string();
                    let why = error.to_string();
                    failures.push((path, error));
                    Arc::new(Unreachable::new(location, why))
                }
            },
        });
    }
    if failures.len() == places.len() {
        // Of both: a wrong name rather than two failures.
        let is_name = |(_, error): &(_, Error)| class_of(error).0 != FaultClass::Failover;
        if let Some((path, error)) = failures.into_iter().find(is_name) {
            return Err(not_opened(&path, error));
        }
    }
    Ok(Some(places))
}

/// The storage paths of a mirrored database, opened for writing.
///
/// # Errors
/// [`Failure::Usage`] where only one was named; as [`read`].
pub(crate) async fn both_places(global: &Global) -> Result<Vec<Arc<dyn Storage>>, Failure> {
    let places = places(global, Access::ReadWrite).await?;
    places.ok_or_else(|| {
        let ways = "name both: --db DIR --standby DIR";
        Failure::Usage(format!("a mirrored database has two storage paths; {ways}"))
    })
}

/// Which of the named storage paths this is, if it is one.
fn number_of(global: &Global, path: &Path) -> Result<Option<usize>, Failure> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let named = [
        Some(settings::database(global)?),
        settings::standby(global)?,
    ];
    let mut named = named.iter().flatten();
    Ok(named.position(|named| real(named) == real(path)))
}

/// The storage paths of a mirrored database, and a place for another one, or one of them.
///
/// # Errors
/// [`Failure::Usage`] where only one was named; as [`read`].
pub(crate) async fn places_and(
    global: &Global,
    path: &Path,
) -> Result<(Vec<Arc<dyn Storage>>, Arc<dyn Storage>), Failure> {
    let places = both_places(global).await?;
    let place = match (number_of(global, path)?, settings::bucket(path)) {
        (Some(at), _) => Arc::clone(&places[at]),
        (None, Some(url)) => in_bucket(url, Access::ReadWrite, None).await?,
        (None, None) => {
            let folder = open_watched(path, Access::ReadWrite).await?;
            Arc::new(folder.map_err(|error| not_opened(path, error))?)
        }
    };
    Ok((places, place))
}

/// The storage paths of a mirrored database, and which of them is this one.
///
/// # Errors
/// [`Failure::Usage`] where it is none of them, or only one was named; as [`read`].
pub(crate) async fn places_without(
    global: &Global,
    lost: &Path,
) -> Result<(Vec<Arc<dyn Storage>>, usize), Failure> {
    let places = both_places(global).await?;
    let at = number_of(global, lost)?.ok_or_else(|| {
        let lost = lost.display();
        Failure::Usage(format!(
            "{lost} is no storage path of this database: name the value of --db or of --standby"
        ))
    })?;
    Ok((places, at))
}

/// Opens a folder that may hang, as the storage path of a mirrored database.
async fn open_watched(
    path: &Path,
    access: Access,
) -> Result<Result<WatchedStorage, Error>, Failure> {
    let (options, own) = (settings::watch()?, path.to_owned());
    let open = move || LocalStorage::open(&own, access);
    Ok(WatchedStorage::open(&path.display().to_string(), options, open).await)
}

/// A place in a bucket that is no database, to write objects to.
///
/// # Errors
/// [`Failure::Usage`] for an address or credentials that cannot be; where the bucket does not answer or cannot be
/// written to safely.
pub(crate) async fn bucket_to_write(url: &str) -> Result<Arc<dyn Storage>, Failure> {
    in_bucket(url, Access::ReadWrite, None).await
}

async fn in_bucket(
    url: &str,
    access: Access,
    cache: Option<CacheOptions>,
) -> Result<Arc<dyn Storage>, Failure> {
    let environment = |name: &str| std::env::var(name).ok();
    check_credentials(url, environment).map_err(Failure::Usage)?;
    reachable::check(url, environment)
        .await
        .map_err(Failure::Work)?;
    let options = ObjectOptions {
        cache,
        connect_timeout: reachable::PATIENCE,
        ..ObjectOptions::default()
    };
    let bucket = ObjectStorage::open(url, &options, access).await;
    Ok(Arc::new(
        bucket.map_err(|error| not_opened(Path::new(url), error))?,
    ))
}

/// Opens for writing: alone, or together with all others that are told of a Redis.
///
/// # Errors
/// As [`read`]; [`Error::Locked`] while a process has it that this one cannot share it with.
async fn write(
    global: &Global,
    redis: Option<RedisOptions>,
    absent: Absent,
    compressed: Compressed,
) -> Result<Db, Failure> {
    let path = settings::database(global)?;
    let bucket = settings::bucket(&path);
    let is_shared = redis.is_some() || bucket.is_some();
    let options = Options {
        create: absent == Absent::Create,
        compression: settings::compression(compressed)?,
        mode: match is_shared {
            true => Mode::Clustered,
            false => Mode::Standalone,
        },
        ..Options::default()
    };
    let environment = match is_shared {
        true => among_others(redis)?,
        false => Environment::default(),
    };
    if absent == Absent::Create && bucket.is_none() {
        refuse_foreign(&path)?;
    }
    if let Some(places) = places(global, Access::ReadWrite).await? {
        if absent == Absent::Create
            && let Some(standby) = settings::standby(global)?
        {
            refuse_foreign(&standby)?;
        }
        let opened = Db::open_mirrored(&places, options, environment).await;
        return opened.map_err(|error| not_opened(&path, error));
    }
    let opened = match bucket {
        Some(url) => {
            let bucket = in_bucket(url, Access::ReadWrite, settings::cache(global)?).await?;
            Db::open_storage(bucket, options, environment).await
        }
        None => Db::open_among(&path, options, environment).await,
    };
    opened.map_err(|error| not_opened(&path, error))
}

/// Hands transactions to other processes over Redis, and takes theirs. Nobody waits for it to be there, and without
/// any each process commits its own.
fn among_others(redis: Option<RedisOptions>) -> Result<Environment, Failure> {
    let environment = Environment::default();
    let (clock, entropy) = (&environment.clock, &environment.entropy);
    let bus: Arc<dyn Bus> = match redis {
        Some(redis) => Arc::new(bus(redis)?),
        None => Arc::new(Silence),
    };
    let coordinator = SharedCoordinator::new(bus, Arc::clone(clock), Arc::clone(entropy));
    Ok(Environment {
        coordinator: Arc::new(coordinator),
        ..environment
    })
}

/// What processes at one database tell each other over Redis.
///
/// # Errors
/// [`Failure::Usage`] for an address that is none, and for certificates that cannot be read.
pub(crate) fn bus(redis: RedisOptions) -> Result<RedisBus, Failure> {
    let Environment { clock, entropy, .. } = Environment::default();
    RedisBus::new(redis, clock, entropy)
        .map_err(|error| Failure::Usage(format!("--redis or ECITON_REDIS: {error}")))
}

/// Opens a database as workers do that share this Redis, creates it where there is none, and closes it again: what
/// they would run into is told here.
///
/// # Errors
/// As [`writing`].
pub(crate) async fn prepare(global: &Global, redis: Option<RedisOptions>) -> Result<(), Failure> {
    let db = write(global, redis, Absent::Create, Compressed::default()).await?;
    Ok(db.close().await?)
}

/// Writes with the lock, and closes whatever the writing said. The first failure is the one told: what
/// closing adds to it is a consequence.
///
/// # Errors
/// Those of `work`, else those of closing.
pub(crate) async fn writing<T, W>(
    global: &Global,
    absent: Absent,
    work: impl FnOnce(Db) -> W,
) -> Result<T, Failure>
where
    W: Future<Output = Result<T, Failure>>,
{
    writing_as(global, absent, Compressed::default(), work).await
}

/// [`writing`] with pages compressed as asked.
///
/// # Errors
/// As [`writing`].
pub(crate) async fn writing_as<T, W>(
    global: &Global,
    absent: Absent,
    compressed: Compressed,
    work: impl FnOnce(Db) -> W,
) -> Result<T, Failure>
where
    W: Future<Output = Result<T, Failure>>,
{
    let redis = settings::redis(global)?;
    let db = write(global, redis, absent, compressed).await?;
    let done = work(db.clone()).await;
    let closed = db.close().await;
    let value = done?;
    closed?;
    Ok(value)
}

/// Names in the folder of a database that is there, or that was begun.
const OWN: [&str; 12] = [
    "INSTANCE",
    "UNFINISHED",
    "PATH",
    "PATHS",
    "LOCATION",
    "probe",
    "LOCK",
    "log",
    "manifest",
    "seg",
    "floor",
    "tmp",
];
/// What file systems put into folders that are empty.
const LOST_AND_FOUND: &str = "lost+found";

/// Refuses to make a database in a folder of somebody else's files: more likely a slip in the path than a wish.
///
/// # Errors
/// [`Failure::Usage`] naming one of them.
fn refuse_foreign(path: &Path) -> Result<(), Failure> {
    let Ok(entries) = std::fs::read_dir(path) else {
        // There is none, or opening it says more.
        return Ok(());
    };
    let mut foreign = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A database, or what is left of a copy that was interrupted, which says more of itself.
        if OWN[..4].contains(&name.as_str()) {
            return Ok(());
        }
        let is_hidden = name.starts_with('.') || name == LOST_AND_FOUND;
        if !is_hidden && !OWN.contains(&name.as_str()) {
            foreign.push(name);
        }
    }
    foreign.sort();
    match foreign.first() {
        None => Ok(()),
        Some(name) => Err(Failure::Usage(format!(
            "{}: this folder is no database and has other files, as `{name}`; choose an empty folder, or one that does \
             not exist yet, such as {}",
            path.display(),
            path.join("db").display()
        ))),
    }
}

/// Why a database could not be opened, with its path: what a storage says names the object in it alone.
pub(crate) fn not_opened(path: &Path, mut error: Error) -> Failure {
    let hint = permission_hint(path, &error);
    match &mut error {
        Error::Storage {
            message, object, ..
        } => {
            message.push_str(&hint);
            if object.is_empty() {
                // The folder as a whole.
                object.push('.');
            }
            Failure::Opening {
                path: path.display().to_string(),
                error,
            }
        }
        _ => with_hint(error),
    }
}

/// Whose a folder is that this user may not use as was asked.
fn permission_hint(path: &Path, error: &Error) -> String {
    let Error::Storage { op, kind, .. } = error else {
        return String::new();
    };
    if *kind != ErrorKind::PermissionDenied || settings::bucket(path).is_some() {
        return String::new();
    }
    let Some(owner) = other_owner(path) else {
        return String::new();
    };
    // Readers take no lock.
    let way = match *op {
        "lock" => "; commands that only read work where its files may be read",
        _ => "",
    };
    format!("; the folder belongs to user {owner}{way}")
}

/// Where there is no database, says how to get one.
pub(crate) fn with_hint(error: Error) -> Failure {
    match error {
        // What is left of one is no place to create another.
        left @ Error::NotADatabase { .. } if left.to_string().contains("objects were lost") => {
            Failure::Engine(left)
        }
        Error::NotADatabase { path, why } => Failure::Engine(Error::NotADatabase {
            path,
            why: format!(
                "{why}; `eciton run`, `eciton db init` or `eciton worker --create` creates one"
            ),
        }),
        other => Failure::Engine(other),
    }
}

/// The store of that name.
///
/// # Errors
/// [`Failure::NoStore`] with the names that exist.
pub(crate) async fn store(db: &Db, name: &str) -> Result<Store, Failure> {
    if let Some(store) = db.store(name).await? {
        return Ok(store);
    }
    let stores = db.stores().await?;
    let names = stores
        .iter()
        .map(Store::name)
        .filter(|name| !is_system(name));
    Err(Failure::NoStore {
        name: name.to_owned(),
        present: present("stores", names),
    })
}

/// Whether a store belongs to the system, which alone writes it.
pub(crate) fn is_system(store: &str) -> bool {
    store.starts_with('_')
}

/// Names for the end of a message: what there is instead.
pub(crate) fn present<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        format!("there are no {what}")
    } else {
        format!("there is {}", names.join(", "))
    }
}
