//! Putting the storage paths of a mirrored database together (S13 of the protocol).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;

use super::create::no_database;
use super::guide::Guide;
use super::instance::Instance;
use super::options::Environment;
use super::path::{PathMark, mark_of, within};
use crate::base::limits::{MANIFEST_LEN_MAX, RELOADS_MAX};
use crate::base::{Error, Generation, ManifestId, PathId, Result};
use crate::fold::Manifest;
use crate::log::{Body, Floors, Replay, Strictness, slot};
use crate::storage::fault::{FaultClass, class_of};
use crate::storage::{
    Access, KnownPath, MirrorParts, MirrorStorage, Name, Sealed, Storage, Unreachable, probe,
};

/// The paths that a new database has, the active one first.
const FIRST: [PathId; 2] = [PathId(0), PathId(1)];

/// The storage paths at `places` as one medium, in the state that their logs tell. A database is created there where there
/// is none and `create` says so: its first path is then the active one.
///
/// # Errors
/// [`Error::Invalid`] where the places do not belong together; [`Error::NotADatabase`]; what they refuse.
pub(super) async fn assemble(
    places: &[Arc<dyn Storage>],
    access: Access,
    create: bool,
    environment: &Environment,
) -> Result<Arc<MirrorStorage>> {
    let mut survey = Survey::take(places, access).await?;
    if survey.is_empty() {
        if !create || access == Access::ReadOnly {
            return Err(no_database(&**first_of(places)?).await);
        }
        mark(places, environment.entropy.next_u128()).await?;
        survey = Survey::take(places, access).await?;
    }
    let mut end = survey.end(places).await?;
    if access == Access::ReadOnly {
        survey.without_unfinished(&mut end).await;
    }
    let mut gone = Vec::new();
    let missing = survey.missing(&end);
    let strangers = std::mem::take(&mut survey.strangers);
    let in_force_at: BTreeSet<usize> = survey.places_of(&end.in_force);
    let strangers = strangers
        .into_iter()
        .filter(|(at, _)| !in_force_at.contains(at));
    for (id, (at, error)) in missing.into_iter().zip(strangers) {
        let place = &places[at];
        // A creation that was interrupted is completed by whoever comes next.
        if !end.begun && create && access == Access::ReadWrite {
            let mark = PathMark::new(survey.set, id).store(&**place).await?;
            if mark == PathMark::new(survey.set, id) {
                let found = mark_of(&**place).await;
                survey.paths.insert(id, (at, Arc::clone(place), found));
                continue;
            }
        }
        let error = why_lost(place, error, access, environment).await?;
        let why = error.to_string();
        tracing::warn!(
            path = place.location(),
            "[Failover] this storage path cannot be used: {why}"
        );
        gone.push((id, error));
        let unreachable: Arc<dyn Storage> = Arc::new(Unreachable::new(place.location(), why));
        survey.paths.insert(id, (at, unreachable, None));
    }
    let seal = end.seal.clone();
    let mirror = survey.mirror(places, end, access, environment);
    for (id, error) in gone {
        mirror.give_up(id, error);
    }
    if let Some(seal) = seal
        && access == Access::ReadWrite
    {
        // Whoever created it may have ended there.
        let paths = mirror.paths();
        let sealed = Sealed {
            name: &seal.name,
            bytes: &seal.bytes,
        };
        mirror.join(sealed, &paths).await?;
    }
    Ok(Arc::new(mirror))
}

/// As [`assemble`], of a database of which one place is gone for good, as somebody says who knows: what stands on the
/// other path counts.
///
/// # Errors
/// [`Error::Invalid`] where nothing would be left, or nothing is lost; as [`assemble`].
pub(super) async fn assemble_without(
    places: &[Arc<dyn Storage>],
    lost: usize,
    environment: &Environment,
) -> Result<Arc<MirrorStorage>> {
    assert!(lost < places.len(), "{lost} of {} places", places.len());
    let mut left = Vec::new();
    for (at, place) in places.iter().enumerate() {
        if at != lost {
            left.push(Arc::clone(place));
        }
    }
    let survey = Survey::take(&left, Access::ReadWrite).await?;
    let mut end = survey.end(&left).await?;
    if end.in_force.len() == 1 {
        let message = format!(
            "the database stands on one storage path, and {} is not it: there is nothing to give up",
            places[lost].location()
        );
        return Err(Error::Invalid(message));
    }
    let missing = survey.missing(&end);
    end.in_force.retain(|id| !missing.contains(id));
    if end.in_force.len() != 1 {
        let message = format!(
            "without {} the storage paths in force are {}: give up one that is in force while the other one is there",
            places[lost].location(),
            end.in_force.len()
        );
        return Err(Error::Invalid(message));
    }
    Ok(Arc::new(survey.mirror(
        &left,
        end,
        Access::ReadWrite,
        environment,
    )))
}

/// A path, with the number of its place and the identity of its mark.
type PlacedPath = (usize, Arc<dyn Storage>, Option<u128>);

/// What is at the places of a database.
struct Survey {
    /// The set that the paths belong to.
    set: u128,
    /// The paths that were found.
    paths: BTreeMap<PathId, PlacedPath>,
    /// Places that hold no path that is known, with the failure if there was one.
    strangers: Vec<(usize, Option<Error>)>,
    /// What the log tells that has come farthest.
    newest: Option<End>,
}

impl Survey {
    async fn take(places: &[Arc<dyn Storage>], access: Access) -> Result<Survey> {
        let mut survey = Survey {
            set: 0,
            paths: BTreeMap::new(),
            strangers: Vec::new(),
            newest: None,
        };
        for (at, place) in places.iter().enumerate() {
            // Before anything else is read: what is emptied later is found out by it.
            let marked = mark_of(&**place).await;
            match examine(place, access).await {
                Found::Path(mark, end) => {
                    if !end.begun && access == Access::ReadWrite {
                        // Whoever marked it may not have come to make that durable, and the database is created next.
                        mark.confirm(&**place).await?;
                    }
                    survey.add(places, mark, (at, Arc::clone(place), marked))?;
                    survey.hear(end);
                }
                Found::Empty => survey.strangers.push((at, None)),
                // What is left of a path may be broken beside one that was brought back at the same place.
                Found::Unreachable(error) => survey.strangers.push((at, Some(error))),
                Found::Foreign(error) => return Err(error),
            }
            let Ok(joined) = PathMark::list_joining(&**place).await else {
                continue;
            };
            for mark in joined {
                let path = within(place, mark.path);
                let marked = mark_of(&*path).await;
                // One that is being taken, or was left.
                if PathMark::load(&*path).await.ok().flatten() != Some(mark) {
                    continue;
                }
                survey.add(places, mark, (at, Arc::clone(&path), marked))?;
                // One that is being filled, or was left, may lack anything.
                if let Ok(end) = end_of(&path, access).await
                    && end.begun
                {
                    survey.hear(end);
                }
            }
        }
        Ok(survey)
    }

    fn add(&mut self, places: &[Arc<dyn Storage>], mark: PathMark, path: PlacedPath) -> Result<()> {
        let at = path.0;
        if !self.paths.is_empty() && self.set != mark.set {
            let message = format!("{} belongs to another database", places[at].location());
            return Err(Error::Invalid(message));
        }
        self.set = mark.set;
        if self.paths.insert(mark.path, path).is_some() {
            let message = format!(
                "{} is the same storage path as another one",
                places[at].location()
            );
            return Err(Error::Invalid(message));
        }
        Ok(())
    }

    fn hear(&mut self, end: End) {
        let newest = self.newest.take().into_iter().chain([end]);
        self.newest = newest.max_by_key(|end| (end.generation, end.seal.is_some()));
    }

    /// Whether there is nothing at any of the places.
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.strangers.iter().all(|(_, error)| error.is_none())
    }

    async fn end(&self, places: &[Arc<dyn Storage>]) -> Result<End> {
        let failure = self.strangers.iter().find_map(|(_, error)| error.clone());
        match (&self.newest, failure) {
            (Some(end), _) => Ok(end.clone()),
            (None, Some(error)) => Err(error),
            (None, None) => Err(no_database(&**first_of(places)?).await),
        }
    }

    /// For those who only read: a path that has not got the seal by which it joins may lack anything, and nobody has been
    /// told of what comes after that seal.
    async fn without_unfinished(&self, end: &mut End) {
        let Some(seal) = &end.seal else { return };
        let Some((_, joining, _)) = end.in_force.get(1).and_then(|id| self.paths.get(id)) else {
            return;
        };
        if matches!(joining.stat(&seal.name).await, Ok(None)) {
            (end.generation, end.in_force) = seal.before.clone();
            end.seal = None;
        }
    }

    /// The paths in force that are at none of the places.
    fn missing(&self, end: &End) -> Vec<PathId> {
        let in_force = end.in_force.iter().copied();
        in_force.filter(|id| !self.paths.contains_key(id)).collect()
    }

    fn places_of(&self, paths: &[PathId]) -> BTreeSet<usize> {
        let found = paths.iter().filter_map(|id| self.paths.get(id));
        found.map(|(at, ..)| *at).collect()
    }

    fn mirror(
        self,
        places: &[Arc<dyn Storage>],
        end: End,
        access: Access,
        environment: &Environment,
    ) -> MirrorStorage {
        let paths = self.paths.into_iter();
        MirrorStorage::new(MirrorParts {
            paths: paths
                .map(|(id, (_, storage, mark))| KnownPath { id, storage, mark })
                .collect(),
            generation: end.generation,
            in_force: end.in_force,
            access,
            clock: Arc::clone(&environment.clock),
            entropy: Arc::clone(&environment.entropy),
            guide: Arc::new(Guide {
                places: places.to_vec(),
                set: self.set,
                access,
            }),
        })
    }
}

/// Why a path in force is lost, if it is.
///
/// # Errors
/// Why it may not be left. A wrong name, a volume that is not mounted, or a user who may not use the folder must not take a
/// path away from all others, and neither must a failure that passes. Who only reads leaves nothing.
async fn why_lost(
    place: &Arc<dyn Storage>,
    error: Option<Error>,
    access: Access,
    environment: &Environment,
) -> Result<Error> {
    let empty = || Error::PathLost {
        path: format!("{}: it is empty, or not there", place.location()),
    };
    let error = match (error, access) {
        (error, Access::ReadOnly) => return Ok(error.unwrap_or_else(empty)),
        (None, Access::ReadWrite) => return Err(empty()),
        (Some(error), Access::ReadWrite) => error,
    };
    if class_of(&error).0 != FaultClass::Failover {
        return Err(error);
    }
    match probe(&**place, &*environment.entropy).await {
        Err(failure) if class_of(&failure).0 == FaultClass::Failover => Ok(failure),
        Ok(()) | Err(_) => Err(error),
    }
}

/// The storage paths at `places` as one medium, for whatever takes one: to verify it, to back it up.
///
/// # Errors
/// [`Error::Invalid`] where the places do not belong together; [`Error::NotADatabase`]; what they refuse.
pub async fn mirrored(
    places: &[Arc<dyn Storage>],
    access: Access,
    environment: &Environment,
) -> Result<Arc<dyn Storage>> {
    Ok(assemble(places, access, false, environment).await?)
}

fn first_of(places: &[Arc<dyn Storage>]) -> Result<&Arc<dyn Storage>> {
    let none = || Error::Invalid("a database needs a storage path".to_owned());
    places.first().ok_or_else(none)
}

/// What is at a place.
enum Found {
    /// A path of a mirrored database.
    Path(PathMark, End),
    /// Nothing, or not a mark yet.
    Empty,
    /// Nobody knows.
    Unreachable(Error),
    /// Something that is no path of a mirrored database.
    Foreign(Error),
}

/// What the log of one path says of the paths.
#[derive(Clone)]
struct End {
    generation: Generation,
    in_force: Vec<PathId>,
    /// Whether the database has been created whole.
    begun: bool,
    /// The seal by which a path joined that generation, where no manifest has folded it: whoever folds has gone on after
    /// it, and then that path is complete.
    seal: Option<EndSeal>,
}

/// A seal by which a path joined.
#[derive(Clone)]
struct EndSeal {
    name: Name,
    bytes: Bytes,
    /// The generation before it, and its paths.
    before: (Generation, Vec<PathId>),
}

/// The paths in force, the active one first, as the newest log tells that can be followed to its end; the first ones of a
/// database where none can.
///
/// # Errors
/// What the storage refuses.
pub(super) async fn paths_of(places: &[Arc<dyn Storage>]) -> Result<Vec<PathId>> {
    let mut newest: Option<End> = None;
    for place in places {
        match end_of(place, Access::ReadWrite).await {
            Ok(end)
                if newest
                    .as_ref()
                    .is_none_or(|newest| newest.generation < end.generation) =>
            {
                newest = Some(end);
            }
            Ok(_) | Err(Error::Corrupt { .. } | Error::SnapshotTooOld { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(newest.map_or_else(|| FIRST.to_vec(), |newest| newest.in_force))
}

async fn examine(place: &Arc<dyn Storage>, access: Access) -> Found {
    match look(place, access).await {
        Ok(found) => found,
        Err(error @ Error::FormatTooNew { .. }) => Found::Foreign(error),
        // One that was left may lack anything; what another one tells decides whether this one is needed.
        Err(error) => Found::Unreachable(error),
    }
}

async fn look(place: &Arc<dyn Storage>, access: Access) -> Result<Found> {
    let mark = PathMark::load(&**place).await?;
    let instance = Instance::load_path(&**place).await?;
    Ok(match (mark, instance) {
        (None, None) => Found::Empty,
        (None, Some(_)) => Found::Foreign(Error::Invalid(format!(
            "{} is a database with one storage path; a mirrored database begins with two empty places",
            place.location()
        ))),
        (Some(_), Some((_, true, _))) => Found::Foreign(Error::Invalid(format!(
            "{} is a copy of a storage path, and not the path itself",
            place.location()
        ))),
        (Some(mark), _) if mark.left => Found::Unreachable(Error::PathLost {
            path: format!(
                "{}: the database has left it, and it was emptied since",
                place.location()
            ),
        }),
        (Some(mark), instance) => {
            let mut end = end_of(place, access).await?;
            end.begun = instance.is_some();
            Found::Path(mark, end)
        }
    })
}

/// Follows the log of one path to its end, as far as it goes there.
async fn end_of(place: &Arc<dyn Storage>, access: Access) -> Result<End> {
    let mut failure = None;
    for _ in 0..RELOADS_MAX {
        match end_once(place, access).await {
            // Collected while it was read.
            Err(error @ (Error::SnapshotTooOld { .. } | Error::Corrupt { .. })) => {
                failure = Some(error);
            }
            end => return end,
        }
    }
    Err(failure.unwrap_or_else(|| Error::corrupt(Name::MANIFEST, "there is no manifest")))
}

async fn end_once(place: &Arc<dyn Storage>, access: Access) -> Result<End> {
    let floors = Floors::find(Arc::clone(place)).await?;
    let (_, floor) = floors.newest();
    let listed = place.list(Name::MANIFEST).await?;
    let ids = listed.iter().filter_map(Name::as_manifest);
    let id = ids
        .max()
        .map_or(floor.manifest, |id| id.max(floor.manifest));
    let name = Name::manifest(id);
    let Some(bytes) = place.read_at_most(&name, MANIFEST_LEN_MAX).await? else {
        // Nothing was written yet, or it was collected.
        return match id {
            ManifestId(0) => Ok(End {
                generation: Generation(0),
                in_force: FIRST.to_vec(),
                begun: false,
                seal: None,
            }),
            _ => Err(Error::corrupt(name, "it was listed and is gone")),
        };
    };
    let manifest = Manifest::decode(name.as_str(), id, &bytes)?;
    let mut end = End {
        generation: manifest.generation,
        in_force: manifest.paths.clone(),
        begun: true,
        seal: None,
    };
    if end.in_force.is_empty() {
        end.in_force = FIRST.to_vec();
    }
    let start = manifest.log_start();
    let mut replay = Replay::begin(Arc::clone(place), &start, Strictness::Prefix).await?;
    while let Some(slot) = replay.next().await? {
        for record in &slot.records {
            if let Body::Seal { generation, paths } = &record.body {
                let (bytes, _) = slot::encode_again(&slot);
                let name = Name::log(slot.header.generation, slot.header.n);
                // One that may still be lost has sealed nothing.
                if access == Access::ReadWrite && !place.confirm(&name, &bytes).await? {
                    return Ok(end);
                }
                let before = (end.generation, std::mem::take(&mut end.in_force));
                end.generation = *generation;
                end.in_force.clone_from(paths);
                let bytes = Bytes::from(bytes);
                end.seal = (paths.len() > 1).then_some(EndSeal {
                    name,
                    bytes,
                    before,
                });
            }
        }
    }
    Ok(end)
}

/// Marks the places of a new database, the active path first: its mark decides.
async fn mark(places: &[Arc<dyn Storage>], set: u128) -> Result<()> {
    if places.len() != FIRST.len() {
        let message = format!(
            "a mirrored database has {} storage paths, {} were given",
            FIRST.len(),
            places.len()
        );
        return Err(Error::Invalid(message));
    }
    let mut set = set;
    for (path, place) in FIRST.into_iter().zip(places) {
        let mark = PathMark::new(set, path).store(&**place).await?;
        if mark.path != path || path != FIRST[0] && mark.set != set {
            let message = format!(
                "{} has become another storage path meanwhile; try again",
                place.location()
            );
            return Err(Error::Invalid(message));
        }
        set = mark.set;
    }
    Ok(())
}
