//! Opening among others: many processes at one folder, with no master (S10 of the protocol).

use std::sync::Arc;

use super::FORMAT;
use super::bucket;
use super::create::no_database;
use super::info::Info;
use super::instance::Instance;
use super::open::{self, Opened};
use super::options::{Environment, Mode, Options};
use crate::base::limits::RELOADS_MAX;
use crate::base::{Error, ManifestId, Position, Result};
use crate::commit::Combiner;
use crate::fold::{View, ViewCell};
use crate::log::file::is_begun;
use crate::log::{Floors, LogEnd, LogStart, LogWriter, Replay, SlotLog, Strictness, Tail};
use crate::storage::{LockGuard, LockMode, Name, Storage};

/// Milliseconds before it is looked again whether whoever creates the database, or makes a copy its own,
/// is done, at first.
const PREPARED_MS: u64 = 10;

/// Opens for reading and writing, where a slot has a name of its own: together with others, or alone on a medium
/// where others may know nothing of the lock. The lock is held from here on.
pub(super) async fn read_write(
    storage: Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
) -> Result<Opened> {
    let mode = match options.mode {
        Mode::Standalone => LockMode::Exclusive,
        Mode::Clustered => LockMode::Shared,
    };
    let mut failure = None;
    for attempt in 0..RELOADS_MAX {
        let lock = match storage.lock(mode).await {
            Ok(lock) => lock,
            Err(error @ Error::Locked { .. }) if mode == LockMode::Exclusive => return Err(error),
            // Whoever creates the database holds it alone for a moment.
            Err(error @ Error::Locked { .. }) => {
                failure = Some(error);
                environment.clock.sleep_ms(patience_ms(attempt)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        match Instance::load(&*storage).await? {
            Some((instance, false)) => match join(&storage, instance, options, environment).await {
                Ok(Some(joined)) => return Ok(joined.opened(lock, options, environment)),
                Ok(None) => {
                    drop(lock);
                    clear_empty_file(&storage, options, environment).await?;
                }
                // Collected while it was read: begin again with what is newer. What looks the same twice
                // is damage.
                Err(error @ (Error::Corrupt { .. } | Error::SnapshotTooOld { .. })) => {
                    let before = failure.as_ref().map(ToString::to_string);
                    if before == Some(error.to_string()) {
                        return Err(error);
                    }
                    failure = Some(error);
                }
                Err(error) => return Err(error),
            },
            None if !options.create => return Err(no_database(&*storage).await),
            _ => {
                drop(lock);
                prepare(&storage, options, environment).await?;
            }
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => Err(no_database(&*storage).await),
    }
}

/// The lock of those who write together. Waits for a process that has the database alone for a moment.
///
/// # Errors
/// [`Error::Locked`] where it has it for longer; what the storage refuses.
pub(super) async fn lock_shared(
    storage: &dyn Storage,
    environment: &Environment,
) -> Result<Box<dyn LockGuard>> {
    let mut attempt = 0;
    loop {
        match storage.lock(LockMode::Shared).await {
            Err(Error::Locked { .. }) if attempt < RELOADS_MAX => {
                environment.clock.sleep_ms(patience_ms(attempt)).await;
                attempt += 1;
            }
            locked => return locked,
        }
    }
}

/// Milliseconds before another attempt: short at first, since creating takes some ten, and some five seconds in all,
/// since on a busy machine it takes a hundred times that.
fn patience_ms(attempt: u32) -> u64 {
    PREPARED_MS * u64::from(1 + attempt / 10)
}

/// Creates the database, or makes a copy its own: alone, since names are given that must be given once.
async fn prepare(
    storage: &Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
) -> Result<()> {
    if !storage.capabilities().has_exclusive_lock() {
        return bucket::prepare(storage, options, environment).await;
    }
    // Folding is for those who go on.
    let options = &Options {
        fold_len_min: usize::MAX,
        ..options.clone()
    };
    match open::read_write(Arc::clone(storage), options, environment).await {
        Ok(_) => Ok(()),
        Err(Error::Locked { .. }) => {
            environment.clock.sleep_ms(PREPARED_MS).await;
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// A database that this process follows.
struct Joined {
    storage: Arc<dyn Storage>,
    instance: Instance,
    view: Arc<ViewCell>,
    folder: crate::fold::Folder,
    combiner: Combiner,
    replayed_slots: u64,
}

async fn join(
    storage: &Arc<dyn Storage>,
    instance: Instance,
    options: &Options,
    environment: &Environment,
) -> Result<Option<Joined>> {
    environment.coordinator.attach(instance.id);
    let folder = open::folder(storage, options, environment, true);
    let floors = Floors::find(Arc::clone(storage)).await?;
    let (_, floor) = floors.newest();
    let base = folder.load(Strictness::Whole, floor.manifest).await?;
    base.follow_paths(&**storage).await?;
    let folded = base.manifest.folded;
    let start = base.manifest.log_start();
    let view = Arc::new(ViewCell::new(View::of(base.manifest, base.runs)));
    let mut replay = Replay::begin(Arc::clone(storage), &start, Strictness::Whole).await?;
    let (appended, whole) = scan(storage, &start).await?;
    if empty_file(&**storage, &whole).await?.is_some() {
        return Ok(None);
    }
    replay.stop_after(appended);
    let (end, _) = open::replay_into(&mut replay, &folder, &view, Strictness::Whole).await?;
    // Its opening makes durable what an earlier process left at the end of its file, which is about to be
    // exposed.
    if storage.capabilities().append_files {
        LogWriter::open(Arc::clone(storage), &end).await?;
    }
    let last = (end.last, end.hash);
    if let Some(witness) = &environment.witness {
        witness.restarts(last.0, last.1);
    }
    let log = SlotLog::new(Arc::clone(storage), floors, end.generation, last);
    let tail = Tail::Slots(Box::new(log));
    let mut combiner = Combiner::new(open::parts(tail, &view, &folder, environment));
    combiner.follow().await?;
    follow_gap(&**storage, &mut combiner).await?;
    reaches_close(&instance, combiner.last().0)?;
    if options.mode == Mode::Clustered {
        combiner.share();
    }
    let replayed_slots = combiner.last().0.0.saturating_sub(folded.0);
    Ok(Some(Joined {
        storage: Arc::clone(storage),
        instance,
        view,
        folder,
        combiner,
        replayed_slots,
    }))
}

/// The newest slot that a standalone process wrote, in an append file; what follows stands in files of its
/// own, which are followed slot by slot. `start` itself where there is none. With it, where the log ends.
async fn scan(storage: &Arc<dyn Storage>, start: &LogStart) -> Result<(Position, LogEnd)> {
    let mut replay = Replay::begin(Arc::clone(storage), start, Strictness::Whole).await?;
    while replay.next().await?.is_some() {}
    Ok((replay.last_appended().unwrap_or(start.last), replay.end()))
}

/// An append file that was begun, wholly or not, and holds no slot: it has the name that the next slot needs.
async fn empty_file(storage: &dyn Storage, end: &LogEnd) -> Result<Option<Name>> {
    if let Some(file) = end.file.as_ref().filter(|file| file.first > end.last) {
        return Ok(Some(Name::log(file.generation, file.first)));
    }
    let next = Name::log(end.generation, end.last.next());
    let has_no_head = storage.stat(&next).await?.is_some() && !is_begun(storage, &next).await?;
    Ok(has_no_head.then_some(next))
}

/// Removes such a file, alone: a standalone process ended in the moment after it had begun it.
async fn clear_empty_file(
    storage: &Arc<dyn Storage>,
    options: &Options,
    environment: &Environment,
) -> Result<()> {
    let _lock = match storage.lock(LockMode::Exclusive).await {
        Ok(lock) => lock,
        Err(Error::Locked { .. }) => {
            environment.clock.sleep_ms(PREPARED_MS).await;
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    let folder = open::folder(storage, options, environment, true);
    let (_, floor) = Floors::find(Arc::clone(storage)).await?.newest();
    let base = folder.load(Strictness::Whole, floor.manifest).await?;
    let start = base.manifest.log_start();
    let (_, end) = scan(storage, &start).await?;
    if let Some(name) = empty_file(&**storage, &end).await? {
        storage.remove(&name).await?;
        storage.sync_names(&name).await?;
    }
    Ok(())
}

/// Slot `n + 1` cannot be there while slot `n` is not; unless `n` was only just written, or collected.
async fn follow_gap(storage: &dyn Storage, combiner: &mut Combiner) -> Result<()> {
    for _ in 0..RELOADS_MAX {
        let next = combiner.last().0.next();
        let listed = storage.list(Name::LOG).await?;
        let beyond = listed
            .into_iter()
            .find(|name| name.as_log().is_some_and(|(_, first)| first > next));
        let Some(name) = beyond else {
            return Ok(());
        };
        combiner.follow().await?;
        if combiner.last().0.next() == next {
            let detail = format!("slot {next} is missing, and this comes after it");
            return Err(Error::corrupt(name, detail));
        }
    }
    Ok(())
}

/// A log that ends before the slot at which the database was last closed has been damaged.
fn reaches_close(instance: &Instance, last: Position) -> Result<()> {
    match instance.closed {
        Some((closed, _)) if last < closed => {
            let detail = format!("the log ends at slot {last}, but was whole up to slot {closed}");
            Err(Error::corrupt(Name::LOG, detail))
        }
        _ => Ok(()),
    }
}

impl Joined {
    fn opened(
        self,
        lock: Box<dyn LockGuard>,
        options: &Options,
        environment: &Environment,
    ) -> Opened {
        let info = Info {
            location: self.storage.location(),
            instance: self.instance.id,
            format: FORMAT,
            generation: self.combiner.generation(),
            position: self.combiner.last().0,
            manifest: ManifestId(0),
            folded: Position::ZERO,
            runs: 0,
            runs_len: 0,
            runs_entries: 0,
            tail_len: 0,
            replayed_slots: self.replayed_slots,
            torn_tail: None,
            copied: false,
        };
        let (view, folder) = (&self.view, &self.folder);
        let context = open::context(view, folder, self.combiner, lock, options, environment);
        Opened {
            context,
            instance: self.instance,
            info,
            among: options.mode == Mode::Clustered,
        }
    }
}
