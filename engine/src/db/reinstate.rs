//! Bringing a storage path back after a failover, and giving one up that is gone for good (S13 of the protocol).

use std::sync::Arc;

use super::clustered::lock_shared;
use super::create::{marker, no_database};
use super::filling::Filling;
use super::instance::Instance;
use super::mirrored::{assemble, assemble_without};
use super::open;
use super::options::{Environment, Options};
use super::path::{PathMark, mark_of, tell_location, within};
use super::progress::{Meter, OnProgress};
use crate::base::limits::RELOADS_MAX;
use crate::base::{Error, Generation, Mutant, PathId, Position, Rare, Result};
use crate::log::{AppendError, Attempt, Floors, SlotLog, Strictness};
use crate::storage::{Access, KnownPath, MirrorStorage, Name, Operation, Storage};

/// How a path is brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reinstate {
    /// Delete what a path that this database has left holds at the place: by default it stays, and the place is refused.
    pub replace: bool,
}

/// What was brought back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reinstated {
    /// The path's number.
    pub path: PathId,
    /// Where it is.
    pub location: String,
    /// The generation that stands on both paths.
    pub generation: Generation,
    /// The slot that began it.
    pub position: Position,
    /// Objects that were copied; 0 where the path was in force already.
    pub objects: u64,
    /// Whether an interrupted copy was resumed.
    pub resumed: bool,
    /// Whether the path was in force already, and nothing was done.
    pub unchanged: bool,
}

/// Brings a storage path back at `to`, which is new, empty, or left unfinished: copies all that the database has there,
/// checks each object, and begins a generation that stands on both paths. `places` are those that the database is opened
/// with; `to` may be one of them. Others go on reading and writing meanwhile. An interrupted call is resumed by the next.
///
/// # Errors
/// [`Error::Invalid`] where `to` holds anything else, or the database has two paths already; [`Error::Corrupt`] naming what
/// is damaged on the path that is copied; as opening the database.
pub async fn reinstate(
    places: &[Arc<dyn Storage>],
    to: &Arc<dyn Storage>,
    how: Reinstate,
    environment: &Environment,
    progress: OnProgress<'_>,
) -> Result<Reinstated> {
    let mut places = places.to_vec();
    if is_elsewhere(&places, to).await? {
        places.push(Arc::clone(to));
    }
    let mut failure: Option<Error> = None;
    for _ in 0..RELOADS_MAX {
        let storage = assemble(&places, Access::ReadWrite, false, environment).await?;
        // A process that has the database alone takes what it found for all there is.
        let _lock = lock_shared(&*storage, environment).await?;
        let once = Reinstating {
            storage,
            to,
            how,
            environment,
        };
        match once.run(progress).await {
            // Collected while it was read, or another process has begun a generation: what was copied counts.
            Err(error @ Error::SnapshotTooOld { .. }) => failure = Some(error),
            // What looks the same twice is damage.
            Err(error @ Error::Corrupt { .. })
                if failure.as_ref().map(Error::to_string) != Some(error.to_string()) =>
            {
                failure = Some(error);
            }
            done => return done,
        }
    }
    let object = to.location();
    Err(failure.unwrap_or(Error::SnapshotTooOld { object }))
}

/// Whether paths were marked at a place that is none of these.
async fn is_elsewhere(places: &[Arc<dyn Storage>], to: &Arc<dyn Storage>) -> Result<bool> {
    let marks = PathMark::list_joining(&**to).await?;
    for place in places {
        // What a place that fails has is not known.
        let known = PathMark::list_joining(&**place).await.unwrap_or_default();
        if Arc::ptr_eq(place, to) || known.iter().any(|mark| marks.contains(mark)) {
            return Ok(false);
        }
    }
    Ok(!marks.is_empty())
}

/// Goes on without a place that is gone for good. Whoever says so must know: what other processes were told of, and what
/// stands at that place alone, is lost.
///
/// # Errors
/// [`Error::Invalid`] where the database does not stand there, or nothing would be left; [`Error::Corrupt`] where the path
/// that is left lacks something; as opening the database.
pub async fn seal_without(
    places: &[Arc<dyn Storage>],
    lost: usize,
    environment: &Environment,
) -> Result<Reinstated> {
    for _ in 0..RELOADS_MAX {
        let storage = assemble_without(places, lost, environment).await?;
        let _lock = lock_shared(&*storage, environment).await?;
        let mut log = follow(&storage, environment).await?;
        let paths = storage.paths();
        match log.seal_on(&paths).await {
            Ok(Attempt::Won(_)) => {
                Rare::SealedWithout.seen();
                tracing::warn!(
                    path = places[lost].location(),
                    generation = log.generation().0,
                    position = log.last().0.0,
                    "[Failover] given up: the database goes on with one storage path"
                );
                return Ok(Reinstated {
                    path: paths[0],
                    location: storage.location(),
                    generation: log.generation(),
                    position: log.last().0,
                    objects: 0,
                    resumed: false,
                    unchanged: false,
                });
            }
            Ok(Attempt::Lost) => {}
            Err(AppendError::NotWritten(error) | AppendError::Unknown(error)) => return Err(error),
        }
    }
    let message = "every slot was another process's; stop the processes that write".to_owned();
    Err(Error::Invalid(message))
}

/// The log of a database, followed to its end, with the runs of its newest manifest looked at.
async fn follow(storage: &Arc<MirrorStorage>, environment: &Environment) -> Result<SlotLog> {
    let storage: Arc<dyn Storage> = Arc::clone(storage) as _;
    if Instance::load(&*storage).await?.is_none() {
        return Err(no_database(&*storage).await);
    }
    let options = Options::default();
    let folder = open::folder(&storage, &options, environment, true);
    let floors = Floors::find(Arc::clone(&storage)).await?;
    let base = folder
        .load(Strictness::Whole, floors.newest().1.manifest)
        .await?;
    base.follow_paths(&*storage).await?;
    let manifest = &base.manifest;
    let last = (manifest.folded, manifest.hash);
    if let Some(witness) = &environment.witness {
        witness.restarts(last.0, last.1);
    }
    let mut log = SlotLog::new(storage, floors, manifest.generation, last);
    catch_up(&mut log, environment).await?;
    Ok(log)
}

async fn catch_up(log: &mut SlotLog, environment: &Environment) -> Result<()> {
    while let Some(followed) = log.next(None).await? {
        log.accept(&followed);
        if let Some(witness) = &environment.witness {
            let (slot, header) = (&followed.slot, &followed.slot.header);
            witness.applies(header.n, header.generation, slot.hash, &slot.records);
        }
    }
    Ok(())
}

/// A result on a path that is being filled. After a sync that failed the next one may report success, so whoever comes next
/// must not go on with what is there.
async fn trusted<T>(path: &dyn Storage, done: Result<T>) -> Result<T> {
    let is_sync = match &done {
        Err(Error::Halted { .. }) => true,
        Err(Error::Storage { op, .. }) => *op == Operation::SyncNames.as_str(),
        _ => false,
    };
    if is_sync {
        path.remove(&marker()?).await?;
    }
    done
}

struct Reinstating<'a> {
    storage: Arc<MirrorStorage>,
    to: &'a Arc<dyn Storage>,
    how: Reinstate,
    environment: &'a Environment,
}

impl Reinstating<'_> {
    async fn run(&self, progress: OnProgress<'_>) -> Result<Reinstated> {
        let mut log = follow(&self.storage, self.environment).await?;
        let marks = PathMark::list_joining(&**self.to).await?;
        let in_force = self.storage.paths();
        if let [_, joined] = in_force[..] {
            return self.unchanged(&log, &marks, joined).await;
        }
        let generation = Generation(log.generation().0 + 1);
        let set = self.storage.set();
        let (mark, resumed) = self.take_place(&marks, set, generation).await?;
        let path = within(self.to, mark.path);
        self.storage.know(KnownPath {
            id: mark.path,
            storage: Arc::clone(&path),
            mark: mark_of(&*path).await,
        });
        let active = self.storage.path(in_force[0])?;
        // A hint: who does not find the path can tell its user what was meant.
        let told = tell_location(&*active, mark.path, &self.to.location()).await;
        if let Err(error) = told {
            tracing::debug!(%error, "the place of the new storage path is told nowhere");
        }
        let meter = parking_lot::Mutex::new(Meter::new(progress));
        let objects = self.objects(&*active).await?;
        meter.lock().expect(objects, 0);
        let copied = |name: &Name, len: u64| meter.lock().add(name.as_str(), 1, len);
        let mut filling = Filling::new(&active, &path);
        filling.tell(&copied);
        let joining = [in_force[0], mark.path];
        loop {
            let (last, _) = log.last();
            trusted(&*path, filling.run(last.next()).await).await?;
            // As little as possible is left to copy while others wait for the seal.
            catch_up(&mut log, self.environment).await?;
            if log.last().0 != last && !Mutant::JoinUncopied.on() {
                continue;
            }
            if log.generation().0 + 1 != generation.0 {
                // Another process has brought a path back, or gave one up.
                let object = format!("generation {}", log.generation());
                return Err(Error::SnapshotTooOld { object });
            }
            match log.seal_on(&joining).await {
                Ok(Attempt::Won(_)) => break,
                Ok(Attempt::Lost) => catch_up(&mut log, self.environment).await?,
                Err(AppendError::NotWritten(error) | AppendError::Unknown(error)) => {
                    return Err(error);
                }
            }
        }
        meter.lock().finish();
        assert_eq!(
            self.storage.paths(),
            joining,
            "the generation that was begun stands on both paths"
        );
        let (position, _) = log.last();
        tracing::info!(
            path = self.to.location(),
            generation = generation.0,
            position = position.0,
            "[Failover] reinstated: the database stands on two storage paths"
        );
        // From here on it is a path like any other.
        path.remove(&marker()?).await?;
        path.sync_names(&marker()?).await?;
        Ok(Reinstated {
            path: mark.path,
            location: self.to.location(),
            generation,
            position,
            objects: filling.copied(),
            resumed,
            unchanged: false,
        })
    }

    /// The database stands on two paths: there is nothing to do, or no room for a third.
    async fn unchanged(
        &self,
        log: &SlotLog,
        marks: &[PathMark],
        joined: PathId,
    ) -> Result<Reinstated> {
        let root = PathMark::load(&**self.to).await?;
        let mut here = marks.iter().chain(&root);
        if !here.any(|mark| mark.set == self.storage.set() && mark.path == joined) {
            let message = format!(
                "the database stands on two storage paths, {}: there is none to bring back",
                self.storage.location()
            );
            return Err(Error::Invalid(message));
        }
        Ok(Reinstated {
            path: joined,
            location: self.to.location(),
            generation: log.generation(),
            position: log.last().0,
            objects: 0,
            resumed: false,
            unchanged: true,
        })
    }

    /// Takes the place for a path that joins the database in `generation`, or goes on with one that was begun there. What
    /// a path that was left has there is deleted only where that was asked for.
    async fn take_place(
        &self,
        marks: &[PathMark],
        set: u128,
        generation: Generation,
    ) -> Result<(PathMark, bool)> {
        let location = self.to.location();
        let (current, in_force) = (Generation(generation.0 - 1), self.storage.paths());
        let root = PathMark::load(&**self.to).await?;
        let foreign = marks.iter().chain(&root).find(|mark| mark.set != set);
        if foreign.is_some() {
            let message = format!("{location} belongs to another database; choose an empty folder");
            return Err(Error::Invalid(message));
        }
        let here = marks.iter().chain(&root);
        if here.clone().any(|mark| in_force.contains(&mark.path)) {
            let message = format!(
                "{location} is the storage path that the database stands on; choose another place"
            );
            return Err(Error::Invalid(message));
        }
        let own =
            |name: &Name| PathMark::is_of_joining(name) || name.as_str().starts_with("probe/");
        let names = self.to.list("").await?;
        let of_root: Vec<&Name> = names.iter().filter(|name| !own(name)).collect();
        if root.is_none()
            && let Some(name) = of_root.first()
        {
            let message = format!(
                "{location} is not empty: it has {name}, and no mark of this database; choose an empty folder"
            );
            return Err(Error::Invalid(message));
        }
        let is_content = |name: &&&Name| {
            [Name::LOG, Name::MANIFEST, Name::SEGMENT, Name::FLOOR]
                .iter()
                .any(|dir| name.as_str().starts_with(&format!("{dir}/")))
        };
        let content: Vec<&&Name> = of_root.iter().filter(is_content).collect();
        let mut left = Vec::new();
        for mark in marks {
            let path = within(self.to, mark.path);
            let is_unfinished = path.stat(&marker()?).await?.is_some();
            if is_unfinished && mark.path.joins(generation) {
                // Whoever began it may not have come to make the marks durable.
                if trusted(&*path, mark.store(&*path).await).await? == *mark {
                    trusted(&*path, mark.store_joining(&**self.to).await).await?;
                    return Ok((*mark, true));
                }
            }
            // Another process may have brought it into force since the log was read here. Of the others each number is made
            // for a generation that is past.
            match is_unfinished {
                _ if mark.path.joins_after(current) => {}
                true => mark.remove_joining(self.to).await?,
                false => left.push(mark),
            }
        }
        if (!content.is_empty() || !left.is_empty()) && !self.how.replace {
            let message = format!(
                "{location} holds what was written before the database left it; move it away, or delete it with --replace"
            );
            return Err(Error::Invalid(message));
        }
        if let Some(root) = root.filter(|_| !content.is_empty()) {
            root.leave(&**self.to).await?;
        }
        for name in &content {
            self.to.remove(name).await?;
        }
        for mark in left {
            mark.remove_joining(self.to).await?;
        }
        let path = PathId::joining(generation, self.environment.entropy.next_u128());
        let mark = PathMark::new(set, path);
        let inside = within(self.to, path);
        inside.create(&marker()?, b"").await?;
        inside.sync_names(&marker()?).await?;
        mark.store(&*inside).await?;
        mark.store_joining(&**self.to).await?;
        Ok((mark, false))
    }

    /// About how many objects there are.
    async fn objects(&self, active: &dyn Storage) -> Result<u64> {
        let mut objects = 0;
        for dir in [Name::LOG, Name::MANIFEST, Name::SEGMENT, Name::FLOOR] {
            objects += active.list(dir).await?.len() as u64;
        }
        Ok(objects)
    }
}
