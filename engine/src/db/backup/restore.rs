//! Restoring: a new folder with the state of a position.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::entry::{self, BackupEntry, FileSum, PartRef};
use super::part::{PartReader, runs_of};
use super::{COPY_LEN, Shelf, at, copy, head};
use crate::base::{Error, InstanceId, Position, Result};
use crate::db::create::{self, Target};
use crate::db::open;
use crate::db::options::{Environment, Options};
use crate::db::places::apart;
use crate::db::progress::{Meter, OnProgress};
use crate::fold::Manifest;
use crate::log::{LogEnd, LogWriter, Tail};
use crate::storage::{Access, LocalStorage, LockMode, Name, Storage};

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The database's own name: it is another one than the one that was backed up.
    pub instance: InstanceId,
    /// The slot whose state was restored. The log goes on with one that says whose it is from there on.
    pub position: Position,
    /// The backup that it begins with.
    pub backup: u64,
    /// Files copied.
    pub files: u64,
    /// Bytes copied.
    pub bytes: u64,
}

/// Restores into a folder that is new, empty, or left by a restoring that was interrupted. As [`restore`].
///
/// # Errors
/// As [`restore`]; [`Error::Invalid`] where one folder lies in the other.
pub async fn restore_folder(
    backups: &Path,
    to: &Path,
    position: Option<Position>,
    progress: OnProgress<'_>,
) -> Result<Restored> {
    apart(backups, to, "a restored database")?;
    let source = Arc::new(LocalStorage::open(backups, Access::ReadOnly)?);
    let target = Arc::new(LocalStorage::open(to, Access::ReadWrite)?);
    restore(source, target, position, &Environment::default(), progress).await
}

/// Makes a database of the newest backup, or of the state of `position`, if the backups' logs cover that. It
/// is durable when this returns, and another database to coordinators than the one that was backed up. Every
/// checksum is compared on the way; before the end nothing in `to` can be taken for a database.
///
/// # Errors
/// [`Error::Invalid`]: there is no backup, or none covers `position` (the message says which positions are
/// covered), or `to` is not empty. [`Error::Locked`] while another process restores into `to`, or works there.
/// [`Error::Corrupt`] naming what of the backups is damaged or missing, the newest entry included where the head
/// names it; what either medium refuses, with its location.
pub async fn restore(
    backups: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    position: Option<Position>,
    environment: &Environment,
    progress: OnProgress<'_>,
) -> Result<Restored> {
    let shelf = Shelf::load(&*backups).await.map_err(at(&*backups))?;
    let plan = shelf
        .plan(position, &backups.location())
        .map_err(at(&*backups))?;
    // A place that is refused stays as it is, without a file of the lock.
    Target::look(&*to).await.map_err(at(&*to))?;
    // First the lock: a process that begins clears the place of what an interrupted one left, and one that is at work
    // must not lose what it has copied. What was seen before the lock was held is looked at again.
    let lock = to.lock(LockMode::Exclusive).await.map_err(at(&*to))?;
    let target = Target::begin(Arc::clone(&to)).await.map_err(at(&*to))?;
    let mut restorer = Restorer {
        backups,
        to: Arc::clone(&to),
        sums: shelf.sums(),
        meter: Meter::new(progress),
        copied: BTreeMap::new(),
    };
    restorer.meter.expect(0, plan.len(&restorer.sums));
    let manifest = restorer.files(&plan).await?;
    let own = own(&to, &manifest, environment).await;
    let instance = own.map_err(at(&*to))?;
    target.finish().await.map_err(at(&*to))?;
    drop(lock);
    restorer.meter.finish();
    Ok(Restored {
        instance,
        position: plan.position,
        backup: plan.base.number,
        files: restorer.copied.len() as u64,
        bytes: restorer.copied.values().map(|sum| sum.len).sum(),
    })
}

/// From what a position is made.
struct Plan<'a> {
    base: &'a BackupEntry,
    /// Parts of the log, oldest first, that lead from the manifest to the position.
    parts: Vec<&'a PartRef>,
    position: Position,
}

impl Plan<'_> {
    fn len(&self, sums: &BTreeMap<Name, FileSum>) -> u64 {
        let runs = self.base.manifest.runs.iter();
        let names = runs.map(|entry| Name::segment(entry.run.id));
        let files: u64 = names
            .filter_map(|name| sums.get(&name))
            .map(|sum| sum.len)
            .sum();
        files + self.parts.iter().map(|part| part.sum.len).sum::<u64>()
    }
}

impl Shelf {
    fn plan(&self, position: Option<Position>, location: &str) -> Result<Plan<'_>> {
        let newest = self.entries.keys().next_back().copied();
        if position.is_none() {
            // Quietly taking an older one would lose what was backed up since.
            self.newest_is_here(newest)?;
        }
        let Some(newest) = newest else {
            return Err(Error::Invalid(format!("{location} holds no backup")));
        };
        let position = position.unwrap_or(self.entries[&newest].position());
        let mut bases: Vec<&BackupEntry> = self.entries.values().collect();
        // The newest manifest at or before the position leaves the least log to go through.
        bases.sort_by_key(|entry| std::cmp::Reverse((entry.manifest.folded, entry.number)));
        let bases = bases
            .into_iter()
            .filter(|entry| entry.manifest.folded <= position);
        for base in bases {
            if let Some(parts) = self.parts(base, position) {
                return Ok(Plan {
                    base,
                    parts,
                    position,
                });
            }
        }
        if let Some(fault) = self.faults()?.into_iter().next() {
            // It may be for want of that.
            let detail = format!(
                "{}; without it position {position} is not covered, but {}",
                fault.detail,
                self.covered()
            );
            return Err(Error::corrupt(fault.object, detail));
        }
        let message = format!(
            "position {position} is not covered by the backups in {location}; covered are {}",
            self.covered()
        );
        Err(Error::Invalid(message))
    }

    /// The newest backup of all is the newest that can be read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] naming the entry that is damaged or missing, or the head that would tell.
    fn newest_is_here(&self, newest: Option<u64>) -> Result<()> {
        let hint = match newest.map(|newest| self.entries[&newest].position()) {
            Some(position) => format!(
                "; `--position {position}` restores the newest backup that can be read, without what came after it"
            ),
            None => String::new(),
        };
        let hinted = |error: &Error| match error.clone() {
            Error::Corrupt { object, detail } => Error::corrupt(object, detail + &hint),
            other => other,
        };
        if let Err(error) = &self.head {
            return Err(hinted(error));
        }
        let newest = newest.unwrap_or(0);
        if let Some((_, error)) = self.broken.range(newest..).next_back() {
            return Err(hinted(error));
        }
        let taken = self.newest_taken();
        if newest < taken {
            let detail = format!(
                "it is missing, and {} names it as the newest",
                head::name()?
            );
            return Err(hinted(&Error::corrupt(entry::name_of(taken)?, detail)));
        }
        Ok(())
    }

    /// The parts from the manifest of `base` to `position`.
    fn parts<'a>(&'a self, base: &'a BackupEntry, position: Position) -> Option<Vec<&'a PartRef>> {
        let folded = base.manifest.folded;
        // Several may continue one backup, where the one that did so first could not be read for a while.
        let mut ends: Vec<&BackupEntry> = self
            .entries
            .values()
            .filter(|end| end.position() >= position && self.leads_to(base, end))
            .collect();
        ends.sort_by_key(|end| (end.position(), end.number));
        ends.into_iter()
            .find_map(|end| self.parts_to(end, folded, position))
    }

    /// Whether `end` is `base`, or continues it, directly or by others.
    fn leads_to(&self, base: &BackupEntry, end: &BackupEntry) -> bool {
        let mut at = Some(end);
        while let Some(entry) = at.filter(|entry| entry.number > base.number) {
            at = self.before(entry);
        }
        at.is_some_and(|entry| entry.number == base.number)
    }

    /// The backup that another one continues, if it is here. (It is always one before: numbers from outside must not
    /// lead in a circle.)
    fn before(&self, entry: &BackupEntry) -> Option<&BackupEntry> {
        let number = entry.continues.filter(|number| *number < entry.number)?;
        self.entries.get(&number)
    }

    /// The parts that lead from slot `folded` to the end of a backup, as far as `position` needs them; `None` where
    /// they do not reach back so far.
    fn parts_to<'a>(
        &'a self,
        end: &'a BackupEntry,
        folded: Position,
        position: Position,
    ) -> Option<Vec<&'a PartRef>> {
        let mut parts = Vec::new();
        let mut at = end;
        loop {
            parts.extend(at.part.as_ref());
            if at.from() <= folded {
                break;
            }
            at = self.before(at)?;
        }
        parts.reverse();
        parts.retain(|part| part.to > folded && part.from < position);
        Some(parts)
    }

    /// The positions that can be restored, for people.
    fn covered(&self) -> String {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut all: Vec<(u64, u64)> = Vec::new();
        for base in self.entries.values() {
            let folded = base.manifest.folded;
            let is_reached = |end: &&BackupEntry| {
                self.leads_to(base, end) && self.parts_to(end, folded, end.position()).is_some()
            };
            let ends = self.entries.values().filter(is_reached);
            if let Some(last) = ends.map(|end| end.position().0).max() {
                all.push((folded.0, last));
            }
        }
        all.sort_unstable();
        for (from, to) in all {
            match ranges.last_mut() {
                Some((_, end)) if from <= *end + 1 => *end = to.max(*end),
                _ => ranges.push((from, to)),
            }
        }
        if ranges.is_empty() {
            return "none".to_owned();
        }
        let text = |(from, to): &(u64, u64)| format!("{from} to {to}");
        ranges.iter().map(text).collect::<Vec<_>>().join(", ")
    }
}

struct Restorer<'a> {
    backups: Arc<dyn Storage>,
    to: Arc<dyn Storage>,
    sums: BTreeMap<Name, FileSum>,
    meter: Meter<'a>,
    copied: BTreeMap<Name, FileSum>,
}

impl Restorer<'_> {
    /// Runs, log, manifest, each durable before the next.
    async fn files(&mut self, plan: &Plan<'_>) -> Result<Manifest> {
        for entry in &plan.base.manifest.runs {
            self.segment(Name::segment(entry.run.id)).await?;
        }
        // The log begins with a file of its own, after what is folded.
        let manifest = Manifest {
            place: None,
            // What is restored is a database with one path.
            paths: Vec::new(),
            ..plan.base.manifest.clone()
        };
        self.log(plan, &manifest).await?;
        let name = Name::manifest(manifest.id);
        let created = self.to.create(&name, &manifest.encode()).await;
        created.map_err(at(&*self.to))?;
        self.to.sync_names(&name).await.map_err(at(&*self.to))?;
        Ok(manifest)
    }

    async fn segment(&mut self, name: Name) -> Result<()> {
        if self.copied.contains_key(&name) {
            return Ok(());
        }
        let missing = |detail: &str| at(&*self.backups)(Error::corrupt(&name, detail));
        let expected = self.sums.get(&name).copied();
        let expected = expected.ok_or_else(|| missing("no backup knows it"))?;
        let object = self.backups.open(&name).await.map_err(at(&*self.backups))?;
        let object = object.ok_or_else(|| missing("it is missing"))?;
        let meter = &mut self.meter;
        let step = |len| meter.add(name.as_str(), 0, len);
        let copied = copy(&*object, &name, &*self.to, Some(expected), step).await;
        let sum = copied.map_err(|error| match error {
            damage @ Error::Corrupt { .. } => at(&*self.backups)(damage),
            refused => at(&*self.to)(refused),
        })?;
        self.copied.insert(name, sum);
        Ok(())
    }

    /// Writes the slots after the manifest's up to the position, each checked against the one before.
    async fn log(&mut self, plan: &Plan<'_>, manifest: &Manifest) -> Result<()> {
        let end = LogEnd {
            generation: manifest.generation,
            last: manifest.folded,
            hash: manifest.hash,
            file: None,
        };
        let mut writer = LogWriter::open(Arc::clone(&self.to), &end).await?;
        let (mut last, mut hash) = writer.last();
        let (mut pending, mut pending_len) = (Vec::new(), 0);
        for part in &plan.parts {
            let mut reader = PartReader::open(&*self.backups, part)
                .await
                .map_err(at(&*self.backups))?;
            while let Some(slot) = reader.next().await.map_err(at(&*self.backups))? {
                let n = slot.header.n;
                if n == last && slot.hash != hash {
                    let detail = format!("slot {n} is not the one that the manifest stands for");
                    return Err(at(&*self.backups)(Error::corrupt(&part.name, detail)));
                }
                if n <= last {
                    continue;
                }
                if n > plan.position {
                    break;
                }
                if n != last.next() || slot.header.prev != hash {
                    let detail = format!("slot {n} does not follow slot {last}");
                    return Err(at(&*self.backups)(Error::corrupt(&part.name, detail)));
                }
                for run in runs_of(&slot) {
                    self.segment(Name::segment(run.id)).await?;
                }
                self.meter.add(part.name.as_str(), 0, slot.len as u64);
                (last, hash) = (n, slot.hash);
                pending_len += slot.len;
                pending.push(slot);
                if pending_len >= COPY_LEN {
                    let written = writer.append_copies(&std::mem::take(&mut pending)).await;
                    written.map_err(at(&*self.to))?;
                    pending_len = 0;
                }
            }
            self.copied.insert(part.name.clone(), part.sum);
        }
        writer
            .append_copies(&pending)
            .await
            .map_err(at(&*self.to))?;
        if writer.last().0 != plan.position {
            let detail = format!("the log in it ends at slot {}", writer.last().0);
            let object = format!("backup {} and what follows it", plan.base.number);
            return Err(at(&*self.backups)(Error::corrupt(object, detail)));
        }
        writer.close().await.map_err(at(&*self.to))
    }
}

/// Opens what was restored, as any database is opened, and gives it a name of its own.
async fn own(
    to: &Arc<dyn Storage>,
    manifest: &Manifest,
    environment: &Environment,
) -> Result<InstanceId> {
    let folder = open::folder(to, &Options::default(), environment, false);
    let loaded = open::load(folder, &create::nobody(), false).await?;
    if loaded.view.load().manifest.id != manifest.id {
        return Err(Error::corrupt(
            Name::manifest(manifest.id),
            "it is not the newest",
        ));
    }
    let writer = LogWriter::open(Arc::clone(to), &loaded.end).await?;
    let mut combiner = open::combiner(Tail::Append(writer), &loaded, environment);
    let (instance, _) = create::become_own(&**to, &mut combiner, environment).await?;
    combiner.close().await?;
    Ok(instance.id)
}
