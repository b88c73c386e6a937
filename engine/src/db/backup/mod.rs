//! Backups: a folder that holds any number of them, each restorable by itself, and most of it shared.
//!
//! Runs are immutable and never share a name, so a backup copies those that the folder has not yet, and the
//! part of the log that comes after the backup before. Its entry comes last: without one there is no backup,
//! and what an interrupted one has copied is used by the next. `docs/format-backup.md` has the bytes.

mod check;
mod entry;
mod head;
mod mend;
mod part;
mod restore;
mod take;

pub use check::{verify_backup, verify_backup_folder};
pub use restore::{Restored, restore, restore_folder};
pub use take::{Backup, backup, backup_folder};

use std::collections::{BTreeMap, BTreeSet};

use entry::{BackupEntry, FileSum, PartRef};

use crate::base::checksum::Hasher128;
use crate::base::limits::BACKUP_ENTRY_LEN_MAX;
use crate::base::{Error, Result};
use crate::db::verify::Broken;
use crate::storage::{Name, Object, Storage};

/// Bytes that are copied at a time.
const COPY_LEN: usize = 1024 * 1024;
/// Missing entries that follow each other and are told one by one.
const MISSING_TOLD: u64 = 16;

/// All that a backup folder holds.
struct Shelf {
    entries: BTreeMap<u64, BackupEntry>,
    /// Entries that cannot be read, and why.
    broken: BTreeMap<u64, Error>,
    /// The newest number by the word of the folder's head; `None` without one, an error where it cannot be read.
    head: Result<Option<u64>>,
}

impl Shelf {
    async fn load(storage: &dyn Storage) -> Result<Shelf> {
        // The head before the entries: beside a backup that is being taken it is never ahead of them.
        let head = match head::load(storage).await {
            Err(error @ Error::Corrupt { .. }) => Err(error),
            head => Ok(head?),
        };
        let mut shelf = Shelf {
            entries: BTreeMap::new(),
            broken: BTreeMap::new(),
            head,
        };
        for name in storage.list(entry::DIR).await? {
            let Some(number) = entry::number_of(&name) else {
                continue;
            };
            let read = storage.read_at_most(&name, BACKUP_ENTRY_LEN_MAX).await;
            let bytes = match read {
                Ok(Some(bytes)) => bytes,
                Ok(None) => continue,
                Err(error @ Error::Corrupt { .. }) => {
                    shelf.broken.insert(number, error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            match BackupEntry::decode(&name, number, &bytes) {
                Ok(entry) => drop(shelf.entries.insert(number, entry)),
                Err(error @ Error::Corrupt { .. }) => drop(shelf.broken.insert(number, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(shelf)
    }

    /// What every segment in the folder should be.
    fn sums(&self) -> BTreeMap<Name, FileSum> {
        let files = self.entries.values().flat_map(|entry| &entry.files);
        files.map(|(name, sum)| (name.clone(), *sum)).collect()
    }

    /// The parts that entries name.
    fn parts_known(&self) -> impl Iterator<Item = &PartRef> {
        let entries = self.entries.values();
        entries.filter_map(|entry| entry.part.as_ref())
    }

    /// Where the numbers of the backups that are there end, readable or not; 0 without any.
    fn newest_there(&self) -> u64 {
        let numbers = self.entries.keys().chain(self.broken.keys());
        numbers.max().copied().unwrap_or(0)
    }

    /// The number of the newest backup that was ever taken, as far as anything here tells.
    fn newest_taken(&self) -> u64 {
        let told = self.head.as_ref().ok().copied().flatten().unwrap_or(0);
        self.newest_there().max(told)
    }

    /// A number that no backup had. (A head that says so much more is damage, whose checksum is right.)
    fn next_number(&self) -> u64 {
        self.newest_taken().saturating_add(1)
    }

    /// Ranges of numbers whose entries are gone: backups are numbered without holes, and the head names the newest.
    fn missing(&self) -> Vec<(u64, u64)> {
        let there: BTreeSet<u64> = self
            .entries
            .keys()
            .chain(self.broken.keys())
            .copied()
            .collect();
        let mut missing = Vec::new();
        let mut next = 1;
        for number in there {
            if next < number {
                missing.push((next, number - 1));
            }
            next = number.saturating_add(1);
        }
        let newest = self.newest_taken();
        if next <= newest {
            missing.push((next, newest));
        }
        missing
    }

    /// What is wrong with the entries as such: those that cannot be read, those that are gone, and the head.
    ///
    /// # Errors
    /// An entry that a newer program wrote.
    fn faults(&self) -> Result<Vec<Broken>> {
        let mut faults = Vec::new();
        let mut fault = |object: &Name, detail: String| {
            faults.push(Broken {
                object: object.to_string(),
                detail,
            });
        };
        for (number, error) in &self.broken {
            match error {
                Error::Corrupt { detail, .. } => fault(&entry::name_of(*number)?, detail.clone()),
                other => return Err(other.clone()),
            }
        }
        for (first, last) in self.missing() {
            let detail = match last < self.newest_there() {
                true => format!("it is missing, and backup {} comes after it", last + 1),
                false => format!("it is missing, and {} names backup {last}", head::name()?),
            };
            // One line a backup, as long as that can be read.
            for number in first..=last.min(first.saturating_add(MISSING_TOLD - 1)) {
                fault(&entry::name_of(number)?, detail.clone());
            }
            if last - first >= MISSING_TOLD {
                let detail = format!("and every entry from here to backup {last} is missing");
                fault(&entry::name_of(first + MISSING_TOLD)?, detail);
            }
        }
        let head = head::name()?;
        match &self.head {
            Err(Error::Corrupt { detail, .. }) => fault(&head, detail.clone()),
            Err(other) => return Err(other.clone()),
            Ok(None) if self.entries.values().any(|entry| entry.head.is_some()) => {
                let detail = "it is missing, so newer backups may be, too";
                fault(&head, detail.to_owned());
            }
            Ok(_) => {}
        }
        Ok(faults)
    }
}

/// The checksum of a whole object, read to its end.
async fn sum_of(object: &dyn Object) -> Result<FileSum> {
    let (mut hasher, mut offset) = (Hasher128::default(), 0);
    while offset < object.len() {
        let left = usize::try_from(object.len() - offset).unwrap_or(COPY_LEN);
        let bytes = object.read_at(offset, left.min(COPY_LEN)).await?;
        hasher.update(&bytes);
        offset += bytes.len() as u64;
    }
    Ok(FileSum {
        len: object.len(),
        hash: hasher.digest(),
    })
}

/// Copies an object under its own name, durably; `expected` is what it should be, if that is known.
async fn copy(
    object: &dyn Object,
    name: &Name,
    to: &dyn Storage,
    expected: Option<FileSum>,
    mut step: impl FnMut(u64),
) -> Result<FileSum> {
    let mut writer = to.writer(name).await?;
    let (mut hasher, mut offset) = (Hasher128::default(), 0);
    while offset < object.len() {
        let left = usize::try_from(object.len() - offset).unwrap_or(COPY_LEN);
        let bytes = object.read_at(offset, left.min(COPY_LEN)).await?;
        hasher.update(&bytes);
        writer.write(&bytes).await?;
        offset += bytes.len() as u64;
        step(bytes.len() as u64);
    }
    let sum = FileSum {
        len: object.len(),
        hash: hasher.digest(),
    };
    if expected.is_some_and(|expected| expected != sum) {
        return Err(Error::corrupt(name, "it does not match its checksum"));
    }
    writer.finish().await?;
    to.sync_names(name).await?;
    Ok(sum)
}

/// An error of one of two places says which.
fn at(place: &dyn Storage) -> impl Fn(Error) -> Error {
    let location = place.location();
    move |error| match error {
        Error::Storage {
            op,
            object,
            kind,
            errno,
            message,
        } => Error::Storage {
            op,
            object: format!("{location}/{object}"),
            kind,
            errno,
            message,
        },
        Error::Corrupt { object, detail } => Error::Corrupt {
            object: format!("{location}/{object}"),
            detail,
        },
        other => other,
    }
}
