//! Looking at what a backup relies on, and copying again what is damaged or missing.

use std::sync::Arc;

use super::entry::{BackupEntry, FileSum};
use super::part;
use super::take::{CACHE_LEN, Taker};
use super::{at, copy, sum_of};
use crate::base::{Error, Position, Result, RunRef};
use crate::db::verify::Broken;
use crate::log::LogStart;
use crate::storage::{Name, Object};
use crate::tree::{PageCache, Run};

/// Bytes at either end of a run that are compared where not every byte is: its first page, and its trailer.
const END_LEN: u64 = 4096;

impl Taker<'_> {
    /// Something has been copied.
    pub(super) fn count(&mut self, sum: FileSum) {
        self.copied = (self.copied.0 + 1, self.copied.1 + sum.len);
    }

    fn damage(&mut self, object: &Name, detail: impl Into<String>) {
        let object = object.to_string();
        // Come across twice, it is told once.
        if self.damaged.iter().all(|damage| damage.object != object) {
            let detail = detail.into();
            self.damaged.push(Broken { object, detail });
        }
    }

    /// Makes sure that the parts of the log that lead from slot `folded` to the end of backup `newest` are whole, and
    /// the runs that their slots refer to. Where that cannot be, nothing new may rely on them: `false`.
    pub(super) async fn chain(&mut self, newest: u64, folded: Position) -> Result<bool> {
        let mut next = Some(newest);
        while let Some(number) = next {
            let Some(entry) = self.shelf.entries.get(&number).cloned() else {
                return Ok(false);
            };
            if entry.position() <= folded {
                return Ok(true);
            }
            if !self.part(&entry, folded).await? {
                return Ok(false);
            }
            if entry.from() <= folded {
                return Ok(true);
            }
            next = entry.continues;
        }
        Ok(false)
    }

    /// Makes sure that the part of a backup is whole, with the runs that its slots after `folded` refer to.
    async fn part(&mut self, entry: &BackupEntry, folded: Position) -> Result<bool> {
        let Some(part) = &entry.part else {
            return Ok(true);
        };
        let start = self.start_of(entry);
        let before = start.map(|start| (start.last, start.hash));
        let goal = (entry.end.last, entry.end.hash);
        let mut runs: Vec<(Position, RunRef)> = Vec::new();
        let seen = &mut |slot: &_| runs.extend(part::runs_of(slot).map(|run| (slot.header.n, run)));
        match part::check(&*self.to, part, before, goal, seen).await {
            Ok(()) => {}
            Err(Error::Corrupt { detail, .. }) => {
                let written = match start {
                    Some(start) => part::write(&self.source, &*self.to, &start, goal).await,
                    None => Ok(None),
                };
                match written {
                    Ok(Some(written)) if written.part == *part => {
                        self.count(part.sum);
                        runs = written.runs;
                    }
                    // The log has these slots no more, or other ones.
                    Ok(_) | Err(Error::Corrupt { .. } | Error::SnapshotTooOld { .. }) => {
                        self.damage(&part.name, detail);
                        return Ok(false);
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(at(&*self.to)(error)),
        }
        self.checked.insert(part.name.clone());
        for (_, run) in runs.iter().filter(|(n, _)| *n > folded) {
            let name = Name::segment(run.id);
            let object = self.source.open(&name).await.map_err(at(&*self.source))?;
            if !self.has_run(&name, object.as_ref(), run).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where the part of a backup begins in the log.
    fn start_of(&self, entry: &BackupEntry) -> Option<LogStart> {
        let start = match entry.continues {
            Some(before) => self.shelf.entries.get(&before)?.end,
            None => entry.manifest.log_start(),
        };
        (start.last == entry.from()).then_some(start)
    }

    /// Makes sure that a run of an earlier backup is in the folder, which the database may have no more.
    async fn has_run(
        &mut self,
        name: &Name,
        object: Option<&Arc<dyn Object>>,
        run: &RunRef,
    ) -> Result<bool> {
        if self.checked.contains(name) {
            return Ok(true);
        }
        let Some(known) = self.known.get(name).copied() else {
            self.damage(name, "no backup knows it, and slots of the log refer to it");
            return Ok(false);
        };
        if let Some(object) = object {
            return match self.file(name, object, run).await {
                Ok(_) => Ok(true),
                Err(Error::Corrupt { detail, .. }) => {
                    self.damage(name, detail);
                    Ok(false)
                }
                Err(error) => Err(error),
            };
        }
        match self.fault(name, known, None).await? {
            None => {
                self.checked.insert(name.clone());
                Ok(true)
            }
            Some(detail) => {
                self.damage(name, detail);
                Ok(false)
            }
        }
    }

    /// Makes sure that a run is in the folder, durable and what it should be.
    pub(super) async fn file(
        &mut self,
        name: &Name,
        object: &Arc<dyn Object>,
        run: &RunRef,
    ) -> Result<FileSum> {
        let known = self.known.get(name).copied();
        if let Some(known) = known.filter(|_| self.checked.contains(name)) {
            return Ok(known);
        }
        if let Some(sum) = self.usable(name, object, run, known).await? {
            self.to.sync_names(name).await.map_err(at(&*self.to))?;
            self.checked.insert(name.clone());
            self.meter.add(name.as_str(), 1, run.len);
            return Ok(sum);
        }
        // A backup of damage would be worth nothing.
        is_run(object, name, run).await.map_err(at(&*self.source))?;
        self.to.remove(name).await.map_err(at(&*self.to))?;
        let sum = self.copy(name, object, known).await?;
        self.meter.add(name.as_str(), 1, 0);
        Ok(sum)
    }

    /// Copies an object of the database; nothing has its name in the folder.
    async fn copy(
        &mut self,
        name: &Name,
        object: &Arc<dyn Object>,
        known: Option<FileSum>,
    ) -> Result<FileSum> {
        let meter = &mut self.meter;
        let step = |len| meter.add(name.as_str(), 0, len);
        let copied = copy(&**object, name, &*self.to, known, step).await;
        let sum = copied.map_err(at(&*self.to))?;
        self.count(sum);
        self.checked.insert(name.clone());
        Ok(sum)
    }

    /// What is in the folder under the name of a run, if it can be relied on.
    async fn usable(
        &self,
        name: &Name,
        object: &Arc<dyn Object>,
        run: &RunRef,
        known: Option<FileSum>,
    ) -> Result<Option<FileSum>> {
        if let Some(known) = known {
            let fault = self.fault(name, known, Some(object)).await?;
            return Ok(fault.is_none().then_some(known));
        }
        let Some(there) = self.to.open(name).await.map_err(at(&*self.to))? else {
            return Ok(None);
        };
        // From a backup that was interrupted.
        match is_run(&there, name, run).await {
            Ok(()) => Ok(Some(sum_of(&*there).await.map_err(at(&*self.to))?)),
            Err(Error::Corrupt { .. }) => Ok(None),
            Err(error) => Err(at(&*self.to)(error)),
        }
    }

    /// What is wrong with a file of the folder that should be `known`; `original` is the same one in the database.
    async fn fault(
        &self,
        name: &Name,
        known: FileSum,
        original: Option<&Arc<dyn Object>>,
    ) -> Result<Option<String>> {
        let there = self.to.open(name).await.map_err(at(&*self.to))?;
        let Some(there) = there else {
            return Ok(Some("it is missing".to_owned()));
        };
        if there.len() != known.len {
            let text = format!("it has {} bytes, not {}", there.len(), known.len);
            return Ok(Some(text));
        }
        let is_whole = match original {
            Some(original) if !self.full => has_ends_of(&there, original).await,
            None if !self.full => Ok(true),
            _ => sum_of(&*there).await.map(|sum| sum == known),
        };
        let is_whole = is_whole.map_err(at(&*self.to))?;
        Ok((!is_whole).then(|| "it does not match its checksum".to_owned()))
    }

    /// Looks at every byte of every backup in the folder that has not been looked at, and copies again what the
    /// database still has.
    pub(super) async fn everything(&mut self) -> Result<()> {
        assert!(self.full, "every byte is read only if that is asked for");
        let numbers: Vec<u64> = self.shelf.entries.keys().copied().collect();
        for number in numbers {
            let entry = self.shelf.entries.get(&number).cloned();
            let part = entry.as_ref().and_then(|entry| entry.part.as_ref());
            let is_checked = part.is_none_or(|part| self.checked.contains(&part.name));
            if let Some(entry) = entry.filter(|_| !is_checked) {
                // All of its runs are among the files.
                let folded = entry.position();
                self.part(&entry, folded).await?;
            }
        }
        for (name, known) in self.known.clone() {
            if self.checked.contains(&name) {
                continue;
            }
            let Some(detail) = self.fault(&name, known, None).await? else {
                self.checked.insert(name);
                continue;
            };
            let object = self.source.open(&name).await.map_err(at(&*self.source))?;
            let is_known = match &object {
                Some(object) => sum_of(&**object).await.map_err(at(&*self.source))? == known,
                None => false,
            };
            match object.filter(|_| is_known) {
                Some(object) => {
                    self.to.remove(&name).await.map_err(at(&*self.to))?;
                    self.copy(&name, &object, Some(known)).await?;
                }
                None => self.damage(&name, detail),
            }
        }
        Ok(())
    }
}

/// Whether the two are of one length, and the same where they begin and end.
async fn has_ends_of(there: &Arc<dyn Object>, original: &Arc<dyn Object>) -> Result<bool> {
    let len = there.len();
    if len != original.len() {
        return Ok(false);
    }
    let end_len = usize::try_from(len.min(END_LEN)).unwrap_or(0);
    for offset in [0, len - end_len as u64] {
        let here = there.read_at(offset, end_len).await?;
        if here != original.read_at(offset, end_len).await? {
            return Ok(false);
        }
    }
    Ok(true)
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
