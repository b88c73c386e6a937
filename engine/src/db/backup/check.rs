//! Verifying the backups in a folder: everything is read, without restoring it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::entry::{BackupEntry, FileSum, name_of};
use super::{Shelf, part, sum_of};
use crate::base::{Error, Result};
use crate::db::progress::{Meter, OnProgress};
use crate::db::verify::{Broken, VerifyReport};
use crate::storage::{Access, LocalStorage, Name, Storage};

/// As [`verify_backup`], of a folder.
///
/// # Errors
/// As [`verify_backup`].
pub async fn verify_backup_folder(folder: &Path, progress: OnProgress<'_>) -> Result<VerifyReport> {
    verify_backup(
        Arc::new(LocalStorage::open(folder, Access::ReadOnly)?),
        progress,
    )
    .await
}

/// Reads every backup in a place: that each file is there with its length and checksum, that the slots of its log
/// follow each other, and that no entry is missing, as far as the numbers of the others and the head tell.
///
/// # Errors
/// [`Error::Invalid`] where there is no backup; what the storage refuses. Damage is in the report, not an
/// error.
pub async fn verify_backup(
    storage: Arc<dyn Storage>,
    progress: OnProgress<'_>,
) -> Result<VerifyReport> {
    let shelf = Shelf::load(&*storage).await?;
    if shelf.newest_taken() == 0 && shelf.head.is_ok() {
        let message = format!("{} holds no backup", storage.location());
        return Err(Error::Invalid(message));
    }
    let mut checker = BackupChecker {
        storage,
        meter: Meter::new(progress),
        report: VerifyReport::default(),
    };
    let sums: BTreeMap<Name, FileSum> = shelf.sums();
    let parts_len: u64 = shelf.parts_known().map(|part| part.sum.len).sum();
    let files_len: u64 = sums.values().map(|sum| sum.len).sum();
    let count = sums.len() + shelf.parts_known().count() + shelf.entries.len() + shelf.broken.len();
    checker.meter.expect(count as u64, parts_len + files_len);
    checker.report.broken.extend(shelf.faults()?);
    for (name, sum) in &sums {
        checker.file(name, *sum).await?;
    }
    for entry in shelf.entries.values() {
        checker.entry(entry, &shelf, &sums).await?;
    }
    checker.unused(&shelf, &sums).await?;
    checker.meter.finish();
    Ok(checker.report)
}

struct BackupChecker<'a> {
    storage: Arc<dyn Storage>,
    meter: Meter<'a>,
    report: VerifyReport,
}

impl BackupChecker<'_> {
    fn broken(&mut self, object: &Name, detail: impl Into<String>) {
        self.report.broken.push(Broken {
            object: object.to_string(),
            detail: detail.into(),
        });
    }

    fn found(&mut self, object: &Name, error: Error) -> Result<()> {
        match error {
            Error::Corrupt { detail, .. } => self.broken(object, detail),
            other => return Err(other),
        }
        Ok(())
    }

    fn read(&mut self, name: &Name, len: u64) {
        self.report.objects += 1;
        self.report.bytes += len;
        self.meter.add(name.as_str(), 1, len);
    }

    async fn file(&mut self, name: &Name, sum: FileSum) -> Result<()> {
        let Some(object) = self.storage.open(name).await? else {
            self.broken(name, "it is missing");
            return Ok(());
        };
        if object.len() != sum.len {
            self.broken(
                name,
                format!("it has {} bytes, not {}", object.len(), sum.len),
            );
        } else if sum_of(&*object).await? != sum {
            self.broken(name, "it does not match its checksum");
        }
        self.read(name, object.len());
        Ok(())
    }

    async fn entry(
        &mut self,
        entry: &BackupEntry,
        shelf: &Shelf,
        sums: &BTreeMap<Name, FileSum>,
    ) -> Result<()> {
        let name = name_of(entry.number)?;
        self.report.backups += 1;
        self.read(&name, 0);
        for run in &entry.manifest.runs {
            let segment = Name::segment(run.run.id);
            if !sums.contains_key(&segment) {
                self.broken(&name, format!("it needs {segment}, which no backup has"));
            }
        }
        let before = match entry.continues {
            Some(number) => match shelf.entries.get(&number) {
                Some(before) => Some((before.end.last, before.end.hash)),
                None => {
                    let detail = format!("it continues backup {number}, which is missing");
                    self.broken(&name, detail);
                    None
                }
            },
            None => Some((entry.manifest.folded, entry.manifest.hash)),
        };
        let end = (entry.end.last, entry.end.hash);
        match &entry.part {
            Some(part) => {
                let slots = &mut self.report.slots;
                let count = &mut |_: &_| *slots += 1;
                match part::check(&*self.storage, part, before, end, count).await {
                    Ok(()) => self.read(&part.name, part.sum.len),
                    Err(error) => self.found(&part.name, error)?,
                }
            }
            None if before.is_some_and(|before| before != end) => {
                self.broken(&name, "its part of the log is missing");
            }
            None => {}
        }
        Ok(())
    }

    /// Counts what belongs to no backup: an interrupted one leaves it, and so does an entry that is gone.
    async fn unused(&mut self, shelf: &Shelf, sums: &BTreeMap<Name, FileSum>) -> Result<()> {
        for name in self.storage.list(Name::SEGMENT).await? {
            self.report.unused_segments += u64::from(!sums.contains_key(&name));
        }
        let parts: BTreeSet<&Name> = shelf.parts_known().map(|part| &part.name).collect();
        for name in self.storage.list(part::DIR).await? {
            if !parts.contains(&name) {
                let text =
                    format!("{name}: it belongs to no backup, as an interrupted one leaves it");
                self.report.warnings.push(text);
            }
        }
        Ok(())
    }
}
