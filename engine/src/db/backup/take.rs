//! Taking a backup.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::entry::{BackupEntry, FileSum, PartRef, name_of};
use super::part::{self, WrittenPart};
use super::{Shelf, at, head};
use crate::base::limits::RELOADS_MAX;
use crate::base::{Error, InstanceId, Position, Result, RunRef};
use crate::db::create::no_database;
use crate::db::instance::Instance;
use crate::db::open::{self, Loaded};
use crate::db::options::{Environment, Options};
use crate::db::places::apart;
use crate::db::progress::{Meter, OnProgress};
use crate::db::verify::Broken;
use crate::fold::Manifest;
use crate::log::LogStart;
use crate::storage::{Access, Created, LocalStorage, LockMode, Name, Object, Storage};

/// Bytes of cache: every page is read once.
pub(super) const CACHE_LEN: usize = 8 * 1024 * 1024;

/// A backup that has been taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its number in its folder, from 1 on.
    pub number: u64,
    /// The database that it is of.
    pub instance: InstanceId,
    /// Milliseconds since the epoch, by the clock of whoever took it.
    pub taken_ms: u64,
    /// The newest slot in it.
    pub position: Position,
    /// Files that taking it copied; the others were there from earlier backups.
    pub files_copied: u64,
    /// Their bytes.
    pub bytes_copied: u64,
    /// Files that belong to it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What is damaged or missing in the folder and could not be copied again, because the database has it no more.
    /// This backup does not need it; earlier ones do. Without `full` only what was come across.
    pub damaged: Vec<Broken>,
}

/// Backs up the database in a folder, without lock or writes there, beside a running writer too. As
/// [`backup`].
///
/// # Errors
/// As [`backup`]; [`Error::Invalid`] where one folder lies in the other.
pub async fn backup_folder(
    folder: &Path,
    to: &Path,
    full: bool,
    progress: OnProgress<'_>,
) -> Result<Backup> {
    apart(folder, to, "backups")?;
    let source = Arc::new(LocalStorage::open(folder, Access::ReadOnly)?);
    let target = Arc::new(LocalStorage::open(to, Access::ReadWrite)?);
    let environment = Environment::default();
    backup(source, target, full, &environment, progress).await
}

/// Adds a backup of everything that has been committed to the ones in `to`; the first one makes the place.
/// What is there already and whole is not copied again. Of the log, every byte that this backup relies on is read and
/// held against its checksum; of runs, whether they are there with their length, and their first and last bytes. With
/// `full` every byte of every backup in the folder is read. What is damaged or missing is copied again where the
/// database still has it; otherwise this backup begins anew, so that it does not rely on it, and
/// [`Backup::damaged`] names it. When this returns `Ok` the backup is durable and can be restored.
///
/// A backup that is interrupted is none, and does no harm: the next one uses what it has copied.
///
/// # Errors
/// [`Error::Corrupt`] naming what of the database is damaged: no backup is taken of that.
/// [`Error::Invalid`] where `to` holds backups of another database or something else;
/// [`Error::Locked`] while another process takes one; what either medium refuses, with its location.
pub async fn backup(
    source: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    full: bool,
    environment: &Environment,
    progress: OnProgress<'_>,
) -> Result<Backup> {
    let found = Instance::load(&*source).await.map_err(at(&*source))?;
    let Some((instance, copied)) = found else {
        return Err(no_database(&*source).await);
    };
    // A place that is refused stays as it is, without a file of the lock.
    is_for_backups(&*to).await?;
    let _lock = to.lock(LockMode::Exclusive).await.map_err(at(&*to))?;
    // Before the lock was held, somebody else may have made something else of it.
    is_for_backups(&*to).await?;
    let shelf = Shelf::load(&*to).await.map_err(at(&*to))?;
    if let Some(other) = shelf
        .entries
        .values()
        .find(|entry| entry.instance != instance.id)
    {
        let message = format!(
            "{} holds backups of another database, {}",
            to.location(),
            other.instance
        );
        return Err(Error::Invalid(message));
    }
    clear_parts(&*to, &shelf).await.map_err(at(&*to))?;
    let mut taker = Taker {
        known: shelf.sums(),
        source,
        to,
        shelf,
        full,
        environment,
        instance: (instance, copied),
        meter: Meter::new(progress),
        copied: (0, 0),
        checked: BTreeSet::new(),
        damaged: Vec::new(),
    };
    let mut before = None;
    for _ in 0..RELOADS_MAX {
        match taker.take().await {
            // Collected while it was copied: begin again with what is newer. What looks the same twice is
            // damage.
            Err(error @ (Error::Corrupt { .. } | Error::SnapshotTooOld { .. })) => {
                let now = error.to_string();
                if before.as_ref() == Some(&now) {
                    return Err(error);
                }
                before = Some(now);
            }
            taken => return taken,
        }
    }
    taker.take().await
}

/// A backup must not land in the middle of a database, or of anything else.
async fn is_for_backups(to: &dyn Storage) -> Result<()> {
    let names = to.list("").await.map_err(at(to))?;
    let is_own = |name: &&Name| {
        let (name, dirs) = (name.as_str(), [super::entry::DIR, part::DIR, Name::SEGMENT]);
        dirs.iter()
            .any(|dir| name.split_once('/').is_some_and(|(top, _)| top == *dir))
    };
    match names.iter().find(|name| !is_own(name)) {
        Some(name) => {
            let message = format!("{} is no place for backups: it has {name}", to.location());
            Err(Error::Invalid(message))
        }
        None => Ok(()),
    }
}

/// Removes the parts that an interrupted backup has left.
async fn clear_parts(to: &dyn Storage, shelf: &Shelf) -> Result<()> {
    if !(shelf.broken.is_empty() && shelf.missing().is_empty() && shelf.head.is_ok()) {
        // Whose they are cannot be told, and an entry that is gone may come back.
        return Ok(());
    }
    let known: BTreeSet<&Name> = shelf.parts_known().map(|part| &part.name).collect();
    for name in to.list(part::DIR).await? {
        if !known.contains(&name) {
            to.remove(&name).await?;
        }
    }
    Ok(())
}

pub(super) struct Taker<'a> {
    pub(super) source: Arc<dyn Storage>,
    pub(super) to: Arc<dyn Storage>,
    pub(super) shelf: Shelf,
    /// What every segment in the folder should be.
    pub(super) known: BTreeMap<Name, FileSum>,
    pub(super) full: bool,
    environment: &'a Environment,
    instance: (Instance, bool),
    pub(super) meter: Meter<'a>,
    /// Files and bytes.
    pub(super) copied: (u64, u64),
    /// What was looked at in the folder, as closely as is asked, and is whole.
    pub(super) checked: BTreeSet<Name>,
    /// See [`Backup::damaged`].
    pub(super) damaged: Vec<Broken>,
}

/// The log of a backup: what it adds, and from where on.
struct Log {
    written: Option<WrittenPart>,
    continues: Option<u64>,
}

impl Taker<'_> {
    async fn take(&mut self) -> Result<Backup> {
        self.damaged = self.shelf.faults()?;
        let options = Options {
            cache_len_max: CACHE_LEN,
            ..Options::default()
        };
        let folder = open::folder(&self.source, &options, self.environment, true);
        let (instance, copied) = self.instance;
        let Loaded { view, end, .. } = open::load_beside(&folder, &instance, copied)
            .await
            .map_err(at(&*self.source))?;
        let manifest = (*view.load().manifest).clone();
        drop(view);
        let end = LogStart {
            generation: end.generation,
            last: end.last,
            hash: end.hash,
            place: end
                .file
                .map(|file| (file.generation, file.first, file.offset)),
        };
        // First what may be collected soonest: open files stay readable.
        let mut runs: Vec<RunRef> = manifest
            .runs
            .iter()
            .map(|entry| entry.run.clone())
            .collect();
        let mut objects = BTreeMap::new();
        self.open(&runs, &mut objects).await?;
        let log = self.log(&manifest, &end).await?;
        if let Some(written) = log.written.as_ref().filter(|written| written.is_new) {
            self.count(written.part.sum);
        }
        let of_log = log.written.iter().flat_map(|written| &written.runs);
        let of_log: Vec<RunRef> = of_log.map(|(_, run)| run.clone()).collect();
        self.open(&of_log, &mut objects).await?;
        runs.extend(of_log);
        let expected = runs.iter().map(|run| run.len).sum();
        self.meter.expect(runs.len() as u64, expected);
        let mut files = BTreeMap::new();
        for run in &runs {
            let name = Name::segment(run.id);
            if let Some(object) = objects.get(&name)
                && !files.contains_key(&name)
            {
                let sum = self.file(&name, object, run).await?;
                files.insert(name, sum);
            }
        }
        if self.full {
            self.everything().await?;
        }
        let entry = BackupEntry {
            number: self.shelf.next_number(),
            instance: instance.id,
            taken_ms: self.environment.clock.wall_ms(),
            end,
            manifest,
            files: files.into_iter().collect(),
            part: log.written.map(|written| written.part),
            continues: log.continues,
            head: self.shelf.head.as_ref().ok().copied().flatten(),
        };
        self.finish(&entry).await
    }

    async fn open(
        &self,
        runs: &[RunRef],
        objects: &mut BTreeMap<Name, Arc<dyn Object>>,
    ) -> Result<()> {
        for run in runs {
            let name = Name::segment(run.id);
            let object = self.source.open(&name).await.map_err(at(&*self.source))?;
            let Some(object) = object else {
                let object = format!("{}/{name}", self.source.location());
                return Err(Error::SnapshotTooOld { object });
            };
            objects.insert(name, object);
        }
        Ok(())
    }

    /// Goes on from the newest backup whose history this is, as far as the log still reaches back so far and
    /// everything that leads there is whole or could be copied again; else begins at the manifest.
    async fn log(&mut self, manifest: &Manifest, end: &LogStart) -> Result<Log> {
        let goal = (end.last, end.hash);
        let newest = self.shelf.entries.values().next_back();
        let newest = newest.map(|newest| (newest.number, newest.end));
        if let Some((number, start)) = newest.filter(|(_, start)| start.last <= end.last)
            && self.chain(number, manifest.folded).await?
        {
            match part::write(&self.source, &*self.to, &start, goal).await {
                Ok(written) => {
                    let continues = Some(number);
                    let log = Log { written, continues };
                    if self.can_open_runs(&log).await? {
                        return Ok(log);
                    }
                }
                Err(Error::Corrupt { .. } | Error::SnapshotTooOld { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let start = manifest.log_start();
        Ok(Log {
            written: part::write(&self.source, &*self.to, &start, goal).await?,
            continues: None,
        })
    }

    /// Runs of slots that have been folded long ago may be gone, while the file of these slots is not.
    async fn can_open_runs(&self, log: &Log) -> Result<bool> {
        for (_, run) in log.written.iter().flat_map(|written| &written.runs) {
            let there = self.source.stat(&Name::segment(run.id)).await;
            if there.map_err(at(&*self.source))?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn finish(&mut self, entry: &BackupEntry) -> Result<Backup> {
        let name = name_of(entry.number)?;
        let created = self.to.create(&name, &entry.encode()).await;
        if created.map_err(at(&*self.to))? == Created::Exists {
            let message = format!("{name} has just been taken by another process");
            return Err(Error::Invalid(message));
        }
        self.to.sync_names(&name).await.map_err(at(&*self.to))?;
        let head = head::store(&*self.to, entry.number).await;
        head.map_err(at(&*self.to))?;
        self.meter.finish();
        let part = entry.part.as_ref();
        let part_len = part.map_or(0, |part: &PartRef| part.sum.len);
        let part_count = u64::from(part.is_some());
        let files_len: u64 = entry.files.iter().map(|(_, sum)| sum.len).sum();
        Ok(Backup {
            number: entry.number,
            instance: entry.instance,
            taken_ms: entry.taken_ms,
            position: entry.position(),
            files_copied: self.copied.0,
            bytes_copied: self.copied.1,
            files: entry.files.len() as u64 + part_count,
            bytes: files_len + part_len,
            damaged: std::mem::take(&mut self.damaged),
        })
    }
}
