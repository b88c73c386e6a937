//! Making a database: a new one, or one of its own out of a copy (S10 of the protocol).

use std::sync::Arc;

use super::instance::Instance;
use super::options::Environment;
use super::path::PathMark;
use crate::base::{Error, Generation, InstanceId, ManifestId, Result};
use crate::commit::Combiner;
use crate::fold::Manifest;
use crate::log::LogEnd;
use crate::log::once::{confirm, create_once};
use crate::storage::{Name, Operation, Storage};

/// Creates an empty database. `INSTANCE` comes last: what is there before is not a database yet.
pub(super) async fn create(storage: &dyn Storage, environment: &Environment) -> Result<Instance> {
    begin(storage).await?;
    new_instance(environment).store(storage).await
}

/// Who a new database is.
pub(super) fn new_instance(environment: &Environment) -> Instance {
    Instance {
        id: InstanceId(environment.entropy.next_u128()),
        identity: 0,
        closed: None,
    }
}

/// Writes all of an empty database but `INSTANCE`. A place that a copy was being made in is not taken: what lies
/// there is a part of another database.
pub(super) async fn begin(storage: &dyn Storage) -> Result<()> {
    if is_unfinished(storage).await? {
        return Err(unfinished(storage));
    }
    if storage.mirror().is_none() && PathMark::is_at(storage).await? {
        let why = "a storage path of a mirrored database was brought back here; open it together with the other one: \
                   --standby PATH";
        return Err(Error::NotADatabase {
            path: storage.location(),
            why: why.to_owned(),
        });
    }
    let first = Manifest::first();
    let name = Name::manifest(first.id);
    // The log first, the rest only where there is none: a creation that was interrupted leaves manifest 0 alone.
    for dir in [Name::LOG, Name::MANIFEST, Name::FLOOR, Name::SEGMENT] {
        let listed = storage.list(dir).await?;
        if let Some(found) = listed.iter().find(|found| **found != name) {
            let why = format!(
                "its INSTANCE file is missing, but it has {found}, as a database of which objects were lost; restore a \
                 backup elsewhere, or choose an empty place"
            );
            return Err(Error::NotADatabase {
                path: storage.location(),
                why,
            });
        }
    }
    let bytes = first.encode();
    // An earlier process may have come this far: then the name is taken, by the same bytes.
    create_once(storage, &name, &bytes).await?;
    if !confirm(storage, &name, &bytes).await? {
        let lost = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(Operation::SyncNames.error(&name, &lost));
    }
    Ok(())
}

/// What a place holds that is being filled and is no database yet.
const UNFINISHED: &str = "UNFINISHED";

pub(super) fn marker() -> Result<Name> {
    Name::parse(UNFINISHED).ok_or_else(|| Error::Invalid(format!("`{UNFINISHED}` is no name")))
}

/// Whether copying a database here has begun and has not come to its end.
pub(super) async fn is_unfinished(storage: &dyn Storage) -> Result<bool> {
    Ok(storage.stat(&marker()?).await?.is_some())
}

fn unfinished(storage: &dyn Storage) -> Error {
    Error::Unfinished {
        path: storage.location(),
    }
}

/// Why there is no database here: the copy that was to become one was interrupted, or there never was one.
pub(super) async fn no_database(storage: &dyn Storage) -> Error {
    match is_unfinished(storage).await {
        Ok(true) => unfinished(storage),
        Ok(false) => Error::NotADatabase {
            path: storage.location(),
            why: "it has no INSTANCE file".to_owned(),
        },
        Err(error) => error,
    }
}

/// A place for a database that comes from elsewhere. Until it is finished nothing in it is a database, and
/// whoever begins again clears it.
pub(super) struct Target {
    storage: Arc<dyn Storage>,
    marker: Name,
}

impl Target {
    /// Turns away from a place that nobody has begun to fill and that is not empty, before anything is left there. What
    /// is being filled is for the lock to tell.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming what is there.
    pub(super) async fn look(storage: &dyn Storage) -> Result<()> {
        if !is_unfinished(storage).await? {
            Target::check(storage).await?;
        }
        Ok(())
    }

    /// Whether a place is empty, or somebody has left it unfinished. Gives what is in it.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming what is there.
    async fn check(storage: &dyn Storage) -> Result<Vec<Name>> {
        let marker = marker()?;
        let names = storage.list("").await?;
        let has_marker = names.contains(&marker);
        if has_marker && names.contains(&Name::instance()) {
            // The marker is the last thing to go. An older program may also have made a database of its own here.
            let message = format!(
                "{} is not empty: it has INSTANCE beside {UNFINISHED}, so the copy was interrupted when it was whole, \
                 or a database was created over it; look at it with `eciton db info`, then remove the file \
                 {UNFINISHED} to keep it, or the whole place to begin again",
                storage.location()
            );
            return Err(Error::Invalid(message));
        }
        if let Some(name) = names.first()
            && !has_marker
        {
            let message = format!("{} is not empty: it has {name}", storage.location());
            return Err(Error::Invalid(message));
        }
        Ok(names)
    }

    /// Takes a place that is empty, or that somebody has left unfinished.
    pub(super) async fn begin(storage: Arc<dyn Storage>) -> Result<Target> {
        let marker = marker()?;
        let names = Target::check(&*storage).await?;
        storage.create(&marker, b"").await?;
        storage.sync_names(&marker).await?;
        for name in names.iter().filter(|name| **name != marker) {
            remove(&*storage, name).await?;
        }
        Ok(Target { storage, marker })
    }

    /// The database is whole.
    pub(super) async fn finish(self) -> Result<()> {
        remove(&*self.storage, &self.marker).await
    }
}

/// Who a database is that has no name yet.
pub(super) fn nobody() -> Instance {
    Instance {
        id: InstanceId(0),
        identity: 0,
        closed: None,
    }
}

/// Removes what of a copy does not count: manifests that are not complete, or older than the one that is
/// (some may be missing in between), and slots after the end. From the next opening on the folder is validated
/// as a whole, and names are needed again.
pub(super) async fn cut_loose(storage: &dyn Storage, base: ManifestId, end: &LogEnd) -> Result<()> {
    for name in storage.list(Name::MANIFEST).await? {
        if name.as_manifest().is_some_and(|id| id != base) {
            remove(storage, &name).await?;
        }
    }
    let open = end.file.as_ref();
    let open = open.map(|file| Name::log(file.generation, file.first));
    for name in storage.list(Name::LOG).await? {
        let is_beyond = name.as_log().is_some_and(|(_, first)| first > end.last);
        if is_beyond && open.as_ref() != Some(&name) {
            remove(storage, &name).await?;
        }
    }
    if let Some((name, file)) = open.zip(end.file.as_ref()) {
        let mut handle = storage.append_file(&name).await?;
        if file.offset < handle.allocated() {
            handle.truncate(file.offset).await?;
        }
    }
    Ok(())
}

/// A copy takes a name and a generation of its own before anything else is written to it, so that it
/// can never be taken for its original.
pub(super) async fn become_own(
    storage: &dyn Storage,
    combiner: &mut Combiner,
    environment: &Environment,
) -> Result<(Instance, Generation)> {
    let instance = new_instance(environment);
    let generation = Generation(combiner.generation().0 + 1);
    let begun = combiner.begin_generation(generation, instance.id).await?;
    if begun.is_none() {
        let message = "another process writes to this copy".to_owned();
        return Err(Error::Invalid(message));
    }
    tracing::info!(id = %instance.id, "this folder is a copy; it goes on as a database of its own");
    Ok((instance.store(storage).await?, generation))
}

async fn remove(storage: &dyn Storage, name: &Name) -> Result<()> {
    storage.remove(name).await?;
    storage.sync_names(name).await
}
