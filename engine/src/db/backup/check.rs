//! Verifying the backups in a folder: everything is read, without restoring it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::entry::{Entry, PartRef, Sum, name_of};
use super::part::Reader;
use super::{Shelf, sum_of};
use crate::base::{Error, Position, Result};
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

/// Reads every backup in a place: that each file is there with its length and checksum, and that the slots of
/// its log follow each other.
///
/// # Errors
/// [`Error::Invalid`] where there is no backup; what the storage refuses. Damage is in the report, not an
/// error.
pub async fn verify_backup(
    storage: Arc<dyn Storage>,
    progress: OnProgress<'_>,
) -> Result<VerifyReport> {
    let shelf = Shelf::load(&*storage).await?;
    if shelf.entries.is_empty() && shelf.broken.is_empty() {
        let message = format!("{} holds no backup", storage.location());
        return Err(Error::Invalid(message));
    }
    let mut checker = Checker {
        storage,
        meter: Meter::new(progress),
        report: VerifyReport::default(),
    };
    let parts = shelf
        .entries
        .values()
        .filter_map(|entry| entry.part.as_ref());
    let sums: BTreeMap<Name, Sum> = shelf.sums();
    let parts_len: u64 = parts.clone().map(|part| part.sum.len).sum();
    let files_len: u64 = sums.values().map(|sum| sum.len).sum();
    let count = sums.len() + parts.count() + shelf.entries.len() + shelf.broken.len();
    checker.meter.expect(count as u64, parts_len + files_len);
    for (number, error) in &shelf.broken {
        checker.found(&name_of(*number)?, error.clone())?;
    }
    for (name, sum) in &sums {
        checker.file(name, *sum).await?;
    }
    for entry in shelf.entries.values() {
        checker.entry(entry, &shelf, &sums).await?;
    }
    checker.unused(&sums).await?;
    checker.meter.finish();
    Ok(checker.report)
}

struct Checker<'a> {
    storage: Arc<dyn Storage>,
    meter: Meter<'a>,
    report: VerifyReport,
}

impl Checker<'_> {
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

    async fn file(&mut self, name: &Name, sum: Sum) -> Result<()> {
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
        entry: &Entry,
        shelf: &Shelf,
        sums: &BTreeMap<Name, Sum>,
    ) -> Result<()> {
        let name = name_of(entry.number)?;
        self.read(&name, 0);
        for run in &entry.manifest.runs {
            let segment = Name::segment(run.run.id);
            if !sums.contains_key(&segment) {
                self.broken(&name, format!("it needs {segment}, which no backup has"));
            }
        }
        let before = match entry.continues {
            Some(number) => match shelf.entries.get(&number) {
                Some(before) => (before.end.last, before.end.hash),
                None => {
                    self.broken(
                        &name,
                        format!("it continues backup {number}, which is missing"),
                    );
                    return Ok(());
                }
            },
            None => (entry.manifest.folded, entry.manifest.hash),
        };
        let end = (entry.end.last, entry.end.hash);
        match &entry.part {
            Some(part) => {
                let checked = self.part(part, before, end).await;
                if let Err(error) = checked {
                    self.found(&part.name, error)?;
                }
            }
            None if before != end => self.broken(&name, "its part of the log is missing"),
            None => {}
        }
        Ok(())
    }

    async fn part(
        &mut self,
        part: &PartRef,
        before: (Position, u128),
        end: (Position, u128),
    ) -> Result<()> {
        let mut reader = Reader::open(&*self.storage, part).await?;
        let mut last = before;
        while let Some(slot) = reader.next().await? {
            if slot.header.n != last.0.next() || slot.header.prev != last.1 {
                let detail = format!("slot {} does not follow slot {}", slot.header.n, last.0);
                return Err(Error::corrupt(&part.name, detail));
            }
            last = (slot.header.n, slot.hash);
            self.report.slots += 1;
        }
        if last != end {
            let detail = format!("it ends at slot {}, not {}", last.0, end.0);
            return Err(Error::corrupt(&part.name, detail));
        }
        self.read(&part.name, part.sum.len);
        Ok(())
    }

    async fn unused(&mut self, sums: &BTreeMap<Name, Sum>) -> Result<()> {
        for name in self.storage.list(Name::SEGMENT).await? {
            self.report.unused_segments += u64::from(!sums.contains_key(&name));
        }
        Ok(())
    }
}
