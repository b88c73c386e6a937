//! Putting the storage paths of a mirrored database together (S13 of the protocol).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::create::no_database;
use super::instance::Instance;
use super::options::Environment;
use super::path::PathMark;
use crate::base::limits::{MANIFEST_LEN_MAX, RELOADS_MAX};
use crate::base::{Error, Generation, ManifestId, PathId, Result};
use crate::fold::Manifest;
use crate::log::{Body, Floors, Replay, Strictness, slot};
use crate::storage::fault::{FaultClass, class_of};
use crate::storage::{Access, MirrorParts, MirrorStorage, Name, Storage, Unreachable, probe};

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
    let mut found = Vec::new();
    for place in places {
        found.push(examine(place, access).await);
    }
    if found.iter().all(|place| matches!(place, Found::Empty)) {
        if !create || access == Access::ReadOnly {
            return Err(no_database(&**first_of(places)?).await);
        }
        mark(places, environment.entropy.next_u128()).await?;
        found.clear();
        for place in places {
            found.push(examine(place, access).await);
        }
    }
    let set = set_of(places, &found)?;
    let mut paths: BTreeMap<PathId, Arc<dyn Storage>> = BTreeMap::new();
    let mut newest: Option<End> = None;
    let (mut strangers, mut failure) = (Vec::new(), None);
    for (place, found) in places.iter().zip(found) {
        match found {
            Found::Path(mark, end) => {
                if !end.begun && access == Access::ReadWrite {
                    // Whoever marked it may not have come to make that durable, and the database is created next.
                    mark.confirm(&**place).await?;
                }
                if paths.insert(mark.path, Arc::clone(place)).is_some() {
                    let message = format!(
                        "{} is the same storage path as another one",
                        place.location()
                    );
                    return Err(Error::Invalid(message));
                }
                newest = newest
                    .into_iter()
                    .chain([end])
                    .max_by_key(|end| end.generation);
            }
            Found::Empty => strangers.push((place, None)),
            Found::Unreachable(error) => {
                strangers.push((place, Some(error.clone())));
                failure.get_or_insert(error);
            }
            Found::Foreign(error) => return Err(error),
        }
    }
    let Some(End {
        generation,
        in_force,
        begun,
    }) = newest
    else {
        return Err(match failure {
            Some(error) => error,
            None => no_database(&**first_of(places)?).await,
        });
    };
    let missing: Vec<PathId> = in_force
        .iter()
        .copied()
        .filter(|id| !paths.contains_key(id))
        .collect();
    let mut gone = Vec::new();
    for (id, (place, error)) in missing.into_iter().zip(strangers) {
        // A creation that was interrupted is completed by whoever comes next.
        if !begun && create && access == Access::ReadWrite {
            let mark = PathMark { set, path: id }.store(&**place).await?;
            if (mark.set, mark.path) == (set, id) {
                paths.insert(id, Arc::clone(place));
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
        paths.insert(id, Arc::new(Unreachable::new(place.location(), why)));
    }
    let mirror = MirrorStorage::new(MirrorParts {
        paths: paths.into_iter().collect(),
        generation,
        in_force,
        access,
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
    });
    for (id, error) in gone {
        mirror.give_up(id, error);
    }
    Ok(Arc::new(mirror))
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
struct End {
    generation: Generation,
    in_force: Vec<PathId>,
    /// Whether the database has been created whole.
    begun: bool,
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
            }),
            _ => Err(Error::corrupt(name, "it was listed and is gone")),
        };
    };
    let manifest = Manifest::decode(name.as_str(), id, &bytes)?;
    let mut end = End {
        generation: manifest.generation,
        in_force: manifest.paths.clone(),
        begun: true,
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
                end.generation = *generation;
                end.in_force.clone_from(paths);
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
        let mark = PathMark { set, path }.store(&**place).await?;
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

/// The set that the paths belong to.
fn set_of(places: &[Arc<dyn Storage>], found: &[Found]) -> Result<u128> {
    let mut set = None;
    for (place, found) in places.iter().zip(found) {
        let Found::Path(mark, _) = found else {
            continue;
        };
        if set.is_some_and(|set| set != mark.set) {
            let message = format!("{} belongs to another database", place.location());
            return Err(Error::Invalid(message));
        }
        set = Some(mark.set);
    }
    Ok(set.unwrap_or_default())
}
