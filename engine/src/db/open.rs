//! Opening: the newest manifest, then the log to its end (S10 of the protocol).

use std::sync::Arc;

use super::FORMAT;
use super::create::{become_own, create, cut_loose, no_database};
use super::info::Info;
use super::instance::Instance;
use super::options::{Environment, Options};
use crate::base::limits::RELOADS_MAX;
use crate::base::{Error, ManifestId, Mutant, Position, Result};
use crate::commit::{Combiner, Committer, Parts, Upkeep, apply};
use crate::fold::{Claims, Folder, View, ViewCell};
use crate::log::{Floors, LogEnd, LogWriter, Replay, SlotLog, Strictness, Tail};
use crate::storage::{Exclusion, LockGuard, LockMode, Name, Storage, no_exclusion};
use crate::tree::{PageCache, RunOptions};
use crate::txn::Context;

/// A database that has been read up to the end of its log.
pub(super) struct Opened {
    pub(super) context: Arc<Context>,
    pub(super) instance: Instance,
    pub(super) info: Info,
    /// Whether others may write, too.
    pub(super) among: bool,
}

/// Opens for reading and writing; the lock is held from here on.
pub(super) async fn read_write(
    storage: Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
) -> Result<Opened> {
    if !storage.capabilities().has_exclusive_lock() {
        return Err(no_exclusion(&*storage));
    }
    let lock = storage.lock(LockMode::Exclusive).await?;
    let (instance, copied) = match Instance::load(&*storage).await? {
        Some(found) => found,
        None if options.create => (create(&*storage, environment).await?, false),
        None => return Err(no_database(&*storage).await),
    };
    let folder = folder(&storage, options, environment, false);
    let loaded = load(folder, &instance, copied).await?;
    // A manifest that an earlier process created may not have a durable name yet.
    storage
        .sync_names(&Name::manifest(loaded.view.load().manifest.id))
        .await?;
    let becomes_own = loaded.copied && !Mutant::CopyKeepsName.on();
    if becomes_own {
        let base = loaded.view.load().manifest.id;
        cut_loose(&*storage, base, &loaded.end).await?;
    }
    let writer = LogWriter::open(Arc::clone(&storage), &loaded.end).await?;
    let tail = if storage.capabilities().exclusion == Exclusion::Machine {
        slots(&storage, &loaded.end).await?
    } else {
        Tail::Append(writer)
    };
    let mut combiner = combiner(tail, &loaded, environment);
    let (instance, generation) = if becomes_own {
        become_own(&*storage, &mut combiner, environment).await?
    } else {
        (instance, loaded.end.generation)
    };
    environment.coordinator.attach(instance.id);
    let mut info = loaded.info(&*storage, &instance);
    info.generation = generation;
    let context = context(
        &loaded.view,
        &loaded.folder,
        combiner,
        lock,
        options,
        environment,
    );
    Ok(Opened {
        context,
        instance,
        info,
        among: false,
    })
}

/// Opens for reading: no lock, no write, beside whoever writes.
pub(super) async fn read_only(
    storage: Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
) -> Result<Opened> {
    let found = Instance::load(&*storage).await?;
    let Some((instance, copied)) = found else {
        return Err(no_database(&*storage).await);
    };
    let folder = folder(&storage, options, environment, true);
    let loaded = load_beside(&folder, &instance, copied).await?;
    let info = loaded.info(&*storage, &instance);
    let context = Context {
        view: loaded.view,
        folder: loaded.folder,
        entropy: Arc::clone(&environment.entropy),
        upkeep: None,
        pending: Arc::default(),
    };
    Ok(Opened {
        context: Arc::new(context),
        instance,
        info,
        among: true,
    })
}

/// Loads beside whoever writes, folds and collects meanwhile: what does not hold is looked at again, and is
/// damage only if it looks the same twice.
pub(super) async fn load_beside(
    folder: &Folder,
    instance: &Instance,
    copied: bool,
) -> Result<Loaded> {
    let mut before = None;
    for _ in 0..RELOADS_MAX {
        match load(folder.clone(), instance, copied).await {
            Err(error @ (Error::Corrupt { .. } | Error::SnapshotTooOld { .. })) => {
                let now = error.to_string();
                if before.as_ref() == Some(&now) {
                    return Err(error);
                }
                before = Some(now);
            }
            loaded => return loaded,
        }
    }
    load(folder.clone(), instance, copied).await
}

/// A combiner of a database that nobody else has open, at its end.
pub(super) fn combiner(tail: Tail, loaded: &Loaded, environment: &Environment) -> Combiner {
    Combiner::new(parts(tail, &loaded.view, &loaded.folder, environment))
}

/// The way to the next slot where each has a name of its own: what `end` tells is durable.
async fn slots(storage: &Arc<dyn Storage>, end: &LogEnd) -> Result<Tail> {
    let floors = Floors::find(Arc::clone(storage)).await?;
    let last = (end.last, end.hash);
    let log = SlotLog::new(Arc::clone(storage), floors, end.generation, last);
    Ok(Tail::Slots(Box::new(log)))
}

/// What a combiner works with.
pub(super) fn parts(
    tail: Tail,
    view: &Arc<ViewCell>,
    folder: &Folder,
    environment: &Environment,
) -> Parts {
    Parts {
        tail,
        view: Arc::clone(view),
        folder: folder.clone(),
        coordinator: Arc::clone(&environment.coordinator),
        clock: Arc::clone(&environment.clock),
        entropy: Arc::clone(&environment.entropy),
        witness: environment.witness.clone(),
    }
}

/// What transactions of a database open for writing share.
pub(super) fn context(
    view: &Arc<ViewCell>,
    folder: &Folder,
    combiner: Combiner,
    lock: Box<dyn LockGuard>,
    options: &Options,
    environment: &Environment,
) -> Arc<Context> {
    let committer = Committer::new(
        Arc::clone(&environment.coordinator),
        Arc::clone(&environment.clock),
        Arc::clone(view),
        combiner,
    );
    let upkeep = Upkeep::new(
        committer,
        Arc::clone(view),
        folder.clone(),
        Arc::clone(&environment.spawner),
        (
            Arc::clone(&environment.clock),
            Arc::clone(&environment.entropy),
        ),
        options.fold_len_min,
        lock,
    );
    let upkeep = Arc::new(upkeep);
    upkeep.after_commit();
    Arc::new(Context {
        view: Arc::clone(view),
        folder: folder.clone(),
        entropy: Arc::clone(&environment.entropy),
        upkeep: Some(upkeep),
        pending: Arc::default(),
    })
}

/// What writes and opens runs; `shared` where other processes may fold and collect meanwhile.
pub(super) fn folder(
    storage: &Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
    shared: bool,
) -> Folder {
    Folder {
        storage: Arc::clone(storage),
        entropy: Arc::clone(&environment.entropy),
        cache: Arc::new(PageCache::new(options.cache_len_max)),
        options: RunOptions {
            compression: options.compression,
            ..RunOptions::default()
        },
        bounds: options.bounds,
        shared,
        halted: Arc::default(),
        claims: Claims::default(),
    }
}

/// What reading a database gives.
pub(super) struct Loaded {
    folder: Folder,
    pub(super) view: Arc<ViewCell>,
    pub(super) end: LogEnd,
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

pub(super) async fn load(folder: Folder, instance: &Instance, copied: bool) -> Result<Loaded> {
    let storage = Arc::clone(&folder.storage);
    let strictness = if copied {
        Strictness::Prefix
    } else {
        Strictness::Whole
    };
    let mut floors = Floors::find(Arc::clone(&storage)).await?;
    let (id, floor) = floors.newest();
    let base = folder.load(strictness, floor.manifest).await?;
    if copied && base.manifest.id < floor.manifest {
        let detail = "the copy was overtaken by collection while it was taken: copy again";
        return Err(Error::corrupt(Name::floor(id), detail));
    }
    let start = base.manifest.log_start();
    let view = Arc::new(ViewCell::new(View::of(base.manifest, base.runs)));
    let mut replay = Replay::begin(Arc::clone(&storage), &start, strictness).await?;
    let (end, replayed_slots) = replay_into(&mut replay, &folder, &view, strictness).await?;
    if !copied {
        // The slot that was not found is the log's end only if it was not collected meanwhile.
        floors.check(end.last.next()).await?;
        no_gap(&*storage, end.last).await?;
    }
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

/// Slot `n + 1` cannot be there while slot `n` is not.
async fn no_gap(storage: &dyn Storage, last: Position) -> Result<()> {
    let listed = storage.list(Name::LOG).await?;
    let beyond = listed
        .iter()
        .find(|name| name.as_log().is_some_and(|(_, first)| first > last.next()));
    match beyond {
        Some(name) => {
            let detail = format!("slot {} is missing, and this comes after it", last.next());
            Err(Error::corrupt(name, detail))
        }
        None => Ok(()),
    }
}

/// Applies the log to `view`, slot by slot, to its end.
pub(super) async fn replay_into(
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
        match folder.open_runs_of(&slot).await {
            Ok(runs) => apply(view, slot.header.n, &slot.records, runs),
            Err(Error::Corrupt { .. } | Error::SnapshotTooOld { .. })
                if Mutant::CopyNoRefs.on() =>
            {
                apply(view, slot.header.n, &slot.records, Vec::new());
            }
            // A slot counts in a copy only if every run it refers to has been copied too.
            Err(error @ (Error::Corrupt { .. } | Error::SnapshotTooOld { .. }))
                if strictness == Strictness::Prefix =>
            {
                tracing::info!(%error, "the copy ends before slot {}", slot.header.n);
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
