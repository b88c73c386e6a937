//! Taking a backup.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::entry::{Entry, PartRef, Sum, name_of};
use super::part::{self, Written};
use super::{Shelf, at, copy, sum_of};
use crate::base::limits::RELOADS_MAX;
use crate::base::{Error, InstanceId, Position, Result, RunRef};
use crate::db::create::no_database;
use crate::db::instance::Instance;
use crate::db::open::{self, Loaded};
use crate::db::options::{Environment, Options};
use crate::db::progress::{Meter, OnProgress};
use crate::fold::Manifest;
use crate::log::LogStart;
use crate::storage::{Access, Created, LocalStorage, LockMode, Name, Object, Storage};
use crate::tree::{PageCache, Run};

/// Bytes of cache: every page is read once.
const CACHE_LEN: usize = 8 * 1024 * 1024;

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
}

/// Backs up the database in a folder, without lock or writes there, beside a running writer too. As
/// [`backup`].
///
/// # Errors
/// As [`backup`].
pub async fn backup_folder(
    folder: &Path,
    to: &Path,
    full: bool,
    progress: OnProgress<'_>,
) -> Result<Backup> {
    let source = Arc::new(LocalStorage::open(folder, Access::ReadOnly)?);
    let target = Arc::new(LocalStorage::open(to, Access::ReadWrite)?);
    let environment = Environment::default();
    backup(source, target, full, &environment, progress).await
}

/// Adds a backup of everything that has been committed to the ones in `to`; the first one makes the place.
/// What is there already is not copied again, unless it is damaged and `full` asks to look at every byte of
/// it. When this returns `Ok` the backup is durable.
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
    is_for_backups(&*to).await?;
    let _lock = to.lock(LockMode::Exclusive).await.map_err(at(&*to))?;
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
        source,
        to,
        shelf,
        full,
        environment,
        instance: (instance, copied),
        meter: Meter::new(progress),
        copied: (0, 0),
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
    if !shelf.broken.is_empty() {
        // Whose they are cannot be told.
        return Ok(());
    }
    let parts = shelf
        .entries
        .values()
        .filter_map(|entry| entry.part.as_ref());
    let known: Vec<&Name> = parts.map(|part| &part.name).collect();
    for name in to.list(part::DIR).await? {
        if !known.contains(&&name) {
            to.remove(&name).await?;
        }
    }
    Ok(())
}

struct Taker<'a> {
    source: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    shelf: Shelf,
    full: bool,
    environment: &'a Environment,
    instance: (Instance, bool),
    meter: Meter<'a>,
    /// Files and bytes.
    copied: (u64, u64),
}

/// The log of a backup: what it adds, and from where on.
struct Log {
    written: Option<Written>,
    continues: Option<u64>,
}

impl Taker<'_> {
    async fn take(&mut self) -> Result<Backup> {
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
        let of_log = log.written.iter().flat_map(|written| written.runs.clone());
        let of_log: Vec<RunRef> = of_log.collect();
        self.open(&of_log, &mut objects).await?;
        runs.extend(of_log);
        let expected = runs.iter().map(|run| run.len).sum();
        self.meter.expect(runs.len() as u64, expected);
        let mut files = BTreeMap::new();
        let known = self.shelf.sums();
        for run in &runs {
            let name = Name::segment(run.id);
            if let Some(object) = objects.get(&name)
                && !files.contains_key(&name)
            {
                let sum = self.file(&name, object, run, known.get(&name)).await?;
                files.insert(name, sum);
            }
        }
        let entry = Entry {
            number: self.shelf.next_number(),
            instance: instance.id,
            taken_ms: self.environment.clock.wall_ms(),
            end,
            manifest,
            files: files.into_iter().collect(),
            part: log.written.map(|written| written.part),
            continues: log.continues,
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

    /// Goes on from the newest backup whose history this is, as far as the log still reaches back so far;
    /// else begins at the manifest.
    async fn log(&mut self, manifest: &Manifest, end: &LogStart) -> Result<Log> {
        let goal = (end.last, end.hash);
        if let Some(newest) = self.shelf.entries.values().next_back() {
            let (number, start) = (newest.number, newest.end);
            if start.last <= end.last {
                let written = part::write(&self.source, &*self.to, &start, goal).await;
                match written {
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
        }
        let start = manifest.log_start();
        let written = part::write(&self.source, &*self.to, &start, goal).await;
        Ok(Log {
            written: written.map_err(at(&*self.source))?,
            continues: None,
        })
    }

    /// Runs of slots that have been folded long ago may be gone, while the file of these slots is not.
    async fn can_open_runs(&self, log: &Log) -> Result<bool> {
        for run in log.written.iter().flat_map(|written| &written.runs) {
            if self.source.stat(&Name::segment(run.id)).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes sure that a run is in the folder, durable and what it should be.
    async fn file(
        &mut self,
        name: &Name,
        object: &Arc<dyn Object>,
        run: &RunRef,
        known: Option<&Sum>,
    ) -> Result<Sum> {
        let there = self.to.open(name).await.map_err(at(&*self.to))?;
        if let Some(there) = there {
            if let Some(sum) = self.usable(&there, name, run, known).await? {
                self.meter.add(name.as_str(), 1, run.len);
                return Ok(sum);
            }
            self.to.remove(name).await.map_err(at(&*self.to))?;
        }
        // A backup of damage would be worth nothing.
        is_run(object, name, run).await.map_err(at(&*self.source))?;
        let meter = &mut self.meter;
        let step = |len| meter.add(name.as_str(), 0, len);
        let copied = copy(&**object, name, &*self.to, known.copied(), step).await;
        let sum = copied.map_err(at(&*self.to))?;
        self.meter.add(name.as_str(), 1, 0);
        self.copied = (self.copied.0 + 1, self.copied.1 + sum.len);
        Ok(sum)
    }

    /// What is in the folder under the name of a run, if it can be relied on.
    async fn usable(
        &self,
        there: &Arc<dyn Object>,
        name: &Name,
        run: &RunRef,
        known: Option<&Sum>,
    ) -> Result<Option<Sum>> {
        let found = match known {
            Some(known) if !self.full => {
                return Ok((there.len() == known.len).then_some(*known));
            }
            Some(known) => {
                let sum = sum_of(&**there).await.map_err(at(&*self.to))?;
                (sum == *known).then_some(sum)
            }
            // From a backup that was interrupted.
            None => match is_run(there, name, run).await {
                Ok(()) => Some(sum_of(&**there).await.map_err(at(&*self.to))?),
                Err(Error::Corrupt { .. }) => None,
                Err(error) => return Err(at(&*self.to)(error)),
            },
        };
        self.to.sync_names(name).await.map_err(at(&*self.to))?;
        Ok(found)
    }

    async fn finish(&mut self, entry: &Entry) -> Result<Backup> {
        let name = name_of(entry.number)?;
        let created = self.to.create(&name, &entry.encode()).await;
        if created.map_err(at(&*self.to))? == Created::Exists {
            let message = format!("{name} has just been taken by another process");
            return Err(Error::Invalid(message));
        }
        self.to.sync_names(&name).await.map_err(at(&*self.to))?;
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
            files_copied: self.copied.0 + part_count,
            bytes_copied: self.copied.1 + part_len,
            files: entry.files.len() as u64 + part_count,
            bytes: files_len + part_len,
        })
    }
}

/// Reads a whole object and compares with what refers to it.
async fn is_run(object: &Arc<dyn Object>, name: &Name, reference: &RunRef) -> Result<()> {
    let len = object.len();
    let cache = Arc::new(PageCache::new(CACHE_LEN));
    let run = Run::open(Arc::clone(object), cache, name.to_string()).await?;
    let check = run.check(&mut |_| {}).await;
    if let Some(problem) = check.problems.first() {
        return Err(Error::corrupt(name, problem.to_string()));
    }
    let here = (len, check.entries(), check.content_hash);
    if here != (reference.len, reference.entries, Some(reference.hash)) {
        return Err(Error::corrupt(
            name,
            "it is not the run that is referred to",
        ));
    }
    Ok(())
}
