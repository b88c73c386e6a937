//! Creating a database in a bucket, or making a copy there its own (S10 of the protocol): with no lock, by
//! conditional creates alone, whoever else does the same at the same moment.
//!
//! Nothing is deleted on the way. Where nobody can be kept out, a process that slept might delete what others
//! have written since; so a copy that would have to be cut first is refused.

use std::sync::Arc;

use super::create::{begin, new_instance};
use super::instance::Instance;
use super::open::{self, Loaded};
use super::options::{Environment, Options};
use crate::base::limits::{MANIFEST_LEN_MAX, SLOT_FILE_LEN_MAX};
use crate::base::{Error, Generation, InstanceId, ManifestId, Position, Result};
use crate::commit::Combiner;
use crate::fold::Manifest;
use crate::log::{Body, Floors, LogEnd, Replay, SlotLog, Strictness, Tail, slot};
use crate::storage::{Name, Storage};

/// Creates the database, or makes a copy its own. When this returns, either has been done by somebody, or it
/// is to be looked again.
pub(super) async fn prepare(
    storage: &Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
) -> Result<()> {
    match Instance::load(&**storage).await? {
        None => create(&**storage, environment).await,
        Some((_, false)) => Ok(()),
        Some((instance, true)) => match adopt(storage, instance, options, environment).await {
            // Read while others had made it their own and gone on.
            Err(Error::Corrupt { .. } | Error::SnapshotTooOld { .. })
                if !is_copy(&**storage).await? =>
            {
                Ok(())
            }
            done => done,
        },
    }
}

async fn is_copy(storage: &dyn Storage) -> Result<bool> {
    let found = Instance::load(storage).await?;
    Ok(found.is_some_and(|(_, copied)| copied))
}

async fn create(storage: &dyn Storage, environment: &Environment) -> Result<()> {
    match begin(storage).await {
        Ok(()) => {}
        // Others have created it meanwhile, and gone on.
        Err(Error::NotADatabase { .. }) if Instance::load(storage).await?.is_some() => {
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    // Whoever is first names it.
    new_instance(environment).create(storage).await?;
    Ok(())
}

/// The record that begins the generation names the database: there is one slot after the copy's last, and so
/// one such record, whoever wrote it. `INSTANCE` then says the same, and may be written by any who read it.
async fn adopt(
    storage: &Arc<dyn Storage>,
    instance: Instance,
    options: &Options,
    environment: &Environment,
) -> Result<()> {
    let folder = open::folder(storage, options, environment, true);
    let loaded = open::load(folder.clone(), &instance, true).await?;
    let end = &loaded.end;
    let id = match named_at(&**storage, end).await? {
        // A process has come so far, and may have ended. (A database that was just cut loose from another
        // and is copied in this very state gives its name away; all that is shared then are hints.)
        Some(id) if id != instance.id => id,
        _ => {
            is_whole(storage, &loaded).await?;
            let floors = Floors::find(Arc::clone(storage)).await?;
            let last = (end.last, end.hash);
            let log = SlotLog::new(Arc::clone(storage), floors, end.generation, last);
            let tail = Tail::Slots(Box::new(log));
            let parts = open::parts(tail, &loaded.view, &folder, environment);
            let id = new_instance(environment).id;
            let generation = Generation(end.generation.0 + 1);
            match Combiner::new(parts).begin_generation(generation, id).await {
                Ok(Some(_)) => {}
                // Another process was first, or everything has gone on since: look again.
                Ok(None) | Err(Error::SnapshotTooOld { .. }) => return Ok(()),
                Err(error) => return Err(error),
            }
            tracing::info!(%id, "this is a copy; it goes on as a database of its own");
            id
        }
    };
    Instance {
        id,
        identity: 0,
        closed: None,
    }
    .store(&**storage)
    .await?;
    Ok(())
}

/// The name that the last slot gives the database, if it begins a generation.
async fn named_at(storage: &dyn Storage, end: &LogEnd) -> Result<Option<InstanceId>> {
    let Some(before) = end.generation.0.checked_sub(1) else {
        return Ok(None);
    };
    let name = Name::log(Generation(before), end.last);
    let Some(bytes) = storage.read_at_most(&name, SLOT_FILE_LEN_MAX).await? else {
        return Ok(None);
    };
    let Ok(slot) = slot::decode(&bytes) else {
        return Ok(None);
    };
    Ok(slot.records.iter().find_map(|record| match record.body {
        Body::Generation {
            generation,
            instance,
        } if generation == end.generation => Some(instance),
        _ => None,
    }))
}

/// A copy is whole if everything in it counts, and everything that collection will ask for is there.
///
/// # Errors
/// [`Error::Corrupt`] naming what is in the way.
async fn is_whole(storage: &Arc<dyn Storage>, loaded: &Loaded) -> Result<()> {
    let end = &loaded.end;
    if let Some((file, torn)) = end.file.as_ref().and_then(|f| Some((f, f.torn.as_ref()?))) {
        return Err(in_parts(&Name::log(file.generation, file.first), torn));
    }
    let beyond = |name: &&Name| name.as_log().is_some_and(|(_, first)| first > end.last);
    if let Some(name) = storage.list(Name::LOG).await?.iter().find(beyond) {
        return Err(in_parts(name, "it lies beyond the last slot that counts"));
    }
    let newest = loaded.view.load().manifest.id;
    let (_, floor) = Floors::find(Arc::clone(storage)).await?.newest();
    let mut expected = floor.manifest;
    let segments = storage.list(Name::SEGMENT).await?;
    let mut oldest = None;
    for name in storage.list(Name::MANIFEST).await? {
        let Some(id) = name.as_manifest().filter(|id| *id >= floor.manifest) else {
            continue;
        };
        if oldest.is_none() && floor.manifest == ManifestId(0) {
            // A folder that was a copy itself begins with the manifest that counted.
            expected = id;
        }
        if id > newest || id != expected {
            return Err(in_parts(
                &name,
                "it is not complete, or one before it is missing",
            ));
        }
        expected.0 += 1;
        let manifest = match storage.read_at_most(&name, MANIFEST_LEN_MAX).await? {
            Some(bytes) => Manifest::decode(name.as_str(), id, &bytes)?,
            None => return Err(in_parts(&name, "it is gone")),
        };
        let runs = manifest
            .runs
            .iter()
            .map(|entry| Name::segment(entry.run.id));
        if let Some(missing) = runs
            .into_iter()
            .find(|run| segments.binary_search(run).is_err())
        {
            return Err(in_parts(
                &missing,
                &format!("it is missing, and {name} refers to it"),
            ));
        }
        oldest = oldest.or_else(|| Some(manifest.log_start()));
    }
    let Some(start) = oldest else { return Ok(()) };
    let mut replay = Replay::begin(Arc::clone(storage), &start, Strictness::Whole).await?;
    while replay.next().await?.is_some() {}
    let reached: Position = replay.end().last;
    if reached < end.last {
        let missing = Name::log(replay.end().generation, reached.next());
        return Err(in_parts(
            &missing,
            "it is missing, and an older manifest begins before it",
        ));
    }
    Ok(())
}

fn in_parts(name: &Name, why: &str) -> Error {
    let detail = format!(
        "{why}: this copy is not whole, and in a bucket it cannot be cut to what counts; copy again \
         while nobody writes to the original"
    );
    Error::corrupt(name, detail)
}
