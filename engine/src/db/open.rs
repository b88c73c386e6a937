//! Opening: the newest manifest, then the log to its end (S10 of the protocol).

use std::sync::Arc;

use super::FORMAT;
use super::info::Info;
use super::instance::Instance;
use super::options::{Environment, Options};
use crate::base::{Error, Generation, InstanceId, ManifestId, Position, Result};
use crate::commit::{Combiner, Committer, Upkeep, apply};
use crate::fold::{Folder, Layer, Manifest, RunLayer, Table, View, ViewCell};
use crate::log::{Body, LogEnd, LogWriter, Replay, Slot, Strictness};
use crate::storage::{Created, LockGuard, Name, Storage};
use crate::tree::{PageCache, RunOptions};
use crate::txn::Context;

/// A database that has been read up to the end of its log.
pub(super) struct Opened {
    pub(super) context: Arc<Context>,
    pub(super) instance: Instance,
    pub(super) info: Info,
}

/// Opens for reading and writing; the lock is held from here on.
pub(super) async fn read_write(
    storage: Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
) -> Result<Opened> {
    let lock = storage.lock().await?;
    let (instance, copied) = match Instance::load(&*storage).await? {
        Some(found) => found,
        None if options.create => (create(&*storage, environment).await?, false),
        None => return Err(no_database(&*storage)),
    };
    let folder = folder(&storage, options, environment);
    let loaded = load(folder, &instance, copied).await?;
    // A manifest that an earlier process created may not have a durable name yet.
    storage
        .sync_names(&Name::manifest(loaded.view.load().manifest.id))
        .await?;
    let writer = LogWriter::open(Arc::clone(&storage), &loaded.end).await?;
    let mut combiner = Combiner::new(
        writer,
        Arc::clone(&loaded.view),
        loaded.folder.clone(),
        Arc::clone(&environment.clock),
        Arc::clone(&environment.entropy),
    );
    let (instance, generation) = if loaded.copied {
        become_own(&*storage, &mut combiner, loaded.end.generation, environment).await?
    } else {
        (instance, loaded.end.generation)
    };
    let mut info = loaded.info(&*storage, &instance);
    info.generation = generation;
    let context = context(loaded, combiner, lock, options, environment);
    Ok(Opened {
        context,
        instance,
        info,
    })
}

/// Opens for reading: no lock, no write, beside whoever writes.
pub(super) async fn read_only(
    storage: Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
) -> Result<Opened> {
    let found = Instance::load(&*storage).await?;
    let (instance, copied) = found.ok_or_else(|| no_database(&*storage))?;
    let loaded = load(folder(&storage, options, environment), &instance, copied).await?;
    let info = loaded.info(&*storage, &instance);
    let context = Context {
        view: loaded.view,
        folder: loaded.folder,
        entropy: Arc::clone(&environment.entropy),
        upkeep: None,
    };
    Ok(Opened {
        context: Arc::new(context),
        instance,
        info,
    })
}

fn context(
    loaded: Loaded,
    combiner: Combiner,
    lock: Box<dyn LockGuard>,
    options: &Options,
    environment: &Environment,
) -> Arc<Context> {
    let committer = Committer::new(Arc::clone(&environment.coordinator), combiner);
    let upkeep = Upkeep::new(
        committer,
        Arc::clone(&loaded.view),
        loaded.folder.clone(),
        Arc::clone(&environment.spawner),
        Arc::clone(&environment.clock),
        options.fold_len_min,
        lock,
    );
    let upkeep = Arc::new(upkeep);
    upkeep.after_commit();
    Arc::new(Context {
        view: loaded.view,
        folder: loaded.folder,
        entropy: Arc::clone(&environment.entropy),
        upkeep: Some(upkeep),
    })
}

fn folder(storage: &Arc<dyn Storage>, options: &Options, environment: &Environment) -> Folder {
    Folder {
        storage: Arc::clone(storage),
        entropy: Arc::clone(&environment.entropy),
        cache: Arc::new(PageCache::new(options.cache_len_max)),
        options: RunOptions {
            compression: options.compression,
            ..RunOptions::default()
        },
        first_free: ManifestId(0),
        halted: Arc::default(),
    }
}

fn no_database(storage: &dyn Storage) -> Error {
    let why = "it has no INSTANCE file".to_owned();
    Error::NotADatabase {
        path: storage.location(),
        why,
    }
}

/// Creates an empty database. `INSTANCE` comes last: what is there before is not a database yet.
async fn create(storage: &dyn Storage, environment: &Environment) -> Result<Instance> {
    let first = Manifest::first();
    let name = Name::manifest(first.id);
    let manifests = storage.list(Name::MANIFEST).await?;
    if manifests.iter().any(|found| *found != name) || !storage.list(Name::LOG).await?.is_empty() {
        let why = "its INSTANCE file is missing, but it has a log or manifests".to_owned();
        return Err(Error::NotADatabase {
            path: storage.location(),
            why,
        });
    }
    match storage.create(&name, &first.encode()).await? {
        // An earlier process may have come this far.
        Created::New | Created::Exists => storage.sync_names(&name).await?,
    }
    let id = InstanceId(environment.entropy.next_u128());
    Instance {
        id,
        identity: 0,
        closed: None,
    }
    .store(storage)
    .await
}

/// A copy takes a name and a generation of its own before anything else is written to it, so that it
/// can never be taken for its original.
async fn become_own(
    storage: &dyn Storage,
    combiner: &mut Combiner,
    generation: Generation,
    environment: &Environment,
) -> Result<(Instance, Generation)> {
    let id = InstanceId(environment.entropy.next_u128());
    let generation = Generation(generation.0 + 1);
    combiner.begin_generation(generation, id).await?;
    tracing::info!(%id, "this folder is a copy; it goes on as a database of its own");
    let instance = Instance {
        id,
        identity: 0,
        closed: None,
    }
    .store(storage)
    .await?;
    Ok((instance, generation))
}

/// What reading a database gives.
struct Loaded {
    folder: Folder,
    view: Arc<ViewCell>,
    end: LogEnd,
    replayed_slots: u64,
    copied: bool,
}

impl Loaded {
    fn info(&self, storage: &dyn Storage, instance: &Instance) -> Info {
        let torn = self.end.file.as_ref().and_then(|file| file.torn.clone());
        if let Some(detail) = &torn {
            tracing::warn!(
                detail,
                "the log ends in a torn slot, as a crash leaves it; ignored"
            );
        }
        Info {
            location: storage.location(),
            instance: instance.id,
            format: FORMAT,
            generation: self.end.generation,
            position: self.end.last,
            manifest: ManifestId(0),
            folded: Position::ZERO,
            runs: 0,
            runs_len: 0,
            runs_entries: 0,
            tail_len: 0,
            replayed_slots: self.replayed_slots,
            torn_tail: torn,
            copied: self.copied,
        }
    }
}

async fn load(mut folder: Folder, instance: &Instance, copied: bool) -> Result<Loaded> {
    let storage = Arc::clone(&folder.storage);
    let strictness = if copied {
        Strictness::Prefix
    } else {
        Strictness::Whole
    };
    let (manifest, runs, newest_id) = base(&folder, strictness).await?;
    folder.first_free = ManifestId(newest_id.0 + 1);
    let start = manifest.log_start();
    let mut layers = vec![Layer::Table(Arc::new(Table::new(manifest.folded)))];
    layers.extend(runs.into_iter().map(Layer::Run));
    let view = Arc::new(ViewCell::new(View {
        layers,
        manifest: Arc::new(manifest),
    }));
    let mut replay = Replay::begin(Arc::clone(&storage), &start, strictness).await?;
    let (end, replayed_slots) = replay_into(&mut replay, &folder, &view, strictness).await?;
    if let Some((closed, _)) = instance
        .closed
        .filter(|(closed, _)| !copied && end.last < *closed)
    {
        let file = end
            .file
            .as_ref()
            .map(|file| Name::log(file.generation, file.first));
        let object = file.unwrap_or_else(|| Name::log(end.generation, end.last.next()));
        let torn = end.file.and_then(|file| file.torn).unwrap_or_default();
        let detail = format!(
            "it ends at slot {}, but was whole up to slot {closed} {torn}",
            end.last
        );
        return Err(Error::corrupt(object, detail.trim_end()));
    }
    Ok(Loaded {
        folder,
        view,
        end,
        replayed_slots,
        copied,
    })
}

/// The newest manifest with its runs, open, and the largest number that any manifest has. Of a copy,
/// the newest one that is complete.
async fn base(
    folder: &Folder,
    strictness: Strictness,
) -> Result<(Manifest, Vec<Arc<RunLayer>>, ManifestId)> {
    let storage = &folder.storage;
    let listed = storage.list(Name::MANIFEST).await?;
    let mut ids: Vec<ManifestId> = listed.iter().filter_map(Name::as_manifest).collect();
    ids.sort_unstable();
    let newest = ids.last().copied();
    let newest = newest.ok_or_else(|| Error::corrupt(Name::MANIFEST, "there is no manifest"))?;
    let mut failure = None;
    for id in ids.into_iter().rev() {
        match manifest_with_runs(folder, id).await {
            Ok((manifest, runs)) => return Ok((manifest, runs, newest)),
            Err(error @ Error::Corrupt { .. }) if strictness == Strictness::Prefix => {
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| Error::corrupt(Name::MANIFEST, "no manifest is complete")))
}

async fn manifest_with_runs(
    folder: &Folder,
    id: ManifestId,
) -> Result<(Manifest, Vec<Arc<RunLayer>>)> {
    let name = Name::manifest(id);
    let missing = || Error::corrupt(&name, "it was listed and is gone");
    let bytes = folder.storage.read(&name).await?.ok_or_else(missing)?;
    let manifest = Manifest::decode(name.as_str(), id, &bytes)?;
    let mut runs = Vec::with_capacity(manifest.runs.len());
    for entry in &manifest.runs {
        runs.push(folder.open_run(entry.run.clone(), entry.at).await?);
    }
    Ok((manifest, runs))
}

/// Applies the log to `view`, slot by slot, to its end.
async fn replay_into(
    replay: &mut Replay,
    folder: &Folder,
    view: &ViewCell,
    strictness: Strictness,
) -> Result<(LogEnd, u64)> {
    let mut slots = 0;
    loop {
        let before = replay.end();
        let Some(slot) = replay.next().await? else {
            return Ok((replay.end(), slots));
        };
        match runs_of(folder, &slot).await {
            Ok(runs) => apply(view, slot.header.n, &slot.records, runs),
            // A slot counts in a copy only if every run it refers to has been copied too.
            Err(Error::Corrupt { object, detail }) if strictness == Strictness::Prefix => {
                tracing::info!(
                    object,
                    detail,
                    "the copy ends before slot {}",
                    slot.header.n
                );
                return Ok((torn_off(before), slots));
            }
            Err(error) => return Err(error),
        }
        slots += 1;
    }
}

/// An end that leaves the rest of its file behind.
fn torn_off(mut end: LogEnd) -> LogEnd {
    if let Some(file) = &mut end.file {
        file.torn = Some("the copy ends here".to_owned());
    }
    end
}

async fn runs_of(folder: &Folder, slot: &Slot) -> Result<Vec<Arc<RunLayer>>> {
    let mut layers = Vec::new();
    for record in &slot.records {
        if let Body::Bulk(runs) = &record.body {
            for run in runs {
                layers.push(folder.open_run(run.clone(), slot.header.n).await?);
            }
        }
    }
    Ok(layers)
}
